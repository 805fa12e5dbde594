from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, HTTPClientError

from bridge.sandbox.connect.quotas import Quotas
from tests.sandbox.connect_support import Connect, ShiftedClock, contents, refused, running


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with running() as one:
        yield one


async def failing(call: Any) -> dict[str, Any]:
    """The response of a call that is refused."""
    with pytest.raises(ClientError) as caught:
        await call
    response: dict[str, Any] = caught.value.response
    return response


# --- calls -------------------------------------------------------------------------------


async def test_throttling_names_the_error_of_the_operation(connect: Connect) -> None:
    chat = await connect.chat()
    await connect.fault("throttle", times=None, retry_after=7)
    response = await failing(chat.say("x"))
    assert response["Error"]["Code"] == "ThrottlingException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7"
    with refused("TooManyRequestsException", 429):
        await connect.start()
    with refused("ThrottlingException", 429):
        await connect.control("describe_contact", ContactId=chat.id)
    await connect.desk("DELETE", "faults")
    await chat.say("free again")
    assert contents(await chat.transcript()) == ["free again"]


async def test_an_error_is_the_internal_one_or_any_other(connect: Connect) -> None:
    chat = await connect.chat()
    await connect.fault("error", "SendMessage")
    with refused("InternalServerException", 500):
        await chat.say("x")
    await connect.fault("error", "StartChatContact")
    with refused("InternalServiceException", 500):
        await connect.start()
    await connect.fault("error", "SendMessage", status=503, code="ServiceUnavailable")
    with refused("ServiceUnavailable", 503):
        await chat.say("x")
    await connect.fault("reject", "SendMessage", status=403, code="AccessDeniedException")
    with refused("AccessDeniedException", 403):
        await chat.say("x")
    await connect.fault("reject", "SendMessage", message="because")
    response = await failing(chat.say("x"))
    assert response["Error"] == {"Code": "ValidationException", "Message": "because"}
    assert await chat.transcript() == []


async def test_a_call_may_be_carried_out_and_not_answered_or_neither(connect: Connect) -> None:
    chat = await connect.chat()
    await connect.fault("no_answer", "SendMessage")
    with pytest.raises(HTTPClientError):
        await chat.say("done", ClientToken="t")
    assert contents(await chat.transcript()) == ["done"]
    again = await chat.say("done", ClientToken="t")
    assert again["Id"] == (await chat.transcript())[-1]["Id"]
    await connect.fault("drop", "SendMessage")
    with pytest.raises(HTTPClientError):
        await chat.say("dropped")
    assert contents(await chat.transcript()) == ["done"]
    unanswered, answered, dropped = await connect.requests("SendMessage")
    assert [each["status"] for each in (unanswered, answered, dropped)] == [None, 200, None]
    assert [each["fault"] for each in (unanswered, answered, dropped)] == [
        "no_answer",
        None,
        "drop",
    ]


async def test_a_delayed_call_is_carried_out_late(connect: Connect) -> None:
    chat = await connect.chat()
    await connect.fault("delay", "SendMessage", seconds=0.2)
    slow = asyncio.create_task(chat.say("slow"))
    async with asyncio.timeout(5):
        while not await connect.requests("SendMessage"):
            await asyncio.sleep(0)
    await chat.say("quick")
    await slow
    assert contents(await chat.transcript()) == ["quick", "slow"]


async def test_a_fault_strikes_its_contact_after_the_skipped_calls(connect: Connect) -> None:
    ann, ben = await connect.chat(), await connect.chat()
    fault = await connect.fault("error", "SendMessage", skip=1, match={"contact": ann.id})
    await ben.say("1")
    await ben.say("2")
    await ann.say("skipped")
    with refused("InternalServerException", 500):
        await ann.say("struck")
    await ann.say("over")
    plan = await connect.desk("GET", "faults")
    assert plan["faults"] == []
    assert [each["id"] for each in plan["log"]] == [fault["id"]]


async def test_a_fault_matches_any_contact_of_the_chain(connect: Connect) -> None:
    async with connect.talking() as (chat, _):
        second = (await chat.desk("transfer", to="Omar"))["contact_id"]
        await connect.fault("error", "SendMessage", match={"contact": second})
        with refused("InternalServerException", 500):
            await chat.say("struck")


async def test_one_fault_can_be_removed(connect: Connect) -> None:
    chat = await connect.chat()
    first = await connect.fault("error", "SendMessage")
    await connect.fault("error", "SendEvent")
    await connect.desk("DELETE", f"faults/{first['id']}")
    await chat.say("unharmed")
    left = (await connect.desk("GET", "faults"))["faults"]
    assert [each["target"] for each in left] == ["SendEvent"]


# --- sockets -----------------------------------------------------------------------------


