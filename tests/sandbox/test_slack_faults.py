"""Every kind of fault, seen by the official client."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.server import SlackSandbox
from tests.sandbox import slack_support
from tests.sandbox.slack_support import (
    ACME,
    BOT_TOKEN,
    HELP,
    Person,
    listening,
    until,
)

person, slack, web = slack_support.person, slack_support.slack, slack_support.web


def posts(slack: SlackSandbox, channel: str = HELP) -> list[str]:
    return [m.body["text"] for m in slack.world.channels[channel].messages.values()]


async def fault(person: Person, kind: str, **more: Any) -> None:
    await person.do("faults", kind=kind, **{"target": "chat.postMessage", **more})


async def test_throttle(slack: SlackSandbox, person: Person, web: AsyncWebClient) -> None:
    await fault(person, "throttle", retry_after=7, match={"channel": HELP})
    await web.chat_postMessage(channel=ACME, text="elsewhere")
    with pytest.raises(SlackApiError) as caught:
        await web.chat_postMessage(channel=HELP, text="x")
    response = caught.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert response.data == {"ok": False, "error": "ratelimited"}
    assert posts(slack) == []
    await web.chat_postMessage(channel=HELP, text="x")
    assert posts(slack) == ["x"]


async def test_error(slack: SlackSandbox, person: Person, web: AsyncWebClient) -> None:
    await fault(person, "error", status=503)
    with pytest.raises(SlackApiError) as caught:
        await web.chat_postMessage(channel=HELP, text="x")
    assert caught.value.response.status_code == 503
    assert posts(slack) == []


async def test_reject(slack: SlackSandbox, person: Person, web: AsyncWebClient) -> None:
    await fault(person, "reject", error="token_revoked")
    with pytest.raises(SlackApiError) as caught:
        await web.chat_postMessage(channel=HELP, text="x")
    assert caught.value.response.data == {"ok": False, "error": "token_revoked"}
    assert posts(slack) == []


async def test_internal_error_done(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    await fault(person, "internal_error_done")
    with pytest.raises(SlackApiError) as caught:
        await web.chat_postMessage(channel=HELP, text="x")
    assert caught.value.response.data == {"ok": False, "error": "internal_error"}
    assert posts(slack) == ["x"]


@pytest.mark.parametrize(("kind", "stored"), [("no_answer", ["x"]), ("drop", [])])
async def test_connections_closed_without_an_answer(
    slack: SlackSandbox, person: Person, web: AsyncWebClient, kind: str, stored: list[str]
) -> None:
    await fault(person, kind)
    with pytest.raises(aiohttp.ClientConnectionError):
        await web.chat_postMessage(channel=HELP, text="x")
    assert posts(slack) == stored
    (request,) = (await person.do("requests", "GET"))["requests"]
    assert (request["fault"], request["status"]) == (kind, 0)
    assert request["ok"] is (True if stored else None)


async def test_the_sdks_own_retry_posts_twice(slack: SlackSandbox, person: Person) -> None:
    await fault(person, "no_answer")
    client = AsyncWebClient(token=BOT_TOKEN, base_url=slack.api_url)
    await client.chat_postMessage(channel=HELP, text="x")
    assert posts(slack) == ["x", "x"]


async def test_truncate(slack: SlackSandbox, person: Person, web: AsyncWebClient) -> None:
    await fault(person, "truncate")
    with pytest.raises(SlackApiError):
        await web.chat_postMessage(channel=HELP, text="x")
    assert posts(slack) == ["x"]


async def test_delay(slack: SlackSandbox, person: Person, web: AsyncWebClient) -> None:
    await fault(person, "delay", seconds=0.2)
    slow = asyncio.create_task(web.chat_postMessage(channel=HELP, text="slow"))
    await until(lambda: slack.faults.log)
    await web.chat_postMessage(channel=HELP, text="fast")
    await slow
    assert posts(slack) == ["fast", "slow"]


async def test_skip_times_and_switching_off(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    await fault(person, "reject", skip=1, times=2)
    outcomes = []
    for number in range(4):
        try:
            await web.chat_postMessage(channel=HELP, text=str(number))
            outcomes.append(True)
        except SlackApiError:
            outcomes.append(False)
    assert outcomes == [True, False, False, True]
    await fault(person, "reject", times=None)
    listed = await person.do("faults", "GET")
    assert ([f["kind"] for f in listed["faults"]], len(listed["strikes"])) == (["reject"], 2)
    await person.do("faults", "DELETE")
    await web.chat_postMessage(channel=HELP, text="4")
    status, answer = await person.call("POST", "faults", kind="earthquake")
    assert status == 400
    assert "earthquake" in answer["error"]


async def test_duplicate_events(slack: SlackSandbox, person: Person) -> None:
    async with listening(slack) as listener:
        await fault(person, "duplicate_events", target="message")
        await person.say("a")
        await until(lambda: len(listener.requests) == 2)
        await fault(person, "duplicate_events", target="events", new_id=True)
        await person.say("b")
        await until(lambda: len(listener.requests) == 4)
        ids = [r.payload["event_id"] for r in listener.requests]
        assert listener.texts() == ["a", "a", "b", "b"]
        assert (ids[0] == ids[1], ids[2] == ids[3]) == (True, False)


async def test_delayed_and_reordered_events(slack: SlackSandbox, person: Person) -> None:
    async with listening(slack) as listener:
        await fault(person, "delay_events", target="message", seconds=0.2)
        await person.say("late")
        await person.say("soon")
        await until(lambda: len(listener.requests) == 2)
        await fault(person, "reorder_events", target="message")
        await person.say("first")
        await person.say("second")
        await until(lambda: len(listener.requests) == 4)
        assert listener.texts() == ["soon", "late", "second", "first"]


async def test_an_event_that_nothing_follows_is_held_only_for_a_while(
    slack: SlackSandbox, person: Person
) -> None:
    async with listening(slack) as listener:
        await fault(person, "reorder_events", target="message", seconds=0.05)
        await person.say("alone")
        await until(lambda: listener.texts() == ["alone"])


async def test_lost_events_stay_in_history(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    async with listening(slack) as listener:
        await fault(person, "lose_events", target="message", match={"channel": HELP})
        await person.say("elsewhere", channel=ACME)
        await person.say("lost")
        await person.say("kept")
        await until(lambda: len(listener.requests) == 2)
        assert listener.texts() == ["elsewhere", "kept"]
    history = (await web.conversations_history(channel=HELP))["messages"]
    assert [m["text"] for m in history] == ["kept", "lost"]


async def test_a_silent_socket(slack: SlackSandbox, person: Person) -> None:
    await person.do("settings", "PATCH", ack_seconds=0.1, retry_schedule=[0, 0, 0])
    async with listening(slack) as one, listening(slack) as two:
        await fault(person, "silent", target="socket")
        for number in range(4):
            await person.say(str(number))
        await until(lambda: all(d.answered.is_set() for d in slack.courier.deliveries))
        assert sorted(one.texts() + two.texts()) == ["0", "1", "2", "3"]
        assert sorted([bool(one.requests), bool(two.requests)]) == [False, True]
        assert [s.silent for s in slack.sockets.sockets].count(True) == 1


async def test_a_client_leaves_a_silent_socket(slack: SlackSandbox, person: Person) -> None:
    async with listening(slack, ping_interval=0.3) as listener:
        await fault(person, "silent", target="socket")
        (before,) = slack.sockets.sockets
        await until(lambda: before.silent and before not in slack.sockets.sockets)
        await until(lambda: slack.sockets.sockets)
        await person.say("again")
        await until(lambda: listener.texts() == ["again"])


async def test_a_lost_acknowledgement_brings_the_event_again(
    slack: SlackSandbox, person: Person
) -> None:
    await person.do("settings", "PATCH", ack_seconds=0.1, retry_schedule=[0, 0, 0])
    async with listening(slack) as listener:
        await fault(person, "lose_acks", target="message")
        await person.say("one")
        await person.say("two")
        await until(lambda: all(d.answered.is_set() for d in slack.courier.deliveries))
        assert sorted(listener.texts()) == ["one", "one", "two"]
    [one, two] = slack.courier.deliveries
    assert [len(one.attempts), len(two.attempts)] == [2, 1]
    assert one.taken_at is not None
    assert one.attempts[0].at <= one.taken_at < one.attempts[1].at


async def test_the_log_of_calls_names_the_post_that_each_made(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    await fault(person, "no_answer")
    with pytest.raises(aiohttp.ClientConnectionError):
        await web.chat_postMessage(channel=HELP, text="x")
    [message] = slack.world.channels[HELP].messages.values()
    [call] = slack.api.requests
    assert (call["method"], call["ts"]) == ("chat.postMessage", message.ts)
