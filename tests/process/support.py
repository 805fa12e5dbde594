"""Commands of ours as processes of their own, which share nothing with the test but files, signals
and the environment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from cryptography.fernet import Fernet

from tests.flows.support import QUICK, programs_below

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0


class Program:
    """`python -m bridge …`. Synchronous, so that it may outlive a test's event loop."""

    def __init__(self, folder: Path, *words: str, **variables: str) -> None:
        folder.mkdir(exist_ok=True)
        self.log = folder / f"{words[0]}.log"
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "bridge", *words),
                # The folder has no .env, and our own is not read.
                cwd=folder,
                env={
                    **kept,
                    "PYTHONPATH": str(ROOT),
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "AWS_CONFIG_FILE": os.devnull,
                    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                    **variables,
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def said(self) -> str:
        """What it wrote, on standard output and error."""
        return self.log.read_bytes()[self._said_before :].decode()

    async def says(self, words: str) -> str:
        """Wait until it has written this."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while words not in (said := self.said()):
            assert self.process.poll() is None, f"it ended:\n{said[-3000:]}"
            assert asyncio.get_running_loop().time() < deadline, f"not {words!r}:\n{said[-3000:]}"
            await asyncio.sleep(0.02)
        return said

    async def ends(self) -> int:
        """Wait for its end; returns the exit code."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (code := self.process.poll()) is None:
            assert asyncio.get_running_loop().time() < deadline, f"runs on:\n{self.said()[-3000:]}"
            await asyncio.sleep(0.02)
        return code

    def send(self, number: signal.Signals) -> None:
        """To this process alone."""
        self.process.send_signal(number)

    def send_group(self, number: signal.Signals) -> None:
        """To it and its children, as a terminal does at Ctrl-C."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it if it runs still: whatever a test left."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()


class Service:
    """A service that is started again and again on one data folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str], **variables: str) -> None:
        self.folder = folder
        self.environment = {
            **environment,
            **QUICK,
            "BRIDGE_SUPPORT_CHANNELS": "*",
            "BRIDGE_LEASE_SECONDS": "2",
            "BRIDGE_LOG_FORMAT": "json",
            "BRIDGE_DATA_DIR": str(folder),
            **variables,
        }
        self.program: Program | None = None

    @property
    def running(self) -> Program:
        """The process of the newest start."""
        assert self.program is not None
        return self.program

    async def start(self) -> Program:
        """Start it and wait until it is ready."""
        self.program = Program(self.folder, "run", **self.environment)
        await self.program.says('"ready"')
        return self.program

    async def kill_and_start(self) -> None:
        """kill -9, then a new one."""
        self.running.kill()
        await self.start()

    @property
    def port(self) -> int:
        """Where the newest one serves its probes."""
        lines = [json.loads(line) for line in self.running.said().splitlines() if '"ready"' in line]
        return int(lines[-1]["port"])

    def redis_pids(self) -> Sequence[int]:
        """The processes of the embedded Redis of this folder."""
        return [pid for pid, name in programs_below(self.folder).items() if "-server" in name]

    def clear(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self.program is not None:
            self.program.stop()
        for pid in self.redis_pids():
            os.kill(pid, signal.SIGKILL)


def environment_of(sandbox: str) -> dict[str, str]:
    """The variables that the command `sandbox` printed."""
    pairs = (line.partition("=") for line in sandbox.splitlines() if "=" in line)
    return {name: value for name, _, value in pairs}


async def two_services(
    stack: AsyncExitStack, folder: Path, environment: Mapping[str, str], redis_url: str
) -> list[Service]:
    """Two that run, on one Redis; the stack clears them away."""
    keys = Fernet.generate_key().decode()
    services = []
    for name in ("one", "other"):
        (folder / name).mkdir()
        service = Service(
            folder / name, environment, REDIS_URL=redis_url, BRIDGE_ENCRYPTION_KEYS=keys
        )
        stack.callback(service.clear)
        await service.start()
        services.append(service)
    return services
