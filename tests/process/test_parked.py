"""The command `parked`, as somebody who looks after a running service uses it."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.flows.support import WELCOME, Connect, Slack, Thread, eventually
from tests.process.support import Program, Service
from tests.store.support import real_redis

pytestmark = pytest.mark.process

ROW = re.compile(r"^([0-9a-f]{12})  [\d-]+ [\d:]+ +\S+:\S+:[\d.]+ +(to_\w+) +(\w+)$", re.MULTILINE)


@pytest.fixture(params=["embedded", "shared"])
async def service(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox: dict[str, str]
) -> AsyncIterator[Service]:
    """One that runs, on a Redis of its own or on somebody else's."""
    async with AsyncExitStack() as stack:
        shared = {}
        if request.param == "shared":
            shared = {
                "REDIS_URL": f"unix://{await stack.enter_async_context(real_redis())}",
                "BRIDGE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            }
        service = Service(tmp_path, sandbox, **shared)
        stack.callback(service.clear)
        await service.start()
        yield service


@pytest.fixture
async def thread(slack: Slack, connect: Connect, request: pytest.FixtureRequest) -> Thread:
    name = re.sub(r"\W|_", "-", request.node.name.removeprefix("test_"))[-40:].strip("-")
    return Thread(slack, connect, await slack.channel(name, "ana"))


async def parked(service: Service, *words: str) -> tuple[int, str]:
    """Run the command; its exit code and what it said."""
    program = Program(service.folder, "parked", *words, **service.environment)
    try:
        return await program.ends(), program.said()
    finally:
        program.stop()


async def listed(service: Service, number: int) -> list[tuple[str, str, str]]:
    """The rows, when there are so many: id, direction and reason of each."""

    async def rows() -> list[tuple[str, str, str]]:
        code, said = await parked(service, "list")
        assert code == 0, said
        assert "red" not in said
        assert "lights" not in said
        return ROW.findall(said)

    found: list[tuple[str, str, str]] = await eventually(rows, lambda rows: len(rows) == number)
    return found


async def test_what_was_given_up_both_ways_is_listed_and_arrives_once_when_tried_again(
    service: Service, thread: Thread
) -> None:
    await thread.talk()
    await thread.connect.fault("reject", "SendMessage", code="ConflictException", status=409)
    ts = await thread.slack.write("The light is red.", channel=thread.channel, thread_ts=thread.ts)
    await thread.told_of("could not be delivered")
    await eventually(lambda: thread.reactions(ts), lambda found: list(found) == ["warning"])
    await thread.slack.fault("reject", "chat.postMessage", error="msg_blocks_too_long")
    await thread.say("Which lights are on?")
    rows = await listed(service, 2)
    assert [row[1:] for row in rows] == [("to_agent", "rejected"), ("to_customer", "rejected")]

    first, second = (row[0] for row in rows)
    assert await parked(service, "retry", first) == (0, f"{first}: to be tried again\n")
    await thread.told_of("has now been passed on")
    await eventually(lambda: thread.reactions(ts), lambda found: list(found) == [])
    assert await parked(service, "retry", first, second) == (
        1,
        f"{first}: is not parked\n{second}: to be tried again\n",
    )
    await thread.reaches_customer(WELCOME, "Good morning", "Which lights are on?")
    await thread.reaches_agent(
        "Hello",
        "[Slack bridge] Your last message could not be posted in Slack.",
        "The light is red.",
        "[Slack bridge] Your message that did not arrive before is in Slack now.",
    )
    assert await parked(service, "list") == (0, "Nothing is parked.\n")


async def test_what_is_dropped_is_gone(service: Service, thread: Thread) -> None:
    await thread.talk()
    await thread.connect.fault(
        "reject", "SendMessage", times=2, code="ConflictException", status=409
    )
    for text in ("The light is red.", "It blinks."):
        await thread.slack.write(text, channel=thread.channel, thread_ts=thread.ts)
    rows = await listed(service, 2)
    assert await parked(service, "drop", rows[0][0]) == (0, f"{rows[0][0]}: dropped\n")
    assert await parked(service, "drop", "--all") == (0, f"{rows[1][0]}: dropped\n")
    assert await parked(service, "retry", "--all") == (0, "Nothing is parked.\n")


async def test_where_no_service_runs_it_says_what_to_do(
    tmp_path: Path, sandbox: dict[str, str]
) -> None:
    service = Service(tmp_path, sandbox)
    code, said = await parked(service, "list")
    assert code == 1
    assert f"No service with a Redis of its own runs in {tmp_path}" in said
    assert os.listdir(tmp_path) == ["parked.log"]  # noqa: PTH208  # a lint takes pathlib's for slow
    service = Service(
        tmp_path,
        sandbox,
        REDIS_URL=f"unix://{tmp_path}/none.sock",
        BRIDGE_ENCRYPTION_KEYS=Fernet.generate_key().decode(),
    )
    code, said = await parked(service, "list")
    assert code == 1
    assert "Redis cannot be reached" in said


async def test_wrong_words_are_said_to_be(tmp_path: Path, sandbox: dict[str, str]) -> None:
    service = Service(tmp_path, sandbox)
    for words in (("retry",), ("drop", "--all", "1"), ("list", "1"), ("sort",)):
        code, said = await parked(service, *words)
        assert code == 2
        assert "usage:" in said
