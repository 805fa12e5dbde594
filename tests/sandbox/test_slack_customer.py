"""The customer's API: what tests and the page use."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.server import SlackSandbox
from tests.sandbox import slack_support
from tests.sandbox.slack_support import (
    ANA,
    APP_TOKEN,
    BEN,
    BOT,
    BOT_TOKEN,
    EVA,
    HELP,
    Person,
    until,
)

person, slack, web = slack_support.person, slack_support.slack, slack_support.web


async def test_info_says_all_that_a_client_needs(slack: SlackSandbox, person: Person) -> None:
    info = await person.do("info", "GET")
    assert info["api_url"] == f"{slack.url}/api/"
    assert (info["bot_token"], info["app_token"]) == (BOT_TOKEN, APP_TOKEN)
    assert (info["signing_secret"], info["bot_user"]) == ("sandbox-signing-secret", BOT)
    assert [u["real_name"] for u in info["users"][1:]] == [
        "Ana Lima",
        "Ben Okoro",
        "Eva External",
    ]
    assert [(c["name"], c["ext_shared"]) for c in info["channels"]] == [
        ("general", False),
        ("help", False),
        ("acme-help", True),
    ]


async def test_two_sandboxes_agree_on_their_ids(slack: SlackSandbox, person: Person) -> None:
    other = SlackSandbox()
    assert list(other.world.users) == list(slack.world.users)
    assert list(other.world.channels) == list(slack.world.channels)


async def test_new_people_and_places(person: Person) -> None:
    cy = await person.do(
        "users", name="cy", real_name="Cy Twombly", email="cy@example.com", channels=["help"]
    )
    await person.say("hello", user=cy["id"])
    room = await person.do("channels", name="quiet", private=True, members=[cy["id"]])
    assert (room["kind"], room["members"]) == ("group", [cy["id"], BOT])
    await person.say("psst", channel="quiet", user="cy")
    (seen,) = await person.sees("quiet")
    assert (seen["author"], seen["shown"]) == ("Cy", "psst")
    status, answer = await person.call("POST", "channels", name="quiet")
    assert (status, answer) == (400, {"error": "name_taken"})


async def test_what_a_person_sees(person: Person, web: AsyncWebClient) -> None:
    root = (await person.say("a *b* & <c>"))["ts"]
    await web.chat_postMessage(
        channel=HELP,
        thread_ts=root,
        username="Maria",
        text="<!channel> see <https://evil.io|our site>",
        metadata={"event_type": "t", "event_payload": {"k": 1}},
    )
    await person.say("elsewhere")
    first, second = await person.sees(query=f"?thread_ts={root}")
    assert (first["author"], first["is_bot"]) == ("Ana", False)
    assert (first["shown"], first["text"]) == ("a *b* & <c>", "a *b* &amp; &lt;c&gt;")
    assert (first["pings"], first["links"]) == ([], [])
    assert (second["author"], second["is_bot"]) == ("Maria", True)
    assert second["pings"] == ["channel"]
    assert second["links"] == [{"url": "https://evil.io", "label": "our site"}]
    assert (second["shown"], second["parent_ts"]) == ("@channel see our site", root)
    assert second["metadata"]["event_payload"] == {"k": 1}


async def test_buttons_and_selects(person: Person, web: AsyncWebClient) -> None:
    option = {"text": {"type": "plain_text", "text": "Nine"}, "value": "9"}
    blocks = [
        {
            "type": "section",
            "block_id": "when",
            "text": {"type": "mrkdwn", "text": "When?"},
            "accessory": {
                "type": "static_select",
                "action_id": "slot",
                "placeholder": {"type": "plain_text", "text": "Pick"},
                "options": [option],
            },
        }
    ]
    ts = (await web.chat_postMessage(channel=HELP, text="When?", blocks=blocks))["ts"]
    (seen,) = await person.sees()
    assert seen["buttons"] == [
        {
            "type": "static_select",
            "action_id": "slot",
            "text": "Pick",
            "value": None,
            "url": None,
            "options": [{"text": "Nine", "value": "9"}],
        }
    ]
    click = await person.do("clicks", channel=HELP, ts=ts, user=BEN, action_id="slot", value="9")
    assert click["actions"][0]["selected_option"] == option
    assert click["state"]["values"]["when"]["slot"]["selected_option"] == option
    status, answer = await person.call(
        "POST", "clicks", channel=HELP, ts=ts, user=BEN, action_id="none"
    )
    assert (status, answer) == (404, {"error": "action_not_found"})


async def test_undelivered_messages_are_in_history_only(
    person: Person, web: AsyncWebClient
) -> None:
    await person.say("missed", deliver=False)
    assert await person.deliveries() == []
    (message,) = (await web.conversations_history(channel=HELP))["messages"]
    assert message["text"] == "missed"


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("messages", {"channel": "nope", "user": ANA, "text": "x"}, 404, "channel_not_found"),
        ("messages", {"channel": HELP, "user": "nope", "text": "x"}, 404, "user_not_found"),
        ("messages", {"channel": HELP, "user": EVA, "text": "x"}, 403, "not_in_channel"),
        ("messages", {"channel": HELP, "user": ANA}, 400, "missing: text"),
        (
            "messages",
            {"channel": HELP, "user": ANA, "text": "x", "thread_ts": "1.1"},
            404,
            "thread_not_found",
        ),
        ("disconnect", {"reason": "tired"}, 400, "reason: one of"),
        ("topic", {"channel": HELP, "user": ANA}, 400, "missing: topic"),
        ("view_submissions", {"view_id": "V1", "user": ANA}, 404, "view_not_found"),
    ],
)
async def test_refusals(
    person: Person, path: str, body: dict[str, Any], status: int, error: str
) -> None:
    got, answer = await person.call("POST", path, **body)
    assert got == status
    assert answer["error"].startswith(error)


@pytest.mark.parametrize(
    "body",
    [
        {"no_such": 1},
        {"ack_seconds": -1},
        {"ack_seconds": "soon"},
        {"transport": "pigeon"},
        {"history_limit": {"messages": 1}},
        {"subscriptions": "all"},
        {"request_url": "ftp://x"},
    ],
)
async def test_wrong_settings_change_nothing(person: Person, body: dict[str, Any]) -> None:
    before = await person.do("settings", "GET")
    status, answer = await person.call("PATCH", "settings", ping_seconds=1, **body)
    assert status == 400
    assert answer["error"]
    assert await person.do("settings", "GET") == before


async def test_requests_and_deliveries_are_read_on(person: Person, web: AsyncWebClient) -> None:
    await web.auth_test()
    await web.chat_postMessage(channel=HELP, text="x")
    (last,) = (await person.do("requests?since=1", "GET"))["requests"]
    assert (last["seq"], last["method"], last["ok"]) == (2, "chat.postMessage", True)
    assert BOT_TOKEN not in str(last)
    await person.say("y")
    (second,) = (await person.do("deliveries?since=1", "GET"))["deliveries"]
    assert (second["seq"], second["payload"]["event"]["text"]) == (2, "y")


async def test_the_port_is_free_again(slack: SlackSandbox) -> None:
    port = int(slack.url.rpartition(":")[2])
    other = SlackSandbox()
    with pytest.raises(OSError, match="address"):
        await other.start(port=port)
    await slack.stop()
    again = SlackSandbox()
    await again.start(port=port)
    assert again.url == slack.url
    await again.stop()


async def test_bolt_without_asyncio(slack: SlackSandbox, person: Person) -> None:
    client = WebClient(token=BOT_TOKEN, base_url=slack.api_url)
    heard: list[str] = []

    def connect() -> SocketModeHandler:
        app = App(client=client)

        @app.event("message")
        def on_message(event: dict[str, Any], say: Any) -> None:
            heard.append(event["text"])
            if "bot_id" not in event:
                say(text="sync", thread_ts=event["ts"])

        handler = SocketModeHandler(app, APP_TOKEN)
        handler.connect()  # type: ignore[no-untyped-call]  # Bolt's
        return handler

    handler = await asyncio.to_thread(connect)
    try:
        await until(lambda: slack.sockets.sockets)
        await person.say("hello")
        await until(lambda: len(slack.world.channels[HELP].messages) == 2)
        await until(lambda: heard == ["hello"])
    finally:
        await asyncio.to_thread(handler.close)
    assert [m["shown"] for m in await person.sees()] == ["hello", "sync"]
