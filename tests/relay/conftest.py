"""Every test here lives in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from tests.relay.virtual import FakeClock, VirtualLoop
from tests.relay.world import World, a_world


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualLoop]]:
    return {"virtual": VirtualLoop}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world
