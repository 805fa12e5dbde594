"""One post a second into a channel, with short bursts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bridge.core.model import Place, Workspace
from bridge.relay.clock import StoppableClock, Stopping
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


async def _line_up(
    pace: Pace, clock: FakeClock, tickets: list[tuple[str, bool]], place: Place = HERE
) -> tuple[list[str], list[asyncio.Task[None]]]:
    """Spend the burst, then let these wait. Returns who had a turn so far, and who waits."""
    await clock.sleep(100.0)
    await _turns(pace, clock, place, 4)
    order: list[str] = []

    async def turn(name: str, urgent: bool) -> None:
        await pace.turn(place, lambda: urgent)
        order.append(name)

    tasks = [asyncio.create_task(turn(*ticket)) for ticket in tickets]
    await asyncio.sleep(0)
    return order, tasks


async def test_texts_go_first_and_notices_do_not_wait_for_ever(clock: FakeClock) -> None:
    tickets = [("notice 1", False), ("notice 2", False), *((f"text {n}", True) for n in range(10))]
    order, tasks = await _line_up(Pace(clock), clock, tickets)
    await asyncio.gather(*tasks)
    assert order == [
        *("text 0", "text 1", "text 2", "text 3", "notice 1"),
        *("text 4", "text 5", "text 6", "text 7", "notice 2", "text 8", "text 9"),
    ]


async def test_a_notice_becomes_urgent_while_it_waits(clock: FakeClock) -> None:
    pace, order, behind_it = Pace(clock), list[str](), [False]

    async def turn(name: str, urgent: Callable[[], bool]) -> None:
        await pace.turn(HERE, urgent)
        order.append(name)

    await _turns(pace, clock, HERE, 4)
    tasks = [
        asyncio.create_task(turn("notice", lambda: False)),
        asyncio.create_task(turn("notice and text", lambda: behind_it[0])),
    ]
    await clock.sleep(0.5)
    behind_it[0] = True
    await asyncio.gather(*tasks)
    assert order == ["notice and text", "notice"]


async def test_only_who_had_to_wait_is_behind(clock: FakeClock) -> None:
    pace = Pace(clock)
    assert [await pace.turn(HERE) for _ in range(6)] == [False] * 4 + [True] * 2
    assert await pace.turn(THERE) is False
    await clock.sleep(1.0)
    assert await pace.turn(HERE) is False


async def test_a_hold_concerns_those_who_wait_already(clock: FakeClock) -> None:
    pace = Pace(clock)
    order, tasks = await _line_up(pace, clock, [("one", True), ("two", True)])
    pace.hold(HERE, 30.0)
    await clock.sleep(29.9)
    assert order == []
    await asyncio.gather(*tasks)
    assert order == ["one", "two"]


async def test_who_gives_up_costs_nobody_a_turn(clock: FakeClock) -> None:
    begun = clock.boottime() + 100.0
    order, tasks = await _line_up(Pace(clock), clock, [("one", True), ("two", True)])
    tasks[0].cancel()
    await tasks[1]
    assert order == ["two"]
    assert clock.boottime() - begun == pytest.approx(1.0)


async def test_two_channels_refused_at_once_mean_the_workspace(clock: FakeClock) -> None:
    pace = Pace(clock)
    others = [Place(Workspace("T1"), f"C{number}") for number in range(3, 10)]
    pace.hold(HERE, 10.0)
    assert await pace.turn(others[0]) is False
    pace.hold(THERE, 30.0)
    begun = clock.boottime()
    assert await pace.turn(Place(Workspace("T2"), "C1")) is False
    await asyncio.gather(*(pace.turn(place) for place in others))
    assert clock.boottime() - begun > 29.9


async def test_a_workspace_has_a_pace_of_its_own_and_its_channels_take_turns(
    clock: FakeClock,
) -> None:
    pace = Pace(clock, per_second=1.0, burst=1)
    places = [Place(Workspace("T1"), f"C{number}") for number in range(30)]
    order: list[Place] = []

    async def flood(place: Place) -> None:
        for _ in range(5):
            await pace.turn(place)
            order.append(place)

    begun = clock.boottime()
    await asyncio.gather(*(flood(place) for place in places))
    assert clock.boottime() - begun == pytest.approx(14.0, abs=0.2)  # 150 posts, 10 a second
    rounds = [order[start : start + 30] for start in range(0, 150, 30)]
    assert all(set(places) == set(one) for one in rounds)


class _BusyClock(FakeClock):
    """Time goes on, too, while the event loop is busy."""

    spent = 0.0

    def boottime(self) -> float:
        return super().boottime() + self.spent


async def test_who_comes_later_does_not_overtake_channels_that_wait() -> None:
    clock = _BusyClock()
    pace = Pace(clock, per_second=1.0, burst=1)
    order: list[int] = []

    async def turn(number: int) -> None:
        await pace.turn(Place(Workspace("T1"), f"C{number}"))
        order.append(number)

    tasks = [asyncio.create_task(turn(number)) for number in range(15)]
    await clock.sleep(0.05)
    assert order == list(range(10))
    clock.spent = 1.0  # tokens for all who wait, and more
    await clock.sleep(0.05)  # the first who waits has been told, the next not yet
    await turn(15)
    await asyncio.gather(*tasks)
    assert order == list(range(16))


async def test_who_waits_hears_that_the_service_stops(clock: FakeClock) -> None:
    pauses = StoppableClock(clock)
    order, tasks = await _line_up(Pace(pauses), clock, [("one", True), ("two", False)])
    pauses.stop()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [Stopping, Stopping]
    assert order == []
