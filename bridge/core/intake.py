"""What a time without intake means for a conversation that lived through it.

That its thread has to be read is part of the state: whoever owns it reads, and whoever takes over
from somebody who died before that was done reads again.
"""

from __future__ import annotations

from msgspec.structs import replace

from bridge.core.decision import Decision, ts_key
from bridge.core.events import IntakeMissed, ThreadRead
from bridge.core.model import Conversation


def missed(conversation: Conversation, event: IntakeMissed) -> Decision:
    """Its thread is to be read; nothing where that is known, or it did not live then."""
    known = not event.since or event.ended <= conversation.gap_ended
    younger = ts_key(conversation.id.thread_ts) > ts_key(f"{event.ended:.6f}")
    if known or younger or not (conversation.active or event.waits):
        return Decision(conversation)
    lived = (event.since, conversation.last_ts, conversation.unread)
    # One that is not active lives by what waits; whatever was written before that is not for it.
    starts = lived if conversation.active else (event.waits,)
    since = min((ts for ts in starts if ts), key=ts_key)
    return Decision(replace(conversation, unread=since, gap_ended=event.ended), save=True)


def read(conversation: Conversation, event: ThreadRead) -> Decision:
    """It was read, unless there was another such time since that began."""
    if event.ended != conversation.gap_ended:
        return Decision(conversation)
    return Decision(replace(conversation, unread=""), save=True)
