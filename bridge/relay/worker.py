"""One replica: takes events in, keeps the lease, hands over when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from msgspec.structs import replace

from bridge import metrics
from bridge.core.errors import StoreAway, StoreReplaced
from bridge.core.events import Incoming
from bridge.core.model import Place
from bridge.core.ports import Accepted, Arrival, Clock, CustomerHistory, Intake, Signal, Store
from bridge.relay.background import Background
from bridge.relay.catchup import CatchUp
from bridge.relay.claims import Claims
from bridge.relay.deliver import store_insist
from bridge.relay.kit import Kit
from bridge.relay.lanes import Lanes
from bridge.relay.lease import Lease
from bridge.relay.trouble import Trouble

log = structlog.get_logger(__name__)

_TRY_AGAIN = 1.0
"""Seconds between renewals while Redis is away."""


class Worker:
    """One replica's share of the work. `on_replicas` is told how many replicas share it."""

    def __init__(
        self,
        kit: Kit,
        lease: Lease,
        clock: Clock,
        history: CustomerHistory,
        on_replicas: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._background = Background()
        self.catchup = CatchUp(
            kit, history, lambda: list(self.lanes.values()), self.accept, self._background.spawn
        )
        self.lanes = Lanes(kit, lease, self._background, self.catchup)
        self._store: Store = kit.store
        self._on_replicas = on_replicas
        self._lease = lease
        self._clock = clock
        self._claims = Claims(kit.store, clock, lease.seconds, self._claimed)
        self._trouble = Trouble()
        self._renewing = asyncio.Lock()
        self._loops: list[asyncio.Task[None]] = []

    # --- intake ----------------------------------------------------------------------------------

    async def accept(self, incoming: Incoming) -> None:
        """Store an event; returns when it is safe to acknowledge. Raises StoreAway."""
        if self._background.stopping:
            raise StoreAway("the service is stopping")
        kind = type(incoming.event).__name__.lower()
        try:
            accepted = await self._accept(incoming)
        except StoreAway:
            metrics.event(kind, "failed")
            raise
        metrics.event(kind, str(accepted.intake))
        if accepted.taken and not self._background.stopping:
            self.lanes.take_over(incoming.conversation.place)
        if accepted.mine and accepted.intake is Intake.STORED:
            self.lanes.give(incoming, accepted.waiting)

    async def _accept(self, incoming: Incoming) -> Accepted:
        replacements = self.lanes.replacements
        try:
            return await self._store.accept(incoming)
        except StoreReplaced:
            # Slack sends again in a minute what is not acknowledged: do not wait for the renewal.
            async with self._renewing:
                if replacements == self.lanes.replacements:
                    await self._renew_now()
            return await self._store.accept(incoming)

    async def _hear_arrivals(self) -> None:
        async for heard in self._store.arrivals():
            match heard:
                case Signal.VACANCY:
                    self._claims.look()
                case Signal.LISTENING:
                    self.lanes.hold()
                    self._background.spawn(store_insist(self._renew, self._clock))
                case Arrival():
                    self.lanes.give(heard.incoming, heard.waiting)

    # --- ownership -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the lease, begin to take what nobody owns, and go on until `stop`.

        Raises StoreAway, before anything else happened.
        """
        await self._renew_once()
        self._loops = [
            asyncio.create_task(self._keep_lease(), name="lease"),
            asyncio.create_task(self._hear_arrivals(), name="arrivals"),
            asyncio.create_task(self._claims.keep(), name="claims"),
        ]

    async def run(self) -> None:
        """Wait; raises what ended a loop that should not end."""
        ended, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
        for loop in ended:
            loop.result()

    async def _keep_lease(self) -> None:
        while True:
            pause = self._lease.seconds / 3
            await self._clock.sleep(min(_TRY_AGAIN, pause) if self._trouble.reason else pause)
            await self._try_to_renew()

    async def _try_to_renew(self) -> None:
        with suppress(StoreAway):
            await self._renew()

    async def _renew(self) -> None:
        async with self._renewing:
            await self._renew_now()

    async def _renew_now(self) -> None:
        try:
            await self._renew_once()
        except StoreAway as away:
            self._trouble.met(away, self._lease.held)
            raise
        self._trouble.over()

    async def _renew_once(self) -> None:
        sent_at = self._clock.boottime()
        unused = self.lanes.unused()
        renewal = await self._store.renew(unused, begin=not self._lease.lived)
        self.lanes.gave_back(unused)
        held = self._lease.held
        if renewal.replaced:
            await self.lanes.retake(sure=held)
        ours: set[Place] = set()
        if self._lease.lived and not (held and renewal.held):
            if not (renewal.held or renewal.replaced):
                sent_at = self._clock.boottime()
                begun = await self._store.renew()
                renewal = replace(begun, alone=renewal.alone, lost=renewal.lost or begun.lost)
            ours = await self.lanes.find_again()
            # Others whose leases lapsed with ours are to find their places again.
            self._claims.hold_until(sent_at + self._lease.seconds)
        age = self._lease.age
        self._lease.renewed(sent_at, renewal)
        self._on_replicas(renewal.replicas)
        metrics.PARKED_ENTRIES.set(renewal.parked)
        self.catchup.renewed(renewal, age)
        self.lanes.renewed(ours, renewal.pending)
        self._claims.renewed(renewal)

    async def _claimed(self, places: Sequence[Place]) -> None:
        if self._background.stopping:
            # The claim was in the air when the others were given back.
            await self.lanes.vacate(places)
            return
        metrics.PLACES_CLAIMED.inc(len(places))
        for place in places:
            self.lanes.take_over(place)

    @property
    def trouble(self) -> str | None:
        """What is wrong with Redis, as far as it concerns us."""
        if self._trouble.reason:
            return self._trouble.reason
        return None if self._lease.held else "Redis does not renew our lease"

    def places_owned(self) -> int:
        """How many places are ours, as far as we know."""
        return len(self.lanes.places)

    # --- the end ---------------------------------------------------------------------------------

    async def stop(self, grace: float, end_pauses: Callable[[], None]) -> None:
        """Finish what is in the air within `grace` seconds, give the rest and the places back."""
        self._background.stopping = True
        end_pauses()
        try:
            await self.lanes.leave(grace)
        finally:
            # Also where a second signal cut the grace period short.
            await self.lanes.close()
            await self._hand_over_rest()

    async def _hand_over_rest(self) -> None:
        rest = [*self._loops, *self._background.tasks]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        try:
            await self._store.release()
        except StoreAway as away:
            log.warning("lease_not_released", reason=str(away))
