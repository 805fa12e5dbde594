"""kill -9 around a take-over: of whoever takes over, of one of two that take events in, and of one
whose last request is carried out after somebody else has begun."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise

import pytest

from bridge.core.model import ConversationId
from tests.relay.lifeline import Lifeline
from tests.relay.play import POLICY, greet, play
from tests.relay.virtual import VirtualLoop, until
from tests.relay.world import Replica, World, a_world

Story = Callable[[Lifeline], Awaitable[None]]


def _calls(story: Story) -> list[str]:
    """Every call that a replica makes in a story in which it does not die."""
    lifeline = Lifeline()

    async def told() -> None:
        await story(lifeline)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(told())
    return lifeline.calls


def _points(calls: list[str], *names: str) -> list[object]:
    """Before and after each of these calls (or of all)."""
    return [
        pytest.param(number, after, id=f"{number}-{call}-{'after' if after else 'before'}")
        for number, call in enumerate(calls, 1)
        for after in (False, True)
        if not names or call in names
    ]


async def _buried(world: World, lifeline: Lifeline, *, expelled: bool = False) -> None:
    """Wait for a death. `expelled`: its lease ends with it, as whoever finds its Redis sees to."""
    await lifeline.cut.wait()
    dead = next(one for one in world.replicas if one.lifeline is lifeline)
    await dead.kill()
    if expelled:
        await world.expel(dead)


async def _play_while(world: World, happens: Awaitable[None]) -> None:
    """Play, while somebody dies and somebody comes."""
    happening = asyncio.ensure_future(happens)
    try:
        await play(world, pause=150.0)
    finally:
        happening.cancel()
        with suppress(asyncio.CancelledError):
            await happening


# --- one after the other -------------------------------------------------------------------------


async def _played_in_turn(*lives: Lifeline, expelled: bool = False) -> None:
    async with a_world() as world:
        greet(world)
        await world.replica(POLICY, lifeline=lives[0])

        async def succeed() -> None:
            for dying, heir in pairwise(lives):
                await _buried(world, dying, expelled=expelled)
                await world.replica(POLICY, lifeline=heir)

        await _play_while(world, succeed())


CALLS = _calls(_played_in_turn)


def _nth(name: str, number: int) -> int:
    """Which call is the `number`th of this name."""
    return [at for at, call in enumerate(CALLS, 1) if call == name][number - 1]


DEATHS = {
    "start": (_nth("connect.start", 1), False),
    "send": (_nth("chat.send", 3), False),
    "post": (_nth("slack.post", 5), True),
}
"""Of the first replica, when a request of its was carried out and not answered: at which call, and
whether its lease ends with it."""


def _taking_over(death: str) -> list[object]:
    at, expelled = DEATHS[death]

    async def story(heir: Lifeline) -> None:
        await _played_in_turn(Lifeline(at, after=True), heir, expelled=expelled)

    return [
        pytest.param(death, *point.values, id=f"{death}-{point.id}")  # type: ignore[attr-defined]
        for point in _points(_calls(story)[:24])
    ]


@pytest.mark.parametrize(
    ("death", "at", "after"), [point for death in DEATHS for point in _taking_over(death)]
)
async def test_whoever_takes_over_dies_too(death: str, at: int, after: bool) -> None:
    first, expelled = DEATHS[death]
    lives = Lifeline(first, after=True), Lifeline(at, after=after), Lifeline()
    await _played_in_turn(*lives, expelled=expelled)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(number, id=f"{number}-{call}")
        for number, call in enumerate(CALLS, 1)
        if call in ("slack.post", "chat.send", "connect.start")
    ],
)
async def test_a_request_is_carried_out_after_the_next_has_begun(at: int) -> None:
    """As late as a request can be."""
    await _played_in_turn(Lifeline(at, late=9.0), Lifeline(), expelled=True)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(number, id=f"{number}-{call}")
        for number, call in enumerate(CALLS, 1)
        if call in ("store.settle", "store.mark", "store.forget", "store.accept", "store.claim")
    ],
)
async def test_a_write_reaches_redis_after_the_next_has_begun(at: int) -> None:
    """Whoever comes third finds what the second wrote."""
    async with a_world() as world:
        greet(world)
        first = Lifeline(at, late=5.0)
        await world.replica(POLICY, lifeline=first)

        async def succeed() -> None:
            await _buried(world, first, expelled=True)
            second = await world.replica(POLICY)
            await first.landed.wait()
            await asyncio.sleep(0.1)
            await second.kill()
            await world.expel(second)
            await world.replica(POLICY)

        await _play_while(world, succeed())


# --- two take events in --------------------------------------------------------------------------


async def _played_by_two(mortal: Lifeline, *, owner: bool = True) -> None:
    """Slack talks to the mortal one while it lives. `owner`: which owns the place, too."""
    async with a_world() as world:
        greet(world)
        lives = (mortal, Lifeline()) if owner else (Lifeline(), mortal)
        replicas = [await world.replica(POLICY, lifeline=life) for life in lives]

        def talked_to() -> Replica:
            if mortal.cut.is_set():
                return next(one for one in replicas if one.lifeline is not mortal)
            begun = owner or bool(world.connect.contacts)
            return next(one for one in replicas if (one.lifeline is mortal) == begun)

        world.reached = talked_to
        await _play_while(world, _buried(world, mortal))


async def _played_with_another_owner(mortal: Lifeline) -> None:
    await _played_by_two(mortal, owner=False)


@pytest.mark.parametrize(("at", "after"), _points(_calls(_played_by_two), "store.accept"))
async def test_an_event_is_sent_again_to_another(at: int, after: bool) -> None:
    """Its owner dies before the acknowledgement."""
    await _played_by_two(Lifeline(at, after=after))


@pytest.mark.parametrize(
    ("at", "after"), _points(_calls(_played_with_another_owner), "store.accept")
)
async def test_an_event_is_sent_again_to_its_owner(at: int, after: bool) -> None:
    """Whoever dies before the acknowledgement had it only to pass it on."""
    await _played_with_another_owner(Lifeline(at, after=after))


# --- catching up ---------------------------------------------------------------------------------

MISSED = ["are you there?", "hello?", "another thing", "and more of it"]


async def _caught_up(mortal: Lifeline) -> None:
    """Written while nobody was there: in an open chat, and in a thread that nobody knows yet."""
    async with a_world() as world:
        gone = await world.replica(POLICY)
        id_ = await world.opened("hello")
        await gone.stop()
        await world.clock.sleep(300.0)
        for text in MISSED[:2]:
            world.customer.replies(id_, text)
        root = world.customer.opens(MISSED[2])
        world.customer.replies(root.conversation, MISSED[3])
        await world.replica(POLICY, lifeline=mortal)

        async def succeed() -> None:
            await _buried(world, mortal)
            await world.replica(POLICY)

        succession = asyncio.create_task(succeed())
        try:
            await _all_is_heard(world, id_, root.conversation)
        finally:
            succession.cancel()
            await asyncio.gather(succession, return_exceptions=True)


async def _all_is_heard(world: World, *conversations: ConversationId) -> None:
    await until(lambda: all(world.connect.hears(text) for text in MISSED))
    for id_ in conversations:
        await world.settled(id_)
    heard = Counter(world.connect.heard())
    assert heard == Counter(["hello", *MISSED])
    assert [text for text in world.connect.heard() if text in MISSED[:2]] == MISSED[:2]
    assert [text for text in world.connect.heard() if text in MISSED[2:]] == MISSED[2:]


@pytest.mark.parametrize(("at", "after"), _points(_calls(_caught_up)))
async def test_whoever_catches_up_dies(at: int, after: bool) -> None:
    await _caught_up(Lifeline(at, after=after))
