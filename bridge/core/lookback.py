"""Which items of a chat are known, in a few bytes for each."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import inf
from struct import Struct

from bridge.core.value import Value

_TIME = Struct(">d")
_MARK_BYTES = 8
_BYTES = _TIME.size + _MARK_BYTES


class LookBack(Value, frozen=True):
    """Items that need no more work: of each its `AbsoluteTime` (Unix seconds) and a mark made of
    its id, in order of time.

    A hundred of them are written with each message and kept twice for each open conversation: as
    strings they were most of what a conversation takes. That two ids of one chat have the same mark
    (64 bits of BLAKE2b) happens once in 10^17 items.
    """

    packed: bytes = b""

    def __len__(self) -> int:
        return len(self.packed) // _BYTES

    def __contains__(self, item_id: object) -> bool:
        mark = _mark(str(item_id))
        at = self.packed.find(mark)
        # It may stand across two entries by chance.
        while at >= 0 and at % _BYTES != _TIME.size:
            at = self.packed.find(mark, at + 1)
        return at >= 0

    @property
    def oldest(self) -> float:
        """Time of the oldest item; -inf where there is none."""
        return self.time(0) if self.packed else -inf

    @property
    def newest(self) -> float:
        """Time of the newest item; -inf where there is none."""
        return self.time(len(self) - 1) if self.packed else -inf

    def plus(self, items: Iterable[tuple[str, float]]) -> LookBack:
        """With these, each an id and a time, none of them known."""
        packed = self.packed
        for item_id, time in items:
            at = len(packed)
            while at and _TIME.unpack_from(packed, at - _BYTES)[0] > time:
                at -= _BYTES
            packed = b"".join((packed[:at], _TIME.pack(time), _mark(item_id), packed[at:]))
        return LookBack(packed)

    def last(self, count: int) -> LookBack:
        """The newest `count` of them."""
        return LookBack(self.packed[max(len(self) - count, 0) * _BYTES :])

    def since(self, time: float, keep: int) -> LookBack:
        """Without what is older than `time`; but the newest `keep` stay whatever their age."""
        first, most = 0, len(self) - keep
        while first < most and self.time(first) < time:
            first += 1
        return self.last(len(self) - first) if first else self

    def merged(self, other: LookBack) -> LookBack:
        """Both."""
        # Times are positive: packed big-endian they sort as the numbers do.
        return LookBack(b"".join(sorted({*self._entries(), *other._entries()})))

    def time(self, index: int) -> float:
        """Time of one of them."""
        time: float = _TIME.unpack_from(self.packed, index * _BYTES)[0]
        return time

    def _entries(self) -> Iterable[bytes]:
        return (self.packed[at : at + _BYTES] for at in range(0, len(self.packed), _BYTES))


NOTHING = LookBack()


def _mark(item_id: str) -> bytes:
    return blake2b(item_id.encode(errors="surrogatepass"), digest_size=_MARK_BYTES).digest()
