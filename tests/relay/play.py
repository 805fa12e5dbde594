"""A conversation that has everything, played against whatever replicas there are."""

from __future__ import annotations

import asyncio
from collections import Counter

from bridge.core.model import NoticeKind, Phase, Policy
from tests.relay.connect import FakeContact
from tests.relay.virtual import until
from tests.relay.world import World

LONG = ". ".join(f"Sentence number {n} of a long story" for n in range(66))
"""Three messages for Connect."""
A_PAGE = "A long answer, of which Slack takes several posts, " * 2
POLICY = Policy(rehydrate=True)

SAID_FIRST = ["Welcome 1", "one", "two", A_PAGE, "three"]
SAID_AFTER = ["Welcome 2", "four"]


def greet(world: World) -> None:
    """Let a flow speak first in every contact."""

    def flow(contact: FakeContact) -> None:
        count = sum(one.connected for one in world.connect.contacts)
        world.connect.says(f"Welcome {count}", "Flow", "SYSTEM")

    world.connect.on_connected = flow


async def play(world: World, pause: float = 60.0) -> None:
    """Root, replies, a second author, a long message; greeting, messages, transfer and end; then
    again. Nobody does anything before they saw what they answer; and then everything is checked.

    `pause`: how long the agent waits before the end. What is in the air when a chat ends can no
    longer be looked up, so this is to be long enough for a take-over."""
    connect, customer = world.connect, world.customer
    root = customer.opens("hello")
    id_ = root.conversation
    await world.deliver(
        root,
        customer.replies(id_, "it broke"),
        customer.replies(id_, "for me, too", user="U2"),
        customer.replies(id_, LONG),
    )
    await until(lambda: connect.hears("hello") and connect.live is not None)
    connect.joins()
    connect.says("one")
    await until(lambda: connect.heard()[-1].endswith("Sentence number 65 of a long story"))
    connect.says("two")
    connect.transfers()
    connect.says(A_PAGE, "Ben")
    connect.says("three", "Ben")
    await until(lambda: customer.reads(id_, "three"))
    await world.deliver(customer.replies(id_, "thank you"))
    await until(lambda: connect.hears("thank you"))
    await asyncio.sleep(pause)
    connect.ends()
    await until(lambda: _told_of_the_end(world) and world.connect.live is None)
    await world.deliver(customer.replies(id_, "still broken"))
    await until(lambda: NoticeKind.ASK_REOPEN in customer.notices(id_))
    await world.deliver(customer.asks_to_reopen(id_))
    await until(lambda: connect.hears("still broken") and connect.live is not None)
    connect.says("four")
    await until(lambda: customer.reads(id_, "four"))
    await world.settled(id_, Phase.OPEN)

    assert connect.heard()[:3] == ["hello", "it broke", "Name-U2: for me, too"]
    assert " ".join(connect.heard()[3:-2]) == LONG
    assert connect.heard()[-2:] == ["thank you", "still broken"]
    assert "".join(customer.words(id_)) == "".join(SAID_FIRST + SAID_AFTER)
    assert [part for part, count in Counter(customer.ids(id_)).items() if count > 1] == []
    joined = [one for one in customer.notices(id_) if one is NoticeKind.JOINED]
    assert len(joined) == 1
    assert customer.notices(id_).count(NoticeKind.TRANSFERRED) == 1


def _told_of_the_end(world: World) -> bool:
    ends = {NoticeKind.ENDED, NoticeKind.MISSED}
    return any(ends & set(world.customer.notices(id_)) for id_ in world.customer.threads)
