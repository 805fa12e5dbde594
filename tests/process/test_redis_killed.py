"""Redis dies under load, again and again, and the service with it or not."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.flows.support import WELCOME, Connect, Slack, Thread, eventually
from tests.process.support import Service, two_services
from tests.store.server import Server, a_server

pytestmark = pytest.mark.process

FSYNC = pytest.mark.parametrize("fsync", ["always", "everysec"])


@pytest.fixture
async def thread(slack: Slack, connect: Connect, request: pytest.FixtureRequest) -> Thread:
    """A thread to be begun, in a channel of its own."""
    name = request.node.name.removeprefix("test_").replace("_", "-").replace("[", "-").strip("]")
    return Thread(slack, connect, await slack.channel(name, "ana"))


async def both_write(thread: Thread, strike: Callable[[], Awaitable[None]]) -> None:
    """Each writes 24 messages; every sixth time something strikes. In the end all are there, once.

    What Slack delivers again comes late, and goes out when it comes: only the agent's side is sure
    to be in order."""
    await thread.talk()
    chances = random.Random(7)
    for number in range(24):
        await thread.write(f"Customer {number}.")
        await thread.say(f"Agent {number}.")
        await asyncio.sleep(chances.uniform(0, 0.2))
        if number % 6 == 5:
            await strike()
    wrote, said = sorted(thread.wrote), ["Good morning", *(f"Agent {n}." for n in range(24))]
    await eventually(thread.received, lambda received: sorted(received) == wrote)
    await eventually(thread.heard, lambda heard: list(heard) == [WELCOME, *said])
    await thread.write("That is all.")
    await eventually(thread.received, lambda received: sorted(received[:-1]) == wrote)
    assert len(await thread.contacts()) == 1


@FSYNC
async def test_the_private_one_is_killed(
    tmp_path: Path, sandbox: dict[str, str], thread: Thread, fsync: str
) -> None:
    service = Service(tmp_path, sandbox, BRIDGE_APPENDFSYNC=fsync)

    async def servers() -> Sequence[int]:
        return service.redis_pids()

    async def strike() -> None:
        [pid] = await eventually(servers, bool)  # the one before may have died just now
        os.kill(pid, signal.SIGKILL)

    try:
        await service.start()
        await both_write(thread, strike)
        assert "Traceback" not in service.running.said()
    finally:
        service.clear()


@pytest.fixture
async def pair(
    tmp_path: Path, sandbox: dict[str, str], request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Server, list[Service]]]:
    """Two services on one Redis."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-")))
        fsync = request.node.callspec.params["fsync"]
        redis = await stack.enter_async_context(a_server(folder, appendfsync=fsync))
        yield redis, await two_services(stack, tmp_path, sandbox, redis.url)


@FSYNC
async def test_a_shared_one_is_killed(
    pair: tuple[Server, list[Service]], thread: Thread, fsync: str
) -> None:
    redis, _ = pair

    async def strike() -> None:
        redis.kill()
        await redis.start()

    await both_write(thread, strike)


@FSYNC
async def test_it_is_killed_with_one_of_two_services(
    pair: tuple[Server, list[Service]], thread: Thread, fsync: str
) -> None:
    redis, services = pair
    turns = iter((services * 2)[:4])

    async def strike() -> None:
        service = next(turns)
        service.running.kill()
        redis.kill()
        await redis.start()
        await service.start()

    await both_write(thread, strike)
