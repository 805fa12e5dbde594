"""Time: what the service calls now, and what it does later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Wall time for what is shown, monotonic time for what is measured."""

    def __init__(self) -> None:
        self._last_ms = 0

    def monotonic(self) -> float:
        """Seconds; only differences mean something."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def stamp_ms(self) -> int:
        """Like `wall_ms`, but later than every stamp before: items of a chat never tie."""
        self._last_ms = max(self.wall_ms(), self._last_ms + 1)
        return self._last_ms

    def in_future(self, seconds: float) -> str:
        """The wall time so many seconds from now, as the service writes it."""
        return iso(self.wall_ms() + int(seconds * 1000))


class Timers:
    """Work to be done later on the running loop; nothing is done after `stop`."""

    def __init__(self) -> None:
        self._handles: set[asyncio.TimerHandle] = set()

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Call `work` once, so many seconds from now."""

        def run() -> None:
            self._handles.discard(handle)
            work()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._handles.add(handle)

    def stop(self) -> None:
        """Forget all that is waiting."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()


def iso(ms: int) -> str:
    """Milliseconds since 1970 as `yyyy-MM-ddThh:mm:ss.SSSZ` (Participant API, Item)."""
    moment = datetime.fromtimestamp(ms // 1000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def parse_iso(text: str) -> int:
    """Milliseconds since 1970. Raises ValueError where the text is not such a time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return round(moment.timestamp() * 1000)
