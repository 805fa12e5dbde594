"""How chats end, change hands and begin again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.flows.support import (
    END_BUTTON,
    REOPEN_BUTTON,
    WELCOME,
    Thread,
    bridge,
    eventually,
)

OVER = "This chat has ended."
KEPT = "Your message is kept"


async def ended(thread: Thread) -> None:
    """The agent ends the chat, and the thread says so."""
    await thread.connect.do(thread.contact, "end")
    await thread.told_of(OVER)


# --- and begin again -----------------------------------------------------------------------------


async def test_what_was_written_after_the_end_goes_with_a_click(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await ended(thread)
        await thread.write("Thanks!")
        await thread.write("One more thing:")
        await thread.told_of(KEPT)
        assert len(await thread.contacts()) == 1
        await thread.press(REOPEN_BUTTON)
        await thread.write("it is red again.")
        first = thread.contact
        await thread.accepted(number=2)
        await thread.complete()
        assert sum(KEPT in told for told in await thread.told()) == 1
        assert (await thread.contacts())[-1]["continued_from_contact_id"] == first


async def test_always_means_at_once(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_REOPEN="always") as world:
        thread = world.thread()
        await thread.talk()
        await ended(thread)
        await thread.write("It is red again.")
        await thread.accepted(number=2)
        await thread.complete()
        assert not any(KEPT in told for told in await thread.told())


async def test_never_means_that_the_author_is_told(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_REOPEN="never") as world:
        thread = world.thread()
        await thread.talk()
        await ended(thread)
        ts = await thread.write("It is red again.")
        await thread.told_of("your message was not passed on")
        await eventually(lambda: thread.reactions(ts), lambda found: list(found) == ["warning"])
        other = world.thread()
        await other.write("Outside of that thread")
        await other.opened()
        assert len(await thread.contacts()) == 1


async def test_a_direct_message_asks_too(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        direct = await world.dm()
        await direct.talk()
        await ended(direct)
        await direct.write("It is red again.")
        await direct.press(REOPEN_BUTTON)
        await direct.accepted(number=2)
        await direct.complete()


async def test_without_persistent_chat_it_is_a_chat_of_its_own(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_REHYDRATE="false", BRIDGE_REOPEN="always") as world:
        thread = world.thread()
        await thread.talk()
        await ended(thread)
        await thread.write("It is red again.")
        await thread.accepted(number=2)
        await thread.complete()
        assert (await thread.contacts())[-1]["continued_from_contact_id"] is None


async def test_a_chat_that_cannot_be_continued_begins_anew(tmp_path: Path) -> None:
    async with bridge(tmp_path, BRIDGE_REOPEN="always") as world:
        await world.connect.patch("settings", persistent_ready_seconds=3600.0)
        thread = world.thread()
        await thread.talk()
        await ended(thread)
        await thread.write("It is red again.")
        await thread.accepted(number=2)
        await thread.complete()
        assert (await thread.contacts())[-1]["continued_from_contact_id"] is None


# --- the customer ends ---------------------------------------------------------------------------


async def test_the_end_button_is_for_those_who_wrote(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.press(END_BUTTON, user="ben")
        await thread.write("I am still here")
        await thread.reaches_agent("Hello", "I am still here")
        await thread.press(END_BUTTON)
        await thread.state("ended")
        await thread.told_of(OVER)

        async def buttons() -> Sequence[object]:
            return [button for post in await thread.posts() for button in post["buttons"]]

        await eventually(buttons, lambda found: not found)


async def test_the_word_end_ends_it(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await thread.write("end", mention_bot=True)
        await thread.state("ended")
        await thread.told_of(OVER)
        assert await thread.received() == ["Hello"]


async def test_the_disconnect_flow_still_speaks(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        await world.connect.patch("settings", survey="How did we do?")
        thread = world.thread()
        await thread.talk()
        await world.connect.do(thread.contact, "leave")
        await thread.reaches_customer(WELCOME, "Good morning", "How did we do?")
        await thread.write("Very well")
        await thread.state("ended")
        await thread.told_of(OVER)
        assert await thread.received() == ["Hello", "Very well"]


# --- Connect ends, or hands over -----------------------------------------------------------------


async def test_a_transfer_goes_on_in_the_same_thread(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.connect.do(thread.contact, "transfer", to="Omar")
        await thread.told_of("You are being transferred")
        await thread.told_of("Omar has joined the chat.")
        await thread.complete()
        assert (await thread.posts())[-1]["author"] == "Omar"
        assert not any(OVER in told for told in await thread.told())


async def test_a_chat_that_runs_out(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        await world.connect.patch("settings", minute_seconds=0.001)
        thread = world.thread()
        await thread.write("Hello")
        await thread.told_of(OVER)
        [contact] = await thread.contacts()
        assert contact["disconnect_reason"] == "EXPIRED"


async def test_a_contact_that_died_unconnected_is_replaced_silently(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        await world.connect.patch(
            "settings", customer_connect_seconds=0.3, connection_types="ignored"
        )
        await world.connect.fault("delay", "CreateParticipantConnection", seconds=0.6)
        thread = world.thread()
        await thread.write("Hello")
        await thread.accepted(number=2)
        await thread.complete()
        told = await thread.told()
        assert [told[0], len(told)] == [
            "Thanks, we are connecting you with support. Just keep writing here.",
            2,
        ]
        assert (await thread.contacts())[0]["disconnect_reason"].startswith("CUSTOMER_CONNECTION")


async def test_a_chat_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        await world.connect.fault("reject", "StartChatContact", times=None)
        thread = world.thread()
        ts = await thread.write("Hello")
        await thread.told_of("We could not connect you")
        await eventually(lambda: thread.reactions(ts), lambda found: list(found) == ["warning"])
        # That is no end of the thread: the next message tries again.
        await world.connect.heal()
        await thread.write("Hello again")
        await thread.accepted()
        await thread.reaches_agent("Hello again")


# --- Slack ends ----------------------------------------------------------------------------------


async def test_a_channel_that_is_gone_ends_the_chat_and_the_agent_is_told(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.slack.post("archive", channel="help")
        await thread.say("Which lights are on?")
        await eventually(
            thread.received, lambda found: any(one.startswith("[Slack bridge]") for one in found)
        )
        await thread.state("ended")


async def test_a_post_that_slack_refuses_is_answered_to_the_agent(tmp_path: Path) -> None:
    async with bridge(tmp_path) as world:
        thread = world.thread()
        await thread.talk()
        await world.slack.fault("reject", "chat.postMessage", error="msg_blocks_too_long")
        await thread.say("Too long, says Slack")
        await eventually(
            thread.received,
            lambda found: (
                list(found)
                == ["Hello", "[Slack bridge] Your last message could not be posted in Slack."]
            ),
        )
        await thread.say("Shorter")
        await thread.reaches_customer(WELCOME, "Good morning", "Shorter")
