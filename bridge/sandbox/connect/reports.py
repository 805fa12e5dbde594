"""How the desk shows chats."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.items import Item


def contact_report(chat: Chat) -> dict[str, Any]:
    """A chat in short; `contact_id` is its newest contact."""
    opening = chat.opening
    return {
        "contact_id": chat.contact.id,
        "initial_contact_id": chat.id,
        "contact_ids": [each.id for each in chat.contacts],
        "state": chat.state,
        "agent": chat.agent.name if chat.agent else None,
        "display_name": opening.display_name,
        "instance_id": opening.instance_id,
        "contact_flow_id": opening.flow_id,
        "attributes": dict(chat.attributes),
        "content_types": sorted(opening.content_types),
        "response_mode": opening.response_mode,
        "duration_seconds": opening.duration_seconds,
        "disconnect_reason": chat.contact.reason,
        "client_token": opening.client_token,
        "customer_id": opening.customer_id,
        "related_contact_id": opening.related_contact_id,
        "continued_from_contact_id": opening.continued_from,
        "rehydrated_items": len(opening.past),
        "initial_message": opening.initial_message[1] if opening.initial_message else None,
    }


def full_report(chat: Chat, *, sockets: int) -> dict[str, Any]:
    """A chat with all that was said, oldest first; `passing` is what no transcript keeps."""
    return contact_report(chat) | {
        "transcript": [item_report(each) for each in chat.items],
        "passing": [item_report(each) for each in chat.passing],
        "participants": [asdict(each) for each in (chat.customer, *chat.others)],
        "sockets": sockets,
    }


def item_report(item: Item) -> dict[str, Any]:
    """An item as a transcript has it."""
    return item.entry()
