"""Everything that runs: the sandbox in this process, a real Redis and the services in their own.

The sandbox is reached by the services over HTTP and WebSockets, as always; people and verdict have
its objects at hand, which spares two cores some ten thousand requests. Slack's retries, leases and
look times are scaled (`plan.Size`); quotas are scaled and enforced.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet

from bridge.sandbox.both import Sandbox, sandbox
from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.slack.model import Channel, User
from bridge.store import binary
from tests.chaos.plan import Plan, Size, Talk, split_limits
from tests.process.support import Program

PREFIX = "bridge"
START_SECONDS = 60.0
READS_PER_MINUTE = 50
"""Of each method (Slack, rate limits, tier 3)."""


class Timeline:
    """What was done to whom and when, in memory and in a file. Times are Unix seconds."""

    def __init__(self, path: Path) -> None:
        self.began = time.time()
        self.entries: list[tuple[float, str]] = []
        self._path = path

    def note(self, what: str) -> None:
        """Write it down now."""
        self.entries.append((time.time(), what))
        with self._path.open("a") as out:
            out.write(json.dumps([round(time.time() - self.began, 3), what]) + "\n")


class Redis:
    """A real server of ours, always started on the same append-only file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self._binary = binary.find().path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers a little later."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                (
                    *(str(self._binary), "--port", "0", "--unixsocket", str(self.socket)),
                    *("--dir", str(self.folder), "--save", ""),
                    *("--appendonly", "yes", "--appendfsync", "always"),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Replica:
    """One service, started again and again."""

    def __init__(
        self, name: str, folder: Path, environment: Mapping[str, str], limits: Iterator[int]
    ) -> None:
        self.name = name
        self.rss_kb = 0
        """The most memory that any of its processes had."""
        self._folder = folder
        self._environment = environment
        self._limits = limits
        self._limit = 0
        self.program: Program | None = None

    def start(self) -> bool:
        """Start a process; returns whether its split limit is another than before."""
        before, self._limit = self._limit, next(self._limits)
        environment = {**self._environment, "BRIDGE_SPLIT_LIMIT": str(self._limit)}
        self.program = Program(self._folder, "run", **environment)
        return before not in (0, self._limit)

    async def ready(self) -> None:
        """Wait until it says so."""
        deadline = time.monotonic() + START_SECONDS
        while not self.says_ready:
            if self.program is None or self.program.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended; see its log in {self._folder}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready; see its log in {self._folder}")
            await asyncio.sleep(0.1)

    @property
    def says_ready(self) -> bool:
        """Whether this process has been ready."""
        return self.program is not None and '"ready"' in self.program.said()

    @property
    def running(self) -> bool:
        """Whether a process is there."""
        return self.program is not None and self.program.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it is there."""
        if self.program is not None and self.running:
            self.program.send(number)

    async def ended(self, seconds: float) -> int | None:
        """Wait for its end; the exit code, or None where it did not come in time."""
        if self.program is None:
            return None
        deadline = time.monotonic() + seconds
        while (code := self.program.process.poll()) is None:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.02)
        return code

    def measure(self) -> None:
        """Look how much memory it has."""
        if self.program is not None and self.running:
            with suppress(OSError):
                status = Path(f"/proc/{self.program.process.pid}/status").read_text()
                for line in status.splitlines():
                    if line.startswith("VmRSS"):
                        self.rss_kb = max(self.rss_kb, int(line.split()[1]))


@dataclass
class World:
    """All that runs in one run."""

    plan: Plan
    folder: Path
    pair: Sandbox
    redis: Redis
    timeline: Timeline
    replicas: list[Replica] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    """Faults that struck, by kind."""
    rooms: dict[int, Channel] = field(default_factory=dict)
    """The channel or DM of each conversation."""
    authors: dict[int, User] = field(default_factory=dict)
    """Who writes in each conversation."""
    threads: dict[int, str] = field(default_factory=dict)
    """The thread of each conversation that has begun; empty in a flat DM."""

    @property
    def size(self) -> Size:
        """How much of everything."""
        return self.plan.size

    def strike(self, kind: str, times: int = 1) -> None:
        """Count a fault that struck."""
        self.struck[kind] = self.struck.get(kind, 0) + times

    def chats(self) -> dict[int, list[Chat]]:
        """The chats of each conversation, the oldest first."""
        found: dict[int, list[Chat]] = {}
        by_thread = {
            (self.rooms[number].id, thread): number for number, thread in self.threads.items()
        }
        for chat in self.pair.connect.world.chats:
            where = chat.attributes.get("slack_channel"), chat.attributes.get("slack_thread", "")
            number = by_thread.get((str(where[0]), where[1]))
            if number is not None:
                found.setdefault(number, []).append(chat)
        return found

    async def start(self, replica: Replica) -> None:
        """Start a replica and wait until it is ready."""
        self.timeline.note(f"{replica.name} starts")
        if replica.start():
            self.strike("split limit changed")
        await replica.ready()
        self.timeline.note(f"{replica.name} is ready")


@asynccontextmanager
async def running(plan: Plan, folder: Path) -> AsyncIterator[World]:
    """Start all of it; leave nothing behind."""
    redis = Redis(folder / "r")
    async with sandbox() as pair:
        world = World(plan, folder, pair, redis, Timeline(folder / "timeline.jsonl"))
        furnish(world)
        limits = split_limits(plan.seed)
        shared = _environment(world)
        redis.start()
        for number in range(plan.size.replicas):
            name = f"replica{number}"
            world.replicas.append(Replica(name, folder / name, shared, limits))
        try:
            await asyncio.gather(*(world.start(replica) for replica in world.replicas))
            yield world
        finally:
            for replica in world.replicas:
                replica.send(signal.SIGKILL)
                await replica.ended(10.0)
            redis.kill()


def _environment(world: World) -> Mapping[str, str]:
    size = world.size
    support = {world.rooms[talk.number].id for talk in world.plan.talks if talk.kind == "support"}
    return {
        **world.pair.environment,
        "REDIS_URL": f"unix://{world.redis.socket}",
        "BRIDGE_REDIS_PREFIX": PREFIX,
        "BRIDGE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "BRIDGE_DATA_DIR": str(world.folder),
        "BRIDGE_HTTP_PORT": "0",
        "BRIDGE_LOG_FORMAT": "json",
        "BRIDGE_SUPPORT_CHANNELS": ",".join(sorted(support)),
        "BRIDGE_DM_THREADS": str(world.plan.dm_threads).lower(),
        "BRIDGE_REOPEN": "always",
        "BRIDGE_REHYDRATE_SECONDS": "1",
        "BRIDGE_LEASE_SECONDS": f"{size.lease:g}",
        "BRIDGE_LOOK_SECONDS": f"{size.look_seconds:g}",
        "BRIDGE_SLACK_TIMEOUT_SECONDS": f"{size.slack_timeout:g}",
        "BRIDGE_GRACE_SECONDS": "10",
        "BRIDGE_SLACK_POSTS_PER_SECOND": f"{size.posts_per_second:g}",
        "BRIDGE_CONNECT_QUOTA_SCALE": f"{size.quota_scale:g}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def furnish(world: World) -> None:
    """Settings of the stand-ins; channels and people."""
    size, slack, connect = world.size, world.pair.slack, world.pair.connect
    slack.settings.patch(
        {
            "ack_seconds": size.ack_seconds,
            "retry_schedule": list(size.retries),
            "ping_seconds": 1.0,
            "history_limit": {"messages": 200, "per_minute": READS_PER_MINUTE * size.quota_scale},
            "post_rate": {"per_second": size.posts_per_second, "burst": 4 * size.posts_per_second},
        }
    )
    connect.world.settings.patch(
        {
            "quotas": {"scale": size.quota_scale},
            "persistent_ready_seconds": 0.5,
            "concurrent_chats": 100_000,
        }
    )
    team = next(iter(slack.world.installations.values())).team
    rooms: dict[tuple[str, int], Channel] = {}
    for talk in world.plan.talks:
        author = slack.world.add_user(team, f"Person {talk.number:03d}")
        room = rooms.get((talk.kind, talk.place)) or _room(world, talk, author)
        rooms[talk.kind, talk.place] = room
        if author.id not in room.members:
            room.members.append(author.id)
        world.rooms[talk.number], world.authors[talk.number] = room, author


def _room(world: World, talk: Talk, author: User) -> Channel:
    slack = world.pair.slack
    installation = next(iter(slack.world.installations.values()))
    if talk.kind == "dm":
        return slack.world.dm(installation, author.id)
    name = f"{talk.kind}-{talk.place}"
    room = slack.world.add_channel(name, "channel", installation.team, author.id)
    room.members.append(installation.bot_user)
    return room
