"""A private Redis for a service on one machine: a real server, kept in BRIDGE_DATA_DIR.

Two locks (flock) in the folder tell who is there. `service.lock` is held by this process: one
service per folder. `server.lock` is held by the server itself, which inherits it: as long as it is
taken a server lives, whoever started it; a free one proves that none does. So after a kill -9 of
the service the next one adopts the server, after a kill -9 of the server a new one is started, and
there are never two, without trusting a process id in a file.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from redis.exceptions import RedisError

from bridge.core.errors import StoreAway
from bridge.store import binary
from bridge.store.errors import translated
from bridge.store.redis import connect

AppendFsync = Literal["everysec", "always"]

_SERVER_LOCK: Final = "server.lock"
_SOCKET: Final = "redis.sock"
_NOTE: Final = "redis.socket"
"""Says in which folder the socket is, where the data folder's own path is too long for it."""
_SOCKET_BYTES: Final = 103
"""The longest path that every system's `sun_path` holds (macOS 104 with its end, Linux 108)."""
_SMALLEST_DISK: Final = 64 * 1024 * 1024
_POLL_SECONDS: Final = 0.05
_WATCH_SECONDS: Final = 0.5
_START_SECONDS: Final = 60.0
"""Loading the data of a long life takes seconds, not minutes."""
_RETRY_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 10.0
_LAST_WORDS: Final = 5

log = logging.getLogger(__name__)


class CannotServe(Exception):
    """The embedded Redis cannot be had; the message names the folder and what to do."""


@asynccontextmanager
async def server(data_dir: Path, *, appendfsync: AppendFsync = "everysec") -> AsyncIterator[Path]:
    """Run a server as long as the context lasts and yield its Unix socket.

    A server that lives already is adopted; one that dies meanwhile is started again. Leaving the
    context stops it in any case, so leave it last. `appendfsync` `everysec` can lose the last two
    seconds when the machine dies (or, on a disk that cannot keep up, the server), `always` nothing.
    Raises CannotServe, and binary.NoServer where there is no server program.
    """
    data_dir = _folder(data_dir)
    with _only_service(data_dir):
        embedded = _Embedded(data_dir, _socket_path(data_dir), appendfsync)
        try:
            await embedded.ensure()
        except asyncio.CancelledError:
            await embedded.stop()
            raise
        watch = asyncio.create_task(embedded.watch())
        try:
            yield embedded.socket
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await embedded.stop()


def running(data_dir: Path) -> Path:
    """The Unix socket of the server that runs for this folder, for a command beside the service.

    Starts nothing and waits for nothing. Raises CannotServe where none runs.
    """
    data_dir = data_dir.absolute()
    socket = _known_socket(data_dir)
    lock = data_dir / _SERVER_LOCK
    if socket is None or not lock.exists() or not _taken(lock):
        raise CannotServe(
            f"No service with a Redis of its own runs in {data_dir}. Its data can be reached only "
            "while it runs: start it, or set BRIDGE_DATA_DIR or REDIS_URL to what it uses."
        )
    return socket


