"""Our lease, as we may believe in it."""

from __future__ import annotations

from bridge.core.errors import NotOwner
from bridge.core.ports import Clock, Renewal


class Lease:
    """Counted from before each renewal was sent, on CLOCK_BOOTTIME: a process that was stopped, or
    a machine that slept, must not believe in a lease that Redis has let expire meanwhile.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.seconds = seconds
        self._clock = clock
        self._until = float("-inf")
        self._redis_offset = 0.0

    def renewed(self, sent_at: float, renewal: Renewal) -> None:
        """Count from `sent_at` (boottime), but Redis' time from now: what held up the request or its
        answer must let neither seem later than it is."""
        self._until = sent_at + self.seconds
        self._redis_offset = renewal.redis_time - self._clock.boottime()

    @property
    def lived(self) -> bool:
        """Whether it was ever ours."""
        return self._until > float("-inf")

    @property
    def age(self) -> float:
        """Seconds since it was renewed last; 0 where it never was."""
        renewed_at = self._until - self.seconds
        return self._clock.boottime() - renewed_at if self.lived else 0.0

    @property
    def held(self) -> bool:
        """Whether the lease is certainly alive."""
        return self._clock.boottime() < self._until

    def guard(self) -> None:
        """Raise NotOwner where the lease may have expired."""
        if not self.held:
            raise NotOwner("our lease may have expired")

    def redis_now(self) -> float:
        """Redis time, as far as we know it: perhaps earlier than it is, never later."""
        return self._clock.boottime() + self._redis_offset
