"""What the simulated relay is made of: generators, each `yield` of which is an await, where
anything else can happen. A process that dies is one whose generators are not resumed any more."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from bridge.core.errors import Failure, Gone, Rejected, Uncertain
from bridge.core.events import Incoming, PostFailed, Wrote
from bridge.core.model import Outgoing, Policy, Sent
from bridge.core.ports import Intake
from tests.core.simulated_platforms import WORD, Faults, SimConnect, SimSlack, SimStore

T = TypeVar("T")
Wait = Callable[[], bool] | None
"""Under which condition a generator can go on; None: at once."""
Steps = Generator[Wait, None, T]


class World:
    """What outlives a process, and what the checks want to know."""

    def __init__(self, store: SimStore, policy: Policy) -> None:
        self.faults = Faults()
        self.connect = SimConnect(self.faults)
        self.slack = SimSlack(self.faults)
        self.store = store
        self.policy = policy
        self.root: Incoming | None = None
        """What conversations.replies shows as the root."""
        self.entered: set[str] = set()
        """Messages that are or were in the lane."""
        self.settled: set[str] = set()
        """Messages that the store knows as sent."""
        self.refused: set[str] = set()
        """Messages of people who may not open, and replies to roots that opened nothing."""
        self.unpostable: dict[str, Outgoing] = {}
        """What Slack refused for good."""
        self.gone = False
        """Slack said that the place was gone."""
        self.heard_before_leaving: dict[str, set[str]] = {}
        """By contact: what was known of it when the customer was taken out."""

    def accept(self, incoming: Incoming) -> Intake:
        """Take an event in."""
        intake = self.store.accept(incoming)
        if intake is Intake.STORED and isinstance(incoming.event, Wrote):
            self.entered.add(incoming.event.message.id)
        return intake

    def note_failure(self, event: PostFailed, owed: Iterable[Outgoing]) -> None:
        """Slack refused a post for good."""
        self.gone |= event.gone
        self.unpostable |= {one.id: one for one in owed if event.gone or one.id in event.ids}

    def die(self) -> None:
        """The process is gone, and what only it knew."""
        self.connect.drop_sockets()
        state = self.store.load().conversation
        known = {seen.id for seen in (*state.seen, *state.past_seen)}
        for heard in self.heard_before_leaving.values():
            heard.intersection_update(known)

    def leave(self, contact_id: str, seen: Iterable[str]) -> None:
        """DisconnectParticipant."""
        self.connect.contacts[contact_id].left = True
        self.heard_before_leaving.setdefault(contact_id, set(seen))

    def send(self, contact_id: str, text: str, token: str) -> Sent:
        """SendMessage. No word may arrive twice, or after its message was settled."""
        words = set(WORD.findall(text))
        contact = self.connect.contacts[contact_id]
        items = len(contact.items)
        try:
            return self.connect.send(contact_id, text, token)
        finally:
            if len(contact.items) > items:
                there = contact.words()
                assert all(there.count(word) == 1 for word in words), f"{words} twice: {there}"
                late = {word for word in words if word[:-1] in self.settled}
                assert not late, f"{late} after it was settled"


class Task:
    """A generator that runs by itself."""

    def __init__(self, steps: Steps[None]) -> None:
        self._steps = steps
        self._until: Wait = None
        self.cancelled = False

    @property
    def runnable(self) -> bool:
        return self.cancelled or self._until is None or self._until()

    def step(self) -> bool:
        """Go on to the next await. False: it is over."""
        if self.cancelled:
            self._steps.close()
            return False
        try:
            self._until = next(self._steps)
        except StopIteration:
            return False
        return True


def insist(call: Callable[[], T], *, repeatable: bool = True) -> Steps[T]:
    """`relay/deliver.insist`: the request is in the air before it happens, its answer after."""
    while True:
        yield None
        try:
            answer = call()
        except Failure as failure:
            yield None
            if isinstance(failure, Rejected | Gone):
                raise
            if isinstance(failure, Uncertain) and not repeatable:
                raise
        else:
            yield None
            return answer
