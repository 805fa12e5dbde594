"""Slack and Connect as the simulated relay sees them: one thread, all of its chats.

Nothing here waits. A call happens at once; what goes wrong around it (no answer, a crash, a frame
that is late) is a matter of when it happens, and when the simulated relay goes on.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from bridge.core.decision import ts_key
from bridge.core.errors import Gone, Rejected, Temporary, Uncertain
from bridge.core.events import Incoming, Wrote
from bridge.core.model import (
    AgentMessage,
    Contact,
    CustomerMessage,
    Item,
    ItemKind,
    Notice,
    NoticeKind,
    Opening,
    Outgoing,
    Sent,
)
from bridge.core.ports import PartId
from tests.core.simulated_steps import Time

WORD = re.compile(r"m\d+[a-z]")
"""People write nothing but such words, each of them once."""


_OFFERS = (NoticeKind.CONNECTING, NoticeKind.ASK_REOPEN)


class Faults:
    """What goes wrong with the next calls, by the name of the call."""

    def __init__(self) -> None:
        self._due: defaultdict[str, list[str]] = defaultdict(list)

    def plan(self, call: str, kind: str) -> None:
        self._due[call].append(kind)

    def clear(self) -> None:
        self._due.clear()

    def before(self, call: str) -> str:
        """The fault of this call; raises where it keeps the call from happening."""
        kind = self._due[call].pop(0) if self._due[call] else ""
        match kind:
            case "temporary":
                raise Temporary(call, kind)
            case "lost":
                raise Uncertain(call, kind)
            case "rejected" | "ValidationException":
                raise Rejected(call, kind)
            case "gone":
                raise Gone(call, kind)
            case _:
                return kind

    @staticmethod
    def after(call: str, kind: str) -> None:
        """Raise where the call happened and its answer does not come."""
        if kind == "unanswered":
            raise Uncertain(call, kind)


# --- Connect -------------------------------------------------------------------------------------


@dataclass(eq=False)
class SimContact:
    """One chat, and what happened in it."""

    id: str
    generation: int
    initial: str
    past: tuple[Item, ...]
    source: str
    items: list[Item] = field(default_factory=list)
    connected: bool = False
    left: bool = False
    """The customer was taken out of it."""
    ended: bool = False
    tokens: dict[str, Item] = field(default_factory=dict)
    """The ClientTokens that Connect remembers."""

    def words(self) -> list[str]:
        """What reached the agent, in order."""
        own = [item for item in self.items if item.own and item.kind is ItemKind.MESSAGE]
        return [word for item in own for word in WORD.findall(item.text)]


class Ear(Protocol):
    """One replica's end of a contact."""

    contact_id: str

    def hear(self, frames: list[Item]) -> None: ...


