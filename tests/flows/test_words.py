"""What words become on their way: long ones, formatted ones, hostile ones, growing ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.flows.support import WELCOME, bridge, eventually

INTERACTIVE = "application/vnd.amazonaws.connect.message.interactive"
LONG = " ".join(f"Step {number}: I restarted the router and waited." for number in range(200))


async def test_a_long_text_goes_in_parts_and_the_agent_sees_that_more_comes(
    tmp_path: Path,
) -> None:
    async with bridge(tmp_path, BRIDGE_SPLIT_LIMIT="500") as world:
        thread = world.thread()
        await thread.talk()
        await thread.write(LONG)
        await thread.complete()
        parts = await thread.received()
        assert len(parts) > 10
        assert max(map(len, parts)) <= 500
        chat = await world.connect.contact(thread.contact)
        typed = [one for one in chat["passing"] if one["ContentType"].endswith(".typing")]
        assert typed[0]["ParticipantRole"] == "CUSTOMER"


async def test_a_part_that_connect_finds_too_long_is_cut_again(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        await world.connect.patch("settings", max_message_chars=600)
        thread = world.thread()
        await thread.talk()
        await thread.write(LONG)
        await thread.complete()


async def test_a_long_answer_is_posted_in_parts(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.say(LONG)
        await thread.say("Did you get this?")
        heard = await eventually(thread.heard, lambda found: found[-1] == "Did you get this?")
        assert len(heard) == 6
        assert " ".join(heard[2:-1]) == LONG


async def test_what_a_customer_types_is_what_the_agent_reads(tmp_path: Path) -> None:
    typed = "<!channel> & <b>bold</b> <@U9> \\ `x < y` https://example.com/?a=1&b=2"
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.write(typed)
        await thread.write("Ask @ben.okoro in #help")
        await thread.reaches_agent("Hello", typed, "Ask @Ben Okoro in #help")


async def test_markdown_of_an_agent_is_formatted(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.say("**Now** press `reset`:\n\n- once\n- twice", content_type="text/markdown")
        await eventually(thread.heard, lambda found: len(found) == 3)
        [block] = (await thread.posts())[-1]["blocks"]
        assert block["elements"] == [
            section(text("Now", bold=True), text(" press "), text("reset", code=True), text(":")),
            {
                "type": "rich_text_list",
                "style": "bullet",
                "indent": 0,
                "elements": [section(text("once")), section(text("twice"))],
            },
        ]


async def test_an_agent_can_neither_ping_nor_disguise_a_link(tmp_path: Path) -> None:
    hostile = (
        "<!channel> <!here> <@U0SB000002> <!subteam^S1> @channel @here "
        "[your bank](https://evil.example/) <https://evil.example/|your bank>"
    )
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.say(hostile)
        await thread.say(hostile, content_type="text/markdown")
        await thread.say(hostile, **{"as": "bot", "name": "<!channel>"})
        await eventually(thread.heard, lambda found: len(found) == 5)
        for post in (await thread.posts())[-3:]:
            assert post["pings"] == []
            assert all(link["label"] == link["url"] for link in post["links"])
            assert any("evil.example" in link["url"] for link in post["links"])
            assert "<" not in post["author"]


async def test_an_answer_that_grows_is_posted_when_it_is_complete(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_RESPONSE_MODE="INCREMENTAL") as world:
        thread = world.thread()
        await thread.talk()
        await thread.say("", chunks=["You can ", "restart ", "it."], **{"as": "bot"})
        await thread.say("As the bot says.")
        await thread.reaches_customer(
            WELCOME, "Good morning", "You can restart it.", "As the bot says."
        )


async def test_an_interactive_message_becomes_text(tmp_path: Path) -> None:
    picker = {
        "templateType": "ListPicker",
        "version": "1.0",
        "data": {
            "content": {
                "title": "What is it about?",
                "elements": [{"title": "Router"}, {"title": "Phone", "subtitle": "or tablet"}],
            }
        },
    }
    async with bridge(tmp_path, BRIDGE_CONTENT_TYPES=f"text/plain,{INTERACTIVE}") as world:
        thread = world.thread()
        await thread.talk()
        await thread.say(json.dumps(picker), content_type=INTERACTIVE, **{"as": "flow"})
        heard = await eventually(thread.heard, lambda found: len(found) == 3)
        assert heard[-1] == "What is it about?\n1. Router\n2. Phone - or tablet"


async def test_the_agent_sees_that_a_message_arrived(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()

        async def receipts() -> list[str]:
            chat = await world.connect.contact(thread.contact)
            return [
                str(item["Content"])
                for item in chat["transcript"]
                if "Receipts" in item.get("MessageMetadata", {})
            ]

        await eventually(receipts, lambda found: "Good morning" in found or WELCOME in found)


async def test_receipts_that_are_refused_are_given_up(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        fault = await world.connect.fault(
            "reject", "SendEvent", times=None, code="ConflictException", status=409
        )
        await thread.write("Hello")
        await thread.accepted()
        await world.connect.struck(fault)
        await thread.say("Good morning")
        await thread.complete()
        events = [one for one in await world.connect.requests() if one["operation"] == "SendEvent"]
        assert len(events) == 1


def text(words: str, **style: bool) -> dict[str, Any]:
    element: dict[str, Any] = {"type": "text", "text": words}
    return element | {"style": style} if style else element


def section(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": list(elements)}
