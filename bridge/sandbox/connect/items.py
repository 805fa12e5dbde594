"""Entries of a chat's transcript, and the content types they have."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from bridge.sandbox.connect.clock import iso

EVENT = "application/vnd.amazonaws.connect.event."
TYPING = EVENT + "typing"
ACKNOWLEDGED = EVENT + "connection.acknowledged"
DELIVERED = EVENT + "message.delivered"
READ = EVENT + "message.read"
METADATA = EVENT + "message.metadata"
JOINED = EVENT + "participant.joined"
LEFT = EVENT + "participant.left"
TRANSFERRED = EVENT + "transfer.succeeded"
TRANSFER_FAILED = EVENT + "transfer.failed"
ENDED = EVENT + "chat.ended"

PLAIN = "text/plain"
INTERACTIVE = "application/vnd.amazonaws.connect.message.interactive"
INTERACTIVE_RESPONSE = INTERACTIVE + ".response"
DECLARABLE = frozenset(
    {PLAIN, "text/markdown", "application/json", INTERACTIVE, INTERACTIVE_RESPONSE}
)
"""What SupportedMessagingContentTypes may list (Connect API, StartChatContact)."""
CUSTOMER_SENDS = DECLARABLE - {INTERACTIVE}


def new_id() -> str:
    """An id as the service makes them."""
    return str(uuid.uuid4())


@dataclass
class Participant:
    """One who takes part in a chat, through all its contacts."""

    role: str
    name: str
    id: str = field(default_factory=new_id)
    active: bool = True


@dataclass
class Item:
    """One entry. `number` is the order in which the service accepted it."""

    id: str
    number: int
    at_ms: int
    type: str
    contact_id: str
    content_type: str | None = None
    content: str | None = None
    sender: Participant | None = None
    """None where the service itself speaks without a role, as in chat.ended."""
    attachments: list[dict[str, str]] = field(default_factory=list)
    receipts: dict[str, dict[str, str]] = field(default_factory=dict)
    """By recipient participant id: DeliveredTimestamp, ReadTimestamp."""
    readable_at: float = 0.0
    """Monotonic time from which GetTranscript shows it."""
    reads: list[float] = field(default_factory=list)
    """Monotonic times of the first GetTranscripts that showed it."""

    def body(self) -> dict[str, Any]:
        """What a frame and a transcript entry have in common."""
        body: dict[str, Any] = {"AbsoluteTime": iso(self.at_ms), "Id": self.id, "Type": self.type}
        if self.content_type is not None:
            body["ContentType"] = self.content_type
        if self.content is not None:
            body["Content"] = self.content
        if self.sender is not None:
            body["ParticipantId"] = self.sender.id
            body["DisplayName"] = self.sender.name
            body["ParticipantRole"] = self.sender.role
        if self.attachments:
            body["Attachments"] = [dict(each) for each in self.attachments]
        return body

    def metadata(self) -> dict[str, Any]:
        """The receipts of this item, as MessageMetadata."""
        return {
            "MessageId": self.id,
            "Receipts": [
                {"RecipientParticipantId": recipient, **times}
                for recipient, times in self.receipts.items()
            ],
        }

    def entry(self, *, related: bool = False) -> dict[str, Any]:
        """As GetTranscript shows it; `related`: from a past chat."""
        entry = self.body()
        entry["RelatedContactId" if related else "ContactId"] = self.contact_id
        if self.receipts:
            entry["MessageMetadata"] = self.metadata()
        return entry
