"""Conversations, lane events and marks as versioned JSON.

Fields that have their default value are left out, and unknown fields are ignored, so that a field
can be added at any time: an older replica reads what a newer one wrote. A change of meaning, of a
default, or of an enumeration's values needs a new version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from bridge.core.events import AskedToEnd, AskedToReopen, Incoming, Returned, Wrote
from bridge.core.model import Conversation, ConversationId, Mark
from bridge.core.parked import Parked
from bridge.store.errors import Unreadable

_VERSION: Final = b'{"v":1,'

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Lane:
    """A lane event as it is stored: one of the last four is there and says which kind it is."""

    conversation: ConversationId
    keys: tuple[str, ...]
    opens: bool
    wrote: Wrote | None = None
    end: AskedToEnd | None = None
    reopen: AskedToReopen | None = None
    returned: Returned | None = None


@dataclass(frozen=True, slots=True)
class _Parked:
    """What was given up, as it is stored: one of the last two is there."""

    conversation: ConversationId
    at: float
    reason: str
    wrote: Wrote | None = None
    returned: Returned | None = None


class _Codec(Generic[T]):
    """One type to JSON and back. The type has at least one field without a default."""

    def __init__(self, kind: type[T]) -> None:
        self._name = kind.__name__.strip("_")
        self._adapter = TypeAdapter(kind)

    def encode(self, value: T) -> bytes:
        return _VERSION + self._dump(value)[1:]

    def _dump(self, value: T) -> bytes:
        try:
            return self._adapter.dump_json(value, exclude_defaults=True)
        except PydanticSerializationError:
            # A lone surrogate, which JSON can carry and UTF-8 cannot: it becomes a question mark.
            plain = self._adapter.dump_python(value, exclude_defaults=True)
            text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "replace")

    def decode(self, record: bytes) -> T:
        if not record.startswith(_VERSION):
            raise Unreadable(f"{self._name}: not a record of version 1")
        try:
            return self._adapter.validate_json(record)
        except ValidationError as error:
            raise Unreadable(f"{self._name}: {_where(error)}") from None


def _where(error: ValidationError) -> str:
    """What is wrong in which fields, without their values."""
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return ", ".join(f"{'.'.join(map(str, d['loc']))} {d['type']}" for d in details)


_CONVERSATION = _Codec(Conversation)
_MARK = _Codec(Mark)
_LANE = _Codec(_Lane)
_PARKED = _Codec(_Parked)


def dump_conversation(conversation: Conversation) -> bytes:
    """Write a conversation."""
    return _CONVERSATION.encode(conversation)


def read_conversation(record: bytes) -> Conversation:
    """Read a conversation. Raises Unreadable."""
    return _CONVERSATION.decode(record)


def dump_mark(mark: Mark) -> bytes:
    """Write a mark."""
    return _MARK.encode(mark)


def read_mark(record: bytes) -> Mark:
    """Read a mark. Raises Unreadable."""
    return _MARK.decode(record)


def dump_incoming(incoming: Incoming) -> bytes:
    """Write a lane event."""
    lane = (incoming.conversation, incoming.keys, incoming.opens)
    match incoming.event:
        case Wrote() as event:
            return _LANE.encode(_Lane(*lane, wrote=event))
        case AskedToEnd() as event:
            return _LANE.encode(_Lane(*lane, end=event))
        case AskedToReopen() as event:
            return _LANE.encode(_Lane(*lane, reopen=event))
        case Returned() as event:
            return _LANE.encode(_Lane(*lane, returned=event))


def read_incoming(record: bytes) -> Incoming:
    """Read a lane event. Raises Unreadable, also for a kind that only a newer version knows."""
    lane = _LANE.decode(record)
    event = lane.wrote or lane.end or lane.reopen or lane.returned
    if event is None:
        raise Unreadable("Lane: an unknown kind of event")
    return Incoming(lane.conversation, event, lane.keys, lane.opens)


def dump_parked(parked: Parked) -> bytes:
    """Write what was given up."""
    entry = (parked.conversation, parked.at, parked.reason)
    match parked.event:
        case Wrote() as event:
            return _PARKED.encode(_Parked(*entry, wrote=event))
        case Returned() as event:
            return _PARKED.encode(_Parked(*entry, returned=event))


def read_parked(record: bytes) -> Parked:
    """Read what was given up. Raises Unreadable."""
    entry = _PARKED.decode(record)
    event = entry.wrote or entry.returned
    if event is None:
        raise Unreadable("Parked: an unknown kind of event")
    return Parked(entry.conversation, event, entry.at, entry.reason)
