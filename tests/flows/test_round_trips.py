"""What a message costs: two round trips to Redis in each direction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from tests.flows.support import Thread, bridge, eventually


async def test_two_round_trips_a_message(tmp_path: Path) -> None:
    # The lease is renewed, and places are claimed, once in a hundred seconds.
    async with bridge(tmp_path, BRIDGE_LEASE_SECONDS="300") as world, watched(tmp_path) as seen:
        thread = world.thread()
        await thread.talk()
        await quiet(seen)
        await thread.write("The light is red.")
        await thread.reaches_agent("Hello", "The light is red.")
        assert len(await quiet(seen)) == 2, "stored, and settled"
        await thread.say("Which lights are on?")
        await eventually(thread.heard, lambda found: found[-1] == "Which lights are on?")
        assert len(await quiet(seen)) == 2, "marked, and settled"
        await both_at_once(thread)
        assert len(await quiet(seen)) == 4


async def both_at_once(thread: Thread) -> None:
    await asyncio.gather(thread.write("It blinks."), thread.say("And which blink?"))
    await thread.reaches_agent("Hello", "The light is red.", "It blinks.")
    await eventually(thread.heard, lambda found: found[-1] == "And which blink?")


async def quiet(seen: list[str]) -> list[str]:
    """What came until nothing more comes; forgets it."""

    async def before() -> int:
        number = len(seen)
        await asyncio.sleep(0.2)
        return number

    await eventually(before, lambda number: number == len(seen))
    found, seen[:] = list(seen), []
    return found


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[list[str]]:
    """Every command that a client sends to the private Redis, but not those inside of scripts."""
    path = folder / "redis.sock"
    if not path.exists():
        path = Path((folder / "redis.socket").read_text()) / "redis.sock"
    seen: list[str] = []

    async def watch(monitor: redis.client.Monitor) -> None:
        async for command in monitor.listen():
            seen.extend(_names(command))

    client = redis.Redis(unix_socket_path=str(path))
    async with client.monitor() as monitor:
        watching = asyncio.create_task(watch(monitor))
        yield seen
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    await client.aclose()


def _names(command: Mapping[str, Any]) -> list[str]:
    return [] if command["client_type"] == "lua" else [str(command["command"]).partition(" ")[0]]
