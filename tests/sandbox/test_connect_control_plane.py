from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.connect_support import FLOW, INSTANCE, Connect, refused, running

TYPES = ["text/plain", "text/markdown"]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with running() as one:
        yield one


async def test_a_started_chat_is_described_as_it_was_asked_for(connect: Connect) -> None:
    started = await connect.start(
        Attributes={"slack-user": "U1"}, CustomerId="c-1", ClientToken="t-1"
    )
    contact = (await connect.control("describe_contact", ContactId=started["ContactId"]))["Contact"]
    assert contact["Id"] == contact["InitialContactId"] == started["ContactId"]
    assert (contact["Channel"], contact["InitiationMethod"]) == ("CHAT", "API")
    assert contact["Attributes"] == {"slack-user": "U1"}
    assert contact["CustomerId"] == "c-1"
    assert "DisconnectTimestamp" not in contact
    report = (await connect.desk("GET", "contacts"))["contacts"]
    assert [each["contact_id"] for each in report] == [started["ContactId"]]
    assert report[0]["state"] == "waiting_for_customer"
    assert report[0]["client_token"] == "t-1"


async def test_a_client_token_starts_one_chat_until_it_is_forgotten(connect: Connect) -> None:
    first = await connect.start(ClientToken="same")
    again = await connect.start(ClientToken="same")
    first.pop("ResponseMetadata"), again.pop("ResponseMetadata")
    assert again == first
    other = await connect.start(ClientToken="other")
    assert other["ContactId"] != first["ContactId"]
    await connect.desk("POST", "forget_client_tokens")
    assert (await connect.start(ClientToken="same"))["ContactId"] != first["ContactId"]


async def test_a_client_token_is_forgotten_after_its_time(connect: Connect) -> None:
    first = await connect.start(ClientToken="same")
    connect.settings.client_token_seconds = 0.0
    assert (await connect.start(ClientToken="same"))["ContactId"] != first["ContactId"]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"SupportedMessagingContentTypes": ["text/markdown"]}, "InvalidParameterException"),
        ({"SupportedMessagingContentTypes": ["text/plain", "x/y"]}, "InvalidParameterException"),
        ({"Attributes": {"no blanks": "v"}}, "InvalidParameterException"),
        ({"Attributes": {"a": "x" * 32_000, "b": "x" * 800}}, "InvalidRequestException"),
        ({"ParticipantDetails": {"DisplayName": "x" * 257}}, "InvalidParameterException"),
        ({"ChatDurationInMinutes": 10081}, "InvalidParameterException"),
        ({"ParticipantConfiguration": {"ResponseMode": "x"}}, "InvalidParameterException"),
        ({"PersistentChat": {"RehydrationType": "FROM_SEGMENT"}}, "InvalidRequestException"),
        (
            {
                "PersistentChat": {"RehydrationType": "FROM_SEGMENT", "SourceContactId": "c"},
                "RelatedContactId": "c",
            },
            "InvalidRequestException",
        ),
        (
            {"InitialMessage": {"ContentType": "text/markdown", "Content": "x"}},
            "InvalidRequestException",
        ),
        (
            {"ChatStreamingConfiguration": {"StreamingEndpointArn": "arn:x"}},
            "InvalidRequestException",
        ),
    ],
)
async def test_a_bad_request_starts_nothing(
    connect: Connect, members: dict[str, Any], code: str
) -> None:
    with refused(code, 400):
        await connect.start(**members)
    assert (await connect.desk("GET", "contacts"))["contacts"] == []


async def test_attributes_may_fill_all_their_bytes(connect: Connect) -> None:
    await connect.start(Attributes={"k": "x" * 32_767})
    with refused("InvalidRequestException", 400):
        await connect.start(Attributes={"k": "\u00e9" * 16_384})


async def test_unknown_instances_and_flows_are_not_found(connect: Connect) -> None:
    connect.settings.instance_ids = [INSTANCE]
    connect.settings.contact_flow_ids = [FLOW]
    await connect.start()
    with refused("ResourceNotFoundException", 404):
        await connect.start(ContactFlowId="other")
    with refused("ResourceNotFoundException", 404):
        await connect.start(InstanceId="other")


async def test_the_quota_of_concurrent_chats_counts_until_they_end(connect: Connect) -> None:
    connect.settings.concurrent_chats = 1
    first = await connect.start()
    with refused("LimitExceededException", 429):
        await connect.start()
    await connect.control("stop_contact", ContactId=first["ContactId"])
    assert (await connect.start())["ContactId"]


async def test_a_stopped_contact_is_gone(connect: Connect) -> None:
    started = await connect.start()
    await connect.control("stop_contact", ContactId=started["ContactId"])
    contact = (await connect.control("describe_contact", ContactId=started["ContactId"]))["Contact"]
    assert contact["DisconnectReason"] == "API"
    assert contact["DisconnectTimestamp"] >= contact["InitiationTimestamp"]
    with refused("ContactNotFoundException", 410):
        await connect.control("stop_contact", ContactId=started["ContactId"])
    with refused("ResourceNotFoundException", 404):
        await connect.control("stop_contact", ContactId="unknown")
    with refused("ResourceNotFoundException", 404):
        await connect.control("stop_contact", ContactId=started["ContactId"], InstanceId="other")