async def test_a_lost_frame_is_in_the_transcript(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await connect.fault("lose_frames", "socket", match={"contact": chat.id})
        await chat.desk("messages", text="lost")
        await chat.desk("messages", text="heard")
        assert contents(await stream.items(1)) == ["heard"]
        assert contents(await chat.transcript())[-2:] == ["lost", "heard"]


async def test_a_duplicated_frame_comes_twice(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await connect.fault("duplicate_frames", "socket")
        await chat.desk("messages", text="twice")
        await chat.desk("messages", text="once")
        items = await stream.items(3)
        assert contents(items) == ["twice", "twice", "once"]
        assert items[0] == items[1]
        assert contents(await chat.transcript())[-2:] == ["twice", "once"]


async def test_reordered_frames_swap_places(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await connect.fault("reorder_frames", "socket", seconds=60)
        await chat.desk("messages", text="first")
        await chat.desk("messages", text="second")
        await chat.desk("messages", text="third")
        assert contents(await stream.items(3)) == ["second", "first", "third"]
        await connect.fault("reorder_frames", "socket", seconds=0.01)
        await chat.desk("messages", text="held, but not for ever")
        assert contents(await stream.items(1)) == ["held, but not for ever"]


async def test_a_delayed_frame_is_overtaken(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await connect.fault("delay_frames", "socket", seconds=0.2)
        await chat.desk("messages", text="late")
        await chat.desk("messages", text="early")
        assert contents(await stream.items(2)) == ["early", "late"]


async def test_a_silent_socket_stays_open_and_says_nothing(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await connect.fault("silent", "socket")
        await chat.desk("messages", text="unheard")
        await stream.ws.send_json({"topic": "aws/heartbeat"})
        chat.url = await chat.fresh_url()
        async with chat.stream() as second:
            await chat.desk("messages", text="heard")
            assert contents(await second.items(1)) == ["heard"]
            # The desk's raw frame is the first thing that comes: nothing was sent before it.
            await chat.desk("frames", frame="marker")
            assert await stream.ws.receive_str(timeout=5) == "marker"
        report = (await connect.desk("GET", "sockets"))["sockets"]
        assert [each["silent"] for each in report][:1] == [True]


async def test_a_socket_closes_after_so_many_frames(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await connect.fault("close", "socket", frames=2, code=1001)
        for text in ("one", "two", "three"):
            await chat.desk("messages", text=text)
        assert contents(await stream.items(2)) == ["one", "two"]
        assert await stream.closed() == 1001
        chat.url = await chat.fresh_url()
        await connect.fault("close", "socket")
        async with chat.stream() as second:
            await chat.desk("messages", text="four")
            assert await second.closed() == 1006
        assert contents(await chat.transcript())[-4:] == ["one", "two", "three", "four"]


async def test_a_late_item_appears_in_its_place() -> None:
    clock = ShiftedClock()
    async with running(clock) as connect, connect.talking() as (chat, stream):
        await connect.fault("late_transcript", "socket", seconds=3600)
        await chat.say("late in the transcript")
        await chat.say("at once")
        assert contents(await stream.items(2)) == ["late in the transcript", "at once"]
        said = contents(await chat.transcript())
        assert said[-1] == "at once"
        assert "late in the transcript" not in said
        clock.ahead = 3600
        assert contents(await chat.transcript())[-2:] == ["late in the transcript", "at once"]


async def test_a_handshake_can_be_refused(connect: Connect) -> None:
    chat = await connect.chat()
    await connect.fault("reject", "OpenSocket", status=503)
    async with connect.http.get(chat.url) as answer:
        assert answer.status == 503
    async with chat.stream():
        assert (await chat.wait(state="queued"))["sockets"] == 1
    handshakes = await connect.requests("OpenSocket")
    assert [each["status"] for each in handshakes] == [503, 101]


# --- quotas ------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    now = 0.0
    quotas = Quotas(lambda: now)
    assert [quotas.take("i", "SendMessage", 1.0) for _ in range(16)] == [True] * 15 + [False]
    assert quotas.take("other", "SendMessage", 1.0)
    assert quotas.take("i", "DescribeView", 1.0)
    now = 0.5
    assert [quotas.take("i", "SendMessage", 1.0) for _ in range(6)] == [True] * 5 + [False]
    assert [quotas.take("i", "StartChatContact", 0.5) for _ in range(5)] == [True] * 4 + [False]


async def test_quotas_are_enforced_on_request(connect: Connect) -> None:
    chat = await connect.chat()
    await connect.desk("PATCH", "settings", {"quotas": {"scale": 0.001}})
    await chat.say("the one of the burst")
    with refused("ThrottlingException", 429):
        await chat.say("too soon")
    await connect.start()
    with refused("TooManyRequestsException", 429):
        await connect.start()
    await connect.desk("PATCH", "settings", {"quotas": None})
    await chat.say("free")
