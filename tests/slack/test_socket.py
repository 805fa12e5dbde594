from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge import metrics
from bridge.core.errors import Denied
from bridge.slack.inbound import bolt_app
from bridge.slack.socket import SocketMode
from tests.slack.support import Kit, until, wired


@asynccontextmanager
async def sockets(kit: Kit, **options: Any) -> AsyncIterator[SocketMode]:
    bolt = bolt_app(kit.settings, kit.api, kit.identity, kit.intake)
    given: dict[str, Any] = {"check": 0.02, "ping_interval": 0.1, "patience": 30.0}
    mode = SocketMode(bolt, kit.api, "xapp-sandbox", kit.intake, kit.clock, **(given | options))
    await mode.start()
    try:
        yield mode
    finally:
        await mode.close()


async def test_two_connections_share_the_events(kit: Kit) -> None:
    async with sockets(kit) as mode:
        await until(lambda: len(kit.box.sockets.sockets) == 2)
        await until(lambda: mode.ready)
        for index in range(6):
            await kit.people.say(f"message {index}")
        await until(lambda: len(kit.inbox.taken) == 6)
        assert sorted(kit.inbox.texts()) == [f"message {index}" for index in range(6)]
        await until(lambda: all(s.acked == 3 for s in kit.box.sockets.sockets))
    assert not mode.ready
    await until(lambda: not kit.box.sockets.sockets)


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "too_many_websockets"])
async def test_a_refresh_is_covered_by_the_other_connection(kit: Kit, reason: str) -> None:
    async with sockets(kit) as mode:
        await until(lambda: len(kit.box.sockets.sockets) == 2)
        old = {id(socket) for socket in kit.box.sockets.sockets}
        await kit.people.do("disconnect", reason=reason, count=1)
        await kit.people.say("in between")
        await until(lambda: kit.inbox.texts() == ["in between"])
        await until(lambda: len({id(s) for s in kit.box.sockets.sockets} - old) == 1)
        await until(lambda: len(kit.box.sockets.sockets) == 2)
        assert mode.replaced == 0


async def test_dropped_sockets_come_back(kit: Kit) -> None:
    async with sockets(kit) as mode:
        await until(lambda: len(kit.box.sockets.sockets) == 2)
        await kit.people.do("drop_sockets")
        await until(lambda: not mode.ready)
        await until(lambda: len(kit.box.sockets.sockets) == 2 and mode.ready)
        await kit.people.say("still there?")
        await until(lambda: kit.inbox.texts() == ["still there?"])


async def test_a_client_that_cannot_reconnect_is_replaced(kit: Kit) -> None:
    """Its ticket is refused; by itself it would try the same one for ever."""
    await kit.people.do("settings", "PATCH", ticket_seconds=0)
    async with sockets(kit, connections=1, patience=0.4) as mode:
        await until(lambda: mode.replaced >= 2)
        assert not mode.ready
        await kit.people.do("settings", "PATCH", ticket_seconds=30)
        await until(lambda: mode.ready)
        await kit.people.say("hello")
        await until(lambda: kit.inbox.texts() == ["hello"])
        replaced = mode.replaced
        await asyncio.sleep(0.6)
        assert mode.replaced == replaced
        assert len(kit.box.sockets.sockets) == 1


async def test_patience_is_measured_from_the_last_connection(kit: Kit) -> None:
    async with sockets(kit, connections=1, patience=50.0) as mode:
        await until(lambda: mode.ready)
        kit.clock.skew += 49.0
        await asyncio.sleep(0.1)
        assert mode.replaced == 0
        await kit.people.do("settings", "PATCH", ticket_seconds=0)
        await kit.people.do("drop_sockets")
        await until(lambda: not mode.ready)
        kit.clock.skew += 49.0
        await asyncio.sleep(0.1)
        assert mode.replaced == 0
        kit.clock.skew += 2.0
        await until(lambda: mode.replaced == 1)


async def test_a_silent_socket_is_noticed(kit: Kit) -> None:
    await kit.people.fault("silent", "socket", times=1)
    async with sockets(kit, connections=1, ping_interval=0.3) as mode:
        await until(lambda: kit.box.faults.log)
        first = kit.box.sockets.sockets[0]
        await until(lambda: first not in kit.box.sockets.sockets)
        await until(lambda: mode.ready and kit.box.sockets.sockets)
        await kit.people.say("heard?")
        await until(lambda: kit.inbox.texts() == ["heard?"])


