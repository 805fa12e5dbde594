"""The service as a process: what it says, what it obeys, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cryptography.fernet import Fernet

from tests.flows.support import Connect, Slack, Thread, eventually
from tests.process.support import Program, Service
from tests.store.support import real_redis

pytestmark = pytest.mark.process


@pytest.fixture
async def service(tmp_path: Path, sandbox: dict[str, str]) -> AsyncIterator[Service]:
    """One that is not started yet, with a data folder of its own."""
    service = Service(tmp_path, sandbox)
    try:
        yield service
    finally:
        service.clear()


@pytest.fixture
async def thread(slack: Slack, connect: Connect, request: pytest.FixtureRequest) -> Thread:
    """A thread to be begun, in a channel of its own."""
    name = request.node.name.removeprefix("test_").replace("_", "-")
    return Thread(slack, connect, await slack.channel(name, "ana", "ben"))


# --- whole lives ---------------------------------------------------------------------------------


async def test_nothing_is_shared_but_the_environment_lines(
    sandbox: dict[str, str], slack: Slack, connect: Connect, tmp_path: Path
) -> None:
    program = Program(
        tmp_path, "run", **sandbox, BRIDGE_HTTP_PORT="0", BRIDGE_DATA_DIR=str(tmp_path)
    )
    try:
        await program.says('"ready"')
        thread = Thread(slack, connect, "C0SB000002")
        await thread.talk()
        await thread.complete()
        program.send(signal.SIGTERM)
        assert await program.ends() == 0
    finally:
        program.stop()


async def test_a_redis_of_ones_own(
    sandbox: dict[str, str], tmp_path: Path, thread: Thread, connect: Connect
) -> None:
    async with real_redis() as path:
        service = Service(
            tmp_path,
            sandbox,
            REDIS_URL=f"unix://{path}",
            BRIDGE_ENCRYPTION_KEYS=Fernet.generate_key().decode(),
        )
        try:
            await service.start()
            await thread.talk()
            fault = await connect.fault("no_answer", "SendMessage")
            await thread.write("The light is red.")
            await connect.struck(fault)
            # Nobody else can know that its lease is dead, so the next one waits for it.
            await service.kill_and_start()
            await thread.complete()
            assert not service.redis_pids()
            service.running.send(signal.SIGTERM)
            assert await service.running.ends() == 0
        finally:
            service.clear()


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_and_nothing_is_lost(
    service: Service, thread: Thread, number: signal.Signals
) -> None:
    await service.start()
    await thread.talk()
    sending = await thread.connect.fault("delay", "SendMessage", seconds=0.5)
    posting = await thread.slack.fault("delay", "chat.postMessage", seconds=0.5)
    await thread.write("The light is red.")
    await thread.say("Which lights are on?")
    await thread.connect.struck(sending)
    await thread.slack.struck(posting)
    await thread.write("It blinks.")
    service.running.send(number)
    assert await service.running.ends() == 0
    assert not service.redis_pids()
    await thread.say("Hello?")
    await service.start()
    await thread.complete()


async def test_control_c_in_a_terminal(service: Service, thread: Thread) -> None:
    """It goes to every process of the group: the private Redis must outlive the service."""
    await service.start()
    await thread.talk()
    await thread.write("The light is red.")
    service.running.send_group(signal.SIGINT)
    assert await service.running.ends() == 0
    assert not service.redis_pids()
    await service.start()
    await thread.complete()


async def test_a_second_signal_hurries(service: Service, thread: Thread) -> None:
    service.environment["BRIDGE_GRACE_SECONDS"] = "600"
    await service.start()
    await thread.talk()
    fault = await thread.connect.fault("delay", "SendMessage", seconds=60)
    await thread.write("The light is red.")
    await thread.connect.struck(fault)
    service.running.send(signal.SIGTERM)
    await service.running.says('"stopping"')
    service.running.send(signal.SIGTERM)
    assert await service.running.ends() == 130
    assert not service.redis_pids()
    await service.start()
    await thread.complete()


async def test_a_signal_stops_it_while_it_waits_to_start(service: Service) -> None:
    service.environment["SLACK_API_URL"] = f"http://127.0.0.1:{_closed_port()}/api/"
    program = Program(service.folder, "run", **service.environment)
    service.program = program
    await program.says("waiting_to_start")
    program.send(signal.SIGTERM)
    assert await program.ends() == 0
    assert not service.redis_pids()


# --- the private Redis ---------------------------------------------------------------------------


async def test_the_redis_of_a_killed_service_is_adopted(service: Service) -> None:
    await service.start()
    [before] = service.redis_pids()
    await service.kill_and_start()
    assert list(service.redis_pids()) == [before]


async def test_both_killed(service: Service, thread: Thread) -> None:
    await service.start()
    await thread.talk()
    await thread.write("The light is red.")
    await thread.reaches_agent("Hello", "The light is red.")
    await thread.say("Which lights are on?")
    service.running.kill()
    [pid] = service.redis_pids()
    os.kill(pid, signal.SIGKILL)
    await thread.write("It blinks.")
    await service.start()
    await thread.complete()
    assert len(service.redis_pids()) == 1


async def test_its_redis_killed_alone(service: Service, thread: Thread) -> None:
    await service.start()
    await thread.talk()
    [pid] = service.redis_pids()
    os.kill(pid, signal.SIGKILL)
    await thread.write("The light is red.")
    await thread.say("Which lights are on?")
    await thread.complete()
    assert pid not in service.redis_pids()
    assert len(service.redis_pids()) == 1


async def test_a_second_service_on_one_folder_says_no(service: Service, thread: Thread) -> None:
    await service.start()
    second = Program(service.folder, "run", **service.environment)
    assert await second.ends() == 1
    assert "in use by another running service" in second.said()
    assert len(service.redis_pids()) == 1
    await thread.talk()


# --- not starting --------------------------------------------------------------------------------


async def test_every_wrong_setting_is_named_and_nothing_starts(service: Service) -> None:
    service.environment |= {
        "SLACK_BOT_TOKEN": "",
        "BRIDGE_REOPEN": "perhaps",
        "BRIDGE_LEASE_SECONDS": "soon",
        "BRIDGE_REOPENS": "ask",
    }
    program = Program(service.folder, "run", **service.environment)
    assert await program.ends() == 2
    named = {line.partition(":")[0] for line in program.said().splitlines()}
    assert named == {
        "SLACK_BOT_TOKEN", "BRIDGE_REOPEN", "BRIDGE_LEASE_SECONDS", "BRIDGE_REOPENS",
    }  # fmt: skip
    assert "perhaps" not in program.said()
    assert [entry.name for entry in service.folder.iterdir()] == ["run.log"]


async def test_a_port_that_is_taken_is_named(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service.environment["BRIDGE_HTTP_PORT"] = str(taken.getsockname()[1])
        program = Program(service.folder, "run", **service.environment)
        assert await program.ends() == 1
    assert "BRIDGE_HTTP_PORT" in program.said()
    assert not service.redis_pids()


async def test_a_token_that_slack_refuses_is_named(service: Service) -> None:
    service.environment["SLACK_BOT_TOKEN"] = "xoxb-of-somebody-else"
    program = Program(service.folder, "run", **service.environment)
    assert await program.ends() == 1
    assert "Slack refuses our credentials" in program.said()
    assert "somebody-else" not in program.said()
    assert not service.redis_pids()


async def test_names_that_slack_does_not_know_are_named(service: Service) -> None:
    service.environment["BRIDGE_SUPPORT_CHANNELS"] = "help,hepl"
    service.environment["BRIDGE_CUSTOMERS"] = "@vipps"
    program = await service.start()
    for variable, entry in (("BRIDGE_SUPPORT_CHANNELS", "hepl"), ("BRIDGE_CUSTOMERS", "vipps")):
        lines = [line for line in program.said().splitlines() if variable in line]
        assert len(lines) == 1
        assert entry in lines[0]


async def test_a_missing_scope_is_named(service: Service, slack: Slack) -> None:
    service.environment["BRIDGE_SUPPORT_CHANNELS"] = "help"
    await slack.fault("reject", "users.conversations", error="missing_scope", times=2)
    program = Program(service.folder, "run", **service.environment)
    assert await program.ends() == 1
    assert "users.conversations: the app lacks a scope" in program.said()


# --- what it shows -------------------------------------------------------------------------------


async def test_it_becomes_ready_and_says_when_it_is_not(
    service: Service, slack: Slack, session: aiohttp.ClientSession
) -> None:
    await service.start()

    async def reasons() -> object:
        async with session.get(f"http://127.0.0.1:{service.port}/ready") as response:
            return (response.status, (await response.json())["reasons"])

    await eventually(reasons, lambda found: found == (200, {}))
    [pid] = service.redis_pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        await eventually(reasons, lambda found: "redis" in str(found))
    finally:
        os.kill(pid, signal.SIGCONT)
    await eventually(reasons, lambda found: found == (200, {}))


async def test_no_token_and_no_text_of_people_is_logged(service: Service, thread: Thread) -> None:
    service.environment["BRIDGE_LOG_LEVEL"] = "DEBUG"
    await service.start()
    await thread.talk()
    await thread.connect.fault("error", "SendMessage")
    await thread.slack.fault("error", "chat.postMessage")
    await thread.write("A secret of Ana's")
    await thread.say("A secret of Mina's")
    await thread.complete()
    service.running.send(signal.SIGTERM)
    assert await service.running.ends() == 0
    said = service.running.said()
    assert "contact_started" in said
    for secret in ("xoxb-", "xapp-", "secret", "Hello", "Good morning", "QVF"):
        assert secret not in said


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
