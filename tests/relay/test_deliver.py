"""The one retry policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.core.errors import (
    Denied,
    Failure,
    Gone,
    NotOwner,
    Rejected,
    StoreAway,
    Temporary,
    Uncertain,
)
from bridge.relay.deliver import FOREVER, Patience, insist, next_try, store_insist
from tests.relay.virtual import FakeClock

TEMPORARY = Temporary("call", "x")
HELD_OFF = Temporary("call", "x", retry_after=7.0)
UNCERTAIN = Uncertain("call", "x")


@pytest.mark.parametrize(
    ("failure", "attempt", "age", "patience", "delay"),
    [
        (TEMPORARY, 1, 0.0, FOREVER, 0.5),
        (TEMPORARY, 2, 0.5, FOREVER, 1.0),
        (TEMPORARY, 4, 3.5, FOREVER, 4.0),
        (TEMPORARY, 7, 99.0, FOREVER, 30.0),
        (TEMPORARY, 10_000, 1e6, FOREVER, 30.0),
        (TEMPORARY, 1, 9.5, Patience(10.0), 0.5),
        (TEMPORARY, 1, 9.6, Patience(10.0), None),
        (HELD_OFF, 1, 0.0, FOREVER, 7.0),
        (HELD_OFF, 9, 0.0, FOREVER, 7.0),
        (HELD_OFF, 1, 4.0, Patience(10.0), None),
        (Temporary("call", "x", retry_after=-1.0), 1, 0.0, FOREVER, 0.0),
        (Denied("call", "x"), 1, 0.0, FOREVER, 30.0),
        (UNCERTAIN, 1, 0.0, FOREVER, 0.5),
        (UNCERTAIN, 1, 0.0, Patience(60.0, repeatable=False), None),
        (Rejected("call", "x"), 1, 0.0, FOREVER, None),
        (Gone("call", "x"), 1, 0.0, FOREVER, None),
    ],
)
def test_when_to_try_again(
    failure: Failure, attempt: int, age: float, patience: Patience, delay: float | None
) -> None:
    assert next_try(failure, attempt, age, patience) == delay


class _Call:
    """Fails as told, then works."""

    def __init__(self, clock: FakeClock, *failures: Exception) -> None:
        self.times: list[float] = []
        self._clock = clock
        self._failures = list(failures)

    async def __call__(self) -> str:
        self.times.append(self._clock.boottime())
        if self._failures:
            raise self._failures.pop(0)
        return "done"


async def test_it_insists_with_growing_pauses(clock: FakeClock) -> None:
    call = _Call(clock, TEMPORARY, UNCERTAIN, TEMPORARY)
    assert await insist(call, "test", clock) == "done"
    pauses = [after - before for before, after in zip(call.times, call.times[1:], strict=False)]
    for pause, least in zip(pauses, (0.5, 1.0, 2.0), strict=True):
        assert least <= pause <= 1.25 * least


async def test_it_gives_up_when_patience_ends(clock: FakeClock) -> None:
    call = _Call(clock, *[TEMPORARY] * 100)
    with pytest.raises(Temporary):
        await insist(call, "test", clock, Patience(60.0))
    assert 5 < len(call.times) < 12
    assert call.times[-1] <= 60.0


@pytest.mark.parametrize("failure", [Rejected("call", "x"), Gone("call", "x")])
async def test_it_does_not_insist_on_the_impossible(clock: FakeClock, failure: Failure) -> None:
    call = _Call(clock, failure)
    with pytest.raises(type(failure)):
        await insist(call, "test", clock)
    assert len(call.times) == 1


async def test_it_tells_of_every_failure_that_is_tried_again(clock: FakeClock) -> None:
    told: list[tuple[Failure, float]] = []
    call = _Call(clock, HELD_OFF, UNCERTAIN, Rejected("call", "x"))
    note: Callable[[Failure, float], None] = lambda failure, age: told.append((failure, age))  # noqa: E731  # typed
    with pytest.raises(Rejected):
        await insist(call, "test", clock, on_retry=note)
    assert [failure for failure, _ in told] == [HELD_OFF, UNCERTAIN]
    assert told[0][1] == 0.0
    assert told[1][1] >= 7.0


async def test_it_waits_for_redis_however_long(clock: FakeClock) -> None:
    call = _Call(clock, *[StoreAway("away")] * 50)
    assert await store_insist(call, clock) == "done"
    assert max(b - a for a, b in zip(call.times, call.times[1:], strict=False)) < 5.1


async def test_it_does_not_insist_on_what_another_owns(clock: FakeClock) -> None:
    call = _Call(clock, StoreAway("away"), NotOwner("not ours"))
    with pytest.raises(NotOwner):
        await store_insist(call, clock)
    assert len(call.times) == 2
