"""What many open conversations cost: start-up, memory, idle processor time, Redis, and a message's
cost beside them, against a bare aiohttp client that holds as many sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from bench.measure import Driver, RedisUse, cpu_seconds, resident_bytes
from bench.phases import DIRECTIONS, Plan, Say, Site, Sort, cost, started, warm
from bench.processes import SOCKETS, Measured
from bench.standins import StandIns, World
from bench.trust import Trust

_CALM_SECONDS = 4.0
"""Without a transcript read a started bridge is at rest: the second one comes after 3."""


async def growth(plan: Plan, site: Site, say: Say) -> list[dict[str, object]]:
    """A row for each number of open conversations."""
    plain = [(chats, False) for chats in plan.growth]
    return [
        await _held(plan, site, chats, tls=tls, say=say)
        for chats, tls in [*plain, *((chats, True) for chats in plan.growth_tls)]
    ]


async def _held(plan: Plan, site: Site, chats: int, *, tls: bool, say: Say) -> dict[str, object]:
    say(f"{chats} open conversations{', TLS' if tls else ''}")
    site = replace(site, folder=site.folder / f"{chats}{'-tls' if tls else ''}")
    site.folder.mkdir()
    trust = Trust(site.folder) if tls else None
    variables = {
        # No more sockets at once than a listening backlog holds.
        "BRIDGE_CONNECT_QUOTA_SCALE": "1000" if chats <= 1000 else "100",
        **(trust.variables if trust else {}),
    }
    async with StandIns(trust.context if trust else None) as stand_ins:
        bare = await _bare(plan, site, chats, stand_ins, trust.variables if trust else {})
    async with (
        StandIns(trust.context if trust else None) as stand_ins,
        started(Sort("bridge", variables=variables), stand_ins, site, chats) as variant,
    ):
        process = variant.process
        row: dict[str, object] = {
            "conversations": chats,
            "tls": tls,
            "ready_seconds": process.ready_seconds,
            "listening_seconds": process.listening_seconds,
            "start_cpu_seconds": cpu_seconds(process.pid),
            "bare": bare,
        }
        await _calm(variant.world)
        before = RedisUse.of(variant.server.client)
        row["bridge"] = await _idle(plan, process)
        say(f"bare {bare}, bridge {row['bridge']}")
        use = RedisUse.of(variant.server.client) - before
        hours = plan.idle_seconds / 3600
        row["redis_idle"] = {
            "commands_per_hour": use.commands / hours,
            "round_trips_per_hour": use.round_trips / hours,
            "bytes_per_hour": (use.received + use.sent) / hours,
            "memory": variant.server.client.info("memory")["used_memory"],
        }
        # The clocks of more conversations than these have no influence.
        used = min(chats, plan.conversations)
        variant.driver = Driver(variant.world, process, variant.server, used)
        volumes = await warm(variant, plan)
        row["cost"] = {
            one: [await cost(variant, one, volumes[one]) for _ in range(3)] for one in DIRECTIONS
        }
        row["not_acknowledged"] = variant.world.written_again
    return row


async def _bare(
    plan: Plan, site: Site, chats: int, stand_ins: StandIns, variables: Mapping[str, str]
) -> dict[str, float]:
    world = stand_ins.world("sockets")
    words = (*SOCKETS, world.sockets, str(chats))
    process = Measured("sockets", words, site.folder, site.cores, variables)
    try:
        await process.until(world, chats, 0)
        await asyncio.sleep(_CALM_SECONDS)
        return await _idle(plan, process)
    finally:
        await process.stop()


async def _idle(plan: Plan, process: Measured) -> dict[str, float]:
    before = cpu_seconds(process.pid)
    await asyncio.sleep(plan.idle_seconds)
    share = (cpu_seconds(process.pid) - before) / plan.idle_seconds
    return {"share": share, "resident": resident_bytes(process.pid)}


async def _calm(world: World) -> None:
    """Wait until nothing is read any more."""
    reads = -1
    while world.calls["transcript"] != reads:
        reads = world.calls["transcript"]
        await asyncio.sleep(_CALM_SECONDS)
