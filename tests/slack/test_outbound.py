from __future__ import annotations

from typing import Any

import pytest

from bridge.core.errors import Denied, Gone, Rejected, Uncertain
from bridge.core.events import Wrote
from bridge.core.model import AgentMessage, Notice, NoticeKind
from bridge.core.outbox import batch
from bridge.core.ports import CustomerSide, PartId
from bridge.sandbox.slack.server import SlackSandbox
from bridge.slack.outbound import PART_LIMIT, shown_name
from tests.slack.support import ANA, GENERAL, HELP, Kit, wired

APP = "Support"
"""What the stand-in's app is called."""


def unguarded() -> None:
    """A guard that lets everything pass."""


async def opened(kit: Kit, channel: str = HELP) -> str:
    return str((await kit.people.say("@support I need help", channel))["ts"])


async def posted(kit: Kit, message: AgentMessage | Notice, part: int = 1) -> dict[str, Any]:
    """Post into a new thread and return what a person then sees of it."""
    ts = await kit.side.post(kit.thread(await opened(kit)), [message], part, unguarded)
    return next(m for m in await kit.people.sees() if m["ts"] == ts)


def said(text: str, name: str = "Maria", *, markdown: bool = False) -> AgentMessage:
    return AgentMessage("item-1", name, text, markdown)


def as_port(kit: Kit) -> CustomerSide:
    """The type checker's proof that the port is implemented."""
    return kit.side


async def test_an_agents_message_stands_in_the_thread_under_their_name(kit: Kit) -> None:
    root = await opened(kit)
    ts = await as_port(kit).post(kit.thread(root), [said("Hello & welcome")], 1, unguarded)
    seen = (await kit.people.sees())[-1]
    assert (seen["ts"], seen["thread_ts"], seen["author"]) == (ts, root, "Maria")
    assert seen["shown"] == "Hello & welcome"
    (part,) = seen["blocks"][0]["elements"]
    assert part["elements"] == [{"type": "text", "text": "Hello & welcome"}]
    assert seen["metadata"] == {
        "event_type": "bridge_post",
        "event_payload": {"entries": [{"id": "item-1", "part": 1, "of": 1}]},
    }


async def test_the_request_is_locked_down(kit: Kit) -> None:
    await posted(kit, said("see https://x.y"))
    (call,) = await kit.people.calls("chat.postMessage")
    params = call["params"]
    assert [params[key] for key in ("parse", "mrkdwn", "link_names")] == ["none", False, False]
    assert [params[key] for key in ("unfurl_links", "unfurl_media")] == [False, False]