def _folder(data_dir: Path) -> Path:
    data_dir = data_dir.absolute()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return data_dir


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock, or None where somebody else does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _taken(path: Path) -> bool:
    """Whether somebody holds the lock."""
    descriptor = _lock(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


@contextmanager
def _only_service(data_dir: Path) -> Iterator[None]:
    descriptor = _lock(data_dir / "service.lock")
    if descriptor is None:
        raise CannotServe(
            f"{data_dir} is in use by another running service. Stop that one, or give this one its "
            "own BRIDGE_DATA_DIR (or a shared Redis in REDIS_URL)."
        )
    try:
        yield
    finally:
        os.close(descriptor)


def _socket_path(data_dir: Path) -> Path:
    """In the folder where the path is short enough, else in a private folder that is noted there,
    so that the next service finds the same socket."""
    path = _known_socket(data_dir)
    if path is not None:
        return path
    folder = Path(tempfile.mkdtemp(prefix="bridge-"))
    (data_dir / _NOTE).write_text(str(folder))
    return folder / _SOCKET


def _known_socket(data_dir: Path) -> Path | None:
    path = data_dir / _SOCKET
    if len(os.fsencode(path)) <= _SOCKET_BYTES:
        return path
    with suppress(FileNotFoundError):
        folder = Path((data_dir / _NOTE).read_text())
        if _private(folder):
            return folder / _SOCKET
    return None


def _private(folder: Path) -> bool:
    """Nobody else can have put a socket there (temporary folders are everybody's)."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return status.st_uid == os.getuid() and status.st_mode & 0o777 == 0o700 and folder.is_dir()


@dataclass(slots=True)
class _Embedded:
    data_dir: Path
    socket: Path
    appendfsync: AppendFsync
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    """None where the server was adopted."""
    _log_start: int = field(default=0, init=False)

    async def ensure(self) -> None:
        """Adopt the server that lives, or start one. Returns when it answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
        while loop.time() < deadline:
            descriptor = self._lock()
            if descriptor is None:
                if await self._answers():
                    return
            elif self.process is None:
                self._start(descriptor)
            else:
                os.close(descriptor)
                raise CannotServe(self._last_words())
            await asyncio.sleep(_POLL_SECONDS)
        raise CannotServe(
            f"A Redis server runs in {self.data_dir} but does not answer on {self.socket} within "
            f"{_START_SECONDS:.0f} s; see {self._log}."
        )

    async def watch(self) -> None:
        """Start the server again whenever it dies."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._lives():
                continue
            self._reap()
            log.error("embedded.died", extra={"folder": str(self.data_dir)})
            try:
                await self.ensure()
            except (CannotServe, binary.NoServer, OSError) as error:
                log.critical("embedded.cannot_restart", extra={"reason": str(error)})
                await asyncio.sleep(_RETRY_SECONDS)

    async def stop(self) -> None:
        """Let the server write what it has and exit. One that does not in time is left to itself:
        killing it could lose what the next service finds by adopting it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _STOP_SECONDS
        while self._lives():
            if loop.time() > deadline:
                log.error("embedded.left_running", extra={"folder": str(self.data_dir)})
                return
            await self._shut_down()
            await asyncio.sleep(_POLL_SECONDS)
        self._reap()
        if self.socket.parent != self.data_dir:
            shutil.rmtree(self.socket.parent, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.data_dir / "redis.log"

    def _lock(self) -> int | None:
        return _lock(self.data_dir / _SERVER_LOCK)

    def _lives(self) -> bool:
        return _taken(self.data_dir / _SERVER_LOCK)

    async def _shut_down(self) -> None:
        client = connect(unix_socket=self.socket)
        with suppress(RedisError, OSError):
            # NOSAVE means no snapshot; the append-only file is written and synced all the same.
            await client.shutdown(nosave=True)
        await client.aclose()

    async def _answers(self) -> bool:
        client = connect(unix_socket=self.socket)
        try:
            with translated():
                await client.ping()
                # An adopted server may have been started with another setting.
                await client.config_set("appendfsync", self.appendfsync)
        except StoreAway:
            return False
        finally:
            await client.aclose()
        return True

    def _start(self, descriptor: int) -> None:
        """Start a server that inherits the lock, in a session of its own: a Ctrl-C is for the
        service, which still needs the server to settle what it has."""
        try:
            program = binary.find()
            self._check_folder(program)
            with self._log.open("ab") as output:
                self._log_start = output.tell()
                self.process = subprocess.Popen(  # noqa: S603  # our own arguments
                    self._command(program),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self.data_dir,
                    pass_fds=(descriptor,),
                    start_new_session=True,
                    umask=0o077,
                )
        finally:
            os.close(descriptor)

    def _command(self, program: binary.Binary) -> list[str | Path]:
        options: dict[str, str | Path] = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "dir": self.data_dir,
            "save": "",
            "appendonly": "yes",
            "appendfsync": self.appendfsync,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "always-show-logo": "no",
        }
        return [program.path, *(word for name in options for word in (f"--{name}", options[name]))]

    def _check_folder(self, program: binary.Binary) -> None:
        if shutil.disk_usage(self.data_dir).free < _SMALLEST_DISK:
            raise CannotServe(
                f"The disk of {self.data_dir} is full (less than {_SMALLEST_DISK >> 20} MiB free)."
            )
        # Redis 7 moved its files; an older server would not see them and start empty.
        if (self.data_dir / "appendonlydir").exists() and program.version < (7,):
            raise CannotServe(
                f"{self.data_dir} was written by Redis 7 or newer, but the server found is "
                f"{program}; install a newer one."
            )

    def _last_words(self) -> str:
        self._reap()
        with self._log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode("utf-8", "replace").splitlines()
        words = "\n".join(line for line in lines[-_LAST_WORDS:] if line.strip())
        return f"The Redis server of {self.data_dir} ended at once:\n{words}"

    def _reap(self) -> None:
        """The server is dead (its lock is free): take its exit status."""
        if self.process is not None:
            self.process.wait()
            self.process = None
