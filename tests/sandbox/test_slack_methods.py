"""The other methods, each through slack_sdk's client, and the errors that Slack names."""

from __future__ import annotations

from typing import Any

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.server import SlackSandbox
from tests.sandbox import slack_support
from tests.sandbox.slack_support import (
    ACME,
    ANA,
    BEN,
    BOT,
    EVA,
    GENERAL,
    HELP,
    HOME,
    Person,
    refused,
)

person, slack, web = slack_support.person, slack_support.slack, slack_support.web


async def test_ephemeral_messages_are_for_one_person(person: Person, web: AsyncWebClient) -> None:
    answer = await web.chat_postEphemeral(channel=HELP, user=ANA, text="psst")
    assert (await web.conversations_history(channel=HELP))["messages"] == []
    assert await person.deliveries() == []
    assert await person.sees() == []
    assert await person.sees(query=f"?viewer={BEN}") == []
    (shown,) = await person.sees(query=f"?viewer={ANA}")
    assert (shown["shown"], shown["ts"]) == ("psst", answer["message_ts"])
    outsider = web.chat_postEphemeral(channel=HELP, user=EVA, text="psst")
    await refused(outsider, "user_not_in_channel")


async def test_reactions(person: Person, web: AsyncWebClient) -> None:
    ts = (await person.say("x"))["ts"]
    await web.reactions_add(channel=HELP, timestamp=ts, name="eyes")
    await refused(web.reactions_add(channel=HELP, timestamp=ts, name="eyes"), "already_reacted")
    answer = await web.reactions_get(channel=HELP, timestamp=ts)
    assert answer["message"]["reactions"] == [{"name": "eyes", "users": [BOT], "count": 1}]
    await web.reactions_remove(channel=HELP, timestamp=ts, name="eyes")
    await refused(web.reactions_remove(channel=HELP, timestamp=ts, name="eyes"), "no_reaction")
    assert "reactions" not in (await web.reactions_get(channel=HELP, timestamp=ts))["message"]
    missing = web.reactions_add(channel=HELP, timestamp="1.000001", name="eyes")
    await refused(missing, "message_not_found")


async def test_channels(person: Person, web: AsyncWebClient) -> None:
    info = (await web.conversations_info(channel=HELP, include_num_members=True))["channel"]
    assert (info["name"], info["is_member"], info["is_private"]) == ("help", True, False)
    assert info["num_members"] == 3
    shared = (await web.conversations_info(channel=ACME))["channel"]
    assert (shared["is_ext_shared"], len(shared["shared_team_ids"])) == (True, 2)
    secret = await person.do("channels", name="secret", private=True, bot_member=False)
    await refused(web.conversations_info(channel=secret["id"]), "channel_not_found")
    names = [c["name"] for c in (await web.conversations_list())["channels"]]
    assert names == ["general", "help", "acme-help"]
    mine = (await web.users_conversations(types="public_channel,im"))["channels"]
    assert [c["name"] for c in mine] == ["help", "acme-help"]
    assert (await web.conversations_members(channel=HELP))["members"] == [ANA, BEN, BOT]
    await refused(web.conversations_history(channel=GENERAL), "not_in_channel")
    joined = await web.conversations_join(channel=GENERAL)
    assert joined["channel"]["is_member"] is True
    assert (await web.conversations_join(channel=GENERAL))["warning"] == "already_in_channel"
    await web.conversations_leave(channel=GENERAL)
    await refused(web.conversations_list(types="nonsense"), "invalid_types")


async def test_direct_conversations(person: Person, web: AsyncWebClient) -> None:
    opened = (await web.conversations_open(users=ANA, return_im=True))["channel"]
    assert (opened["id"][0], opened["is_im"], opened["user"]) == ("D", True, ANA)
    assert (await web.conversations_open(users=[ANA]))["channel"] == {"id": opened["id"]}
    assert (await person.do("dms", user="ana.lima"))["id"] == opened["id"]
    posted = await web.chat_postMessage(channel=ANA, text="hi")
    assert posted["channel"] == opened["id"]
    group = (await web.conversations_open(users=[ANA, BEN]))["channel"]["id"]
    info = (await web.conversations_info(channel=group))["channel"]
    assert (info["is_mpim"], info["name"]) == (True, "mpdm-ana.lima--ben.okoro--support-1")
    await refused(web.conversations_open(users="U404"), "user_not_found")


async def test_people(person: Person, web: AsyncWebClient) -> None:
    ana = (await web.users_info(user=ANA, include_locale=True))["user"]
    assert (ana["real_name"], ana["locale"], ana["tz"]) == (
        "Ana Lima",
        "pt-BR",
        "America/Sao_Paulo",
    )
    assert (ana["profile"]["display_name"], ana["profile"]["email"]) == ("Ana", "ana@example.com")
    assert ana["tz_offset"] == -10800
    assert "is_stranger" not in ana
    eva = (await web.users_info(user=EVA, include_locale=True))["user"]
    assert (eva["is_stranger"], "locale" in eva, "email" in eva["profile"]) == (True, False, False)
    assert eva["team_id"] != HOME
    bot = (await web.users_info(user=BOT))["user"]
    assert (bot["is_bot"], bot["profile"]["bot_id"]) == (True, "B0SB000001")
    await refused(web.users_info(user="U404"), "user_not_found")
    members = (await web.users_list())["members"]
    assert [m["id"] for m in members] == [BOT, ANA, BEN, EVA]
    assert (await web.users_lookupByEmail(email="ben@example.com"))["user"]["id"] == BEN
    await refused(web.users_lookupByEmail(email="eva@example.org"), "users_not_found")
    guest = await person.do("users", name="guest", is_restricted=True)
    assert (await web.users_info(user=guest["id"]))["user"]["is_restricted"] is True
    await person.do("settings", "PATCH", granted_scopes=["users:read"])
    assert "email" not in (await web.users_info(user=ANA))["user"]["profile"]


