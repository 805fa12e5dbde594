"""The connection that all callers share, and every way in which a real server lets it down."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.core.errors import StoreAway
from bridge.store import pipe as pipe_module
from bridge.store.pipe import Pipe
from bridge.store.redis import connect
from bridge.store.script import Script
from tests.store.server import Server, a_server
from tests.store.support import eventually


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        async with a_server(Path(folder), appendfsync="no") as server:
            yield server


@asynccontextmanager
async def piped(url: str, timeout_seconds: float = 30.0) -> AsyncIterator[Pipe]:
    client = connect(url, timeout_seconds=timeout_seconds)
    pipe = Pipe(client)
    try:
        yield pipe
    finally:
        await pipe.close()
        await client.aclose()


@pytest.fixture
async def pipe(server: Server) -> AsyncIterator[Pipe]:
    async with piped(server.url) as pipe:
        yield pipe


async def echo(pipe: Pipe, *words: str) -> list[str]:
    """These at once; what came back for each."""
    answers = await asyncio.gather(*(pipe.execute("ECHO", word) for word in words))
    return [answer.decode() for answer in answers]


async def in_the_air(pipe: Pipe, *commands: Sequence[str]) -> list[asyncio.Task[Any]]:
    """Asked, and not answered yet."""
    tasks = [asyncio.create_task(pipe.execute(*command)) for command in commands]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


async def complaints(tasks: Sequence[asyncio.Task[Any]]) -> set[str]:
    """What each was refused with."""
    async with asyncio.timeout(20):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, StoreAway) for one in ended), ended
    return set(map(str, ended))


async def works_again(pipe: Pipe) -> None:
    async def answers() -> bool:
        try:
            return bool(await pipe.execute("PING") == b"PONG")
        except StoreAway:
            return False

    await eventually(answers)


# --- one connection for all ----------------------------------------------------------------------


async def test_everybody_gets_their_own_answer_over_one_connection(pipe: Pipe) -> None:
    words = [str(n) * (1 + n % 7 * 1000) for n in range(500)]
    assert await echo(pipe, *words) == words
    [one, *more] = await asyncio.gather(*(pipe.execute("CLIENT", "ID") for _ in range(20)))
    assert set(more) == {one}


async def test_a_refusal_is_its_callers_alone(pipe: Pipe) -> None:
    connection = await pipe.execute("CLIENT", "ID")
    commands = (("ECHO", "a"), ("HSET", "k", "f", "v"), ("INCR", "k"), ("NO-SUCH", ""))
    asked = [pipe.execute(*command) for command in (*commands, ("CLIENT", "ID"))]
    a, made, wrong, unknown, after = await asyncio.gather(*asked, return_exceptions=True)
    assert (a, made, after) == (b"a", 1, connection)
    assert isinstance(wrong, StoreAway)
    assert isinstance(unknown, StoreAway)


async def test_who_is_cancelled_changes_nothing_for_others(server: Server, pipe: Pipe) -> None:
    connection = await pipe.execute("CLIENT", "ID")
    server.hang()
    # More than the kernel takes: the write itself has to wait, too.
    tasks = await in_the_air(
        pipe, ("SET", "k", "x" * 10_000_000), *(("ECHO", str(n)) for n in range(5))
    )
    for cancelled in (tasks[0], tasks[3]):
        cancelled.cancel()
    await asyncio.wait(tasks, timeout=0.1)
    server.go_on()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one if isinstance(one, bytes) else type(one).__name__ for one in found] == [
        "CancelledError",
        b"0",
        b"1",
        "CancelledError",
        b"3",
        b"4",
    ]
    assert await pipe.execute("STRLEN", "k") == 10_000_000
    assert await pipe.execute("CLIENT", "ID") == connection


async def test_user_and_database_of_the_url_are_obeyed(server: Server) -> None:
    await server.do("ACL", "SETUSER", "ann", "on", ">secret", "~*", "&*", "+@all")
    url = server.url.replace("unix://", "unix://ann:secret@")
    async with piped(f"{url}?db=3") as pipe:
        found = await pipe.execute("CLIENT", "INFO")
        assert {b"user=ann", b"db=3"} <= set(found.split())


async def test_a_script_that_redis_forgot_is_loaded_again(server: Server, pipe: Pipe) -> None:
    ping = Script(pipe, "load", lambda: ("t", "one", ""))
    nothing = [b"", b"0", 0]
    assert await ping("T1:C1") == nothing
    for _ in range(2):
        await server.do("SCRIPT", "FLUSH")
        assert await asyncio.gather(*(ping("T1:C1") for _ in range(5))) == [nothing] * 5


async def test_no_more_than_a_bound_wait(
    server: Server, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe_module, "_MOST", 3)
    server.hang()
    tasks = await in_the_air(pipe, *(("ECHO", str(n)) for n in range(3)))
    with pytest.raises(StoreAway, match="too many"):
        await pipe.execute("ECHO", "4")
    server.go_on()
    assert await asyncio.gather(*tasks) == [b"0", b"1", b"2"]
    assert await echo(pipe, "5") == ["5"]


# --- let down ------------------------------------------------------------------------------------


async def test_it_is_killed(server: Server, pipe: Pipe) -> None:
    await pipe.execute("PING")
    server.hang()
    tasks = await in_the_air(pipe, ("ECHO", "a"), ("ECHO", "b"))
    server.kill()
    assert await complaints(tasks) == {"Redis cannot be reached"}
    for _ in range(3):
        with pytest.raises(StoreAway, match="cannot be reached"):
            await pipe.execute("PING")
    await server.start()
    await works_again(pipe)
    assert await echo(pipe, "a", "b") == ["a", "b"]


async def test_it_closes_the_connection(server: Server, pipe: Pipe) -> None:
    """In the midst of what is asked: who is refused is told, and nobody gets another's answer."""
    refused = 0
    for round_ in range(5):
        killing = asyncio.create_task(server.do("CLIENT", "KILL", "TYPE", "normal"))
        while not killing.done():
            words = [f"{round_}-{k}" for k in range(5)]
            asked = (pipe.execute("ECHO", word) for word in words)
            found = await asyncio.gather(*asked, return_exceptions=True)
            for word, answer in zip(words, found, strict=True):
                refused += isinstance(answer, StoreAway)
                assert isinstance(answer, StoreAway) or answer == word.encode()
        await killing
        await works_again(pipe)
    assert refused


