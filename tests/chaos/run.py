"""One run: everything is started, people write, faults strike, then the verdict."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import redis.asyncio

from tests.chaos import evidence, ownership
from tests.chaos.faults import Faults
from tests.chaos.people import People, Wrote
from tests.chaos.plan import Plan
from tests.chaos.report import FAILURES, Result, table
from tests.chaos.story import story
from tests.chaos.verdict import Failure, judge
from tests.chaos.watch import Notes, Watch
from tests.chaos.world import World, running

LOOK_EVERY = 1.0
QUIET = 6.0
"""Nothing new stands anywhere for so many seconds: longer than the bridge waits for anything."""
SHOWN = 5
"""So many failures of each kind are printed."""


async def run(plan: Plan, out: TextIO) -> Result:
    """Run a plan, print the table. The folder with logs and timeline stays where it failed."""
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{plan.seed}-"))
    keep = True
    sandbox = logging.FileHandler(folder / "sandbox.log")
    logging.getLogger("aiohttp").addHandler(sandbox)
    try:
        async with running(plan, folder) as world:
            result = await _run(world, out)
            keep = not result.good
        return result
    finally:
        logging.getLogger("aiohttp").removeHandler(sandbox)
        sandbox.close()
        if keep:
            out.write(f"all failures, logs, timeline: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def _run(world: World, out: TextIO) -> Result:
    began = time.monotonic()
    client = redis.asyncio.Redis(
        unix_socket_path=str(world.redis.socket), socket_timeout=1.0, socket_connect_timeout=1.0
    )
    watch, people, faults = Watch(world, client), People(world), Faults(world, client)
    watching = asyncio.create_task(watch.run())
    try:
        await asyncio.gather(people.run(), faults.run())
        faults.heal()
        desk = asyncio.create_task(people.answer())
        try:
            await _settle(world, people.wrote, watch.notes)
        finally:
            desk.cancel()
            await asyncio.gather(desk, return_exceptions=True)
    finally:
        watch.stop()
        await watching
        await client.aclose()
    result = _judged(world, people.wrote, watch.notes, time.monotonic() - began)
    out.write(table(result) + "\n")
    _explain(world, result, watch.notes, out)
    return result


async def _settle(world: World, wrote: Sequence[Wrote], notes: Notes) -> None:
    """Wait until nothing is missing and nothing new has come for a while, or the time is over."""
    deadline = time.monotonic() + world.size.settle_seconds
    arrivals = evidence.Arrivals(world, wrote)
    stands, since, judged = -1, time.monotonic(), -1
    while time.monotonic() < deadline:
        await asyncio.sleep(LOOK_EVERY)
        arrivals.look()
        if arrivals.stands != stands:
            stands, since = arrivals.stands, time.monotonic()
        if time.monotonic() - since < QUIET:
            continue
        if not arrivals.missing:
            return
        if judged != stands:
            # What is missing may be what could not come. Judging takes long: once is enough.
            judged = stands
            if not judge(evidence.said(world, wrote), evidence.shown(world, notes)).count("lost"):
                return
    world.timeline.note("the time to settle is over")


def _judged(world: World, wrote: Sequence[Wrote], notes: Notes, seconds: float) -> Result:
    size = world.size
    verdict = judge(
        evidence.said(world, wrote),
        evidence.shown(world, notes),
        window=size.slack_timeout + 2 * size.look_seconds,
    )
    orphans, unconnected = evidence.orphans(world)
    takeovers = _takeovers(world, notes)
    return Result(
        seed=world.plan.seed,
        seconds=seconds,
        verdict=verdict,
        orphans=[*orphans, *evidence.stray_posts(world)],
        unconnected=unconnected,
        conversations=len(world.threads),
        places=len({room.id for room in world.rooms.values()}),
        faults=world.struck,
        orders=len(world.plan.trials) + len(world.plan.troubles),
        takeovers=[second for one in takeovers for second in one.seconds],
        kills=len(takeovers),
        not_taken=sum(one.never for one in takeovers),
        hand_overs=ownership.hand_overs(
            world.timeline.entries, {order.kind for order in world.plan.trials}, notes.samples
        ),
        memory_kb=[replica.rss_kb for replica in world.replicas],
        lag=notes.worst_lag,
    )


def _takeovers(world: World, notes: Notes) -> list[ownership.Takeover]:
    """Of kills where others lived on."""
    found = []
    for at, what in world.timeline.entries:
        if not what.startswith("killed"):
            continue
        dead = ownership.died(notes.samples, at, world.size.lease + 1.0)
        if dead is not None:
            places = ownership.places_of(notes.samples, dead, at)
            found.append(ownership.takeover(_open_at(world, at), places, notes.calls, at))
    return found


def _open_at(world: World, moment: float) -> dict[str, list[str]]:
    """Contacts that were connected to an agent then and later, by place."""
    found: dict[str, list[str]] = {}
    team = next(iter(world.pair.slack.world.installations.values())).team
    for number, chats in world.chats().items():
        for chat in chats:
            first, last = chat.contacts[0], chat.contact
            joined = first.agent_ms is not None and first.agent_ms / 1000 < moment
            over = last.ended_ms is not None and last.ended_ms / 1000 < moment + 30.0
            if joined and not over:
                found.setdefault(f"{team}:{world.rooms[number].id}", []).append(chat.id)
    return found


def _explain(world: World, result: Result, notes: Notes, out: TextIO) -> None:
    """Enough of each failure to find it: all in the folder, the first of each kind printed."""
    lines = [f"orphaned: {what}\n" for what in result.orphans]
    lines += [_described(world, failure) for failure in result.verdict.failures]
    (world.folder / "failures.txt").write_text("".join(lines))
    for kind in ("orphaned", *FAILURES):
        out.writelines([line for line in lines if line.startswith(kind)][:SHOWN])
    for number in sorted({failure.conversation for failure in result.verdict.failures}):
        path = world.folder / f"conversation-{number:03d}.txt"
        path.write_text(story(world, number, notes))


def _described(world: World, failure: Failure) -> str:
    room, thread = world.rooms[failure.conversation], world.threads[failure.conversation]
    return (
        f"{failure.kind}: {failure.conversation:03d}{failure.side}{failure.number:04d} "
        f"({room.id}:{thread}) at {failure.at - world.timeline.began:.2f} s: {failure.detail}\n"
    )
