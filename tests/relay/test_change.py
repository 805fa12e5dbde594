"""A lane's task sleeps until something changed."""

from __future__ import annotations

import asyncio

import pytest

from bridge.relay.change import Change


async def test_who_waits_is_woken() -> None:
    change = Change()
    waiting = asyncio.create_task(change.wait())
    await asyncio.sleep(1.0)
    assert not waiting.done()
    change.set()
    change.clear()
    await waiting


async def test_who_comes_late_does_not_wait_until_it_is_forgotten() -> None:
    change = Change()
    change.set()
    change.set()
    await change.wait()
    change.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(change.wait(), 1.0)


async def test_who_gave_up_waiting_may_wait_again() -> None:
    change = Change()
    waiting = asyncio.create_task(change.wait())
    await asyncio.sleep(1.0)
    waiting.cancel()
    change.set()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    change.clear()
    again = asyncio.create_task(change.wait())
    await asyncio.sleep(1.0)
    assert not again.done()
    change.set()
    await again
