"""After a time in which nobody took events in: read what Slack still knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any

import structlog
from msgspec.structs import replace

from bridge import metrics
from bridge.core.decision import ts_key
from bridge.core.errors import Failure
from bridge.core.events import Incoming, IntakeMissed, ThreadRead
from bridge.core.model import Conversation, ConversationId
from bridge.core.ports import CustomerHistory, Renewal
from bridge.relay.deliver import Patience, insist, store_insist
from bridge.relay.doubt import Doubt
from bridge.relay.kit import Kit
from bridge.relay.lane import Lane

log = structlog.get_logger(__name__)

_PATIENCE = Patience(6 * 3600.0)
_HELD_UP = Patience(10 * 60.0)
"""While a conversation waits for it."""
_AT_ONCE = 4
"""Slack allows about 50 a minute, to some apps one: more at once would only wait for each other."""
_CLOCKS_APART = 60.0
"""Seconds by which Slack's clock, Redis' and ours may differ, generously."""
_REMEMBERED_SECONDS = 3600.0
_TAIL = 5.0
"""Seconds of writes that a Redis loses at most, where nothing is known."""


class CatchUp:
    """Knows the last time without intake, tells the lanes of it, and feeds Slack's history into the
    ordinary intake `accept`, where dedupe makes repeats harmless."""

    def __init__(
        self,
        kit: Kit,
        history: CustomerHistory,
        lanes: Callable[[], Iterable[Lane]],
        accept: Callable[[Incoming], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._kit = kit
        self._history = history
        self._lanes = lanes
        self._accept = accept
        self._spawn = spawn
        self._missed = IntakeMissed("", 0.0)
        """The last time without intake that we know of."""
        self._channels_for = 0.0
        """When the one ended for which we read the channels."""
        self._fetching: set[Lane] = set()
        self._reading = asyncio.Semaphore(_AT_ONCE)

    # --- times without intake --------------------------------------------------------------------

    def missed(self, seconds: float) -> None:
        """Slack could not reach us for so long."""
        self._note(self._kit.clock.now() - seconds, self._kit.redis_now())
        self._spawn(self._channels(self._missed.since))

    def renewed(self, renewal: Renewal, age: float) -> None:
        """Read again what may not have been stored, each of us the threads of its conversations and
        one of us the channels. `age`: seconds since our lease was renewed with the store before."""
        gap = renewal.gap
        if renewal.lost:
            log.warning("redis_replaced", replaced=renewal.replaced)
            self.missed(max(renewal.alone, age, _TAIL))
        elif gap and gap.ended > self._missed.ended:
            self._note(gap.since, gap.ended)
        if gap and gap.reader and self._channels_for != gap.ended:
            self._channels_for = gap.ended
            self._spawn(self._read_channels(gap.ended))

    def _note(self, since: float, ended: float) -> None:
        log.warning("intake_gap", seconds=round(ended - since))
        start, last = f"{since - _CLOCKS_APART:.6f}", self._missed
        if ended - last.ended < _REMEMBERED_SECONDS:
            # Conversations that are taken up later may have lived through both.
            start = min(start, last.since, key=ts_key)
        self._missed = IntakeMissed(start, ended)
        for lane in self._lanes():
            self._tell(lane)

    def _tell(self, lane: Lane) -> None:
        oldest = min((one.ts for one in lane.waiting.values()), key=ts_key, default="")
        waited = oldest and ts_key(oldest) <= ts_key(f"{self._missed.ended:.6f}")
        lane.hear(replace(self._missed, waits=oldest if waited else ""))

    # --- lanes -----------------------------------------------------------------------------------

    def taken_up(self, lane: Lane) -> None:
        """Tell a new lane what it may have missed."""
        if lane.doubts:
            self._spawn(self._resolve(lane))
        else:
            self._tell(lane)

    def unread(self, lane: Lane) -> None:
        """Read the thread of a lane, in the background."""
        if lane not in self._fetching:
            self._fetching.add(lane)
            self._spawn(self._fetch(lane))

    async def _fetch(self, lane: Lane) -> None:
        try:
            while lane.works and lane.conversation.unread:
                before = lane.conversation
                await self._thread(before.id, before.unread, _PATIENCE)
                lane.hear(ThreadRead(before.gap_ended))
        finally:
            self._fetching.discard(lane)

    async def _resolve(self, lane: Lane) -> None:
        """What was acknowledged last may be lost. Until that is read nothing is sent: a message that
        has arrived already is known by its place among the others."""
        try:
            if since := self._since(lane.conversation):
                await self._thread(lane.conversation.id, since, _HELD_UP)
        except Failure as failure:
            log.warning("thread_not_read", call=failure.call, code=failure.code)
        lane.resolve(Doubt.WRITTEN)

    def _since(self, conversation: Conversation) -> str:
        """Where to begin to read, if what was settled last is not to be trusted."""
        starts = (conversation.last_ts or conversation.id.thread_ts, self._missed.since)
        return min((ts for ts in starts if ts), key=ts_key, default="")

    # --- reading ---------------------------------------------------------------------------------

    async def _read_channels(self, ended: float) -> None:
        try:
            await self._channels(self._missed.since)
            await store_insist(lambda: self._kit.store.caught_up(ended), self._kit.clock)
        except BaseException:
            self._channels_for = 0.0
            raise

    async def _channels(self, since: str) -> None:
        await self._take_in(lambda: self._history.channels(since), _PATIENCE)
        metrics.CATCH_UPS.labels("channels").inc()

    async def _thread(self, conversation: ConversationId, since: str, patience: Patience) -> None:
        await self._take_in(lambda: self._history.thread(conversation, since), patience)
        metrics.CATCH_UPS.labels("thread").inc()

    async def _take_in(
        self, read: Callable[[], AsyncIterator[Incoming]], patience: Patience
    ) -> None:
        async def once() -> None:
            async with self._reading:
                async for incoming in read():
                    await store_insist(lambda: self._accept(incoming), self._kit.clock)  # noqa: B023  # used at once

        await insist(once, "slack", self._kit.clock, patience)
