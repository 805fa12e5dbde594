"""One conversation at its owner, from its first message to its last."""

from __future__ import annotations

from bridge.core.model import NoticeKind, Phase
from tests.relay.virtual import until
from tests.relay.world import World


async def test_a_conversation_from_its_first_message_to_its_end(world: World) -> None:
    connect, customer = world.connect, world.customer
    connect.on_connected = lambda _contact: [connect.says("Welcome", "Flow", "SYSTEM")]
    await world.replica()
    root = customer.opens("hello")
    id_ = root.conversation
    await world.deliver(root, customer.replies(id_, "there"))
    await until(lambda: connect.hears("there"))
    connect.joins()
    connect.says("one")
    connect.says("two")
    await world.deliver(customer.replies(id_, "thanks"))
    await until(lambda: connect.hears("thanks") and customer.reads(id_, "two"))
    connect.ends()
    kept = await world.settled(id_)
    assert connect.heard() == ["hello", "there", "thanks"]
    assert customer.words(id_) == ["Welcome", "one", "two"]
    assert customer.notices(id_) == [NoticeKind.CONNECTING, NoticeKind.JOINED, NoticeKind.ENDED]
    assert kept.conversation.phase is Phase.ENDED
