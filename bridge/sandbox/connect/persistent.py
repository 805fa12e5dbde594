"""Persistent chat: what of an ended chat comes back in a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.sandbox.connect.errors import ServiceError
from bridge.sandbox.connect.items import Item
from bridge.sandbox.connect.world import World

MAX_PAST_CONTACTS = 100


@dataclass(frozen=True)
class Rehydration:
    """The past items, oldest first, and the contact that the new chat continues."""

    continued_from: str | None = None
    items: tuple[Item, ...] = ()


def rehydrate(world: World, instance_id: str, request: Mapping[str, str]) -> Rehydration:
    """Find the past that a PersistentChat names (Administrator Guide, persistent chat).

    Raises InvalidRequestException where the members are incomplete, the chat is not over, or
    its transcript not ready; ResourceNotFoundException where there is no such contact.
    """
    kind, source_id = request.get("RehydrationType"), request.get("SourceContactId")
    if kind is None or source_id is None:
        raise _refused("PersistentChat needs RehydrationType and SourceContactId")
    chat = world.chat_of(source_id)
    if chat is None or chat.opening.instance_id != instance_id:
        raise ServiceError("ResourceNotFoundException", "SourceContactId not found")
    if chat.ended_at is None:
        raise _refused("The source contact is not over")
    if world.clock.monotonic() < chat.ended_at + world.settings.persistent_ready_seconds:
        raise _refused("The transcript of the source contact is not available yet")
    segments = [each.id for each in chat.contacts]
    if kind == "ENTIRE_PAST_SESSION":
        if source_id != chat.id:
            raise _refused("SourceContactId must be the initial contact of the past session")
        chosen = segments
    else:
        chosen = segments[: segments.index(source_id) + 1]
    own = tuple(each for each in chat.items if each.contact_id in chosen)
    items = chat.opening.past + own
    if len({each.contact_id for each in items}) > MAX_PAST_CONTACTS:
        raise _refused(f"More than {MAX_PAST_CONTACTS} past contacts")
    return Rehydration(chosen[-1], items)


def _refused(message: str) -> ServiceError:
    return ServiceError("InvalidRequestException", message)
