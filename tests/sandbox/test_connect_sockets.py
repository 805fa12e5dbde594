from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.sandbox.connect_support import EVENT, SUBSCRIBE, Connect, Stream, contents, running


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with running() as one:
        yield one


async def opening(connect: Connect, url: str) -> int:
    """The status with which a handshake is refused."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect.http.ws_connect(url)
    return caught.value.status


async def test_a_socket_is_silent_until_it_subscribed(connect: Connect) -> None:
    chat = await connect.chat()
    async with connect.http.ws_connect(chat.url) as ws:
        stream = Stream(ws)
        await chat.wait(state="queued")
        await chat.say("unheard")
        # Had a chat frame been sent, it would stand before this answer.
        assert await stream.ask({"topic": "aws/heartbeat"}) == {"topic": "aws/heartbeat"}
        assert await stream.ask(SUBSCRIBE) == {
            "topic": "aws/subscribe",
            "content": {"status": "success", "topics": ["aws/chat"]},
        }
        await chat.say("heard")
        assert (await stream.item())["Content"] == "heard"
        answer = await stream.ask(SUBSCRIBE | {"topic": "aws/unsubscribe"})
        assert answer["content"]["status"] == "success"
        await chat.say("unheard again")
        assert await stream.ask({"topic": "aws/ping"}) == {
            "topic": "aws/ping",
            "statusCode": 200,
            "statusContent": "OK",
        }


async def test_a_frame_is_json_within_json(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await chat.desk("messages", text="Gr\u00fc\u00df dich \U0001f44b")
        frame = await stream.ws.receive_json()
        assert frame.keys() == {"topic", "contentType", "content"}
        assert (frame["topic"], frame["contentType"]) == ("aws/chat", "application/json")
        content = json.loads(frame["content"])
        assert content.keys() == {
            "AbsoluteTime",
            "Content",
            "ContentType",
            "Id",
            "Type",
            "ParticipantId",
            "DisplayName",
            "ParticipantRole",
            "InitialContactId",
            "ContactId",
        }
        assert content["Content"] == "Gr\u00fc\u00df dich \U0001f44b"
        assert (content["ParticipantRole"], content["DisplayName"]) == ("AGENT", "Mina")


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[]",
        '"aws/heartbeat"',
        "{}",
        '{"topic": "aws/unknown"}',
        '{"topic": ["aws/heartbeat"]}',
        "[" * 50_000,
    ],
)
async def test_an_unknown_frame_is_forbidden(connect: Connect, frame: str) -> None:
    chat = await connect.chat()
    async with chat.stream() as stream:
        answer = await stream.ask(frame)
        assert answer["message"] == "Forbidden"
        assert answer.keys() == {"message", "connectionId", "requestId"}
        assert await stream.ask({"topic": "aws/heartbeat"}) == {"topic": "aws/heartbeat"}


@pytest.mark.parametrize("content", [None, "aws/chat", {}, {"topics": ["aws/other"]}])
async def test_a_subscription_to_nothing_known_fails(connect: Connect, content: object) -> None:
    chat = await connect.chat()
    async with connect.http.ws_connect(chat.url) as ws:
        answer = await Stream(ws).ask({"topic": "aws/subscribe", "content": content})
        assert answer["content"]["status"] == "failure"


async def test_a_url_opens_in_time_or_not_at_all(connect: Connect) -> None:
    chat = await connect.chat()
    assert await opening(connect, f"{connect.url}/socket?token=made-up") == 403
    assert await opening(connect, f"{connect.url}/socket?token={chat.token}") == 403
    await chat.desk("expire", what="socket_url")
    assert await opening(connect, chat.url) == 403
    connect.settings.url_seconds = 0.0
    assert await opening(connect, await chat.fresh_url()) == 403
    connect.settings.url_seconds = 100.0
    async with connect.http.ws_connect(await chat.fresh_url()) as ws:
        assert not ws.closed


async def test_all_sockets_of_a_customer_hear_everything_up_to_five(connect: Connect) -> None:
    async with connect.talking() as (chat, first), AsyncExitStack() as stack:
        streams = [first]
        for _ in range(4):
            chat.url = await chat.fresh_url()
            streams.append(await stack.enter_async_context(chat.stream()))
        assert await opening(connect, await chat.fresh_url()) == 403
        await chat.desk("messages", text="to all")
        assert [(await each.item())["Content"] for each in streams] == ["to all"] * 5
        sockets = (await connect.desk("GET", "sockets"))["sockets"]
        assert [each["subscribed"] for each in sockets] == [True] * 5
        assert {each["contact"] for each in sockets} == {chat.id}


async def test_a_socket_of_another_customer_hears_nothing(connect: Connect) -> None:
    async with connect.talking() as (ann, _), connect.talking() as (_, other):
        await ann.desk("messages", text="secret")
        assert await other.ask({"topic": "aws/heartbeat"}) == {"topic": "aws/heartbeat"}


async def test_a_socket_ends_at_its_expiry(connect: Connect) -> None:
    connect.settings.socket_seconds = 0.05
    chat = await connect.chat()
    async with chat.stream() as stream:
        while not stream.ws.closed:
            await stream.ws.receive(timeout=5)
        assert stream.ws.close_code == 1001
    assert (await chat.show())["state"] != "ended"


async def test_dropped_sockets_break_or_close_and_lose_what_comes_between(
    connect: Connect,
) -> None:
    async with connect.talking() as (chat, stream):
        assert await chat.desk("drop_sockets") == {"sockets": 1}
        assert await stream.closed() == 1006
        await chat.desk("messages", text="lost")
        chat.url = await chat.fresh_url()
        async with chat.stream() as second:
            await chat.desk("messages", text="heard")
            assert (await second.item())["Content"] == "heard"
            assert "lost" in contents(await chat.transcript())
            await chat.desk("drop_sockets", code=1011)
            assert await second.closed() == 1011
        assert (await chat.show())["state"] == "connected"


async def test_the_desk_pushes_any_frame(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        assert await chat.desk("frames", frame={"topic": "aws/new", "content": None}) == {
            "sockets": 1
        }
        assert await stream.ws.receive_json() == {"topic": "aws/new", "content": None}
        await chat.desk("frames", frame="no json {")
        assert await stream.ws.receive_str() == "no json {"
        await chat.desk("frames", frame=None)
        assert await stream.ws.receive_json() is None


async def test_streamed_parts_have_one_id_and_end_with_the_whole(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await chat.desk("messages", chunks=["Hel", "lo"], **{"as": "flow"})
        parts = await stream.items(3)
        assert contents(parts) == ["Hel", "lo", "Hello"]
        assert len({each["Id"] for each in parts}) == 1
        assert {each["ParticipantRole"] for each in parts} == {"SYSTEM"}
        assert [each["MessageMetadata"] for each in parts] == [
            {"MessageCompleted": False, "ChunkNumber": 1},
            {"MessageCompleted": False, "ChunkNumber": 2},
            {"MessageCompleted": True, "ChunkNumber": 3},
        ]
        assert contents(await chat.transcript())[-1:] == ["Hello"]
        await chat.desk("messages", chunks=["never"], completed=False)
        assert (await stream.item())["MessageMetadata"]["MessageCompleted"] is False
        assert contents(await chat.transcript())[-1:] == ["Hello"]


async def test_a_chat_in_complete_mode_sees_no_parts(connect: Connect) -> None:
    mode = {"ResponseMode": "COMPLETE"}
    async with connect.talking(ParticipantConfiguration=mode) as (chat, stream):
        await chat.desk("messages", chunks=["Hel", "lo"], **{"as": "flow"})
        item = await stream.item()
        assert (item["Content"], item["MessageMetadata"]["MessageCompleted"]) == ("Hello", True)


async def test_the_desk_shows_the_last_heartbeat(connect: Connect) -> None:
    chat = await connect.chat()
    async with chat.stream() as stream:
        [before] = (await connect.desk("GET", "sockets"))["sockets"]
        assert before["last_heartbeat"] is None
        await stream.ask({"topic": "aws/heartbeat"})
        [after] = (await connect.desk("GET", "sockets"))["sockets"]
        assert after["last_heartbeat"].endswith("Z")
    async with asyncio.timeout(5):
        while (await chat.show())["sockets"]:
            await asyncio.sleep(0)


async def test_an_event_of_any_name_can_be_shown(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await chat.desk("events", event="participant.idle", **{"as": "agent"})
        item = await stream.item()
        assert (item["ContentType"], item["DisplayName"]) == (EVENT + "participant.idle", "Mina")
        await chat.desk("events", event="authentication.initiated", content='{"SessionId": "s"}')
        assert (await stream.item())["Content"] == '{"SessionId": "s"}'
        assert "participant.idle" not in contents(await chat.transcript())


async def test_it_is_known_what_each_socket_was_told(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await connect.fault("lose_frames", "socket")
        lost = await chat.desk("messages", text="lost")
        told = await chat.desk("messages", text="told")
        assert (await stream.item())["Content"] == "told"
        [socket] = connect.sandbox._hub.of()
        assert told["Id"] in socket.told
        assert lost["Id"] not in socket.told
    async with asyncio.timeout(5):
        while connect.sandbox._hub.of():
            await asyncio.sleep(0)
    assert list(connect.sandbox._hub.past) == [socket]
    assert socket.told[told["Id"]] <= socket.closed_at < float("inf")


async def test_it_is_known_which_item_a_transcript_showed(connect: Connect) -> None:
    async with connect.talking() as (chat, _):
        await connect.fault("late_transcript", "socket", seconds=60)
        late = await chat.desk("messages", text="late")
        shown = await chat.desk("messages", text="shown")
        await chat.transcript()
        [one] = connect.sandbox.world.chats
        items = {item.id: item for item in one.items}
        assert items[late["Id"]].reads == []
        assert len(items[shown["Id"]].reads) == 1
