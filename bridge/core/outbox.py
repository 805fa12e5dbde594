"""What goes into the next post: agents' short messages may share one where the channel is behind."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.core.model import AgentMessage, Outgoing

MOST = 10
"""Messages in one post: each is listed in its metadata, whose size Slack limits."""

GAP = "\n\n"
"""Stands between two messages in one post."""


def batch(owed: Sequence[Outgoing], room: int) -> tuple[Outgoing, ...]:
    """The first of `owed` and the messages right after it that may go into the same post: texts of
    the same sender in the same form, none of them cut, together at most `room` characters.

    Whatever is first goes: alone where nothing may join it, in several posts where it is longer
    than `room`. The outbox stays in order, so what does not fit ends the batch.
    """
    first, *rest = owed
    joined, length = [first], _length(first)
    for outgoing in rest:
        length += len(GAP) + _length(outgoing)
        if len(joined) == MOST or length > room or not _alike(first, outgoing):
            break
        joined.append(outgoing)
    return tuple(joined)


def _length(outgoing: Outgoing) -> int:
    return len(outgoing.text.strip()) if isinstance(outgoing, AgentMessage) else 0


def _alike(one: Outgoing, other: Outgoing) -> bool:
    """Whether both are texts that nobody could tell apart by sender or form. A blank one is none:
    Slack would refuse it. Nor is one that is tried again: it is looked for before."""
    return (
        isinstance(one, AgentMessage)
        and isinstance(other, AgentMessage)
        and (one.name, one.markdown) == (other.name, other.markdown)
        and not (one.retry or other.retry)
        and _length(one) > 0
        and _length(other) > 0
    )
