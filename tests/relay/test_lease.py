"""How long a replica may believe in its lease."""

from __future__ import annotations

import pytest

from bridge.core.errors import NotOwner
from bridge.core.ports import Renewal
from bridge.relay.lease import Lease
from tests.relay.virtual import FakeClock


async def test_without_a_renewal_there_is_no_lease(clock: FakeClock) -> None:
    lease = Lease(clock, 30.0)
    assert not lease.lived
    with pytest.raises(NotOwner):
        lease.guard()


async def test_it_counts_from_before_the_renewal_was_sent(clock: FakeClock) -> None:
    lease = Lease(clock, 30.0)
    sent_at = clock.boottime()
    await clock.sleep(5.0)  # the answer was slow
    lease.renewed(sent_at, Renewal(held=True, pending={}, redis_time=1000.0))
    await clock.sleep(24.0)
    lease.guard()
    await clock.sleep(1.0)
    with pytest.raises(NotOwner):
        lease.guard()
    assert (lease.held, lease.lived) == (False, True)


@pytest.mark.parametrize(("there", "back"), [(0.0, 0.0), (8.0, 0.0), (0.0, 8.0)])
async def test_redis_time_is_never_thought_later_than_it_is(
    clock: FakeClock, there: float, back: float
) -> None:
    lease = Lease(clock, 30.0)
    await clock.sleep(100.0)
    sent_at = clock.boottime()
    await clock.sleep(there)  # a process that stood still before the request was written
    renewal = Renewal(held=True, pending={}, redis_time=5000.0)
    await clock.sleep(back)
    lease.renewed(sent_at, renewal)
    await clock.sleep(7.0)
    assert lease.redis_now() == pytest.approx(5007.0)
