"""One stream of items out of several: sockets that overlap, and transcript reads. Pure.

Frames come without sequence numbers, sometimes twice and sometimes in the wrong order; the
transcript comes in order, and again and again. Out comes each item once, in order of `AbsoluteTime`
among what has arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.core.lookback import LookBack
from bridge.core.model import Item

_HELD = float("inf")
"""Due when the gap before it is filled."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    item: Item
    due: float

    @property
    def place(self) -> tuple[float, str]:
        return self.item.time, self.item.id


class Merger:
    """Remembers what was released and orders what waits.

    `seen` was released before (by an earlier process). Ids are kept for `lookback` seconds of
    `AbsoluteTime` before the newest, and at least the last `keep` of them. While there is a gap
    (frames may have been missed, as at the beginning) none is forgotten, and what sockets bring is
    held until the transcript has filled it.
    """

    def __init__(self, seen: LookBack, lookback: float = 300.0, keep: int = 100) -> None:
        self._lookback = lookback
        self._keep = keep
        self._forget_above = 2 * keep
        self._known = seen
        self._waiting: dict[str, _Waiting] = {}
        # Of what is older than this the ids are forgotten: in a transcript it is old news.
        self._horizon = seen.newest - lookback
        self._gap: float | None = self._horizon

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def floor(self) -> float:
        """How far back a transcript has to be read (Unix seconds); -inf: to its start."""
        return self._known.newest - self._lookback if self._gap is None else self._gap

    @property
    def has_gap(self) -> bool:
        """Whether frames may have been missed that the transcript did not show yet."""
        return self._gap is not None

    @property
    def misses(self) -> bool:
        """Whether that gap lies behind something that was released. The one at the beginning of a
        new contact is as old as the contact."""
        return self._gap is not None and self._gap > float("-inf")

    @property
    def next_due(self) -> float:
        """When to release next; infinite while nothing waits that has a time."""
        return min((each.due for each in self._waiting.values()), default=_HELD)

    def open_gap(self) -> None:
        """Frames may be missed from here on. A gap that is open already stays as wide as it is."""
        self._gap = self.floor

    def close_gap(self, due: float) -> None:
        """The transcript was read: what was held waits until `due`, as others do."""
        self._gap = None
        self.let_go(due)

    def let_go(self, due: float) -> None:
        """What was held waits only until `due`, although the gap is open."""
        for item_id, each in self._waiting.items():
            if each.due == _HELD:
                self._waiting[item_id] = _Waiting(each.item, due)

    def heard(self, item: Item, due: float) -> None:
        """An item came by socket; it may wait for earlier ones until `due`."""
        if item.id not in self._known and item.id not in self._waiting:
            self._waiting[item.id] = _Waiting(item, _HELD if self.has_gap else due)

    def read(self, items: Sequence[Item], now: float) -> None:
        """Items were read from the transcript: nothing earlier than they is still to come."""
        for item in self._known.unknown(items):
            if item.time > self._horizon:
                self._waiting[item.id] = _Waiting(item, now)

    def release(self, now: float) -> list[Item]:
        """What is due, and whatever waits that comes before it; in order."""
        due = [each.place for each in self._waiting.values() if each.due <= now]
        return self._release(max(due)) if due else []

    def flush(self) -> list[Item]:
        """Everything that waits, whatever for; in order."""
        return self._release((float("inf"), "")) if self._waiting else []

    def _release(self, newest: tuple[float, str]) -> list[Item]:
        out = sorted(
            (each for each in self._waiting.values() if each.place <= newest),
            key=lambda each: each.place,
        )
        for each in out:
            del self._waiting[each.item.id]
        self._known = self._known.plus((each.item.id, each.item.time) for each in out)
        self._forget()
        return [each.item for each in out]

    def _forget(self) -> None:
        # Not at every item: one that came very late is old at once, and the next socket may bring it
        # again.
        if len(self._known) <= self._forget_above:
            return
        kept = self._known.since(self.floor, self._keep)
        if forgotten := len(self._known) - len(kept):
            self._horizon = max(self._horizon, self._known.time(forgotten - 1))
            self._known = kept
        self._forget_above = 2 * max(self._keep, len(kept))
