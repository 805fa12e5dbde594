"""The Participant Service refuses everybody: chats are held, not ended."""

from __future__ import annotations

import asyncio

import pytest

from bridge import metrics
from bridge.connect.chat import ConnectSide
from bridge.core.errors import Gone, Temporary
from tests.connect.service import Talk, World, poll, world
from tests.connect.support import eventually

__all__ = ["world"]

REFUSED = {
    "times": None,
    "status": 403,
    "code": "AccessDeniedException",
    "match": {"service": "connectparticipant"},
}


LONG = 1.0
"""Of the quarantine: on a busy machine four calls together take longer than a moment."""


async def talks(world: World, side: ConnectSide, count: int = 4) -> list[Talk]:
    return [await world.talk(side) for _ in range(count)]


async def refused(talk: Talk) -> type[BaseException]:
    try:
        await talk.chat.send("Hello?", "t-1")
    except (Gone, Temporary) as failure:
        return type(failure)
    raise AssertionError("it was sent")


async def refuse_all(world: World, all_of_them: list[Talk]) -> None:
    await world.desk.fault("reject", "*", **REFUSED)
    answers = await asyncio.gather(*(refused(talk) for talk in all_of_them))
    assert answers == [Temporary] * len(all_of_them)


def held() -> float:
    return metrics.REGISTRY.get_sample_value("bridge_held_contacts") or 0.0


async def described(world: World, count: int) -> None:
    async def enough() -> bool:
        return len(await world.desk.requests("DescribeContact")) >= count

    await poll(enough)


async def test_open_chats_are_held_until_any_chat_works(world: World) -> None:
    side = world.side(quarantine_seconds=LONG)
    all_of_them = await talks(world, side)
    await refuse_all(world, all_of_them)
    await described(world, 4)
    assert all(talk.listener.overs == 0 for talk in all_of_them)
    assert held() == 4

    await world.desk.call("DELETE", "faults")
    await world.talk(side)  # a new one: nothing holds it
    for number, talk in enumerate(all_of_them):
        await talk.chat.send(f"Hello {number}", "t-2")
        assert await world.desk.heard(talk.id) == [f"Hello {number}"]
    assert held() == 0


async def test_chats_that_ended_together_unheard_are_confirmed(world: World) -> None:
    # Losses are noticed within a second of each other.
    all_of_them = await talks(world, world.side(quarantine_seconds=2 * LONG))
    await world.desk.fault("lose_frames", "socket", times=None)
    for talk in all_of_them:
        await world.desk.act(talk.id, "end")
        await world.desk.act(talk.id, "drop_sockets")
    for talk in all_of_them:
        await eventually(lambda talk=talk: talk.listener.overs == 1, "over")  # type: ignore[misc]
    assert len(await world.desk.requests("DescribeContact")) == 4


async def test_a_transfer_is_no_end(world: World) -> None:
    all_of_them = await talks(world, world.side(quarantine_seconds=LONG))
    for talk in all_of_them:
        await world.desk.act(talk.id, "transfer", to="Omar")
    await world.desk.say(all_of_them[0].id, "Omar here")
    await eventually(lambda: all_of_them[0].listener.texts("AGENT"), "the new agent")
    await refuse_all(world, all_of_them)
    await described(world, 4)
    assert all(talk.listener.overs == 0 for talk in all_of_them)
    assert held() == 4


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDeniedException"), (404, "ResourceNotFoundException")]
)
async def test_where_connect_does_not_tell_they_are_held(
    world: World, status: int, code: str
) -> None:
    all_of_them = await talks(world, world.side(quarantine_seconds=LONG))
    await world.desk.fault("reject", "DescribeContact", times=None, status=status, code=code)
    await stay_held(world, all_of_them)


async def test_without_an_instance_id_nobody_can_be_asked(world: World) -> None:
    await world.desk.settings(start_chat_instance_id="instance", start_chat_flow_id="flow")
    url = f"{world.sandbox.url}/startChat"
    side = world.side(instance_id="", start_chat_url=url, quarantine_seconds=LONG)
    await stay_held(world, await talks(world, side))
    assert await world.desk.requests("DescribeContact") == []


async def stay_held(world: World, all_of_them: list[Talk]) -> None:
    await refuse_all(world, all_of_them)
    await asyncio.sleep(0.3)  # time for a wrong verdict
    assert [talk.listener.overs for talk in all_of_them] == [0] * len(all_of_them)
    answers = await asyncio.gather(*(refused(talk) for talk in all_of_them))
    assert answers == [Temporary] * len(all_of_them)


async def test_two_that_are_refused_are_over(world: World) -> None:
    all_of_them = await talks(world, world.side(), 2)
    await world.desk.fault("reject", "*", **REFUSED)
    answers = await asyncio.gather(*(refused(talk) for talk in all_of_them))
    assert answers == [Gone, Gone]
    assert [talk.listener.overs for talk in all_of_them] == [1, 1]


async def test_a_held_chat_costs_no_calls(world: World) -> None:
    all_of_them = await talks(world, world.side(quarantine_seconds=LONG), 3)
    await refuse_all(world, all_of_them)
    before = len(await world.desk.requests("SendMessage"))
    for _ in range(3):
        assert await refused(all_of_them[0]) is Temporary
    assert len(await world.desk.requests("SendMessage")) == before
