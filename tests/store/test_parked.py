"""What is parked: put there and taken out by one script each, on a stand-in and a real server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet

from bridge import metrics
from bridge.core.errors import NotOwner
from bridge.core.events import Returned, Wrote
from bridge.core.model import AgentMessage, Conversation, CustomerMessage, Phase, Progress, Retry
from bridge.core.parked import Parked
from bridge.core.ports import Arrival
from bridge.store import redis as store_module
from bridge.store.crypto import Box
from bridge.store.errors import Unreadable
from bridge.store.parked import ParkedStore
from bridge.store.redis import RedisStore
from tests.store.support import (
    KEY,
    Backend,
    fake_backend,
    next_arrival,
    place,
    real_backend,
    thread,
    wrote,
)


@pytest.fixture(params=["fake", "real"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with fake_backend() if request.param == "fake" else real_backend() as backend:
        yield backend


@pytest.fixture
async def store(backend: Backend) -> RedisStore:
    return await backend.replica("one")


@pytest.fixture
def shelf(backend: Backend) -> ParkedStore:
    return ParkedStore(backend.client(), Box(KEY), "t")


def unsent(number: int = 1, *, at: float | None = None) -> Parked:
    ts = f"17000000{number:02d}.000200"
    retry = Retry(generation=1, progress=Progress(ts, "secret words", 4, 4))
    message = CustomerMessage(ts, ts, "U1", "secret words", retry=retry)
    return Parked(thread(), Wrote(message), time.time() if at is None else at, "rejected")


def unposted() -> Parked:
    message = AgentMessage("item", "Ann", "secret words", time=5.0, retry=Retry(since="1.2"))
    return Parked(thread(), Returned(message), time.time(), "denied")


async def park(store: RedisStore, *parked: Parked, done: tuple[str, ...] = ()) -> None:
    await store.settle(Conversation(thread(), Phase.OPEN), done, park=parked)


async def test_it_is_parked_by_the_write_that_removes_the_event(
    backend: Backend, store: RedisStore, shelf: ParkedStore
) -> None:
    event = wrote(thread())
    await store.accept(event)
    failed = [unsent(), unposted()]
    await park(store, *failed, done=(event.id,))
    kept = await store.load(thread())
    assert kept.lane == ()
    assert kept.conversation.phase is Phase.OPEN
    assert [entry.parked for entry in await shelf.entries()] == failed
    assert "secret" not in repr(await backend.client().hgetall("t:parked"))
    assert (await store.renew()).parked == 2


async def test_whoever_does_not_own_the_place_parks_nothing(
    backend: Backend, store: RedisStore, shelf: ParkedStore
) -> None:
    await store.accept(wrote(thread()))
    other = await backend.replica("two")
    with pytest.raises(NotOwner):
        await park(other, unsent())
    assert await shelf.entries() == []


async def test_told_twice_it_is_parked_once(store: RedisStore, shelf: ParkedStore) -> None:
    await store.accept(wrote(thread()))
    for _ in range(2):
        await park(store, unsent())
    assert len(await shelf.entries()) == 1


async def test_tried_again_it_moves_into_its_lane_and_the_owner_hears_of_it(
    backend: Backend, store: RedisStore, shelf: ParkedStore
) -> None:
    event = wrote(thread())
    await store.accept(event)
    await park(store, unsent(), unposted(), done=(event.id,))
    arrival = await next_arrival(backend, store, "one")
    first, second = await shelf.entries()
    assert await shelf.retry(first, now=1.7e9)
    assert first.parked is not None
    assert await arrival == Arrival(first.parked.again(1.7e9), 1)
    assert await shelf.retry(second, now=1.7e9)
    lane = {one.id: one for one in (await store.load(thread())).lane}
    again = [entry.parked.again(1.7e9) for entry in (first, second) if entry.parked]
    assert lane == {one.id: one for one in again}
    assert await shelf.entries() == []
    assert (await store.renew()).pending == {place(): 2}
    # The retries are events like any other from here on.
    await store.settle(Conversation(thread(), Phase.OPEN), list(lane))
    assert (await store.load(thread())).lane == ()


async def test_it_is_tried_again_once_whoever_asks_and_however_often(
    store: RedisStore, shelf: ParkedStore
) -> None:
    await store.accept(wrote(thread()))
    await park(store, unsent())
    [entry] = await shelf.entries()
    assert await shelf.retry(entry, now=1.7e9)
    assert not await shelf.retry(entry, now=1.8e9)
    assert not await shelf.drop(entry)
    # Its owner had no answer to the write that parked it, and repeats that.
    await park(store, unsent())
    assert await shelf.entries() == []


async def test_a_place_without_an_owner_is_claimed_by_whoever_lives(
    backend: Backend, store: RedisStore, shelf: ParkedStore
) -> None:
    event = wrote(thread())
    await store.accept(event)
    await park(store, unsent(), done=(event.id,))
    await store.release()
    [entry] = await shelf.entries()
    assert await shelf.retry(entry, now=1.7e9)
    heir = await backend.replica("heir")
    assert await heir.claim(10) == [place()]
    [kept] = await heir.load_place(place())
    assert len(kept.lane) == 1


async def test_a_conversation_that_was_removed_meanwhile_is_no_obstacle(
    backend: Backend, store: RedisStore, shelf: ParkedStore
) -> None:
    await store.accept(wrote(thread()))
    await park(store, unsent())
    for key in (f"t:conv:{thread()}", f"t:lane:{thread()}", f"t:place:{place()}"):
        await backend.client().delete(key)
    [entry] = await shelf.entries()
    assert await shelf.retry(entry, now=1.7e9)
    assert [one.ts for one in (await store.load(thread())).lane] == ["1700000001.000200"]


async def test_what_is_dropped_is_gone(store: RedisStore, shelf: ParkedStore) -> None:
    event = wrote(thread())
    await store.accept(event)
    await park(store, unsent(1), unsent(2), done=(event.id,))
    first, second = await shelf.entries()
    assert await shelf.drop(first)
    assert not await shelf.drop(first)
    assert [entry.id for entry in await shelf.entries()] == [second.id]
    assert (await store.load(thread())).lane == ()


async def test_of_too_many_the_oldest_make_room_with_an_alarm(
    store: RedisStore, shelf: ParkedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PARKED", 3)
    alarms = metrics.ALARMS.labels("parked_full")
    before = alarms._value.get()
    await store.accept(wrote(thread()))
    now = time.time()
    await park(store, unsent(1, at=now), unsent(2, at=now - 10.0))
    await park(store, unsent(3, at=now + 1.0), unsent(4, at=now + 2.0))
    texts = [one.id for one in await shelf.entries()]
    assert texts == [unsent(number).id for number in (1, 3, 4)]
    assert alarms._value.get() - before == 1


async def test_what_is_older_than_the_retention_goes(store: RedisStore, shelf: ParkedStore) -> None:
    await store.accept(wrote(thread()))
    month = 30 * 24 * 3600.0
    await park(store, unsent(1, at=time.time() - month - 60.0), unsent(2))
    assert (await store.renew()).parked == 1
    assert [entry.id for entry in await shelf.entries()] == [unsent(2).id]


async def test_what_no_key_opens_is_shown_as_that_and_stays(
    backend: Backend, store: RedisStore, shelf: ParkedStore
) -> None:
    await store.accept(wrote(thread()))
    await park(store, unsent())
    stranger = ParkedStore(backend.client(), Box(Fernet.generate_key().decode()), "t")
    [entry] = await stranger.entries()
    assert (entry.id, entry.parked) == (unsent().id, None)
    with pytest.raises(Unreadable):
        await stranger.retry(entry, now=1.7e9)
    assert len(await shelf.entries()) == 1
