"""Two services on one Redis: equals, of which one owns each place."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.flows.support import Connect, Json, Slack, Thread, eventually
from tests.process.support import Service, two_services
from tests.store.support import real_redis

pytestmark = pytest.mark.process


@pytest.fixture
async def pair(tmp_path: Path, sandbox: dict[str, str]) -> AsyncIterator[tuple[Service, Service]]:
    """Two that run, on a Redis of their own."""
    async with AsyncExitStack() as stack:
        url = f"unix://{await stack.enter_async_context(real_redis())}"
        one, other = await two_services(stack, tmp_path, sandbox, url)
        yield one, other


@pytest.fixture
async def threads(slack: Slack, connect: Connect, request: pytest.FixtureRequest) -> list[Thread]:
    """Threads in four channels: each service comes to own some of them, most likely."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40]
    channels = [await slack.channel(f"{name}-{number}", "ana") for number in range(4)]
    return [Thread(slack, connect, channel) for channel in channels]


async def sockets_up(slack: Slack, number: int) -> None:
    """Wait until so many Socket Mode connections are up: Slack deals events out among them."""

    async def sockets() -> list[Json]:
        found: list[Json] = (await slack.get("sockets"))["sockets"]
        return found

    await eventually(sockets, lambda found: len(found) == number)


async def test_both_carry_and_nothing_is_doubled(
    pair: tuple[Service, Service], threads: list[Thread], slack: Slack
) -> None:
    await sockets_up(slack, 4)
    for thread in threads:
        await thread.talk()
        await thread.write("The light is red.")
        await thread.say("Which lights are on?")
    for thread in threads:
        await thread.complete()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_one_takes_over_what_the_other_had(
    pair: tuple[Service, Service],
    threads: list[Thread],
    slack: Slack,
    connect: Connect,
    number: signal.Signals,
) -> None:
    one, _ = pair
    await sockets_up(slack, 4)
    for thread in threads:
        await thread.talk()
    await connect.fault("no_answer", "SendMessage")
    await slack.fault("no_answer", "chat.postMessage")
    for thread in threads:
        await thread.write("The light is red.")
        await thread.say("Which lights are on?")
    one.running.send(number)
    for thread in threads:
        await thread.say("And which blink?")
    for thread in threads:
        await thread.complete()
    assert await one.running.ends() == (0 if number is signal.SIGTERM else -number)
