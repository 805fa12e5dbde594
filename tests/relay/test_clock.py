"""The machine's clock, and pauses that end when the service stops."""

from __future__ import annotations

import asyncio
import time

import pytest

from bridge.relay.clock import StoppableClock, Stopping, SystemClock
from tests.relay.virtual import EPOCH, FakeClock


async def test_the_machines_clocks() -> None:
    system = SystemClock()
    first = system.boottime()
    before = asyncio.get_running_loop().time()
    await system.sleep(2.0)
    assert asyncio.get_running_loop().time() - before == pytest.approx(2.0)
    assert system.boottime() > first
    assert abs(system.now() - time.time()) < 60.0


async def test_a_pause_lasts_as_long_as_it_should(clock: FakeClock) -> None:
    pauses = StoppableClock(clock)
    await pauses.sleep(5.0)
    assert pauses.boottime() == pytest.approx(5.0)
    assert pauses.now() == pytest.approx(EPOCH + 5.0)


async def test_stopping_ends_pauses_now_and_later(clock: FakeClock) -> None:
    pauses = StoppableClock(clock)
    pause = asyncio.create_task(pauses.sleep(3600.0))
    await clock.sleep(1.0)
    pauses.stop()
    with pytest.raises(Stopping):
        await pause
    with pytest.raises(Stopping):
        await pauses.sleep(3600.0)
    assert clock.boottime() == pytest.approx(1.0)


async def test_a_cancelled_pause_leaves_nothing_behind(clock: FakeClock) -> None:
    pauses = StoppableClock(clock)
    pause = asyncio.create_task(pauses.sleep(3600.0))
    await clock.sleep(1.0)
    pause.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pause
    await clock.sleep(0.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
