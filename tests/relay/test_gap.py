"""After a time in which nobody took events in: every replica reads what its conversations missed."""

from __future__ import annotations

import asyncio

from bridge.core.errors import Temporary
from bridge.core.model import ConversationId, Place, Workspace
from tests.relay.lifeline import Lifeline
from tests.relay.virtual import until
from tests.relay.world import World


async def _nobody_there(world: World, channels: int) -> list[ConversationId]:
    """Open conversations, and what was written in them while no replica lived."""
    first = await world.replica()
    conversations = []
    for number in range(channels):
        root = world.customer.opens(f"hello {number}", channel=f"C{number}")
        await world.deliver(root)
        await until(lambda: world.connect.hears(f"hello {number}"))  # noqa: B023  # used at once
        await world.settled(root.conversation)
        conversations.append(root.conversation)
    await world.clock.sleep(300.0)
    await first.stop()
    world.customer.roots_read = 0.0
    await world.clock.sleep(300.0)
    for number, id_ in enumerate(conversations):
        world.customer.replies(id_, f"anybody {number}?")
    return conversations


async def test_replicas_that_start_together_read_it_all(world: World) -> None:
    """The first to ask hears of the gap before the second takes its share of the places."""
    await _nobody_there(world, 4)
    slow = Lifeline()
    slow.seconds["store.renew"] = 2.0
    await asyncio.gather(world.replica(lifeline=slow), world.replica())
    await until(lambda: all(world.connect.hears(f"anybody {n}?") for n in range(4)))
    assert sorted(world.connect.heard())[:4] == [f"anybody {n}?" for n in range(4)]
    assert [len(replica.worker.lanes) for replica in world.replicas[1:]] == [2, 2]


async def test_a_reader_that_dies_leaves_the_reading_to_the_next(world: World) -> None:
    await _nobody_there(world, 1)
    world.customer.faults.seconds["history"] = 20.0
    reader = await world.replica()
    await world.clock.sleep(5.0)
    await reader.kill()
    await world.replica()
    await until(lambda: world.connect.hears("anybody 0?"))


async def test_what_was_written_behind_a_message_that_waited_is_read(world: World) -> None:
    """A direct message was taken in, and nobody could look yet at who wrote it: its conversation had
    not begun when everybody died."""
    first = await world.replica()
    world.customer.supported = False
    world.customer.faults.always("identify", Temporary("users.info", "x"))
    id_ = ConversationId(Place(Workspace("T1"), "D1"), "")
    await world.deliver(world.customer.replies(id_, "hello"))
    await world.clock.sleep(5.0)
    await first.kill()
    await world.clock.sleep(300.0)
    world.customer.replies(id_, "anybody?")
    await world.clock.sleep(600.0)
    world.customer.faults.heal("identify")
    await world.replica()
    await until(lambda: world.connect.hears("anybody?"))
    assert world.connect.heard() == ["hello", "anybody?"]
