"""Slack's pace, and whose turn it is.

About one post a second per channel, shared by all its threads, short bursts tolerated; "several
hundred" a minute in the whole workspace (Slack, rate limits). Kept by the owner of the place,
locally. A thread asks for one turn at a time, so turns go round the threads of a channel.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from bridge.core.model import Place, Workspace
from bridge.core.ports import Clock

_BUSY_CHANNELS = 10
"""Channels of one workspace that may be posted into at full pace: 600 a minute together."""
_PASSES = 4
"""Texts that may go before a notice that waits."""
_ROUNDING = 1e-9
"""A remainder that no sleep can make up."""


class _Meter:
    """A token bucket, as the time at which its next token is due."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._interval = 1.0 / per_second
        self._slack = (burst - 1) * self._interval
        self._next_at = float("-inf")

    def missing(self, now: float) -> float:
        """Seconds until a token is due."""
        missing = self._next_at - now
        return missing if missing > _ROUNDING else 0.0

    def take(self, now: float) -> None:
        self._next_at = max(self._next_at, now - self._slack) + self._interval

    def hold(self, until: float) -> None:
        self._next_at = max(self._next_at, until)

    def full(self, now: float) -> bool:
        """Whether the whole burst is there."""
        return self._next_at <= now - self._slack


@dataclass(eq=False, slots=True)
class _Ticket:
    urgent: Callable[[], bool]
    turn: asyncio.Future[None]


class _Line:
    """Those who wait to post into one place."""

    def __init__(self, meter: _Meter) -> None:
        self.meter = meter
        self.tickets: list[_Ticket] = []
        self.refused_until = float("-inf")
        self.server: asyncio.Task[None] | None = None
        self._passed = 0

    def call(self) -> None:
        """Give the turn to who is next: texts first, but a notice does not wait for ever."""
        texts = [ticket for ticket in self.tickets if ticket.urgent()]
        notices = [ticket for ticket in self.tickets if ticket not in texts]
        if texts and (not notices or self._passed < _PASSES):
            self._passed = self._passed + 1 if notices else 0
            chosen = texts[0]
        else:
            self._passed = 0
            chosen = notices[0]
        self.tickets.remove(chosen)
        if not chosen.turn.done():
            chosen.turn.set_result(None)


@dataclass(slots=True)
class _Shared:
    """What all channels of a workspace share; they wait for it in the order of the lock."""

    meter: _Meter
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    """Channels that wait for it: who comes later must not overtake them when tokens have gathered."""


class Pace:
    """Hands out turns to post, per place."""

    def __init__(self, clock: Clock, per_second: float = 1.0, burst: int = 4) -> None:
        self._clock = clock
        self._rate = (per_second, burst)
        self._lines: OrderedDict[Place, _Line] = OrderedDict()
        self._workspaces: defaultdict[Workspace, _Shared] = defaultdict(
            lambda: _Shared(_Meter(_BUSY_CHANNELS * per_second, _BUSY_CHANNELS * burst))
        )

    async def turn(self, place: Place, urgent: Callable[[], bool] = lambda: True) -> bool:
        """Wait until a post into this place is due; return whether that took any waiting, so that
        the channel is behind. `urgent` is asked whenever a turn is given.

        Raises whatever ends the clock's pauses.
        """
        line, shared = self._line(place), self._workspaces[place.workspace]
        if not line.tickets and self._free(line, shared):
            self._take(line, shared)
            return False
        ticket = _Ticket(urgent, asyncio.get_running_loop().create_future())
        line.tickets.append(ticket)
        if line.server is None or line.server.done():
            line.server = asyncio.create_task(self._serve(line, shared))
        try:
            await ticket.turn
        finally:
            if ticket in line.tickets:
                line.tickets.remove(ticket)
        return True

    def hold(self, place: Place, seconds: float) -> None:
        """Slack answered 429: nothing goes into this place for a while.

        The answer does not say which limit was met. Where two channels are refused at once it is
        the workspace's, and more requests for its other channels would be refused as well.
        """
        now = self._clock.boottime()
        until = now + seconds
        line = self._line(place)
        line.refused_until = max(line.refused_until, until)
        line.meter.hold(until)
        if any(
            other is not line and other.refused_until > now
            for elsewhere, other in self._lines.items()
            if elsewhere.workspace == place.workspace
        ):
            self._workspaces[place.workspace].meter.hold(until)

    def _free(self, line: _Line, shared: _Shared) -> bool:
        now = self._clock.boottime()
        busy = line.meter.missing(now) or shared.meter.missing(now)
        return not busy and not shared.waiting

    def _take(self, line: _Line, shared: _Shared) -> None:
        now = self._clock.boottime()
        line.meter.take(now)
        shared.meter.take(now)

    async def _serve(self, line: _Line, shared: _Shared) -> None:
        try:
            while line.tickets:
                await self._sleep(line.meter)
                await self._serve_one(line, shared)
        except Exception as error:  # noqa: BLE001 - whoever waits is to raise it
            for ticket in line.tickets:
                if not ticket.turn.done():
                    ticket.turn.set_exception(error)
            line.tickets.clear()

    async def _serve_one(self, line: _Line, shared: _Shared) -> None:
        shared.waiting += 1
        try:
            async with shared.lock:
                await self._sleep(shared.meter)
                # Its place may have been refused meanwhile, or nobody may wait any more.
                if line.tickets and not line.meter.missing(self._clock.boottime()):
                    self._take(line, shared)
                    line.call()
        finally:
            shared.waiting -= 1

    async def _sleep(self, meter: _Meter) -> None:
        while missing := meter.missing(self._clock.boottime()):
            await self._clock.sleep(missing)

    def _line(self, place: Place) -> _Line:
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = _Line(_Meter(*self._rate))
        self._lines.move_to_end(place)
        now = self._clock.boottime()
        while len(self._lines) > 1:
            oldest = next(iter(self._lines.values()))
            if oldest is line or oldest.tickets or not oldest.meter.full(now):
                break
            self._lines.popitem(last=False)
        return line
