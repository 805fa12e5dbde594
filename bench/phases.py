"""The cost of a message and its latency, of the floor, the recipe and the bridge.

Whatever is compared runs in the same run, in turns, so that a machine that is busy with something
else slows all of it alike; figures are medians over the rounds, ratios medians of ratios.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.fernet import Fernet

from bench import prefill, processes
from bench.measure import Driver, Load, RedisUse, Write, median
from bench.processes import (
    Cores,
    Measured,
    RedisServer,
    bridge_variables,
    platform_variables,
    redis_server,
)
from bench.standins import StandIns, World

TO_AGENT, TO_CUSTOMER = "to_agent", "to_customer"
DIRECTIONS = (TO_AGENT, TO_CUSTOMER)
_SOCKETS = {"floor": 1, "recipe": 1, "bridge": 2}
"""Socket Mode connections of each kind."""
Say = Callable[[str], None]
_SETTLE_SECONDS = 5.0
"""After which a started process is at rest: its second look at every transcript comes after 3."""


@dataclass(frozen=True, slots=True)
class Sort:
    """A variant to be started: a floor, a recipe, or a bridge with these settings."""

    name: str
    kind: str = "bridge"
    appendfsync: str = "everysec"
    receipts: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def window(self) -> float:
        """Seconds that a message to Slack waits for earlier ones."""
        if self.kind != "bridge":
            return 0.0
        return int(self.variables.get("BRIDGE_REORDER_WINDOW_MS", "100")) / 1000


FLOOR = Sort("floor", "floor")
RECIPE = Sort("recipe", "recipe")
BRIDGE = Sort("bridge")
ALWAYS = Sort("bridge, always", appendfsync="always")
RECEIPTS = Sort("bridge, receipts", receipts=True)
PROMPT = Sort("bridge, window 0", variables={"BRIDGE_REORDER_WINDOW_MS": "0"})
EVERY = (FLOOR, RECIPE, BRIDGE, ALWAYS, RECEIPTS, PROMPT)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    conversations: int = 1000
    under_way: int = 128
    """Messages that are worked on at once, at saturation."""
    rounds: int = 7
    seconds: float = 1.5
    """Of one load."""
    latency_seconds: float = 5.0
    """Of one load at a part of what the bridge can take."""
    parts: Sequence[float] = (0.5, 0.25)
    """At half the process is busy for more than half of the time, at a quarter for about half of
    it: a message that comes alone costs up to three times as much as one among many."""
    growth: Sequence[int] = (10, 100, 1000, 10000)
    growth_tls: Sequence[int] = (1000, 10000)
    idle_seconds: float = 30.0
    sorts: Sequence[Sort] = EVERY


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run runs."""

    folder: Path
    cores: Cores = field(default_factory=Cores.found)
    key: str = field(default_factory=lambda: Fernet.generate_key().decode())


@dataclass(slots=True)
class Variant:
    """One measured process, with its world and its Redis."""

    sort: Sort
    world: World
    server: RedisServer
    process: Measured
    driver: Driver

    def write(self, direction: str) -> Write:
        return self.world.write_in_slack if direction == TO_AGENT else self.world.write_in_connect


@contextlib.asynccontextmanager
async def started(
    sort: Sort, stand_ins: StandIns, site: Site, chats: int
) -> AsyncIterator[Variant]:
    """A variant that holds all its chats."""
    name = sort.name.replace(", ", "-").replace(" ", "")
    folder = site.folder / f"{name}-{chats}"
    async with redis_server(folder / "redis", site.cores, sort.appendfsync) as server:
        world = stand_ins.world(name, receipts=sort.receipts)
        words, variables = await _prepared(sort, world, server, site, chats)
        process = Measured(name, words, folder, site.cores, variables)
        try:
            await process.until(world, chats, _SOCKETS[sort.kind])
            driver = Driver(world, process, server, chats)
            yield Variant(sort, world, server, process, driver)
        finally:
            await process.stop()


async def _prepared(
    sort: Sort, world: World, server: RedisServer, site: Site, chats: int
) -> tuple[Sequence[str], Mapping[str, str]]:
    if sort.kind == "floor":
        return (
            *processes.FLOOR,
            world.base,
            world.sockets,
            str(server.socket),
            str(chats),
        ), sort.variables
    if sort.kind == "recipe":
        await prefill.for_recipe(server.socket, chats)
        return (*processes.RECIPE, str(server.socket)), platform_variables(world)
    await prefill.for_bridge(server.socket, site.key, chats)
    return processes.BRIDGE, bridge_variables(world, server, site.key, **sort.variables)


# --- the cost of a message, and its latency ------------------------------------------------------


