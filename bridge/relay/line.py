"""Who waits for a chat to be free: first come, first served.

Connect bounds the chats that are open at the same time (Administrator Guide, "Concurrent active
chats per instance"). While all are taken, a try by each who waits would use up the rate of
StartChatContact, and a newcomer with luck would overtake whoever has waited for half an hour.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from bridge import metrics
from bridge.core.errors import Busy, Temporary

T = TypeVar("T")
Since = tuple[tuple[int, int], str]
"""When somebody came, as a sort key, and who."""

ABREAST = 8
"""Starts in the air at a time: as many as StartChatContact's burst."""
BUSY_DELAY = 20.0
"""Seconds between tries while all chats are taken."""


@dataclass(order=True, slots=True)
class _Waiter:
    since: Since
    turn: asyncio.Future[None] = field(compare=False)
    on_busy: Callable[[], None] = field(compare=False)


class Line:
    """One for all conversations of a process. Once Connect says that all chats are taken, the first
    in the line tries, at a slow pace; when it got through, the next one tries at once."""

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []
        self._in_air = 0
        self._full = False
        """All chats were taken when it was last tried, and somebody has waited since."""
        self._pause: asyncio.TimerHandle | None = None

    async def served(
        self,
        since: Since,
        call: Callable[[], Awaitable[T]],
        until: float,
        on_busy: Callable[[], None],
    ) -> T:
        """Make the call when its turn has come, again and again while all chats are taken; `on_busy`
        hears that they are. Raises Busy where they still are at `until` (the loop's time), else
        what the call raises."""
        while True:
            await self._turn(since, until, on_busy)
            try:
                result = await call()
            except Busy as busy:
                self._close(busy)
            else:
                self._open()
                return result
            finally:
                self._in_air -= 1
                self._go_on()

    async def _turn(self, since: Since, until: float, on_busy: Callable[[], None]) -> None:
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, _Waiter(since, turn, on_busy))
        if self._full:
            on_busy()
        self._go_on()
        try:
            async with asyncio.timeout_at(until):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # It was our turn at the same instant: somebody else's now.
                self._in_air -= 1
                self._go_on()
            turn.cancel()
            if not isinstance(error, TimeoutError):
                raise
            kind = Busy if self._full else Temporary
            raise kind("StartChatContact", "NoTurn") from None

    def _close(self, busy: Busy) -> None:
        newly, self._full = not self._full, True
        for waiter in self._waiting if newly else ():
            if not waiter.turn.done():
                waiter.on_busy()
        metrics.RETRIES.labels("connect", busy.call, "busy").inc()
        if self._pause is None:
            delay = max(BUSY_DELAY, busy.retry_after or 0.0)
            delay += random.uniform(0, 0.25 * delay)  # noqa: S311 - jitter among replicas
            self._pause = asyncio.get_running_loop().call_later(delay, self._try_again)

    def _open(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._try_again()

    def _try_again(self) -> None:
        self._pause = None
        self._full = self._full and any(not one.turn.done() for one in self._waiting)
        self._go_on()

    def _go_on(self) -> None:
        """Hand out the turns that are free."""
        while self._waiting and self._pause is None:
            if self._in_air >= (1 if self._full else ABREAST):
                return
            turn = heapq.heappop(self._waiting).turn
            if not turn.done():
                self._in_air += 1
                turn.set_result(None)
