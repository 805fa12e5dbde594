"""Where conversations begin, and what of a thread is carried into them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.flows.support import ACME_HELP, HELP, WELCOME, Thread, World, bridge, eventually


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
        [contact] = await world.connect.contacts()
        assert contact["display_name"] == "Ana Lima"
        assert contact["attributes"]["slack_channel_name"] == "help"
        assert contact["attributes"]["customer_email"] == "ana@example.com"


# --- beginnings ----------------------------------------------------------------------------------


async def test_two_threads_of_a_channel_are_two_chats(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        one, other = world.thread(), world.thread()
        await one.write("My router")
        await other.write("My phone", user="ben")
        await one.accepted("Mina")
        await other.accepted("Omar")
        await one.say("About the router")
        await other.say("About the phone")
        await one.reaches_customer(WELCOME, "About the router")
        await other.reaches_customer(WELCOME, "About the phone")
        await one.reaches_agent("My router")
        await other.reaches_agent("My phone")


async def test_elsewhere_a_mention_begins_a_conversation(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = await world.room("lounge")
        await world.slack.write("Nice weather", channel=thread.channel)
        await thread.write("Hello", mention_bot=True)
        await thread.accepted()
        # From here on everything in the thread is for the agent, mention or not.
        await thread.write("It blinks")
        await thread.reaches_agent("Hello", "It blinks")
        # The event of a mention has a twin, which must not count twice.
        assert "app_mention" in [one["type"] for one in await deliveries(world)]
        assert len(await world.connect.contacts()) == 1


async def test_a_mention_inside_a_thread_begins_it_there(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = await world.room("lounge", "ana", "ben")
        thread.ts = await world.slack.write("Whose router is this?", channel=thread.channel)
        await world.slack.write("Not mine", channel=thread.channel, user="ben", thread_ts=thread.ts)
        await thread.write("Please help", mention_bot=True)
        await thread.accepted()
        await thread.reaches_agent("Please help")
        await thread.say("Gladly")
        await thread.reaches_customer(WELCOME, "Gladly")


async def test_a_thread_without_a_conversation_is_none_of_ours(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        quiet = await world.room("lounge")
        quiet.ts = await world.slack.write("Lunch?", channel=quiet.channel)
        await quiet.write("Yes")
        thread = world.thread(quiet.channel)
        await thread.write("Hello", mention_bot=True)
        await thread.opened()
        await thread.reaches_agent("Hello")
        assert len(await world.connect.contacts()) == 1
        assert await quiet.posts() == []


async def test_a_direct_message_is_one_flat_conversation(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        direct = await world.dm()
        await direct.talk()
        await direct.write("It blinks")
        # Somebody answers one of our posts in a thread: it is the same conversation.
        post = (await direct.posts())[-1]["ts"]
        await world.slack.write("In a thread", channel=direct.channel, thread_ts=post)
        await direct.reaches_agent("Hello", "It blinks", "In a thread")
        await direct.say("I see")
        await direct.reaches_customer(WELCOME, "Good morning", "I see")
        assert {post["parent_ts"] for post in await direct.posts()} == {None}


async def test_a_direct_message_can_be_set_to_threads(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_DM_THREADS="true") as world:
        channel = (await world.dm()).channel
        one, other = (InThreads(world, channel) for _ in range(2))
        await one.write("My router")
        await other.write("My phone")
        await one.accepted()
        await other.accepted("Omar")
        await one.say("About the router")
        await other.say("About the phone")
        await one.reaches_customer(WELCOME, "About the router")
        await other.reaches_customer(WELCOME, "About the phone")


class InThreads(Thread):
    """A thread of a DM."""

    def __init__(self, world: World, channel: str) -> None:
        super().__init__(world.slack, world.connect, channel)
        self.flat = False


async def test_a_reply_waits_for_its_root(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        await world.slack.fault("delay_events", "message", seconds=0.3)
        thread = world.thread()
        await thread.write("Hello")
        await thread.write("Are you there?")
        await thread.opened()
        await thread.reaches_agent("Hello", "Are you there?")


async def test_a_root_that_never_comes_is_fetched(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.write("Hello", deliver=False)
        await thread.write("Are you there?")
        await thread.opened()
        await thread.reaches_agent("Hello", "Are you there?")


async def test_events_twice_late_and_out_of_order(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.slack.fault("duplicate_events", "message", times=2)
        await world.slack.fault("duplicate_events", "message", skip=2, new_id=True)
        for number in range(4):
            await thread.write(f"Message {number}")
        await thread.complete()
        # What comes after a later one went out is delivered all the same.
        await world.slack.fault("reorder_events", "message", seconds=5)
        await thread.write("First")
        await thread.write("Second")
        await eventually(thread.received, lambda found: set(found[-2:]) == {"First", "Second"})


# --- who may -------------------------------------------------------------------------------------


async def test_only_outsiders(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_CUSTOMERS="external") as world:
        insider, outsider = world.thread(ACME_HELP), world.thread(ACME_HELP)
        await insider.write("A colleague's question")
        await outsider.write("Hello", user="eva")
        await outsider.accepted()
        # Once it is open, everybody in the thread takes part.
        await outsider.write("I can explain")
        await outsider.reaches_agent("Hello", "Ana Lima: I can explain")
        assert len(await world.connect.contacts()) == 1
        assert await insider.posts() == []


async def test_who_is_left_out_and_asks_is_answered(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_CUSTOMERS="external") as world:
        thread, silent = world.thread(ACME_HELP), world.thread(ACME_HELP)
        await silent.write("just talking")
        await thread.write("can you help?", mention_bot=True)
        await thread.told_of("not open to you")
        assert await silent.posts() == []
        assert await world.connect.contacts() == []


async def test_an_agents_file_is_named_and_the_agent_told(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        contact = str((await thread.contacts())[-1]["contact_id"])
        await world.connect.do(
            contact, "attachments", name="offer.pdf", content_base64="JVBERg==",
            content_type="application/pdf",
        )  # fmt: skip
        await thread.told_of("Mina sent a file that cannot be shown here yet: offer.pdf")
        await eventually(
            thread.received, lambda texts: any("[Slack bridge] Your file" in t for t in texts)
        )


async def test_only_a_user_group(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_CUSTOMERS="@vips") as world:
        await world.slack.post("usergroups", handle="vips", users=["ben"])
        other, vip = world.thread(), world.thread()
        await other.write("Hello from Ana")
        await vip.write("Hello from Ben", user="ben")
        await vip.opened()
        await vip.reaches_agent("Hello from Ben")
        assert len(await world.connect.contacts()) == 1


# --- what is carried -----------------------------------------------------------------------------


async def test_a_second_author_is_named(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.write("Me too", user="ben")
        await thread.write("See?")
        await thread.reaches_agent("Hello", "Ben Okoro: Me too", "See?")


async def test_a_slash_me_and_a_broadcast_are_messages(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.write("For all to see", broadcast=True)
        await thread.reaches_agent("Hello", "For all to see")
        # Slack knows no /me in threads.
        other = world.thread()
        await other.write("waves", subtype="me_message")
        await other.opened()
        await other.reaches_agent("waves")


async def test_a_file_stays_and_its_text_goes(tmp_path: Path) -> None:
    photo = {"name": "photo.png", "mimetype": "image/png", "content_base64": encoded(b"pixels")}
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.write("This is how it looks", files=[photo])
        await thread.write("", files=[photo])
        await thread.told_of("@Ana Files cannot be passed on", times=2)
        await thread.write("Can you see it?")
        await thread.reaches_agent("Hello", "This is how it looks", "Can you see it?")


async def test_what_is_no_message_of_a_person_is_not_carried(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.slack.post("users", name="Carla", channels=["help"])
        await world.slack.post("join", channel="help", user="Carla")
        await world.slack.post("topic", channel="help", user="ana", topic="Routers")
        ts = await thread.write("See https://example.com/ here")
        await world.slack.post("unfurl", channel="help", ts=ts)
        await world.slack.patch("messages", channel="help", ts=ts, text="Changed")
        await world.slack.post("reactions", channel="help", ts=ts, user="ben", name="eyes")
        doomed = await thread.write("A mistake")
        await thread.reaches_agent("Hello", "See https://example.com/ here", "A mistake")
        await world.slack._call("DELETE", "messages", json={"channel": HELP, "ts": doomed})
        await world.slack.post(
            "events",
            event={
                "type": "message", "subtype": "bot_message", "bot_id": "B0OTHER", "text": "Beep",
                "channel": HELP, "ts": "1795365236.000001", "thread_ts": thread.ts,
            },
        )  # fmt: skip
        await thread.write("That is all.")
        await thread.reaches_agent(
            "Hello", "See https://example.com/ here", "A mistake", "That is all."
        )


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["Hello", "Step. " * 300])
async def test_the_first_words_can_travel_with_the_start(tmp_path: Path, words: str) -> None:
    async with bridge(tmp_path, BRIDGE_INITIAL_MESSAGE="true") as world:
        thread = world.thread()
        await thread.write(words)
        await thread.accepted()
        await thread.complete()
        [contact] = await world.connect.contacts()
        assert contact["initial_message"] == words[:1020].strip()


async def test_without_its_scope_a_name_goes_into_the_text(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        scopes = (await world.slack.get("settings"))["granted_scopes"]
        without = [scope for scope in scopes if scope != "chat:write.customize"]
        await world.slack.patch("settings", granted_scopes=without)
        thread = world.thread()
        await thread.write("Hello")
        await thread.accepted()
        await thread.say("Good morning")
        await thread.reaches_customer(WELCOME, "Mina: Good morning")
        assert {post["author"] for post in await thread.posts()} == {"Support"}


async def deliveries(world: World) -> list[dict[str, object]]:
    found: list[dict[str, object]] = (await world.slack.get("deliveries"))["deliveries"]
    return found


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
