"""What a store that lost its last writes leaves unknown of a conversation."""

from __future__ import annotations

from enum import Enum, auto

from bridge.core.model import Mark
from bridge.core.ports import Kept


class Doubt(Enum):
    """One question, open until it is looked into."""

    WRITTEN = auto()
    """Whether people wrote more than is waiting: the thread has to be read again."""
    SENT = auto()
    """Whether what waits was sent: the transcript knows."""
    POSTED = auto()
    """Whether what is owed was posted: the thread knows."""


def suspicion(kept: Kept) -> Mark:
    """A mark for what may have been posted although no mark tells of it: it names nothing, so that
    everything of ours in the thread is looked at."""
    since = kept.mark.since if kept.mark else kept.conversation.last_post_ts
    return Mark((), max(kept.doubt, kept.mark.at if kept.mark else 0.0), since)
