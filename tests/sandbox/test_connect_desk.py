from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.sandbox.connect.settings import Settings
from tests.sandbox.connect_support import FLOW, INSTANCE, Connect, contents, refused, running

START = {"InstanceId": INSTANCE, "ContactFlowId": FLOW, "ParticipantDetails": {"DisplayName": "A"}}


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with running() as one:
        yield one


# --- the start chat API ------------------------------------------------------------------


async def start(connect: Connect, body: Any) -> tuple[int, dict[str, Any]]:
    async with connect.http.post(f"{connect.url}/startChat", json=body) as answer:
        return answer.status, await answer.json()


async def test_a_chat_starts_without_credentials(connect: Connect) -> None:
    async with connect.http.post(f"{connect.url}/startChat", json=START) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        result = (await answer.json())["data"]["startChatResult"]
    assert result.keys() == {"ContactId", "ParticipantId", "ParticipantToken"}
    connection = await connect.participate(
        "create_participant_connection",
        ParticipantToken=result["ParticipantToken"],
        Type=["CONNECTION_CREDENTIALS"],
    )
    assert connection["ConnectionCredentials"]["ConnectionToken"]


async def test_only_a_few_members_are_passed_on(connect: Connect) -> None:
    body = START | {
        "Attributes": {"a": "1"},
        "ClientToken": "t",
        "InitialMessage": {"ContentType": "text/plain", "Content": "lost"},
        "ConnectionTypes": ["WEBSOCKET"],
        "ParticipantConfiguration": {"ResponseMode": "COMPLETE"},
        "SupportedMessagingContentTypes": ["text/plain", "text/markdown"],
        "ChatDurationInMinutes": 60,
    }
    _, first = await start(connect, body)
    _, second = await start(connect, body)
    contact_id = first["data"]["startChatResult"]["ContactId"]
    assert contact_id != second["data"]["startChatResult"]["ContactId"]
    assert "Websocket" not in first["data"]["startChatResult"]
    report = await connect.desk("GET", f"contacts/{contact_id}")
    assert report["attributes"] == {"customerName": "A"}
    assert report["client_token"] != "t"
    assert report["initial_message"] is None
    assert report["response_mode"] == "INCREMENTAL"
    assert report["content_types"] == ["text/markdown", "text/plain"]
    assert report["duration_seconds"] == 3600


async def test_a_past_chat_is_passed_on(connect: Connect) -> None:
    connect.settings.persistent_ready_seconds = 0.0
    chat = await connect.chat()
    await chat.desk("end")
    past = {"RehydrationType": "FROM_SEGMENT", "SourceContactId": chat.id}
    _, answer = await start(connect, START | {"PersistentChat": past})
    assert answer["data"]["startChatResult"]["ContinuedFromContactId"] == chat.id


async def test_its_own_instance_and_flow_stand_in(connect: Connect) -> None:
    connect.settings.start_chat_instance_id = INSTANCE
    connect.settings.start_chat_flow_id = FLOW
    status, answer = await start(connect, {"ParticipantDetails": {"DisplayName": "A"}})
    assert status == 200
    contact_id = answer["data"]["startChatResult"]["ContactId"]
    report = await connect.desk("GET", f"contacts/{contact_id}")
    assert (report["instance_id"], report["contact_flow_id"]) == (INSTANCE, FLOW)


async def test_a_refusal_is_wrapped_with_the_services_status_or_500(connect: Connect) -> None:
    connect.settings.concurrent_chats = 0
    status, answer = await start(connect, START)
    assert status == 429
    assert answer["data"]["Error"]["code"] == "LimitExceededException"
    assert answer["data"]["Error"]["statusCode"] == 429
    connect.settings.start_chat_error_status = 500
    status, answer = await start(connect, START)
    assert (status, answer["data"]["Error"]["code"]) == (500, "LimitExceededException")


@pytest.mark.parametrize("body", [{}, [], "x", {"ParticipantDetails": None}])
async def test_what_breaks_its_function_is_a_bad_gateway(connect: Connect, body: Any) -> None:
    assert await start(connect, body) == (502, {"message": "Internal server error"})


async def test_it_suffers_faults(connect: Connect) -> None:
    await connect.fault("throttle", "startChat")
    status, answer = await start(connect, START)
    assert (status, answer["data"]["Error"]["code"]) == (429, "TooManyRequestsException")
    [request] = await connect.requests("startChat")
    assert (request["status"], request["error"]) == (429, "TooManyRequestsException")


