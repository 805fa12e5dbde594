"""A contact is opened: once, whatever goes wrong, and never behind the customer's back."""

from __future__ import annotations

import asyncio
import json

import pytest

from bridge.core.errors import Busy, Failure, Gone, Rejected, Temporary, Uncertain
from bridge.core.model import NoticeKind, Phase, Policy
from tests.relay.lifeline import Redis
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


async def heard(world: World, count: int) -> None:
    await until(lambda: len(world.connect.heard()) == count)


async def test_two_hundred_wait_for_ten_chats_first_come_first_served(world: World) -> None:
    world.connect.concurrent = 0
    await world.replica()
    roots = [world.customer.opens(f"hello {number}") for number in range(200)]
    # Slack promises no order, and all of them are asked for at once.
    await asyncio.gather(*(world.deliver(root) for root in reversed(roots)))
    threads = [root.conversation for root in roots]
    await until(lambda: all(NoticeKind.BUSY in world.customer.notices(one) for one in threads))
    tries = world.connect.faults.calls["start"]
    world.connect.concurrent = 10
    for served in range(10, 201, 10):
        await heard(world, served)
        for contact in world.connect.contacts:
            if not contact.over:
                world.connect.ends(contact)
    assert world.connect.heard() == [f"hello {number}" for number in range(200)]
    for thread in threads:
        told = world.customer.notices(thread)
        assert told.count(NoticeKind.BUSY) == 1
        assert NoticeKind.FAILED not in told
    # Each round takes one try that finds the chats taken again.
    assert world.connect.faults.calls["start"] - tries < 200 + 3 * 20


async def test_patience_with_taken_chats_ends_for_each_by_itself(world: World) -> None:
    world.connect.concurrent = 0
    await world.replica()
    early, late = world.customer.opens("early"), world.customer.opens("late")
    await world.deliver(early)
    await world.clock.sleep(600.0)
    await world.deliver(late)
    await until(lambda: NoticeKind.FAILED in world.customer.notices(early.conversation), 3600.0)
    assert NoticeKind.FAILED not in world.customer.notices(late.conversation)
    assert world.customer.notices(late.conversation) == [NoticeKind.CONNECTING, NoticeKind.BUSY]
    await until(lambda: world.customer.flags == [early.ts])
    await until(lambda: NoticeKind.FAILED in world.customer.notices(late.conversation), 3600.0)
    await until(lambda: world.customer.flags == [early.ts, late.ts])
    assert 2390.0 < world.clock.boottime() < 2500.0


async def test_calls_that_come_too_fast_are_not_busy(world: World) -> None:
    world.connect.faults.next("start", *[Temporary("StartChatContact", "TooManyRequests")] * 3)
    await world.replica()
    id_ = await world.opened("hello")
    assert world.customer.notices(id_) == [NoticeKind.CONNECTING]


async def test_who_waits_for_a_chat_keeps_its_place_over_a_takeover(world: World) -> None:
    world.connect.concurrent = 0
    first = await world.replica()
    roots = [world.customer.opens(f"hello {number}") for number in range(5)]
    for root in roots:
        await world.deliver(root)
    await world.clock.sleep(100.0)
    await first.kill()
    await world.replica()
    await world.clock.sleep(100.0)
    for served in range(1, 6):
        world.connect.concurrent = served
        await heard(world, served)
    assert world.connect.heard() == [f"hello {number}" for number in range(5)]
    for root in roots:
        assert world.customer.notices(root.conversation).count(NoticeKind.BUSY) == 1


async def test_an_old_transcript_is_not_given_up_because_all_chats_are_taken(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.ends()
    await until(lambda: NoticeKind.ENDED in world.customer.notices(id_))
    world.connect.concurrent = 0
    await world.deliver(world.customer.asks_to_reopen(id_))
    await until(lambda: NoticeKind.FAILED in world.customer.notices(id_), 2400.0)
    kept = await world.settled(id_)
    assert kept.conversation.past_contact_id == world.connect.contacts[0].id
    assert kept.conversation.phase is Phase.ENDED


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


async def test_a_clock_that_is_set_back_does_not_put_off_the_next_chat(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.ends()
    await until(lambda: NoticeKind.ENDED in world.customer.notices(id_))
    world.clock.ahead = -3600.0
    await world.deliver(world.customer.asks_to_reopen(id_))
    await until(lambda: len(world.connect.contacts) == 2, 60.0)


async def test_a_contact_is_stored_before_it_is_connected(world: World) -> None:
    replica = await world.replica()
    world.connect.faults.seconds["start"] = 4.0
    await world.deliver(world.customer.opens("hello"))
    await until(lambda: world.connect.faults.calls["start"] == 1)
    replica.lifeline.redis = Redis.AWAY
    await world.clock.sleep(10.0)
    assert [contact.connected for contact in world.connect.contacts] == [False]
    replica.lifeline.redis = Redis.UP
    await until(lambda: world.connect.hears("hello"))


async def test_who_ends_the_chat_while_its_start_is_being_stored_leaves_it(world: World) -> None:
    replica = await world.replica(Policy(rehydrate=False))
    id_ = await world.opened("hello")
    world.connect.ends()
    await world.settled(id_, Phase.ENDED)
    world.connect.faults.seconds["start"] = 5.0
    await world.deliver(world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.faults.calls["start"] == 2)
    replica.lifeline.seconds["store.settle"] = 2.0
    await until(lambda: replica.has(id_).contact is not None)
    await world.deliver(world.customer.asks_to_end(id_))
    await world.settled(id_, Phase.ENDED)
    assert [contact.over for contact in world.connect.contacts] == [True, True]
