"""Which items of a chat are known, in a few bytes for each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import inf
from struct import Struct
from typing import Protocol, TypeVar

from bridge.core.value import Value

_TIME = Struct(">d")
_DIGEST_BYTES = 8
_BYTES = _TIME.size + _DIGEST_BYTES
_FEW = 8
"""So many are looked for one by one."""


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_T = TypeVar("_T", bound=_HasId)


class LookBack(Value, frozen=True):
    """Items that need no more work: of each its `AbsoluteTime` (Unix seconds) and a digest of its
    id, in order of time.

    A hundred of them are written with each message and kept twice for each open conversation: as
    strings they were most of what a conversation takes. That two ids of one chat have the same
    digest (64 bits of BLAKE2b) happens once in 10^17 items.
    """

    packed: bytes = b""

    def __len__(self) -> int:
        return len(self.packed) // _BYTES

    def __contains__(self, item_id: object) -> bool:
        digest = _digest(str(item_id))
        at = self.packed.find(digest)
        # It may stand across two entries by chance.
        while at >= 0 and at % _BYTES != _TIME.size:
            at = self.packed.find(digest, at + 1)
        return at >= 0

    def unknown(self, items: Sequence[_T]) -> list[_T]:
        """Those that are not in it."""
        if len(items) <= _FEW:
            return [item for item in items if item.id not in self]
        digests = {entry[_TIME.size :] for entry in self._entries()}
        return [item for item in items if _digest(item.id) not in digests]

    @property
    def oldest(self) -> float:
        """Time of the oldest item; -inf where there is none."""
        return self.time(0) if self.packed else -inf

    @property
    def newest(self) -> float:
        """Time of the newest item; -inf where there is none."""
        return self.time(len(self) - 1) if self.packed else -inf

    def time(self, index: int) -> float:
        """Time of one of them."""
        return _time(self.packed, index)

    def plus(self, items: Iterable[tuple[str, float]]) -> LookBack:
        """With these, each an id and a time, none of them known."""
        packed = bytearray(self.packed)
        for item_id, time in items:
            index = len(packed) // _BYTES
            if index and _time(packed, index - 1) > time:
                index = bisect_right(range(index), time, key=lambda n: _time(packed, n))
            at = index * _BYTES
            packed[at:at] = _TIME.pack(time) + _digest(item_id)
        return _made(bytes(packed))

    def last(self, count: int) -> LookBack:
        """The newest `count` of them."""
        return _made(self.packed[max(len(self) - count, 0) * _BYTES :])

    def since(self, time: float, keep: int) -> LookBack:
        """Without what is older than `time`; but the newest `keep` stay whatever their age."""
        first, most = 0, len(self) - keep
        while first < most and self.time(first) < time:
            first += 1
        return self.last(len(self) - first) if first else self

    def merged(self, other: LookBack) -> LookBack:
        """Both."""
        # Times are positive: packed big-endian they sort as the numbers do.
        return _made(b"".join(sorted({*self._entries(), *other._entries()})))

    def _entries(self) -> Iterable[bytes]:
        return (self.packed[at : at + _BYTES] for at in range(0, len(self.packed), _BYTES))


NOTHING = LookBack()


def _made(packed: bytes) -> LookBack:
    # A default value is left out of what is stored only where it is this very one.
    return LookBack(packed) if packed else NOTHING


def _time(packed: bytes | bytearray, index: int) -> float:
    time: float = _TIME.unpack_from(packed, index * _BYTES)[0]
    return time


def _digest(item_id: str) -> bytes:
    return blake2b(item_id.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).digest()