class SimConnect:
    """All contacts of the thread."""

    def __init__(self, faults: Faults) -> None:
        self.contacts: dict[str, SimContact] = {}
        self.faults = faults
        self.refuses_past = False
        self.in_flight: list[tuple[Ear, Item]] = []
        """Frames on their way, and to whom."""
        self.listening: list[Ear] = []
        """Who has an open, subscribed socket."""
        self._starts: dict[str, str] = {}
        self._time = 1000.0

    @staticmethod
    def compose(opening: Opening) -> str:
        return json.dumps(
            {
                "token": f"{opening.generation}/{opening.attempt}",
                "initial": opening.initial_message,
                "source": opening.source_contact_id,
            }
        )

    def start(self, request: str) -> Contact:
        fault = self.faults.before("start")
        if request not in self._starts:
            self._starts[request] = self._create(json.loads(request)).id
        self.faults.after("start", fault)
        contact_id = self._starts[request]
        return Contact(contact_id, f"p-{contact_id}", f"token-{contact_id}")

    def _create(self, wanted: Mapping[str, str]) -> SimContact:
        source = self.contacts.get(wanted["source"])
        if wanted["source"] and (source is None or not source.ended or self.refuses_past):
            raise Rejected("start", "InvalidRequestException")
        past = (*source.past, *source.items) if source else ()
        contact = SimContact(
            id=f"c{len(self.contacts) + 1}",
            generation=int(wanted["token"].split("/")[0]),
            initial=wanted["initial"],
            past=tuple(replace(item, past=True) for item in past),
            source=wanted["source"],
        )
        self.contacts[contact.id] = contact
        return contact

    def forget_tokens(self) -> None:
        self._starts.clear()
        for contact in self.contacts.values():
            contact.tokens.clear()

    def connect(self, ear: Ear) -> None:
        """Open the socket; the first one sets the flow off."""
        contact = self.contacts[ear.contact_id]
        self._check(contact)
        self.listening.append(ear)
        if not contact.connected:
            contact.connected = True
            self.add(contact, ItemKind.JOINED, own=True)
            if contact.initial:
                self.add(contact, ItemKind.MESSAGE, contact.initial, own=True)

    def hang_up(self, ear: Ear) -> None:
        """One socket is closed."""
        self.listening = [one for one in self.listening if one is not ear]
        self.in_flight = [pair for pair in self.in_flight if pair[0] is not ear]

    def drop_sockets(self) -> None:
        self.listening.clear()
        self.in_flight.clear()

    def add(
        self, contact: SimContact, kind: ItemKind, text: str = "", *, own: bool = False
    ) -> Item:
        self._time += 1.0
        number = sum(len(one.items) for one in self.contacts.values())
        role = "CUSTOMER" if own else "AGENT"
        item = Item(f"i{number + 1}", self._time, kind, role, "Ann", text, own=own)
        contact.items.append(item)
        self.in_flight += [(ear, item) for ear in self.listening if ear.contact_id == contact.id]
        return item

    def end_chat(self, contact: SimContact) -> None:
        """The flow, an agent or the clock ends it."""
        if contact.connected:
            self.add(contact, ItemKind.ENDED)
        contact.ended = True

    def send(self, contact_id: str, text: str, token: str) -> Sent:
        contact = self.contacts[contact_id]
        self._check(contact)
        fault = self.faults.before("send")
        if token not in contact.tokens:
            contact.tokens[token] = self.add(contact, ItemKind.MESSAGE, text, own=True)
        self.faults.after("send", fault)
        item = contact.tokens[token]
        return Sent(item.id, item.time)

    def frames(self, ear: Ear) -> list[Item]:
        """Frames on their way to somebody."""
        return [item for one, item in self.in_flight if one is ear]

    def frame_arrives(self, index: int) -> None:
        """In whatever order; with chat.ended comes all that was before it."""
        ear, item = self.in_flight[index]
        arrived = [item] if item.kind is not ItemKind.ENDED else self.frames(ear)
        self.in_flight = [
            pair for pair in self.in_flight if pair[0] is not ear or pair[1] not in arrived
        ]
        ear.hear(arrived)

    def transcript(self, contact_id: str) -> list[Item]:
        contact = self.contacts[contact_id]
        self._check(contact)
        return [*contact.past, *contact.items]

    def live(self) -> list[SimContact]:
        """Chats in which somebody can say something."""
        return [one for one in self.contacts.values() if one.connected and not one.ended]

    @staticmethod
    def _check(contact: SimContact) -> None:
        if contact.ended or contact.left:
            raise Gone("participant", "AccessDeniedException")


# --- Slack ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SimPost:
    """A post of ours."""

    ts: str
    outgoing: Outgoing
    part: int


class SimSlack:
    """The thread: what people wrote and what we posted."""

    def __init__(self, faults: Faults, time: Time) -> None:
        self.faults = faults
        self._time = time
        self.written: list[Incoming] = []
        self.undelivered: list[Incoming] = []
        """Events that Slack has not delivered yet, or delivers once more."""
        self.posts: list[SimPost] = []
        self.flagged: set[str] = set()
        self.buttons: set[str] = set()

    def next_ts(self) -> str:
        self._time.now = round(self._time.now + 0.01, 6)
        return f"{self._time.now:.6f}"

    @staticmethod
    def parts(outgoing: Outgoing) -> int:
        return len(outgoing.text.split("|")) if isinstance(outgoing, AgentMessage) else 1

    def post(self, load: Sequence[Outgoing], part: int) -> str:
        fault = self.faults.before("post")
        ts = self.next_ts()
        for outgoing in load:
            twin = PartId(outgoing.id, part)
            assert twin not in self.look(""), f"{twin} is posted twice"
            self.posts.append(SimPost(ts, outgoing, part))
            if isinstance(outgoing, Notice) and outgoing.kind in _OFFERS:
                self.buttons.add(ts)
        self.faults.after("post", fault)
        return ts

    def look(self, since: str) -> dict[PartId, str]:
        return {
            PartId(post.outgoing.id, post.part, self.parts(post.outgoing)): post.ts
            for post in self.posts
            if ts_key(post.ts) > ts_key(since)
        }

    def messages(self) -> list[CustomerMessage]:
        return [one.event.message for one in self.written if isinstance(one.event, Wrote)]