async def test_attributes_are_merged_even_after_the_end(connect: Connect) -> None:
    contact_id = (await connect.start(Attributes={"a": "1", "b": "2"}))["ContactId"]
    await connect.control("stop_contact", ContactId=contact_id)
    await connect.control(
        "update_contact_attributes", InitialContactId=contact_id, Attributes={"b": "3", "c": ""}
    )
    answer = await connect.control("get_contact_attributes", InitialContactId=contact_id)
    assert answer["Attributes"] == {"a": "1", "b": "3", "c": ""}
    with refused("ResourceNotFoundException", 404):
        await connect.control("get_contact_attributes", InitialContactId="unknown")
    with refused("InvalidParameterException", 400):
        await connect.control(
            "update_contact_attributes", InitialContactId=contact_id, Attributes={"b b": "3"}
        )


async def test_a_related_contact_lends_its_attributes(connect: Connect) -> None:
    first = await connect.start(Attributes={"a": "1", "b": "2"})
    second = await connect.start(RelatedContactId=first["ContactId"], Attributes={"b": "3"})
    contact = (await connect.control("describe_contact", ContactId=second["ContactId"]))["Contact"]
    assert contact["RelatedContactId"] == first["ContactId"]
    assert contact["Attributes"] == {"a": "1", "b": "3"}
    with refused("ResourceNotFoundException", 404):
        await connect.start(RelatedContactId="unknown")


async def test_connection_types_save_a_call(connect: Connect) -> None:
    started = await connect.start(
        ConnectionTypes=["WEBSOCKET", "CONNECTION_CREDENTIALS"], ClientToken="t"
    )
    token = started["ConnectionCredentials"]["ConnectionToken"]
    await connect.participate(
        "send_message", ConnectionToken=token, ContentType="text/plain", Content="hi"
    )
    async with connect.http.ws_connect(started["Websocket"]["Url"]) as ws:
        assert not ws.closed
    await connect.control("stop_contact", ContactId=started["ContactId"])
    again = await connect.start(
        ConnectionTypes=["WEBSOCKET", "CONNECTION_CREDENTIALS"], ClientToken="t"
    )
    assert again["ContactId"] == started["ContactId"]
    assert "Websocket" not in again


async def test_a_service_may_not_know_connection_types(connect: Connect) -> None:
    connect.settings.connection_types = "ignored"
    assert "Websocket" not in await connect.start(ConnectionTypes=["WEBSOCKET"])
    connect.settings.connection_types = "refused"
    with refused("InvalidRequestException", 400):
        await connect.start(ConnectionTypes=["WEBSOCKET"])


async def test_the_attachment_rules_can_be_read(connect: Connect) -> None:
    answer = await connect.control("describe_attached_files_configuration", AttachmentScope="CHAT")
    rules = answer["AttachedFilesConfiguration"]
    assert rules["MaximumSizeLimitInBytes"] == 20 * 1024 * 1024
    extensions = [
        each["Extension"] for each in rules["ExtensionConfiguration"]["AllowedExtensions"]
    ]
    assert extensions == connect.settings.attachment_extensions


async def test_a_signature_of_the_right_form_is_required(connect: Connect) -> None:
    url = f"{connect.url}/contact/chat"
    async with connect.http.put(url, json={}) as answer:
        assert answer.status == 403
        assert answer.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
    bad = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"}
    async with connect.http.put(url, json={}, headers=bad) as answer:
        assert answer.status == 403
        assert answer.headers["x-amzn-ErrorType"] == "IncompleteSignatureException"


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"x"', b'{"ContactId": "\\ud800"}', b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(connect: Connect, raw: bytes) -> None:
    signed = {
        "Authorization": "AWS4-HMAC-SHA256 "
        "Credential=a/20260101/us-east-1/connect/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
        "X-Amz-Date": "20260101T000000Z",
    }
    async with connect.http.put(f"{connect.url}/contact/chat", data=raw, headers=signed) as answer:
        assert answer.status == 400
        assert answer.headers["x-amzn-ErrorType"] == "InvalidRequestException"
        assert set(await answer.json()) == {"Message"}


async def test_missing_and_mistyped_members_have_the_services_errors(connect: Connect) -> None:
    signed = {
        "Authorization": "AWS4-HMAC-SHA256 "
        "Credential=a/20260101/us-east-1/connect/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
        "X-Amz-Date": "20260101T000000Z",
    }
    for body, code in (
        ({"InstanceId": "i", "ContactFlowId": "f"}, "InvalidRequestException"),
        (
            {"InstanceId": 7, "ContactFlowId": "f", "ParticipantDetails": {"DisplayName": "x"}},
            "InvalidParameterException",
        ),
    ):
        async with connect.http.put(
            f"{connect.url}/contact/chat", json=body, headers=signed
        ) as answer:
            assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, code)


async def test_what_is_not_offered_is_an_unknown_operation(connect: Connect) -> None:
    with refused("UnknownOperationException", 404):
        await connect.control("list_queues")
