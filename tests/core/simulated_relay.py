"""`relay/lane` in steps: one conversation at its owner, and the live end of its contact."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from bridge.core.conversation import deadline, decide, duties, next_up
from bridge.core.decision import Decision
from bridge.core.errors import Gone, NotOwner
from bridge.core.events import (
    ContactOver,
    CredentialsRenewed,
    Event,
    Flag,
    Incoming,
    ItemsArrived,
    Listen,
    MessageSent,
    Post,
    PostFailed,
    ReadThread,
    RetireButton,
    StartContact,
    Subscribed,
    TellAgent,
    Then,
    ThreadRead,
    Ticked,
)
from bridge.core.lookback import LookBack
from bridge.core.model import Conversation, Item, ItemKind, Phase
from bridge.core.ports import Kept
from bridge.relay.lease import Lease
from tests.core.simulated_back import back
from tests.core.simulated_steps import Steps, Task, Turns
from tests.core.simulated_work import forward, start
from tests.core.simulated_world import World


class Owner(Protocol):
    """The process that a lane lives in."""

    name: str
    lease: Lease

    def wall(self) -> float: ...
    def lost(self, lane: SimLane) -> None: ...


class SimChat:
    """The live end of one contact: connect, subscribe, read the transcript, hear."""

    def __init__(self, lane: SimLane, contact_id: str, known: LookBack) -> None:
        self._lane = lane
        self._connect = lane.world.connect
        self.contact_id = contact_id
        self._known = known
        self._kept_back: list[Item] = []
        self._gap = True
        self._new = not known
        """Its sockets have heard everything: there was nothing before the first."""
        self.done = False

    def run(self) -> Steps[None]:
        """Until the contact is over, through any number of sockets. One that is connected before
        it is stored could be forgotten in a crash."""
        yield lambda: self.done or self._lane.stored == self.contact_id
        while not self.done:
            yield None
            try:
                self._connect.connect(self)
                self._gap = True
                yield None
                self._lane.hear_renewed(self.contact_id)
                yield None
                items = self._connect.transcript(self.contact_id)
            except Gone:
                yield lambda: self.done or not self._connect.frames(self)
                self._tell([item for item in self._kept_back if self._new or not _ends(item)])
                self._lane.hear(ContactOver(self.contact_id))
                return
            self._gap = False
            self._tell([*items, *self._kept_back])
            self._new = False
            self._lane.hear_subscribed(self.contact_id)
            yield lambda: self.done or self not in self._connect.listening

    def close(self) -> None:
        self.done = True
        self._connect.hang_up(self)

    def catch_up(self) -> list[Item]:
        """The whole transcript; what is new in it is told."""
        items = self._connect.transcript(self.contact_id)
        self._tell(items)
        return items

    def hear(self, frames: Sequence[Item]) -> None:
        """Frames came."""
        if self._gap:
            self._kept_back += frames
        else:
            self._tell(frames)

    def _tell(self, items: Sequence[Item]) -> None:
        if self.done:
            return
        fresh = {item.id: item for item in items if item.id not in self._known}
        self._known = self._known.plus((item.id, item.time) for item in fresh.values())
        ordered = sorted(fresh.values(), key=lambda item: item.time)
        if ordered:
            self._lane.hear(ItemsArrived(self.contact_id, tuple(ordered)))
        self.done |= any(_ends(item) for item in ordered)


def _ends(item: Item) -> bool:
    return item.kind is ItemKind.ENDED and not item.past


class SimLane:
    """State, waiting events and tasks; what is stored is always the newest state."""

    def __init__(self, world: World, owner: Owner, kept: Kept) -> None:
        self.world = world
        self.me = owner.name
        self.guard = owner.lease.guard
        self.redis_now = owner.lease.redis_now
        self.now = owner.wall
        self.conversation = kept.conversation
        self.waiting = {incoming.id: incoming for incoming in kept.lane}
        self.mark = kept.mark
        self.chat: SimChat | None = None
        self.in_doubt = kept.conversation.contact is not None
        self.asides: deque[TellAgent] = deque()
        self.changed = False
        self.stopping = False
        contact = self.conversation.contact
        self.stored = contact.contact_id if contact else ""
        """The contact that the store knows of."""
        self.timer: float | None = None
        """When the deadline is looked at again."""
        self._lost = owner.lost
        self._settled: set[str] = set()
        self._writing = Turns()
        self._tasks: dict[str, Task] = {}
        self._extras: list[Task] = []
        self.wake()

    # --- from outside ----------------------------------------------------------------------------

    def tasks(self) -> list[Task]:
        return [*self._tasks.values(), *self._extras]

    def step(self, task: Task) -> None:
        """Let one task go on to its next await."""
        try:
            if task.step():
                return
        except NotOwner:
            self._ended(task)
            self.stopping = True
            self._lost(self)
        else:
            self._ended(task)
            self.wake()

    def _ended(self, task: Task) -> None:
        self._tasks = {name: one for name, one in self._tasks.items() if one is not task}
        self._extras = [one for one in self._extras if one is not task]

    @property
    def idle(self) -> bool:
        busy = self.waiting or self.tasks() or self.chat or self._writing.locked
        return not (busy or self.conversation.active)

    def stop(self) -> None:
        """Finish what is in the air and start nothing new."""
        self.stopping = True
        if starting := self._tasks.get("start"):
            starting.cancelled = True

    def abandon(self) -> None:
        """Let go at once: the place is somebody else's, or the process dies."""
        self.stopping = True
        for task in self.tasks():
            task.close()
        self._tasks, self._extras = {}, []
        if self.chat:
            self.chat.close()
            self.chat = None
        self.world.forget()

    def tick(self) -> None:
        """The timer."""
        self.timer = None
        self.hear(Ticked())

    def add(self, incoming: Incoming) -> None:
        if incoming.id not in self.waiting and incoming.id not in self._settled:
            self.waiting[incoming.id] = incoming
            self.changed = True
        self.wake()

    # --- state -----------------------------------------------------------------------------------

    def is_current(self, contact_id: str) -> bool:
        contact = self.conversation.contact
        return contact is not None and contact.contact_id == contact_id

    def apply(self, event: Event) -> Decision:
        if isinstance(event, PostFailed):
            self.world.note_failure(event, self.conversation.owed)
        decision = decide(self.conversation, event, self.now(), self.world.policy)
        if decision.conversation != self.conversation:
            self.conversation = decision.conversation
            self.changed = True
        for effect in decision.effects:
            match effect:
                case Flag():
                    self.world.slack.flagged.add(effect.message_ts)
                case RetireButton():
                    self.world.slack.buttons.discard(effect.post_ts)
                case TellAgent():
                    self.asides.append(effect)
                case _:
                    pass
        self.wake()
        return decision

    def hear(self, event: Event) -> None:
        """From a callback: what has to be stored is stored in the background."""
        if self.stopping:
            return
        if self.apply(event).save:
            self._extras.append(Task(self.settle(Then.SETTLE, ())))

    def hear_renewed(self, contact_id: str) -> None:
        if self.is_current(contact_id):
            self.hear(CredentialsRenewed(f"connection-{self.world.time.now}", 1e9))

    def hear_subscribed(self, contact_id: str) -> None:
        if self.is_current(contact_id):
            self.hear(Subscribed())

    def conclude(
        self,
        event: Event,
        done: Sequence[str] = (),
        unmark: bool = False,
        first: Callable[[SimLane], Steps[None]] | None = None,
    ) -> Steps[Decision]:
        yield from self._writing.take()
        try:
            if first:
                yield from first(self)
            decision = self.apply(event)
            sent = event.message.id if isinstance(event, MessageSent) else ""
            yield from self._keep(decision.then, done, unmark, save=decision.save, sent=sent)
        finally:
            self._writing.leave()
        return decision

    def settle(self, then: Then, done: Sequence[str]) -> Steps[None]:
        yield from self._writing.take()
        try:
            yield from self._keep(then, done, unmark=False, save=False)
        finally:
            self._writing.leave()

    def _keep(
        self, then: Then, done: Sequence[str], unmark: bool, *, save: bool, sent: str = ""
    ) -> Steps[None]:
        if then is Then.FORGET:
            yield None
            self.world.store.forget(self.me, done)
            yield None
            self.conversation = Conversation(self.conversation.id)
        elif then is Then.SETTLE or unmark or save:
            as_it_is = self.conversation
            yield None
            events = done if then is Then.SETTLE else ()
            self.world.store.settle(self.me, as_it_is, events, unmark=unmark)
            if sent:
                self.world.settled.add(sent)
            yield None
            self.stored = as_it_is.contact.contact_id if as_it_is.contact else ""
            self.mark = None if unmark else self.mark
        if then is not Then.WAIT:
            for event_id in done:
                self.waiting.pop(event_id, None)
                self._settled.add(event_id)
            self.changed = True

    # --- duties ----------------------------------------------------------------------------------

    def wake(self) -> None:
        if self.stopping:
            return
        wanted = duties(self.conversation)
        for duty in wanted:
            match duty:
                case StartContact():
                    self._ensure("start", start)
                case Listen():
                    self._listen(duty.contact.contact_id)
                case Post():
                    self._ensure("back", back)
                case ReadThread():
                    # Slack delivers everything here, sooner or later.
                    self.hear(ThreadRead(self.conversation.gap_ended))
        if self.conversation.phase is not Phase.OPENING and (task := self._tasks.get("start")):
            task.cancelled = True
        listens = any(isinstance(duty, Listen) for duty in wanted)
        if not listens and "forward" not in self._tasks and self.chat:
            self.chat.close()
            self.chat = None
        asides = self.asides and self.conversation.phase is Phase.OPEN
        if asides or next_up(self.conversation, self.waiting.values()):
            self._ensure("forward", forward)
        due = deadline(self.conversation)
        wait = min(max(due - self.now(), 0.0) + 0.05, 3600.0) if due is not None else None
        self.timer = None if wait is None else self.world.time.now + wait

    def _ensure(self, name: str, run: Callable[[SimLane], Steps[None]]) -> None:
        if name not in self._tasks:
            self._tasks[name] = Task(run(self))

    def _listen(self, contact_id: str) -> None:
        if self.chat and self.chat.contact_id == contact_id:
            return
        if self.chat:
            self.chat.close()
        self.chat = SimChat(self, contact_id, self.conversation.seen)
        self._extras.append(Task(self.chat.run()))
