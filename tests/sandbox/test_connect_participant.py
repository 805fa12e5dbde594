from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.sandbox.connect_support import (
    BOTH,
    EVENT,
    Connect,
    ShiftedClock,
    contents,
    refused,
    running,
)

DELIVERED = EVENT + "message.delivered"
READ = EVENT + "message.read"
RICH = ["text/plain", "text/markdown", "application/json"]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with running() as one:
        yield one


async def test_each_token_opens_only_its_own_doors(connect: Connect) -> None:
    chat = await connect.chat()
    participant_token = chat.started["ParticipantToken"]
    with refused("AccessDeniedException", 403):
        await connect.participate(
            "send_message", ConnectionToken=participant_token, ContentType="text/plain", Content="x"
        )
    with refused("AccessDeniedException", 403):
        await connect.participate(
            "create_participant_connection", ParticipantToken=chat.token, Type=BOTH
        )
    with refused("AccessDeniedException", 403):
        await connect.participate("get_transcript", ConnectionToken="made up")
    async with connect.http.post(f"{connect.url}/participant/transcript", json={}) as answer:
        assert answer.status == 403


async def test_a_connection_token_acts_in_its_own_chat(connect: Connect) -> None:
    ann, ben = await connect.chat(), await connect.chat()
    await ann.say("from ann")
    await ben.say("from ben")
    assert contents(await ann.transcript()) == ["from ann"]
    assert contents(await ben.transcript()) == ["from ben"]


async def test_an_expired_token_is_renewed_by_a_new_connection(connect: Connect) -> None:
    chat = await connect.chat()
    assert await chat.desk("expire", what="connection_token") == {"expired": 1}
    with refused("AccessDeniedException", 403):
        await chat.say("late")
    renewed = await connect.participate(
        "create_participant_connection",
        ParticipantToken=chat.started["ParticipantToken"],
        Type=["CONNECTION_CREDENTIALS"],
    )
    assert "Websocket" not in renewed
    chat.token = renewed["ConnectionCredentials"]["ConnectionToken"]
    await chat.say("in time")
    connect.settings.token_seconds = 0.0
    renewed = await connect.participate(
        "create_participant_connection",
        ParticipantToken=chat.started["ParticipantToken"],
        Type=["CONNECTION_CREDENTIALS"],
    )
    chat.token = renewed["ConnectionCredentials"]["ConnectionToken"]
    with refused("AccessDeniedException", 403):
        await chat.say("expired at once")
    await chat.desk("expire", what="participant_token")
    with refused("AccessDeniedException", 403):
        await chat.fresh_url()


async def test_a_connection_token_lives_a_day_and_a_participant_token_longer() -> None:
    clock = ShiftedClock()
    async with running(clock) as connect:
        chat = await connect.chat()
        clock.ahead = 86_390
        await chat.say("on the same day")
        clock.ahead = 86_400
        with refused("AccessDeniedException", 403):
            await chat.say("a day later")
        assert await chat.fresh_url()


async def test_after_the_end_every_call_is_denied(connect: Connect) -> None:
    chat = await connect.chat()
    await chat.desk("end")
    for method, members in (
        ("send_message", {"ContentType": "text/plain", "Content": "x"}),
        ("send_event", {"ContentType": EVENT + "typing"}),
        ("get_transcript", {}),
        (
            "start_attachment_upload",
            {
                "ContentType": "text/plain",
                "AttachmentSizeInBytes": 1,
                "AttachmentName": "a.txt",
                "ClientToken": "t",
            },
        ),
        ("complete_attachment_upload", {"AttachmentIds": ["x"], "ClientToken": "t"}),
        ("get_attachment", {"AttachmentId": "x"}),
        ("disconnect_participant", {}),
        ("describe_view", {"ViewToken": "x"}),
    ):
        with refused("AccessDeniedException", 403):
            await chat.call(method, **members)
    with refused("AccessDeniedException", 403):
        await chat.fresh_url()