async def test_it_closes_the_connection_while_nobody_asks(server: Server, pipe: Pipe) -> None:
    before = await pipe.execute("CLIENT", "ID")
    await server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await works_again(pipe)
    assert await pipe.execute("CLIENT", "ID") != before


@pytest.mark.parametrize("connected", [True, False])
async def test_it_hangs(server: Server, *, connected: bool) -> None:
    async with piped(server.url, 0.3) as pipe:
        if connected:
            await pipe.execute("PING")
        server.hang()
        for _ in range(2):  # the second time nothing but the kernel answers the new connection
            tasks = await in_the_air(pipe, *(("ECHO", str(n)) for n in range(5)))
            assert await complaints(tasks) == {"Redis does not answer in time"}
        server.go_on()
        await works_again(pipe)
        assert await echo(pipe, "a", "b") == ["a", "b"]


async def test_what_it_had_not_taken_when_it_was_given_up_on_never_arrives(server: Server) -> None:
    """Nor behind what was written since: an old state would replace a new one."""
    async with piped(server.url, 0.3) as pipe:
        await pipe.execute("PING")
        server.hang()
        # More than the kernel takes.
        tasks = await in_the_air(pipe, ("SET", "k", "old" * 3_000_000))
        assert await complaints(tasks) == {"Redis does not answer in time"}
        server.go_on()
        await works_again(pipe)
        await pipe.execute("SET", "k", "new")
        await asyncio.sleep(0.5)
        assert await pipe.execute("GETRANGE", "k", "0", "2") == b"new"


async def test_it_pauses_writes(server: Server) -> None:
    async with piped(server.url, 0.3) as pipe:
        await pipe.execute("PING")
        await server.do("CLIENT", "PAUSE", "60000", "WRITE")
        tasks = await in_the_air(pipe, ("SET", "k", "v"), ("ECHO", "behind"))
        assert await complaints(tasks) == {"Redis does not answer in time"}
        assert await echo(pipe, "on a new connection") == ["on a new connection"]
        await server.do("CLIENT", "UNPAUSE")
        await pipe.execute("SET", "k", "v")


async def test_an_early_command_does_not_cut_a_later_ones_time(server: Server) -> None:
    async with piped(server.url, 2.0) as pipe:
        await pipe.execute("PING")
        await asyncio.sleep(1.0)
        server.hang()
        tasks = await in_the_air(pipe, ("ECHO", "a"))
        await asyncio.sleep(1.2)  # beyond the time-out of the first
        server.go_on()
        assert await asyncio.gather(*tasks) == [b"a"]


