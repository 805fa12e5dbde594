"""After a time in which nobody took events in: read what Slack still knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from bridge import metrics
from bridge.core.decision import ts_key
from bridge.core.events import Incoming
from bridge.core.model import Conversation, ConversationId
from bridge.core.ports import Clock, CustomerHistory
from bridge.relay.deliver import Patience, insist, store_insist

log = structlog.get_logger(__name__)

_PATIENCE = Patience(6 * 3600.0)
_HELD_UP = Patience(10 * 60.0)
"""While a conversation waits for it."""
_TAKING_UP = 3600.0
"""Seconds in which conversations that are taken up are read: whoever had them before may not have
come to it."""
_CLOCKS_APART = 60.0
"""Seconds by which Slack's clock, Redis' and ours may differ, generously."""


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
        self._since = ""
        self._until = float("-inf")
        self._begun: set[ConversationId] = set()
        # One read at a time: Slack allows about 50 a minute, to some apps one.
        self._reading = asyncio.Lock()

    def owes(self, conversation: Conversation) -> bool:
        """Whether there was a gap lately, and nobody here read this one since."""
        return self._lately and conversation.id not in self._begun

    @property
    def _lately(self) -> bool:
        return self._clock.boottime() < self._until

    def gap(self, since: float) -> None:
        """Nobody took events in after `since` (Unix seconds)."""
        before = f"{since - _CLOCKS_APART:.6f}"
        # Not all of an earlier gap may be read yet.
        self._since = min(before, self._since, key=ts_key) if self._lately else before
        self._until = self._clock.boottime() + _TAKING_UP
        self._begun.clear()

    async def channels(self) -> None:
        """Take in what was written in the support channels."""
        since = self._since
        await self._take_in(lambda: self._history.channels(since))
        metrics.CATCH_UPS.labels("channels").inc()

    async def thread(self, conversation: Conversation, *, held_up: bool = False) -> None:
        """Take in what was written in a conversation that exists (`held_up`: and waits for that).
        Raises Failure where Slack does not tell."""
        self._begun.add(conversation.id)
        since = conversation.last_ts or conversation.id.thread_ts
        if self._lately or not since:
            since = min(since or self._since, self._since, key=ts_key)
        if since:
            patience = _HELD_UP if held_up else _PATIENCE
            await self._take_in(lambda: self._history.thread(conversation.id, since), patience)
            metrics.CATCH_UPS.labels("thread").inc()

    async def _take_in(
        self, read: Callable[[], AsyncIterator[Incoming]], patience: Patience = _PATIENCE
    ) -> None:
        async def once() -> None:
            async for incoming in read():
                await self._one(incoming)

        async with self._reading:
            await insist(once, "slack", self._clock, patience)

    async def _one(self, incoming: Incoming) -> None:
        await store_insist(lambda: self._accept(incoming), self._clock)
