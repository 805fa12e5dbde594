"""Conversations, lane events and marks as versioned JSON.

Fields that have their default value are left out, and unknown fields are ignored, so that a field
can be added at any time: an older replica reads what a newer one wrote. A change of meaning, of a
default, or of an enumeration's values needs a new version.
"""

from __future__ import annotations

import json
from typing import Final, Generic, TypeVar

import msgspec

from bridge.core.events import Incoming
from bridge.core.model import Conversation, Mark
from bridge.core.parked import Parked
from bridge.core.value import Value
from bridge.store.errors import Unreadable

_VERSION: Final = b'{"v":1,'

_ENCODER: Final = msgspec.json.Encoder()

T = TypeVar("T", bound=Value)


class _Codec(Generic[T]):
    """One type to JSON and back. The type has at least one field without a default."""

    def __init__(self, kind: type[T]) -> None:
        self._name = kind.__name__
        self._decoder = msgspec.json.Decoder(kind)

    def encode(self, value: T) -> bytes:
        return _VERSION + _dumped(value)[1:]

    def decode(self, record: bytes) -> T:
        if not record.startswith(_VERSION):
            raise Unreadable(f"{self._name}: not a record of version 1")
        try:
            return self._decoder.decode(record)
        except msgspec.DecodeError as error:
            raise Unreadable(f"{self._name}: {_where(error)}") from None


def _dumped(value: Value) -> bytes:
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        # A lone surrogate, which JSON can carry and UTF-8 cannot: it becomes a question mark.
        plain = msgspec.to_builtins(value)
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def _where(error: msgspec.DecodeError) -> str:
    """The field that is wrong. What is wrong is not told: that may quote its value."""
    _, found, path = str(error).rpartition(" - at `")
    return path.removesuffix("`") if found else "malformed"


_CONVERSATION = _Codec(Conversation)
_MARK = _Codec(Mark)
_LANE = _Codec(Incoming)
_PARKED = _Codec(Parked)


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
    return _LANE.encode(incoming)


def read_incoming(record: bytes) -> Incoming:
    """Read a lane event. Raises Unreadable, also for a kind that only a newer version knows."""
    return _LANE.decode(record)


def dump_parked(parked: Parked) -> bytes:
    """Write what was given up."""
    return _PARKED.encode(parked)


def read_parked(record: bytes) -> Parked:
    """Read what was given up. Raises Unreadable."""
    return _PARKED.decode(record)
