"""Everything goes wrong that can, again and again, and still everything arrives once, in order."""

from __future__ import annotations

import asyncio
import random

import pytest

from bridge.core.errors import Temporary, Uncertain
from bridge.core.model import Policy
from tests.relay.fakes import Fault
from tests.relay.lifeline import Redis
from tests.relay.play import greet, play
from tests.relay.world import LEASE, Replica, World, a_world


class Storm:
    """Calls fail, Redis comes and goes, replicas die, stop, and are replaced."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._policy = Policy(initial_message=self._chance.random() < 0.5)
        self._alive: list[Replica] = []

    async def begin(self) -> None:
        self._alive = [await self._world.replica(self._policy) for _ in range(2)]
        self._world.reached = lambda: self._chance.choice(self._alive)
        for faults in (self._world.connect.faults, self._world.customer.faults):
            faults.weather = self._weather

    def _weather(self) -> Fault | None:
        if self._chance.random() > 0.25:
            return None
        return self._chance.choice(
            [
                Fault(Temporary("call", "x")),
                Fault(Temporary("call", "x", retry_after=self._chance.uniform(1.0, 30.0))),
                Fault(Uncertain("call", "x")),
                Fault(Uncertain("call", "x"), after=True),
                Fault(Uncertain("call", "x"), after=True, late=self._chance.uniform(0.1, 4.0)),
            ]
        )

    async def rage(self) -> None:
        """Never ends."""
        while True:
            await asyncio.sleep(self._chance.uniform(0.2, 10.0))
            victim = self._chance.choice(self._alive)
            blow = self._chance.choice([self._kill, self._stop, self._outage, self._outage])
            await blow(victim)

    async def _kill(self, victim: Replica) -> None:
        await victim.kill()
        await self._replace(victim)

    async def _stop(self, victim: Replica) -> None:
        await victim.stop(grace=self._chance.uniform(0.0, 5.0))
        await self._replace(victim)

    async def _replace(self, victim: Replica) -> None:
        self._alive.remove(victim)
        self._alive.append(await self._world.replica(self._policy))

    async def _outage(self, victim: Replica) -> None:
        victims = self._alive if self._chance.random() < 0.5 else [victim]
        state = self._chance.choice([Redis.AWAY, Redis.MUTE])
        for one in victims:
            one.lifeline.redis = state
        await asyncio.sleep(self._chance.uniform(0.1, 1.5 * LEASE))
        for one in victims:
            one.lifeline.redis = Redis.UP


@pytest.mark.parametrize("seed", range(20))
async def test_a_storm(seed: int) -> None:
    async with a_world() as world:
        greet(world)
        storm = Storm(world, seed)
        await storm.begin()
        raging = asyncio.create_task(storm.rage())
        try:
            await play(world, pause=600.0)
        finally:
            raging.cancel()
            await asyncio.gather(raging, return_exceptions=True)
