"""After a time in which nobody took events in: read what Slack still knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from bridge import metrics
from bridge.core.events import Incoming
from bridge.core.model import ConversationId
from bridge.core.ports import Clock, CustomerHistory
from bridge.relay.deliver import Patience, insist, store_insist

_PATIENCE = Patience(6 * 3600.0)
_HELD_UP = Patience(10 * 60.0)
"""While a conversation waits for it."""
_AT_ONCE = 4
"""Slack allows about 50 a minute, to some apps one: more at once would only wait for each other."""


class CatchUp:
    """Feeds history into the ordinary intake, where dedupe makes repeats harmless."""

    def __init__(
        self,
        history: CustomerHistory,
        accept: Callable[[Incoming], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._history = history
        self._accept = accept
        self._clock = clock
        self._reading = asyncio.Semaphore(_AT_ONCE)

    async def channels(self, since: str) -> None:
        """Take in what was written in the support channels after the `ts` `since`."""
        await self._take_in(lambda: self._history.channels(since), _PATIENCE)
        metrics.CATCH_UPS.labels("channels").inc()

    async def thread(
        self, conversation: ConversationId, since: str, *, held_up: bool = False
    ) -> None:
        """Take in what was written in a conversation after the `ts` `since` (`held_up`: and waits
        for that). Raises Failure where Slack does not tell."""
        patience = _HELD_UP if held_up else _PATIENCE
        await self._take_in(lambda: self._history.thread(conversation, since), patience)
        metrics.CATCH_UPS.labels("thread").inc()

    async def _take_in(
        self, read: Callable[[], AsyncIterator[Incoming]], patience: Patience
    ) -> None:
        async def once() -> None:
            async with self._reading:
                async for incoming in read():
                    await store_insist(lambda: self._accept(incoming), self._clock)  # noqa: B023  # used at once

        await insist(once, "slack", self._clock, patience)