async def test_the_rest_of_the_directory(person: Person, web: AsyncWebClient) -> None:
    assert (await web.bots_info(bot="B0SB000001"))["bot"]["user_id"] == BOT
    await refused(web.bots_info(bot="B404"), "bot_not_found")
    assert (await web.team_info())["team"]["domain"] == "sandbox"
    assert list((await web.emoji_list())["emoji"]) == ["acme"]
    group = await person.do("usergroups", handle="oncall", users=[ANA, "ben.okoro"])
    (listed,) = (await web.usergroups_list(include_users=True))["usergroups"]
    assert (listed["handle"], listed["users"]) == ("oncall", [ANA, BEN])
    users = await web.usergroups_users_list(usergroup=group["id"])
    assert users["users"] == [ANA, BEN]


async def test_status_title_and_prompts(person: Person, web: AsyncWebClient) -> None:
    root = (await person.say("x"))["ts"]
    await web.assistant_threads_setStatus(channel_id=HELP, thread_ts=root, status="is typing…")
    view = await person.do(f"channels/{HELP}/messages", "GET")
    assert view["statuses"] == {root: "is typing…"}
    await web.chat_postMessage(channel=HELP, text="y", thread_ts=root)
    view = await person.do(f"channels/{HELP}/messages", "GET")
    assert view["statuses"] == {}
    wrong = web.assistant_threads_setStatus(channel_id=HELP, thread_ts="1.1", status="x")
    await refused(wrong, "invalid_thread_ts")
    await web.assistant_threads_setTitle(channel_id=HELP, thread_ts=root, title="T")
    await web.assistant_threads_setSuggestedPrompts(
        channel_id=HELP, thread_ts=root, prompts=[{"title": "a", "message": "b"}]
    )
    view = await person.do(f"channels/{HELP}/messages", "GET")
    assert view["titles"] == {root: "T"}
    assert view["prompts"][root]["prompts"] == [{"title": "a", "message": "b"}]
    await web.assistant_threads_setStatus(channel_id=HELP, thread_ts=root, status="is typing…")
    await web.assistant_threads_setStatus(channel_id=HELP, thread_ts=root, status="")
    view = await person.do(f"channels/{HELP}/messages", "GET")
    assert view["statuses"] == {}


async def test_views_and_their_triggers(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    button = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
    posted = await web.chat_postMessage(
        channel=HELP, text="?", blocks=[{"type": "actions", "elements": [button]}]
    )

    async def trigger() -> str:
        click = await person.do(
            "clicks", channel=HELP, ts=posted["ts"], user=ANA, action_id="go", deliver=False
        )
        return str(click["trigger_id"])

    modal = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": []}
    once = await trigger()
    view = (await web.views_open(trigger_id=once, view=modal))["view"]
    await refused(web.views_open(trigger_id=once, view=modal), "exchanged_trigger_id")
    await refused(web.views_open(trigger_id="1.2.x", view=modal), "invalid_trigger_id")
    updated = await web.views_update(view_id=view["id"], view=modal, hash=view["hash"])
    assert updated["view"]["id"] == view["id"]
    stale = web.views_update(view_id=view["id"], view=modal, hash=view["hash"])
    await refused(stale, "hash_conflict")
    home = (await web.views_publish(user_id=ANA, view={"type": "home", "blocks": []}))["view"]
    shown = await person.do("views", "GET")
    assert ([v["id"] for v in shown["views"]], shown["homes"][ANA]["id"]) == (
        [view["id"]],
        home["id"],
    )
    await person.do("settings", "PATCH", trigger_seconds=0)
    late = web.views_open(trigger_id=await trigger(), view=modal)
    await refused(late, "expired_trigger_id")


async def test_missing_scopes_are_named(person: Person, web: AsyncWebClient) -> None:
    await person.do("settings", "PATCH", granted_scopes=["im:history"])
    data = await refused(web.conversations_history(channel=HELP), "missing_scope")
    assert (data["needed"], data["provided"]) == ("channels:history", "im:history")
    await refused(web.chat_postMessage(channel=HELP, text="x"), "missing_scope")


async def test_response_addresses_wear_out(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    button = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
    posted = await web.chat_postMessage(
        channel=HELP, text="?", blocks=[{"type": "actions", "elements": [button]}]
    )
    click = await person.do(
        "clicks", channel=HELP, ts=posted["ts"], user=ANA, action_id="go", deliver=False
    )
    url = click["response_url"]

    async def respond(**body: Any) -> int:
        async with person.session.post(url, json=body) as response:
            return response.status

    assert await respond(text="to you") == 200
    assert await respond(text="to all", response_type="in_channel") == 200
    assert await respond(delete_original=True) == 200
    assert [m["text"] for m in await person.sees()] == ["to all"]
    assert [m["text"] for m in await person.sees(query=f"?viewer={ANA}")] == ["to you", "to all"]
    assert [await respond(text="x") for _ in range(3)] == [200, 200, 404]
    async with aiohttp.ClientSession() as session, session.post(f"{slack.url}/actions/a/b") as r:
        assert r.status == 404
