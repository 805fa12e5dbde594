"""The Connect API operations about chats, as functions from a call to an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.sandbox.connect.call import Call
from bridge.sandbox.connect.chat import Chat, Contact, Opening
from bridge.sandbox.connect.errors import ServiceError
from bridge.sandbox.connect.items import DECLARABLE, PLAIN
from bridge.sandbox.connect.persistent import Rehydration, rehydrate
from bridge.sandbox.connect.world import World

MAX_ATTRIBUTE_BYTES = 32768
_ATTRIBUTE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def start_chat_contact(call: Call) -> dict[str, Any]:
    """PUT /contact/chat."""
    world, params = call.world, call.params
    scope, token = params["InstanceId"], params.get("ClientToken")
    _check_resources(world, params)
    known = world.client_tokens.recall(
        scope, call.operation, token, world.settings.client_token_seconds
    )
    if known is not None:
        return _repeated(world, known)
    opening, inherited = _opening(world, params)
    attributes = _merged(inherited, params.get("Attributes", {}))
    chat = world.start_chat(opening, attributes)
    answer = {
        "ContactId": chat.id,
        "ParticipantId": chat.customer.id,
        "ParticipantToken": world.issue("participant_token", chat).value,
    }
    if opening.continued_from:
        answer["ContinuedFromContactId"] = opening.continued_from
    if world.settings.connection_types == "honoured":
        answer |= call.connection(chat, params.get("ConnectionTypes", []))
    world.client_tokens.remember(scope, call.operation, token, answer)
    return answer


def stop_contact(call: Call) -> dict[str, Any]:
    """POST /contact/stop. A segment that is over is gone, even where its chat goes on."""
    chat, contact = _contact(call, "ContactId")
    if contact.ended_ms is not None:
        raise ServiceError("ContactNotFoundException", "The contact is already over")
    chat.end("API")
    return {}


def update_contact_attributes(call: Call) -> dict[str, Any]:
    """POST /contact/attributes: merged by key; also on chats that are over."""
    chat = _initial(call)
    chat.attributes = _merged(chat.attributes, call.params["Attributes"])
    return {}


def get_contact_attributes(call: Call) -> dict[str, Any]:
    """GET /contact/attributes/{InstanceId}/{InitialContactId}."""
    return {"Attributes": dict(_initial(call).attributes)}


def describe_contact(call: Call) -> dict[str, Any]:
    """GET /contacts/{InstanceId}/{ContactId}: one segment."""
    chat, contact = _contact(call, "ContactId")
    settings = call.world.settings
    arn = f"arn:aws:connect:{settings.region}:{settings.account_id}:instance/{chat.opening.instance_id}"
    following = chat.contacts[chat.contacts.index(contact) + 1 :]
    ends = [contact.initiated_ms, contact.queued_ms, contact.agent_ms, contact.ended_ms]
    described = {
        "Arn": f"{arn}/contact/{contact.id}",
        "Id": contact.id,
        "InitialContactId": chat.id,
        "PreviousContactId": contact.previous,
        "RelatedContactId": chat.opening.related_contact_id,
        "ContactAssociationId": chat.id,
        "InitiationMethod": contact.initiation,
        "Channel": "CHAT",
        "InitiationTimestamp": contact.initiated_ms / 1000,
        "LastUpdateTimestamp": max(each for each in ends if each is not None) / 1000,
        "DisconnectTimestamp": contact.ended_ms and contact.ended_ms / 1000,
        "DisconnectReason": contact.reason,
        "CustomerId": chat.opening.customer_id,
        "Attributes": dict(chat.attributes),
        "QueueInfo": contact.queued_ms
        and {"Id": "sandbox-queue", "EnqueueTimestamp": contact.queued_ms / 1000},
        "AgentInfo": contact.agent
        and contact.agent_ms
        and {"Id": contact.agent.id, "ConnectedToAgentTimestamp": contact.agent_ms / 1000},
        "NextContacts": [
            {
                "Type": "QUICK_CONNECT",
                "NextContactMetadata": {"QuickConnectContactData": {"ContactId": each.id}},
            }
            for each in following[:1]
            if each.initiation == "TRANSFER"
        ],
    }
    return {"Contact": {key: value for key, value in described.items() if value not in (None, [])}}


def describe_attached_files_configuration(call: Call) -> dict[str, Any]:
    """GET /attached-files-configurations/{InstanceId}/{AttachmentScope}."""
    settings = call.world.settings
    return {
        "AttachedFilesConfiguration": {
            "InstanceId": call.params["InstanceId"],
            "AttachmentScope": call.params["AttachmentScope"],
            "MaximumSizeLimitInBytes": settings.attachment_max_bytes,
            "ExtensionConfiguration": {
                "AllowedExtensions": [
                    {"Extension": each} for each in settings.attachment_extensions
                ]
            },
        }
    }


HANDLERS = {
    "StartChatContact": start_chat_contact,
    "StopContact": stop_contact,
    "UpdateContactAttributes": update_contact_attributes,
    "GetContactAttributes": get_contact_attributes,
    "DescribeContact": describe_contact,
    "DescribeAttachedFilesConfiguration": describe_attached_files_configuration,
}


def _repeated(world: World, answer: dict[str, Any]) -> dict[str, Any]:
    chat = world.chat_of(answer["ContactId"])
    if chat is None or chat.state != "ended":
        return answer
    return {key: answer[key] for key in answer if key not in ("Websocket", "ConnectionCredentials")}


def _check_resources(world: World, params: Mapping[str, Any]) -> None:
    for member, known in (
        ("InstanceId", world.settings.instance_ids),
        ("ContactFlowId", world.settings.contact_flow_ids),
    ):
        if known is not None and params[member] not in known:
            raise ServiceError("ResourceNotFoundException", f"{member} not found")


def _opening(world: World, params: dict[str, Any]) -> tuple[Opening, dict[str, str]]:
    settings = world.settings
    if "PersistentChat" in params and "RelatedContactId" in params:
        raise _refused("PersistentChat and RelatedContactId exclude each other")
    if "ChatStreamingConfiguration" in params:
        raise _refused("Message streaming is not available in this Region")
    if "ConnectionTypes" in params and settings.connection_types == "refused":
        raise _refused("ConnectionTypes is not supported")
    types = frozenset(params.get("SupportedMessagingContentTypes", [PLAIN]))
    if PLAIN not in types or not types <= DECLARABLE:
        raise ServiceError(
            "InvalidParameterException",
            "SupportedMessagingContentTypes must contain text/plain and only known types",
        )
    related = _related(world, params)
    past = Rehydration()
    if persistent := params.get("PersistentChat"):
        past = rehydrate(world, params["InstanceId"], persistent)
    minutes = params.get("ChatDurationInMinutes", settings.default_duration_minutes)
    opening = Opening(
        instance_id=params["InstanceId"],
        flow_id=params["ContactFlowId"],
        display_name=params["ParticipantDetails"]["DisplayName"],
        content_types=types,
        duration_seconds=minutes * settings.minute_seconds,
        response_mode=params.get("ParticipantConfiguration", {}).get(
            "ResponseMode", settings.default_response_mode
        ),
        disconnect_agent_on_exit="AGENT" in params.get("DisconnectOnCustomerExit", []),
        initial_message=_initial_message(world, params, types),
        client_token=params.get("ClientToken"),
        customer_id=params.get("CustomerId"),
        related_contact_id=params.get("RelatedContactId"),
        continued_from=past.continued_from,
        past=past.items,
    )
    return opening, related.attributes if related else {}


def _related(world: World, params: Mapping[str, Any]) -> Chat | None:
    contact_id = params.get("RelatedContactId")
    if contact_id is None:
        return None
    chat = world.chat_of(contact_id)
    if chat is None or chat.opening.instance_id != params["InstanceId"]:
        raise ServiceError("ResourceNotFoundException", "RelatedContactId not found")
    return chat


def _initial_message(
    world: World, params: Mapping[str, Any], types: frozenset[str]
) -> tuple[str, str] | None:
    message = params.get("InitialMessage")
    if message is None:
        return None
    if message["ContentType"] not in types:
        raise _refused("The content type of InitialMessage is not supported by the contact")
    if len(message["Content"].encode()) > world.settings.max_message_bytes:
        raise _refused("InitialMessage is too long")
    return message["ContentType"], message["Content"]


def _merged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    if any(not _ATTRIBUTE_KEY.fullmatch(key) for key in new):
        raise ServiceError(
            "InvalidParameterException",
            "Attribute keys have only letters, digits, dash and underscore",
        )
    merged = {**old, **new}
    if sum(len(key.encode()) + len(value.encode()) for key, value in merged.items()) > (
        MAX_ATTRIBUTE_BYTES
    ):
        raise _refused(f"Attributes exceed {MAX_ATTRIBUTE_BYTES} bytes")
    return merged


def _contact(call: Call, member: str) -> tuple[Chat, Contact]:
    chat = call.world.chat_of(call.params[member])
    if chat is None or chat.opening.instance_id != call.params["InstanceId"]:
        raise ServiceError("ResourceNotFoundException", "Contact not found")
    return chat, next(each for each in chat.contacts if each.id == call.params[member])


def _initial(call: Call) -> Chat:
    chat, contact = _contact(call, "InitialContactId")
    if contact.id != chat.id:
        raise ServiceError("ResourceNotFoundException", "Not the initial contact of a chat")
    return chat


def _refused(message: str) -> ServiceError:
    return ServiceError("InvalidRequestException", message)