HOSTILE = [
    "<!channel> read this",
    "<!here|here> <!everyone>",
    "<@U0SB000002> and <@U0SB000002|ana>",
    "<!subteam^S0001>",
    "&lt;!here&gt; &amp;lt;!channel&amp;gt;",
    "@channel @here @everyone @ana",
    "`<!channel>` ```<!here>```",
    "```\n<!channel>\n```",
    "*bold* _it_ ~no~ `code`",
    "> <!channel>",
    "- <!channel>\n- <@U0SB000002>",
    "# <!channel>",
    "[<!channel>](https://x.y)",
    "**<!here>**",
    "\\<!channel\\>",
    "<https://evil.example|https://bank.example>",
    "[https://bank.example](https://evil.example)",
    "[your **bank**](https://evil.example/a?b=1&c=2)",
    "[ https://bank.example ][1]\n[1]: https://evil.example",
    "<mailto:a@b.c|https://bank.example>",
    "[x](javascript:alert(1))",
    "\ue000@U0SB000002\ue001",
    "\u202e<!channel>\u202c",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("markdown", [False, True])
async def test_nothing_that_an_agent_types_pings_or_hides_a_link(
    kit: Kit, text: str, *, markdown: bool
) -> None:
    seen = await posted(kit, said(text, markdown=markdown))
    assert seen["pings"] == []
    assert all(found["url"] == found["label"] for found in seen["links"])
    (call,) = await kit.people.calls("chat.postMessage")
    assert "<" not in call["params"]["text"]
    assert ">" not in call["params"]["text"]
    if not markdown:
        assert seen["shown"] == text


@pytest.mark.parametrize("customizes", [False, True])
@pytest.mark.parametrize(
    "name", ["<!channel>", "<@U0SB000002>", "*Maria*", "_x_ `y`", "a\nb\x00\u202e", "N" * 200, " "]
)
async def test_nothing_in_a_name_does_either(
    box: SlackSandbox, name: str, customizes: bool
) -> None:
    if not customizes:
        box.settings.granted_scopes = tuple(
            scope for scope in box.settings.granted_scopes if scope != "chat:write.customize"
        )
    async with wired(box) as kit:
        seen = await posted(kit, said("hello", name))
        assert (seen["pings"], seen["links"]) == ([], [])
        shown = shown_name(name)
        assert len(shown) <= 80
        assert not set(shown) & set("<>\n\x00\u202e")
        if customizes:
            assert (seen["author"], seen["shown"]) == (shown or APP, "hello")
        else:
            assert seen["author"] == APP
            assert seen["shown"] == (f"{shown}: hello" if shown else "hello")


async def test_without_the_scope_the_name_is_in_bold_before_the_text(box: SlackSandbox) -> None:
    """The header listed the scope, but it was taken away since: found out once, then remembered."""
    async with wired(box) as kit:
        box.settings.granted_scopes = tuple(
            scope for scope in box.settings.granted_scopes if scope != "chat:write.customize"
        )
        seen = await posted(kit, said("one"))
        await posted(kit, said("two"))
        first = seen["blocks"][0]["elements"][0]["elements"]
        assert first == [{"type": "text", "text": "Maria\n", "style": {"bold": True}}]
        calls = await kit.people.calls("chat.postMessage")
        assert [call["error"] for call in calls] == ["missing_scope", None, None]


async def test_a_message_without_a_name_is_the_apps_own(kit: Kit) -> None:
    assert (await posted(kit, said("Welcome", "")))["author"] == APP


async def test_markdown_is_rendered(kit: Kit) -> None:
    seen = await posted(kit, said("**Bold** and\n- [a](https://x.y)", markdown=True))
    kinds = [part["type"] for part in seen["blocks"][0]["elements"]]
    assert kinds == ["rich_text_section", "rich_text_list"]
    assert seen["links"] == [{"url": "https://x.y", "label": "https://x.y"}]


async def test_long_messages_take_several_posts_in_order(kit: Kit) -> None:
    text = "".join(f"Sentence number {index} is here. " for index in range(400)).strip()
    message = said(text)
    thread = kit.thread(await opened(kit))
    count = kit.side.parts(message)
    assert count > 2
    for part in range(1, count + 1):
        await kit.side.post(thread, [message], part, unguarded)
    seen = (await kit.people.sees())[1:]
    assert " ".join(post["shown"] for post in seen) == text
    assert all(len(post["shown"]) <= PART_LIMIT for post in seen)
    entries = [post["metadata"]["event_payload"]["entries"][0] for post in seen]
    assert entries == [{"id": "item-1", "part": p, "of": count} for p in range(1, count + 1)]


async def test_a_code_block_stays_one_across_parts(kit: Kit) -> None:
    message = said("```\n" + "line of code\n" * 400 + "```", markdown=True)
    thread = kit.thread(await opened(kit))
    for part in range(1, kit.side.parts(message) + 1):
        await kit.side.post(thread, [message], part, unguarded)
    kinds = [p["type"] for m in (await kit.people.sees())[1:] for p in m["blocks"][0]["elements"]]
    assert kinds == ["rich_text_preformatted"] * kit.side.parts(message)


@pytest.mark.parametrize("customizes", [True, False])
async def test_joined_messages_are_blocks_of_their_own(box: SlackSandbox, customizes: bool) -> None:
    if not customizes:
        box.settings.granted_scopes = ("chat:write", "channels:read", "channels:history")
    texts = ["  ```\nopen fence", "**bold** <!channel>", "- item", "1. one\n2. two", "last"]
    load = [AgentMessage(f"item-{n}", "Maria", text, True) for n, text in enumerate(texts)]
    async with wired(box) as kit:
        thread = kit.thread(await opened(kit))
        ts = await kit.side.post(thread, load, 1, unguarded)
        seen = next(m for m in await kit.people.sees() if m["ts"] == ts)
        found = await kit.side.look(thread, "")
    assert seen["pings"] == []
    kinds = [[part["type"] for part in block["elements"]] for block in seen["blocks"]]
    if customizes:
        assert seen["author"] == "Maria"
    else:
        name = kinds[0].pop(0), seen["blocks"][0]["elements"][0]["elements"][0]["text"]
        assert name == ("rich_text_section", "Maria\n")
    assert kinds == [
        ["rich_text_preformatted"],
        ["rich_text_section"],
        ["rich_text_list"],
        ["rich_text_list"],
        ["rich_text_section"],
    ]
    assert seen["shown"].endswith("\n\nlast")
    entries = [{"id": one.id, "part": 1, "of": 1} for one in load]
    assert seen["metadata"]["event_payload"]["entries"] == entries
    assert found == {PartId(one.id, 1): ts for one in load}


async def test_as_many_as_may_be_joined_fit_into_one_post(kit: Kit) -> None:
    owed = [AgentMessage(f"item-{n}", "M" * 80, "&" * 600) for n in range(20)]
    load = batch(owed, kit.side.room)
    assert [kit.side.parts(one) for one in load] == [1] * len(load)
    ts = await kit.side.post(kit.thread(await opened(kit)), load, 1, unguarded)
    seen = next(m for m in await kit.people.sees() if m["ts"] == ts)
    assert seen["shown"] == "\n\n".join(["&" * 600] * 6)
    assert len(seen["blocks"]) == 6


async def test_a_message_without_text_is_refused(kit: Kit) -> None:
    assert kit.side.parts(said(" \n ")) == 1
    with pytest.raises(Rejected):
        await kit.side.post(kit.thread("1.1"), [said(" \n ")], 1, unguarded)


async def test_a_flat_conversation_is_answered_at_the_top(kit: Kit) -> None:
    dm = str((await kit.people.do("dms", user=ANA))["id"])
    await kit.people.say("hello", dm)
    ts = await kit.side.post(kit.thread("", dm), [said("hi")], 1, unguarded)
    seen = (await kit.people.sees(dm))[-1]
    assert (seen["ts"], seen["parent_ts"]) == (ts, None)
    assert await kit.side.look(kit.thread("", dm), "") == {PartId("item-1", 1): ts}


@pytest.mark.parametrize("fault", ["", "error", "no_answer"])
async def test_nothing_stays_in_the_channel_when_the_thread_was_deleted(
    kit: Kit, fault: str
) -> None:
    root = await opened(kit)
    await kit.people.do("messages", "DELETE", channel=HELP, ts=root)
    if fault:
        await kit.people.fault(fault, "chat.delete")
    with pytest.raises(Gone, match="thread_not_found"):
        await kit.side.post(kit.thread(root), [said("only for the thread")], 1, unguarded)
    assert [m["shown"] for m in await kit.people.sees() if m["is_bot"]] == []


async def test_a_place_that_is_gone(kit: Kit) -> None:
    thread = kit.thread(await opened(kit))
    await kit.people.do("remove_bot", channel=HELP)
    with pytest.raises(Gone):
        await kit.side.post(thread, [said("hello?")], 1, unguarded)


# --- notices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(NoticeKind))
async def test_notices_ping_nobody_but_whom_they_concern(kit: Kit, kind: NoticeKind) -> None:
    hostile = "<!channel> *x*"
    notice = Notice(f"n-{kind}", kind, name=hostile, user_id=ANA, reason="rejected")
    seen = await posted(kit, notice)
    assert seen["pings"] in ([], [ANA])
    assert seen["author"] == APP
    assert seen["metadata"]["event_payload"]["entries"] == [{"id": f"n-{kind}", "part": 1, "of": 1}]
    buttons = [(button["action_id"], button["value"]) for button in seen["buttons"]]
    value = str(kit.thread(seen["parent_ts"]))
    expected = {
        NoticeKind.CONNECTING: [("bridge_end", value)],
        NoticeKind.ASK_REOPEN: [("bridge_reopen", value)],
    }
    assert buttons == expected.get(kind, [])


async def test_who_has_to_act_is_pinged_and_told_why(kit: Kit) -> None:
    seen = await posted(kit, Notice("n", NoticeKind.UNDELIVERED, user_id=ANA, reason="rejected"))
    assert seen["pings"] == [ANA]
    assert "not accepted" in seen["shown"]
    odd = await posted(kit, Notice("n", NoticeKind.UNDELIVERED, user_id="<!here>", reason="x_y"))
    assert odd["pings"] == []
    assert "x_y" not in odd["shown"]


@pytest.mark.parametrize(
    ("reason", "said_so"), [("busy", "very busy"), ("trouble", "longer"), ("", "longer")]
)
async def test_a_delay_is_explained(kit: Kit, reason: str, said_so: str) -> None:
    seen = await posted(kit, Notice("n", NoticeKind.BUSY, user_id=ANA, reason=reason))
    assert said_so in seen["shown"]
    assert seen["pings"] == []


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_button_is_retired_and_its_text_kept(box: SlackSandbox, remembered: bool) -> None:
    async with wired(box) as kit:
        thread = kit.thread(await opened(kit))
        notice = Notice("n", NoticeKind.CONNECTING)
        ts = await kit.side.post(thread, [notice], 1, unguarded)
        before = (await kit.people.sees())[-1]
        async with wired(box) as other:
            await (kit if remembered else other).side.retire_button(thread, ts)
        after = (await kit.people.sees())[-1]
        assert len(before["buttons"]) == 1
        assert after["buttons"] == []
        assert after["shown"] == before["shown"]
        assert after["metadata"] == before["metadata"]
        reads = await kit.people.calls("conversations.replies")
        assert len(reads) == (0 if remembered else 1)


async def test_retiring_a_post_that_is_not_there_does_nothing(kit: Kit) -> None:
    thread = kit.thread(await opened(kit))
    await kit.side.retire_button(thread, "1700000000.000001")
    assert await kit.people.calls("chat.update") == []


# --- flags, looks, roots -------------------------------------------------------------------------


async def test_a_flag_is_put_once(kit: Kit) -> None:
    root = await opened(kit)
    for _ in range(2):
        await kit.side.flag(kit.thread(root), root)
    (seen,) = await kit.people.sees()
    assert [(r["name"], r["count"]) for r in seen["reactions"]] == [("warning", 1)]


async def test_a_flag_is_taken_off_where_it_is(kit: Kit) -> None:
    root = await opened(kit)
    await kit.side.flag(kit.thread(root), root)
    for _ in range(2):
        await kit.side.unflag(kit.thread(root), root)
    (seen,) = await kit.people.sees()
    assert seen["reactions"] == []


async def test_a_flag_without_its_scope_is_let_be(box: SlackSandbox) -> None:
    box.settings.granted_scopes = ("chat:write", "channels:read")
    async with wired(box) as kit:
        root = await opened(kit)
        await kit.side.flag(kit.thread(root), root)
        await kit.people.do("faults", kind="reject", target="reactions.add", error="invalid_auth")
        with pytest.raises(Denied):
            await kit.side.flag(kit.thread(root), root)


@pytest.mark.parametrize("fault", ["no_answer", "internal_error_done", "truncate"])
async def test_a_look_finds_a_post_whose_answer_was_lost(kit: Kit, fault: str) -> None:
    thread = kit.thread(await opened(kit))
    first = await kit.side.post(thread, [said("one")], 1, unguarded)
    await kit.people.fault(fault, "chat.postMessage")
    lost = AgentMessage("item-2", "Maria", "two")
    with pytest.raises(Uncertain):
        await kit.side.post(thread, [lost], 1, unguarded)
    found = await kit.side.look(thread, first)
    assert found == {PartId("item-2", 1): (await kit.people.sees())[-1]["ts"]}
    assert set(await kit.side.look(thread, "")) == {PartId("item-1", 1), PartId("item-2", 1)}


async def test_a_look_does_not_find_what_was_dropped(kit: Kit) -> None:
    thread = kit.thread(await opened(kit))
    await kit.people.fault("drop", "chat.postMessage")
    with pytest.raises(Uncertain):
        await kit.side.post(thread, [said("one")], 1, unguarded)
    assert await kit.side.look(thread, "") == {}


async def test_a_look_reads_all_pages_and_only_our_posts(box: SlackSandbox) -> None:
    box.settings.history_limit = {"messages": 3, "per_minute": 1000}
    async with wired(box) as kit:
        thread = kit.thread(await opened(kit))
        expected = {}
        for index in range(5):
            await kit.people.say("and?", thread_ts=thread.thread_ts)
            message = AgentMessage(f"item-{index}", "Maria", "hm")
            ts = await kit.side.post(thread, [message], 1, unguarded)
            expected[PartId(message.id, 1)] = ts
        assert await kit.side.look(thread, "") == expected
        assert len(await kit.people.calls("conversations.replies")) > 3


async def test_the_root_is_read_as_the_intake_would_have_taken_it(kit: Kit) -> None:
    root = str((await kit.people.say("my *problem*"))["ts"])
    found = await kit.side.root(kit.thread(root))
    assert found is not None
    assert isinstance(found.event, Wrote)
    assert (found.conversation, found.opens) == (kit.thread(root), True)
    assert (found.event.message.text, found.event.message.user_id) == ("my **problem**", ANA)
    assert found.keys[0] == f"{HELP}:{root}:new"


async def test_roots_that_are_none(kit: Kit) -> None:
    ours = await kit.side.post(kit.thread(""), [said("announcement")], 1, unguarded)
    deleted = str((await kit.people.say("oops"))["ts"])
    await kit.people.say("reply", thread_ts=deleted)
    await kit.people.do("messages", "DELETE", channel=HELP, ts=deleted)
    for ts in (ours, deleted, "1700000000.000001", ""):
        assert await kit.side.root(kit.thread(ts)) is None


async def test_a_root_outside_of_support_channels_is_not_for_us(kit: Kit) -> None:
    await kit.people.do("join", channel=GENERAL, user="bot")
    root = str((await kit.people.say("just talking", GENERAL))["ts"])
    assert await kit.side.root(kit.thread(root, GENERAL)) is None
    called = str((await kit.people.say("@support please", GENERAL))["ts"])
    assert await kit.side.root(kit.thread(called, GENERAL)) is not None