async def test_nobody_is_called_for_one_connection_or_a_moment(kit: Kit) -> None:
    before = alarms()
    async with sockets(kit) as mode:
        await until(lambda: len(kit.box.sockets.sockets) == 2)
        for count in (1, 2):
            await kit.people.do("drop_sockets", count=count)
            kit.clock.skew += 59.0
            await until(lambda: len(kit.box.sockets.sockets) == 2 and mode.ready)
    assert alarms() == before


async def test_a_workspace_that_is_not_heard_of_is_reported_once(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    before = alarms()
    silences: list[float] = []
    async with sockets(kit, patience=1000.0, heard_again=silences.append) as mode:
        await until(lambda: mode.ready)
        await kit.people.do("settings", "PATCH", ticket_seconds=0)
        await kit.people.do("drop_sockets")
        await until(lambda: not mode.ready)
        assert alarms() == before
        kit.clock.skew += 61.0
        await until(lambda: alarms() > before)
        kit.clock.skew += 600.0
        await asyncio.sleep(0.1)  # time for a second one
        assert alarms() == before + 1
        assert "no event and no pong" in caplog.text
        await kit.people.do("settings", "PATCH", ticket_seconds=30)
        kit.clock.skew += 1000.0  # the clients are replaced
        await until(lambda: mode.ready)
        await until(lambda: "heard again" in caplog.text)
        assert [round(silence, -2) for silence in silences] == [1700]


def alarms() -> float:
    labels = {"kind": "slack_silent"}
    return metrics.REGISTRY.get_sample_value("bridge_alarms_total", labels) or 0.0


@pytest.mark.parametrize(
    "frame", ["not json", "{broken", '{"type": "hello"}', '{"type": 7}', "[1]"]
)
async def test_rubbish_frames_do_no_harm(kit: Kit, frame: str) -> None:
    async with sockets(kit, connections=1):
        await until(lambda: kit.box.sockets.sockets)
        await kit.people.do("envelopes", frame=frame)
        await kit.people.do(
            "envelopes", frame={"type": "events_api", "envelope_id": "e", "payload": 3}
        )
        await kit.people.say("hello")
        await until(lambda: kit.inbox.texts() == ["hello"])


async def test_a_wrong_app_token_is_told_at_once(kit: Kit) -> None:
    async with wired(kit.box, app_token="xapp-wrong") as other:
        mode = SocketMode(
            bolt_app(other.settings, other.api, other.identity, other.intake),
            other.api,
            "xapp-wrong",
            other.intake,
            other.clock,
        )
        with pytest.raises(Denied):
            await mode.start()


async def test_closing_waits_for_what_is_in_the_air(kit: Kit) -> None:
    kit.inbox.gate = asyncio.Event()
    async with sockets(kit) as mode:
        await until(lambda: mode.ready)
        await kit.people.say("just in time")
        await until(lambda: mode._in_air)
        closing = asyncio.create_task(mode.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        kit.inbox.gate.set()
        await closing
    assert kit.inbox.texts() == ["just in time"]
    (delivery,) = await kit.people.deliveries()
    assert delivery["acked"]


async def test_closing_waits_no_longer_than_told(kit: Kit) -> None:
    kit.inbox.gate = asyncio.Event()
    async with sockets(kit) as mode:
        await until(lambda: mode.ready)
        await kit.people.say("stuck")
        await until(lambda: mode._in_air)
        await asyncio.wait_for(mode.close(drain_seconds=0.1), 5)
        kit.inbox.gate.set()


async def test_nothing_is_left_running(kit: Kit) -> None:
    before = asyncio.all_tasks()
    async with sockets(kit) as mode:
        await until(lambda: mode.ready)
        await kit.people.do("drop_sockets")

    def left() -> set[asyncio.Task[Any]]:
        running = asyncio.all_tasks() - before
        return {task for task in running if "slack_sdk" in repr(task.get_coro())}

    await until(lambda: not left())
