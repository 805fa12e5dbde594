"""The StartChatContact request, composed once and repeated byte for byte. Pure.

Limits: Connect API reference, StartChatContact.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from typing import Any

import botocore.session

from bridge.connect.api import ConnectSettings
from bridge.connect.translate import PLAIN
from bridge.core.model import Opening

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NAME_UNITS = 256
_VALUE_UNITS = 512
"""Of one attribute: at most 3 bytes of UTF-8 each, so that all keep below Connect's 32,768."""


def compose(opening: Opening, settings: ConnectSettings) -> str:
    """The whole request as canonical JSON. The same opening gives the same text, and the same
    `ClientToken`; a start-chat URL gets the same members and takes what it knows."""
    customer = opening.customer
    name = _cut(customer.name, _NAME_UNITS) or _cut(customer.user_id, _NAME_UNITS) or "Customer"
    body: dict[str, Any] = {
        "ParticipantDetails": {"DisplayName": name},
        "SupportedMessagingContentTypes": list(settings.content_types),
        "ClientToken": client_token(opening),
    }
    if settings.instance_id:
        body["InstanceId"] = settings.instance_id
    if settings.contact_flow_id:
        body["ContactFlowId"] = settings.contact_flow_id
    if settings.attributes:
        body["Attributes"] = _attributes(opening)
    if settings.chat_duration_minutes:
        body["ChatDurationInMinutes"] = settings.chat_duration_minutes
    if settings.response_mode:
        body["ParticipantConfiguration"] = {"ResponseMode": settings.response_mode}
    if settings.disconnect_on_customer_exit:
        body["DisconnectOnCustomerExit"] = ["AGENT"]
    if settings.connection_types and not settings.start_chat_url and knows_connection_types():
        body["ConnectionTypes"] = ["WEBSOCKET", "CONNECTION_CREDENTIALS"]
    if opening.initial_message.strip():
        body["InitialMessage"] = {"ContentType": PLAIN, "Content": opening.initial_message}
    if opening.source_contact_id:
        body["PersistentChat"] = {
            "RehydrationType": "ENTIRE_PAST_SESSION",
            "SourceContactId": opening.source_contact_id,
        }
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def client_token(opening: Opening) -> str:
    """Names one try at a contact. An opening that gave up its past is another request, and Connect
    would answer a known token with the old one."""
    parts = [
        str(opening.conversation),
        opening.generation,
        opening.attempt,
        opening.source_contact_id,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@functools.cache
def knows_connection_types() -> bool:
    """Whether the installed botocore can ask for the connection with the start: it refuses members
    that its model has not."""
    model = botocore.session.get_session().get_service_model("connect")
    return "ConnectionTypes" in model.operation_model("StartChatContact").input_shape.members


def _attributes(opening: Opening) -> dict[str, str]:
    customer, place = opening.customer, opening.conversation.place
    values = {
        "slack_team": place.workspace.team_id,
        "slack_channel": place.channel,
        "slack_channel_name": opening.place_name,
        "slack_thread": opening.conversation.thread_ts,
        "slack_user": customer.user_id,
        "slack_user_team": customer.team_id,
        "slack_external": "true" if customer.external else "false",
        "slack_permalink": opening.permalink,
        "customer_email": customer.email,
        "customer_time_zone": customer.time_zone,
        "customer_locale": customer.locale,
    }
    trimmed = {key: _cut(value, _VALUE_UNITS) for key, value in values.items()}
    return {key: value for key, value in trimmed.items() if value}


def _cut(text: str, units: int) -> str:
    """At most so many UTF-16 units, as the service counts, without control characters or half
    surrogates."""
    clean = _CONTROLS.sub(" ", text).strip()
    encoded = clean.encode("utf-16-le", "ignore")[: 2 * units]
    return encoded.decode("utf-16-le", "ignore").strip()
