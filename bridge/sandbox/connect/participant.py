"""The Participant Service's operations, as functions from a call to an answer."""

from __future__ import annotations

import json
from typing import Any

from bridge.sandbox.connect.call import Call
from bridge.sandbox.connect.chat import Chat, receipt_target
from bridge.sandbox.connect.clock import iso
from bridge.sandbox.connect.errors import ServiceError, invalid
from bridge.sandbox.connect.items import (
    ACKNOWLEDGED,
    CUSTOMER_SENDS,
    DELIVERED,
    INTERACTIVE_RESPONSE,
    READ,
    TYPING,
    Item,
)
from bridge.sandbox.connect.transcript import get_transcript as read_transcript

RECEIPT_PARTIES = 2
"""Receipts are unsupported among more active participants (Participant API, SendEvent)."""
DOWNLOAD_SECONDS = 300


def create_participant_connection(call: Call) -> dict[str, Any]:
    """POST /participant/connection. ConnectParticipant does nothing for a customer without
    message streaming (Participant API, CreateParticipantConnection)."""
    types = call.params.get("Type", [])
    if not types:
        raise invalid("Type has at least one member")
    if "WEBRTC_CONNECTION" in types:
        raise invalid("WEBRTC_CONNECTION is not available for this contact")
    if call.world.settings.next_tokens_void_on_reconnect:
        call.own_chat.cursors.clear()
    return call.connection(call.own_chat, types)


def send_message(call: Call) -> dict[str, Any]:
    """POST /participant/message."""
    chat, content_type = call.own_chat, call.params["ContentType"]
    if content_type not in CUSTOMER_SENDS or content_type not in chat.opening.content_types:
        raise invalid("ContentType is not supported by this contact")
    content = call.params["Content"]
    _check_content(call, content_type, content)
    known = _recall(call)
    if known is not None:
        return known
    item = chat.add("MESSAGE", content_type, chat.customer, content)
    chat.answered()
    return _remember(call, _accepted(item))


def send_event(call: Call) -> dict[str, Any]:
    """POST /participant/event."""
    content_type = call.params["ContentType"]
    if content_type not in (TYPING, DELIVERED, READ, ACKNOWLEDGED):
        raise invalid("ContentType is not an event that a customer sends")
    known = _recall(call)
    if known is not None:
        return known
    chat = call.own_chat
    if content_type in (DELIVERED, READ):
        item = _receipt(chat, call.params.get("Content"), read=content_type == READ)
    else:
        item = chat.add(
            "EVENT", content_type, chat.customer, stored=False, publish=content_type == TYPING
        )
    return _remember(call, _accepted(item))


def get_transcript(call: Call) -> dict[str, Any]:
    """POST /participant/transcript."""
    return read_transcript(call.world, call.own_chat, call.params)


def start_attachment_upload(call: Call) -> dict[str, Any]:
    """POST /participant/start-attachment-upload."""
    known = _recall(call)
    if known is not None:
        return known
    params, seconds = call.params, call.world.settings.upload_url_seconds
    attachment = call.attachments.start(
        call.own_chat,
        params["AttachmentName"],
        params["ContentType"],
        params["AttachmentSizeInBytes"],
    )
    signature = call.attachments.sign(attachment, "PUT", seconds)
    answer = {
        "AttachmentId": attachment.id,
        "UploadMetadata": {
            "Url": f"{call.base}/attachments/{attachment.id}?X-Amz-Signature={signature}",
            "UrlExpiry": call.world.clock.in_future(seconds),
            "HeadersToInclude": dict(attachment.headers),
        },
    }
    return _remember(call, answer)


def complete_attachment_upload(call: Call) -> dict[str, Any]:
    """POST /participant/complete-attachment-upload."""
    known = _recall(call)
    if known is not None:
        return known
    call.attachments.complete(call.own_chat, call.params["AttachmentIds"][0])
    return _remember(call, {})


def get_attachment(call: Call) -> dict[str, Any]:
    """POST /participant/attachment."""
    seconds = call.params.get("UrlExpiryInSeconds", DOWNLOAD_SECONDS)
    attachment = call.attachments.approved(call.own_chat, call.params["AttachmentId"])
    inline = call.params.get("UrlContentDisposition") == "INLINE"
    signature = call.attachments.sign(attachment, "GET", seconds, inline=inline)
    return {
        "Url": f"{call.base}/attachments/{attachment.id}?X-Amz-Signature={signature}",
        "UrlExpiry": call.world.clock.in_future(seconds),
        "AttachmentSizeInBytes": attachment.size,
    }


def disconnect_participant(call: Call) -> dict[str, Any]:
    """POST /participant/disconnect."""
    known = _recall(call)
    if known is not None:
        return known
    call.own_chat.customer_leaves()
    return _remember(call, {})


def describe_view(call: Call) -> dict[str, Any]:
    """GET /participant/views/{ViewToken}."""
    view = call.world.views.get(call.params["ViewToken"])
    if view is None:
        raise ServiceError("ResourceNotFoundException", "View not found")
    return {"View": view}


HANDLERS = {
    "CreateParticipantConnection": create_participant_connection,
    "SendMessage": send_message,
    "SendEvent": send_event,
    "GetTranscript": get_transcript,
    "StartAttachmentUpload": start_attachment_upload,
    "CompleteAttachmentUpload": complete_attachment_upload,
    "GetAttachment": get_attachment,
    "DisconnectParticipant": disconnect_participant,
    "DescribeView": describe_view,
}


def _check_content(call: Call, content_type: str, content: str) -> None:
    settings = call.world.settings
    if len(content.encode()) > settings.max_message_bytes:
        raise invalid(f"Content is longer than {settings.max_message_bytes} bytes")
    if settings.max_message_chars is not None and len(content) > settings.max_message_chars:
        raise invalid(f"Content is longer than {settings.max_message_chars} characters")
    if content_type in ("application/json", INTERACTIVE_RESPONSE):
        try:
            json.loads(content)
        except ValueError:
            raise invalid("Content is not valid JSON") from None


def _receipt(chat: Chat, content: str | None, *, read: bool) -> Item:
    try:
        target = receipt_target(content)
    except ValueError as error:
        raise invalid(str(error)) from None
    if len(chat.active) > RECEIPT_PARTIES:
        raise ServiceError(
            "ConflictException", "Receipts are not supported with more than two participants"
        )
    item = chat.find(target)
    if item is None:
        raise invalid("messageId is not an item of this chat")
    return chat.receipt(item, chat.customer, read=read)


def _accepted(item: Item) -> dict[str, Any]:
    return {"Id": item.id, "AbsoluteTime": iso(item.at_ms)}


def _recall(call: Call) -> dict[str, Any] | None:
    return call.world.client_tokens.recall(
        call.own_chat.customer.id,
        call.operation,
        call.params.get("ClientToken"),
        call.world.settings.client_token_seconds,
    )


def _remember(call: Call, answer: dict[str, Any]) -> dict[str, Any]:
    call.world.client_tokens.remember(
        call.own_chat.customer.id, call.operation, call.params.get("ClientToken"), answer
    )
    return answer
