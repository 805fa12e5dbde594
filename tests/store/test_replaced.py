"""A Redis that was restarted, promoted or put back is told from the one before."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.core.errors import NotOwner, StoreAway, StoreReplaced
from bridge.core.model import Conversation, Phase
from bridge.core.ports import Accepted, Intake, Signal
from bridge.store.crypto import Box
from bridge.store.redis import RedisStore, connect
from tests.store.server import Server, a_server
from tests.store.support import (
    KEY,
    Backend,
    FakeServer,
    fake_backend,
    place,
    thread,
    wrote,
)

MINE = Accepted(Intake.STORED, mine=True)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with fake_backend() as backend:
        yield backend


@pytest.fixture
def server(backend: Backend) -> FakeServer:
    assert backend.server
    return backend.server


async def back(store: RedisStore, *channels: str, sure: bool = True) -> list[str]:
    """Renew and take these back; those that are ours then."""
    renewal = await store.renew()
    assert renewal.replaced
    assert renewal.lost
    taken = await store.retake([place(channel) for channel in channels], sure)
    return [one.channel for one in taken]


async def test_nothing_is_done_before_our_lease_is_renewed_and_our_places_are_back(
    backend: Backend, server: FakeServer
) -> None:
    store = await backend.replica("one")
    await store.accept(wrote(thread()))
    server.put_back(server.snapshot())
    event, state = wrote(thread(), 2), Conversation(thread(), Phase.OPEN)
    with pytest.raises(StoreReplaced):
        await store.claim(1)
    for renewed in (False, True):
        if renewed:
            await store.renew()
        for call in (
            store.accept(event),
            store.settle(state),
            store.mark(thread(), ["x"], ""),
            store.forget(thread(), []),
            store.load(thread()),
            store.load_place(place()),
        ):
            with pytest.raises(StoreReplaced):
                await call
    assert await back(store, "C1") == ["C1"]
    assert await store.accept(event) == MINE
    await store.settle(state)
    assert len((await store.load(thread())).lane) == 2


async def test_what_is_free_is_taken_back_and_what_lives_elsewhere_is_not(
    backend: Backend, server: FakeServer
) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    dead = await backend.replica("dead")
    await dead.accept(wrote(thread("C1")))
    await one.accept(wrote(thread("C2")))
    await two.accept(wrote(thread("C3")))
    await dead.release()
    server.put_back(server.snapshot())
    assert await back(one, "C2", "C3", "C4", "C1", sure=False) == ["C2", "C4"]
    server.put_back(server.snapshot())
    # Where our lease held until then, whoever is named and dead was our predecessor.
    assert await back(one, "C1", "C3", sure=True) == ["C1"]


async def test_others_take_nothing_until_whoever_knows_better_had_time(
    backend: Backend, server: FakeServer
) -> None:
    empty = server.snapshot()
    one, two = await backend.replica("one"), await backend.replica("two")
    await two.accept(wrote(thread("C2")))
    server.put_back(empty)
    assert await back(one) == []
    assert not (await one.accept(wrote(thread("C1")))).mine
    assert not (await one.accept(wrote(thread("C2"), 2))).mine
    assert await one.claim(10) == []
    assert await back(two, "C2") == ["C2"]
    [found] = await two.load_place(place("C2"))
    assert found.lane == (wrote(thread("C2"), 2),)
    await backend.client().delete("t:settling")  # its time is over
    assert await two.claim(10) == []  # a fair share is what it has
    assert await one.claim(10) == [place("C1")]
    await two.settle(Conversation(thread("C2"), Phase.OPEN))
    with pytest.raises(NotOwner):
        await one.settle(Conversation(thread("C2"), Phase.OPEN))


async def test_a_state_is_in_doubt_until_it_is_written_without(
    backend: Backend, server: FakeServer
) -> None:
    store = await backend.replica("one")
    await store.accept(wrote(thread()))
    state = Conversation(thread(), Phase.OPEN)
    await store.settle(state, [wrote(thread()).id])
    assert (await store.load(thread())).doubt == 0.0
    server.put_back(server.snapshot())
    await back(store, "C1")
    now = (await store.renew()).redis_time
    assert now - 60 < (await store.load(thread())).doubt <= now
    await store.settle(state, doubt=True)
    assert (await store.load(thread())).doubt > 0
    await store.settle(state)
    assert (await store.load(thread())).doubt == 0.0


async def test_events_without_a_state_are_in_doubt_where_they_are_old(
    backend: Backend, server: FakeServer
) -> None:
    store = await backend.replica("one")
    await store.accept(wrote(thread()))
    assert (await store.load(thread())).doubt == 0.0
    server.put_back(server.snapshot())
    await back(store, "C1")
    assert (await store.load(thread())).doubt > 0
    assert (await store.load(thread("C9"))).doubt == 0.0


async def test_who_starts_is_told_once(backend: Backend, server: FakeServer) -> None:
    await backend.replica("one")
    server.put_back(server.snapshot())
    for name, lost in (("two", True), ("three", False)):
        renewal = await backend.store(name).renew()
        assert (renewal.lost, renewal.replaced) == (lost, False)


async def test_the_last_to_stop_certifies_that_nothing_was_lost(
    backend: Backend, server: FakeServer
) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    for store, lost in ((one, True), (two, False)):
        await store.release()
        server.put_back(server.snapshot())
        later = backend.store(f"after {lost}")
        assert (await later.renew()).lost is lost
        if lost:  # it goes on with the other
            await later.release()
            await back(two)


# --- a real one ----------------------------------------------------------------------------------


@pytest.fixture
async def real() -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        async with a_server(Path(folder)) as server:
            yield server


@asynccontextmanager
async def store_of(server: Server, url: str = "") -> AsyncIterator[RedisStore]:
    store = RedisStore(
        connect(url or server.url), box=Box(KEY), incarnation="one", lease_seconds=30
    )
    try:
        yield store
    finally:
        await store.close()


async def test_a_restart_is_noticed(real: Server) -> None:
    async with store_of(real) as store:
        await store.renew()
        await store.accept(wrote(thread()))
        real.kill()
        await real.start()
        with pytest.raises(StoreReplaced):
            await store.accept(wrote(thread(), 2))
        assert await back(store, "C1") == ["C1"]
        assert len((await store.load(thread())).lane) == 1


async def test_a_promotion_is_noticed(real: Server) -> None:
    async with store_of(real) as store:
        await store.renew()
        await real.do("REPLICAOF", "127.0.0.1", "1")
        await real.do("REPLICAOF", "NO", "ONE")
        assert await back(store) == []


async def test_after_read_only_the_subscription_is_made_anew_too(real: Server) -> None:
    """Behind the name there may be another server by now. It is asked all the time whether it lives:
    redis-py does not bear that its connection is closed when it is about to write."""
    store = RedisStore(connect(real.url), box=Box(KEY), incarnation="one", lease_seconds=0.003)
    arrivals = store.arrivals()

    async def listening() -> bool:
        return await anext(arrivals) is Signal.LISTENING

    assert await listening()
    for number in range(6):
        again = asyncio.create_task(listening())
        await real.do("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreAway, match="read-only"):
            await store.accept(wrote(thread(), number))
        assert await asyncio.wait_for(again, 10)
        await real.do("REPLICAOF", "NO", "ONE")
    await store.close()


async def test_so_it_is_while_nobody_waits_for_a_message(real: Server) -> None:
    async with store_of(real) as store:
        arrivals = store.arrivals()
        assert await anext(arrivals) is Signal.LISTENING
        await real.do("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreAway, match="read-only"):
            await store.accept(wrote(thread()))
        assert await asyncio.wait_for(anext(arrivals), 10) is Signal.LISTENING


async def test_where_redis_does_not_say_which_it_is_that_is_a_concern(real: Server) -> None:
    """And everything works all the same."""
    await real.do("ACL", "SETUSER", "bridge", "on", ">p", "~*", "&*", "+@all", "-info")
    url = real.url.replace("unix://", "unix://bridge:p@")
    async with store_of(real, url) as store:
        await store.renew()
        assert (await store.accept(wrote(thread()))).mine
        assert not (await store.renew()).lost
        [concern] = await store.concerns()
        assert "INFO" in concern


async def test_settings_that_endanger_what_is_stored_are_named(real: Server) -> None:
    async with store_of(real) as store:
        await store.renew()
        assert await store.concerns() == []
        await real.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await real.do("CONFIG", "SET", "appendonly", "no")
        policy, appendonly = await store.concerns()
        assert "allkeys-lru" in policy
        assert "appendonly" in appendonly
