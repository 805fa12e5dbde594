"""What a run starts: Redis servers and the measured processes, each on a core of its own choice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.standins import World
from bridge.store import binary

_ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 300.0
_STOP_SECONDS = 30.0

BRIDGE = ("-m", "bridge", "run")
FLOOR = ("-m", "bench.floor")
RECIPE = ("-m", "bench.recipe")
SOCKETS = ("-m", "bench.sockets")


@dataclass(frozen=True, slots=True)
class Cores:
    """The measured process has one core to itself, everything else the others."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def found(cls) -> Cores:
        """On one core alone all share it."""
        every = sorted(os.sched_getaffinity(0))
        return cls(frozenset(every[:1]), frozenset(every[1:] or every))


class RedisServer:
    """A real one, as the embedded Redis of the bridge is set up."""

    def __init__(self, folder: Path, appendfsync: str, cores: Cores) -> None:
        folder.mkdir(parents=True)
        self.socket = folder / "redis.sock"
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "maxclients": "2000",
            "logfile": str(folder / "redis.log"),
        }
        words = [word for name in options for word in (f"--{name}", options[name])]
        self._process = subprocess.Popen(
            [binary.find().path, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.sched_setaffinity(self._process.pid, cores.others)
        self.client = redis.Redis(unix_socket_path=str(self.socket))
        self.pid = self._process.pid

    async def answers(self) -> None:
        """Wait until it does."""
        async with asyncio.timeout(_START_SECONDS):
            while True:
                with contextlib.suppress(redis.ConnectionError):
                    self.client.ping()
                    return
                await asyncio.sleep(0.02)

    def stop(self) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()


class Measured:
    """A measured process."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        folder: Path,
        cores: Cores,
        variables: Mapping[str, str],
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        self.ready_seconds = 0.0
        """Until it said that it is ready, which only the bridge does."""
        self.listening_seconds = 0.0
        """Until it held all its sockets."""
        self._began = time.perf_counter()
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, *words],
                cwd=folder,  # where no .env is
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "HOME": str(folder),
                    "PYTHONPATH": str(_ROOT),
                    **variables,
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid = self._process.pid
        os.sched_setaffinity(self.pid, cores.measured)

    async def until(self, world: World, chats: int, sockets: int) -> None:
        """Wait until it holds its sockets, and note how long it took."""
        deadline = self._began + _START_SECONDS
        while len(world.chats) < chats or len(world.slack) < sockets:
            if not self.ready_seconds and '"event": "ready"' in self.said():
                self.ready_seconds = time.perf_counter() - self._began
            ended = self._process.poll() is not None
            if ended or time.perf_counter() > deadline:
                held = f"{len(world.chats)} chats and {len(world.slack)} Socket Mode connections"
                raise RuntimeError(f"{self.name} has only {held}:\n{self.said()[-3000:]}")
            await asyncio.sleep(0.01)
        self.listening_seconds = time.perf_counter() - self._began

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.asynccontextmanager
async def redis_server(folder: Path, cores: Cores, appendfsync: str) -> AsyncIterator[RedisServer]:
    server = RedisServer(folder, appendfsync, cores)
    try:
        await server.answers()
        yield server
    finally:
        server.stop()


def bridge_variables(world: World, server: RedisServer, key: str, **more: str) -> dict[str, str]:
    """The bridge at its defaults. Only the two paces of the platforms are lifted, so far that nothing
    ever waits for its turn: otherwise they would be what is measured."""
    return {
        **platform_variables(world),
        "REDIS_URL": f"unix://{server.socket}",
        "BRIDGE_ENCRYPTION_KEYS": key,
        "BRIDGE_SUPPORT_CHANNELS": "*",
        "BRIDGE_HTTP_PORT": "0",
        "BRIDGE_LOG_FORMAT": "json",
        "BRIDGE_CONNECT_QUOTA_SCALE": "1000",
        "BRIDGE_SLACK_POSTS_PER_SECOND": "10000",
        **more,
    }


def platform_variables(world: World) -> dict[str, str]:
    """Where both platforms are."""
    return {
        "SLACK_BOT_TOKEN": "xoxb-bench",
        "SLACK_APP_TOKEN": "xapp-bench",
        "SLACK_API_URL": f"{world.base}/api/",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_CONNECT": world.base,
        "AWS_ENDPOINT_URL_CONNECTPARTICIPANT": world.base,
        "CONNECT_INSTANCE_ID": "00000000-1111-4222-8333-444444444444",
        "CONNECT_CONTACT_FLOW_ID": "55555555-6666-4777-8888-999999999999",
    }
