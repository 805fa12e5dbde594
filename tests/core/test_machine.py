"""The life of a conversation under anything that can happen to it, driven as the relay drives it.

A crash can come between any two awaits, events in any order and again, answers not at all. When
all is quiet afterwards, the promises must have been kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bridge.core.conversation import deadline
from bridge.core.events import AskedToEnd, AskedToReopen, Incoming, LaneEvent, Wrote
from bridge.core.model import (
    Conversation,
    ConversationId,
    CustomerMessage,
    Item,
    ItemKind,
    Notice,
    NoticeKind,
    Phase,
    Place,
    Policy,
    Reopen,
    Workspace,
)
from tests.core.simulated_platforms import WORD, SimContact, SimStore
from tests.core.simulated_relay import SimLane
from tests.core.simulated_steps import World

PLACE = Place(Workspace("T1"), "C1")
ROOT_TS = "10001.000000"

users = st.sampled_from(["U1", "U1", "U2"])
indices = st.integers(min_value=0, max_value=30)
limits = st.sampled_from([1024, 12, 30])
reopens = st.sampled_from(Reopen)
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
    lane: SimLane
    crashed = False

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
        self.world = World(SimStore(self.id), replace(policy, held_messages=3))
        self.lane = SimLane(self.world)
        ts = self.world.slack.next_ts()
        if root:
            self._wrote(ts, root, words=3, files=0, mention=not support)
            self.world.root = self.world.slack.written[-1]
        if opened:
            self._settle_down()

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
    @rule(index=indices, again=st.booleans(), then=works)
    def slack_delivers(self, *, index: int, again: bool, then: Work) -> None:
        """Any of what waits, and perhaps once more later."""
        waiting = self.world.slack.undelivered
        incoming = waiting[index % len(waiting)]
        if not again:
            waiting.remove(incoming)
        self.lane.take(incoming)
        self._go_on(then)

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

    @property
    def live(self) -> list[SimContact]:
        """Chats in which somebody can say something."""
        return [
            one for one in self.world.connect.contacts.values() if one.connected and not one.ended
        ]

    @precondition(lambda self: self.live)
    @rule(
        index=indices,
        kind=st.sampled_from([ItemKind.MESSAGE] * 4 + [ItemKind.JOINED, ItemKind.TRANSFERRED]),
        long=st.booleans(),
        then=works,
    )
    def agent_acts(self, *, index: int, kind: ItemKind, long: bool, then: Work) -> None:
        contact = self.live[index % len(self.live)]
        text = ("one|two" if long else "one") if kind is ItemKind.MESSAGE else ""
        self.world.connect.add(contact, kind, text)
        self._go_on(then)

    @precondition(lambda self: self.live)
    @rule(index=indices, then=works)
    def chat_ends(self, index: int, then: Work) -> None:
        self.world.connect.end_chat(self.live[index % len(self.live)])
        self._go_on(then)

    @precondition(lambda self: self.world.connect.in_flight)
    @rule(index=indices)
    def frame_arrives(self, index: int) -> None:
        self._hear(index % len(self.world.connect.in_flight))

    def _hear(self, index: int) -> None:
        contact_id, items = self.world.connect.hear(index)
        if self.lane.chat and self.lane.chat.contact_id == contact_id:
            self.lane.chat.hear(items)

    # --- trouble ---------------------------------------------------------------------------------

    @rule(fault=faults, then=works)
    def a_call_fails(self, fault: tuple[str, str], then: Work) -> None:
        self.world.faults.plan(*fault)
        self._go_on(then)

    @rule(what=st.sampled_from(["sockets", "deaths", "tokens", "past"]))
    def connect_has_a_moment(self, what: str) -> None:
        connect = self.world.connect
        match what:
            case "sockets":
                connect.drop_sockets()
            case "deaths":
                for contact in connect.contacts.values():
                    contact.ended |= not contact.connected
            case "tokens":
                connect.forget_tokens()
            case "past":
                connect.refuses_past = not connect.refuses_past
            case _:
                raise AssertionError(what)

    @rule(limit=limits, forgotten=st.booleans(), then=works)
    def process_dies(self, *, limit: int, forgotten: bool, then: Work) -> None:
        """And starts again, with another limit perhaps, and perhaps so late that Connect does not
        remember its ClientTokens."""
        self.crashed = True
        self._restart()
        self.world.policy = replace(self.world.policy, split_limit=limit)
        if forgotten:
            self.world.connect.forget_tokens()
        self._go_on(then)

    def _restart(self) -> None:
        self.world.die()
        self.lane = SimLane(self.world)

    # --- time ------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([3.0, 60.0, 400.0, 2000.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.slack.now += seconds
        self.lane.tick()

    @rule(then=works)
    def relay_works(self, then: Work) -> None:
        self._go_on(then)

    def _go_on(self, work: Work) -> None:
        """Let deliveries and frames arrive, or not, and take some steps."""
        deliver, picks, times = work
        if deliver:
            for incoming in self.world.slack.undelivered:
                self.lane.take(incoming)
            self.world.slack.undelivered.clear()
            while self.world.connect.in_flight:
                self._hear(0)
        self._work(picks * times)

    def _work(self, picks: list[int]) -> None:
        for pick in picks:
            if runnable := self.lane.runnable():
                self.lane.step(runnable[pick % len(runnable)])

    # --- the promises ----------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self._settle_down()
        self.world.faults.clear()
        self._restart()
        self._settle_down()
        self._check_phase()
        for message in self.world.slack.messages():
            self._check_message(message)
        for contact in self.world.connect.contacts.values():
            self._check_contact(contact)
        self._check_buttons()

    def _settle_down(self) -> None:
        """Let everything happen that is due, but the erasure of what is held."""
        for incoming in self.world.slack.undelivered:
            self.lane.take(incoming)
        self.world.slack.undelivered.clear()
        for _ in range(20_000):
            if runnable := self.lane.runnable():
                self.lane.step(runnable[0])
            elif self.world.connect.in_flight:
                self._hear(0)
            elif not self._something_is_due():
                return
        raise AssertionError("it never comes to rest")

    def _something_is_due(self) -> bool:
        state = self.lane.conversation
        due = deadline(state) if state.phase is Phase.ENDING else None
        opening = state.opening if state.phase is Phase.OPENING and not state.contact else None
        times = [due, opening.not_before if opening else None]
        if self._root_is_awaited():
            times.append(self.world.slack.now + 3.0)
        later = [time for time in times if time is not None and time > self.world.slack.now]
        if not later:
            return False
        self.world.slack.now = min(later) + 1.0
        self.lane.tick()
        return True

    def _root_is_awaited(self) -> bool:
        return self.lane.conversation.phase is Phase.NEW and bool(self.lane.waiting)

    def _check_phase(self) -> None:
        state, connect = self.lane.conversation, self.world.connect
        assert state.phase in (Phase.NEW, Phase.OPEN, Phase.ENDED), state.phase
        assert not self.lane.waiting, "events that nobody works"
        assert not state.owed, "posts that nobody makes"
        assert state.phase is not Phase.OPEN or not state.held, "held messages that nobody sends"
        assert self._persistent(state) == self._persistent(self.world.store.load().conversation)
        current = state.contact.contact_id if state.contact else ""
        assert state.phase is not Phase.OPEN or current in connect.listening, "nobody listens"
        orphans = [one.id for one in self.live if one.id != current and not one.left]
        assert not orphans, f"{orphans} are connected and forgotten"

    @staticmethod
    def _persistent(state: Conversation) -> tuple[object, ...]:
        contact = state.contact.contact_id if state.contact else ""
        return state.phase, state.generation, contact, state.owed, state.held

    def _check_message(self, message: CustomerMessage) -> None:
        words = WORD.findall(message.text)
        if message.id not in self.world.entered:
            assert not any(words[0] in one.words() for one in self._contacts if words)
            return
        arrived = any(self._words_in(one, words) == words for one in self._contacts)
        told = self._is_told(message)
        assert arrived or told or message.id in self.world.refused, f"{message.id} is lost"
        if words and message.files and message.id in self.world.settled:
            assert self._told(NoticeKind.FILES, message), f"files of {message.id}"

    @property
    def _contacts(self) -> list[SimContact]:
        return list(self.world.connect.contacts.values())

    @staticmethod
    def _words_in(contact: SimContact, words: list[str]) -> list[str]:
        return [word for word in contact.words() if word in words]

    def _is_told(self, message: CustomerMessage) -> bool:
        if message.ts in self.world.slack.flagged:
            return True
        state = self.lane.conversation
        if message.id in {held.id for held in state.held}:
            asked = f"ask_reopen:{state.generation}:"
            return any(one.id.startswith(asked) for one in self._notices(NoticeKind.ASK_REOPEN))
        erased = {notice.user_id for notice in self._notices(NoticeKind.HELD_ERASED)}
        return self._told(NoticeKind.UNDELIVERED, message) or message.user_id in erased

    def _told(self, kind: NoticeKind, message: CustomerMessage) -> bool:
        return any(notice.message_ts == message.ts for notice in self._notices(kind))

    def _notices(self, kind: NoticeKind) -> list[Notice]:
        """Posted, or refused by Slack for good."""
        posted = [post.outgoing for post in self.world.slack.posts]
        posted += self.world.unpostable.values()
        return [one for one in posted if isinstance(one, Notice) and one.kind is kind]

    def _check_contact(self, contact: SimContact) -> None:
        """What its agents wrote stands in the thread; that nothing does twice is checked when it
        is posted."""
        shown = (ItemKind.MESSAGE, ItemKind.ATTACHMENT)
        required = [item for item in contact.items if item.kind in shown and not item.own]
        state = self.lane.conversation
        seen = {one.id for one in state.seen} | {one.id for one in state.past_seen}
        if self._is_continued(contact):
            pass
        elif contact.left:
            heard = self.world.heard_before_leaving[contact.id]
            required = [item for item in required if item.id in heard]
        elif self._end_was_missed(contact):
            required = [item for item in required if item.id in seen]
        for item in required:
            posted = [post.part for post in self.world.slack.posts if post.outgoing.id == item.id]
            parts = list(range(1, len(item.text.split("|")) + 1))
            assert posted == parts or item.id in self.world.unpostable, f"{item.id}: {posted}"

    def _end_was_missed(self, contact: SimContact) -> bool:
        told = {one.id for kind in NoticeKind for one in self._notices(kind)}
        notices = [one for one in told if one == f"ended:{contact.generation}"]
        missed = [one for one in self._notices(NoticeKind.MISSED) if one.id in notices]
        # Nothing of it was stored before it ended: it looked like one that never connected.
        replaced = any(
            one.generation == contact.generation and one.id != contact.id for one in self._contacts
        )
        return contact.ended and bool(missed or replaced)

    def _is_continued(self, contact: SimContact) -> bool:
        current = self.lane.conversation.contact
        past: tuple[Item, ...] = (
            self.world.connect.contacts[current.contact_id].past if current else ()
        )
        ids = {item.id for item in past}
        return bool(contact.items) and contact.items[0].id in ids

    def _check_buttons(self) -> None:
        """At most one button is live. (Taking one off is best effort, which a crash undoes, and
        in a place that is gone there is none to take off.)"""
        live = self.world.slack.buttons
        if not self.crashed and not self.world.gone:
            assert live <= {self.lane.conversation.button_ts}, live


TestMachine: Any = Machine.TestCase
TestMachine.settings = settings(max_examples=8 * settings().max_examples, stateful_step_count=50)
