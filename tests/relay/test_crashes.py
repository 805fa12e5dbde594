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


@pytest.mark.parametrize(("at", "after"), POINTS)
async def test_a_crash_after_which_connect_has_forgotten_the_tokens(at: int, after: bool) -> None:
    await _played(Lifeline(at, after=after), forget=True)
