"""Amazon Connect for the relay: contacts and their transcripts in memory, and the desk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from bridge.core.errors import Busy, Failure, Gone, Rejected
from bridge.core.lookback import LookBack
from bridge.core.model import Contact, Item, ItemKind, Opening, Sent, Started
from bridge.core.ports import Chat, ChatListener, Clock
from bridge.core.transcript import ASIDE
from tests.relay.fakes import Faults


@dataclass(eq=False)
class FakeContact:
    """One chat, as Connect knows it."""

    id: str
    items: list[Item]
    connected: bool = False
    """Its customer was there: before that no flow begins."""
    over: bool = False
    tokens: dict[str, Sent] = field(default_factory=dict)
    """The ClientTokens that Connect remembers."""
    chats: list[FakeChat] = field(default_factory=list)
    """The sockets that are subscribed."""
    delivered: list[str] = field(default_factory=list)
    typed: int = 0


class FakeConnect:
    """`ports.AgentSide`, and who sits on its other side: flows and agents.

    Calls that can fail: start, connect, send, end, catch_up. A contact that is over answers 403.
    """

    message_limit = 1024
    concurrent = 1000
    """How many chats may be open at the same time."""

    def __init__(self, clock: Clock) -> None:
        self.faults = Faults()
        self.contacts: list[FakeContact] = []
        self.on_connected: Callable[[FakeContact], None] = lambda _contact: None
        """The flow, which begins when the customer is there."""
        self.ends_when_left = True
        """Whether chat.ended follows the customer's leaving."""
        self.asides: list[str] = []
        self._clock = clock
        self._started: dict[str, FakeContact] = {}
        self._count = 0
        self._newest = 0.0

    # --- the desk --------------------------------------------------------------------------------

    @property
    def live(self) -> FakeContact | None:
        """The newest contact that connected and is not over."""
        alive = [one for one in self.contacts if one.connected and not one.over]
        return alive[-1] if alive else None

    @property
    def current(self) -> FakeContact:
        """The same, where there certainly is one."""
        contact = self.live
        assert contact is not None
        return contact

    def hears(self, text: str) -> bool:
        """Whether this arrived, from the customer."""
        return text in self.heard()

    def heard(self) -> list[str]:
        """What customers wrote, through all contacts."""
        return [
            item.text
            for contact in self.contacts
            for item in contact.items
            if item.own and not item.past and not item.text.startswith(ASIDE)
        ]

    def says(
        self,
        text: str,
        name: str = "Ann",
        role: str = "AGENT",
        contact: FakeContact | None = None,
    ) -> Item:
        return self._add(contact or self.current, ItemKind.MESSAGE, role, name, text)

    def joins(self, name: str = "Ann") -> Item:
        return self._add(self.current, ItemKind.JOINED, "AGENT", name)

    def transfers(self, name: str = "Ben") -> Item:
        return self._add(self.current, ItemKind.TRANSFERRED, "AGENT", name)

    def ends(self, contact: FakeContact | None = None) -> None:
        contact = contact or self.current
        self._add(contact, ItemKind.ENDED)
        contact.over = True

    def forget_tokens(self) -> None:
        """Connect does not say how long it remembers them."""
        self._started.clear()
        for contact in self.contacts:
            contact.tokens.clear()

    # --- transcripts -----------------------------------------------------------------------------

    def accept(self, contact: FakeContact, text: str, token: str) -> Sent:
        """A message of the customer's: once for each token, and never into a chat that is over."""
        if contact.over:
            raise Gone("SendMessage", "AccessDeniedException")
        if len(text) > self.message_limit or not text:
            raise Rejected("SendMessage", "ValidationException")
        if token not in contact.tokens:
            item = self._add(contact, ItemKind.MESSAGE, "CUSTOMER", "Customer", text, own=True)
            contact.tokens[token] = Sent(item.id, item.time)
            if text.startswith(ASIDE):
                self.asides.append(text)
        return contact.tokens[token]

    def left(self, contact: FakeContact) -> None:
        """The customer disconnected."""
        if self.ends_when_left and not contact.over:
            self.ends(contact)

    def _add(
        self,
        contact: FakeContact,
        kind: ItemKind,
        role: str = "",
        name: str = "",
        text: str = "",
        *,
        own: bool = False,
    ) -> Item:
        assert not contact.over
        self._count += 1
        self._newest = max(self._clock.now(), self._newest + 0.001)
        item = Item(f"item-{self._count}", self._newest, kind, role, name, text, own=own)
        contact.items.append(item)
        for chat in list(contact.chats):
            asyncio.get_running_loop().call_soon(chat.tell, [item])
        return item

    # --- the port --------------------------------------------------------------------------------

    def compose(self, opening: Opening) -> str:
        return json.dumps(
            {
                "conversation": str(opening.conversation),
                "generation": opening.generation,
                "attempt": opening.attempt,
                "first": opening.initial_message,
                "source": opening.source_contact_id,
                "customer": opening.customer.name,
            }
        )

    async def start(self, request: str) -> Started:
        contact = await self.faults.around("start", lambda: self._start(request))
        return Started(Contact(contact.id, f"participant-{contact.id}", f"token-{contact.id}"))

    def _start(self, request: str) -> FakeContact:
        if request not in self._started:
            if sum(not one.over for one in self.contacts) >= self.concurrent:
                raise Busy("StartChatContact", "LimitExceededException")
            asked = json.loads(request)
            past = [one for one in self.contacts if one.id == asked["source"]]
            items = [replace(item, past=True) for one in past for item in one.items]
            contact = FakeContact(f"contact-{len(self.contacts) + 1}", items)
            self.contacts.append(contact)
            self._started[request] = contact
            if asked["first"]:
                self._add(
                    contact, ItemKind.MESSAGE, "CUSTOMER", "Customer", asked["first"], own=True
                )
        return self._started[request]

    def listen(
        self,
        contact: Contact,
        seen: LookBack,
        listener: ChatListener,
        started: Started | None = None,
    ) -> Chat:
        del started  # there is no socket URL to use
        found = next(one for one in self.contacts if one.id == contact.contact_id)
        return FakeChat(self, found, seen, listener)


