"""One chat: its contacts, participants and items, and the rules by which they change."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.sandbox.connect.clock import Clock, Timers, iso
from bridge.sandbox.connect.errors import DeskError
from bridge.sandbox.connect.items import (
    ENDED,
    JOINED,
    LEFT,
    METADATA,
    PLAIN,
    TRANSFER_FAILED,
    TRANSFERRED,
    Item,
    Participant,
    new_id,
)
from bridge.sandbox.connect.settings import Settings

State = Literal[
    "waiting_for_customer", "in_flow", "queued", "connected", "disconnect_flow", "ended"
]


@dataclass
class Contact:
    """One segment of a chat: a transfer and the disconnect flow each begin a new one."""

    initiation: str
    initiated_ms: int
    previous: str | None = None
    id: str = field(default_factory=new_id)
    queued_ms: int | None = None
    agent: Participant | None = None
    agent_ms: int | None = None
    ended_ms: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Cursor:
    """Where the next page of a transcript begins."""

    position: int
    forward: bool
    reaches_past: bool = False
    in_past: bool = False


@dataclass(frozen=True)
class Opening:
    """What StartChatContact settled for the chat's whole life."""

    instance_id: str
    flow_id: str
    display_name: str
    content_types: frozenset[str]
    duration_seconds: float
    response_mode: str
    disconnect_agent_on_exit: bool = False
    initial_message: tuple[str, str] | None = None
    """Content type and content."""
    client_token: str | None = None
    customer_id: str | None = None
    related_contact_id: str | None = None
    continued_from: str | None = None
    past: tuple[Item, ...] = ()
    """The rehydrated items, oldest first."""


@dataclass(frozen=True)
class Services:
    """What a chat needs from the world around it."""

    settings: Settings
    clock: Clock
    timers: Timers
    send: Callable[[Chat, dict[str, Any]], None]
    """Send one frame body to the customer's sockets."""
    lateness: Callable[[Chat], float]
    """Seconds by which GetTranscript shows the next item late."""
    register: Callable[[Chat, str], None]
    """A contact id now names this chat."""
    changed: Callable[[], None]


