"""The places that are ours, and those of their lanes that are in memory."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import structlog
from msgspec.structs import replace

from bridge.core.decision import ts_key
from bridge.core.errors import NotOwner, StoreAway
from bridge.core.events import Incoming
from bridge.core.model import ConversationId, Place
from bridge.core.ports import Kept
from bridge.relay import missing
from bridge.relay.background import Background
from bridge.relay.catchup import CatchUp
from bridge.relay.deliver import store_insist
from bridge.relay.kit import Kit
from bridge.relay.lane import Lane
from bridge.relay.lease import Lease

log = structlog.get_logger(__name__)

_UNUSED_AT_ONCE = 500
_RESTORED_AT_ONCE = 100


class Lanes(Mapping[ConversationId, Lane]):
    """Loads lanes when there is something for them, drops them when there is not, and lets go of all
    of a place that is another replica's."""

    def __init__(self, kit: Kit, lease: Lease, background: Background, catchup: CatchUp) -> None:
        self.places: set[Place] = set()
        """What is ours, as far as we know."""
        self.replacements = 0
        """How often we found another Redis than before."""
        self._lapses = 0
        """How often our lease had lapsed when it was renewed."""
        self._kit = kit
        self._store = kit.store
        self._lease = lease
        self._background = background
        self._catchup = catchup
        self._lanes: dict[ConversationId, Lane] = {}
        self._being_loaded: set[Place] = set()
        self._being_let_go: set[Place] = set()
        """Places whose lanes are being let go of."""
        self._early: dict[ConversationId, list[Incoming]] = {}
        """Events whose lane is being loaded; it gets them all at once."""
        # Lanes are made only while this is held, and none is dropped meanwhile: a lane made from
        # what was read before another lane of the same conversation wrote would bring that back.
        self._loading = asyncio.Lock()
        self._dropped: set[Lane] = set()
        self._held: list[Lane] = []
        """Lanes that send nothing until the next renewal."""

    def __getitem__(self, conversation: ConversationId) -> Lane:
        return self._lanes[conversation]

    def __iter__(self) -> Iterator[ConversationId]:
        return iter(self._lanes)

    def __len__(self) -> int:
        return len(self._lanes)

    def of(self, place: Place) -> list[Lane]:
        """The lanes of a place."""
        return [lane for lane in self._lanes.values() if lane.conversation.id.place == place]

    # --- what comes in ---------------------------------------------------------------------------

    def give(self, incoming: Incoming, waiting: int) -> None:
        """Give a stored event to its lane, loading that first where it is not in memory. `waiting`
        events are stored for it: where it knows of fewer, nobody told us of one."""
        lane = self._lanes.get(incoming.conversation)
        if lane:
            if lane.stored(incoming) < waiting and lane.works:
                self._find_missing([lane], incoming.conversation.place)
            lane.add(incoming)
        elif not self._background.stopping:
            self._early.setdefault(incoming.conversation, []).append(incoming)
            self._background.spawn(self._load(incoming.conversation))
        place = incoming.conversation.place
        if place not in self.places:
            # It became ours by this event; others of its conversations may be without an owner.
            if self._background.stopping:
                self._background.spawn(self.vacate([place]))
            else:
                self.take(place)

    def take(self, place: Place) -> None:
        """It is ours: load what waits there."""
        self.places.add(place)
        if place not in self._being_loaded:
            self._being_loaded.add(place)
            self._background.spawn(self._load_place(place))

    def take_over(self, place: Place) -> None:
        """It was another replica's until now: what is remembered of it is out of date."""
        if self.of(place):
            self.forget(place)
        self.take(place)

    def _find_missing(self, lanes: Sequence[Lane], place: Place) -> None:
        self._background.spawn(missing.find(self._kit, lanes, place))

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
        lapses, replacements = self._lapses, self.replacements

        async def attempt() -> Sequence[Kept]:
            nonlocal replacements
            if replacements != self.replacements:
                # Only the Redis of before is sure to have them.
                await self._offer(events)
                replacements = self.replacements
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
        if self._background.stopping:
            return
        conversation = kept.conversation
        self.places.add(conversation.id.place)
        events = [*kept.lane, *self._early.pop(conversation.id, ())]
        lane = self._lanes.get(conversation.id)
        if lane:
            for incoming in sorted(events, key=lambda one: ts_key(one.ts)):
                lane.add(incoming)
            return
        lane = Lane(
            replace(kept, lane=tuple(events)),
            self._kit,
            self._idle,
            self.lost,
            self._catchup.unread,
        )
        self._lanes[conversation.id] = lane
        lane.wake()
        self._catchup.taken_up(lane)

    # --- what ends -------------------------------------------------------------------------------

    def _idle(self, lane: Lane) -> None:
        self._dropped.add(lane)
        self._drop_idle()

    def _drop_idle(self) -> None:
        if self._loading.locked():
            return
        for lane in self._dropped:
            if lane.idle and self._lanes.get(lane.conversation.id) is lane:
                del self._lanes[lane.conversation.id]
        self._dropped.clear()

    def lost(self, lane: Lane) -> None:
        """Another replica owns the place of this lane, or our lease was in doubt: let go of all of
        them, and ask whose it is."""
        if self._background.stopping or self._lanes.get(lane.conversation.id) is not lane:
            return
        place = lane.conversation.id.place
        if place in self._being_let_go:
            return  # another lane of it was told before
        log.warning("place_lost", place=str(place))
        self.take_over(place)

    def forget(self, place: Place) -> None:
        """It is not ours: its lanes send nothing more."""
        self.places.discard(place)
        self._being_let_go.add(place)
        for lane in self.of(place):
            self._background.spawn(lane.abandon())
        # Whoever waits to load it would find the lanes still there.
        self._being_loaded.discard(place)
        self._background.spawn(self._let_go(place))

    async def _let_go(self, place: Place) -> None:
        # What they have in the air ends before anybody reads the place again.
        async with self._loading:
            self._being_let_go.discard(place)
            lanes = self.of(place)
            for lane in lanes:
                del self._lanes[lane.conversation.id]
            await asyncio.gather(*(lane.abandon() for lane in lanes))

    # --- what a renewal asks and tells -----------------------------------------------------------

    def unused(self) -> set[Place]:
        """Places of ours in which there is nothing to do; some of them, where they are many."""
        return set(islice(self.places - self._in_use(), _UNUSED_AT_ONCE))

    def gave_back(self, unused: set[Place]) -> None:
        """These are nobody's, unless something has come for them meanwhile."""
        self.places -= unused - self._in_use()

    def hold(self) -> None:
        """For a while nobody could tell us anything. What waits may have been written after what we
        were not told of: nothing more is sent before a renewal tells where events wait."""
        held = [lane for lane in self._lanes.values() if lane.works]
        for lane in held:
            lane.missing += 1
        self._held += held

    def renewed(self, ours: Collection[Place], pending: Mapping[Place, int]) -> None:
        """Load what became `ours` again by a renewal after a lapse, and find what nobody told us of:
        so many events are stored as `pending` in each place."""
        waiting = Counter[Place]()
        working = set[Place]()
        for lane in self._lanes.values():
            if lane.works:
                waiting[lane.conversation.id.place] += lane.stored()
                working.add(lane.conversation.id.place)
        behind = {place for place, count in pending.items() if count > waiting[place]}
        # Until the lease was there again, a write of a lane may have been refused.
        for place in {*ours}.difference(working) | behind:
            self.take(place)
        for place in behind:
            # That may have to wait, and what it will find may be older than what waits already.
            self._find_missing([lane for lane in self.of(place) if lane.works], place)
        held, self._held = self._held, []
        for lane in held:
            if lane.waiting and lane.works:
                # It may have got what waits, and settled what did, since these were counted.
                self._find_missing([lane], lane.conversation.id.place)
            lane.searched()

    def _in_use(self) -> set[Place]:
        return {
            *(lane.conversation.id.place for lane in self._lanes.values()),
            *(conversation.place for conversation in self._early),
            *self._being_loaded,
        }

    # --- a lapse, or another Redis ---------------------------------------------------------------

    async def find_again(self) -> set[Place]:
        """Our lease had lapsed, and others may have taken places of ours. Let go of those before we
        believe in it again: until then no lane sends anything. Redis has it by now, so that nobody
        takes a place after this look. Returns what is ours."""
        self._lapses += 1
        ours = set(await self._store.owned())
        for place in {*self.places, *(one.place for one in self._lanes)} - ours:
            log.warning("place_lost", place=str(place))
            self.forget(place)
        return ours

    async def retake(self, *, sure: bool) -> None:
        """Another Redis answers. What it lost of our places and lanes we still know; `sure`: our
        lease was held until now."""
        kept = await self._store.retake(self.places, sure)
        self.replacements += 1
        for lane in self._lanes.values():
            lane.distrust()
        early = [one for events in self._early.values() for one in events]
        self._background.spawn(self._restore(set(kept), early))

    async def _restore(self, kept: set[Place], early: Sequence[Incoming]) -> None:
        async with self._loading:
            for lanes in _batches(list(self._lanes.values())):
                await asyncio.gather(*map(self._restore_lane, lanes))
            await self._offer(early)
        for place in kept & self.places:
            self.take(place)

    async def _restore_lane(self, lane: Lane) -> None:
        replacements = self.replacements
        try:
            await lane.restore()
        except NotOwner:
            self.lost(lane)
        await self._offer(lane.waiting.values())
        if replacements == self.replacements:
            lane.trust()

    async def _offer(self, events: Iterable[Incoming]) -> None:
        """Store again what was acknowledged, and may be known only here. What opens a conversation
        goes before its replies, which would be nobody's without it."""
        for incoming in sorted(events, key=lambda one: ts_key(one.ts)):
            await store_insist(lambda: self._store.accept(incoming), self._kit.clock)  # noqa: B023  # used at once

    # --- the end ---------------------------------------------------------------------------------

    async def leave(self, grace: float) -> None:
        """Finish what is in the air within `grace` seconds, and give the places back."""
        by_place = defaultdict[Place, list[Lane]](list)
        for lane in self._lanes.values():
            by_place[lane.conversation.id.place].append(lane)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.vacate(self.places - by_place.keys())
                await asyncio.gather(*map(self._leave, by_place, by_place.values()))

    async def close(self) -> None:
        """Cut short what is still in the air."""
        lanes = self._lanes.values()
        await asyncio.gather(*(lane.abandon() for lane in lanes), return_exceptions=True)
        self._lanes.clear()

    async def vacate(self, places: Collection[Place]) -> None:
        """Give these back, for others to claim."""
        self.places.difference_update(places)
        try:
            await self._store.vacate(places)
        except StoreAway as away:
            log.warning("places_not_vacated", places=len(places), reason=str(away))

    async def _leave(self, place: Place, lanes: Collection[Lane]) -> None:
        """Each place goes as soon as it can: none waits for what is in the air in another."""
        await asyncio.gather(*(lane.stop() for lane in lanes), return_exceptions=True)
        await asyncio.gather(*(lane.abandon() for lane in lanes), return_exceptions=True)
        await self.vacate([place])


def _batches(lanes: Sequence[Lane]) -> Iterable[Sequence[Lane]]:
    """What is stored again at once: nothing is loaded meanwhile, so it has to be quick."""
    return (lanes[n : n + _RESTORED_AT_ONCE] for n in range(0, len(lanes), _RESTORED_AT_ONCE))