class FakeChat:
    """`ports.Chat`: one replica's end of a contact."""

    def __init__(
        self,
        connect: FakeConnect,
        contact: FakeContact,
        seen: LookBack,
        listener: ChatListener,
    ) -> None:
        self._connect = connect
        self._contact = contact
        self._known = seen
        self._listener = listener
        self._ended = False
        self._closed = False
        self._connecting = asyncio.create_task(self._subscribe())

    async def _subscribe(self) -> None:
        while True:
            try:
                await self._connect.faults.around("connect", self._connected)
            except Gone:
                self._over()
                return
            except Failure:
                await asyncio.sleep(1.0)
                continue
            self.tell(self._contact.items)
            self._listener.subscribed()
            return

    def _connected(self) -> None:
        contact = self._contact
        if contact.over:
            raise Gone("CreateParticipantConnection", "AccessDeniedException")
        self._listener.renewed(f"connection-{contact.id}", 0.0)
        contact.chats.append(self)
        if not contact.connected:
            contact.connected = True
            self._connect.on_connected(contact)

    def tell(self, items: Sequence[Item]) -> None:
        """Pass on what is new."""
        fresh = [item for item in items if item.id not in self._known]
        if not fresh or self._closed:
            return
        self._known = self._known.plus((item.id, item.time) for item in fresh)
        if any(item.kind is ItemKind.ENDED and not item.past for item in fresh):
            self._ended = True
        self._listener.items(fresh)

    def _over(self) -> None:
        if not self._ended and not self._closed:
            self._ended = True
            self._listener.over()

    async def send(self, text: str, client_token: str, guard: Callable[[], None]) -> Sent:
        self._check("SendMessage")
        try:
            return await self._connect.faults.around(
                "send", lambda: self._connect.accept(self._contact, text, client_token), guard
            )
        except Gone:
            if self._contact.over:
                self._over()
            raise

    async def end(self, client_token: str) -> None:
        await self._connect.faults.around("end", lambda: self._connect.left(self._contact))

    async def catch_up(self) -> Sequence[Item]:
        self._check("GetTranscript")

        def read() -> list[Item]:
            if self._contact.over:
                raise Gone("GetTranscript", "AccessDeniedException")
            return list(self._contact.items)

        items = await self._connect.faults.around("catch_up", read)
        self.tell(items)
        return items

    def _check(self, call: str) -> None:
        assert not self._closed
        if self._ended:
            raise Gone(call, "ContactOver")

    def typing(self) -> None:
        self._contact.typed += 1

    def delivered(self, item_id: str) -> None:
        self._contact.delivered.append(item_id)

    async def close(self) -> None:
        self._closed = True
        self._connecting.cancel()
        if self in self._contact.chats:
            self._contact.chats.remove(self)
        await asyncio.gather(self._connecting, return_exceptions=True)
