"""The life of a conversation under anything that can happen to it, driven as the relay drives it.

Two replicas share it. Either can die, stop or stand still between any two awaits, and lose its
lease with or without noticing; clocks jump; events come in any order and again, answers late or not
at all. When all is quiet afterwards, the promises must have been kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from bridge.core.events import AskedToEnd, AskedToReopen, Incoming, LaneEvent, Wrote
from bridge.core.model import (
    ConversationId,
    CustomerMessage,
    ItemKind,
    Place,
    Policy,
    Reopen,
    Workspace,
)
from tests.core.simulated_promises import Promises
from tests.core.simulated_relay import SimLane
from tests.core.simulated_steps import Air
from tests.core.simulated_store import LEASE
from tests.core.simulated_worker import SimClock, SimReplica
from tests.core.simulated_world import World

PLACE = Place(Workspace("T1"), "C1")
ROOT_TS = "10000.010000"

users = st.sampled_from(["U1", "U1", "U2"])
indices = st.integers(min_value=0, max_value=30)
either = st.sampled_from([0, 1])
limits = st.sampled_from([1024, 12, 30])
reopens = st.sampled_from(Reopen)
TOKENS = 60.0
"""Seconds for which Connect certainly remembers a ClientToken."""
FAULTS = {
    "send": ["temporary", "lost", "unanswered", "unanswered", "rejected", "ValidationException"],
    "start": ["temporary", "lost", "unanswered", "rejected"],
    "post": ["temporary", "lost", "unanswered", "unanswered", "rejected", "gone"],
}
Work = tuple[bool, list[int], int]
works = st.tuples(
    st.booleans(), st.lists(indices, min_size=1, max_size=6), st.sampled_from([0, 1, 1, 2, 10, 40])
)
faults = st.sampled_from([(call, kind) for call, kinds in FAULTS.items() for kind in kinds])


class Machine(RuleBasedStateMachine):
    """One thread (or flat DM), from its first message on."""

    world: World
    replicas: list[SimReplica]
    failed = False
    """A promise was broken already."""

    @initialize(
        flat=st.sampled_from([False, False, True]),
        support=st.sampled_from([True, True, False]),
        root=st.sampled_from(["U1"] * 5 + ["U2", "U9", ""]),
        reopen=reopens,
        initial_message=st.booleans(),
        limit=limits,
        opened=st.sampled_from([True, True, False]),
    )
    def begin(
        self,
        *,
        flat: bool,
        support: bool,
        root: str,
        reopen: Reopen,
        initial_message: bool,
        limit: int,
        opened: bool,
    ) -> None:
        self.flat, self.support = flat, support
        self.id = ConversationId(PLACE, "" if flat else ROOT_TS)
        policy = Policy(reopen=reopen, initial_message=initial_message, split_limit=limit)
        self.world = World(self.id, replace(policy, held_messages=3))
        self.born = 0
        self.clocks = [SimClock(self.world.time, up=up) for up in (500.0, 70_000.0)]
        self.replicas = [self._born(index) for index in (0, 1)]
        ts = self.world.slack.next_ts()
        if root:
            self._wrote(ts, root, words=3, files=0, mention=not support)
            self.world.root = self.world.slack.written[-1]
        if opened:
            self._settle_down()

    def _born(self, index: int) -> SimReplica:
        self.born += 1
        return SimReplica(self.world, f"r{self.born}", self.clocks[index])

    # --- people in Slack -------------------------------------------------------------------------

    @rule(
        user=users,
        words=st.integers(0, 5),
        files=st.sampled_from([0, 0, 0, 1]),
        mention=st.booleans(),
        then=works,
    )
    def somebody_writes(
        self, *, user: str, words: int, files: int, mention: bool, then: Work
    ) -> None:
        self._wrote(self.world.slack.next_ts(), user, words, files, mention=mention)
        self._go_on(then)

    @rule(user=users, pressed=st.booleans(), then=works)
    def somebody_ends(self, *, user: str, pressed: bool, then: Work) -> None:
        ts = self.world.slack.next_ts()
        self._written(AskedToEnd(ts, user, pressed), ts, opens=False)
        self._go_on(then)

    @rule(user=users, then=works)
    def somebody_reopens(self, user: str, then: Work) -> None:
        ts = self.world.slack.next_ts()
        self._written(AskedToReopen(ts, user), ts, opens=False)
        self._go_on(then)

    @precondition(lambda self: self.world.slack.undelivered)
    @rule(index=indices, again=st.booleans(), to=either, then=works)
    def slack_delivers(self, *, index: int, again: bool, to: int, then: Work) -> None:
        """Any of what waits, to any replica, and perhaps once more later."""
        waiting = self.world.slack.undelivered
        incoming = waiting[index % len(waiting)]
        if again:
            waiting.append(incoming)
        self._deliver(waiting.index(incoming), to)
        self._go_on(then)

    def _deliver(self, index: int, to: int) -> None:
        self.replicas[to].take(self.world.slack.undelivered.pop(index))

    def _wrote(self, ts: str, user: str, words: int, files: int, *, mention: bool) -> None:
        number = len(self.world.slack.written)
        text = " ".join(f"m{number}{letter}" for letter in "abcdefgh"[:words])
        if not words and not files:
            mention = True
        message = CustomerMessage(f"m{number}", ts, user, text, files, mention)
        self._written(Wrote(message), ts, opens=self.flat or self.support or mention)

    def _written(self, event: LaneEvent, ts: str, *, opens: bool) -> None:
        incoming = Incoming(self.id, event, (f"{ts}:{type(event).__name__}",), opens)
        self.world.slack.written.append(incoming)
        self.world.slack.undelivered.append(incoming)

    # --- agents and flows in Connect -------------------------------------------------------------

    @precondition(lambda self: self.world.connect.live())
    @rule(
        index=indices,
        kind=st.sampled_from([ItemKind.MESSAGE] * 4 + [ItemKind.JOINED, ItemKind.TRANSFERRED]),
        long=st.booleans(),
        then=works,
    )
    def agent_acts(self, *, index: int, kind: ItemKind, long: bool, then: Work) -> None:
        live = self.world.connect.live()
        contact = live[index % len(live)]
        text = ("one|two" if long else "one") if kind is ItemKind.MESSAGE else ""
        self.world.connect.add(contact, kind, text)
        self._go_on(then)

    @precondition(lambda self: self.world.connect.live())
    @rule(index=indices, then=works)
    def chat_ends(self, index: int, then: Work) -> None:
        live = self.world.connect.live()
        self.world.connect.end_chat(live[index % len(live)])
        self._go_on(then)

    @precondition(lambda self: self.world.connect.in_flight)
    @rule(index=indices)
    def frame_arrives(self, index: int) -> None:
        self.world.connect.frame_arrives(index % len(self.world.connect.in_flight))

    # --- trouble ---------------------------------------------------------------------------------

    @rule(fault=faults, then=works)
    def a_call_fails(self, fault: tuple[str, str], then: Work) -> None:
        self.world.faults.plan(*fault)
        self._go_on(then)

    @precondition(lambda self: self.world.air.requests)
    @rule(index=indices, then=works)
    def an_answer_is_lost(self, index: int, then: Work) -> None:
        """While the request goes on."""
        requests = self.world.air.requests
        requests[index % len(requests)].lose_answer()
        self._go_on(then)

    @rule(what=st.sampled_from(["sockets", "deaths", "past"]))
    def connect_has_a_moment(self, what: str) -> None:
        connect = self.world.connect
        match what:
            case "sockets":
                connect.drop_sockets()
            case "deaths":
                for contact in connect.contacts.values():
                    contact.ended |= not contact.connected
            case "past":
                connect.refuses_past = not connect.refuses_past
            case _:
                raise AssertionError(what)

    @rule(victim=either, late=st.booleans(), then=works)
    def process_dies(self, *, victim: int, late: bool, then: Work) -> None:
        """And another one starts. `late`: its lease is over when anything goes on."""
        self._replace(victim)
        if late:
            self._pass(LEASE + 1.0)
        self._go_on(then)

    @rule(limit=limits, late=st.booleans(), then=works)
    def everything_dies(self, *, limit: int, late: bool, then: Work) -> None:
        """And starts again, with another limit perhaps; and perhaps late."""
        for index in (0, 1):
            self._replace(index)
        self._pass(TOKENS if late else Air.LONGEST)
        self.world.policy = replace(self.world.policy, split_limit=limit)
        self._go_on(then)

    @rule(index=either, grace=works, then=works)
    def process_stops(self, *, index: int, grace: Work, then: Work) -> None:
        """As SIGTERM makes it, within its grace period or not."""
        self.replicas[index].stop()
        self._go_on(grace)
        self._end(index, stops=True)
        self._go_on(then)

    def _replace(self, index: int) -> None:
        self.replicas[index].die()
        self.replicas[index] = self._born(index)

    @rule(
        index=either,
        first=works,
        still=st.sampled_from([(31.0, 0.0), (31.0, -3600.0), (400.0, 20.0)]),
        meanwhile=works,
        end=st.sampled_from(["", "dies", "stops"]),
        then=works,
    )
    def one_stands_still(
        self,
        *,
        index: int,
        first: Work,
        still: tuple[float, float],
        meanwhile: Work,
        end: str,
        then: Work,
    ) -> None:
        """In the middle of something, until its lease is over and its clock was set. The other one
        takes over, and may be gone when it goes on."""
        self._wrote(self.world.slack.next_ts(), "U1", words=2, files=0, mention=True)
        self._go_on(first, only=index)
        seconds, self.clocks[index].ahead = still
        self._pass(seconds, frozen=(index,))
        self._go_on(meanwhile, only=1 - index)
        if end:
            self._end(1 - index, stops=end == "stops")
        self._go_on(then)

    def _end(self, index: int, *, stops: bool) -> None:
        if stops:
            self.replicas[index].release()
            self.replicas[index] = self._born(index)
        else:
            self._replace(index)
            self._pass(LEASE + 1.0, frozen=(1 - index,))

    @rule(index=either, then=works)
    def redis_loses_a_lease(self, index: int, then: Work) -> None:
        """Whoever held it believes in it still."""
        self.world.store.lose_lease(self.replicas[index].name)
        self._go_on(then)

    @precondition(lambda self: self.world.store.published)
    @rule(index=indices, lost=st.booleans())
    def an_event_is_published(self, *, index: int, lost: bool) -> None:
        index %= len(self.world.store.published)
        if lost:
            del self.world.store.published[index]
        else:
            self._publish(index)

    def _publish(self, index: int) -> None:
        name, incoming = self.world.store.published.pop(index)
        for replica in self.replicas:
            if replica.name == name:
                replica.hand_over(incoming)

    # --- time ------------------------------------------------------------------------------------

    @rule(
        seconds=st.sampled_from([3.0, 9.0, 21.0, 31.0, 60.0, 400.0, 2000.0, 90_000.0]),
        frozen=st.sampled_from([(), (0,), (1,), (0, 1)]),
        then=works,
    )
    def time_passes(self, seconds: float, frozen: tuple[int, ...], then: Work) -> None:
        """`frozen`: whoever cannot renew its lease meanwhile."""
        self._pass(seconds, frozen)
        self._go_on(then)

    def _pass(self, seconds: float, frozen: tuple[int, ...] = ()) -> None:
        while seconds > Air.LONGEST and self.world.store.published:
            self._publish(0)
        awake = [one for index, one in enumerate(self.replicas) if index not in frozen]
        leading = [one for one in awake if one.leads]
        for replica in leading if seconds > Air.LONGEST else ():
            replica.finish()
        self.world.air.pass_time(seconds)
        for replica in leading:
            replica.renewed_all_along()
        if seconds >= TOKENS:
            self.world.connect.forget_tokens()

    @rule(index=either, ahead=st.sampled_from([-3600.0, -20.0, 0.0, 20.0, 3600.0]), then=works)
    def a_wall_clock_jumps(self, *, index: int, ahead: float, then: Work) -> None:
        self.clocks[index].ahead = ahead
        self._go_on(then)

    @rule(seconds=st.sampled_from([-60.0, -5.0, 20.0, 3600.0]), then=works)
    def the_clock_of_redis_jumps(self, seconds: float, then: Work) -> None:
        """Forwards it makes a mark look old, and the look at the thread too early: the one thing
        that is not promised."""
        if seconds < 0.0 or self.world.store.mark is None:
            self.world.store.set_clock(seconds)
        self._go_on(then)

    @rule(then=works)
    def relay_works(self, then: Work) -> None:
        self._go_on(then)

    def _go_on(self, work: Work, only: int | None = None) -> None:
        """Let deliveries and frames arrive, or not, and take some steps (of one replica only)."""
        deliver, picks, times = work
        if deliver:
            while self.world.slack.undelivered:
                self._deliver(0, picks[0] % 2 if only is None else only)
            while self.world.connect.in_flight:
                self.world.connect.frame_arrives(0)
        for pick in picks * times:
            if steps := self._runnable(only):
                self._step(steps[pick % len(steps)])

    def _step(self, step: Callable[[], None]) -> None:
        try:
            step()
        except AssertionError:
            self.failed = True
            raise

    def _runnable(self, only: int | None = None) -> list[Callable[[], None]]:
        air = self.world.air
        awake = self.replicas if only is None else [self.replicas[only]]
        steps = [step for one in awake for step in one.runnable()]
        return [*steps, *(partial(air.carry_out, one) for one in air.requests)]

    # --- the promises ----------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "world") or self.failed:
            return
        self._settle_down()
        self.world.faults.clear()
        for index in (0, 1):
            self._replace(index)
        self._settle_down()
        Promises(self.world, self._lane()).check()

    def _lane(self) -> SimLane | None:
        """The conversation at its owner."""
        owners = [one for one in self.replicas if self.world.store.mine(one.name)]
        return owners[0].lane if owners else None

    def _settle_down(self) -> None:
        """Let everything happen that is due, but the erasure of what is held."""
        for _ in range(20_000):
            if steps := self._runnable():
                self._step(steps[0])
            elif self.world.connect.in_flight:
                self.world.connect.frame_arrives(0)
            elif self.world.store.published:
                self._publish(0)
            elif self.world.slack.undelivered:
                self._deliver(0, 0)
            elif not self._later():
                return
        raise AssertionError("it never comes to rest")

    def _later(self) -> bool:
        """Let time pass until something is due; False where all is at rest."""
        now = self.world.time.now
        dues = [due for one in self.replicas for due in one.due()]
        if not dues and self._at_rest():
            return False
        wait = min([due - now for due in dues], default=LEASE / 3)
        self._pass(max(min(wait, LEASE / 3), 0.001))
        return True

    def _at_rest(self) -> bool:
        lane, store = self._lane(), self.world.store
        if any(one.busy for one in self.replicas):
            return False
        return not store.busy or (lane is not None and set(store.lane) <= set(lane.waiting))


TestMachine: Any = Machine.TestCase
TestMachine.settings = settings(max_examples=6 * settings().max_examples, stateful_step_count=50)