class Chat:
    """From StartChatContact to chat.ended."""

    def __init__(self, services: Services, opening: Opening, attributes: dict[str, str]) -> None:
        self._services = services
        self.opening = opening
        self.attributes = attributes
        self.state: State = "waiting_for_customer"
        self.contacts = [Contact("API", services.clock.wall_ms())]
        self.customer = Participant("CUSTOMER", opening.display_name)
        self.system = Participant("SYSTEM", "SYSTEM_MESSAGE")
        self.others: list[Participant] = []
        """Agents, supervisors and bots that ever joined."""
        self.items: list[Item] = []
        self.passing: list[Item] = []
        """What is never stored: typing."""
        self.ended_at: float | None = None
        """Monotonic."""
        self.cursors: dict[str, Cursor] = {}
        """By NextToken."""
        services.register(self, self.id)

    def begin(self) -> None:
        """Take in the initial message; start the clocks of the connection and the chat."""
        if self.opening.initial_message:
            content_type, content = self.opening.initial_message
            self.add("MESSAGE", content_type, self.customer, content, publish=False)
        later, settings = self._services.timers.after, self._services.settings
        later(settings.customer_connect_seconds, self._expire_unconnected)
        later(self.opening.duration_seconds, lambda: self.end("EXPIRED"))
        self._services.changed()

    @property
    def id(self) -> str:
        """The initial contact id, which names the chat for its whole life."""
        return self.contacts[0].id

    @property
    def contact(self) -> Contact:
        """The newest segment."""
        return self.contacts[-1]

    @property
    def active(self) -> list[Participant]:
        """Who takes part now, the customer included."""
        return [each for each in (self.customer, *self.others) if each.active]

    @property
    def agent(self) -> Participant | None:
        """Who answers in this segment."""
        agent = self.contact.agent
        return agent if agent is not None and agent.active else None

    # --- items ---------------------------------------------------------------------------

    def add(
        self,
        kind: str,
        content_type: str | None,
        sender: Participant | None,
        content: str | None = None,
        *,
        item_id: str | None = None,
        attachments: list[dict[str, str]] | None = None,
        stored: bool = True,
        publish: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> Item:
        """Accept one item: give it its time, keep it, send it."""
        clock = self._services.clock
        item = Item(
            id=item_id or new_id(),
            number=len(self.items),
            at_ms=clock.stamp_ms(),
            type=kind,
            contact_id=self.contact.id,
            content_type=content_type,
            content=content,
            sender=sender,
            attachments=attachments or [],
        )
        if stored:
            item.readable_at = clock.monotonic() + self._services.lateness(self)
            self.items.append(item)
        else:
            self.passing.append(item)
        if publish:
            self.publish(item, metadata)
        self._services.changed()
        return item

    def publish(self, item: Item, metadata: dict[str, Any] | None = None) -> None:
        """Send an item, again or for the first time, to the customer's sockets."""
        body = item.body() | {"InitialContactId": self.id, "ContactId": item.contact_id}
        if metadata:
            body["MessageMetadata"] = metadata
        self._services.send(self, body)

    def find(self, item_id: str) -> Item | None:
        """A stored item of this chat."""
        return next((each for each in self.items if each.id == item_id), None)

    def receipt(self, item: Item, recipient: Participant, *, read: bool) -> Item:
        """Note that a participant received or read an item, and tell the customer's sockets."""
        clock = self._services.clock
        now = iso(clock.stamp_ms())
        times = item.receipts.setdefault(recipient.id, {})
        times.setdefault("DeliveredTimestamp", now)
        if read:
            times.setdefault("ReadTimestamp", now)
        notice = Item(new_id(), 0, clock.stamp_ms(), "MESSAGEMETADATA", self.contact.id, METADATA)
        self._services.send(self, notice.body() | {"MessageMetadata": item.metadata()})
        self._services.changed()
        return notice

    def stream(
        self,
        sender: Participant,
        content_type: str,
        chunks: Sequence[str],
        item_id: str | None = None,
        *,
        completed: bool = True,
    ) -> str:
        """Say a message in growing parts of one id, each a frame with its own part only; the
        completed one has the whole. A chat in COMPLETE mode sees only that. Answers the id."""
        item_id = item_id or new_id()
        if self.opening.response_mode == "INCREMENTAL":
            for number, chunk in enumerate(chunks, 1):
                metadata = {"MessageCompleted": False, "ChunkNumber": number}
                part = Item(
                    item_id,
                    0,
                    self._services.clock.stamp_ms(),
                    "MESSAGE",
                    self.contact.id,
                    content_type,
                    chunk,
                    sender,
                )
                self.publish(part, metadata)
        if completed:
            metadata = {"MessageCompleted": True, "ChunkNumber": len(chunks) + 1}
            whole = "".join(chunks)
            self.add("MESSAGE", content_type, sender, whole, item_id=item_id, metadata=metadata)
        return item_id

    # --- the life-cycle ------------------------------------------------------------------

    def customer_connected(self) -> None:
        """The customer's first socket is open: the flow begins (Connect API, StartChatContact)."""
        if self.state != "waiting_for_customer":
            return
        self.state = "in_flow"
        self._services.changed()
        self._services.timers.after(self._services.settings.flow_seconds, self._run_flow)

    def _run_flow(self) -> None:
        if self.state != "in_flow":
            return
        if self.opening.initial_message:
            self.publish(self.items[0])
        self.add("EVENT", JOINED, self.customer)
        if greeting := self._services.settings.greeting:
            self.add("MESSAGE", PLAIN, self.system, greeting)
        self._queue()

    def _queue(self) -> None:
        self.state = "queued"
        self.contact.queued_ms = self._services.clock.wall_ms()
        self._services.changed()

    def accept(self, name: str, participant_id: str | None = None) -> Participant:
        """An agent takes the chat from the queue."""
        if self.state != "queued":
            raise DeskError(f"the chat is {self.state}, not queued", 409)
        agent = self.join(name, "AGENT", participant_id)
        self.contact.agent = agent
        self.contact.agent_ms = self._services.clock.wall_ms()
        self.state = "connected"
        self._services.changed()
        return agent

    def join(self, name: str, role: str, participant_id: str | None = None) -> Participant:
        """One more participant."""
        if self.state not in ("queued", "connected"):
            raise DeskError(f"the chat is {self.state}", 409)
        participant = Participant(role, name, participant_id or new_id())
        self.others.append(participant)
        self.add("EVENT", JOINED, participant)
        return participant

    def bot(self, name: str) -> Participant:
        """The bot of this name, made when it first speaks; it counts as a participant only where
        it joined."""
        for each in self.others:
            if each.role == "CUSTOM_BOT" and each.name == name:
                return each
        bot = Participant("CUSTOM_BOT", name, active=False)
        self.others.append(bot)
        return bot

    def transfer(self, to: str | None, participant_id: str | None = None) -> None:
        """Hand the chat over: to another agent at once, or back to the queue (`to` None)."""
        agent = self._require_agent()
        self._depart(agent)
        self._next_contact("TRANSFER" if to else "QUEUE_TRANSFER", "AGENT_DISCONNECT")
        self.add("EVENT", TRANSFERRED, agent)
        self._queue()
        if to:
            self.accept(to, participant_id)

    def fail_transfer(self) -> None:
        """A transfer that did not work: the agent stays."""
        self.add("EVENT", TRANSFER_FAILED, self._require_agent())

    def leave(self, name: str | None = None) -> None:
        """An agent or supervisor goes. When nobody but the customer is left, the disconnect
        flow runs."""
        leaving = self.agent if name is None else self._named(name)
        if leaving is None or self.state != "connected":
            raise DeskError("nobody is there who could leave", 409)
        self._depart(leaving)
        staff = [each for each in self.others if each.active and each.role != "CUSTOM_BOT"]
        if not staff:
            self._disconnect_flow("AGENT_DISCONNECT")

    def customer_leaves(self) -> None:
        """The customer's DisconnectParticipant."""
        if self.opening.disconnect_agent_on_exit and self.state == "connected":
            for each in [each for each in self.others if each.active]:
                self._depart(each)
            self._disconnect_flow("CUSTOMER_DISCONNECT")
            return
        self._depart(self.customer)
        if self.agent is None or self._services.settings.customer_exit_ends:
            self.end("CUSTOMER_DISCONNECT")

    def answered(self) -> None:
        """The customer wrote: the disconnect flow was waiting for just that."""
        if self.state == "disconnect_flow":
            self._services.timers.after(
                self._services.settings.flow_seconds, lambda: self.end("CONTACT_FLOW_DISCONNECT")
            )

    def end(self, reason: str) -> None:
        """The end, once: chat.ended is the last item."""
        if self.state == "ended":
            return
        self._close_contact(reason)
        self.add("EVENT", ENDED, None)
        self.state = "ended"
        self.ended_at = self._services.clock.monotonic()
        for each in self.active:
            each.active = False
        self._services.changed()

    def _disconnect_flow(self, reason: str) -> None:
        settings = self._services.settings
        if not self.customer.active or settings.survey is None:
            self.end(reason)
            return
        self._next_contact("DISCONNECT", reason)
        self.state = "disconnect_flow"
        self.add("MESSAGE", PLAIN, self.system, settings.survey)
        self._services.timers.after(
            settings.survey_seconds, lambda: self.end("CONTACT_FLOW_DISCONNECT")
        )

    def _expire_unconnected(self) -> None:
        if self.state == "waiting_for_customer":
            self.end("CUSTOMER_CONNECTION_NOT_ESTABLISHED")

    def _depart(self, participant: Participant) -> None:
        participant.active = False
        self.add("EVENT", LEFT, participant)

    def _close_contact(self, reason: str) -> None:
        self.contact.ended_ms = self._services.clock.wall_ms()
        self.contact.reason = reason

    def _next_contact(self, initiation: str, reason: str) -> None:
        previous = self.contact.id
        self._close_contact(reason)
        self.contacts.append(Contact(initiation, self._services.clock.wall_ms(), previous))
        self._services.register(self, self.contact.id)

    def _require_agent(self) -> Participant:
        if self.state != "connected" or self.agent is None:
            raise DeskError(f"the chat is {self.state}, no agent has it", 409)
        return self.agent

    def _named(self, name: str) -> Participant | None:
        return next((each for each in self.others if each.active and each.name == name), None)


def receipt_target(content: str | None) -> str:
    """The messageId in a receipt's content. Raises ValueError where there is none."""
    try:
        body = json.loads(content or "")
    except ValueError:
        raise ValueError("Content of a receipt is a JSON object with messageId") from None
    message_id = body.get("messageId") if isinstance(body, dict) else None
    if not isinstance(message_id, str) or not message_id:
        raise ValueError("Content of a receipt is a JSON object with messageId")
    return message_id
