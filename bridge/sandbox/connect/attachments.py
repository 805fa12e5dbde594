"""Attachments: what is stored, the URLs that carry the bytes, and the scanner's verdict."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.errors import ServiceError, denied, invalid
from bridge.sandbox.connect.items import Item, Participant, new_id
from bridge.sandbox.connect.world import World

CONTENT_TYPES: Mapping[str, frozenset[str]] = {
    "csv": frozenset({"text/csv"}),
    "doc": frozenset({"application/msword"}),
    "docx": frozenset({"application/vnd.openxmlformats-officedocument.wordprocessingml.document"}),
    "heic": frozenset({"image/heic"}),
    "jfif": frozenset({"image/jpeg"}),
    "jpeg": frozenset({"image/jpeg"}),
    "jpg": frozenset({"image/jpeg"}),
    "mov": frozenset({"video/quicktime"}),
    "mp4": frozenset({"video/mp4"}),
    "pdf": frozenset({"application/pdf"}),
    "png": frozenset({"image/png"}),
    "ppt": frozenset({"application/vnd.ms-powerpoint"}),
    "pptx": frozenset(
        {"application/vnd.openxmlformats-officedocument.presentationml.presentation"}
    ),
    "rtf": frozenset({"application/rtf", "text/rtf"}),
    "txt": frozenset({"text/plain"}),
    "wav": frozenset({"audio/wav", "audio/x-wav", "audio/wave"}),
    "xls": frozenset({"application/vnd.ms-excel"}),
    "xlsx": frozenset({"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}),
}
"""By extension, for the default ones; an extension that is added may have any type."""

_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)


def is_content_type(text: str) -> bool:
    """Whether a text can stand in a Content-Type header."""
    return _CONTENT_TYPE.fullmatch(text) is not None


@dataclass
class Attachment:
    """One file of a chat."""

    name: str
    content_type: str
    size: int
    owner: Participant
    chat: Chat
    headers: dict[str, str] = field(default_factory=dict)
    """What the upload must carry, exactly."""
    id: str = field(default_factory=new_id)
    status: Literal["AWAITING", "IN_PROGRESS", "APPROVED", "REJECTED"] = "AWAITING"
    content: bytes | None = None

    def entry(self) -> dict[str, str]:
        """As an item lists it."""
        return {
            "AttachmentId": self.id,
            "AttachmentName": self.name,
            "ContentType": self.content_type,
            "Status": self.status,
        }


@dataclass(frozen=True)
class SignedUrl:
    """What a signature in a URL permits. `expires` is monotonic."""

    attachment: Attachment
    method: Literal["PUT", "GET"]
    expires: float
    inline: bool = False


class AttachmentStore:
    """All files, and the signatures that open them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._attachments: dict[str, Attachment] = {}
        self._signed: dict[str, SignedUrl] = {}

    def start(self, chat: Chat, name: str, content_type: str, size: int) -> Attachment:
        """Announce an upload by the customer. Raises ValidationException for a type or size
        that is not allowed, ServiceQuotaExceededException above the number per chat."""
        settings = self._world.settings
        if not settings.attachments_enabled:
            raise denied("Attachments are not enabled for this instance")
        self._check_type(name, content_type)
        if size > settings.attachment_max_bytes:
            raise invalid(f"AttachmentSizeInBytes is above {settings.attachment_max_bytes}")
        if sum(each.chat is chat for each in self._attachments.values()) >= (
            settings.attachments_per_chat
        ):
            raise ServiceError(
                "ServiceQuotaExceededException", "Too many attachments in this conversation"
            )
        attachment = Attachment(name, content_type, size, chat.customer, chat)
        attachment.headers = {
            "Content-Type": content_type,
            "Content-Length": str(size),
            "Content-Disposition": f'attachment; filename="{quote(name)}"',
            "x-amz-acl": "bucket-owner-full-control",
            "x-amz-meta-account_id": settings.account_id,
            "x-amz-meta-contact_id": chat.contact.id,
            "x-amz-meta-initial_contact_id": chat.id,
            "x-amz-meta-organization_id": chat.opening.instance_id,
        }
        self._attachments[attachment.id] = attachment
        return attachment

    def complete(self, chat: Chat, attachment_id: str) -> None:
        """Hand an uploaded file to the scanner. Raises ConflictException the second time."""
        attachment = self._own(chat, attachment_id)
        if attachment.status != "AWAITING":
            raise ServiceError("ConflictException", "The attachment is already being completed")
        if attachment.content is None:
            raise invalid("The attachment was not uploaded")
        self._deliver(attachment)

    def add(
        self, chat: Chat, owner: Participant, name: str, content_type: str, content: bytes
    ) -> Item:
        """A file of somebody else than the customer, delivered at once."""
        attachment = Attachment(name, content_type, len(content), owner, chat, content=content)
        self._attachments[attachment.id] = attachment
        return self._deliver(attachment)

    def approved(self, chat: Chat, attachment_id: str) -> Attachment:
        """A file that may be fetched. Raises ValidationException for any other."""
        attachment = self._own(chat, attachment_id)
        if attachment.status != "APPROVED":
            raise invalid("The attachment is not available")
        return attachment

    def sign(
        self,
        attachment: Attachment,
        method: Literal["PUT", "GET"],
        seconds: float,
        *,
        inline: bool = False,
    ) -> str:
        """A signature for a URL."""
        signature = secrets.token_hex(32)
        expires = self._world.clock.monotonic() + seconds
        self._signed[signature] = SignedUrl(attachment, method, expires, inline)
        return signature

    def signed(self, signature: str, method: str) -> SignedUrl | None:
        """What a signature permits with a method, expired or not."""
        found = self._signed.get(signature)
        return found if found is not None and found.method == method else None

    def _check_type(self, name: str, content_type: str) -> None:
        extension = name.rpartition(".")[2].lower()
        if "." not in name or extension not in self._world.settings.attachment_extensions:
            raise invalid("The file type is not allowed")
        if not is_content_type(content_type):
            raise invalid("ContentType is not a content type")
        if content_type not in CONTENT_TYPES.get(extension, {content_type}):
            raise invalid("ContentType does not match the file's extension")

    def _own(self, chat: Chat, attachment_id: str) -> Attachment:
        attachment = self._attachments.get(attachment_id)
        if attachment is None or attachment.chat is not chat:
            raise invalid("No such attachment in this chat")
        return attachment

    def _deliver(self, attachment: Attachment) -> Item:
        scan = self._world.settings.scan_seconds
        attachment.status = "APPROVED" if scan is None else "IN_PROGRESS"
        item = attachment.chat.add(
            "ATTACHMENT", None, attachment.owner, attachments=[attachment.entry()]
        )
        if scan is not None and self._world.settings.attachment_scan != "hold":
            self._world.timers.after(scan, lambda: self._judge(attachment, item))
        return item

    def _judge(self, attachment: Attachment, item: Item) -> None:
        if self._world.settings.attachment_scan == "approve":
            attachment.status = "APPROVED"
        else:
            attachment.status, attachment.content = "REJECTED", None
        item.attachments = [attachment.entry()]
        if attachment.chat.state != "ended":
            attachment.chat.publish(item)
        self._world.notify()
