"""The embedded Redis with real processes and signals."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import redis.asyncio as redis
from redis.exceptions import RedisError

from bridge.store import binary, embedded
from bridge.store.redis import connect
from tests.store.support import append_only_file, eventually

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]

# A service with nothing but its Redis. On SIGINT it "settles": it still writes, then leaves.
SERVICE = """
import asyncio, signal, sys
from pathlib import Path
from bridge.store import binary, embedded
from bridge.store.redis import connect

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    async with embedded.server(Path(sys.argv[1])) as socket:
        print(socket, flush=True)
        await stop.wait()
        client = connect(unix_socket=socket)
        await client.set("settled", "yes")
        await client.aclose()

try:
    asyncio.run(main())
except embedded.CannotServe as error:
    sys.exit(str(error))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path; whatever still runs in it afterwards is ended."""
    with tempfile.TemporaryDirectory(prefix="bridge-") as name:
        yield Path(name)
        for service in Service.started:
            service.kill()
        Service.started.clear()
        for path in Path(name).rglob("redis.sock*"):
            elsewhere = path.name == "redis.socket"
            _shut_down(Path(path.read_text()) / "redis.sock" if elsewhere else path)


def _shut_down(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"SHUTDOWN NOSAVE\r\n")
        connection.recv(1)


class Service:
    """The service as a process of its own, in its own process group."""

    started: ClassVar[list[Service]] = []

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(self)

    async def ready(self) -> Path | None:
        """Its socket, or None where it ended instead."""
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        return Path(line.strip()) if line else None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    async def end(self) -> str:
        """Wait for its end; what it complained of."""
        _, complaint = await asyncio.to_thread(self.process.communicate, timeout=20)
        return complaint


@asynccontextmanager
async def client_of(path: Path) -> AsyncIterator[redis.Redis]:
    client = connect(unix_socket=path)
    try:
        yield client
    finally:
        await client.aclose()


async def server_pid(path: Path) -> int:
    async with client_of(path) as client:
        return int((await client.info("server"))["process_id"])


async def put(path: Path, value: str) -> None:
    async with client_of(path) as client:
        await client.set("key", value)


async def get(path: Path, key: str = "key") -> bytes | str | None:
    async with client_of(path) as client:
        return await client.get(key)


async def test_what_was_written_is_there_at_the_next_start(folder: Path) -> None:
    async with embedded.server(folder) as path:
        await put(path, "value")
        first = await server_pid(path)
        assert os.getsid(first) == first
        async with client_of(path) as client:
            assert (await client.config_get("port"))["port"] == "0"
        assert path.stat().st_mode & 0o077 == 0
    assert not path.exists()  # which a server removes when it ends in order
    async with embedded.server(folder) as path:
        assert await server_pid(path) != first
        assert await get(path) == b"value"


async def test_after_kill_9_of_the_service_the_next_one_adopts_the_server(folder: Path) -> None:
    service = Service(folder)
    path = await service.ready()
    assert path is not None
    await put(path, "value")
    pid = await server_pid(path)
    service.kill()
    async with embedded.server(folder, appendfsync="always") as adopted:
        assert adopted == path
        assert await server_pid(adopted) == pid
        assert await get(adopted) == b"value"
        async with client_of(adopted) as client:
            assert (await client.config_get("appendfsync"))["appendfsync"] == "always"
    assert not path.exists()


async def test_after_kill_9_of_both_nothing_is_lost(folder: Path) -> None:
    service = Service(folder)
    path = await service.ready()
    assert path is not None
    await put(path, "value")
    pid = await server_pid(path)
    service.kill()
    os.kill(pid, signal.SIGKILL)
    async with embedded.server(folder) as path:
        assert await server_pid(path) != pid
        assert await get(path) == b"value"


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_server_that_dies_is_started_again(folder: Path, adopted: bool) -> None:
    if adopted:
        service = Service(folder)
        assert await service.ready()
        service.kill()
    async with embedded.server(folder) as path, client_of(path) as client:
        await client.set("key", "value")
        pid = await server_pid(path)
        os.kill(pid, signal.SIGKILL)

        async def back() -> bool:
            try:
                return await client.get("key") == b"value" and await server_pid(path) != pid
            except RedisError:
                return False

        await eventually(back)


async def test_a_second_service_on_the_folder_is_refused(folder: Path) -> None:
    async with embedded.server(folder) as path:
        pid = await server_pid(path)
        with pytest.raises(embedded.CannotServe, match=str(folder)):
            async with embedded.server(folder):
                pytest.fail("two services on one folder")
        assert await server_pid(path) == pid


@pytest.mark.parametrize("deep", [False, True], ids=["short path", "long path"])
async def test_a_command_beside_the_service_finds_its_server(folder: Path, *, deep: bool) -> None:
    data = folder / ("d" * 100) if deep else folder
    with pytest.raises(embedded.CannotServe, match="No service"):
        embedded.running(data)
    async with embedded.server(data) as path:
        assert embedded.running(data) == path
    with pytest.raises(embedded.CannotServe, match="No service"):
        embedded.running(data)


async def test_of_two_services_that_start_at_once_one_serves(folder: Path) -> None:
    services = [Service(folder), Service(folder)]
    sockets = await asyncio.gather(*(service.ready() for service in services))
    assert sorted(path is None for path in sockets) == [False, True]
    refused = services[sockets.index(None)]
    assert f"{folder} is in use" in await refused.end()
    assert refused.process.returncode == 1
    serving = services[1 - sockets.index(None)]
    serving.process.send_signal(signal.SIGINT)
    assert await serving.end() == ""


async def test_ctrl_c_reaches_the_service_and_not_its_server(folder: Path) -> None:
    service = Service(folder)
    path = await service.ready()
    assert path is not None
    os.killpg(service.process.pid, signal.SIGINT)
    assert await service.end() == ""
    assert service.process.returncode == 0
    assert not path.exists()
    async with embedded.server(folder) as path:
        assert await get(path, "settled") == b"yes"


async def test_a_path_too_long_for_a_socket_is_got_round(folder: Path) -> None:
    deep = folder / ("d" * 120)
    service = Service(deep)
    path = await service.ready()
    assert path is not None
    assert len(os.fsencode(path)) <= 103
    assert path.parent.stat().st_mode & 0o777 == 0o700
    await put(path, "value")
    pid = await server_pid(path)
    service.kill()
    async with embedded.server(deep) as adopted:
        assert adopted == path
        assert await server_pid(adopted) == pid
    assert not path.parent.exists()
    async with embedded.server(deep) as fresh:
        assert await get(fresh) == b"value"
    assert not fresh.parent.exists()


async def test_a_noted_folder_that_others_may_use_is_not_trusted(folder: Path) -> None:
    deep, open_to_all = folder / ("d" * 120), folder / "open"
    deep.mkdir()
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (deep / "redis.socket").write_text(str(open_to_all))
    async with embedded.server(deep) as path:
        assert path.parent != open_to_all
    assert list(open_to_all.iterdir()) == []


async def test_a_torn_tail_is_cut_off(folder: Path) -> None:
    async with embedded.server(folder) as path:
        await put(path, "value")
    log = append_only_file(folder)
    log.write_bytes(log.read_bytes() + b"*3\r\n$3\r\nSET\r\n$3\r\nke")
    async with embedded.server(folder) as path:
        assert await get(path) == b"value"


async def test_a_damaged_file_is_told_in_the_servers_words(folder: Path) -> None:
    async with embedded.server(folder) as path:
        await put(path, "value")
    append_only_file(folder).write_bytes(b"nonsense\r\n" * 10)
    with pytest.raises(embedded.CannotServe, match=r"(?s)ended at once.*Bad file format"):
        async with embedded.server(folder):
            pytest.fail("served what it could not read")
    async with asyncio.timeout(5):
        with pytest.raises(embedded.CannotServe):  # and it left no lock behind
            await embedded.server(folder).__aenter__()


async def test_a_server_that_hangs_is_not_doubled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_START_SECONDS", 0.2)
    service = Service(folder)
    path = await service.ready()
    assert path is not None
    pid = await server_pid(path)
    service.kill()
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(embedded.CannotServe, match="does not answer"):
        async with embedded.server(folder):
            pytest.fail("served without an answer")
    os.kill(pid, signal.SIGCONT)
    async with embedded.server(folder) as path:
        assert await server_pid(path) == pid


async def test_a_full_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(embedded.CannotServe, match=f"disk of {folder} is full"):
        async with embedded.server(folder):
            pytest.fail("served on a full disk")


async def test_files_of_a_newer_redis_are_not_passed_over(folder: Path) -> None:
    if binary.find().version >= (7,):
        pytest.skip("the server found here reads them")
    (folder / "appendonlydir").mkdir()
    with pytest.raises(embedded.CannotServe, match="Redis 7 or newer"):
        async with embedded.server(folder):
            pytest.fail("started empty")


# --- which program -----------------------------------------------------------------------------


def program(folder: Path, name: str, answer: str, code: int = 0) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_a_server_on_path_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(folder, "valkey-server", "Valkey server v=8.1.3 sha=0:0 malloc=libc bits=64")
    monkeypatch.setenv("PATH", str(folder))
    assert binary.find() == binary.Binary(path, (8, 1, 3))


def test_an_old_or_broken_one_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(folder, "redis-server", "Redis server v=6.0.16 sha=0:0 malloc=libc bits=64")
    program(folder, "valkey-server", "cannot execute", 126)
    monkeypatch.setenv("PATH", str(folder))
    found = binary.find()
    assert not found.path.is_relative_to(folder)
    assert found.version >= binary.OLDEST


def test_where_nothing_serves_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = program(folder, "redis-server", "Redis server v=6.0.16 sha=0:0 malloc=libc bits=64")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(binary, "_WHEELS", ("a-wheel-that-is-not-installed",))
    with pytest.raises(binary.NoServer, match="REDIS_URL") as raised:
        binary.find()
    assert f"{old} 6.0.16 is too old" in str(raised.value)
