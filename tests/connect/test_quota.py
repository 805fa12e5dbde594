from __future__ import annotations

import asyncio

import pytest

from bridge.connect.quota import Bucket, Quotas, Rate, Urgency
from tests.connect.support import FakeClock, settle


def call(
    bucket: Bucket, done: list[str], name: str, urgency: Urgency = Urgency.WAITING
) -> asyncio.Task[None]:
    async def one() -> None:
        await bucket.take(urgency)
        done.append(name)

    return asyncio.create_task(one())


async def test_a_burst_goes_at_once_and_the_rest_at_the_rate_in_order() -> None:
    clock, done = FakeClock(), list[str]()
    bucket = Bucket(Rate(2, 3), clock)
    tasks = [call(bucket, done, str(number)) for number in range(6)]
    await settle()
    assert done == ["0", "1", "2"]
    await clock.advance(0.49)
    assert done == ["0", "1", "2"]
    await clock.advance(0.02)
    assert done == ["0", "1", "2", "3"]
    await clock.advance(1.0)
    assert done == ["0", "1", "2", "3", "4", "5"]
    await asyncio.gather(*tasks)


async def test_who_is_urgent_goes_first_and_equals_keep_their_order() -> None:
    clock, done = FakeClock(), list[str]()
    bucket = Bucket(Rate(1, 1), clock)
    await bucket.take()
    tasks = [
        call(bucket, done, "rotation", Urgency.ROUTINE),
        call(bucket, done, "first", Urgency.RECONNECT),
        call(bucket, done, "second", Urgency.RECONNECT),
    ]
    await settle()
    tasks.append(call(bucket, done, "new chat", Urgency.WAITING))
    await clock.advance(4)
    assert done == ["new chat", "first", "second", "rotation"]
    await asyncio.gather(*tasks)


async def test_a_newcomer_does_not_overtake_whoever_waits() -> None:
    clock, done = FakeClock(), list[str]()
    bucket = Bucket(Rate(1, 1), clock)
    await bucket.take()
    early = call(bucket, done, "early")
    await settle()
    clock.time += 1.5  # a token is free, but the queue was not served yet
    assert not bucket.idle
    late = call(bucket, done, "late")
    await clock.advance(2)
    assert done == ["early", "late"]
    await asyncio.gather(early, late)


async def test_who_gives_up_costs_no_token() -> None:
    clock, done = FakeClock(), list[str]()
    bucket = Bucket(Rate(1, 1), clock)
    await bucket.take()
    impatient, patient = call(bucket, done, "impatient"), call(bucket, done, "patient")
    await settle()
    impatient.cancel()
    await clock.advance(1.01)
    assert done == ["patient"]
    await asyncio.gather(impatient, patient, return_exceptions=True)


async def test_a_429_halves_the_rate_once_and_it_grows_back() -> None:
    clock = FakeClock()
    bucket = Bucket(Rate(8, 8), clock)
    bucket.throttled()
    bucket.throttled()
    assert bucket.rate == 4
    clock.time += 2
    bucket.throttled()
    assert bucket.rate == pytest.approx(2.8)  # (4 + 2 * 0.8) / 2
    clock.time += 100
    assert bucket.rate == 8


async def test_a_429_empties_the_bucket_and_retry_after_closes_it() -> None:
    clock, done = FakeClock(), list[str]()
    bucket = Bucket(Rate(10, 10), clock)
    bucket.throttled(retry_after=5)
    task = call(bucket, done, "one")
    await clock.advance(4.9)
    assert done == []
    await clock.advance(0.2)
    assert done == ["one"]
    await task


async def test_replicas_share_the_quota() -> None:
    clock, done = FakeClock(), list[str]()
    quotas = Quotas(clock, {"SendMessage": Rate(4, 4)})
    quotas.set_share(0.25)
    bucket = quotas["SendMessage"]
    tasks = [call(bucket, done, str(number)) for number in range(3)]
    await settle()
    assert done == ["0"]
    await clock.advance(2.01)
    assert done == ["0", "1", "2"]
    assert quotas["SendMessage"] is bucket
    assert quotas["Unlisted"].rate == 0.5
    with pytest.raises(ValueError, match="share"):
        quotas.set_share(0)
    await asyncio.gather(*tasks)


async def test_closing_leaves_nobody_waiting() -> None:
    clock, done = FakeClock(), list[str]()
    quotas = Quotas(clock, {"SendMessage": Rate(1, 1)})
    await quotas["SendMessage"].take()
    task = call(quotas["SendMessage"], done, "one")
    await settle()
    quotas.close()
    await asyncio.wait_for(task, 1)
    assert done == ["one"]


async def test_of_equal_urgency_the_lowest_rank_goes_first() -> None:
    clock, done = FakeClock(), list[str]()
    bucket = Bucket(Rate(1, 1), clock)
    await bucket.take()

    async def reconnect(name: str, active_at: float) -> None:
        await bucket.take(Urgency.RECONNECT, -active_at)
        done.append(name)

    tasks = [
        asyncio.create_task(reconnect("idle", 10.0)),
        asyncio.create_task(reconnect("active", 90.0)),
        asyncio.create_task(reconnect("less active", 50.0)),
    ]
    await settle()
    tasks.append(call(bucket, done, "new chat", Urgency.WAITING))
    await clock.advance(4)
    assert done == ["new chat", "active", "less active", "idle"]
    await asyncio.gather(*tasks)
