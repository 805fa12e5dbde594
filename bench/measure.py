"""Figures of other processes, and the loads under which they are taken."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

from bench.processes import Measured, RedisServer
from bench.standins import Flight, World

_PATIENCE = 120.0
_AGAIN_SECONDS = 10.0
"""After which an envelope that was not acknowledged is sent again."""
_LEFTOVERS = 0.3
"""Seconds in which what follows a message (settling, an echo in the reorder window) is done."""

Write = Callable[[int, Callable[[Flight], None]], None]


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process, those that ended among them (Linux: the clock
    of another process has this id)."""
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """Memory that a process has of its own or shares with files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no memory")


@dataclass(frozen=True, slots=True)
class RedisUse:
    """What a Redis has done so far."""

    round_trips: int
    commands: int
    """All of them, those within scripts too."""
    received: int
    sent: int
    written: int
    """Bytes of the append-only file."""

    @classmethod
    def of(cls, client: redis.Redis) -> RedisUse:
        stats = client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): int(one["calls"]) for name, one in stats.items()}
        calls.pop("info", None)
        traffic = client.info("stats")
        return cls(
            calls.get("evalsha", 0) + calls.get("eval", 0),
            sum(calls.values()),
            int(traffic["total_net_input_bytes"]),
            int(traffic["total_net_output_bytes"]),
            int(client.info("persistence")["aof_current_size"]),
        )

    def __sub__(self, before: RedisUse) -> RedisUse:
        return RedisUse(
            self.round_trips - before.round_trips,
            self.commands - before.commands,
            self.received - before.received,
            self.sent - before.sent,
            self.written - before.written,
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load. Seconds, unless the name says otherwise."""

    messages: int
    wall: float
    cpu: float
    """Of the measured process."""
    standins_cpu: float
    redis_cpu: float
    latencies: Sequence[float] = field(repr=False)

    @property
    def cpu_ms(self) -> float:
        """For one message."""
        return self.cpu / self.messages * 1000

    @property
    def per_second(self) -> float:
        return self.messages / self.wall

    @property
    def capacity(self) -> float:
        """Messages a second that would keep one core busy."""
        return self.messages / self.cpu

    def latency_ms(self, percent: float) -> float:
        return percentile(self.latencies, percent) * 1000


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Driver:
    """Writes messages on one side of a world and waits until they are through."""

    def __init__(
        self, world: World, process: Measured, server: RedisServer, conversations: int
    ) -> None:
        self._world = world
        self._process = process
        self._pids = (process.pid, server.pid)
        self.conversations = conversations
        # In turn: no conversation has two messages under way.
        self._turn: Iterator[int] = itertools.cycle(range(conversations))
        self._random = random.Random(1)

    async def saturate(self, write: Write, messages: int, under_way: int) -> Load:
        """As many as it can take, so many at once."""
        under_way = min(under_way, max(1, self.conversations // 2))
        begun = itertools.count(under_way)

        async def at_once(again: Callable[[], None]) -> None:
            for _ in range(under_way):
                again()

        return await self._measured(write, messages, at_once, lambda: next(begun) < messages)

    async def at_rate(self, write: Write, messages: int, per_second: float) -> Load:
        """At random moments, so many a second."""

        async def paced(again: Callable[[], None]) -> None:
            loop = asyncio.get_running_loop()
            due = loop.time()
            for _ in range(messages):
                due += self._random.expovariate(per_second)
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                again()

        return await self._measured(write, messages, paced, lambda: False)

    async def _measured(
        self,
        write: Write,
        messages: int,
        begin: Callable[[Callable[[], None]], Awaitable[None]],
        goes_on: Callable[[], bool],
    ) -> Load:
        latencies: list[float] = []
        done = asyncio.Event()

        def one() -> None:
            write(next(self._turn), arrived)

        def arrived(flight: Flight) -> None:
            latencies.append(flight.seconds)
            if goes_on():
                one()
            elif len(latencies) == messages:
                done.set()

        before = [*map(cpu_seconds, self._pids), time.process_time()]
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_PATIENCE):
                await begin(one)
                await self._all(done)
        except TimeoutError:
            lost = f"{len(latencies)} of {messages} messages came through"
            said = self._process.said()[-2000:]
            raise RuntimeError(f"{lost}: {self._world.state()}\n{said}") from None
        wall = time.perf_counter() - began
        await asyncio.sleep(_LEFTOVERS)
        after = [*map(cpu_seconds, self._pids), time.process_time()]
        cpu, redis_cpu, standins = (late - early for late, early in zip(after, before, strict=True))
        return Load(messages, wall, cpu, standins, redis_cpu, latencies)

    async def _all(self, done: asyncio.Event) -> None:
        while not done.is_set():
            try:
                await asyncio.wait_for(done.wait(), _AGAIN_SECONDS)
            except TimeoutError:
                self._world.write_again(_AGAIN_SECONDS)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
