"""Time: the machine's, and the one that lanes sleep by."""

from __future__ import annotations

import asyncio
import time

from bridge.core.ports import Clock

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def boottime(self) -> float:
        """Seconds of CLOCK_BOOTTIME (of CLOCK_MONOTONIC where the system has no other)."""
        return time.clock_gettime(_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class Stopping(Exception):
    """The service stops: a pause ends early, and its task with it."""


class StoppableClock:
    """Another clock, whose pauses end when the service stops."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End every pause, now and from now on, by Stopping."""
        self._stopped.set()

    def now(self) -> float:
        """Unix seconds."""
        return self._clock.now()

    def boottime(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        return self._clock.boottime()

    async def sleep(self, seconds: float) -> None:
        """Wait. Raises Stopping where the service stops meanwhile."""
        pauses = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._stopped.wait()),
        ]
        try:
            await asyncio.wait(pauses, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pause in pauses:
                pause.cancel()
        if self._stopped.is_set():
            raise Stopping
