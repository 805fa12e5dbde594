"""The stand-ins as one process for all tests here, and people who reach them over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.flows.support import Connect, Slack
from tests.process.support import Program, environment_of


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that the command `sandbox` prints."""
    program = Program(tmp_path_factory.mktemp("sandbox"), "sandbox")
    try:
        said = asyncio.run(program.says("BRIDGE_SUPPORT_CHANNELS"))
        yield environment_of(said)
    finally:
        program.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def slack(session: aiohttp.ClientSession, sandbox: dict[str, str]) -> Slack:
    """The customer's side, without faults."""
    slack = Slack(session, sandbox["SLACK_API_URL"].removesuffix("/api/"))
    await slack.heal()
    # What is not acknowledged comes again soon, as often as the test lasts.
    await slack.patch("settings", retry_schedule=[0.3] * 100)
    return slack


@pytest.fixture
async def connect(session: aiohttp.ClientSession, sandbox: dict[str, str]) -> Connect:
    """The agent's side, without faults."""
    connect = Connect(session, sandbox["AWS_ENDPOINT_URL_CONNECT"])
    await connect.heal()
    await connect.patch("settings", flow_seconds=0.0, persistent_ready_seconds=0.0)
    return connect
