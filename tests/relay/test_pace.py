"""One post a second into a channel, with short bursts."""

from __future__ import annotations

import asyncio

import pytest

from bridge.core.model import Place, Workspace
from bridge.relay.pace import Pace
from tests.relay.virtual import FakeClock

HERE, THERE = (Place(Workspace("T1"), channel) for channel in ("C1", "C2"))


async def _turns(pace: Pace, clock: FakeClock, place: Place, count: int) -> list[float]:
    begun = clock.boottime()
    times: list[float] = []

    async def turn() -> None:
        await pace.turn(place)
        times.append(clock.boottime() - begun)

    await asyncio.gather(*(turn() for _ in range(count)))
    return times


async def test_a_burst_and_then_one_a_second(clock: FakeClock) -> None:
    pace = Pace(clock, per_second=1.0, burst=4)
    await clock.sleep(100.0)
    assert await _turns(pace, clock, HERE, 7) == pytest.approx([0, 0, 0, 0, 1, 2, 3])


async def test_a_pause_earns_the_burst_again(clock: FakeClock) -> None:
    pace = Pace(clock, per_second=2.0, burst=3)
    await clock.sleep(100.0)
    await _turns(pace, clock, HERE, 5)
    await clock.sleep(1.5)
    assert await _turns(pace, clock, HERE, 4) == pytest.approx([0, 0, 0, 0.5])


async def test_turns_come_in_the_order_of_asking(clock: FakeClock) -> None:
    pace = Pace(clock)
    order: list[int] = []

    async def turn(number: int) -> None:
        await pace.turn(HERE)
        order.append(number)

    await asyncio.gather(*(turn(number) for number in range(10)))
    assert order == list(range(10))


async def test_a_hold_concerns_its_place_only(clock: FakeClock) -> None:
    pace = Pace(clock)
    await clock.sleep(100.0)
    pace.hold(HERE, 30.0)
    assert await _turns(pace, clock, THERE, 1) == pytest.approx([0])
    assert await _turns(pace, clock, HERE, 2) == pytest.approx([30, 31])


async def test_a_hold_never_shortens_the_wait(clock: FakeClock) -> None:
    pace = Pace(clock)
    pace.hold(HERE, 30.0)
    pace.hold(HERE, 1.0)
    assert await _turns(pace, clock, HERE, 1) == pytest.approx([30])


async def test_places_that_fell_silent_are_forgotten(clock: FakeClock) -> None:
    pace = Pace(clock)
    for number in range(500):
        await pace.turn(Place(Workspace("T1"), f"C{number}"))
        await clock.sleep(1.0)
    assert len(pace._lines) < 10