async def test_its_password_is_changed(server: Server, pipe: Pipe) -> None:
    await pipe.execute("PING")
    await server.do("CONFIG", "SET", "requirepass", "secret")
    server.password = "secret"
    await server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def told() -> bool:
        with pytest.raises(StoreAway) as raised:
            await pipe.execute("PING")
        return raised.value.code == "NOAUTH" and raised.value.lasting

    await eventually(told)
    await server.do("CONFIG", "SET", "requirepass", "")
    server.password = ""
    await works_again(pipe)


async def test_it_is_no_primary_any_more(server: Server, pipe: Pipe) -> None:
    """All who wait hear why, and the next one asks whoever the name leads to."""
    before = await pipe.execute("CLIENT", "ID")
    await server.do("REPLICAOF", "127.0.0.1", "1")
    asked = (("ECHO", "a"), ("SET", "k", "v"), ("ECHO", "b"), ("SET", "k", "w"))
    first, *tasks = await in_the_air(pipe, *asked)
    assert await first == b"a"
    assert await complaints(tasks) == {"Redis is a read-only replica, not the primary"}
    assert await pipe.execute("CLIENT", "ID") != before


async def test_out_of_memory_keeps_the_connection(server: Server, pipe: Pipe) -> None:
    before = await pipe.execute("CLIENT", "ID")
    await server.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await server.do("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreAway) as raised:
        await pipe.execute("SET", "k", "v")
    assert raised.value.code == "OOM"
    assert await pipe.execute("CLIENT", "ID") == before


async def test_all_who_ask_share_one_try_to_connect() -> None:
    tries = 0

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        writer.close()

    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        socket = Path(folder) / "s"
        async with await asyncio.start_unix_server(refuse, socket), piped(f"unix://{socket}") as it:
            tasks = [asyncio.create_task(it.execute("PING")) for _ in range(50)]
            assert await complaints(tasks) == {"Redis cannot be reached"}
            assert tries == 1


async def test_tries_to_connect_keep_a_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays = []
    line = pipe_module._Line

    def noted(pool: Any, delay: float, *more: Any) -> pipe_module._Line:
        delays.append(delay)
        return line(pool, 0.0, *more)

    monkeypatch.setattr(pipe_module, "_Line", noted)
    async with piped(f"unix://{tmp_path}/nothing") as pipe:
        for _ in range(3):
            with pytest.raises(StoreAway):
                await pipe.execute("PING")
    assert delays[0] == 0.0
    assert 0.0 < delays[1] < delays[2]


async def test_closing_ends_what_is_in_the_air(server: Server, pipe: Pipe) -> None:
    await pipe.execute("PING")
    server.hang()
    tasks = await in_the_air(pipe, ("ECHO", "a"))
    await pipe.close()
    assert await complaints(tasks) == {"Redis cannot be reached"}
    await pipe.close()


class _Network:
    """Between a pipe and its server. What goes to the server may be held up."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._held: asyncio.Event | None = None
        self._writers: list[asyncio.StreamWriter] = []

    def hold(self) -> None:
        """What is said over the connections there are arrives when `let_go` is called."""
        self._held = asyncio.Event()

    def let_go(self) -> None:
        assert self._held
        self._held.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        self._writers += [writer, back]
        await asyncio.gather(self._pass_on(reader, back, self._held), self._answer(there, writer))

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        before: asyncio.Event | None,
    ) -> None:
        while words := await reader.read(65536):
            if self._held and self._held is not before:
                await self._held.wait()
            writer.write(words)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await reader.read(65536):
            writer.write(words)

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for w in self._writers), return_exceptions=True)


async def test_what_an_earlier_connection_still_carries_comes_too_late(server: Server) -> None:
    """Its caller has asked again over the next one, and others have gone on from there."""
    network = _Network(server.url.removeprefix("unix://"))
    listening = await asyncio.start_server(network.carry, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        async with piped(f"redis://127.0.0.1:{port}", 0.5) as pipe:
            await pipe.execute("SET", "k", "first")
            network.hold()
            with pytest.raises(StoreAway):
                await pipe.execute("SET", "k", "old")
            await works_again(pipe)
            for value in ("old", "new"):
                await pipe.execute("SET", "k", value)
            network.let_go()
            await asyncio.sleep(0.3)
            found = await pipe.execute("GET", "k")
        await network.close()
    assert found == b"new"
