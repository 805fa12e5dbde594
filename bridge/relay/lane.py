"""One conversation at its owner: its state, its waiting events, and the tasks that work on it.

Three tasks at most, each alive only while there is something for it to do: *start* opens a contact,
*forward* works the lane towards the agent, one event at a time, *back* posts what is owed to the
thread. They share the state, which changes only in `apply`, without an await; what is stored is
always the newest state, written under one lock, so a later write never carries an older state.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars

from bridge import metrics
from bridge.core.conversation import deadline, decide, duties, next_up
from bridge.core.decision import Decision
from bridge.core.errors import NotOwner, StoreAway
from bridge.core.events import (
    CaughtUp,
    Duty,
    Event,
    FellBehind,
    Flag,
    Incoming,
    ItemFailed,
    ItemsArrived,
    Listen,
    Post,
    ReadThread,
    RetireButton,
    StartContact,
    TellAgent,
    Then,
    Ticked,
    Unflag,
    Wrote,
)
from bridge.core.model import Contact, Conversation, Mark, Phase, Started
from bridge.core.parked import Parked
from bridge.core.ports import Chat, Kept
from bridge.relay import back, forward, signs, start
from bridge.relay.back import Found
from bridge.relay.change import Change
from bridge.relay.clock import Stopping
from bridge.relay.deliver import store_insist
from bridge.relay.doubt import Doubt, suspicion
from bridge.relay.ear import Ear
from bridge.relay.kit import Kit
from bridge.relay.repair import Repairs

log = structlog.get_logger(__name__)

_REMEMBERED = 500
"""Settled event ids that a late sweep must not bring back."""
_MANY = 100
"""Waiting events of a lane that is behind."""


class Lane:
    """See the module. Everything here runs in the event loop of one process."""

    def __init__(
        self,
        kept: Kept,
        kit: Kit,
        on_idle: Callable[[Lane], None],
        on_lost: Callable[[Lane], None],
        on_unread: Callable[[Lane], None],
    ) -> None:
        self.conversation = kept.conversation
        self.waiting: dict[str, Incoming] = {event.id: event for event in kept.lane}
        self.mark = suspicion(kept) if kept.doubt else kept.mark
        self.kit = kit
        self.chat: Chat | None = None
        self.started: Started | None = None
        """A fresh contact, which may bring its first socket URL along."""
        chatted = kept.conversation.contact or kept.conversation.past_contact_id
        self.in_doubt = bool(chatted) or kept.doubt > 0
        """Something may have been sent whose answer nobody read: look before sending."""
        self.doubts = tuple(Doubt) if kept.doubt else ()
        """What is unknown since the store lost its last writes."""
        self.found: Found = {}
        """What was found in the thread then: posts of which the state may know nothing."""
        self._unsure: set[str] = set()
        """Events that the store may not have: it was told to remove them and did not answer, or it is
        another one than before."""
        self._removing: Sequence[str] = ()
        """What the write under way removes."""
        self.missing = 0
        """Readings under way, or to come, of events that are stored and that nobody told us of."""
        self.first_try: dict[str, float] = {}
        """Since when (boottime) the outcome of a message has been unknown, by its id."""
        self.asides: list[TellAgent] = []
        self.changed = Change()
        self.stopping = False
        self._let_go = False
        """A write was refused or cut short. The state is ahead of what is stored, and nobody may store
        it: the lane event that led to it would be worked again."""
        self._listening_to = ""
        self._stored = _contact_id(kept.conversation)
        """The contact that the store knows of. Another one, connected, would be forgotten in a crash
        with whoever answers there."""
        self._settled: dict[str, None] = {}
        self._unparked: tuple[Parked, ...] = ()
        """What was given up; it is stored with the next write, which carries the state without it."""
        self.repairs = Repairs(kit.clock, kit.timing.repair_patience)
        self._writing = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._extras: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._on_unread = on_unread
        self._context = contextvars.copy_context()
        self._context.run(bind_contextvars, conversation=str(self.conversation.id))

    # --- from outside ----------------------------------------------------------------------------

    def add(self, incoming: Incoming) -> None:
        """Take an event that is stored in this lane; one that is known changes nothing."""
        if incoming.id in self._settled:
            # A late sweep, or the store has lost that it was settled.
            self._spawn(self._rewrite((incoming.id,)))
        elif incoming.id not in self.waiting:
            self.waiting[incoming.id] = incoming
            self.changed.set()
            told = self.conversation.behind
            if self.behind and not told and isinstance(incoming.event, Wrote):
                self.hear(FellBehind(incoming.event.message.user_id, incoming.ts))
        self.wake()

    def stored(self, *more: Incoming) -> int:
        """How many events we know of that the store surely has for this lane, with these."""
        unsure = self._unsure.difference(one.id for one in more)
        known = len(self.waiting) + sum(one.id not in self.waiting for one in more)
        return known - sum(one in self.waiting for one in unsure)

    def distrust(self) -> None:
        """The store is another one than before: until `trust` it may lack what waits."""
        self._unsure.update(self.waiting)

    def trust(self) -> None:
        """What waits was stored again."""
        self._unsure.intersection_update(self._removing)

    def searched(self) -> None:
        """A reading of what nobody told us of has ended."""
        self.missing -= 1
        self.changed.set()
        self.wake()
        self._rest()

    def resolve(self, doubt: Doubt) -> None:
        """What the store may have lost of this is known now."""
        self.doubts = tuple(one for one in self.doubts if one is not doubt)
        self.changed.set()
        self.wake()

    async def restore(self) -> None:
        """Store again what only we may know since the store lost its last writes."""
        async with self._writing:
            if mark := self.mark:
                # There may be a newer one by the time that the store answers.
                await self._store(lambda: self._mark(self.mark or mark))
        await self._rewrite(tuple(self._settled))

    @property
    def behind(self) -> bool:
        """Whether so many events wait that their author should know."""
        return len(self.waiting) > _MANY

    @property
    def idle(self) -> bool:
        """Whether nothing is lost by forgetting this object."""
        return not (
            self.waiting
            or self.missing
            or self._tasks
            or self._extras
            or self.chat
            or self.conversation.active
            or self._writing.locked()
        )

    async def stop(self) -> None:
        """Finish what is in the air and start nothing new."""
        self.stopping = True
        self.changed.set()
        if self._timer:
            self._timer.cancel()
        if starting := self._tasks.get("start"):
            starting.cancel()
        busy = [*self._tasks.values(), *self._extras]
        if busy:
            await asyncio.wait(busy)

    async def abandon(self) -> None:
        """Let go at once: the place belongs to somebody else, or the grace period is over."""
        self.stopping = self._let_go = True
        if self._timer:
            self._timer.cancel()
        busy = [*self._tasks.values(), *self._extras]
        for task in busy:
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.gather(
            *(t for t in busy if t is not asyncio.current_task()), return_exceptions=True
        )
        # Nothing is heard from here on; a dead socket takes a while to close, for which nobody waits.
        self._stop_listening()

    @property
    def works(self) -> bool:
        """Whether it was not let go of."""
        return not self.stopping

    # --- state -----------------------------------------------------------------------------------

    def apply(self, event: Event) -> Decision:
        """Let the conversation decide, and see to what follows."""
        decision = self.foresee(event)
        before, after = self.conversation, decision.conversation
        if after is not before and after != before:
            if after.phase is not before.phase:
                log.info("phase_changed", phase=str(after.phase), generation=after.generation)
            self.conversation = after
            self.changed.set()
        self._unparked += decision.park
        for effect in decision.effects:
            self._best_effort(effect)
        self.wake()
        return decision

    def foresee(self, event: Event) -> Decision:
        """What `apply` would decide. Nothing changes."""
        return decide(self.conversation, event, self.kit.clock.now(), self.kit.policy)

    def hear(self, event: Event) -> None:
        """The same from a callback: what has to be stored is stored in the background."""
        if self.stopping:
            return
        # The caller's log lines may belong to another conversation, or to none.
        self._context.copy().run(self._hear, event)

    def _hear(self, event: Event) -> None:
        try:
            decision = self.apply(event)
        except Exception as error:  # noqa: BLE001  # it must not end whoever tells
            self._misheard(event, error)
            return
        if decision.save:
            self._spawn(self.save())

    def _misheard(self, event: Event, error: Exception) -> None:
        """Our own code failed on a fact. Of items the bad one is given up and the others go on;
        anything else is tried again, because a lane without it may stand still."""
        log.error("lane_failed", task=type(event).__name__, exc_info=error)
        metrics.ALARMS.labels("lane_failed").inc()
        match event:
            case ItemsArrived(items=[item]):
                self.hear(ItemFailed(event.contact_id, item))
            case ItemsArrived():
                for item in event.items:
                    self.hear(ItemsArrived(event.contact_id, (item,)))
            case _:
                if not self.repairs.hopeless(f"fact {type(event).__name__}", error):
                    delay = self.kit.timing.repair_delay
                    asyncio.get_running_loop().call_later(delay, self.hear, event)

    async def save(self) -> None:
        """Store the state as it is now."""
        async with self._writing:
            await self._settle()

    async def conclude(
        self, event: Event, done: Sequence[str] = (), unmark: bool = False
    ) -> Decision:
        """Apply what came of an effect and store it, both or neither as far as others can see.

        The lock is taken first: another task's write must not carry the new state while the lane
        event that led to it is still stored, or a crash in between would perform it again.
        """
        async with self._writing:
            decision = self.apply(event)
            await self._keep(decision.then, done, unmark, save=decision.save)
        return decision

    async def settle(self, then: Then, done: Sequence[str]) -> None:
        """Store what became of lane events that needed no effect, or whose effects are done."""
        async with self._writing:
            await self._keep(then, done, unmark=False, save=False)

    async def _keep(self, then: Then, done: Sequence[str], unmark: bool, save: bool) -> None:
        if then is Then.FORGET:
            await self._store(lambda: self.kit.store.forget(self.conversation.id, done), done)
            self.conversation = Conversation(self.conversation.id)
        elif then is Then.SETTLE or unmark or save:
            await self._settle(done if then is Then.SETTLE else (), unmark)
            self.mark = None if unmark else self.mark
        if then is not Then.WAIT:
            for event_id in done:
                self.waiting.pop(event_id, None)
                self._settled[event_id] = None
            while len(self._settled) > _REMEMBERED:
                del self._settled[next(iter(self._settled))]
            self.changed.set()
            if self.conversation.behind and not self.waiting:
                self.hear(CaughtUp())

    async def _settle(self, done: Sequence[str] = (), unmark: bool = False) -> None:
        """Write the newest state, and what it no longer has because it was given up."""
        parked: tuple[Parked, ...] = ()

        async def write() -> None:
            nonlocal parked
            parked = self._unparked
            doubt = bool(self.doubts)
            stored = _contact_id(self.conversation)
            await self.kit.store.settle(self.conversation, done, unmark, parked, doubt)
            self._stored = stored

        known = self._stored
        await self._store(write, done)
        if self._stored != known:
            self.wake()
        self._unparked = self._unparked[len(parked) :]
        for one in parked:
            metrics.PARKED.labels(str(one.direction), one.reason).inc()
            log.warning("parked", id=one.id, direction=str(one.direction), reason=one.reason)

    async def _mark(self, mark: Mark) -> None:
        await self.kit.store.mark(self.conversation.id, mark.ids, mark.since)

    async def _rewrite(self, done: Sequence[str]) -> None:
        """Store the state as it is, whatever the store has instead, and drop what was settled."""
        async with self._writing:
            if self.conversation == Conversation(self.conversation.id):
                await self._store(lambda: self.kit.store.forget(self.conversation.id, done))
            else:
                await self._settle(done)

    async def _store(
        self, call: Callable[[], Coroutine[Any, Any, None]], done: Sequence[str] = ()
    ) -> None:
        """Insist on a write; `done` are the events that it removes."""
        if self._let_go:
            raise NotOwner(f"{self.conversation.id.place} was let go of")

        async def attempt() -> None:
            try:
                await call()
            except StoreAway:
                self._unsure.update(done)
                raise

        self._removing = done
        try:
            await store_insist(attempt, self.kit.clock)
        except NotOwner:
            self._let_go = True
            raise
        self._unsure.difference_update(done)
        self._removing = ()

    # --- work ------------------------------------------------------------------------------------

    def wake(self) -> None:
        """See that every duty has its task, and the next deadline its timer."""
        if self.stopping:
            return
        wanted = duties(self.conversation)
        for duty in wanted:
            self._see_to(duty)
        if self.conversation.phase is not Phase.OPENING:
            self._stop_opening()
        if self.conversation.phase is not Phase.OPEN:
            self.asides.clear()  # the chat that they were for is over, or being left
        if "forward" not in self._tasks:
            if not any(isinstance(duty, Listen) for duty in wanted):
                self._stop_listening()
            if self.asides or next_up(self.conversation, self.waiting.values()):
                self._ensure("forward", forward.run)
        self._set_timer()

    def _see_to(self, duty: Duty) -> None:
        match duty:
            case StartContact():
                self._ensure("start", start.run)
            case Listen():
                self._listen(duty.contact)
            case Post():
                self._ensure("back", back.run)
            case ReadThread():
                self._on_unread(self)

    def _stop_opening(self) -> None:
        task = self._tasks.get("start")
        # One that ends the opening itself has still to store that.
        if task and task is not asyncio.current_task():
            task.cancel()

    def _ensure(self, name: str, run: Callable[[Lane], Coroutine[Any, Any, None]]) -> None:
        if name in self._tasks:
            return
        task = self._task(run(self), name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        if self._survived(task):
            self.wake()
        self._rest()

    def _rest(self) -> None:
        if self.idle and not self.stopping:
            self._on_idle(self)

    def _survived(self, task: asyncio.Task[None]) -> bool:
        """Whether the lane can go on at once after a task's end."""
        if task.cancelled():
            return not self.stopping
        error = task.exception()
        if error is None:
            return True
        if isinstance(error, Stopping):
            return False
        if isinstance(error, NotOwner):
            # What was refused is in our state all the same: nothing may begin from there.
            self.stopping = True
            self._on_lost(self)
            return False
        # A defect must neither stop the service nor spin: the lane tries again in a while.
        log.error("lane_failed", task=task.get_name(), exc_info=error)
        metrics.ALARMS.labels("lane_failed").inc()
        asyncio.get_running_loop().call_later(self.kit.timing.repair_delay, self.wake)
        return False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._task(work)
        self._extras.append(task)
        task.add_done_callback(self._extra_ended)

    def _task(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        # A context of its own: in a shared one a call asks the guard of another that began later.
        return asyncio.create_task(work, name=name, context=self._context.copy())

    def _extra_ended(self, task: asyncio.Task[None]) -> None:
        self._extras.remove(task)
        self._survived(task)
        self._rest()

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due = deadline(self.conversation)
        if due is not None:
            wait = min(max(due - self.kit.clock.now(), 0.0) + 0.05, 3600.0)
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.hear(Ticked())

    def _best_effort(self, effect: object) -> None:
        match effect:
            case Flag() | Unflag() | RetireButton():
                self._spawn(signs.show(self.kit, self.conversation.id, effect))
            case TellAgent():
                self.asides.append(effect)
            case _:
                pass

    # --- listening -------------------------------------------------------------------------------

    def _listen(self, contact: Contact) -> None:
        if contact.contact_id == self._listening_to or contact.contact_id != self._stored:
            return
        self._stop_listening()
        started = self.started if self.started and self.started.contact == contact else None
        self.started = None
        self._listening_to = contact.contact_id
        self.chat = self.kit.agent.listen(
            contact, self.conversation.seen, Ear(self, contact.contact_id), started
        )

    def _stop_listening(self) -> None:
        if self.chat:
            chat, self.chat = self.chat, None
            self._spawn(chat.close())
        self._listening_to = ""


def _contact_id(conversation: Conversation) -> str:
    return conversation.contact.contact_id if conversation.contact else ""
