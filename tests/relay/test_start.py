"""A contact is opened: once, whatever goes wrong, and never behind the customer's back."""

from __future__ import annotations

import json

import pytest

from bridge.core.errors import Busy, Failure, Gone, Rejected, Temporary, Uncertain
from bridge.core.model import NoticeKind, Phase, Policy
from tests.relay.virtual import until
from tests.relay.world import World


async def test_the_request_is_stored_before_it_goes_out(world: World) -> None:
    world.connect.faults.seconds["start"] = 10.0
    world.customer.faults.seconds["post"] = 60.0  # its settling would store the request, too
    await world.replica()
    root = world.customer.opens("hello")
    await world.deliver(root)
    await until(lambda: world.connect.faults.calls["start"] == 1)
    kept = await world.kept(root.conversation)
    assert json.loads(kept.conversation.request)["conversation"] == str(root.conversation)
    assert kept.conversation.contact is None


@pytest.mark.parametrize("after", [False, True])
async def test_a_start_without_an_answer_makes_one_contact(world: World, after: bool) -> None:
    lost = Uncertain("StartChatContact", "timeout")
    world.connect.faults.next("start", lost, lost, after=after)
    await world.replica()
    await world.opened("hello")
    assert len(world.connect.contacts) == 1
    assert world.connect.faults.calls["start"] == 3


async def test_the_customer_hears_of_a_start_that_takes_long(world: World) -> None:
    world.connect.faults.always("start", Temporary("StartChatContact", "x"))
    await world.replica()
    root = world.customer.opens("hello")
    await world.deliver(root)
    await world.clock.sleep(15.0)
    assert world.customer.notices(root.conversation) == [NoticeKind.CONNECTING]
    await world.clock.sleep(120.0)
    world.connect.faults.heal("start")
    await until(lambda: world.connect.hears("hello"))
    told = world.customer.notices(root.conversation)
    assert told == [NoticeKind.CONNECTING, NoticeKind.BUSY]


async def test_the_customer_hears_at_once_that_all_chats_are_taken(world: World) -> None:
    world.connect.faults.next("start", *[Busy("StartChatContact", "quota")] * 3)
    await world.replica()
    id_ = await world.opened("hello")
    assert world.customer.notices(id_) == [NoticeKind.CONNECTING, NoticeKind.BUSY]


@pytest.mark.parametrize(
    "failure", [Rejected("StartChatContact", "x"), Gone("StartChatContact", "x")]
)
async def test_a_refused_start_is_told_and_stored(world: World, failure: Failure) -> None:
    world.connect.faults.next("start", failure)
    world.connect.faults.seconds["start"] = 5.0
    await world.replica()
    root = world.customer.opens("hello")
    reply = world.customer.replies(root.conversation, "anybody?")
    await world.deliver(root, reply)
    await until(lambda: NoticeKind.FAILED in world.customer.notices(root.conversation))
    kept = await world.settled(root.conversation)
    assert kept.conversation.phase is Phase.ENDED
    assert sorted(world.customer.flags) == [root.ts, reply.ts]
    assert world.connect.heard() == []


async def test_a_refused_start_is_stored_before_it_is_told(world: World) -> None:
    await world.replica(Policy(rehydrate=False))
    id_ = await world.opened("hello")
    world.connect.ends()
    await until(lambda: NoticeKind.ENDED in world.customer.notices(id_))
    world.connect.faults.next("start", Rejected("StartChatContact", "x"))
    world.customer.faults.seconds["post"] = 60.0
    await world.deliver(world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.faults.calls["start"] == 2)
    await world.clock.sleep(1.0)
    kept = await world.kept(id_)
    assert kept.conversation.generation == 2
    assert kept.conversation.phase is Phase.ENDED


async def test_patience_with_a_start_ends(world: World) -> None:
    world.connect.faults.always("start", Temporary("StartChatContact", "x"))
    await world.replica()
    root = world.customer.opens("hello")
    await world.deliver(root)
    await until(lambda: NoticeKind.FAILED in world.customer.notices(root.conversation), 3600.0)
    await until(lambda: world.customer.flags == [root.ts])
    assert 1700.0 < world.clock.boottime() < 1900.0


async def test_a_contact_that_died_unconnected_is_replaced_in_silence(world: World) -> None:
    over = Gone("CreateParticipantConnection", "AccessDeniedException")
    world.connect.faults.next("connect", over, over)
    await world.replica()
    id_ = await world.opened("hello")
    assert len(world.connect.contacts) == 3
    assert world.connect.heard() == ["hello"]
    assert world.customer.notices(id_) == [NoticeKind.CONNECTING]


async def test_the_third_that_dies_unconnected_is_the_last(world: World) -> None:
    world.connect.faults.always("connect", Gone("CreateParticipantConnection", "x"))
    await world.replica()
    root = world.customer.opens("hello")
    await world.deliver(root)
    await until(lambda: NoticeKind.FAILED in world.customer.notices(root.conversation))
    assert len(world.connect.contacts) == Policy().unconnected_tries
    await until(lambda: world.customer.flags == [root.ts])


async def test_who_takes_over_repeats_the_same_request(world: World) -> None:
    world.connect.faults.next("start", Uncertain("StartChatContact", "timeout"), after=True)
    first = await world.replica()
    root = world.customer.opens("hello")
    await world.deliver(root)
    await until(lambda: len(world.connect.contacts) == 1)
    await first.kill()
    # Settings may have changed meanwhile: what is stored goes out.
    await world.replica(Policy(initial_message=True))
    await until(lambda: world.connect.hears("hello"))
    assert len(world.connect.contacts) == 1
    assert world.connect.heard() == ["hello"]


async def test_the_first_message_can_travel_with_the_start(world: World) -> None:
    await world.replica(Policy(initial_message=True))
    id_ = await world.opened("hello", "there")
    assert world.connect.heard() == ["hello", "there"]
    assert world.connect.faults.calls["send"] == 1
    assert (await world.kept(id_)).lane == ()


async def test_asking_to_end_stops_a_start(world: World) -> None:
    world.connect.faults.always("start", Temporary("StartChatContact", "x"))
    await world.replica()
    root = world.customer.opens("hello")
    await world.deliver(root)
    await until(lambda: world.connect.faults.calls["start"] >= 2)
    await world.deliver(world.customer.asks_to_end(root.conversation))
    kept = await world.settled(root.conversation)
    tries = world.connect.faults.calls["start"]
    await world.clock.sleep(300.0)
    assert world.connect.faults.calls["start"] == tries
    assert kept.conversation.phase is Phase.ENDED
    assert world.customer.notices(root.conversation)[-1] is NoticeKind.CANCELLED
    assert world.customer.flags == [root.ts]


async def test_a_thread_goes_on_with_its_old_transcript(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.ends()
    await until(lambda: NoticeKind.ENDED in world.customer.notices(id_))
    ended = world.clock.boottime()
    await world.deliver(world.customer.replies(id_, "more"), world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.hears("more"))
    assert len(world.connect.contacts) == 2
    assert any(item.past and item.text == "hello" for item in world.connect.contacts[1].items)
    assert world.clock.boottime() - ended > 40.0  # Connect needs a while


async def test_a_transcript_that_connect_will_not_continue_is_left_behind(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.ends()
    await until(lambda: NoticeKind.ENDED in world.customer.notices(id_))
    world.connect.faults.next("start", Rejected("StartChatContact", "NotFound"))
    await world.deliver(world.customer.replies(id_, "more"), world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.hears("more"))
    assert not any(item.past for item in world.connect.contacts[-1].items)
    assert NoticeKind.FAILED not in world.customer.notices(id_)
