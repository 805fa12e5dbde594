"""Events have the keys that Slack's have, and each deed of a person makes the right ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.server import SlackSandbox
from tests.sandbox import slack_support
from tests.sandbox.slack_support import ACME, ANA, BEN, BOT, EVA, HELP, HOME, Json, Person

person, slack, web = slack_support.person, slack_support.slack, slack_support.web

# Key lists: slackapi/java-slack-sdk json-logs (2026-08), unions over many recordings.
PLACE = "channel event_ts channel_type"
APP = "bot_id bot_profile app_id"
OUTSIDE = "user_team source_team user_profile"
ALLOWED = {
    "message": f"client_msg_id type team user text metadata blocks attachments ts parent_user_id "
    f"thread_ts edited {PLACE} {APP} {OUTSIDE}",
    "file_share": f"type subtype text files blocks upload display_as_bot user parent_user_id ts "
    f"thread_ts {PLACE} {APP} {OUTSIDE}",
    "message_changed": f"type subtype hidden message previous_message ts {PLACE}",
    "message_deleted": f"type subtype hidden deleted_ts previous_message ts {PLACE}",
    "thread_broadcast": f"client_msg_id type subtype user root text ts thread_ts blocks {PLACE} "
    f"{APP} {OUTSIDE}",
    "bot_message": f"type subtype bot_id username icons text thread_ts ts blocks attachments {PLACE}",
    "me_message": f"type subtype username user bot_id text ts {PLACE}",
    "channel_join": f"type subtype team user inviter text ts {PLACE}",
    "channel_leave": f"type subtype team user text ts {PLACE}",
    "channel_topic": f"type subtype user text topic ts {PLACE}",
    "app_mention": f"type client_msg_id user username app_id bot_id bot_profile subtype text "
    f"blocks upload display_as_bot ts team channel edited event_ts thread_ts {OUTSIDE}",
    "reaction_added": "type user item reaction item_user event_ts",
    "reaction_removed": "type user item reaction item_user event_ts",
    "member_joined_channel": "type user channel channel_type team event_ts inviter enterprise",
    "member_left_channel": "type user channel channel_type team event_ts enterprise",
    "file_shared": "file_id user_id file channel_id type event_ts",
    "channel_archive": "type channel user is_moved event_ts",
    "channel_unarchive": "type channel user event_ts",
    "channel_left": "type channel actor_id event_ts",
}
OUTER = {
    "token",
    "team_id",
    "context_team_id",
    "context_enterprise_id",
    "api_app_id",
    "event",
    "type",
    "event_id",
    "event_time",
    "authorizations",
    "is_ext_shared_channel",
    "event_context",
}
NESTED = {
    "client_msg_id",
    "type",
    "subtype",
    "user",
    "team",
    "bot_id",
    "bot_profile",
    "app_id",
    "edited",
    "text",
    "blocks",
    "attachments",
    "upload",
    "display_as_bot",
    "files",
    "thread_ts",
    "parent_user_id",
    "hidden",
    "is_locked",
    "subscribed",
    "ts",
    "user_team",
    "source_team",
    "is_starred",
    "reply_count",
    "reply_users",
    "reply_users_count",
    "latest_reply",
    "reactions",
    "username",
    "icons",
    "root",
}


@pytest.fixture
def told(slack: SlackSandbox) -> Callable[[], list[Json]]:
    """The inner events so far; no transport need take them."""

    def events() -> list[Json]:
        return [d.payload["event"] for d in slack.courier.deliveries if d.kind == "events_api"]

    return events


def name(event: Json) -> str:
    return str(event.get("subtype") or event["type"])


async def test_every_event_has_only_keys_that_slack_sends(
    slack: SlackSandbox, person: Person, web: AsyncWebClient, told: Callable[[], list[Json]]
) -> None:
    root = (await person.say("root @bot"))["ts"]
    await person.say("reply", thread_ts=root, user=BEN)
    await person.say("shown", thread_ts=root, broadcast=True)
    await person.say("waves", subtype="me_message")
    await person.say("outside", channel=ACME, user=EVA)
    await person.say("file", files=[{"name": "a.txt", "content_base64": "eA=="}], thread_ts=root)
    await person.do("messages", "PATCH", channel=HELP, ts=root, text="edited")
    await person.do("unfurl", channel=HELP, ts=root)
    await web.chat_postMessage(channel=HELP, text="own", thread_ts=root)
    own = await web.chat_postMessage(channel=HELP, text="as", username="Maria", thread_ts=root)
    await web.chat_update(channel=HELP, ts=own["ts"], text="as!")
    await web.chat_delete(channel=HELP, ts=own["ts"])
    await person.do("reactions", channel=HELP, ts=root, user=ANA, name="eyes")
    await person.do("reactions", channel=HELP, ts=root, user=ANA, name="eyes", remove=True)
    await person.do("messages", "DELETE", channel=HELP, ts=root)
    await person.do("leave", channel=HELP, user=BEN)
    await person.do("join", channel=HELP, user=BEN, inviter=ANA)
    await person.do("topic", channel=HELP, user=ANA, topic="a & b")
    await person.do("archive", channel=HELP)
    await person.do("archive", channel=HELP, archived=False)
    await person.do("remove_bot", channel=HELP)
    upload = await web.files_upload_v2(channel=ACME, content="x", filename="x.txt")
    await slack_support.until(lambda: name(told()[-1]) == "file_shared")
    assert upload["ok"]
    seen = {name(event) for event in told()}
    assert seen == set(ALLOWED)
    for event in told():
        assert set(event) <= set(ALLOWED[name(event)].split()), name(event)
        for key in ("message", "previous_message"):
            if key in event:
                assert set(event[key]) <= NESTED, name(event)


async def test_the_outer_object(slack: SlackSandbox, person: Person) -> None:
    await person.say("a")
    await person.say("b", channel=ACME)
    first, second = slack.courier.deliveries
    for delivery in (first, second):
        assert set(delivery.payload) == OUTER
        assert delivery.payload["type"] == "event_callback"
    assert first.payload["authorizations"] == [
        {
            "enterprise_id": None,
            "team_id": HOME,
            "user_id": BOT,
            "is_bot": True,
            "is_enterprise_install": False,
        }
    ]
    assert first.payload["event_id"] != second.payload["event_id"]
    assert (
        first.payload["is_ext_shared_channel"],
        second.payload["is_ext_shared_channel"],
    ) == (False, True)


async def test_a_message_and_its_mention(person: Person, told: Callable[[], list[Json]]) -> None:
    sent = await person.say("help", mention_bot=True)
    message, mention = told()
    assert message["text"] == f"<@{BOT}> help"
    assert set(message) == {
        "type",
        "client_msg_id",
        "user",
        "text",
        "team",
        "blocks",
        "ts",
        "channel",
        "event_ts",
        "channel_type",
    }
    assert (mention["type"], mention["ts"], mention["channel"]) == ("app_mention", sent["ts"], HELP)
    assert "channel_type" not in mention
    direct = await person.do("dms", user=ANA)
    await person.say("hi @bot", channel=direct["id"])
    assert (len(told()), told()[-1]["channel_type"]) == (3, "im")


async def test_a_reply_names_its_root_and_the_roots_author(
    person: Person, told: Callable[[], list[Json]]
) -> None:
    root = (await person.say("root"))["ts"]
    reply = (await person.say("reply", user=BEN, thread_ts=root))["ts"]
    await person.say("under", thread_ts=reply)
    await person.say("shown", thread_ts=root, broadcast=True)
    _, first, second, broadcast = told()
    assert (first["thread_ts"], first["parent_user_id"]) == (root, ANA)
    assert second["thread_ts"] == root
    assert (broadcast["subtype"], broadcast["root"]["ts"]) == ("thread_broadcast", root)
    assert broadcast["root"]["reply_count"] == 3


async def test_an_edit_an_unfurl_and_a_delete(
    person: Person, told: Callable[[], list[Json]]
) -> None:
    ts = (await person.say("old"))["ts"]
    await person.do("messages", "PATCH", channel=HELP, ts=ts, text="new")
    await person.do("unfurl", channel=HELP, ts=ts, url="https://x.io")
    await person.do("messages", "DELETE", channel=HELP, ts=ts)
    _, edit, unfurl, delete = told()
    assert (edit["message"]["text"], edit["previous_message"]["text"]) == ("new", "old")
    assert (edit["message"]["edited"]["user"], edit["message"]["ts"]) == (ANA, ts)
    assert "edited" not in edit["previous_message"]
    assert edit["ts"] != ts
    assert edit["hidden"] is True
    assert unfurl["message"]["edited"] == unfurl["previous_message"]["edited"]
    assert unfurl["message"]["attachments"][0]["from_url"] == "https://x.io"
    assert "attachments" not in unfurl["previous_message"]
    assert (delete["subtype"], delete["deleted_ts"]) == ("message_deleted", ts)
    assert delete["previous_message"]["text"] == "new"


async def test_a_deleted_root_with_replies_becomes_a_tombstone(
    person: Person, told: Callable[[], list[Json]]
) -> None:
    root = (await person.say("root"))["ts"]
    reply = (await person.say("reply", thread_ts=root))["ts"]
    await person.do("messages", "DELETE", channel=HELP, ts=root)
    change = told()[-1]
    assert change["subtype"] == "message_changed"
    assert (change["message"]["subtype"], change["message"]["user"]) == ("tombstone", "USLACKBOT")
    assert change["message"]["ts"] == root
    await person.do("messages", "DELETE", channel=HELP, ts=reply)
    *_, before, last, gone = told()
    assert before is change
    assert (last["deleted_ts"], gone["deleted_ts"]) == (reply, root)
    assert gone["previous_message"]["subtype"] == "tombstone"


async def test_people_of_other_organisations_are_marked(
    person: Person, told: Callable[[], list[Json]]
) -> None:
    await person.say("hello", channel=ACME, user=EVA)
    (event,) = told()
    assert event["team"] == event["user_team"] == event["source_team"] != HOME


async def test_the_bots_own_comings_and_goings(
    person: Person, told: Callable[[], list[Json]]
) -> None:
    await person.say("unheard", channel="general")
    assert told() == []
    await person.do("join", channel="general", user="bot", inviter=ANA)
    assert [name(e) for e in told()] == ["channel_join", "member_joined_channel"]
    assert (told()[-1]["user"], told()[-1]["inviter"]) == (BOT, ANA)
    await person.do("remove_bot", channel="general")
    assert [name(e) for e in told()[2:]] == ["member_left_channel", "channel_left"]
    await person.say("unheard", channel="general")
    assert len(told()) == 4


async def test_only_subscribed_events_are_sent(
    person: Person, told: Callable[[], list[Json]]
) -> None:
    await person.do("settings", "PATCH", subscriptions=["app_mention"])
    await person.say("one @bot")
    assert [name(e) for e in told()] == ["app_mention"]


async def test_commands_shortcuts_and_submitted_views(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    ts = (await person.say("x"))["ts"]
    command = await person.do("commands", channel=HELP, user=ANA, command="/help", text="me")
    assert sorted(command) == sorted(
        [
            "token",
            "team_id",
            "team_domain",
            "channel_id",
            "channel_name",
            "user_id",
            "user_name",
            "command",
            "text",
            "api_app_id",
            "is_enterprise_install",
            "response_url",
            "trigger_id",
        ]
    )
    action = await person.do("shortcuts", channel=HELP, ts=ts, user=ANA, callback_id="open")
    assert (action["type"], action["message"]["ts"]) == ("message_action", ts)
    modal: dict[str, Any] = {"type": "modal", "blocks": []}
    view = (await web.views_open(trigger_id=action["trigger_id"], view=modal))["view"]
    values = {"b": {"a": {"type": "plain_text_input", "value": "v"}}}
    sent = await person.do("view_submissions", view_id=view["id"], user=ANA, values=values)
    assert (sent["type"], sent["view"]["state"]["values"]) == ("view_submission", values)
    kinds = [(d["kind"], d["type"]) for d in await person.deliveries()]
    assert kinds == [
        ("events_api", "message"),
        ("slash_commands", "/help"),
        ("interactive", "message_action"),
        ("interactive", "view_submission"),
    ]
    async with person.session.post(command["response_url"], json={"text": "yes"}) as response:
        assert response.status == 200
    assert [m["text"] for m in await person.sees(query=f"?viewer={ANA}")] == ["x", "yes"]
