"""Redis away, refusing, and replaced: nothing is acknowledged that is not stored, nothing is lost."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from cryptography.fernet import Fernet

from bridge import metrics
from tests.flows.support import Json, Thread, World, eventually, serving, stand_ins
from tests.store.server import Server, a_server

KEY = Fernet.generate_key().decode()


@pytest.fixture
async def redis() -> AsyncIterator[Server]:
    # A socket's path may not be long.
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        async with a_server(Path(folder)) as server:
            yield server


def environment(world: World, folder: Path, redis: Server, **more: str) -> dict[str, str]:
    shared = {"REDIS_URL": redis.url, "BRIDGE_ENCRYPTION_KEYS": KEY, "BRIDGE_LEASE_SECONDS": "2"}
    return world.environment(folder, **shared, **more)


@asynccontextmanager
async def bridge(folder: Path, redis: Server) -> AsyncIterator[World]:
    async with stand_ins() as world, serving(environment(world, folder, redis)) as port:
        yield replace(world, port=port)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def alarms(kind: str) -> float:
    return metrics.REGISTRY.get_sample_value("bridge_alarms_total", {"kind": kind}) or 0.0


async def not_ready(world: World, why: str) -> None:
    """Readiness comes to name it, and the process lives."""
    await eventually(world.ready, lambda found: why in found["reasons"].get("redis", ""))
    async with world.session.get(f"http://127.0.0.1:{world.port}/live") as response:
        assert response.status == 200


async def both_write(thread: Thread, count: int) -> None:
    """What Slack delivers again comes later than what it delivers: so nothing is to be under way."""
    for number in range(count):
        await thread.slack.taken_in()
        await thread.write(f"Answer {number}.")
        await thread.say(f"Question {number}?")


# --- away, and refusing --------------------------------------------------------------------------


async def test_away_at_the_start(tmp_path: Path, redis: Server) -> None:
    redis.kill()
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    async with stand_ins() as world:
        variables = environment(world, tmp_path, redis, BRIDGE_HTTP_PORT=str(port))

        async def probe() -> Json:
            try:
                async with world.session.get(f"{url}/ready") as response:
                    answer: Json = await response.json()
            except aiohttp.ClientError:
                return {}
            return answer

        async def life() -> None:
            async with serving(variables):
                thread = world.thread()
                await thread.talk()
                await thread.complete()

        living = asyncio.create_task(life())
        found = await eventually(probe, lambda answer: "Redis" in str(answer.get("reasons")))
        assert found == {
            "ready": False,
            "reasons": {"start": "waiting for Redis: Redis cannot be reached"},
        }
        async with world.session.get(f"{url}/live") as response:
            assert response.status == 200
        await redis.start()
        await living


async def test_slack_is_refused_by_http_until_the_start_is_done(
    tmp_path: Path, redis: Server
) -> None:
    port = _free_port()
    async with stand_ins() as world:
        variables = environment(
            world, tmp_path, redis, BRIDGE_HTTP_PORT=str(port), SLACK_APP_TOKEN=""
        )
        thread = world.thread()

        async def life() -> None:
            async with serving(variables):
                await thread.accepted()
                await thread.complete()

        async def failures() -> list[str]:
            deliveries = (await world.slack.get("deliveries"))["deliveries"]
            return [failure for one in deliveries for failure in one["failures"]]

        async with serving(variables):  # Slack tries the address first
            url = f"http://127.0.0.1:{port}/slack/events"
            await world.slack.patch("settings", transport="http", request_url=url)
        redis.kill()
        living = asyncio.create_task(life())
        await thread.write("Hello")
        await eventually(failures, lambda found: "http_error" in found)
        await redis.start()
        await living


REFUSALS = {
    "out of memory": ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", 1),
    "read-only replica": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", 0),
    "too few replicas": (
        "CONFIG SET min-replicas-to-write 1",
        "CONFIG SET min-replicas-to-write 0",
        0,
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_it_refuses_to_write(tmp_path: Path, redis: Server, why: str) -> None:
    begin, end, alarm = REFUSALS[why]
    before = alarms("redis_refuses")
    async with bridge(tmp_path, redis) as world:
        thread = world.thread()
        await thread.talk()
        await redis.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await redis.do(*begin.split())
        await thread.write("The light is red.")
        await thread.say("Which lights are on?")
        await not_ready(world, why)
        await redis.do(*end.split())
        await thread.complete()
        await eventually(world.ready, lambda found: found["ready"])
        assert len(await thread.contacts()) == 1
    assert alarms("redis_refuses") - before == alarm


async def test_its_password_is_changed(tmp_path: Path, redis: Server) -> None:
    before = alarms("redis_refuses")
    async with bridge(tmp_path, redis) as world:
        thread = world.thread()
        await thread.talk()
        await redis.do("CONFIG", "SET", "requirepass", "secret")
        redis.password = "secret"
        await redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await thread.write("The light is red.")
        await thread.say("Which lights are on?")
        await not_ready(world, "asks for a password")
        await redis.do("CONFIG", "SET", "requirepass", "")
        await thread.complete()
        await eventually(world.ready, lambda found: found["ready"])
    assert alarms("redis_refuses") - before == 1


# --- replaced ------------------------------------------------------------------------------------


@pytest.mark.parametrize("all_of_it", [False, True])
async def test_an_older_copy_is_put_back(tmp_path: Path, redis: Server, all_of_it: bool) -> None:
    """The service lives through it, and knows what the copy does not."""
    async with bridge(tmp_path, redis) as world:
        thread = world.thread()
        await thread.talk()
        older = None if all_of_it else redis.copy()
        await both_write(thread, 3)
        await thread.complete()
        redis.kill()
        redis.put_back(older)
        await thread.write("The light is red.")
        await redis.start()
        await both_write(thread, 3)
        await thread.complete()
        assert len(await thread.contacts()) == 1
        assert sum("connecting you" in told for told in await thread.told()) == 1


async def test_an_older_copy_and_nobody_who_knows_more(tmp_path: Path, redis: Server) -> None:
    async with stand_ins() as world:
        await world.connect.patch("settings", client_token_seconds=0.0)
        variables = environment(world, tmp_path, redis)
        async with serving(variables):
            thread = world.thread()
            await thread.talk()
            older = redis.copy()
            await both_write(thread, 3)
            await thread.complete()
        redis.kill()
        redis.put_back(older)
        await redis.start()
        await thread.say("Are you there?")
        async with serving(variables):
            await both_write(thread, 3)
            await thread.complete()
            assert len(await thread.contacts()) == 1
            assert sum("connecting you" in told for told in await thread.told()) == 1


async def test_what_was_acknowledged_last_is_lost(tmp_path: Path, redis: Server) -> None:
    """It waits for an agent's side that does not answer, when both Redis and the service go."""
    async with stand_ins() as world:
        variables = environment(world, tmp_path, redis) | {"BRIDGE_GRACE_SECONDS": "0"}
        async with serving(variables):
            thread = world.thread()
            await thread.talk()
            older = redis.copy()
            fault = await world.connect.fault("error", "SendMessage", times=100)
            await thread.write("The light is red.")
            await thread.write("It blinks.")
            await world.slack.taken_in()
            await world.connect.struck(fault)
        redis.kill()
        redis.put_back(older)
        await redis.start()
        await world.connect.heal()
        async with serving(variables):
            await thread.complete()


async def test_the_primary_is_replaced_by_another(tmp_path: Path, redis: Server) -> None:
    """A replica that lacks the last writes is promoted: here, the same server in both roles."""
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        port = _free_port()
        async with a_server(Path(folder), port=str(port)), bridge(tmp_path, redis) as world:
            thread = world.thread()
            await thread.talk()
            await redis.do("REPLICAOF", "127.0.0.1", str(port))  # which is empty
            await not_ready(world, "read-only replica")
            await thread.write("The light is red.")
            await asyncio.sleep(0.5)
            await redis.do("REPLICAOF", "NO", "ONE")
            await both_write(thread, 2)
            await thread.complete()
            assert len(await thread.contacts()) == 1
