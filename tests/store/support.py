"""Redis for tests: real ones, stand-ins, and stores that share one."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import redis.asyncio as redis
from cryptography.fernet import Fernet
from fakeredis._commands import command
from fakeredis._socket._base import BaseFakeSocket

from bridge.core.events import Incoming, Wrote
from bridge.core.model import ConversationId, CustomerMessage, Place, Workspace
from bridge.core.ports import Arrival, Signal
from bridge.store import embedded
from bridge.store.crypto import Box
from bridge.store.redis import RedisStore, connect

KEY = Fernet.generate_key().decode()


@command(name="INFO", fixed=(), repeat=(bytes,))  # fakeredis has none
def _info(self: Any, *_sections: bytes) -> bytes:
    return f"# Replication\r\nmaster_replid:{self._server.replid}\r\n".encode()


BaseFakeSocket._info = _info  # type: ignore[attr-defined]  # where commands are looked up

Snapshot = Mapping[int, tuple[dict[bytes, Any], list[tuple[float, bytes]]]]


class FakeServer(fakeredis.FakeServer):
    """A stand-in that can lose its last writes."""

    def __init__(self) -> None:
        super().__init__()
        self.replid = 1

    def snapshot(self) -> Snapshot:
        """All that it has now."""
        return copy.deepcopy({n: (db._dict, db._expiry_heap) for n, db in self.dbs.items()})

    def put_back(self, snapshot: Snapshot) -> None:
        """Go on as another Redis, with what was there then."""
        self.replid += 1
        for number, db in self.dbs.items():
            db._dict, db._expiry_heap = copy.deepcopy(snapshot.get(number, ({}, [])))


@asynccontextmanager
async def real_redis() -> AsyncIterator[Path]:
    """A real, empty Redis of its own; yields its Unix socket."""
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        async with embedded.server(Path(folder)) as socket:
            yield socket


def append_only_file(data_dir: Path) -> Path:
    """Where a real server notes every command that changes anything (Redis 7 moved it)."""
    [path] = data_dir.rglob("*.aof")
    return path


@dataclass
class Backend:
    """One Redis, and stores on it as several replicas would have them."""

    new_client: Callable[[], redis.Redis]
    stack: AsyncExitStack
    server: FakeServer | None = None
    """Where it is a stand-in."""
    unreadable: list[str] = field(default_factory=list)

    def client(self) -> redis.Redis:
        client = self.new_client()
        self.stack.push_async_callback(client.aclose)
        return client

    def store(
        self,
        incarnation: str,
        *,
        lease_seconds: float = 30.0,
        key: str = KEY,
        prefix: str = "t",
        places: int = 1000,
    ) -> RedisStore:
        store = RedisStore(
            self.new_client(),
            box=Box(key),
            incarnation=incarnation,
            prefix=prefix,
            lease_seconds=lease_seconds,
            places=places,
            unreadable=self.unreadable.append,
        )
        self.stack.push_async_callback(store.close)
        return store

    async def replica(self, incarnation: str) -> RedisStore:
        """A store whose lease has begun."""
        store = self.store(incarnation)
        await store.renew()
        return store


@asynccontextmanager
async def fake_backend() -> AsyncIterator[Backend]:
    server = FakeServer()
    async with AsyncExitStack() as stack:
        yield Backend(lambda: fakeredis.FakeAsyncRedis(server=server), stack, server)


@asynccontextmanager
async def real_backend() -> AsyncIterator[Backend]:
    async with real_redis() as socket, AsyncExitStack() as stack:
        yield Backend(lambda: connect(unix_socket=socket), stack)


def place(channel: str = "C1") -> Place:
    return Place(Workspace("T1"), channel)


def thread(channel: str = "C1", ts: str = "1700000000.000100") -> ConversationId:
    return ConversationId(place(channel), ts)


def wrote(
    conversation: ConversationId,
    number: int = 1,
    *,
    text: str = "hello",
    opens: bool = True,
    keys: tuple[str, ...] = (),
) -> Incoming:
    """A message, `number` telling it from others of its conversation."""
    ts = f"17000000{number:02d}.000200"
    keys = keys or (f"{conversation}/{ts}", f"{conversation}/client-{number}")
    return Incoming(conversation, Wrote(CustomerMessage(ts, ts, "U1", text)), keys, opens)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until the condition holds; fail after the deadline."""
    async with asyncio.timeout(seconds):
        while not await condition():  # the condition lies in another process
            await asyncio.sleep(0.01)


async def first_heard(owner: RedisStore) -> Arrival | Signal:
    """What it is told first, after it began to listen."""
    async for heard in owner.arrivals():
        if heard is not Signal.LISTENING:
            return heard
    raise AssertionError("nothing more to hear")


async def next_arrival(
    backend: Backend, owner: RedisStore, incarnation: str
) -> asyncio.Task[Arrival | Signal]:
    """Begin to listen; returns when the subscription stands."""
    client = backend.client()
    task = asyncio.create_task(first_heard(owner))

    async def subscribed() -> bool:
        channel = f"t:owner:{incarnation}"
        return dict(await client.pubsub_numsub(channel)) == {channel.encode(): 1}

    await eventually(subscribed)
    return task
