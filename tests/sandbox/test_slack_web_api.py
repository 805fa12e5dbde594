"""How calls are made, and what the app writes and reads: through slack_sdk's client."""

from __future__ import annotations

from typing import Any

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.server import SlackSandbox
from tests.sandbox import slack_support
from tests.sandbox.slack_support import (
    ACME,
    APP_TOKEN,
    BOT,
    BOT_TOKEN,
    GENERAL,
    HELP,
    HOME,
    Json,
    Person,
    refused,
)

person, slack, web = slack_support.person, slack_support.slack, slack_support.web


async def test_who_am_i(slack: SlackSandbox, web: AsyncWebClient) -> None:
    answer = await web.auth_test()
    assert answer.data == {
        "ok": True,
        "url": "https://sandbox.slack.com/",
        "team": "Sandbox",
        "user": "support",
        "team_id": HOME,
        "user_id": BOT,
        "bot_id": "B0SB000001",
        "is_enterprise_install": False,
    }
    assert "chat:write" in answer.headers["X-OAuth-Scopes"].split(",")
    assert (await web.api_test(foo="bar"))["args"] == {"foo": "bar"}
    await refused(web.api_test(error="my_error"), "my_error")
    await refused(web.auth_test(token="xoxb-wrong"), "invalid_auth")
    await refused(web.auth_test(token=APP_TOKEN), "not_allowed_token_type")
    await refused(web.api_call("no.such.method"), "unknown_method")
    context = "4-x"
    plain = AsyncWebClient(base_url=slack.api_url, token=APP_TOKEN)
    found = await plain.apps_event_authorizations_list(event_context=context)
    assert [a["user_id"] for a in found["authorizations"]] == [BOT]


@pytest.mark.parametrize("how", ["query", "form", "json", "form_token"])
async def test_parameters_come_in_every_way(slack: SlackSandbox, person: Person, how: str) -> None:
    url = f"{slack.api_url}chat.postMessage"
    headers = {"Authorization": f"Bearer {BOT_TOKEN}"}
    call: dict[str, Any] = {
        "query": {"params": {"channel": HELP, "text": "é & <x>"}, "headers": headers},
        "form": {"data": {"channel": HELP, "text": "é & <x>"}, "headers": headers},
        "json": {"json": {"channel": HELP, "text": "é & <x>"}, "headers": headers},
        "form_token": {"data": {"channel": HELP, "text": "é & <x>", "token": BOT_TOKEN}},
    }[how]
    async with person.session.post(url, **call) as response:
        answer = await response.json()
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer["ok"]
    assert answer["message"]["text"] == "é &amp; &lt;x&gt;"
    assert answer.get("warning") == ("missing_charset" if how == "json" else None)
    (request,) = (await person.do("requests", "GET"))["requests"]
    assert request["params"] == {"channel": HELP, "text": "é & <x>"}


async def test_bodies_that_are_no_calls(slack: SlackSandbox, person: Person) -> None:
    url = f"{slack.api_url}chat.postMessage"
    kind = {"Content-Type": "application/json; charset=utf-8"}
    for body, error in (("{", "invalid_json"), ("[1]", "json_not_object"), ("{}", "not_authed")):
        async with person.session.post(url, data=body, headers=kind) as response:
            assert await response.json() == {"ok": False, "error": error}


async def test_a_post_and_its_stored_form(web: AsyncWebClient) -> None:
    answer = await web.chat_postMessage(
        channel=HELP,
        text="hello",
        metadata={"event_type": "relayed", "event_payload": {"items": ["i1"]}},
    )
    message = answer["message"]
    assert (answer["channel"], answer["ts"]) == (HELP, message["ts"])
    assert set(message) == {
        "type",
        "text",
        "user",
        "bot_id",
        "app_id",
        "team",
        "bot_profile",
        "ts",
        "metadata",
    }
    plain = await web.conversations_history(channel=HELP)
    assert "metadata" not in plain["messages"][0]
    full = await web.conversations_history(channel=HELP, include_all_metadata=True)
    assert full["messages"][0]["metadata"]["event_payload"] == {"items": ["i1"]}