async def test_a_message_has_one_id_everywhere(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        sent = await chat.say("hello")
        echo = await stream.item()
        assert echo["Id"] == sent["Id"]
        assert echo["AbsoluteTime"] == sent["AbsoluteTime"]
        assert (echo["ParticipantRole"], echo["ParticipantId"]) == (
            "CUSTOMER",
            chat.started["ParticipantId"],
        )
        last = (await chat.transcript())[-1]
        assert (last["Id"], last["Content"], last["ContactId"]) == (sent["Id"], "hello", chat.id)
        assert "MessageMetadata" not in sent


async def test_a_client_token_delivers_a_message_once(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        first = await chat.say("once", ClientToken="t")
        again = await chat.say("once", ClientToken="t")
        assert again["Id"] == first["Id"]
        await chat.say("twice")
        assert contents(await stream.items(2)) == ["once", "twice"]
        await connect.desk("POST", "forget_client_tokens")
        assert (await chat.say("once", ClientToken="t"))["Id"] != first["Id"]


async def test_only_declared_content_types_are_taken(connect: Connect) -> None:
    plain = await connect.chat()
    with refused("ValidationException", 400):
        await plain.call("send_message", ContentType="text/markdown", Content="**x**")
    rich = await connect.chat(SupportedMessagingContentTypes=RICH)
    await rich.call("send_message", ContentType="text/markdown", Content="**x**")
    await rich.call("send_message", ContentType="application/json", Content='{"a": 1}')
    with refused("ValidationException", 400):
        await rich.call("send_message", ContentType="application/json", Content="{")
    with refused("ValidationException", 400):
        await rich.call("send_message", ContentType="text/html", Content="x")
    assert contents(await rich.transcript()) == ["**x**", '{"a": 1}']


async def test_the_size_is_measured_in_bytes_and_by_setting_in_characters(
    connect: Connect,
) -> None:
    chat = await connect.chat()
    await chat.say("x" * 16_384)
    with refused("ValidationException", 400):
        await chat.say("x" * 16_385)
    with refused("ValidationException", 400):
        await chat.say("\u00e9" * 8_193)
    connect.settings.max_message_chars = 1024
    await chat.say("\u00e9" * 1024)
    with refused("ValidationException", 400):
        await chat.say("x" * 1025)


async def test_empty_and_unprintable_content_is_refused(connect: Connect) -> None:
    chat = await connect.chat()
    headers = {"X-Amz-Bearer": chat.token}
    for content in (b'""', b"null", b"7", b'"\\ud83d"'):
        raw = b'{"ContentType": "text/plain", "Content": ' + content + b"}"
        async with connect.http.post(
            f"{connect.url}/participant/message", data=raw, headers=headers
        ) as answer:
            assert answer.status == 400
            assert answer.headers["x-amzn-ErrorType"] == "ValidationException"
    assert await chat.transcript() == []


async def test_typing_is_echoed_and_never_stored(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        before = len(await chat.transcript())
        sent = await chat.call("send_event", ContentType=EVENT + "typing")
        echo = await stream.item()
        assert (echo["Id"], echo["ContentType"]) == (sent["Id"], EVENT + "typing")
        assert echo["ParticipantRole"] == "CUSTOMER"
        await chat.desk("typing")
        assert (await stream.item())["DisplayName"] == "Mina"
        assert len(await chat.transcript()) == before
        assert len((await chat.show())["passing"]) == 2


async def test_receipts_arrive_as_metadata_and_stand_on_the_item(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        item = await chat.desk("messages", text="please read")
        await stream.item()
        content = json.dumps({"messageId": item["Id"]})
        await chat.call("send_event", ContentType=DELIVERED, Content=content)
        notice = await stream.item()
        assert notice["Type"] == "MESSAGEMETADATA"
        assert notice["ContentType"] == EVENT + "message.metadata"
        assert "ParticipantRole" not in notice
        assert notice["MessageMetadata"]["MessageId"] == item["Id"]
        receipt = notice["MessageMetadata"]["Receipts"][0]
        assert receipt["RecipientParticipantId"] == chat.started["ParticipantId"]
        assert "ReadTimestamp" not in receipt
        await chat.call("send_event", ContentType=READ, Content=content)
        assert "ReadTimestamp" in (await stream.item())["MessageMetadata"]["Receipts"][0]
        stored = (await chat.transcript())[-1]
        assert stored["MessageMetadata"]["Receipts"][0].keys() >= {
            "DeliveredTimestamp",
            "ReadTimestamp",
        }

        mine = await chat.say("did you?")
        await stream.item()
        await chat.desk("receipts", item=mine["Id"], kind="read")
        assert (await stream.item())["MessageMetadata"]["MessageId"] == mine["Id"]


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"messageId": "unknown"}'])
async def test_a_receipt_names_an_item(connect: Connect, content: str | None) -> None:
    chat = await connect.chat()
    members = {} if content is None else {"Content": content}
    with refused("ValidationException", 400):
        await chat.call("send_event", ContentType=READ, **members)


async def test_receipts_conflict_with_a_third_participant(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        item = await chat.desk("messages", text="hello")
        await chat.desk("join", name="Boss", role="SUPERVISOR")
        content = json.dumps({"messageId": item["Id"]})
        with refused("ConflictException", 409):
            await chat.call("send_event", ContentType=READ, Content=content)
        await chat.call("send_event", ContentType=EVENT + "typing")
        await chat.desk("leave", name="Boss")
        await chat.call("send_event", ContentType=READ, Content=content)
        assert "typing" in contents(await stream.until(EVENT + "participant.left"))


async def test_other_events_are_refused_and_acknowledgements_taken(connect: Connect) -> None:
    chat = await connect.chat()
    await chat.call("send_event", ContentType=EVENT + "connection.acknowledged")
    with refused("ValidationException", 400):
        await chat.call("send_event", ContentType=EVENT + "chat.ended")
    assert await chat.transcript() == []


async def test_views_are_described(connect: Connect) -> None:
    chat = await connect.chat()
    view = {"name": "form", "template": '{"t": 1}', "actions": ["Send"]}
    token = (await connect.desk("POST", "views", view))["token"]
    described = (await chat.call("describe_view", ViewToken=token))["View"]
    assert described["Name"] == "form"
    assert described["Content"]["Actions"] == ["Send"]
    assert json.loads(described["Content"]["Template"]) == {"t": 1}
    with refused("ResourceNotFoundException", 404):
        await chat.call("describe_view", ViewToken="a/b c")


async def test_boto_may_sign_and_browsers_may_ask_first(connect: Connect) -> None:
    chat = await connect.chat()
    url = f"{connect.url}/participant/message"
    asked = {"Origin": "http://page", "Access-Control-Request-Headers": "x-amz-bearer"}
    async with connect.http.options(url, headers=asked) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Access-Control-Allow-Headers"] == "x-amz-bearer"
    headers = {"X-Amz-Bearer": "no", "Origin": "http://page", "Authorization": "AWS4 x"}
    async with connect.http.post(url, json={}, headers=headers) as answer:
        assert answer.status == 403
        assert "x-amzn-ErrorType" in answer.headers["Access-Control-Expose-Headers"]
        assert set(await answer.json()) == {"Message"}
    headers = {"X-Amz-Bearer": chat.token, "Origin": "http://page"}
    async with connect.http.get(f"{connect.url}/sandbox/contacts", headers=headers) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_log_tells_what_was_asked_and_no_token(connect: Connect) -> None:
    chat = await connect.chat()
    await chat.say("logged", ClientToken="c-1")
    with refused("ValidationException", 400):
        await chat.call("send_message", ContentType="text/html", Content="refused")
    sent, failed = await connect.requests("SendMessage")
    assert (sent["status"], sent["content"], sent["client_token"]) == (200, "logged", "c-1")
    assert sent["contact_id"] == chat.id
    assert (failed["status"], failed["error"]) == (400, "ValidationException")
    after = await connect.desk("GET", f"requests?since={sent['seq']}")
    assert [each["seq"] for each in after["requests"]] == [failed["seq"]]
    everything = json.dumps(await connect.desk("GET", "requests"))
    assert chat.token not in everything
    assert chat.started["ParticipantToken"] not in everything


async def test_times_grow_strictly_also_in_a_burst(connect: Connect) -> None:
    chat = await connect.chat()
    sent = await asyncio.gather(*(chat.say(str(number)) for number in range(20)))
    times = [each["AbsoluteTime"] for each in await chat.transcript()]
    assert times == sorted(set(times))
    assert {each["AbsoluteTime"] for each in sent} == set(times)


async def test_a_connection_asks_for_something_that_there_is(connect: Connect) -> None:
    token = (await connect.start())["ParticipantToken"]
    for members in ({}, {"Type": ["WEBRTC_CONNECTION"]}, {"Type": ["TELEPATHY"]}):
        with refused("ValidationException", 400):
            await connect.participate(
                "create_participant_connection", ParticipantToken=token, **members
            )


async def test_a_client_token_sends_an_event_once(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        for _ in range(2):
            await chat.call("send_event", ContentType=EVENT + "typing", ClientToken="t")
        await chat.say("done typing")
        assert contents(await stream.items(2)) == ["typing", "done typing"]
