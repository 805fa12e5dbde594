"""Both platforms and the store misbehave; nothing is lost, doubled or out of order."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.flows.support import (
    END_BUTTON,
    WELCOME,
    Json,
    World,
    bridge,
    entries,
    eventually,
    programs_below,
    serving,
    stand_ins,
)

Fault = tuple[str, str, Json]
AGAIN: Json = {"times": 2, "retry_after": 0.3}

OF_CONNECT: list[Fault] = [
    ("throttle", "SendMessage", AGAIN),
    ("throttle", "StartChatContact", AGAIN),
    ("throttle", "CreateParticipantConnection", AGAIN),
    ("throttle", "GetTranscript", AGAIN),
    ("error", "SendMessage", {"times": 2}),
    ("error", "StartChatContact", {}),
    ("error", "GetTranscript", {}),
    ("drop", "SendMessage", {"times": 2}),
    ("drop", "StartChatContact", {}),
    ("no_answer", "StartChatContact", {}),
    ("no_answer", "CreateParticipantConnection", {}),
    ("duplicate_frames", "socket", {"times": 20}),
    ("reorder_frames", "socket", {"times": 3, "seconds": 0.05}),
    ("close", "socket", {"times": 3, "frames": 2}),
]
OF_SLACK: list[Fault] = [
    ("throttle", "chat.postMessage", AGAIN),
    ("throttle", "users.info", AGAIN),
    ("error", "chat.postMessage", {"times": 2}),
    ("drop", "chat.postMessage", {"times": 2}),
    ("no_answer", "chat.postMessage", {"times": 2, "skip": 1}),
    ("internal_error_done", "chat.postMessage", {"skip": 2}),
    ("truncate", "chat.postMessage", {"skip": 1}),
    ("error", "users.info", {}),
    ("error", "chat.getPermalink", {}),
]


def named(fault: Fault) -> str:
    return f"{fault[0]}-{fault[1]}"


@pytest.mark.parametrize("fault", OF_CONNECT, ids=named)
async def test_connect_misbehaves(tmp_path: Path, fault: Fault) -> None:
    kind, target, options = fault
    async with bridge(tmp_path) as world:
        # Without what StartChatContact can bring along, every call of Connect's is made.
        await world.connect.patch("settings", connection_types="ignored")
        struck = await world.connect.fault(kind, target, **options)
        await conversation(world)
        await world.connect.struck(struck)


@pytest.mark.parametrize("fault", OF_SLACK, ids=named)
async def test_slack_misbehaves(tmp_path: Path, fault: Fault) -> None:
    kind, target, options = fault
    async with bridge(tmp_path) as world:
        struck = await world.slack.fault(kind, target, **options)
        await conversation(world)
        await world.slack.struck(struck)


async def conversation(world: World) -> None:
    """Opened, carried both ways, and complete."""
    thread = world.thread()
    await thread.write("Hello")
    await world.slack.taken_in()
    await thread.write("The light is red.")
    await thread.accepted()
    for number in range(3):
        await thread.say(f"Question {number}?")
        await world.slack.taken_in()
        await thread.write(f"Answer {number}.")
    await thread.complete()
    assert len([one for one in await thread.contacts() if one["state"] != "ended"]) == 1
    assert sum("connecting you" in told for told in await thread.told()) == 1


async def test_what_slack_limits_comes_joined(tmp_path: Path) -> None:
    """Slack takes less than we think it does: it is believed, not hammered, and nothing is lost."""
    async with bridge(tmp_path, BRIDGE_SLACK_POSTS_PER_SECOND="20") as world:
        await world.slack.patch("settings", post_rate={"per_second": 2, "burst": 3})
        thread, other = world.thread(), world.thread()
        await thread.talk()
        await other.talk()
        said = [f"This is number {number}." for number in range(20)]
        for text in said:
            await thread.say(text)
        await other.say("And this?")
        await thread.reaches_customer(WELCOME, "Good morning", *said)
        await other.reaches_customer(WELCOME, "Good morning", "And this?")
        assert max(len(entries(post)) for post in await thread.posts()) > 1
        calls = [one for one in await world.slack.requests() if one["method"] == "chat.postMessage"]
        refused = [one for one in calls if one["error"] == "ratelimited"]
        assert 0 < len(refused) < len(calls) / 2
        await thread.complete()


# --- Connect -------------------------------------------------------------------------------------


async def test_sent_unanswered_and_the_token_forgotten(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.connect.patch("settings", client_token_seconds=0.0)
        await world.connect.fault("no_answer", "SendMessage", times=2)
        await thread.write("The light is red.")
        await thread.write("It blinks.")
        await thread.complete()


async def test_an_expired_connection_token_is_renewed(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.connect.do(thread.contact, "expire", what="connection_token")
        await thread.write("The light is red.")
        await thread.complete()


async def test_a_token_that_another_call_fetched_may_be_expired_too(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        fault = await world.connect.fault("delay", "SendMessage", seconds=1.6)
        await thread.write("The light is red.")
        await world.connect.struck(fault)
        # The new socket brings a new token, while the message waits with the old one.
        await world.connect.do(thread.contact, "drop_sockets")
        before = len(await tokens(world))
        await eventually(lambda: tokens(world), lambda found: len(found) > before)
        await world.connect.do(thread.contact, "expire", what="connection_token")
        await thread.complete()


async def tokens(world: World) -> list[Json]:
    """Every answered CreateParticipantConnection."""
    return [
        one
        for one in await world.connect.requests()
        if one["operation"] == "CreateParticipantConnection" and one["status"] == 200
    ]


async def test_what_was_said_while_the_socket_was_away(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.connect.fault("lose_frames", "socket", times=2)
        await thread.say("Lost on the way")
        await thread.say("Lost, too")
        await world.connect.do(thread.contact, "drop_sockets")
        await thread.say("Said without a socket")
        await thread.complete()


async def test_what_the_transcript_shows_late_is_delivered_late(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        await world.connect.fault("late_transcript", "socket", times=2, seconds=0.5)
        thread = world.thread()
        await thread.write("Hello")
        await thread.accepted()
        await thread.say("Good morning")
        await eventually(thread.heard, lambda found: set(found) == {WELCOME, "Good morning"})
        await thread.say("Are you there?")
        await eventually(thread.heard, lambda found: len(found) == 3)


async def test_connect_refuses_everybody_and_no_chat_is_ended(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        threads = [world.thread() for _ in range(3)]
        for thread in threads:
            await thread.talk()
        await world.connect.fault(
            "reject",
            times=None,
            status=403,
            code="AccessDeniedException",
            match={"service": "connectparticipant"},
        )
        for number, thread in enumerate(threads):
            await thread.write(f"Question {number}?")
        await eventually(lambda: described(world), lambda found: len(found) == 3)
        await world.connect.heal()
        await world.thread().talk()
        for thread in threads:
            await thread.complete()
            assert not [told for told in await thread.told() if "ended" in told]
            assert len(await thread.contacts()) == 1


async def test_chats_that_ended_while_the_bridge_was_down_are_told_so(tmp_path: Path) -> None:
    async with stand_ins() as world:
        threads = [world.thread() for _ in range(6)]
        async with serving(world.environment(tmp_path)):
            for thread in threads:
                await thread.talk()
        for thread in threads:
            await world.connect.do(thread.contact, "end")
        async with serving(world.environment(tmp_path)):
            for thread in threads:
                await thread.told_of("ended while our connection was down")
        # On a slow machine the first of them may be judged before the others are refused.
        assert len(await described(world)) >= 3


async def described(world: World) -> list[Json]:
    """Every answered DescribeContact."""
    return [
        one
        for one in await world.connect.requests()
        if one["operation"] == "DescribeContact" and one["status"] == 200
    ]


async def test_a_start_chat_url_needs_no_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with stand_ins() as sides:
        environment = sides.environment(tmp_path) | {
            "CONNECT_START_CHAT_URL": f"{sides.connect.url}/startChat",
            "CONNECT_INSTANCE_ID": "",
            "CONNECT_CONTACT_FLOW_ID": "",
            "AWS_REGION": "",
            "AWS_ENDPOINT_URL_CONNECT": "",
        }
        await sides.connect.patch("settings", start_chat_instance_id="i", start_chat_flow_id="f")
        async with serving(environment):
            thread = sides.thread()
            await thread.write("Hello")
            [contact] = await eventually(sides.connect.contacts, len)
            thread.contact = contact["contact_id"]
            await thread.state("queued")
            await sides.connect.do(thread.contact, "accept", name="Mina")
            await thread.say("Good morning")
            await thread.write("It blinks")
            await thread.reaches_customer(WELCOME, "Good morning")
            await thread.reaches_agent("Hello", "It blinks")


# --- Slack ---------------------------------------------------------------------------------------


async def test_events_by_http(tmp_path: Path) -> None:
    async with bridge(tmp_path, SLACK_APP_TOKEN="") as world:
        url = f"http://127.0.0.1:{world.port}/slack/events"
        await world.slack.patch("settings", transport="http", request_url=url)
        thread = world.thread()
        await thread.talk()
        await thread.press(END_BUTTON)
        await thread.state("ended")
        async with world.session.post(url, json={"type": "event_callback"}) as unsigned:
            assert unsigned.status == 401


async def test_slack_cuts_and_refreshes_its_sockets(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.slack.post("drop_sockets", count=1)
        await thread.write("One socket was cut")
        await world.slack.post("disconnect", reason="refresh_requested")
        await thread.write("Both were refreshed")
        await thread.complete()


# --- Redis ---------------------------------------------------------------------------------------


async def test_redis_hangs_for_a_while(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_LEASE_SECONDS="2") as world:
        thread = world.thread()
        await thread.talk()
        redis = server(tmp_path)
        os.kill(redis, signal.SIGSTOP)
        try:
            await thread.write("The light is red.")
            await thread.say("Which lights are on?")
            answer = await eventually(world.ready, lambda found: "redis" in found["reasons"])
            assert answer["ready"] is False
        finally:
            os.kill(redis, signal.SIGCONT)
        await thread.complete()
        await eventually(world.ready, lambda found: found["ready"])


async def test_redis_is_killed(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        first = server(tmp_path)
        os.kill(first, signal.SIGKILL)
        await thread.write("The light is red.")
        await thread.say("Which lights are on?")
        await thread.complete()
        assert server(tmp_path) != first


def server(folder: Path) -> int:
    """The process of the private Redis."""
    [pid] = [pid for pid, name in programs_below(folder).items() if "-server" in name]
    return pid