async def test_customised_authorship_needs_its_scope_and_changes_the_message(
    person: Person, web: AsyncWebClient
) -> None:
    answer = await web.chat_postMessage(
        channel=HELP, text="hi", username="Maria", icon_emoji=":wave:"
    )
    message = answer["message"]
    assert message["subtype"] == "bot_message"
    assert (message["username"], message["bot_id"]) == ("Maria", "B0SB000001")
    assert message["icons"] == {"emoji": ":wave:"}
    assert "user" not in message
    await person.do("settings", "PATCH", granted_scopes=["chat:write"])
    data = await refused(
        web.chat_postMessage(channel=HELP, text="hi", username="Maria"), "missing_scope"
    )
    assert (data["needed"], data["provided"]) == ("chat:write.customize", "chat:write")


async def test_what_a_post_may_not_be(person: Person, web: AsyncWebClient) -> None:
    empty = web.api_call("chat.postMessage", json={"channel": HELP, "text": ""})
    await refused(empty, "no_text")
    await refused(web.chat_postMessage(channel="C404", text="x"), "channel_not_found")
    await refused(web.chat_postMessage(channel=GENERAL, text="x"), "not_in_channel")
    both = web.chat_postMessage(channel=HELP, text="x", markdown_text="y")
    await refused(both, "markdown_text_conflict")
    long = web.chat_postMessage(channel=HELP, markdown_text="y" * 12_001)
    await refused(long, "msg_too_long")
    fields = {"event_type": "x"}
    await refused(
        web.chat_postMessage(channel=HELP, text="x", metadata=fields), "invalid_metadata_schema"
    )
    divider = {"type": "divider"}
    await web.chat_postMessage(channel=HELP, text="x", blocks=[divider] * 50)
    too_many = web.chat_postMessage(channel=HELP, text="x", blocks=[divider] * 51)
    assert "50" in (await refused(too_many, "invalid_blocks"))["errors"][0]
    odd = web.chat_postMessage(channel=HELP, text="x", blocks=[{"type": "no"}])
    await refused(odd, "invalid_blocks")
    broken = web.chat_postMessage(channel=HELP, text="x", blocks="[")
    await refused(broken, "invalid_blocks_format")
    await person.do("archive", channel=HELP)
    await refused(web.chat_postMessage(channel=HELP, text="x"), "is_archived")


def button(**more: Any) -> Json:
    return {"type": "button", "text": {"type": "plain_text", "text": "Go"}, **more}


