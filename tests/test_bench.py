"""A message must not cost far more than the least that it can: only ratios are asserted, and only
such as noise does not explain."""

from __future__ import annotations

import sys

import pytest

from bench.__main__ import QUICK, run
from bench.report import judged, table


@pytest.mark.process
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads other processes' clocks")
async def test_a_message_costs_a_small_multiple_of_the_floor() -> None:
    """All of `make bench BENCH=--quick`."""
    figures = await run(QUICK)
    assert judged(figures), table(figures)
