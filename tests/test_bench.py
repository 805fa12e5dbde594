"""A message must not cost far more than the least that it can: only ratios are asserted, and only
such as noise does not explain."""

from __future__ import annotations

import sys

import pytest

from bench.__main__ import run
from bench.phases import BRIDGE, FLOOR, Plan
from bench.report import judged, table

_LITTLE = Plan(
    conversations=60,
    under_way=24,
    rounds=5,
    seconds=0.3,
    latency_seconds=0.0,
    sorts=(FLOOR, BRIDGE),
)


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="reads other processes' clocks")
async def test_a_message_costs_a_small_multiple_of_the_floor() -> None:
    figures = await run(_LITTLE, only="messages")
    assert judged(figures), table(figures)
