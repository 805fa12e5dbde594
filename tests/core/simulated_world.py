"""What outlives the processes, and what the checks want to know."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.core.events import Incoming, PostFailed, Wrote
from bridge.core.lookback import LookBack
from bridge.core.model import ConversationId, Outgoing, Policy, Sent
from bridge.core.ports import Accepted, Intake
from tests.core.simulated_platforms import WORD, Faults, SimConnect, SimSlack
from tests.core.simulated_steps import Air, Time
from tests.core.simulated_store import SimStore


class World:
    """Both platforms, Redis, the way between, and time."""

    def __init__(self, conversation: ConversationId, policy: Policy) -> None:
        self.time = Time(10_000.0)
        self.air = Air(self.time)
        self.faults = Faults()
        self.connect = SimConnect(self.faults)
        self.slack = SimSlack(self.faults, self.time)
        self.store = SimStore(conversation, lambda: self.time.now)
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
        self.forgotten = False
        """A process forgot something that was never stored."""

    def accept(self, me: str, incoming: Incoming) -> Accepted:
        """Take an event in."""
        accepted = self.store.accept(me, incoming)
        if accepted.intake is Intake.STORED and isinstance(incoming.event, Wrote):
            self.entered.add(incoming.event.message.id)
        return accepted

    def note_failure(self, event: PostFailed, owed: Iterable[Outgoing]) -> None:
        """Slack refused a post for good."""
        self.gone |= event.gone
        self.unpostable |= {one.id: one for one in owed if event.gone or one.id in event.ids}

    def forget(self) -> None:
        """What only one process knew is gone."""
        self.forgotten = True
        state = self.store.load().conversation
        known = state.seen.merged(state.past_seen)
        for heard in self.heard_before_leaving.values():
            heard.intersection_update([item_id for item_id in heard if item_id in known])

    def leave(self, contact_id: str, seen: LookBack) -> None:
        """DisconnectParticipant."""
        contact = self.connect.contacts[contact_id]
        contact.left = True
        heard = {item.id for item in contact.items if item.id in seen}
        self.heard_before_leaving.setdefault(contact_id, heard)

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
