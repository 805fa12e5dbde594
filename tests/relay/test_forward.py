"""The lane towards the agent: who may open, which order holds, how a chat is left."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.errors import Denied, Failure, Gone, Rejected, Temporary
from bridge.core.events import Wrote
from bridge.core.model import NoticeKind, Phase, Policy, Reopen
from tests.relay.virtual import until
from tests.relay.world import World


async def test_what_waits_goes_in_written_order(world: World) -> None:
    world.connect.faults.seconds["start"] = 5.0
    await world.replica()
    root = world.customer.opens("hello")
    replies = [world.customer.replies(root.conversation, str(number)) for number in range(5)]
    await world.deliver(root, *reversed(replies))
    await until(lambda: len(world.connect.heard()) == 6)
    assert world.connect.heard() == ["hello", "0", "1", "2", "3", "4"]


async def test_a_reply_that_overtook_its_root_waits_for_it(world: World) -> None:
    await world.replica()
    root = world.customer.opens("hello")
    reply = world.customer.replies(root.conversation, "there")
    await world.deliver(reply)
    await world.clock.sleep(1.0)
    await world.deliver(root)
    await until(lambda: world.connect.hears("there"))
    assert world.connect.heard() == ["hello", "there"]
    assert world.customer.faults.calls["root"] == 0


async def test_a_reply_that_overtook_a_mention_is_read(world: World) -> None:
    """Outside support channels nobody can tell that it is for us, until the mention is there."""
    await world.replica()
    root = world.customer.opens("hello")
    reply = replace(world.customer.replies(root.conversation, "there"), opens=False)
    world.customer.written[-1] = reply
    await world.deliver(reply)
    await world.deliver(root)
    await until(lambda: world.connect.hears("there"))
    assert world.connect.heard() == ["hello", "there"]


async def test_a_root_that_does_not_come_is_fetched(world: World) -> None:
    world.customer.faults.next("root", Temporary("conversations.replies", "x"))
    await world.replica()
    root = world.customer.opens("hello")
    await world.deliver(world.customer.replies(root.conversation, "there"))
    await until(lambda: world.connect.hears("there"))
    await world.deliver(root)  # late, and known by now
    await world.settled(root.conversation)
    await world.clock.sleep(60.0)
    assert world.connect.heard() == ["hello", "there"]


async def test_a_thread_whose_root_nobody_wrote_leaves_no_trace(world: World) -> None:
    replica = await world.replica()
    root = world.customer.opens("hello")
    world.customer.written.remove(root)
    await world.deliver(world.customer.replies(root.conversation, "there"))
    await until(lambda: world.customer.faults.calls["root"] == 1)
    await until(lambda: root.conversation not in replica.worker.lanes)
    kept = await world.kept(root.conversation)
    assert (kept.conversation.phase, kept.lane) == (Phase.NEW, ())
    assert world.connect.contacts == []


async def test_a_stranger_opens_nothing(world: World) -> None:
    world.customer.strangers.add("U9")
    replica = await world.replica()
    root = world.customer.opens("hello", user="U9")
    await world.deliver(root)
    await until(lambda: world.customer.faults.calls["identify"] == 1)
    await until(lambda: root.conversation not in replica.worker.lanes)
    assert (await world.kept(root.conversation)).lane == ()
    assert world.connect.contacts == []


async def test_a_stranger_is_answered_whatever_else_is_written(world: World) -> None:
    world.customer.strangers.add("U9")
    await world.replica()
    busy = Temporary("chat.postMessage", "ratelimited", retry_after=20.0)
    world.customer.faults.next("post", busy)
    root = world.customer.opens("hello", user="U9")
    await world.deliver(root)
    mention = world.customer.replies(root.conversation, "@bot", user="U9")
    wrote = mention.event
    assert isinstance(wrote, Wrote)
    wrote = Wrote(replace(wrote.message, mention=True))
    await world.deliver(replace(mention, event=wrote))
    await world.deliver(world.customer.replies(root.conversation, "anybody?", user="U9"))
    await world.clock.sleep(60.0)
    assert world.customer.notices(root.conversation) == [NoticeKind.NOT_ALLOWED]


@pytest.mark.parametrize("failure", [Rejected("users.info", "x"), Gone("users.info", "x")])
async def test_who_cannot_be_looked_up_goes_by_the_id(world: World, failure: Failure) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("identify", failure)
    await world.deliver(world.customer.replies(id_, "me, too", user="U2"))
    await until(lambda: world.connect.hears("U2: me, too"))


@pytest.mark.parametrize("failure", [Temporary("users.info", "x"), Denied("users.info", "x")])
async def test_a_look_up_is_tried_until_it_works(world: World, failure: Failure) -> None:
    world.customer.faults.next("identify", *[failure] * 5)
    await world.replica()
    await world.opened("hello")
    assert world.customer.faults.calls["identify"] == 6


async def test_asking_to_end_leaves_the_chat(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    contact = world.connect.current
    await world.deliver(world.customer.asks_to_end(id_))
    kept = await world.settled(id_)
    assert contact.over
    assert kept.conversation.phase is Phase.ENDED
    assert world.customer.notices(id_) == [NoticeKind.CONNECTING, NoticeKind.ENDED]
    assert len(world.customer.retired) == 1


async def test_a_flow_may_still_speak_after_the_customer_left(world: World) -> None:
    world.connect.ends_when_left = False
    await world.replica()
    id_ = await world.opened("hello")
    await world.deliver(world.customer.asks_to_end(id_))
    await until(lambda: world.connect.faults.calls["end"] == 1)
    world.connect.says("How did you like it?", "Flow", "SYSTEM")
    await until(lambda: world.customer.reads(id_, "How did you like it?"))
    world.connect.ends()
    kept = await world.settled(id_, Phase.ENDED)
    assert kept.conversation.phase is Phase.ENDED


async def test_a_chat_that_was_left_ends_even_if_connect_never_says_so(world: World) -> None:
    world.connect.ends_when_left = False
    replica = await world.replica()
    id_ = await world.opened("hello")
    await world.deliver(world.customer.asks_to_end(id_))
    await until(lambda: replica.has(id_).phase is Phase.ENDING)
    left = world.clock.boottime()
    await until(lambda: NoticeKind.ENDED in world.customer.notices(id_))
    assert world.clock.boottime() - left == pytest.approx(Policy().ending_seconds, abs=10.0)


@pytest.mark.parametrize("failure", [Temporary("end", "x"), Rejected("end", "x")])
async def test_a_chat_that_cannot_be_left_does_not_hold_the_lane(
    world: World, failure: Failure
) -> None:
    world.connect.faults.always("end", failure)
    await world.replica()
    id_ = await world.opened("hello")
    await world.deliver(world.customer.asks_to_end(id_))
    kept = await world.settled(id_)
    assert kept.conversation.phase is Phase.ENDING


async def test_only_who_wrote_in_the_thread_may_end_it(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    await world.deliver(world.customer.asks_to_end(id_, user="U9"))
    kept = await world.settled(id_)
    assert kept.conversation.phase is Phase.OPEN


async def test_what_is_written_after_the_end_is_kept_until_somebody_asks(world: World) -> None:
    await world.replica(Policy(rehydrate=False))
    id_ = await world.opened("hello")
    world.connect.ends()
    await until(lambda: NoticeKind.ENDED in world.customer.notices(id_))
    later = [world.customer.replies(id_, text) for text in ("one", "two")]
    await world.deliver(*later)
    await world.settled(id_)
    await world.clock.sleep(3600.0)
    assert world.connect.heard() == ["hello"]
    await world.deliver(world.customer.asks_to_reopen(id_), world.customer.replies(id_, "three"))
    await until(lambda: world.connect.hears("three"))
    assert world.connect.heard() == ["hello", "one", "two", "three"]
    assert world.customer.notices(id_).count(NoticeKind.ASK_REOPEN) == 1


async def test_what_nobody_asks_for_is_erased_in_the_end(world: World) -> None:
    await world.replica(Policy(held_seconds=7200.0))
    id_ = await world.opened("hello")
    world.connect.ends()
    await until(lambda: NoticeKind.ENDED in world.customer.notices(id_))
    await world.deliver(world.customer.replies(id_, "one"))
    await until(lambda: NoticeKind.HELD_ERASED in world.customer.notices(id_), 8000.0)
    kept = await world.settled(id_)
    assert kept.conversation.held == ()


async def test_a_root_that_another_replica_took_in_is_not_missing(world: World) -> None:
    """It is stored, but the owner was not told of it."""
    owner = await world.replica()
    other = await world.replica()
    world.reached = lambda: owner
    root = world.customer.opens("hello")
    reply = world.customer.replies(root.conversation, "there")
    world.customer.faults.seconds["root"] = 2.0
    await world.deliver(reply)
    await until(lambda: world.customer.faults.calls["root"] == 1)
    hearing = next(one for one in owner.worker._loops if one.get_name() == "arrivals")
    hearing.cancel()
    await other.worker.accept(root)
    await until(lambda: world.connect.hears("there"))
    assert world.connect.heard() == ["hello", "there"]


@pytest.mark.parametrize("reopen", [Reopen.ASK, Reopen.NEVER])
async def test_who_is_looked_up_while_the_chat_ends_opens_no_other(
    world: World, reopen: Reopen
) -> None:
    await world.replica(Policy(reopen=reopen))
    id_ = await world.opened("hello")
    world.customer.faults.seconds["identify"] = 5.0
    await world.deliver(world.customer.replies(id_, "me, too", user="U2"))
    world.connect.ends()
    await world.settled(id_, Phase.ENDED)
    assert len(world.connect.contacts) == 1
    asked = NoticeKind.ASK_REOPEN if reopen is Reopen.ASK else NoticeKind.NOT_REOPENED
    assert asked in world.customer.notices(id_)