async def messages(plan: Plan, site: Site, say: Say) -> dict[str, object]:
    """Processor time and throughput at saturation, then latency at parts of the bridge's load."""
    async with contextlib.AsyncExitStack() as stack:
        stand_ins = await stack.enter_async_context(StandIns())
        variants: dict[str, Variant] = {}
        for sort in plan.sorts:
            say(f"starting {sort.name}")
            variant = started(sort, stand_ins, site, plan.conversations)
            variants[sort.name] = await stack.enter_async_context(variant)
        await asyncio.sleep(_SETTLE_SECONDS)
        volumes = {name: await warm(variant, plan) for name, variant in variants.items()}
        costs = await _cost(plan, variants, volumes, say)
        latency = {part: await _latency(plan, variants, costs, part, say) for part in plan.parts}
        worlds = {name: variant.world for name, variant in variants.items()}
    return {
        "cost": costs,
        "latency": latency,
        "sent_twice": {name: world.strays for name, world in worlds.items()},
        # It could not store them in time, which under such loads should not happen.
        "not_acknowledged": {name: world.written_again for name, world in worlds.items()},
    }


@dataclass(frozen=True, slots=True)
class Volume:
    """How much is written to saturate one direction."""

    messages: int
    under_way: int
    """At once: those that are worked on, and those that wait in the reorder window meanwhile, without
    which they would not keep a core busy."""


async def warm(variant: Variant, plan: Plan) -> dict[str, Volume]:
    """Use every conversation in both directions; tells what saturates each."""
    volumes = {}
    for direction in DIRECTIONS:
        write = variant.write(direction)
        await variant.driver.saturate(write, variant.driver.conversations, plan.under_way)
        load = await variant.driver.saturate(write, variant.driver.conversations, plan.under_way)
        window = variant.sort.window if direction == TO_CUSTOMER else 0.0
        under_way = plan.under_way + round(window * load.capacity)
        messages = max(under_way * 2, round(load.capacity * plan.seconds))
        volumes[direction] = Volume(messages, under_way)
    return volumes


Costs = dict[str, dict[str, list[dict[str, float]]]]
"""By variant and direction: figures of each round."""


async def _cost(
    plan: Plan, variants: Mapping[str, Variant], volumes: Mapping[str, dict[str, Volume]], say: Say
) -> Costs:
    measured = {
        TO_AGENT: [name for name in variants if name not in (RECEIPTS.name, PROMPT.name)],
        TO_CUSTOMER: [name for name in variants if name != PROMPT.name],
    }
    costs: Costs = {name: {one: [] for one in DIRECTIONS} for name in variants}
    for turn in range(plan.rounds):
        say(f"cost of a message, round {turn + 1} of {plan.rounds}")
        for direction, names in measured.items():
            for name in names:
                # With receipts each chat gets one message: it has at most one receipt in 5 s.
                volume = volumes[name][direction]
                if name == RECEIPTS.name:
                    volume = replace(volume, messages=plan.conversations)
                costs[name][direction].append(await cost(variants[name], direction, volume))
    return costs


async def cost(variant: Variant, direction: str, volume: Volume) -> dict[str, float]:
    """What one message costs, at saturation."""
    world, client = variant.world, variant.server.client
    receipts, before = world.calls["event"], RedisUse.of(client)
    write = variant.write(direction)
    load = await variant.driver.saturate(write, volume.messages, volume.under_way)
    return _row(load, RedisUse.of(client) - before, world.calls["event"] - receipts)


def _row(load: Load, use: RedisUse, receipts: int) -> dict[str, float]:
    count = load.messages
    return {
        "cpu_ms": load.cpu_ms,
        "per_second": load.per_second,
        "share": load.cpu / load.wall,
        "standins_share": load.standins_cpu / load.wall,
        "redis_share": load.redis_cpu / load.wall,
        "redis_cpu_ms": load.redis_cpu / count * 1000,
        "redis_round_trips": use.round_trips / count,
        "redis_commands": use.commands / count,
        "redis_received": use.received / count,
        "redis_written": use.written / count,
        "receipts": receipts / count,
    }


async def _latency(
    plan: Plan, variants: Mapping[str, Variant], costs: Costs, part: float, say: Say
) -> Costs:
    """At this part of what the bridge can take; what cannot take as much, at this part of its own."""
    names = [name for name in variants if name not in (ALWAYS.name, RECEIPTS.name)]
    rates = {one: _capacity(costs[BRIDGE.name][one]) * part for one in DIRECTIONS}
    found: Costs = {name: {one: [] for one in DIRECTIONS} for name in names}
    for turn in range(plan.rounds):
        say(f"latency at {part} of saturation, round {turn + 1} of {plan.rounds}")
        for direction in DIRECTIONS:
            for name in names:
                own = costs[name][direction]
                rate = min(rates[direction], _capacity(own) * part if own else rates[direction])
                load = await variants[name].driver.at_rate(
                    variants[name].write(direction), round(rate * plan.latency_seconds), rate
                )
                found[name][direction].append(
                    {
                        "rate": rate,
                        "cpu_ms": load.cpu_ms,
                        **{f"p{percent}": load.latency_ms(percent) for percent in (50, 95, 99)},
                    }
                )
    return found


def _capacity(rows: Sequence[Mapping[str, float]]) -> float:
    """Messages a second that keep one core busy: without the moments in which a load begins and
    ends."""
    return 1000 / median([row["cpu_ms"] for row in rows])
