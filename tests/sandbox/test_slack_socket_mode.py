"""Socket Mode against the official clients."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.server import SlackSandbox
from tests.sandbox import slack_support
from tests.sandbox.slack_support import (
    ANA,
    APP_TOKEN,
    BOT,
    BOT_TOKEN,
    HELP,
    Json,
    Person,
    bolt_connected,
    listening,
    until,
)

person, slack, web = slack_support.person, slack_support.slack, slack_support.web


async def open_url(box: SlackSandbox) -> str:
    answer = await AsyncWebClient(base_url=box.api_url).apps_connections_open(app_token=APP_TOKEN)
    return str(answer["url"])


@asynccontextmanager
async def raw_socket(
    box: SlackSandbox, *, autoping: bool = True
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(await open_url(box), autoping=autoping) as ws,
    ):
        yield ws


async def test_bolt_hears_people_and_answers_in_the_thread(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    app = AsyncApp(client=web)
    heard: list[Json] = []

    @app.event("message")
    async def on_message(event: Json, say: object) -> None:
        heard.append(event)
        if "bot_id" not in event:
            await web.chat_postMessage(channel=event["channel"], text="hi", thread_ts=event["ts"])

    @app.event("app_mention")
    async def on_mention(event: Json) -> None:
        heard.append(event)

    async with bolt_connected(slack, app):
        message = await person.say("help me @bot")
        await until(lambda: len(slack.courier.deliveries) == 3)
        await until(lambda: all(d.answered.is_set() for d in slack.courier.deliveries))
    types = [(e["type"], e["ts"] == message["ts"]) for e in heard]
    assert sorted(types) == [("app_mention", True), ("message", True)]
    own = slack.courier.deliveries[-1].payload["event"]
    assert (own["user"], own["bot_id"], own["text"]) == (BOT, "B0SB000001", "hi")
    assert own["thread_ts"] == message["ts"]
    assert [m["shown"] for m in await person.sees()] == ["help me @Support", "hi"]


async def test_a_click_reaches_bolt_and_its_response_address_works(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    app = AsyncApp(client=web)
    clicks: list[Json] = []

    @app.action("choose")
    async def on_click(ack: object, body: Json, respond: object) -> None:
        await ack()  # type: ignore[operator]  # Bolt's untyped argument
        clicks.append(body)
        await respond("you chose", replace_original=True)  # type: ignore[operator]  # same

    async with bolt_connected(slack, app):
        button = {
            "type": "button",
            "action_id": "choose",
            "text": {"type": "plain_text", "text": "A & B"},
            "value": "k1",
        }
        posted = await web.chat_postMessage(
            channel=HELP, text="?", blocks=[{"type": "actions", "elements": [button]}]
        )
        await person.do("clicks", channel=HELP, ts=posted["ts"], user=ANA, action_id="choose")
        await until(lambda: slack.world.channels[HELP].messages[posted["ts"]].body["text"] != "?")
    (click,) = clicks
    assert click["container"] == {
        "type": "message",
        "message_ts": posted["ts"],
        "channel_id": HELP,
        "is_ephemeral": False,
    }
    assert click["actions"][0]["value"] == "k1"
    assert click["message"]["blocks"][0]["elements"][0]["text"]["text"] == "A &amp; B"
    (shown,) = await person.sees()
    assert (shown["text"], shown["buttons"], shown["edited"]) == ("you chose", [], False)


async def test_hello_names_the_connections(slack: SlackSandbox) -> None:
    async with raw_socket(slack) as first:
        hello = json.loads((await first.receive()).data)
        assert set(hello) == {"type", "num_connections", "debug_info", "connection_info"}
        assert (hello["type"], hello["num_connections"]) == ("hello", 1)
        assert hello["connection_info"] == {"app_id": "A0SB000001"}
        async with raw_socket(slack) as second:
            assert json.loads((await second.receive()).data)["num_connections"] == 2


async def test_a_ticket_opens_one_connection_and_only_for_a_while(slack: SlackSandbox) -> None:
    async with aiohttp.ClientSession() as session:
        url = await open_url(slack)
        async with session.ws_connect(url):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url)
            assert refused.value.status == 403
        slack.settings.ticket_seconds = 0.0
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(await open_url(slack))


async def test_connections_take_the_app_token_and_no_other(slack: SlackSandbox) -> None:
    client = AsyncWebClient(base_url=slack.api_url)
    for token, error in ((BOT_TOKEN, "not_allowed_token_type"), ("xapp-no", "invalid_auth")):
        with pytest.raises(SlackApiError) as refused:
            await client.apps_connections_open(app_token=token)
        assert refused.value.response["error"] == error
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{slack.api_url}apps.connections.open", data={}) as response,
    ):
        assert await response.json() == {"ok": False, "error": "not_authed"}


async def test_each_event_goes_to_one_of_the_sockets(slack: SlackSandbox, person: Person) -> None:
    async with listening(slack) as one, listening(slack) as two:
        for number in range(6):
            await person.say(f"m{number}")
        await until(lambda: len(one.requests) + len(two.requests) == 6)
        assert Counter(one.texts() + two.texts()) == Counter(f"m{n}" for n in range(6))
        assert (len(one.requests), len(two.requests)) == (3, 3)
        assert [s["acked"] for s in (await person.do("sockets", "GET"))["sockets"]] == [3, 3]


async def test_without_an_answer_an_event_comes_again(slack: SlackSandbox, person: Person) -> None:
    await person.do("settings", "PATCH", ack_seconds=0.1, retry_schedule=[0, 0.05, 0.05])
    async with listening(slack) as listener:
        listener.acknowledging = False
        await person.say("again")
        await until(lambda: len(listener.requests) == 4)
        attempts = [(r.retry_attempt, r.retry_reason) for r in listener.requests]
        assert attempts == [(0, ""), (1, "timeout"), (2, "timeout"), (3, "timeout")]
        assert len({r.payload["event_id"] for r in listener.requests}) == 1
        assert len({r.envelope_id for r in listener.requests}) == 4
        await until(lambda: slack.courier.deliveries[0].attempts[-1].failure)
    (delivery,) = await person.deliveries()
    assert (delivery["acked"], delivery["failures"]) == (False, ["timeout"] * 4)


async def test_an_answer_ends_the_repeats(slack: SlackSandbox, person: Person) -> None:
    await person.do("settings", "PATCH", ack_seconds=0.1, retry_schedule=[0, 0, 0])
    async with listening(slack) as listener:
        listener.acknowledging = False
        await person.say("again")
        await until(lambda: len(listener.requests) == 1)
        listener.acknowledging = True
        await until(slack.courier.deliveries[0].answered.is_set)
        assert [r.retry_attempt for r in listener.requests] == [0, 1]


async def test_a_late_answer_counts(slack: SlackSandbox, person: Person) -> None:
    await person.do("settings", "PATCH", ack_seconds=0.05, retry_schedule=[60])
    async with raw_socket(slack) as ws:
        await ws.receive()
        await person.say("slow")
        envelope = json.loads((await ws.receive()).data)
        (delivery,) = slack.courier.deliveries
        await until(lambda: delivery.attempts[-1].failure)
        await ws.send_str(json.dumps({"envelope_id": envelope["envelope_id"]}))
        await until(delivery.answered.is_set)
    assert len(delivery.attempts) == 1


async def test_short_connections_on_request(slack: SlackSandbox) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{await open_url(slack)}&debug_reconnects=true"
        async with session.ws_connect(url) as ws:
            hello = json.loads((await ws.receive()).data)
    assert hello["debug_info"]["approximate_connection_time"] == 360


async def test_an_event_waits_for_a_socket(slack: SlackSandbox, person: Person) -> None:
    await person.say("early")
    await until(lambda: slack.courier.deliveries[0].attempts[-1].failure)
    async with listening(slack) as listener:
        await until(lambda: listener.requests)
        assert listener.texts() == ["early"]
        assert listener.requests[0].retry_attempt == 1


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "too_many_websockets"])
async def test_the_client_comes_back_after_a_disconnect_frame(
    slack: SlackSandbox, person: Person, reason: str
) -> None:
    async with listening(slack) as listener:
        (before,) = slack.sockets.sockets
        assert await person.do("disconnect", reason=reason) == {"sockets": 1}
        await until(lambda: slack.sockets.sockets and before not in slack.sockets.sockets)
        await person.say("after")
        await until(lambda: listener.texts() == ["after"])


async def test_the_client_comes_back_after_a_cut(slack: SlackSandbox, person: Person) -> None:
    async with listening(slack, ping_interval=0.2) as listener:
        (before,) = slack.sockets.sockets
        assert await person.do("drop_sockets") == {"sockets": 1}
        await until(lambda: slack.sockets.sockets and before not in slack.sockets.sockets)
        await person.say("after")
        await until(lambda: listener.texts() == ["after"])


async def test_a_connection_ends_by_itself_with_a_warning(
    slack: SlackSandbox, person: Person
) -> None:
    await person.do("settings", "PATCH", connection_seconds=0.4, warning_seconds=0.2)
    async with raw_socket(slack) as ws:
        frames = [message async for message in ws]
    assert [json.loads(frame.data)["type"] for frame in frames] == ["hello", "disconnect"]
    assert json.loads(frames[1].data)["reason"] == "warning"
    assert ws.close_code == 1000


async def test_pings_are_answered_with_their_payload_and_sent(
    slack: SlackSandbox, person: Person
) -> None:
    await person.do("settings", "PATCH", ping_seconds=0.05)
    async with raw_socket(slack, autoping=False) as ws:
        await ws.receive()
        await ws.ping(b"sdk-ping-pong:1.5")
        seen = [await ws.receive(timeout=2) for _ in range(2)]
        assert (aiohttp.WSMsgType.PONG, b"sdk-ping-pong:1.5") in [(m.type, m.data) for m in seen]
        assert aiohttp.WSMsgType.PING in [m.type for m in seen]
        rest = [message async for message in ws]
        assert {m.type for m in rest} == {aiohttp.WSMsgType.PING}
    assert slack.sockets.sockets == []


async def test_an_eleventh_connection_is_too_many(slack: SlackSandbox, person: Person) -> None:
    await person.do("settings", "PATCH", max_sockets=1)
    async with raw_socket(slack):
        await until(lambda: slack.sockets.sockets)
        async with raw_socket(slack) as second:
            frame = json.loads((await second.receive()).data)
        assert frame["reason"] == "too_many_websockets"


async def test_switching_socket_mode_off_disables_the_link(
    slack: SlackSandbox, person: Person
) -> None:
    async with raw_socket(slack) as ws:
        await ws.receive()
        await person.do("settings", "PATCH", transport="http")
        assert json.loads((await ws.receive()).data)["reason"] == "link_disabled"
    with pytest.raises(SlackApiError):
        await open_url(slack)


async def test_raw_frames_and_events_of_any_shape(slack: SlackSandbox, person: Person) -> None:
    async with listening(slack) as listener:
        frames: list[str] = []

        async def keep(message: aiohttp.WSMessage) -> None:
            frames.append(message.data)

        listener.client.on_message_listeners.append(keep)
        await person.do("envelopes", frame="not json")
        await person.do("envelopes", frame={"type": "unheard_of"})
        await person.do("events", event={"type": "message", "channel": HELP}, times=2)
        await person.do("rate_limited")
        await until(lambda: len(listener.requests) == 3)
        assert frames[1:3] == ["not json", '{"type": "unheard_of"}']
        ids = [r.payload.get("event_id") for r in listener.requests]
        assert len(set(ids[:2])) == 2
        limited = listener.requests[2].payload
        assert limited["type"] == "app_rate_limited"
        assert set(limited) == {"token", "type", "team_id", "minute_rate_limited", "api_app_id"}
        assert limited["minute_rate_limited"] % 60 == 0


async def test_order_of_a_burst_on_one_socket(slack: SlackSandbox, person: Person) -> None:
    async with listening(slack) as listener:
        for number in range(20):
            slack.workspace.say(slack.world.channels[HELP], slack.world.users[ANA], str(number))
        await until(lambda: len(listener.requests) == 20)
        assert listener.texts() == [str(number) for number in range(20)]


async def test_acknowledgements_of_nothing_do_no_harm(slack: SlackSandbox, person: Person) -> None:
    async with raw_socket(slack) as ws:
        await ws.receive()
        for frame in ("no json", "[]", '{"envelope_id":"unknown"}', "{}"):
            await ws.send_str(frame)
        await person.say("still here")
        async with asyncio.timeout(2):
            envelope = json.loads((await ws.receive()).data)
        await ws.send_str(json.dumps({"envelope_id": envelope["envelope_id"]}))
        await until(slack.courier.deliveries[0].answered.is_set)
    assert set(envelope) == {
        "envelope_id",
        "payload",
        "type",
        "accepts_response_payload",
        "retry_attempt",
        "retry_reason",
    }
