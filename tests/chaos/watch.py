"""Notes while everything runs: who owns what in Redis, memory, the calls that Connect got."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import aiohttp
import redis.asyncio
from redis.exceptions import RedisError

from tests.chaos.world import PREFIX, World

OWNERS_EVERY = 0.1
MEMORY_EVERY = 1.0
LAG_EVERY = 0.05
STALLED = 0.05
"""Later than this is a stall."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Who owned which place at a moment (Unix seconds), and whose lease lived."""

    at: float
    owners: Mapping[str, str]
    alive: frozenset[str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that Connect got. `at` is its arrival in Unix seconds."""

    at: float
    operation: str
    contact: str
    status: int | None
    content: str


@dataclass(frozen=True, slots=True)
class Stall:
    """A time (Unix seconds) in which nothing that arrived was dealt with."""

    begin: float
    end: float


@dataclass
class Notes:
    """All that was noted."""

    samples: list[Sample] = field(default_factory=list)
    """One for each change, and a last one."""
    calls: list[Call] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    """When this process, and with it the sandbox, stood still; in order."""

    @property
    def worst_lag(self) -> float:
        """The longest that it was late."""
        return max((stall.end - stall.begin - LAG_EVERY for stall in self.stalls), default=0.0)


class Watch:
    """Reads Redis, and only reads; see the keys in bridge/store/redis.py."""

    def __init__(self, world: World, client: redis.asyncio.Redis) -> None:
        self.notes = Notes()
        self._world = world
        self._redis = client
        self._seen = 0
        self._stopped = False
        team = next(iter(world.pair.slack.world.installations.values())).team
        self._places = sorted({f"{team}:{room.id}" for room in world.rooms.values()})

    async def run(self) -> None:
        """Until `stop`. (A cancellation can get lost in redis-py, and would be waited for.)"""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._owners())
            group.create_task(self._memory())
            group.create_task(self._lag())

    def stop(self) -> None:
        """Come to an end soon."""
        self._stopped = True

    async def _owners(self) -> None:
        while not self._stopped:
            try:
                sample = await self._sample()
            except (RedisError, OSError, TimeoutError):
                sample = None
            last = self.notes.samples[-1] if self.notes.samples else None
            if sample and (
                last is None or (last.owners, last.alive) != (sample.owners, sample.alive)
            ):
                self.notes.samples.append(sample)
            await asyncio.sleep(OWNERS_EVERY)

    async def _sample(self) -> Sample:
        members = await cast("Awaitable[set[bytes]]", self._redis.smembers(f"{PREFIX}:members"))
        names = sorted(member.decode() for member in members)
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.execute_command("EXISTS", f"{PREFIX}:lease:{name}")
            pipe.execute_command("MGET", *(f"{PREFIX}:place:{place}" for place in self._places))
            *leases, owners = await pipe.execute()
        return Sample(
            time.time(),
            {
                place: owner.decode()
                for place, owner in zip(self._places, owners, strict=True)
                if owner is not None
            },
            frozenset(name for name, lives in zip(names, leases, strict=True) if lives),
        )

    async def _lag(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopped:
            begin = loop.time()
            await asyncio.sleep(LAG_EVERY)
            lasted = loop.time() - begin
            if lasted > LAG_EVERY + STALLED:
                now = time.time()
                self.notes.stalls.append(Stall(now - lasted, now))

    async def _memory(self) -> None:
        async with aiohttp.ClientSession() as session:
            while not self._stopped:
                for replica in self._world.replicas:
                    replica.measure()
                await self._requests(session)
                await asyncio.sleep(MEMORY_EVERY)

    async def _requests(self, session: aiohttp.ClientSession) -> None:
        """What is older than two seconds has its answer; the sandbox keeps the newest 10,000."""
        url = f"{self._world.pair.connect.url}/sandbox/requests"
        async with session.get(url, params={"since": self._seen}) as response:
            found: list[dict[str, Any]] = (await response.json())["requests"]
        for one in found:
            at = datetime.fromisoformat(one["at"]).timestamp()
            if at > time.time() - 2.0:
                return
            self._seen = one["seq"]
            self.notes.calls.append(
                Call(
                    at,
                    one["operation"],
                    one["contact_id"] or "",
                    one["status"],
                    one["content"] or "",
                )
            )
