"""An entry of a Connect transcript, or the content of a chat frame, as an `Item`. Pure.

Both have the same shape (Participant Service API reference, Item). Nothing about it is trusted:
whatever is missing or of another type makes the item less, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bridge.connect.interactive import readable
from bridge.core.model import Item, ItemKind

PLAIN = "text/plain"
MARKDOWN = "text/markdown"
INTERACTIVE = "application/vnd.amazonaws.connect.message.interactive"
ATTACHMENT = "application/vnd.amazonaws.connect.message.attachment"
EVENT = "application/vnd.amazonaws.connect.event."

_EVENTS = {
    "participant.joined": ItemKind.JOINED,
    "participant.left": ItemKind.LEFT,
    "transfer.succeeded": ItemKind.TRANSFERRED,
    "transfer.failed": ItemKind.TRANSFER_FAILED,
    "chat.ended": ItemKind.ENDED,
}
# The documented `Type` decides only where there is no ContentType: all clients' samples show EVENT.
_TYPES = {
    "PARTICIPANT_JOINED": ItemKind.JOINED,
    "PARTICIPANT_LEFT": ItemKind.LEFT,
    "TRANSFER_SUCCEEDED": ItemKind.TRANSFERRED,
    "TRANSFER_FAILED": ItemKind.TRANSFER_FAILED,
    "CHAT_ENDED": ItemKind.ENDED,
}
_PASSING_EVENTS = frozenset(
    {
        "typing",
        "message.delivered",
        "message.read",
        "message.metadata",
        "connection.acknowledged",
    }
)
_PASSING_TYPES = frozenset(
    {"TYPING", "MESSAGE_DELIVERED", "MESSAGE_READ", "MESSAGEMETADATA", "CONNECTION_ACK"}
)
_REJECTED = "REJECTED"

# Connect's editors tag link targets so; people may write other HTML comments.
_LINK_TARGET = re.compile(r"<!--\s*rehype:[^<>]*-->")


def item_of(raw: object, participant_id: str) -> Item | None:
    """The item, or None for what is not worth remembering: typing, receipts, chunks of a message
    that is still being written, and what has no id or time.

    `participant_id` is ours: it tells the echo of what we sent.
    """
    if not isinstance(raw, dict) or _passing(raw):
        return None
    item_id, time = _text(raw, "Id"), _seconds(raw.get("AbsoluteTime"))
    if not item_id or time is None:
        return None
    role, author, past = _text(raw, "ParticipantRole"), _text(raw, "ParticipantId"), _past(raw)
    kind, text, markdown = _content(raw)
    return Item(
        id=item_id,
        time=time,
        kind=kind,
        role=role,
        name=_text(raw, "DisplayName").strip(),
        text=text,
        markdown=markdown,
        # In the chat that this one continues the customer was another participant.
        own=role == "CUSTOMER" if past or not author else author == participant_id,
        past=past,
        segment_id=_text(raw, "ContactId"),
    )


def _passing(raw: Mapping[str, Any]) -> bool:
    content_type = _text(raw, "ContentType")
    if content_type.removeprefix(EVENT) in _PASSING_EVENTS or _text(raw, "Type") in _PASSING_TYPES:
        return True
    metadata = raw.get("MessageMetadata")
    return isinstance(metadata, dict) and metadata.get("MessageCompleted") is False


def _past(raw: Mapping[str, Any]) -> bool:
    """Items of the chat that this one continues carry RelatedContactId, those of this one
    ContactId (Participant Service API reference, Item)."""
    related = _text(raw, "RelatedContactId")
    return bool(related) and related != _text(raw, "ContactId")


def _content(raw: Mapping[str, Any]) -> tuple[ItemKind, str, bool]:
    """Kind, text, and whether the text is Markdown."""
    content_type, content = _text(raw, "ContentType"), _text(raw, "Content")
    if content_type.startswith(EVENT):
        return _EVENTS.get(content_type.removeprefix(EVENT), ItemKind.OTHER), "", False
    if content_type == ATTACHMENT or raw.get("Type") == "ATTACHMENT":
        names = _file_names(raw.get("Attachments"))
        return (ItemKind.ATTACHMENT if names else ItemKind.OTHER), names, False
    if not content_type:
        return _TYPES.get(_text(raw, "Type"), ItemKind.OTHER), "", False
    text, markdown = _message(content_type, content)
    return (ItemKind.MESSAGE if text.strip() else ItemKind.OTHER), text, markdown


def _message(content_type: str, content: str) -> tuple[str, bool]:
    if not content.strip():
        return "", False
    if content_type == PLAIN:
        return content, False
    if content_type == MARKDOWN:
        return _LINK_TARGET.sub("", content), True
    if content_type == INTERACTIVE:
        # Titles may hold Markdown too.
        return _clean(_LINK_TARGET.sub("", readable(content))), True
    return "", False


def _file_names(attachments: object) -> str:
    """Names of the files, without those that Connect's scanner refused and deleted."""
    if not isinstance(attachments, list):
        return ""
    names = (
        _text(each, "AttachmentName").strip()
        for each in attachments
        if isinstance(each, dict) and each.get("Status") != _REJECTED
    )
    return ", ".join(name for name in names if name)


def _seconds(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def unix_seconds(value: object) -> float:
    """A time of Connect's as Unix seconds (ISO 8601, UTC); 0 where it cannot be read."""
    return _seconds(value) or 0.0


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return _clean(value) if isinstance(value, str) else ""


def _clean(text: str) -> str:
    """JSON can carry half surrogates, which nobody after us could encode."""
    return text if text.isascii() else text.encode(errors="replace").decode()