@pytest.mark.parametrize(
    ("block", "pointer"),
    [
        ({"type": "actions", "elements": []}, "/blocks/0"),
        ({"type": "actions", "elements": [button()] * 26}, "/blocks/0/elements"),
        (
            {"type": "actions", "elements": [button(action_id="a"), button(action_id="a")]},
            "/blocks/0/elements/1/action_id",
        ),
        (
            {"type": "actions", "elements": [button(value="v" * 2001)]},
            "/blocks/0/elements/0/value",
        ),
        (
            {"type": "actions", "elements": [{"type": "static_select", "options": [{}] * 101}]},
            "/blocks/0/elements/0/options",
        ),
        (
            {
                "type": "actions",
                "elements": [{"type": "static_select", "options": [{"value": "v" * 151}]}],
            },
            "/blocks/0/elements/0/options",
        ),
        ({"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}, "/blocks/0/text"),
        ({"type": "context", "elements": ["bare"]}, "/blocks/0/elements"),
        ({"type": "section", "text": "bare"}, "/blocks/0/text"),
        ({"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}, "/blocks/0/text"),
        ({"type": "divider", "block_id": "x" * 256}, "/blocks/0/block_id"),
    ],
)
async def test_block_limits(web: AsyncWebClient, block: Json, pointer: str) -> None:
    data = await refused(
        web.chat_postMessage(channel=HELP, text="x", blocks=[block]), "invalid_blocks"
    )
    assert pointer in data["response_metadata"]["messages"][0]


async def test_markdown_blocks_have_one_limit_together(web: AsyncWebClient) -> None:
    block = {"type": "markdown", "text": "x" * 6001}
    await web.chat_postMessage(channel=HELP, text="x", blocks=[block])
    two = web.chat_postMessage(channel=HELP, text="x", blocks=[block, block])
    await refused(two, "msg_blocks_too_long")
    answer = await web.chat_postMessage(channel=HELP, markdown_text="# Hi")
    assert answer["message"]["blocks"][0]["type"] == "markdown"


async def test_required_arguments_are_named(web: AsyncWebClient) -> None:
    data = await refused(
        web.api_call("views.publish", json={"view": {"type": "home"}}), "invalid_arguments"
    )
    assert "user_id" in data["response_metadata"]["messages"][0]
    wrong = web.api_call("conversations.history", params={"channel": HELP, "limit": "many"})
    await refused(wrong, "invalid_arguments")


async def test_long_text_is_cut_with_a_warning(web: AsyncWebClient) -> None:
    answer = await web.chat_postMessage(channel=HELP, text="x" * 40_001)
    assert len(answer["message"]["text"]) == 40_000
    assert answer["response_metadata"]["warnings"] == ["message_truncated"]


async def test_threads(web: AsyncWebClient) -> None:
    root = (await web.chat_postMessage(channel=HELP, text="root"))["ts"]
    first = await web.chat_postMessage(channel=HELP, text="one", thread_ts=root)
    assert first["message"]["thread_ts"] == root
    assert first["message"]["parent_user_id"] == BOT
    nested = await web.chat_postMessage(channel=HELP, text="two", thread_ts=first["ts"])
    assert nested["message"]["thread_ts"] == root
    shown = await web.chat_postMessage(
        channel=HELP, text="three", thread_ts=root, reply_broadcast=True
    )
    assert shown["message"]["subtype"] == "thread_broadcast"
    orphan = await web.chat_postMessage(channel=HELP, text="four", thread_ts="1.000001")
    assert "thread_ts" not in orphan["message"]
    replies = (await web.conversations_replies(channel=HELP, ts=root))["messages"]
    assert [m["text"] for m in replies] == ["root", "one", "two", "three"]
    assert (replies[0]["reply_count"], replies[0]["latest_reply"]) == (3, shown["ts"])
    alone = await web.conversations_replies(channel=HELP, ts=first["ts"])
    assert [m["text"] for m in alone["messages"]] == ["one"]
    history = (await web.conversations_history(channel=HELP))["messages"]
    assert [m["text"] for m in history] == ["four", "three", "root"]
    await refused(web.conversations_replies(channel=HELP, ts="1.000001"), "thread_not_found")


async def test_pages_and_ranges(web: AsyncWebClient) -> None:
    stamps = [
        (await web.chat_postMessage(channel=HELP, text=str(number)))["ts"] for number in range(5)
    ]
    texts: list[str] = []
    cursor: str | None = None
    while cursor != "":
        answer = await web.conversations_history(channel=HELP, limit=2, cursor=cursor)
        texts += [m["text"] for m in answer["messages"]]
        cursor = (answer.get("response_metadata") or {}).get("next_cursor", "")
        assert answer["has_more"] is bool(cursor)
    assert texts == ["4", "3", "2", "1", "0"]

    async def between(**limits: Any) -> list[str]:
        answer = await web.conversations_history(channel=HELP, **limits)
        return [m["text"] for m in answer["messages"]]

    assert await between(oldest=stamps[1], latest=stamps[3]) == ["2"]
    assert await between(oldest=stamps[1], latest=stamps[3], inclusive=True) == ["3", "2", "1"]
    assert await between(oldest=stamps[4]) == []
    assert await between(oldest="0") == ["4", "3", "2", "1", "0"]
    await refused(web.conversations_history(channel=HELP, cursor="x"), "invalid_cursor")
    await refused(web.conversations_history(channel=HELP, limit=0), "invalid_limit")
    await refused(web.conversations_history(channel=HELP, oldest="abc"), "invalid_ts_oldest")


async def test_replies_after_a_ts_still_show_the_root(web: AsyncWebClient) -> None:
    root = (await web.chat_postMessage(channel=HELP, text="root"))["ts"]
    replies = [
        (await web.chat_postMessage(channel=HELP, text=str(n), thread_ts=root))["ts"]
        for n in range(3)
    ]
    answer = await web.conversations_replies(channel=HELP, ts=root, oldest=replies[0])
    assert [m["text"] for m in answer["messages"]] == ["root", "1", "2"]
    page = await web.conversations_replies(channel=HELP, ts=root, limit=2)
    assert [m["text"] for m in page["messages"]] == ["root", "0", "1"]
    cursor = page["response_metadata"]["next_cursor"]
    rest = await web.conversations_replies(channel=HELP, ts=root, limit=2, cursor=cursor)
    assert [m["text"] for m in rest["messages"]] == ["root", "2"]
    assert rest["has_more"] is False


async def test_the_limit_on_reading_history(person: Person, web: AsyncWebClient) -> None:
    for number in range(16):
        await web.chat_postMessage(channel=HELP, text=str(number))
    await person.do("settings", "PATCH", history_limit={"messages": 15, "per_minute": 1})
    answer = await web.conversations_history(channel=HELP, limit=200)
    assert len(answer["messages"]) == 15
    again = await refused(web.conversations_history(channel=HELP), "ratelimited")
    assert again == {"ok": False, "error": "ratelimited"}
    with pytest.raises(SlackApiError) as caught:
        await web.conversations_history(channel=HELP)
    assert caught.value.response.status_code == 429
    assert 50 <= int(caught.value.response.headers["Retry-After"]) <= 60
    await refused(web.conversations_replies(channel=HELP, ts="1.000001"), "thread_not_found")


async def test_the_rate_of_posts_in_a_channel(person: Person, web: AsyncWebClient) -> None:
    await person.do("settings", "PATCH", post_rate={"per_second": 1, "burst": 2})
    await web.chat_postMessage(channel=HELP, text="1")
    await web.chat_postMessage(channel=HELP, text="2")
    await refused(web.chat_postMessage(channel=HELP, text="3"), "ratelimited")
    await web.chat_postMessage(channel=ACME, text="elsewhere")


async def test_updates(person: Person, web: AsyncWebClient) -> None:
    divider = {"type": "divider"}
    posted = await web.chat_postMessage(
        channel=HELP,
        text="old",
        blocks=[divider],
        metadata={"event_type": "t", "event_payload": {}},
    )
    ts = posted["ts"]
    kept = await web.chat_update(channel=HELP, ts=ts, text="with", blocks=[divider])
    assert "edited" not in kept["message"]
    answer = await web.chat_update(channel=HELP, ts=ts, text="new")
    assert (answer["text"], answer["message"]["text"]) == ("new", "new")
    assert "blocks" not in answer["message"]
    assert answer["message"]["edited"]["user"] == "B0SB000001"
    assert answer["message"]["metadata"]["event_type"] == "t"
    cleared = await web.chat_update(channel=HELP, ts=ts, text="new", metadata={})
    assert "metadata" not in cleared["message"]
    await refused(web.chat_update(channel=HELP, ts=ts, text="x" * 4_001), "msg_too_long")
    await refused(web.chat_update(channel=HELP, ts="1.000001", text="x"), "message_not_found")
    other = await person.say("mine")
    await refused(web.chat_update(channel=HELP, ts=other["ts"], text="x"), "cant_update_message")


async def test_deletes_and_links(slack: SlackSandbox, person: Person, web: AsyncWebClient) -> None:
    root = (await web.chat_postMessage(channel=HELP, text="root"))["ts"]
    reply = (await web.chat_postMessage(channel=HELP, text="r", thread_ts=root))["ts"]
    link = await web.chat_getPermalink(channel=HELP, message_ts=reply)
    plain = f"{slack.url}/archives/{HELP}/p{reply.replace('.', '')}"
    assert link["permalink"] == f"{plain}?thread_ts={root}&cid={HELP}"
    await web.chat_delete(channel=HELP, ts=root)
    (tombstone, kept) = (await web.conversations_replies(channel=HELP, ts=root))["messages"]
    assert (tombstone["subtype"], tombstone["user"]) == ("tombstone", "USLACKBOT")
    await web.chat_delete(channel=HELP, ts=kept["ts"])
    assert (await web.conversations_history(channel=HELP))["messages"] == []
    other = await person.say("mine")
    await refused(web.chat_delete(channel=HELP, ts=other["ts"]), "cant_delete_message")
    await refused(web.chat_getPermalink(channel=HELP, message_ts=root), "message_not_found")
