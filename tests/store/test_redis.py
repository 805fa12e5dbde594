"""What only a real server shows: round trips, what is written, and how failures are told."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.exceptions import ResponseError

from bridge.core.errors import StoreAway
from bridge.core.model import Contact, Conversation, Phase
from bridge.core.ports import Accepted, Arrival, Intake, Signal
from bridge.store.crypto import Box
from bridge.store.errors import describe
from bridge.store.redis import RedisStore, connect
from tests.store.support import (
    KEY,
    Backend,
    append_only_file,
    eventually,
    first_heard,
    real_backend,
    real_redis,
    thread,
    wrote,
)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with real_backend() as backend:
        yield backend


class Counting(UnixDomainSocketConnection):
    """Counts how often something is sent to Redis."""

    sent = 0

    async def send_packed_command(self, command: object, check_health: bool = True) -> None:
        Counting.sent += 1
        await super().send_packed_command(command, check_health)  # type: ignore[arg-type]  # unexported union


async def test_accept_settle_and_mark_are_one_round_trip_each() -> None:
    async with real_redis() as socket:
        pool = redis.ConnectionPool(connection_class=Counting, path=str(socket))
        store = RedisStore(
            redis.Redis.from_pool(pool), box=Box(KEY), incarnation="one", lease_seconds=30
        )
        await store.renew()
        warm = wrote(thread(), 1)
        await store.accept(warm)
        await store.mark(thread(), ["x"], "")
        await store.settle(Conversation(thread(), Phase.OPEN), [warm.id], unmark=True)
        await store.load(thread())
        counts = []
        for action in (
            store.accept(wrote(thread(), 2)),
            store.mark(thread(), ["y"], "1.0"),
            store.settle(Conversation(thread(), Phase.OPEN), [wrote(thread(), 2).id], unmark=True),
            store.load(thread()),
            store.renew(),
        ):
            before = Counting.sent
            await action
            counts.append(Counting.sent - before)
        await store.close()
    assert counts == [1, 1, 1, 1, 1]


async def test_neither_tokens_nor_text_reach_redis_in_clear() -> None:
    async with real_redis() as socket:
        store = RedisStore(
            connect(unix_socket=socket), box=Box(KEY), incarnation="one", lease_seconds=30
        )
        await store.renew()
        await store.accept(wrote(thread(), text="SECRET-TEXT"))
        contact = Contact("c", "p", "SECRET-TOKEN", "SECRET-CONNECTION")
        await store.settle(
            Conversation(thread(), Phase.OPEN, contact=contact, request="SECRET-REQUEST")
        )
        await store.mark(thread(), ["item"], "1.0")
        kept = await store.load(thread())
        await store.close()
        # The append-only file has every command that ever changed anything.
        written = append_only_file(socket.parent).read_bytes()
    assert kept.conversation.contact == contact
    assert str(thread()).encode() in written
    assert b"SECRET" not in written


async def test_nor_are_they_published(backend: Backend) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    await one.accept(wrote(thread(), 1))
    async with backend.client().pubsub() as channel:
        await channel.subscribe("t:owner:one")
        assert await channel.get_message(timeout=5) is not None
        await two.accept(wrote(thread(), 2, text="SECRET-TEXT"))
        message = await channel.get_message(ignore_subscribe_messages=True, timeout=5)
    assert message is not None
    assert b"SECRET" not in message["data"]
    count, whose, sealed = message["data"].split(b" ", 2)
    assert (count, whose.decode()) == (b"2", str(thread()))
    assert b"SECRET" in Box(KEY).open(sealed, "lane", str(thread()))


async def test_out_of_memory_stores_nothing_and_the_repeat_is_stored(backend: Backend) -> None:
    store, client = await backend.replica("one"), backend.client()
    event = wrote(thread())
    await client.config_set("maxmemory", "1")
    with pytest.raises(StoreAway, match="out of memory"):
        await store.accept(event)
    await client.config_set("maxmemory", "0")
    assert (await store.load(thread())).lane == ()
    assert await store.accept(event) == Accepted(Intake.STORED, mine=True, taken=True)

    await client.config_set("maxmemory", "1")
    with pytest.raises(StoreAway, match="out of memory"):
        await store.settle(Conversation(thread(), Phase.OPEN), [event.id])
    with pytest.raises(StoreAway, match="out of memory"):
        await store.mark(thread(), ["x"], "")
    await client.config_set("maxmemory", "0")
    kept = await store.load(thread())
    assert (kept.lane, kept.mark, kept.conversation.phase) == ((event,), None, Phase.NEW)


async def test_a_replica_is_told_from_a_primary(backend: Backend) -> None:
    store, client = await backend.replica("one"), backend.client()
    await client.replicaof("127.0.0.1", "1")
    with pytest.raises(StoreAway, match="read-only replica"):
        await store.accept(wrote(thread(), text="SECRET-TEXT"))
    await client.replicaof("NO", "ONE")


async def test_missing_and_wrong_passwords_are_told_apart(backend: Backend) -> None:
    client = backend.client()
    socket = client.connection_pool.connection_kwargs["path"]
    await client.config_set("requirepass", "right")
    for url, told in (
        (f"unix://{socket}", "asks for a password"),
        (f"unix://:wrong@{socket}", "refuses the user or password"),
    ):
        other = connect(url)
        store = RedisStore(other, box=Box(KEY), incarnation="one", lease_seconds=30)
        with pytest.raises(StoreAway, match=told) as raised:
            await store.ping()
        assert "wrong" not in str(raised.value)
        await store.close()
    await client.config_set("requirepass", "")


async def test_a_redis_that_is_not_there_cannot_be_reached(tmp_path: Path) -> None:
    client = connect(unix_socket=tmp_path / "nothing.sock")
    store = RedisStore(client, box=Box(KEY), incarnation="one", lease_seconds=30)
    with pytest.raises(StoreAway, match="cannot be reached") as raised:
        await store.accept(wrote(thread(), text="SECRET-TEXT"))
    assert raised.value.__cause__ is None
    with pytest.raises(StoreAway, match="cannot be reached"):
        await store.load(thread())
    await store.close()


async def test_a_redis_that_hangs_is_noticed() -> None:
    silent: list[asyncio.StreamWriter] = []
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        socket = Path(folder) / "s"
        hung = await asyncio.start_unix_server(lambda _, writer: silent.append(writer), socket)
        async with hung:
            client = connect(unix_socket=socket, timeout_seconds=0.1)
            store = RedisStore(client, box=Box(KEY), incarnation="one", lease_seconds=30)
            async with asyncio.timeout(5):
                with pytest.raises(StoreAway, match="does not answer in time"):
                    await store.ping()
            await store.close()
            for writer in silent:
                writer.close()
                await writer.wait_closed()
    assert silent


async def test_arrivals_come_again_after_the_connection_broke(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.store.subscription._RECONNECT_SECONDS", 0.01)
    one, two, client = await backend.replica("one"), await backend.replica("two"), backend.client()
    await one.accept(wrote(thread(), 1))

    async def listens() -> bool:
        return dict(await client.pubsub_numsub("t:owner:one")) == {b"t:owner:one": 1}

    arrival = asyncio.create_task(first_heard(one))
    await eventually(listens)
    assert await client.client_kill_filter(_type="pubsub") == 1
    await eventually(listens)
    await two.accept(wrote(thread(), 2))
    async with asyncio.timeout(5):
        assert await arrival == Arrival(wrote(thread(), 2), 2)


async def test_a_subscription_that_went_silent_is_made_anew(tmp_path: Path) -> None:
    """Something between us and Redis forgot the connection: nobody closes it, nothing comes."""
    pumps: list[asyncio.Task[None]] = []
    ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(redis_socket)
        ends.extend((writer, back))
        pumps.extend(asyncio.create_task(pump(*way)) for way in ((reader, back), (there, writer)))

    between = tmp_path / "s"
    client = connect(unix_socket=between)
    store = RedisStore(client, box=Box(KEY), incarnation="one", lease_seconds=0.6)
    async with real_redis() as redis_socket, asyncio.timeout(10):
        server = await asyncio.start_unix_server(forward, between)
        arrivals = store.arrivals()
        assert await anext(arrivals) is Signal.LISTENING
        for one in pumps:
            one.cancel()
        assert await anext(arrivals) is Signal.LISTENING
        with pytest.raises(TimeoutError):  # a quiet one that answers is kept
            await asyncio.wait_for(anext(arrivals), 1.0)
        await store.close()
        server.close()
        for end in ends:
            end.close()
            await end.wait_closed()


async def test_what_cannot_be_read_on_the_channel_is_skipped(backend: Backend) -> None:
    one, two, client = await backend.replica("one"), await backend.replica("two"), backend.client()
    await one.accept(wrote(thread(), 1))

    async def published() -> bool:
        heard = await client.publish("t:owner:one", b"garbage")
        return bool(heard == 1 and await client.publish("t:owner:one", b"1 \xff garbage") == 1)

    arrival = asyncio.create_task(first_heard(one))
    await eventually(published)
    await two.accept(wrote(thread(), 2))
    async with asyncio.timeout(5):
        assert await arrival == Arrival(wrote(thread(), 2), 2)
    assert backend.unreadable == ["", "\ufffd"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", "cannot write to its disk"),
        ("MISCONF Errors writing to the AOF file: No space left", "cannot write to its disk"),
        ("LOADING Redis is loading the dataset in memory", "still loading"),
        ("NOREPLICAS Not enough good replicas to write.", "too few replicas"),
        ("BUSY Redis is busy running a script.", "somebody's script"),
        ("NOPERM this user has no permissions to run the 'evalsha' command", "lacks a permission"),
        (
            "ERR Error running script (call to f_1): @user_script:9: -READONLY You can't write.",
            "read-only replica",
        ),
        ("WRONGTYPE Operation against a key", "refuses a command"),
    ],
)
def test_each_kind_of_refusal_has_its_own_words(text: str, told: str) -> None:
    assert told in str(describe(ResponseError(text)))
    assert text not in str(describe(ResponseError(text)))
