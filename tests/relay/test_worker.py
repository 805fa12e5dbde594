"""Replicas: who owns what, what a take-over costs, and how one stops."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from bridge import metrics
from bridge.core.errors import NotOwner, StoreAway, Temporary
from bridge.core.model import (
    AgentMessage,
    ConversationId,
    Mark,
    NoticeKind,
    Phase,
    Policy,
    Reopen,
)
from bridge.core.ports import Renewal
from bridge.relay import back
from bridge.store.pipe import Argument
from tests.relay.lifeline import Lifeline, Redis
from tests.relay.play import LONG
from tests.relay.virtual import until
from tests.relay.world import LEASE, Replica, World


def alarms(kind: str) -> float:
    """How often it was raised."""
    return metrics.REGISTRY.get_sample_value("bridge_alarms_total", {"kind": kind}) or 0.0


async def test_another_replica_takes_over(world: World) -> None:
    first = await world.replica()
    second = await world.replica()
    id_ = await world.opened("hello")
    owner, other = (first, second) if id_ in first.worker.lanes else (second, first)
    await owner.kill()
    world.connect.says("are you there?")
    world.replicas.remove(owner)
    died = world.clock.boottime()
    await until(lambda: world.customer.reads(id_, "are you there?"))
    assert world.clock.boottime() - died < 2 * LEASE
    await world.deliver(world.customer.replies(id_, "yes"))
    await until(lambda: world.connect.hears("yes"))
    assert id_ in other.worker.lanes
    assert world.connect.heard() == ["hello", "yes"]


async def test_events_taken_in_elsewhere_reach_the_owner(world: World) -> None:
    owner = await world.replica()
    id_ = await world.opened("hello")
    other = await world.replica()
    begun = world.clock.boottime()
    await other.worker.accept(world.customer.replies(id_, "there"))
    await until(lambda: world.connect.hears("there"))
    assert world.clock.boottime() - begun < 1.0  # told, not swept
    assert id_ not in other.worker.lanes
    assert owner.has(id_).phase is Phase.OPEN


async def test_an_event_of_which_the_owner_was_not_told_is_missed_with_the_next(
    world: World,
) -> None:
    """They are worked in the order in which they were written."""
    owner = await world.replica()
    id_ = await world.opened("hello")
    other = await world.replica()
    [deaf] = [loop for loop in owner.worker._loops if loop.get_name() == "arrivals"]
    deaf.cancel()
    begun = world.clock.boottime()
    for replica, text in ((other, "one"), (owner, "two"), (other, "three"), (owner, "four")):
        await replica.worker.accept(world.customer.replies(id_, text))
    await until(lambda: world.connect.hears("four"))
    assert world.clock.boottime() - begun < 1.0  # missed, not swept
    assert world.connect.heard() == ["hello", "one", "two", "three", "four"]


async def test_whoever_listens_again_looks_for_what_it_was_not_told(world: World) -> None:
    owner = await world.replica()
    id_ = await world.opened("hello")
    other = await world.replica()
    arrivals = owner.worker._loops[1]
    arrivals.cancel()
    await other.worker.accept(world.customer.replies(id_, "there"))
    owner.worker._loops[1] = asyncio.create_task(owner.worker._hear_arrivals())
    begun = world.clock.boottime()
    await until(lambda: world.connect.hears("there"))
    assert world.clock.boottime() - begun < 1.0


async def test_nobody_waits_for_dead_sockets_to_close(world: World) -> None:
    """What comes to one place must not wait for what another one leaves behind."""
    first = await world.replica()
    first.lifeline.seconds["chat.close"] = 600.0
    here = await world.opened("hello", channel="C1")
    there = await world.opened("hi", channel="C2")
    first.worker.lanes.lost(first.lane(here))
    await world.clock.sleep(0.5)
    first.worker.lanes.take(here.place)
    root = world.customer.opens("new", channel="C3")
    await world.deliver(root)
    await until(lambda: world.connect.hears("new") and here in first.worker.lanes, seconds=5.0)
    assert there in first.worker.lanes


async def test_what_a_renewal_tells_of_goes_before_what_was_written_later(world: World) -> None:
    """Also while places are loaded, which takes long after an outage."""
    owner = await world.replica()
    id_ = await world.opened("hello")
    other = await world.replica()
    owner.worker._loops[1].cancel()
    zero, one, two = (world.customer.replies(id_, text) for text in ("zero", "one", "two"))
    world.connect.faults.seconds["send"] = 2.0
    await owner.worker.accept(zero)
    await owner.worker.accept(two)
    await other.worker.accept(one)
    async with owner.worker.lanes._loading:
        await owner.worker._try_to_renew()
        await until(lambda: world.connect.hears("two"))
    assert world.connect.heard() == ["hello", "zero", "one", "two"]


@pytest.mark.parametrize("by", ["the next event", "a renewal"])
async def test_an_event_that_may_be_settled_hides_none_that_nobody_told_of(
    world: World, by: str
) -> None:
    """Redis has as many events as we know of, but not the same ones."""
    owner = await world.replica()
    id_ = await world.opened("hello")
    other = await world.replica()
    owner.worker._loops[1].cancel()
    zero, one, two = (world.customer.replies(id_, text) for text in ("zero", "one", "two"))
    await owner.worker.accept(zero)
    owner.lifeline.redis = Redis.MUTE
    await until(lambda: world.connect.hears("zero"))
    await world.clock.sleep(0.15)
    assert not (await world.kept(id_)).lane
    assert zero.id in owner.lane(id_).waiting
    await other.worker.accept(one)
    owner.lifeline.redis = Redis.UP
    if by == "a renewal":
        await owner.worker._try_to_renew()
    await owner.worker.accept(two)
    await until(lambda: world.connect.hears("two"))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "zero", "one", "two"]


async def test_whoever_listens_again_sends_nothing_before_it_has_looked(world: World) -> None:
    """What it counts may be settled by then, unheard: the answers of Redis are slow."""
    owner = await world.replica()
    id_ = await world.opened("hello")
    other = await world.replica()
    zero, one, two = (world.customer.replies(id_, text) for text in ("zero", "one", "two"))
    owner.lifeline.seconds["store.settle"] = owner.lifeline.seconds["store.renew"] = 2.0
    await owner.worker.accept(zero)
    await world.clock.sleep(0.1)
    assert not (await world.kept(id_)).lane
    owner.worker._loops[1].cancel()
    await other.worker.accept(one)
    owner.worker._loops[1] = asyncio.create_task(owner.worker._hear_arrivals())
    await world.clock.sleep(0.1)
    await other.worker.accept(two)
    await until(lambda: world.connect.hears("two"))
    assert world.connect.heard() == ["hello", "zero", "one", "two"]


async def test_an_event_nobody_was_told_of_is_swept(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    replica.lifeline.redis = Redis.MUTE
    with pytest.raises(StoreAway):
        await replica.worker.accept(world.customer.replies(id_, "there"))
    replica.lifeline.redis = Redis.UP
    await until(lambda: world.connect.hears("there"))
    assert world.clock.boottime() < LEASE


async def test_a_repeat_changes_nothing(world: World) -> None:
    await world.replica()
    root = world.customer.opens("hello")
    await world.deliver(root, root)
    await until(lambda: world.connect.hears("hello"))
    await world.deliver(root)
    await world.clock.sleep(60.0)
    assert world.connect.heard() == ["hello"]


async def test_an_event_handed_over_twice_is_worked_once(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    reply = world.customer.replies(id_, "there")
    await world.deliver(reply)
    replica.worker.lanes.give(reply, 1)
    await until(lambda: world.connect.hears("there"))
    await world.settled(id_)
    replica.worker.lanes.give(reply, 1)
    await world.clock.sleep(60.0)
    assert world.connect.heard() == ["hello", "there"]


async def test_the_sweep_brings_back_nothing_that_was_settled(world: World) -> None:
    """An event is settled while the sweep is reading it."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.seconds["send"] = 5.0
    await world.deliver(world.customer.replies(id_, "there"))
    await world.clock.sleep(4.0)
    replica.lifeline.seconds["store.load_place"] = 5.0
    replica.worker.lanes.take(id_.place)
    await until(lambda: world.connect.hears("there"))
    await world.clock.sleep(60.0)
    assert replica.lifeline.calls.count("store.load_place") == 2
    assert world.connect.faults.calls["send"] == 2
    assert world.connect.heard() == ["hello", "there"]


