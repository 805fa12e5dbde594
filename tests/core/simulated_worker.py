"""`relay/worker` in steps: one process, its lease, its clocks, and the lane where it owns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bridge.core.decision import ts_key
from bridge.core.events import Incoming
from bridge.core.model import Phase
from bridge.core.ports import Intake, Kept, Renewal
from bridge.relay.lease import Lease
from tests.core.simulated_relay import SimLane
from tests.core.simulated_steps import Steps, Task, Time, Turns, Until
from tests.core.simulated_store import LEASE
from tests.core.simulated_world import World


@dataclass
class SimClock:
    """The clocks of one machine."""

    time: Time
    ahead: float = 0.0
    """How much its wall clock is ahead of true time."""
    up: float = 0.0
    """What its boot clock showed when time began: it never jumps."""

    def now(self) -> float:
        return self.time.now + self.ahead

    def boottime(self) -> float:
        return self.time.now + self.up

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError(seconds)  # the steps wait by `Until`


class SimReplica:
    """A process. It can stand still at any `yield`, for as long as it likes."""

    def __init__(self, world: World, name: str, clock: SimClock) -> None:
        self.world = world
        self.name = name
        self.clock = clock
        self.lease = Lease(clock, LEASE)
        self.lane: SimLane | None = None
        self._owns = False
        self._lapses = 0
        self._accepting = 0
        self._patient_until = float("-inf")
        self._being_loaded = False
        self._claiming = False
        self._early: list[Incoming] = []
        self._loading = Turns()
        self._tasks: list[Task] = []
        self._unacknowledged: list[Incoming] = []
        self.keeping = Task(self._keep_lease())
        self._tasks.append(self.keeping)

    def wall(self) -> float:
        return self.clock.now()

    # --- scheduling ------------------------------------------------------------------------------

    def runnable(self) -> list[Callable[[], None]]:
        """What can take a step now."""
        steps = [self._stepping(task) for task in self._tasks if task.runnable]
        if lane := self.lane:
            steps += [self._lane_stepping(lane, task) for task in lane.tasks() if task.runnable]
            if lane.timer is not None and lane.timer <= self.world.time.now:
                steps.append(lane.tick)
        return steps

    def due(self) -> list[float]:
        """When something goes on by itself, renewals and the erasure of what is held apart."""
        tasks = [*self._tasks, *(self.lane.tasks() if self.lane else ())]
        times = [task.due for task in tasks if task is not self.keeping]
        if self.lane and self.lane.conversation.phase is Phase.ENDING:
            times.append(self.lane.timer)
        return [time for time in times if time is not None]

    @property
    def busy(self) -> bool:
        """Whether anything but the next renewal goes on."""
        return len(self._tasks) > 1 or self.keeping.due is None

    def _stepping(self, task: Task) -> Callable[[], None]:
        def step() -> None:
            if not task.step():
                self._tasks.remove(task)

        return step

    def _lane_stepping(self, lane: SimLane, task: Task) -> Callable[[], None]:
        def step() -> None:
            lane.step(task)
            self._drop_idle()

        return step

    def _spawn(self, steps: Steps[None]) -> None:
        self._tasks.append(Task(steps))

    # --- intake ----------------------------------------------------------------------------------

    def take(self, incoming: Incoming) -> None:
        """Slack delivers here; it is told once more where no acknowledgement comes."""
        self._unacknowledged.append(incoming)
        self._spawn(self._accept(incoming))

    def _accept(self, incoming: Incoming) -> Steps[None]:
        yield None
        accepted = self.world.accept(self.name, incoming)
        self._accepting += 1
        yield None
        self._accepting -= 1
        if accepted.taken:
            self._take_over()
        if accepted.mine and accepted.intake is Intake.STORED:
            self.hand_over(incoming)
        yield None
        self._unacknowledged.remove(incoming)

    def hand_over(self, incoming: Incoming) -> None:
        """Also what another replica took in and published."""
        if self.lane:
            self.lane.add(incoming)
        else:
            self._early.append(incoming)
            self._spawn(self._load(self._loading.ask()))
        if not self._owns:
            self._take_place()

    def _load(self, turn: object) -> Steps[None]:
        yield from self._loading.take(turn)
        try:
            if self._early:
                yield from self._read(whole_place=False)
        finally:
            self._loading.leave()
        self._drop_idle()

    def _load_place(self, turn: object) -> Steps[None]:
        yield from self._loading.take(turn)
        try:
            self._being_loaded = False
            yield from self._read(whole_place=True)
        finally:
            self._loading.leave()
        self._drop_idle()

    def _read(self, *, whole_place: bool) -> Steps[None]:
        """What came before is in what is read, or settled; what comes meanwhile may not be."""
        self._early = []
        lapses = self._lapses
        yield None
        busy = self.world.store.busy or not whole_place
        mine = self.world.store.mine(self.name)
        kept = self.world.store.load() if busy and mine else None
        yield None
        if kept and lapses == self._lapses and self.lease.held:
            self._take_up(kept)

    def _take_up(self, kept: Kept) -> None:
        events = [*kept.lane, *self._early]
        self._early = []
        if self.lane is None:
            unique = {incoming.id: incoming for incoming in events}
            whole = Kept(kept.conversation, kept.mark, tuple(unique.values()))
            self.lane = SimLane(self.world, self, whole)
            return
        for incoming in sorted(events, key=lambda one: ts_key(one.ts)):
            self.lane.add(incoming)

    def _drop_idle(self) -> None:
        if self.lane and self.lane.idle and not self._loading.locked:
            self.lane = None

    def lost(self, lane: SimLane) -> None:
        """A write was refused."""
        self._forget()

    def _take_over(self) -> None:
        """The place was somebody else's: what is remembered of it is out of date."""
        if self.lane:
            self._forget()
        self._take_place()

    def _forget(self) -> None:
        self._owns = False
        if self.lane:
            self.lane.abandon()
        self._being_loaded = False
        self._spawn(self._let_go(self._loading.ask()))

    def _let_go(self, turn: object) -> Steps[None]:
        yield from self._loading.take(turn)
        try:
            lane, self.lane = self.lane, None
            if lane:
                lane.abandon()
            yield None
        finally:
            self._loading.leave()

    # --- ownership -------------------------------------------------------------------------------

    def _keep_lease(self) -> Steps[None]:
        while True:
            yield from self._renew()
            yield Until(self.world.time, LEASE / 3)

    def _renew(self) -> Steps[None]:
        sent_at = self.clock.boottime()
        renewal = yield from self._ask(begin=not self.lease.lived)
        ours = False
        if self.lease.lived and not (self.lease.held and renewal.held):
            ours = yield from self._find_again()
            sent_at = self.clock.boottime()
            renewal = yield from self._ask(begin=True)
            self._patient_until = sent_at + LEASE
        self.lease.renewed(sent_at, renewal)
        # A write of a lane may have been refused until now.
        works = self.lane is not None and not self.lane.stopping
        if (ours and not works) or renewal.pending:
            self._take_place()
        if not self._claiming and sent_at >= self._patient_until:
            self._claiming = True
            self._spawn(self._claim())

    def _ask(self, *, begin: bool) -> Steps[Renewal]:
        """A lease that is gone does not come back before what it cost us is let go: a write of a
        lane that nobody has told of that yet would be accepted."""
        yield None
        renewal = self.world.store.renew(self.name, begin=begin)
        yield None
        return renewal

    def _find_again(self) -> Steps[bool]:
        """Before the lease is believed in again: what others took meanwhile is let go."""
        self._lapses += 1
        # Answers come in the order of their commands.
        yield lambda: not self._accepting
        ours = self.world.store.owner == self.name
        yield None
        if not ours and (self._owns or self.lane):
            self._forget()
        return ours

    def finish(self) -> None:
        """Let Redis answer whatever was asked."""
        for _ in range(100):
            for task in [one for one in self._tasks if one.runnable and one is not self.keeping]:
                self._stepping(task)()

    @property
    def leads(self) -> bool:
        """Whether its lease is alive, and it knows."""
        return self.lease.held and self.world.store.alive(self.name)

    def renewed_all_along(self) -> None:
        """Time went by in which its lease was kept."""
        store = self.world.store
        store.leases[self.name] = store.now() + LEASE
        self.lease.renewed(self.clock.boottime(), Renewal(True, {}, store.now()))

    def _claim(self) -> Steps[None]:
        yield None
        claimed = self.world.store.claim(self.name)
        yield None
        if claimed:
            self._take_over()
        self._claiming = False

    def _take_place(self) -> None:
        self._owns = True
        if not self._being_loaded:
            self._being_loaded = True
            self._spawn(self._load_place(self._loading.ask()))

    # --- the end ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """SIGTERM: nothing new is begun."""
        if self.lane:
            self.lane.stop()

    def release(self) -> None:
        """The end of a stop, and of its grace period."""
        self.die()
        self.world.store.release(self.name)

    def die(self) -> None:
        """kill -9. What it sent stays in the air; what it published may still arrive."""
        for task in self._tasks:
            task.close()
        self._tasks = []
        if self.lane:
            self.lane.abandon()
            self.lane = None
        slack = self.world.slack
        slack.undelivered += self._unacknowledged
