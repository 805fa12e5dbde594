"""Claims places that lost their owner, apart from the lease, whose renewal must not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from bridge import metrics
from bridge.core.errors import StoreAway
from bridge.core.model import Place
from bridge.core.ports import Clock, Renewal, Store

log = structlog.get_logger(__name__)

_AT_ONCE = 50
_ALARM_AFTER = 3.0
"""Lease times that places may stay without an owner."""


class Claims:
    """`on_claimed` is given what became ours, batch by batch."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease_seconds: float,
        on_claimed: Callable[[Sequence[Place]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._on_claimed = on_claimed
        self._wanted = asyncio.Event()
        self._hold_until = float("-inf")
        self._unanswered = False
        """The last claim was, so it may have taken places of which no renewal will tell."""
        self._vacant_since = float("inf")
        """Since when (boottime) renewals have told of places that nobody claims."""

    def look(self) -> None:
        """There may be something to claim."""
        self._wanted.set()

    def hold_until(self, boottime: float) -> None:
        """Claim nothing before then."""
        self._hold_until = boottime

    def renewed(self, renewal: Renewal) -> None:
        """Look if there may be something. Raises an alarm where there is for too long: then every
        replica is full, or broken."""
        now = self._clock.boottime()
        if self._unanswered:
            self.look()
        if not renewal.vacant:
            self._vacant_since = float("inf")
            return
        self.look()
        self._vacant_since = min(self._vacant_since, now)
        if now - self._vacant_since > _ALARM_AFTER * self._lease_seconds:
            log.error("places_without_owner")
            metrics.ALARMS.labels("places_without_owner").inc()
            self._vacant_since = now

    async def keep(self) -> None:
        """Claim for ever, whenever there may be something."""
        while True:
            await self._wanted.wait()
            await self._clock.sleep(max(self._hold_until - self._clock.boottime(), 0.0))
            self._wanted.clear()
            try:
                await self._claim()
                self._unanswered = False
            except StoreAway as away:
                self._unanswered = True
                log.warning("claim_failed", reason=str(away))

    async def _claim(self) -> None:
        claimed: Sequence[Place] | None = None
        while claimed is None or len(claimed) >= _AT_ONCE:
            claimed = await self._store.claim(_AT_ONCE)
            await self._on_claimed(claimed)