async def test_events_that_come_while_their_lane_is_loaded_wait_for_it(world: World) -> None:
    lifeline = Lifeline()
    lifeline.seconds["store.load"] = lifeline.seconds["store.load_place"] = 5.0
    replica = await world.replica(lifeline=lifeline)
    root = world.customer.opens("hello")
    replies = [world.customer.replies(root.conversation, str(number)) for number in range(3)]
    for event in (root, *replies):
        await world.deliver(event)
        await world.clock.sleep(3.0)
    await until(lambda: world.connect.hears("2"))
    assert world.connect.heard() == ["hello", "0", "1", "2"]
    assert list(replica.worker.lanes) == [root.conversation]


async def test_an_idle_lane_is_forgotten_and_comes_back_as_it_was(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.connect.ends()
    await until(lambda: id_ not in replica.worker.lanes)
    assert world.customer.notices(id_)[-1] is NoticeKind.ENDED
    await world.deliver(world.customer.replies(id_, "more"))
    await until(lambda: NoticeKind.ASK_REOPEN in world.customer.notices(id_))
    assert replica.has(id_).generation == 1
    assert [held.text for held in replica.has(id_).held] == ["more"]


async def test_a_lane_is_not_forgotten_while_it_is_read_what_it_was_not_told(
    world: World,
) -> None:
    """Another one would be made beside it, and both would work what was found."""
    owner = await world.replica(Policy(reopen=Reopen.ALWAYS))
    id_ = await world.opened("hello")
    other = await world.replica()
    owner.worker._loops[1].cancel()
    owner.lifeline.seconds["store.load_place"] = 5.0
    owner.worker.lanes.take(world.customer.opens("x", channel="C2").conversation.place)
    world.connect.ends()
    await until(lambda: owner.lane(id_).idle, seconds=3.0)
    await other.worker.accept(world.customer.replies(id_, "more"))
    owner.lifeline.seconds["store.load"] = 6.0
    await owner.worker._try_to_renew()
    await until(lambda: world.connect.hears("more"))
    await world.clock.sleep(20.0)
    world.connect.says("yes?")
    await until(lambda: world.customer.reads(id_, "yes?"))
    await world.clock.sleep(60.0)
    assert world.customer.words(id_) == ["yes?"]
    assert [len(contact.chats) for contact in world.connect.contacts] == [0, 1]
    world.connect.ends()
    await until(lambda: id_ not in owner.worker.lanes)


async def test_redis_away_delays_and_doubles_nothing(world: World) -> None:
    """Every write is tried until Redis is there again; some took effect, some did not."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    for state in (Redis.AWAY, Redis.MUTE):
        await world.deliver(world.customer.replies(id_, f"up {state}"))
        world.connect.says(f"down {state}")
        replica.lifeline.redis = state
        await world.clock.sleep(15.0)
        replica.lifeline.redis = Redis.UP
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "up Redis.AWAY", "up Redis.MUTE"]
    assert world.customer.words(id_) == ["down Redis.AWAY", "down Redis.MUTE"]


async def test_trouble_is_named_once_and_until_it_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await world.replica()
    before = [alarms("redis_refuses"), alarms("redis_away")]

    def raised() -> list[float]:
        return [alarms("redis_refuses") - before[0], alarms("redis_away") - before[1]]

    async def refused(_unused: object, *, begin: bool) -> Renewal:
        del begin
        raise StoreAway("Redis is out of memory", "OOM", lasting=True)

    def trouble() -> str | None:
        return replica.worker.trouble

    assert trouble() is None
    with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
        patch.setattr(replica.kit.store, "renew", refused, raising=False)
        await world.clock.sleep(LEASE / 2)
        assert trouble() == "Redis is out of memory"
        assert raised() == [1, 0]
        await world.clock.sleep(LEASE)
        assert raised() == [1, 1]
        assert [line["event"] for line in lines].count("redis_trouble") == 1
    await world.clock.sleep(2.0)
    assert trouble() is None
    assert raised() == [1, 1]


async def test_an_event_is_refused_while_redis_is_away(world: World) -> None:
    replica = await world.replica()
    replica.lifeline.redis = Redis.AWAY
    with pytest.raises(StoreAway):
        await replica.worker.accept(world.customer.opens("hello"))


async def test_who_lost_its_lease_takes_back_what_nobody_claimed(world: World) -> None:
    """The place is still ours, but nothing waits in it: only the chat has to be heard again."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    replica.lifeline.redis = Redis.AWAY
    world.connect.says("one")
    await world.clock.sleep(2 * LEASE)
    replica.lifeline.redis = Redis.UP
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    await world.deliver(world.customer.replies(id_, "there"))
    await until(lambda: world.connect.hears("there"))
    assert world.customer.words(id_) == ["one", "two"]


async def test_an_event_taken_in_without_a_lease_is_found_again(world: World) -> None:
    replica = await world.replica()
    for loop in replica.worker._loops:
        loop.cancel()
    await world.clock.sleep(2 * LEASE)
    root = world.customer.opens("hello")
    await world.deliver(root)
    await world.clock.sleep(5.0)
    assert world.connect.contacts == []
    await replica.worker.start()
    await until(lambda: world.connect.hears("hello"))


async def test_replicas_that_lost_their_leases_together_keep_their_places(world: World) -> None:
    replicas = [await world.replica(), await world.replica()]
    conversations = []
    for number, replica in enumerate(replicas):
        root = world.customer.opens(f"hello {number}", channel=f"C{number}")
        await replica.worker.accept(root)
        await until(lambda: world.connect.hears(f"hello {number}"))  # noqa: B023  # used at once
        conversations.append(root.conversation)
    for replica in replicas:
        replica.lifeline.redis = Redis.AWAY
    for contact in world.connect.contacts:
        world.connect.says("one", contact=contact)
    await world.clock.sleep(2 * LEASE)
    for replica in replicas:
        replica.lifeline.redis = Redis.UP
    await until(lambda: all(world.customer.reads(id_, "one") for id_ in conversations))
    for id_, replica in zip(conversations, replicas, strict=True):
        assert list(replica.worker.lanes) == [id_]
        assert world.customer.words(id_) == ["one"]


async def test_what_another_owns_is_abandoned_whole(world: World) -> None:
    """One refused write tells that the place is lost: every lane of it ends, and its sockets."""
    first = await world.replica()
    here, there = await world.opened("hello"), await world.opened("hi")
    first.lifeline.redis = Redis.AWAY
    second = await world.replica()
    await until(lambda: {here, there} <= set(second.worker.lanes))
    first.lifeline.redis = Redis.UP
    posts, sends = world.customer.faults.calls["post"], world.connect.faults.calls["send"]
    world.connect.says("one")
    await until(lambda: not first.worker.lanes)
    await until(lambda: world.customer.reads(there, "one"))
    await world.clock.sleep(120.0)
    assert [len(contact.chats) for contact in world.connect.contacts] == [1, 1]
    assert world.customer.faults.calls["post"] == posts + 1
    assert world.connect.faults.calls["send"] == sends
    assert not first.worker.lanes


async def test_no_lane_is_made_of_what_was_read_before_another_wrote(world: World) -> None:
    """A place is lost while it is being read."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    replica.lifeline.seconds["store.load_place"] = 5.0
    replica.worker.lanes.take(id_.place)
    await world.clock.sleep(0.5)
    world.connect.says("one")
    await until(lambda: world.customer.reads(id_, "one"))
    await world.settled(id_)
    replica.worker.lanes.lost(replica.lane(id_))
    await world.clock.sleep(60.0)
    await world.deliver(world.customer.replies(id_, "there"))
    await until(lambda: world.connect.hears("there"))
    await world.settled(id_)
    assert world.customer.words(id_) == ["one"]
    assert world.connect.heard() == ["hello", "there"]


async def test_a_place_nobody_owns_is_worked_by_one_only(world: World) -> None:
    first = await world.replica()
    root = world.customer.opens("hello")
    world.connect.faults.seconds["start"] = 5.0
    await world.deliver(root)
    await until(lambda: world.connect.faults.calls["start"] == 1)
    await first.kill()
    await world.replica()
    await world.replica()
    await until(lambda: world.connect.hears("hello"))
    await world.settled(root.conversation)
    assert world.connect.faults.calls["start"] == 2
    assert world.connect.faults.calls["send"] == 1
    assert world.customer.faults.calls["identify"] == 1


async def test_survivors_share_what_a_dead_replica_leaves(world: World) -> None:
    first = await world.replica()
    roots = [world.customer.opens(f"hello {n}", channel=f"C{n}") for n in range(6)]
    await world.deliver(*roots)
    await until(lambda: all(world.connect.hears(f"hello {n}") for n in range(6)))
    heirs = [await world.replica(), await world.replica()]
    await first.kill()
    await until(lambda: sum(len(heir.worker.lanes) for heir in heirs) == 6)
    assert [len(heir.worker.lanes) for heir in heirs] == [3, 3]


async def test_a_claim_whose_answer_is_lost_is_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is vacant then and nothing waits there, so no renewal tells of it: nobody would
    listen to its chat."""
    first = await world.replica()
    id_ = await world.opened("hello")
    second = await world.replica()
    claim = second.redis._claim

    async def lost(*arguments: Argument) -> list[bytes]:
        await claim(*arguments)
        monkeypatch.undo()
        raise StoreAway("the answer was lost")

    monkeypatch.setattr(second.redis, "_claim", lost)
    await first.kill()
    world.connect.says("are you there?")
    await until(lambda: world.customer.reads(id_, "are you there?"), seconds=2 * LEASE)


async def test_places_that_nobody_takes_are_an_alarm(world: World) -> None:
    first = await world.replica()
    await world.opened("hello")
    before = alarms("places_without_owner")
    world.places = 0
    await world.replica()
    await first.kill()
    await world.clock.sleep(3 * LEASE)
    assert alarms("places_without_owner") == before
    await world.clock.sleep(3 * LEASE)
    assert alarms("places_without_owner") == before + 1


async def test_a_place_where_nothing_lives_is_let_go(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    assert replica.worker.places_owned() == 1
    world.connect.ends()
    await until(lambda: replica.worker.places_owned() == 0)
    await world.deliver(world.customer.replies(id_, "more"))
    await until(lambda: NoticeKind.ASK_REOPEN in world.customer.notices(id_))
    assert replica.worker.places_owned() == 1


async def test_what_slack_sent_while_nobody_was_there_is_read(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    await first.kill()
    missed = world.customer.replies(id_, "anybody?")
    other = world.customer.opens("me, too", user="U2", channel="C2")
    await world.clock.sleep(3600.0)
    await world.replica()
    await until(lambda: world.connect.hears("anybody?") and world.connect.hears("me, too"))
    await world.deliver(missed, other)
    await world.clock.sleep(60.0)
    assert sorted(world.connect.heard()) == ["anybody?", "hello", "me, too"]


async def test_every_replica_reads_the_threads_it_takes_over_after_an_outage(world: World) -> None:
    """The second learns of it, too, although the first has renewed its lease by then."""
    first = await world.replica()
    ids = [await world.opened(f"hello {n}", channel=f"C{n}") for n in range(6)]
    await first.kill()
    missed = [world.customer.replies(id_, f"anybody {n}?") for n, id_ in enumerate(ids)]
    await world.clock.sleep(3600.0)
    world.places, world.customer.supported = 3, False
    heirs = [await world.replica(), await world.replica()]
    await until(lambda: all(world.connect.hears(f"anybody {n}?") for n in range(6)))
    assert [len(heir.worker.lanes) for heir in heirs] == [3, 3]
    await world.deliver(*missed)
    await world.clock.sleep(60.0)
    assert sorted(world.connect.heard()) == sorted(
        word for n in range(6) for word in (f"hello {n}", f"anybody {n}?")
    )


async def test_who_dies_while_it_reads_what_was_missed_has_a_successor(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    await first.kill()
    world.customer.replies(id_, "anybody?")
    world.customer.opens("me, too", user="U2", channel="C2")
    await world.clock.sleep(3600.0)
    slow = Lifeline()
    slow.seconds["store.claim"] = slow.seconds["store.accept"] = 3600.0
    second = await world.replica(lifeline=slow)
    await world.clock.sleep(1.0)
    await second.kill()
    await world.replica()
    await until(lambda: world.connect.hears("anybody?") and world.connect.hears("me, too"))


async def test_a_lane_sends_nothing_after_a_lapse_before_its_place_is_known_to_be_ours(
    world: World,
) -> None:
    """Its process stood still while another took over, and goes on with an event in hand."""
    first = await world.replica()
    id_ = await world.opened("hello")
    late = world.customer.replies(id_, "late")
    first.lifeline.redis = Redis.AWAY
    second = await world.replica()
    await until(lambda: id_ in second.worker.lanes)
    await second.worker.accept(late)
    await until(lambda: world.connect.hears("late"))
    world.connect.forget_tokens()
    first.lane(id_).add(late)
    first.lifeline.redis = Redis.UP
    first.lifeline.seconds["store.owned"] = 5.0
    await until(lambda: not first.worker.lanes)
    await world.clock.sleep(60.0)
    assert world.connect.heard() == ["hello", "late"]


# --- stopping ------------------------------------------------------------------------------------


async def test_stopping_finishes_what_is_in_the_air_and_hands_over(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.seconds["send"] = world.customer.faults.seconds["post"] = 3.0
    await world.deliver(world.customer.replies(id_, "one"), world.customer.replies(id_, "two"))
    world.connect.says("eins")
    world.connect.says("zwei")
    await world.clock.sleep(1.0)
    await first.stop()
    assert world.connect.heard() == ["hello", "one"]
    assert world.customer.words(id_) == ["eins"]
    assert [len(contact.chats) for contact in world.connect.contacts] == [0]
    kept = await world.kept(id_)
    assert [incoming.event.message.text for incoming in kept.lane] == ["two"]  # type: ignore[union-attr]  # a message
    assert kept.mark is None
    stopped = world.clock.boottime()
    await world.replica()
    await until(lambda: world.connect.hears("two") and world.customer.reads(id_, "zwei"))
    assert world.clock.boottime() - stopped < LEASE / 2  # nobody waits for a lease to expire
    assert world.customer.words(id_) == ["eins", "zwei"]
    assert world.connect.heard() == ["hello", "one", "two"]


async def test_each_place_is_handed_over_as_soon_as_it_can_be(world: World) -> None:
    """One has a request in the air; the other must not wait for it, nor for a renewal."""
    first = await world.replica()
    here = await world.opened("hello", channel="C1")
    there = await world.opened("hi", channel="C2")
    second = await world.replica()
    world.connect.faults.seconds["send"] = 8.0
    await first.worker.accept(world.customer.replies(here, "slow"))
    await world.clock.sleep(1.0)
    begun = world.clock.boottime()
    stopping = asyncio.create_task(first.stop())
    await until(lambda: there in second.worker.lanes)
    assert world.clock.boottime() - begun < 1.0
    assert here not in second.worker.lanes
    await stopping
    left = world.clock.boottime()
    await until(lambda: here in second.worker.lanes)
    assert world.clock.boottime() - left < 1.0
    assert world.connect.heard() == ["hello", "slow", "hi"]  # contact by contact


async def test_nothing_is_taken_in_while_stopping(world: World) -> None:
    replica = await world.replica()
    await replica.stop()
    root = world.customer.opens("hello")
    with pytest.raises(StoreAway):
        await replica.worker.accept(root)
    assert (await world.kept(root.conversation)).lane == ()


async def test_stopping_waits_no_longer_than_the_grace_period(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.seconds["send"] = 600.0
    await world.deliver(world.customer.replies(id_, "one"))
    await world.clock.sleep(1.0)
    begun = world.clock.boottime()
    await replica.stop(grace=5.0)
    assert world.clock.boottime() - begun < 6.0
    world.connect.faults.seconds.clear()
    await world.replica()
    await until(lambda: world.connect.hears("one"))


async def test_stopping_does_not_sit_out_pauses(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.always("send", Temporary("SendMessage", "x", retry_after=600.0))
    await world.deliver(world.customer.replies(id_, "one"))
    await world.clock.sleep(1.0)
    begun = world.clock.boottime()
    await replica.stop(grace=60.0)
    assert world.clock.boottime() - begun < 1.0
    world.connect.faults.heal("send")
    await world.replica()
    await until(lambda: world.connect.hears("one"))


async def test_a_second_life_goes_on_in_the_middle_of_a_long_message(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.seconds["send"] = 4.0
    await world.deliver(world.customer.replies(id_, LONG))
    await until(lambda: world.connect.faults.calls["send"] == 3)
    await first.stop(grace=1.0)
    world.connect.forget_tokens()
    world.connect.faults.seconds.clear()
    await world.replica()
    await until(lambda: world.connect.heard()[-1].endswith("Sentence number 65 of a long story"))
    assert " ".join(world.connect.heard()[1:]) == LONG


async def test_stopping_without_redis_ends_all_the_same(world: World) -> None:
    replica = await world.replica()
    await world.opened("hello")
    replica.lifeline.redis = Redis.AWAY
    await asyncio.wait_for(replica.stop(grace=5.0), 10.0)
    assert not replica.worker.lanes


async def gone_elsewhere(world: World) -> tuple[Replica, Replica, ConversationId]:
    """While a post of the first waits out a 429 its Redis is away, and a second takes over."""
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", Temporary("chat.postMessage", "ratelimited", 400.0))
    world.connect.says("one")
    await world.clock.sleep(1.0)
    first.lifeline.redis = Redis.AWAY
    second = await world.replica()
    await until(lambda: world.customer.reads(id_, "one"))
    await world.settled(id_)
    return first, second, id_


async def test_what_was_remembered_of_a_place_that_comes_back_is_out_of_date(world: World) -> None:
    """A post that waits out a 429 while the place goes to another replica and returns."""
    first, second, id_ = await gone_elsewhere(world)
    first.lifeline.redis = Redis.UP
    await world.clock.sleep(2 * LEASE)
    await second.stop()
    await world.clock.sleep(500.0)
    assert world.customer.words(id_) == ["one"]
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    assert world.customer.words(id_) == ["one", "two"]


async def test_an_event_that_brings_a_place_back_finds_nothing_out_of_date(world: World) -> None:
    """The same, but nobody claimed it before the event came."""
    first, second, id_ = await gone_elsewhere(world)
    await second.stop()
    first.lifeline.redis = Redis.UP
    await first.worker.accept(world.customer.replies(id_, "there"))
    await until(lambda: world.connect.hears("there"))
    await world.clock.sleep(500.0)
    assert world.customer.words(id_) == ["one"]


async def test_an_event_that_another_settled_is_not_worked_again(world: World) -> None:
    """It reaches the new owner late, before that has read the lane: Connect may have forgotten its
    token by then."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    late = world.customer.replies(id_, "there")
    await world.deliver(late)
    await until(lambda: world.connect.hears("there"))
    await world.settled(id_)
    await replica.stop()
    world.connect.forget_tokens()
    starting = asyncio.create_task(world.replica())
    await asyncio.sleep(0)
    second = world.replicas[-1]
    async with second.worker.lanes._loading:
        await starting
        await until(lambda: id_.place in second.worker.lanes.places)
        second.worker.lanes.give(late, 1)
    await world.deliver(world.customer.replies(id_, "once more"))
    await until(lambda: world.connect.hears("once more"))
    assert world.connect.heard() == ["hello", "there", "once more"]


async def test_a_lane_whose_write_was_refused_begins_nothing_more(world: World) -> None:
    """It would send the first part of a message whose progress nobody has."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    client = world.backend.client()
    await client.set(f"t:place:{id_.place}", "another")
    lane, sends = replica.lane(id_), world.connect.faults.calls["send"]
    async with replica.worker.lanes._loading:
        lane.add(world.customer.replies(id_, LONG))
        await world.clock.sleep(1.0)
        lane.add(world.customer.replies(id_, "there"))
        world.connect.says("one")
        await world.clock.sleep(5.0)
    assert world.connect.faults.calls["send"] == sends
    assert world.customer.words(id_) == []


async def test_what_a_refused_lane_knows_is_not_stored_without_what_led_to_it(world: World) -> None:
    """A message was sent, Redis was away when that was to be stored, and by the time it is back the
    place is let go of. Its state says that the message arrived, while the message still waits there:
    whoever reads both would send it again."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    await world.deliver(world.customer.replies(id_, "there"))
    replica.lifeline.redis = Redis.AWAY
    await until(lambda: world.connect.hears("there"))
    world.connect.forget_tokens()
    lane = replica.lane(id_)
    restoring = asyncio.create_task(lane.restore())
    await world.clock.sleep(1.0)
    replica.worker.lanes.forget(id_.place)
    replica.lifeline.redis = Redis.UP
    with pytest.raises(NotOwner):
        await restoring
    replica.worker.lanes.take(id_.place)
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "there"]


async def test_a_mark_that_is_stored_again_is_the_newest(world: World) -> None:
    """A try was marked while what only we may know was stored again, in a Redis that comes and goes.
    With the mark of the try before, whoever came after us would look for less than was posted."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    await world.settled(id_)
    lane = replica.lane(id_)
    lane.mark = Mark(("first",), 0.0)
    replica.lifeline.redis = Redis.AWAY
    tries = [AgentMessage(one, "Mina", one) for one in ("first", "second")]
    marking = asyncio.create_task(back._mark(lane, tries))
    await world.clock.sleep(0.05)
    restoring = asyncio.create_task(lane.restore())
    await world.clock.sleep(1.0)
    replica.lifeline.redis = Redis.UP
    await asyncio.gather(marking, restoring)
    kept = await world.kept(id_)
    assert kept.mark
    assert kept.mark.ids == ("first", "second")


async def test_a_place_that_is_ours_all_the_same_is_listened_to_again(world: World) -> None:
    """Each of its lanes was refused because our lease was in doubt for a moment. Nothing waits, so no
    renewal will tell of it."""
    replica = await world.replica()
    ids = [await world.opened(f"hello {n}") for n in range(2)]
    lanes = [replica.lane(id_) for id_ in ids]
    for lane in lanes:
        replica.worker.lanes.lost(lane)
    await until(lambda: all(replica.worker.lanes.get(one) not in {None, *lanes} for one in ids))
    for number, id_ in enumerate(ids):
        world.connect.says(f"are you there, {number}?", contact=world.connect.contacts[number])
        await until(lambda: world.customer.reads(id_, f"are you there, {number}?"))  # noqa: B023  # used at once


async def test_a_lane_is_let_go_of_although_its_place_seemed_unused(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    lane = replica.lane(id_)
    replica.worker.lanes.places.discard(id_.place)
    lane.stopping = True
    replica.worker.lanes.lost(lane)
    await until(lambda: replica.worker.lanes.get(id_) not in {None, lane})
    await world.deliver(world.customer.replies(id_, "there"))
    await until(lambda: world.connect.hears("there"))
