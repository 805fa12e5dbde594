from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from bridge.core.errors import Gone
from bridge.core.events import Incoming, Wrote
from bridge.core.model import ConversationId, Place
from bridge.sandbox.slack.server import SlackSandbox
from bridge.slack.history import SlackHistory
from bridge.slack.model import Json
from tests.slack.support import ANA, GENERAL, HELP, Kit, wired

START = "0"


async def words(found: AsyncIterator[Incoming]) -> list[str]:
    taken = [incoming async for incoming in found]
    return [one.event.message.text for one in taken if isinstance(one.event, Wrote)]


def history(kit: Kit) -> SlackHistory:
    return SlackHistory(kit.api, kit.view, kit.places)


async def test_roots_and_replies_of_support_channels_in_the_order_of_each_thread(kit: Kit) -> None:
    first = await kit.people.say("first root")
    await kit.people.say("a reply", thread_ts=first["ts"])
    await kit.people.say("second root")
    await kit.people.say("elsewhere", GENERAL)
    assert await words(history(kit).channels(START)) == ["first root", "a reply", "second root"]


async def test_a_thread_that_is_deleted_meanwhile_costs_no_other(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a page a minute, which is what Slack allows to some apps, there is time for that."""
    first = await kit.people.say("first root")
    await kit.people.say("gone", thread_ts=first["ts"])
    second = await kit.people.say("second root")
    await kit.people.say("a reply", thread_ts=second["ts"])
    pages = kit.api.pages

    async def deleted(method: str, key: str, **arguments: Any) -> Sequence[Json]:
        if arguments.get("ts") == first["ts"]:
            raise Gone(method, "thread_not_found")
        return await pages(method, key, **arguments)

    monkeypatch.setattr(kit.api, "pages", deleted)
    assert await words(history(kit).channels(START)) == ["first root", "second root", "a reply"]


async def test_only_what_came_after(kit: Kit) -> None:
    old = await kit.people.say("old")
    await kit.people.say("new")
    assert await words(history(kit).channels(old["ts"])) == ["new"]


async def test_what_was_answered_to_a_root_that_came_before(kit: Kit) -> None:
    old = await kit.people.say("old root")
    quiet = await kit.people.say("quiet root")
    await kit.people.say("known", thread_ts=quiet["ts"])
    last = await kit.people.say("known too", thread_ts=old["ts"])
    await kit.people.say("missed", thread_ts=old["ts"])
    assert await words(history(kit).channels(last["ts"])) == ["missed"]


async def test_one_thread_after_a_time(kit: Kit) -> None:
    root = await kit.people.say("root")
    known = await kit.people.say("known", thread_ts=root["ts"])
    await kit.people.say("missed", thread_ts=root["ts"])
    await kit.people.say("another thread")
    assert await words(history(kit).thread(kit.thread(root["ts"]), known["ts"])) == ["missed"]


async def test_a_flat_conversation(kit: Kit) -> None:
    dm = await kit.people.do("dms", user=ANA)
    await kit.people.say("hello", dm["id"])
    await kit.people.say("are you there", dm["id"])
    flat = ConversationId(Place(kit.identity.workspace, dm["id"]), "")
    assert await words(history(kit).thread(flat, START)) == ["hello", "are you there"]


async def test_a_repeat_has_the_keys_of_the_event_itself(kit: Kit) -> None:
    root = await kit.people.say("root")
    (read,) = [one async for one in history(kit).channels(START)]
    await kit.intake.take(
        {
            "type": "event_callback",
            "event": {"channel": HELP, "channel_type": "channel", **root},
        }
    )
    assert kit.inbox.taken == [read]


async def test_a_thread_that_is_gone_has_no_history(kit: Kit) -> None:
    nowhere = ConversationId(Place(kit.identity.workspace, HELP), "1700000000.000001")
    assert await words(history(kit).thread(nowhere, START)) == []


@pytest.mark.parametrize("scoped", [True, False])
async def test_every_channel_that_the_bot_is_in(box: SlackSandbox, scoped: bool) -> None:
    async with wired(box, support_channels=("*",)) as kit:
        await kit.people.say("in help")
        await kit.people.say("in a shared channel", "acme-help")
        if not scoped:
            granted = sorted((kit.identity.scopes or frozenset()) - {"groups:read"})
            await kit.people.do("settings", "PATCH", granted_scopes=granted)
        found = await words(history(kit).channels(START))
        assert sorted(found) == ["in a shared channel", "in help"]
