"""Wakes a task of a lane when something changed."""

from __future__ import annotations

import asyncio


class Change:
    """An `asyncio.Event` for one task that waits. That keeps a deque (760 bytes) even while nobody
    does, which is nearly always."""

    __slots__ = ("_happened", "_waiter")

    def __init__(self) -> None:
        self._happened = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake whoever waits, or is the next to."""
        self._happened = True
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Forget what happened up to now."""
        self._happened = False

    async def wait(self) -> None:
        """Return at once where something happened since `clear`."""
        if not self._happened:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
