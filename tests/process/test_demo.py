"""`demo --tour` as a process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.support import programs_below
from tests.process.support import Program

pytestmark = pytest.mark.process


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path, "demo", "--tour", TMPDIR=str(tmp_path))
    try:
        yield program
    finally:
        program.stop()


async def test_the_tour_holds(tour: Program, tmp_path: Path) -> None:
    assert await tour.ends() == 0, tour.said()
    assert "Everything held." in tour.said()
    assert "✗" not in tour.said()
    assert not programs_below(tmp_path)


async def test_control_c_leaves_nothing_behind(tour: Program, tmp_path: Path) -> None:
    await tour.says("An agent accepts")
    assert len(programs_below(tmp_path)) >= 3, "the demo, its service and the Redis of that"
    tour.send_group(signal.SIGINT)
    assert await tour.ends() == 130
    assert not programs_below(tmp_path)
