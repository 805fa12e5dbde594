"""What must be true of a world when all is quiet: the promises."""

from __future__ import annotations

from bridge.core.model import (
    Conversation,
    CustomerMessage,
    Item,
    ItemKind,
    Notice,
    NoticeKind,
    Phase,
)
from tests.core.simulated_platforms import WORD, SimContact
from tests.core.simulated_relay import SimLane
from tests.core.simulated_world import World


class Promises:
    """`lane`: the conversation at its owner, where somebody has anything to do for it."""

    def __init__(self, world: World, lane: SimLane | None) -> None:
        self.world = world
        self.lane = lane
        self.state = lane.conversation if lane else world.store.load().conversation

    def check(self) -> None:
        self._check_phase()
        for message in self.world.slack.messages():
            self._check_message(message)
        for contact in self.world.connect.contacts.values():
            self._check_contact(contact)
        self._check_buttons()

    def _check_phase(self) -> None:
        state, connect = self.state, self.world.connect
        listened_to = {ear.contact_id for ear in connect.listening}
        assert state.phase in (Phase.NEW, Phase.OPEN, Phase.ENDED), state.phase
        assert not self.world.store.lane, "events that nobody works"
        assert not self.lane or not self.lane.waiting, "events worked for ever"
        assert not state.owed, "posts that nobody makes"
        assert state.phase is not Phase.OPEN or not state.held, "held messages that nobody sends"
        assert self._persistent(state) == self._persistent(self.world.store.load().conversation)
        current = state.contact.contact_id if state.contact else ""
        assert state.phase is not Phase.OPEN or current in listened_to, "nobody listens"
        orphans = [one.id for one in connect.live() if one.id != current and not one.left]
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
        state = self.state
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
        state = self.state
        seen = state.seen.merged(state.past_seen)
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
        current = self.state.contact
        past: tuple[Item, ...] = (
            self.world.connect.contacts[current.contact_id].past if current else ()
        )
        ids = {item.id for item in past}
        return bool(contact.items) and contact.items[0].id in ids

    def _check_buttons(self) -> None:
        """At most one button is live. (Taking one off is best effort, which a crash undoes, and
        in a place that is gone there is none to take off.)"""
        live = self.world.slack.buttons
        if not self.world.forgotten and not self.world.gone:
            assert live <= {self.state.button_ts}, live
