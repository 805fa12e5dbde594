"""One connection that all callers share: what they ask is written as it comes, and answered in order.

A pool hands a connection to each command, which costs redis-py some 50 µs of processor time; here a
command costs about 10, and those that come together share a write. redis-py still makes the
connection, with all that REDIS_URL says, and reads the answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import redis.asyncio as redis
from hiredis import pack_command

from bridge.core.errors import StoreAway
from bridge.store.errors import describe

Argument = str | bytes | int

_MOST: Final = 4096
"""Commands in the air. More than Redis answers within the time-out would be."""
_TIMEOUT_SECONDS: Final = 2.0
_RECONNECT_SECONDS: Final = 0.1
_MOVED: Final = {"READONLY", "MASTERDOWN", "NOREPLICAS"}
"""What an old primary says after a failover: the name may lead to another one by now."""


class Pipe:
    """`client` says where Redis is and how long it may be silent (`socket_timeout`). Connects at the
    first command and again at the first one after the connection was lost. `moved` is called when an
    old primary answers."""

    def __init__(self, client: redis.Redis, moved: Callable[[], None] = lambda: None) -> None:
        self._pool = client.connection_pool
        self._moved = moved
        self._line: _Line | None = None
        self._next = 0.0
        """When the next connection may be made, in the loop's time."""

    async def execute(self, *words: Argument) -> Any:
        """One command's answer. Raises StoreAway, after which it may have taken effect: so it may
        when the caller is cancelled."""
        if self._line is None or self._line.down:
            now = asyncio.get_running_loop().time()
            last = self._line.server_end if self._line else ()
            self._line = _Line(self._pool, max(self._next - now, 0.0), last, self._moved)
            self._next = max(self._next, now) + _RECONNECT_SECONDS
        return await self._line.ask(pack_command(words))  # type: ignore[arg-type]  # their tuple is of one

    async def close(self) -> None:
        """Close the connection; what is in the air fails."""
        if self._line is not None:
            await self._line.close()


class _Line:
    """The life of one connection. Who asks before it stands waits for that, too. It ends with the
    first failure: nobody could tell which answer belongs to which command after that."""

    def __init__(
        self,
        pool: redis.ConnectionPool,
        delay: float,
        last: tuple[str, ...],
        moved: Callable[[], None],
    ) -> None:
        self.down = False
        self.server_end = last
        """What Redis calls the last connection that came to stand, as a filter of CLIENT KILL."""
        self._moved = moved
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]  # theirs
        self._timeout = self._connection.socket_timeout or _TIMEOUT_SECONDS
        # One timer watches over everything: redis-py's would be one for each read and write.
        self._connection.socket_timeout = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._asked: deque[tuple[float, asyncio.Future[Any]]] = deque()
        """When, and who waits; in the order of the commands."""
        self._unsent: list[bytes] = []
        self._more = asyncio.Event()
        self._life = asyncio.create_task(self._live(delay))

    def ask(self, command: bytes) -> asyncio.Future[Any]:
        """Send a packed command; its answer."""
        if len(self._asked) >= _MOST:
            raise StoreAway("too many calls wait for Redis")
        answer = self._loop.create_future()
        self._asked.append((self._loop.time(), answer))
        self._unsent.append(command)
        self._more.set()
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look_at_oldest)
        return answer

    def _look_at_oldest(self) -> None:
        self._timer = None
        if self._asked:
            left = self._asked[0][0] + self._timeout - self._loop.time()
            if left > 0:
                self._timer = self._loop.call_later(left, self._look_at_oldest)
            else:
                self._end(redis.TimeoutError())
                self._life.cancel()

    async def close(self) -> None:
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)

    async def _live(self, delay: float) -> None:
        writing: asyncio.Task[None] | None = None
        try:
            await asyncio.sleep(delay)
            await self._connection.connect()
            await self._supersede()
            writing = asyncio.create_task(self._write())
            await self._read()
        except (redis.RedisError, OSError) as error:
            self._end(error)
            if describe(error).code in _MOVED:
                self._moved()
        finally:
            self._end(redis.ConnectionError())
            # Before the connection is closed: redis-py opens it again for whoever writes.
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            await self._connection.disconnect(nowait=True)

    async def _supersede(self) -> None:
        """End what Redis has of the connection before this one. What still lies there unread, or is
        on its way, would be carried out after what was asked again, and more, over this one."""
        if self.server_end:
            await self._own("CLIENT", "KILL", *self.server_end)
        found = await self._own("CLIENT", "INFO")
        text = found.decode() if isinstance(found, bytes) else str(found)
        about = dict(field.partition("=")[::2] for field in text.split())
        if {"id", "addr"} <= about.keys():
            # Ids begin anew with each Redis: the address tells ours from another's.
            self.server_end = ("ID", about["id"], "ADDR", about["addr"])

    async def _own(self, *words: str) -> object:
        """A command of the line itself; None where Redis does not let us."""
        await self._connection.send_command(*words, check_health=False)
        try:
            return cast("object", await self._connection.read_response(disconnect_on_error=False))
        except redis.ResponseError:
            return None

    def _end(self, error: Exception) -> None:
        """Tell everybody who waits."""
        self.down = True
        if self._timer is not None:
            self._timer.cancel()
        for _, answer in self._asked:
            if not answer.done():
                answer.set_exception(describe(error))
        self._asked.clear()

    async def _write(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            commands, self._unsent = self._unsent, []
            # Not by whoever asks: when redis-py is cancelled in a write it drops the connection.
            await self._connection.send_packed_command(commands, check_health=False)

    async def _read(self) -> None:
        while True:
            refusal, found = None, None
            try:
                found = await self._connection.read_response(disconnect_on_error=False)
            except redis.ResponseError as error:
                refusal = describe(error)
                if refusal.code in _MOVED:
                    raise
            _, answer = self._asked.popleft()
            if answer.done():  # its caller was cancelled
                continue
            if refusal is not None:
                answer.set_exception(refusal)
            else:
                answer.set_result(found)
