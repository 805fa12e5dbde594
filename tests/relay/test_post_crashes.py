"""kill -9 at every call while a channel is behind: joined posts and posts in several parts stand in
the thread once, also where the chat ends before anybody is back."""

from __future__ import annotations

import asyncio
import random

import pytest

from bridge.core.errors import Uncertain
from bridge.core.model import ConversationId, NoticeKind, Phase, Policy
from tests.relay.fakes import Fault
from tests.relay.lifeline import Lifeline
from tests.relay.play import A_PAGE
from tests.relay.virtual import VirtualLoop, until
from tests.relay.world import World, a_world

POLICY = Policy(rehydrate=True)
SAID = [*(f"first {n}" for n in range(7)), A_PAGE, *(f"then {n}" for n in range(6))]


async def _burst(world: World, lifeline: Lifeline) -> ConversationId:
    """An open conversation, in which more is said than its channel takes at once."""
    await world.replica(POLICY, lifeline=lifeline)
    id_ = await world.opened("hello")
    lifeline.calls.clear()
    for text in SAID:
        world.connect.says(text)
    return id_


def _calls() -> list[str]:
    """The calls that the burst makes when nobody dies."""

    async def undisturbed() -> list[str]:
        async with a_world() as world:
            lifeline = Lifeline()
            id_ = await _burst(world, lifeline)
            await until(lambda: world.customer.reads(id_, SAID[-1]))
            await world.settled(id_)
            assert any(len(post) > 1 for post in world.customer.posts(id_))
            return list(lifeline.calls)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(undisturbed())


CALLS = _calls()
POINTS = [
    pytest.param(number, after, id=f"{number}-{call}-{'after' if after else 'before'}")
    for number, call in enumerate(CALLS, 1)
    for after in (False, True)
]


class _Doomed(Lifeline):
    """Counts from when its calls were cleared, and dies then only."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__(after=after)
        self._doom = at

    def armed(self) -> None:
        self._at = self._doom


async def _doomed(world: World, at: int, *, after: bool) -> ConversationId:
    lifeline = _Doomed(at, after=after)
    id_ = await _burst(world, lifeline)
    lifeline.armed()
    await lifeline.cut.wait()
    await world.replicas[-1].kill()
    return id_


def _stands_once(world: World, id_: ConversationId) -> None:
    ids = world.customer.ids(id_)
    assert len(set(ids)) == len(ids)
    for part in ids:
        assert sum(other.id == part.id for other in ids) == part.of


@pytest.mark.parametrize(("at", "after"), POINTS)
async def test_a_crash_while_the_channel_is_behind(at: int, after: bool) -> None:
    async with a_world() as world:
        id_ = await _doomed(world, at, after=after)
        await world.replica(POLICY)
        world.connect.says("goodbye")
        await until(lambda: world.customer.reads(id_, "goodbye"))
        await world.settled(id_)
        assert "".join(world.customer.words(id_)) == "".join([*SAID, "goodbye"])
        _stands_once(world, id_)


@pytest.mark.parametrize(("at", "after"), POINTS)
async def test_a_crash_after_which_the_chat_is_over(at: int, after: bool) -> None:
    """What was not posted comes when the chat is continued."""
    async with a_world() as world:
        id_ = await _doomed(world, at, after=after)
        world.connect.ends()
        await world.replica(POLICY)
        await until(lambda: bool({NoticeKind.MISSED} & set(world.customer.notices(id_))))
        _stands_once(world, id_)
        await world.deliver(world.customer.replies(id_, "more"), world.customer.asks_to_reopen(id_))
        await until(lambda: world.connect.hears("more"))
        world.connect.says("goodbye")
        await until(lambda: world.customer.reads(id_, "goodbye"))
        await world.settled(id_, Phase.OPEN)
        assert "".join(world.customer.words(id_)) == "".join([*SAID, "goodbye"])
        _stands_once(world, id_)


@pytest.mark.parametrize("seed", range(20))
async def test_crashes_while_posts_come_late(seed: int) -> None:
    """Successors come at once, while what their predecessors posted is still on its way."""
    chance = random.Random(seed)
    async with a_world() as world:

        def weather() -> Fault | None:
            lost = Uncertain("chat.postMessage", "timeout")
            late = chance.uniform(0.1, 14.5)
            return Fault(lost, after=True, late=late) if chance.random() < 0.3 else None

        id_ = await _burst(world, Lifeline())
        world.customer.faults.weather = weather
        for _ in range(4):
            await asyncio.sleep(chance.uniform(0.1, 40.0))
            await world.replicas[-1].stop(grace=chance.choice([0.0, 0.0, 5.0]))
            await world.replica(POLICY)
        world.customer.faults.weather = lambda: None
        world.connect.says("goodbye")
        await until(lambda: world.customer.reads(id_, "goodbye"))
        await world.settled(id_)
        assert "".join(world.customer.words(id_)) == "".join([*SAID, "goodbye"])
        _stands_once(world, id_)
