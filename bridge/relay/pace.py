"""Slack's pace: about one post a second per channel, shared by all its threads.

(Slack, rate limits: "1 per second per channel, short bursts tolerated".) Kept by the owner of the
place, locally; turns are handed out in the order of asking.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from bridge.core.model import Place
from bridge.core.ports import Clock


@dataclass
class _Meter:
    next_at: float = 0.0
    """When the bucket's next token is due, as if it had been spent without pause."""


class Pace:
    """Hands out turns to post, per place."""

    def __init__(self, clock: Clock, per_second: float = 1.0, burst: int = 4) -> None:
        self._clock = clock
        self._interval = 1.0 / per_second
        self._slack = (burst - 1) * self._interval
        self._meters: OrderedDict[Place, _Meter] = OrderedDict()

    async def turn(self, place: Place) -> None:
        """Wait until a post into this place is due."""
        meter = self._meter(place)
        now = self._clock.boottime()
        due = max(meter.next_at, now - self._slack)
        meter.next_at = due + self._interval
        if due > now:
            await self._clock.sleep(due - now)

    def hold(self, place: Place, seconds: float) -> None:
        """Slack answered 429: nothing goes into this place for a while."""
        meter = self._meter(place)
        meter.next_at = max(meter.next_at, self._clock.boottime() + seconds)

    def _meter(self, place: Place) -> _Meter:
        meter = self._meters.setdefault(place, _Meter())
        self._meters.move_to_end(place)
        idle = self._clock.boottime() - self._slack
        while len(self._meters) > 1:
            oldest = next(iter(self._meters.values()))
            if oldest.next_at >= idle or oldest is meter:
                break
            self._meters.popitem(last=False)
        return meter
