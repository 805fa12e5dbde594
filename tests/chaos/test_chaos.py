"""A small run of everything; `make chaos` has the large ones."""

from __future__ import annotations

import io

import pytest

from tests.chaos.plan import QUICK, draw
from tests.chaos.run import run

pytestmark = pytest.mark.process


@pytest.mark.timeout(240)
async def test_a_quick_seed_keeps_every_promise() -> None:
    out = io.StringIO()
    result = await run(draw(7, QUICK), out)
    assert result.good, out.getvalue()
    assert sum(result.verdict.messages.values()) >= QUICK.messages * 0.9
    assert len(result.faults) >= 12
