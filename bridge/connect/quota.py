"""Pace within Connect's request quotas: a token bucket for each operation.

The quotas of the Participant Service hold per instance, those of the Connect API per account and
Region (Administrator Guide, "Amazon Connect service quotas"). Replicas divide them by their number
and learn the rest from 429s: the rate is halved and grows back steadily (AIMD).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from bridge.core.ports import Clock


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second, and how many may go at once after a rest."""

    per_second: float
    burst: float


DEFAULT_RATES: Mapping[str, Rate] = MappingProxyType(
    {
        "StartChatContact": Rate(5, 8),
        "CreateParticipantConnection": Rate(6, 9),
        "SendMessage": Rate(10, 15),
        "SendEvent": Rate(10, 15),
        "GetTranscript": Rate(8, 12),
        "DisconnectParticipant": Rate(3, 5),
        "DescribeContact": Rate(10, 15),
    }
)
"""Connect's default quotas."""

FALLBACK_RATE = Rate(2, 5)
"""Of any other operation."""
_SHORTEST = 0.001


class Urgency(IntEnum):
    """Who goes first where several wait for one operation; equals go by rank, or in the order in
    which they came."""

    WAITING = 0
    """Somebody waits for it: a message, or a new chat that has five minutes to connect."""
    RECONNECT = 1
    ROUTINE = 2
    """A rotation, a second look: nobody notices when it comes later."""


@dataclass(order=True, slots=True)
class _Waiter:
    urgency: Urgency
    rank: float
    number: int
    turn: asyncio.Future[None] = field(compare=False)


class Bucket:
    """A token bucket with a queue. Waiting can be cancelled; a token is spent only on a call."""

    _RECOVERY = 0.1  # of the full rate, each second
    _FLOOR = 1 / 16  # of the full rate: slow, and still alive

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._full = rate
        self._clock = clock
        self._limit, self._burst = rate.per_second, max(1.0, rate.burst)
        self._rate = self._limit
        self._tokens = rate.burst
        self._at = clock.boottime()
        self._closed_until = 0.0
        self._cut_at = float("-inf")
        self._waiting: list[_Waiter] = []
        self._numbers = itertools.count()
        self._server: asyncio.Task[None] | None = None

    @property
    def rate(self) -> float:
        """Calls a second at the moment."""
        self._refill()
        return self._rate

    def set_share(self, share: float) -> None:
        """Take only this part of the quota (1 / live replicas). Raises ValueError outside 0-1."""
        if not 0 < share <= 1:
            raise ValueError("a share is above 0 and at most 1")
        self._refill()
        self._limit = self._full.per_second * share
        self._burst = max(1.0, self._full.burst * share)
        self._rate = min(self._rate, self._limit)
        self._tokens = min(self._tokens, self._burst)

    async def take(self, urgency: Urgency = Urgency.WAITING, rank: float = 0.0) -> None:
        """Wait for a call's turn; of equal urgency the lowest rank goes first."""
        if self.idle:
            self._tokens -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        waiter = _Waiter(urgency, rank, next(self._numbers), turn)
        heapq.heappush(self._waiting, waiter)
        if self._server is None or self._server.done():
            self._server = asyncio.create_task(self._serve())
        await waiter.turn

    @property
    def idle(self) -> bool:
        """Whether a call could go at once."""
        return all(waiter.turn.done() for waiter in self._waiting) and self._missing() <= 0

    def throttled(self, retry_after: float | None = None) -> None:
        """The service answered 429: slow down. Calls that were in the air together are one sign,
        so the rate is halved at most once a second."""
        self._refill()
        now = self._at
        if now - self._cut_at >= 1.0:
            self._cut_at = now
            self._rate = max(self._rate / 2, self._limit * self._FLOOR)
        self._tokens = min(self._tokens, 0.0)
        self._closed_until = max(self._closed_until, now + (retry_after or 0.0))

    def close(self) -> None:
        """Keep the pace no longer: whoever waits goes on at once."""
        if self._server is not None:
            self._server.cancel()
        for waiter in self._waiting:
            if not waiter.turn.done():
                waiter.turn.set_result(None)
        self._waiting.clear()

    def _refill(self) -> None:
        now = self._clock.boottime()
        passed, self._at = max(0.0, now - self._at), now
        self._rate = min(self._limit, self._rate + self._limit * self._RECOVERY * passed)
        self._tokens = min(self._burst, self._tokens + self._rate * passed)

    def _missing(self) -> float:
        """Seconds until a token is free."""
        self._refill()
        lacking = max(0.0, 1.0 - self._tokens)
        return max(lacking / self._rate, self._closed_until - self._at)

    async def _serve(self) -> None:
        while self._waiting:
            if (missing := self._missing()) > 0:
                # A rounding error can leave a remainder that is too small for the clock to pass.
                await self._clock.sleep(max(missing, _SHORTEST))
                continue
            turn = heapq.heappop(self._waiting).turn
            if not turn.done():
                self._tokens -= 1
                turn.set_result(None)


class Quotas:
    """The buckets of one instance, by operation. `rates` replace the defaults."""

    def __init__(self, clock: Clock, rates: Mapping[str, Rate] | None = None) -> None:
        self._clock = clock
        self._rates = {**DEFAULT_RATES, **(rates or {})}
        self._buckets: dict[str, Bucket] = {}
        self._share = 1.0

    def __getitem__(self, operation: str) -> Bucket:
        """The operation's bucket."""
        bucket = self._buckets.get(operation)
        if bucket is None:
            bucket = Bucket(self._rates.get(operation, FALLBACK_RATE), self._clock)
            bucket.set_share(self._share)
            self._buckets[operation] = bucket
        return bucket

    def set_share(self, share: float) -> None:
        """Take only this part of every quota: 1 / live replicas."""
        self._share = share
        for bucket in self._buckets.values():
            bucket.set_share(share)

    def close(self) -> None:
        """Keep the pace no longer, so that nobody waits for ever."""
        for bucket in self._buckets.values():
            bucket.close()
