"""One call on its way through the service."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from bridge.sandbox.connect.attachments import AttachmentStore
from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.world import World


@dataclass
class Call:
    """What a handler sees: checked members, and for participant calls the chat of the token."""

    world: World
    attachments: AttachmentStore
    operation: str
    base: str
    """Origin under which the client reached the sandbox, as in "http://127.0.0.1:8000"."""
    params: dict[str, Any] = field(default_factory=dict)
    chat: Chat | None = None

    @property
    def own_chat(self) -> Chat:
        """The chat of the bearer token."""
        if self.chat is None:
            raise LookupError("the call was not authenticated")
        return self.chat

    def connection(self, chat: Chat, types: Collection[str]) -> dict[str, Any]:
        """New socket URL and connection token, as far as `types` asks for them."""
        answer: dict[str, Any] = {}
        if "WEBSOCKET" in types:
            url = self.world.issue("socket_url", chat).value
            answer["Websocket"] = {
                "Url": f"{self.base.replace('http', 'ws', 1)}/socket?token={url}",
                "ConnectionExpiry": self.world.clock.in_future(self.world.settings.socket_seconds),
            }
        if "CONNECTION_CREDENTIALS" in types:
            token = self.world.issue("connection_token", chat)
            answer["ConnectionCredentials"] = {
                "ConnectionToken": token.value,
                "Expiry": token.expiry,
            }
        return answer
