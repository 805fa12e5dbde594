"""kill -9 in the middle of a conversation, at instants that the stand-ins show; then another start.

Afterwards everything that each side wrote is on the other side exactly once and in order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from tests.flows.support import (
    END_BUTTON,
    REOPEN_BUTTON,
    WELCOME,
    Connect,
    Slack,
    Thread,
    eventually,
)
from tests.process.support import Service

pytestmark = pytest.mark.process
LONG = " ".join(f"Step {number}: I restarted the router and waited." for number in range(150))


@pytest.fixture(scope="module")
def on_one_folder(
    tmp_path_factory: pytest.TempPathFactory, sandbox: dict[str, str]
) -> Iterator[Service]:
    """One data folder for all of these: each start finds what the killed ones left."""
    service = Service(tmp_path_factory.mktemp("data"), sandbox)
    try:
        yield service
    finally:
        service.clear()


@pytest.fixture
async def service(on_one_folder: Service, slack: Slack, connect: Connect) -> Service:
    """A running one, on stand-ins without faults."""
    if on_one_folder.program is None or on_one_folder.program.process.poll() is not None:
        await on_one_folder.start()
    return on_one_folder


@pytest.fixture
async def thread(slack: Slack, connect: Connect, request: pytest.FixtureRequest) -> Thread:
    """A thread to be begun, in a channel of its own."""
    name = request.node.name.removeprefix("test_").replace("_", "-")
    return Thread(slack, connect, await slack.channel(name, "ana", "ben"))


async def test_just_after_the_customer_wrote(service: Service, thread: Thread) -> None:
    await thread.talk()
    await thread.write("The light is red.")
    await service.kill_and_start()
    await thread.complete()


async def test_just_after_the_first_message(service: Service, thread: Thread) -> None:
    await thread.write("Hello")
    await service.kill_and_start()
    await thread.accepted()
    await thread.complete()
    assert len(await thread.contacts()) == 1


async def test_while_the_chat_is_being_started(service: Service, thread: Thread) -> None:
    fault = await thread.connect.fault("delay", "StartChatContact", seconds=1.0)
    await thread.write("Hello")
    await thread.connect.struck(fault)
    await service.kill_and_start()
    await thread.accepted()
    await thread.complete()
    assert len(await thread.contacts()) == 1


async def test_started_but_not_answered(service: Service, thread: Thread) -> None:
    await thread.connect.fault("no_answer", "StartChatContact")
    await thread.write("Hello")
    await thread.opened()
    await service.kill_and_start()
    await thread.accepted()
    await thread.complete()
    assert len(await thread.contacts()) == 1


async def test_between_start_and_subscription(service: Service, thread: Thread) -> None:
    await thread.connect.patch("settings", connection_types="ignored")
    fault = await thread.connect.fault("delay", "CreateParticipantConnection", seconds=1.0)
    await thread.write("Hello")
    await thread.connect.struck(fault)
    await service.kill_and_start()
    await thread.accepted()
    await thread.complete()
    assert len(await thread.contacts()) == 1


async def test_while_a_message_is_being_sent(service: Service, thread: Thread) -> None:
    await thread.talk()
    fault = await thread.connect.fault("delay", "SendMessage", seconds=1.0)
    await thread.write("The light is red.")
    await thread.write("It blinks.")
    await thread.connect.struck(fault)
    await service.kill_and_start()
    await thread.complete()


async def test_sent_but_not_answered_and_the_token_forgotten(
    service: Service, thread: Thread
) -> None:
    await thread.talk()
    await thread.connect.fault("no_answer", "SendMessage")
    await thread.write("The light is red.")
    await thread.reaches_agent("Hello", "The light is red.")
    service.running.kill()
    await thread.connect.post("forget_client_tokens")
    await service.start()
    await thread.complete()


async def test_in_the_middle_of_a_long_message(service: Service, thread: Thread) -> None:
    await thread.talk()
    await thread.connect.fault("delay", "SendMessage", times=None, seconds=0.1)
    await thread.write(LONG)
    await thread.write("Did you get this?")
    await eventually(thread.received, lambda received: len(received) >= 3)
    await service.kill_and_start()
    await thread.complete()


async def test_while_an_answer_is_being_posted(service: Service, thread: Thread) -> None:
    await thread.talk()
    fault = await thread.slack.fault("delay", "chat.postMessage", seconds=1.0)
    await thread.say("Which lights are on?")
    await thread.slack.struck(fault)
    await thread.say("And which blink?")
    await service.kill_and_start()
    await thread.complete()


async def test_posted_but_not_answered(service: Service, thread: Thread) -> None:
    await thread.talk()
    fault = await thread.slack.fault("no_answer", "chat.postMessage")
    await thread.say("Which lights are on?")
    await thread.slack.struck(fault)
    await service.kill_and_start()
    await thread.say("And which blink?")
    await thread.complete()


async def test_while_an_answer_waits(service: Service, thread: Thread) -> None:
    await thread.talk()
    fault = await thread.slack.fault("throttle", "chat.postMessage", times=None, retry_after=1)
    await thread.say("Which lights are on?")
    await thread.slack.struck(fault)
    await thread.say("And which blink?")
    service.running.kill()
    await thread.say("Hello?")
    await thread.slack.heal()
    await service.start()
    await thread.complete()


async def test_both_write_while_nobody_is_there(service: Service, thread: Thread) -> None:
    await thread.talk()
    service.running.kill()
    await thread.write("The light is red.")
    await thread.say("Which lights are on?")
    await thread.write("It blinks.")
    await thread.say("And which blink?")
    await service.start()
    await thread.complete()


async def test_killed_again_while_it_recovers(service: Service, thread: Thread) -> None:
    await thread.talk()
    slack_fault = await thread.slack.fault("no_answer", "chat.postMessage")
    fault = await thread.connect.fault("no_answer", "SendMessage")
    await thread.write("The light is red.")
    await thread.say("Which lights are on?")
    await thread.slack.struck(slack_fault)
    await thread.connect.struck(fault)
    await service.kill_and_start()
    await service.kill_and_start()
    await thread.complete()


async def test_while_the_customer_leaves(service: Service, thread: Thread) -> None:
    await thread.talk()
    fault = await thread.connect.fault("delay", "DisconnectParticipant", seconds=1.0)
    await thread.press(END_BUTTON)
    await thread.connect.struck(fault)
    await service.kill_and_start()
    await thread.state("ended")
    await thread.told_of("ended")
    await thread.write("Thanks!")
    told = await thread.told_of("start a new chat")
    assert (
        sum(
            words.startswith("This chat ended") or words == "This chat has ended." for words in told
        )
        == 1
    )


async def test_while_a_chat_is_opened_again(service: Service, thread: Thread) -> None:
    await thread.talk()
    await thread.connect.do(thread.contact, "end")
    await thread.told_of("This chat has ended.")
    await thread.write("One more thing:")
    await thread.write("it is red again.")
    fault = await thread.connect.fault("delay", "StartChatContact", seconds=1.0)
    await thread.press(REOPEN_BUTTON)
    await thread.connect.struck(fault)
    await service.kill_and_start()
    await thread.accepted(number=2)
    await thread.complete()
    assert len(await thread.contacts()) == 2


async def test_again_and_again_while_both_write(service: Service, thread: Thread) -> None:
    """What Slack delivers again comes late, and goes out when it comes: only the agent's side is
    sure to be in order."""
    await thread.talk()
    chances = random.Random(7)
    for number in range(24):
        await thread.write(f"Customer {number}.")
        await thread.say(f"Agent {number}.")
        await asyncio.sleep(chances.uniform(0, 0.2))
        if number % 6 == 5:
            await service.kill_and_start()
    wrote, said = sorted(thread.wrote), ["Good morning", *(f"Agent {n}." for n in range(24))]
    await eventually(thread.received, lambda received: sorted(received) == wrote)
    await eventually(thread.heard, lambda heard: list(heard) == [WELCOME, *said])
    await thread.write("That is all.")
    await eventually(thread.received, lambda received: sorted(received[:-1]) == wrote)
