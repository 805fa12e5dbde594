"""The sandbox in this process, the service as a process of its own: nothing shared but variables."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bridge.demo.people import Customer, Desk
from bridge.sandbox.both import sandbox
from bridge.settings import VARIABLES

_START_SECONDS = 60.0
_STOP_SECONDS = 40.0


class ServiceFailed(Exception):
    """The service ended or did not become ready; the message is what it said last."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the demo plays with."""

    customer: Customer
    desk: Desk
    log: Path


@asynccontextmanager
async def stage(user: str = "ana", channel: str = "help") -> AsyncIterator[Stage]:
    """Start both and wait until the service is ready. Raises ServiceFailed."""
    with tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder:
        async with sandbox() as pair, aiohttp.ClientSession() as session:
            log = Path(folder) / "service.log"
            variables = dict(pair.environment, BRIDGE_DATA_DIR=folder, BRIDGE_REHYDRATE_SECONDS="2")
            desk = Desk(session, pair.connect.url)
            # The real service needs 30 to 60 s until an ended chat can be continued.
            await desk.settings(persistent_ready_seconds=1.0)
            async with _service(variables, log, session):
                yield Stage(Customer(session, pair.slack.url, user, channel), desk, log)


@asynccontextmanager
async def _service(
    variables: Mapping[str, str], log: Path, session: aiohttp.ClientSession
) -> AsyncIterator[None]:
    port = _free_port()
    # Empty counts as absent: neither the user's environment nor their .env has a say here.
    environment = {
        **os.environ,
        **dict.fromkeys(VARIABLES, ""),
        **variables,
        "BRIDGE_HTTP_PORT": str(port),
        "BRIDGE_LOG_FORMAT": "text",
    }
    with log.open("wb") as out:
        # A session of its own: Ctrl-C reaches the demo, which then stops the service in order.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "run"),
            env=environment,
            stdout=out,
            stderr=out,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        await _until_ready(process, f"http://127.0.0.1:{port}/ready", session, log)
        yield
    finally:
        await _stop(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def _until_ready(
    process: asyncio.subprocess.Process, url: str, session: aiohttp.ClientSession, log: Path
) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS):
            while process.returncode is None:
                try:
                    async with session.get(url) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    said = await asyncio.to_thread(log.read_text)
    raise ServiceFailed(f"The service did not become ready:\n{said[-2000:]}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
