"""All chats of the local Connect, and who may speak in them. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bridge.sandbox.connect.chat import Chat, Opening, Services
from bridge.sandbox.connect.clock import Clock, Timers
from bridge.sandbox.connect.errors import DeskError, ServiceError, denied
from bridge.sandbox.connect.settings import Settings
from bridge.sandbox.connect.tokens import ClientTokens, Kind, Token, Tokens
from bridge.sandbox.faults import FaultPlan

CALL_FAULTS = frozenset({"delay", "throttle", "error", "no_answer", "drop", "reject"})
SOCKET_FAULTS = frozenset(
    {
        "close",
        "silent",
        "duplicate_frames",
        "delay_frames",
        "reorder_frames",
        "lose_frames",
        "late_transcript",
    }
)


class World:
    """The state of the service. `send` is set by whoever holds the sockets."""

    def __init__(self, settings: Settings | None = None, clock: Clock | None = None) -> None:
        self.settings = settings or Settings()
        self.clock = clock or Clock()
        self.timers = Timers()
        self.faults = FaultPlan(CALL_FAULTS | SOCKET_FAULTS)
        self.tokens = Tokens(self.clock)
        self.client_tokens = ClientTokens(self.clock)
        self.chats: list[Chat] = []
        """Oldest first."""
        self.views: dict[str, dict[str, Any]] = {}
        """By view token: what DescribeView answers."""
        self.send: Callable[[Chat, dict[str, Any]], None] = lambda _chat, _body: None
        self._by_contact: dict[str, Chat] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    # --- chats ---------------------------------------------------------------------------

    def start_chat(self, opening: Opening, attributes: dict[str, str]) -> Chat:
        """A new chat. Raises LimitExceededException above the quota of concurrent chats."""
        active = [
            chat
            for chat in self.chats
            if chat.state != "ended" and chat.opening.instance_id == opening.instance_id
        ]
        if len(active) >= self.settings.concurrent_chats:
            raise ServiceError("LimitExceededException", "Too many concurrently active chats")
        services = Services(
            settings=self.settings,
            clock=self.clock,
            timers=self.timers,
            send=self.send,
            lateness=self._lateness,
            register=lambda chat, contact_id: self._by_contact.update({contact_id: chat}),
            changed=self.notify,
        )
        chat = Chat(services, opening, attributes)
        self.chats.append(chat)
        chat.begin()
        return chat

    def chat_of(self, contact_id: str) -> Chat | None:
        """The chat that any contact of its chain names."""
        return self._by_contact.get(contact_id)

    def desk_chat(self, contact_id: str) -> Chat:
        """The same for the desk. Raises DeskError 404."""
        chat = self.chat_of(contact_id)
        if chat is None:
            raise DeskError(f"no contact {contact_id!r}", 404)
        return chat

    def _lateness(self, chat: Chat) -> float:
        fault = self.faults.strike("socket", {"late_transcript"}, {"contact": chat.id})
        return fault.seconds() if fault else 0.0

    # --- tokens --------------------------------------------------------------------------

    def issue(self, kind: Kind, chat: Chat) -> Token:
        """A secret of the customer of this chat."""
        seconds = {
            "participant_token": float("inf"),
            "connection_token": self.settings.token_seconds,
            "socket_url": self.settings.url_seconds,
        }[kind]
        return self.tokens.issue(kind, chat.id, chat.customer.id, seconds)

    def authenticate(self, bearer: str | None, kind: Kind) -> Chat:
        """The chat that a bearer may act in. Raises AccessDeniedException where the token is of
        another kind, unknown or expired, the customer has left, or the chat is over."""
        token = self.tokens.valid(bearer or "", kind)
        if token is None:
            raise denied()
        chat = self._by_contact[token.chat_id]
        if chat.state == "ended" or not chat.customer.active:
            raise denied()
        return chat

    # --- waiting -------------------------------------------------------------------------

    def notify(self) -> None:
        """Something changed: let those look who wait for it."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition over this world. Answers whether it came true in time."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiting.add(waiter)
                    await waiter
        except TimeoutError:
            return condition()
        return True
