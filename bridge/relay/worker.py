"""Owns places: takes events in, keeps the lease, loads lanes, hands over when it stops."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import structlog
from msgspec.structs import replace

from bridge import metrics
from bridge.core.decision import ts_key
from bridge.core.errors import NotOwner, StoreAway, StoreReplaced
from bridge.core.events import Incoming
from bridge.core.model import ConversationId, Place
from bridge.core.ports import (
    Accepted,
    Arrival,
    Clock,
    CustomerHistory,
    Intake,
    Kept,
    Signal,
    Store,
)
from bridge.relay import missing
from bridge.relay.catchup import CatchUp
from bridge.relay.claims import Claims
from bridge.relay.deliver import store_insist
from bridge.relay.kit import Kit
from bridge.relay.lane import Lane
from bridge.relay.lease import Lease
from bridge.relay.trouble import Trouble

log = structlog.get_logger(__name__)

_UNUSED_AT_ONCE = 500
_RESTORED_AT_ONCE = 100
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
        self.lanes: dict[ConversationId, Lane] = {}
        self._kit = kit
        self._store: Store = kit.store
        self._on_replicas = on_replicas
        self._lease = lease
        self._clock = clock
        self.catchup = CatchUp(kit, history, self.lanes, self.accept, self._spawn)
        self._places: set[Place] = set()
        self._claims = Claims(kit.store, clock, lease.seconds, self._claimed)
        self._trouble = Trouble()
        self._renewing = asyncio.Lock()
        self._replacements = 0
        """How often we found another Redis than before."""
        self._lapses = 0
        """How often our lease had lapsed when it was renewed."""
        self._being_loaded: set[Place] = set()
        self._leaving: set[Place] = set()
        """Places whose lanes are being let go of."""
        self._early: dict[ConversationId, list[Incoming]] = {}
        """Events whose lane is being loaded; it gets them all at once."""
        # Lanes are made only while this is held, and none is dropped meanwhile: a lane made from
        # what was read before another lane of the same conversation wrote would bring that back.
        self._loading = asyncio.Lock()
        self._dropped: set[Lane] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False

    # --- intake ----------------------------------------------------------------------------------

    async def accept(self, incoming: Incoming) -> None:
        """Store an event; returns when it is safe to acknowledge. Raises StoreAway."""
        if self._stopping:
            raise StoreAway("the service is stopping")
        kind = type(incoming.event).__name__.lower()
        try:
            accepted = await self._accept(incoming)
        except StoreAway:
            metrics.event(kind, "failed")
            raise
        metrics.event(kind, str(accepted.intake))
        if accepted.taken and not self._stopping:
            self._take_over(incoming.conversation.place)
        if accepted.mine and accepted.intake is Intake.STORED:
            self._hand_over(incoming, accepted.waiting)

    async def _accept(self, incoming: Incoming) -> Accepted:
        replacements = self._replacements
        try:
            return await self._store.accept(incoming)
        except StoreReplaced:
            # Slack sends again in a minute what is not acknowledged: do not wait for the renewal.
            async with self._renewing:
                if replacements == self._replacements:
                    await self._renew_now()
            return await self._store.accept(incoming)

    async def _hear_arrivals(self) -> None:
        async for heard in self._store.arrivals():
            match heard:
                case Signal.VACANCY:
                    self._claims.look()
                case Signal.LISTENING:
                    # It tells which places of ours have events that wait.
                    self._spawn(self._try_to_renew())
                case Arrival():
                    self._hand_over(heard.incoming, heard.waiting)

    def _hand_over(self, incoming: Incoming, waiting: int) -> None:
        """Give a stored event to its lane, loading that first where it is not in memory. `waiting`
        events are stored for it: where it knows of fewer, nobody told us of one."""
        lane = self.lanes.get(incoming.conversation)
        if lane:
            if lane.would_hold(incoming) < waiting and lane.works:
                self._spawn(missing.find(self._kit, [lane], incoming.conversation.place))
            lane.add(incoming)
        elif not self._stopping:
            self._early.setdefault(incoming.conversation, []).append(incoming)
            self._spawn(self._load(incoming.conversation))
        place = incoming.conversation.place
        if place not in self._places:
            # It became ours by this event; others of its conversations may be without an owner.
            if self._stopping:
                self._spawn(self._vacate([place]))
            else:
                self._take_place(place)

    async def _load(self, conversation: ConversationId) -> None:
        async with self._loading:
            if events := self._early.pop(conversation, None):

                async def read() -> Sequence[Kept]:
                    return [await self._store.load(conversation)]

                await self._read(events, read)
        self._drop_idle()

    async def _load_place(self, place: Place) -> None:
        async with self._loading:
            self._being_loaded.discard(place)
            events = []
            for conversation in [one for one in self._early if one.place == place]:
                # What was handed over by now is in what is read, or settled by somebody else.
                events += self._early.pop(conversation)
            await self._read(events, lambda: self._store.load_place(place))
        self._drop_idle()

    async def _read(
        self, events: Sequence[Incoming], read: Callable[[], Awaitable[Sequence[Kept]]]
    ) -> None:
        lapses, replacements = self._lapses, self._replacements

        async def attempt() -> Sequence[Kept]:
            nonlocal replacements
            if replacements != self._replacements:
                # Only the Redis of before is sure to have them.
                await self._offer(events)
                replacements = self._replacements
            return await read()

        found = await store_insist(attempt, self._kit.clock)
        if lapses != self._lapses or not self._lease.held:
            # A process that stood still meanwhile may have read what is out of date by now; what is
            # ours after a lapse is loaded again.
            return
        for kept in found:
            if kept.mine:
                self._take_up(kept)

    def _take_up(self, kept: Kept) -> None:
        """Make the lane of what was read, or add the events that it has not heard of."""
        if self._stopping:
            return
        conversation = kept.conversation
        self._places.add(conversation.id.place)
        events = [*kept.lane, *self._early.pop(conversation.id, ())]
        lane = self.lanes.get(conversation.id)
        if lane:
            for incoming in sorted(events, key=lambda one: ts_key(one.ts)):
                lane.add(incoming)
            return
        lane = Lane(
            replace(kept, lane=tuple(events)),
            self._kit,
            self._idle,
            self._lost,
            self.catchup.unread,
        )
        self.lanes[conversation.id] = lane
        lane.wake()
        self.catchup.taken_up(lane)

    # --- lanes that end --------------------------------------------------------------------------

    def _idle(self, lane: Lane) -> None:
        self._dropped.add(lane)
        self._drop_idle()

    def _drop_idle(self) -> None:
        if self._loading.locked():
            return
        for lane in self._dropped:
            if lane.idle and self.lanes.get(lane.conversation.id) is lane:
                del self.lanes[lane.conversation.id]
        self._dropped.clear()

    def _lost(self, lane: Lane) -> None:
        """Another replica owns the place of this lane, or our lease was in doubt: let go of all of
        them, and ask whose it is."""
        if self._stopping or self.lanes.get(lane.conversation.id) is not lane:
            return
        place = lane.conversation.id.place
        if place in self._leaving:
            return  # another lane of it was told before
        log.warning("place_lost", place=str(place))
        self._take_over(place)

    def _take_over(self, place: Place) -> None:
        """It was another replica's until now: what is remembered of it is out of date."""
        if self._lanes_of(place):
            self._forget(place)
        self._take_place(place)

    def _forget(self, place: Place) -> None:
        self._places.discard(place)
        self._leaving.add(place)
        for lane in self._lanes_of(place):
            self._spawn(lane.abandon())
        # Whoever waits to load it would find the lanes still there.
        self._being_loaded.discard(place)
        self._spawn(self._let_go(place))

    def _lanes_of(self, place: Place) -> list[Lane]:
        return [lane for lane in self.lanes.values() if lane.conversation.id.place == place]

    async def _let_go(self, place: Place) -> None:
        # What they have in the air ends before anybody reads the place again.
        async with self._loading:
            self._leaving.discard(place)
            lanes = self._lanes_of(place)
            for lane in lanes:
                del self.lanes[lane.conversation.id]
            await asyncio.gather(*(lane.abandon() for lane in lanes))

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
        unused = self._unused()
        renewal = await self._store.renew(unused, begin=not self._lease.lived)
        self._places -= unused - self._in_use()
        held = self._lease.held
        if renewal.replaced:
            await self._take_back(sure=held)
        ours: set[Place] = set()
        if self._lease.lived and not (held and renewal.held):
            if not (renewal.held or renewal.replaced):
                sent_at = self._clock.boottime()
                begun = await self._store.renew()
                renewal = replace(begun, alone=renewal.alone, lost=renewal.lost or begun.lost)
            ours = await self._find_again()
            # Others whose leases lapsed with ours are to find their places again.
            self._claims.hold_until(sent_at + self._lease.seconds)
        age = self._lease.age
        self._lease.renewed(sent_at, renewal)
        self._on_replicas(renewal.replicas)
        metrics.PARKED_ENTRIES.set(renewal.parked)
        self.catchup.renewed(renewal, age)
        waiting = self._waiting()
        behind = {place for place, count in renewal.pending.items() if count > waiting[place]}
        # Until the lease was there again, a write of a lane may have been refused.
        working = {lane.conversation.id.place for lane in self.lanes.values() if lane.works}
        for place in (ours - working) | behind:
            self._take_place(place)
        for place in behind:
            # That may have to wait, and what it will find may be older than what waits already.
            there = [lane for lane in self._lanes_of(place) if lane.works]
            self._spawn(missing.find(self._kit, there, place))
        self._claims.renewed(renewal)

    def _waiting(self) -> Counter[Place]:
        """How many events wait in each place, as far as our lanes know."""
        waiting = Counter[Place]()
        for lane in self.lanes.values():
            waiting[lane.conversation.id.place] += len(lane.waiting) if lane.works else 0
        return waiting

    async def _find_again(self) -> set[Place]:
        """Our lease had lapsed, and others may have taken places of ours. Let go of those before we
        believe in it again: until then no lane sends anything. Redis has it by now, so that nobody
        takes a place after this look. Returns what is ours."""
        self._lapses += 1
        ours = set(await self._store.owned())
        for place in {*self._places, *(one.place for one in self.lanes)} - ours:
            log.warning("place_lost", place=str(place))
            self._forget(place)
        return ours

    async def _take_back(self, sure: bool) -> None:
        """Another Redis answers. What it lost of our places and lanes we still know."""
        kept = await self._store.retake(self._places, sure)
        self._replacements += 1
        early = [one for events in self._early.values() for one in events]
        self._spawn(self._restore(set(kept), early))

    async def _restore(self, kept: set[Place], early: Sequence[Incoming]) -> None:
        async with self._loading:
            for lanes in _batches(list(self.lanes.values())):
                await asyncio.gather(*map(self._restore_lane, lanes))
            await self._offer(early)
        for place in kept & self._places:
            self._take_place(place)

    async def _restore_lane(self, lane: Lane) -> None:
        try:
            await lane.restore()
        except NotOwner:
            self._lost(lane)
        await self._offer(lane.waiting.values())

    async def _offer(self, events: Iterable[Incoming]) -> None:
        """Store again what was acknowledged, and may be known only here."""
        for incoming in list(events):
            await store_insist(lambda: self._store.accept(incoming), self._kit.clock)  # noqa: B023  # used at once

    def _in_use(self) -> set[Place]:
        return {
            *(lane.conversation.id.place for lane in self.lanes.values()),
            *(conversation.place for conversation in self._early),
            *self._being_loaded,
        }

    def _unused(self) -> set[Place]:
        return set(islice(self._places - self._in_use(), _UNUSED_AT_ONCE))

    async def _claimed(self, places: Sequence[Place]) -> None:
        if self._stopping:
            # The claim was in the air when the others were given back.
            await self._vacate(places)
            return
        metrics.PLACES_CLAIMED.inc(len(places))
        for place in places:
            self._take_over(place)

    def _take_place(self, place: Place) -> None:
        self._places.add(place)
        if place not in self._being_loaded:
            self._being_loaded.add(place)
            self._spawn(self._load_place(place))

    @property
    def trouble(self) -> str | None:
        """What is wrong with Redis, as far as it concerns us."""
        if self._trouble.reason:
            return self._trouble.reason
        return None if self._lease.held else "Redis does not renew our lease"

    def places_owned(self) -> int:
        """How many places are ours, as far as we know."""
        return len(self._places)

    # --- the end ---------------------------------------------------------------------------------

    async def stop(self, grace: float, end_pauses: Callable[[], None]) -> None:
        """Finish what is in the air within `grace` seconds, give the rest and the places back."""
        self._stopping = True
        end_pauses()
        by_place = defaultdict[Place, list[Lane]](list)
        for lane in self.lanes.values():
            by_place[lane.conversation.id.place].append(lane)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._vacate(self._places - by_place.keys())
                    await asyncio.gather(*map(self._leave, by_place, by_place.values()))
        finally:
            # Also where a second signal cut the grace period short.
            lanes = self.lanes.values()
            await asyncio.gather(*(lane.abandon() for lane in lanes), return_exceptions=True)
            await self._hand_over_rest()

    async def _leave(self, place: Place, lanes: Collection[Lane]) -> None:
        """Each place goes as soon as it can: none waits for what is in the air in another."""
        await asyncio.gather(*(lane.stop() for lane in lanes), return_exceptions=True)
        await asyncio.gather(*(lane.abandon() for lane in lanes), return_exceptions=True)
        await self._vacate([place])

    async def _vacate(self, places: Collection[Place]) -> None:
        self._places.difference_update(places)
        try:
            await self._store.vacate(places)
        except StoreAway as away:
            log.warning("places_not_vacated", places=len(places), reason=str(away))

    async def _hand_over_rest(self) -> None:
        rest = [*self._loops, *self._tasks]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        self.lanes.clear()
        try:
            await self._store.release()
        except StoreAway as away:
            log.warning("lease_not_released", reason=str(away))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self._stopping:
            return
        if error := task.exception():
            log.error("worker_task_failed", exc_info=error)
            metrics.ALARMS.labels("worker_task_failed").inc()


def _batches(lanes: Sequence[Lane]) -> Iterable[Sequence[Lane]]:
    """What is stored again at once: nothing is loaded meanwhile, so it has to be quick."""
    return (lanes[n : n + _RESTORED_AT_ONCE] for n in range(0, len(lanes), _RESTORED_AT_ONCE))