# --- hostile input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("accept", "{"),
        ("accept", "[]"),
        ("accept", {"name": 7}),
        ("accept", {"name": ""}),
        ("accept", '{"name": "\\ud800"}'),
        ("accept", "[" * 100_000),
        ("messages", {}),
        ("messages", {"text": ""}),
        ("messages", {"text": "x", "as": "emperor"}),
        ("messages", {"chunks": []}),
        ("messages", {"chunks": [1]}),
        ("messages", {"chunks": ["x"], "completed": "yes"}),
        ("join", {"name": "x", "role": "CUSTOMER"}),
        ("join", {}),
        ("frames", {}),
        ("expire", {"what": "everything"}),
        ("drop_sockets", {"code": 7}),
        ("drop_sockets", {"code": 1005}),
        ("receipts", {"item": ["x"]}),
        ("events", {}),
        ("transfer", {"to": 7}),
        ("attachments", {"name": "a.txt", "content_type": "text/plain"}),
        ("attachments", {"name": "a", "content_type": "text/plain", "content_base64": "%"}),
        ("attachments", {"name": "a", "content_type": "text/plain", "content_base64": ""}),
        ("attachments", {"name": "a", "content_type": "a\r\nb", "content_base64": "YQ=="}),
    ],
)
async def test_nonsense_is_answered_and_changes_nothing(
    connect: Connect, path: str, body: Any
) -> None:
    async with connect.talking() as (chat, stream):
        before = await chat.show()
        answer = await connect.desk("POST", f"contacts/{chat.id}/{path}", body, status=400)
        assert isinstance(answer["error"], str)
        assert await chat.show() == before
        await chat.desk("messages", text="still well")
        assert contents(await stream.items(1)) == ["still well"]


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "unknown"},
        {},
        {"kind": "delay", "seconds": "1"},
        {"kind": "delay", "seconds": -1},
        '{"kind": "delay", "seconds": NaN}',
        '{"kind": "delay", "seconds": Infinity}',
        {"kind": "delay", "times": "many"},
        '{"kind": "delay", "times": 1e999}',
        {"kind": "delay", "match": "x"},
        {"kind": "error", "status": 200},
        {"kind": "error", "code": "a\r\nb"},
        {"kind": "close", "code": 1},
        {"kind": "throttle", "retry_after": "\r\n"},
    ],
)
async def test_a_fault_that_would_break_the_sandbox_is_refused(connect: Connect, body: Any) -> None:
    await connect.desk("POST", "faults", body, status=400)
    assert (await connect.desk("GET", "faults"))["faults"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"unknown": 1},
        {"token_seconds": "1"},
        {"token_seconds": True},
        {"token_seconds": -1},
        '{"token_seconds": Infinity}',
        {"concurrent_chats": 1.5},
        {"greeting": 7},
        {"connection_types": "maybe"},
        {"quotas": {"scale": 0}},
        {"quotas": {"scale": "x"}},
        {"attachment_extensions": "pdf"},
        {"attachment_extensions": [1]},
        {"customer_exit_ends": 1},
        {"token_seconds": 5, "unknown": 1},
    ],
)
async def test_a_wrong_setting_changes_none(connect: Connect, body: Any) -> None:
    before = await connect.desk("GET", "settings")
    await connect.desk("PATCH", "settings", body, status=400)
    assert await connect.desk("GET", "settings") == before


async def test_settings_are_changed_while_it_runs(connect: Connect) -> None:
    changed = await connect.desk(
        "PATCH", "settings", {"greeting": None, "token_seconds": 60, "quotas": {"scale": 2}}
    )
    assert (changed["greeting"], changed["token_seconds"]) == (None, 60)
    assert Settings().as_dict().keys() == changed.keys()
    async with connect.talking() as (chat, _):
        assert contents(await chat.transcript()) == ["participant.joined"] * 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "contacts/unknown"),
        ("POST", "contacts/unknown/accept"),
        ("GET", "wait?contact=unknown"),
    ],
)
async def test_an_unknown_contact_is_not_found(connect: Connect, method: str, path: str) -> None:
    await connect.desk(method, path, status=404)


@pytest.mark.parametrize("query", ["items=x", "timeout=-1", "timeout=nan", "items=1e400"])
async def test_a_wait_for_nonsense_is_refused(connect: Connect, query: str) -> None:
    chat = await connect.chat()
    await connect.desk("GET", f"wait?contact={chat.id}&{query}", status=400)


async def test_the_agents_text_is_passed_on_as_it_is(connect: Connect) -> None:
    text = "<!channel> & <script>\n```\u202e\u0000" + "x" * 20_000
    async with connect.talking(agent="<@U1>|&amp;") as (chat, stream):
        await chat.desk("messages", text=text)
        item = await stream.item()
        assert (item["Content"], item["DisplayName"]) == (text, "<@U1>|&amp;")


async def test_a_stopped_sandbox_closes_its_sockets_and_its_port() -> None:
    async with running() as one:
        chat = await one.chat()
        async with chat.stream() as stream:
            closed = asyncio.create_task(stream.closed())
            await one.sandbox.stop()
            assert await closed == 1001
        with pytest.raises(OSError, match="Cannot connect"):
            await one.desk("GET", "contacts")


async def test_receipts_of_unknown_items_are_not_found(connect: Connect) -> None:
    async with connect.talking() as (chat, _):
        body = {"item": "unknown"}
        await connect.desk("POST", f"contacts/{chat.id}/receipts", body, status=404)
        with refused("AccessDeniedException", 403):
            await connect.participate("get_transcript", ConnectionToken="x")
