from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.connect.api import ConnectSettings
from bridge.connect.request import client_token, compose, knows_connection_types
from bridge.core.model import Profile
from tests.connect.support import opening

INPUT_SHAPE = (
    get_session().get_service_model("connect").operation_model("StartChatContact").input_shape
)
SETTINGS = ConnectSettings(region="us-east-1", instance_id="i-1", contact_flow_id="f-1")


def composed(settings: ConnectSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    made = json.loads(compose(opening(**changes), settings))
    assert isinstance(made, dict)
    return made


def test_the_whole_request() -> None:
    assert composed() == {
        "InstanceId": "i-1",
        "ContactFlowId": "f-1",
        "ParticipantDetails": {"DisplayName": "Ann Example"},
        "SupportedMessagingContentTypes": ["text/plain", "text/markdown"],
        "ParticipantConfiguration": {"ResponseMode": "COMPLETE"},
        "ConnectionTypes": ["WEBSOCKET", "CONNECTION_CREDENTIALS"],
        "ClientToken": client_token(opening()),
        "Attributes": {
            "slack_team": "T1",
            "slack_channel": "C1",
            "slack_channel_name": "support",
            "slack_thread": "1700000000.000100",
            "slack_user": "U1",
            "slack_user_team": "T9",
            "slack_external": "true",
            "slack_permalink": "https://example.slack.com/archives/C1/p1",
            "customer_email": "ann@example.com",
            "customer_time_zone": "Europe/Paris",
            "customer_locale": "fr-FR",
        },
    }


def test_what_settings_add_and_leave_out() -> None:
    settings = dataclasses.replace(
        SETTINGS,
        attributes=False,
        connection_types=False,
        response_mode=None,
        chat_duration_minutes=90,
        disconnect_on_customer_exit=True,
    )
    assert composed(settings, text="My router is broken", source="old") == {
        "InstanceId": "i-1",
        "ContactFlowId": "f-1",
        "ParticipantDetails": {"DisplayName": "Ann Example"},
        "SupportedMessagingContentTypes": ["text/plain", "text/markdown"],
        "ChatDurationInMinutes": 90,
        "DisconnectOnCustomerExit": ["AGENT"],
        "InitialMessage": {"ContentType": "text/plain", "Content": "My router is broken"},
        "PersistentChat": {"RehydrationType": "ENTIRE_PAST_SESSION", "SourceContactId": "old"},
        "ClientToken": client_token(opening(source="old")),
    }


def test_a_start_chat_url_may_know_instance_and_flow_itself() -> None:
    settings = ConnectSettings(region="", start_chat_url="https://example.com/startChat")
    assert not {"InstanceId", "ContactFlowId", "ConnectionTypes"} & composed(settings).keys()


def test_the_same_opening_is_the_same_request() -> None:
    assert compose(opening(), SETTINGS) == compose(opening(), SETTINGS)


def test_each_try_has_a_token_of_its_own() -> None:
    tries = [
        opening(),
        opening(attempt=2),
        opening(source="old"),
        replace(opening(), generation=2),
        replace(opening(), conversation=replace(opening().conversation, thread_ts="1.2")),
    ]
    tokens = {client_token(each) for each in tries}
    assert len(tokens) == len(tries)
    assert client_token(replace(opening(), customer=Profile("U1", "Renamed"))) == client_token(
        opening()
    )


def test_a_nameless_customer_still_has_a_name() -> None:
    for profile, name in ((Profile("U1", "  "), "U1"), (Profile("", ""), "Customer")):
        body = json.loads(compose(replace(opening(), customer=profile), SETTINGS))
        assert body["ParticipantDetails"]["DisplayName"] == name


def test_plain_text_is_required() -> None:
    with pytest.raises(ValueError, match="text/plain"):
        ConnectSettings(region="us-east-1", content_types=("text/markdown",))


texts = st.text(st.characters(), max_size=40).map(lambda text: text * 40)


@given(texts, texts, texts, texts)
def test_connect_takes_whatever_slack_calls_people_and_places(
    name: str, place: str, email: str, zone: str
) -> None:
    profile = Profile("U1", name, email=email, time_zone=zone)
    given_opening = replace(opening(), customer=profile, place_name=place, permalink=place)
    body = json.loads(compose(given_opening, SETTINGS))
    report = ParamValidator().validate(body, INPUT_SHAPE)
    assert not report.has_errors(), report.generate_report()
    display = body["ParticipantDetails"]["DisplayName"]
    assert 1 <= len(display.encode("utf-16-le")) // 2 <= 256
    attributes = body["Attributes"]
    size = sum(len(key) + len(value.encode()) for key, value in attributes.items())
    assert size <= 32_768
    assert all(value and value == value.strip() for value in attributes.values())


def test_the_installed_botocore_knows_connection_types() -> None:
    assert knows_connection_types()
