"""A conversation, from the first message to the end."""

from __future__ import annotations

from pathlib import Path

from tests.flows.support import WELCOME, bridge


async def test_a_support_channel_from_root_to_end(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.write("Only the red light is on.")
        await thread.reaches_agent("Hello", "Only the red light is on.")
        await thread.say("I see.")
        await thread.reaches_customer(WELCOME, "Good morning", "I see.")
        await world.connect.do(thread.contact, "end")
        await thread.told_of("This chat has ended.")
        assert [post["author"] for post in await thread.posts()] == [
            "Support", "Support", "Support", "Mina", "Mina", "Support",
        ]  # fmt: skip
        assert len(await world.connect.contacts()) == 1
