"""kill -9 at every call to a port: nothing is lost, nothing doubled, nothing out of order."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.relay.lifeline import Lifeline
from tests.relay.play import POLICY, greet, play
from tests.relay.virtual import VirtualLoop
from tests.relay.world import World, a_world


async def _succeed(world: World, lifeline: Lifeline, *, forget: bool) -> None:
    """When the replica dies, another one comes."""
    await lifeline.cut.wait()
    await world.replicas[-1].kill()
    if forget:
        world.connect.forget_tokens()
    await world.replica(POLICY)


async def _played(lifeline: Lifeline, *, forget: bool = False) -> None:
    async with a_world() as world:
        greet(world)
        await world.replica(POLICY, lifeline=lifeline)
        successor = asyncio.create_task(_succeed(world, lifeline, forget=forget))
        try:
            await play(world)
        finally:
            successor.cancel()
            await asyncio.gather(successor, return_exceptions=True)


def _calls() -> list[str]:
    """Every call to a port that the play makes when nobody dies."""

    async def undisturbed() -> list[str]:
        lifeline = Lifeline()
        await _played(lifeline)
        return list(lifeline.calls)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(undisturbed())


CALLS = _calls()
"""The same in every life: the loop, the clock and the fakes leave nothing to chance."""
POINTS = [
    pytest.param(number, after, id=f"{number}-{call}-{'after' if after else 'before'}")
    for number, call in enumerate(CALLS, 1)
    for after in (False, True)
]


@pytest.mark.parametrize(("at", "after"), POINTS)
async def test_a_crash_at_any_call(at: int, after: bool) -> None:
    await _played(Lifeline(at, after=after))


UNANSWERED = {"connect.start", "chat.send"}
IN_THE_AIR = [
    point
    for point, at in zip(POINTS, (n for n in range(len(CALLS)) for _ in range(2)), strict=True)
    if UNANSWERED & set(CALLS[max(at - 3, 0) : at + 1])
]
"""Where a start or a message may be in the air: a token tells its repeat from another."""


@pytest.mark.parametrize(("at", "after"), IN_THE_AIR)
async def test_a_crash_after_which_connect_has_forgotten_the_tokens(at: int, after: bool) -> None:
    await _played(Lifeline(at, after=after), forget=True)


@pytest.mark.parametrize("seed", range(20))
async def test_one_crash_after_the_other(seed: int) -> None:
    chance = random.Random(seed)

    def mortal() -> Lifeline:
        return Lifeline(chance.randrange(1, 50), after=chance.random() < 0.5)

    async def succeed(world: World) -> None:
        for _ in range(6):
            await world.replicas[-1].lifeline.cut.wait()
            await world.replicas[-1].kill()
            last = len(world.replicas) == 6
            await world.replica(POLICY, lifeline=Lifeline() if last else mortal())

    async with a_world() as world:
        greet(world)
        await world.replica(POLICY, lifeline=mortal())
        succession = asyncio.create_task(succeed(world))
        try:
            await play(world, pause=400.0)
        finally:
            succession.cancel()
            await asyncio.gather(succession, return_exceptions=True)
