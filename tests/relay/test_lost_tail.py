"""Redis is replaced by one that lacks the last writes: both sides are in doubt, nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace

from bridge.core.errors import Busy, Temporary, Uncertain
from bridge.core.events import Incoming
from bridge.core.model import ConversationId, NoticeKind, Phase
from bridge.store.pipe import Argument
from tests.relay.lifeline import Lifeline, Redis
from tests.relay.play import A_PAGE, LONG
from tests.relay.virtual import until
from tests.relay.world import LEASE, Replica, World
from tests.store.support import Snapshot


def keep(world: World) -> Snapshot:
    assert world.backend.server
    return world.backend.server.snapshot()


def put_back(world: World, snapshot: Snapshot) -> None:
    assert world.backend.server
    world.backend.server.put_back(snapshot)


async def both_write(world: World, id_: ConversationId, number: int) -> None:
    """A message each way, which arrive and are settled."""
    contact = world.connect.contacts[-1]
    await world.deliver(world.customer.replies(id_, f"up {number}"))
    world.connect.says(f"down {number}", contact=contact)
    await until(lambda: world.connect.hears(f"up {number}"))
    await until(lambda: world.customer.reads(id_, f"down {number}"))
    await world.settled(id_)


async def once(world: World, id_: ConversationId, count: int) -> None:
    """Everything stands on the other side, once and in order, and goes on doing so."""
    await both_write(world, id_, count)
    await world.clock.sleep(120.0)
    assert world.connect.heard() == ["hello", *(f"up {n}" for n in range(count + 1))]
    assert world.customer.words(id_) == [f"down {n}" for n in range(count + 1)]
    assert [part for part, times in Counter(world.customer.ids(id_)).items() if times > 1] == []
    assert len(world.connect.contacts) == 1
    kept = await world.kept(id_)
    assert (kept.lane, kept.mark, kept.doubt) == ((), None, 0.0)


# --- who lives through it ------------------------------------------------------------------------


@pytest.mark.parametrize("all_of_it", [False, True])
async def test_a_replica_that_lives_stores_again_what_it_knows(
    world: World, all_of_it: bool
) -> None:
    replica = await world.replica()
    empty = keep(world)
    id_ = await world.opened("hello")
    before = empty if all_of_it else keep(world)
    for number in range(3):
        await both_write(world, id_, number)
    chat = replica.lane(id_).chat
    put_back(world, before)
    await once(world, id_, 3)
    assert replica.lane(id_).chat is chat
    assert world.customer.faults.calls["look"] == 0
    # Whoever comes after it finds all of it.
    await replica.kill()
    await world.replica()
    await once(world, id_, 4)


async def test_nothing_is_let_go_before_the_renewal_that_notices(world: World) -> None:
    """Both sides write at once, and neither the owner of the place nor its lease is known."""
    empty = keep(world)
    replica = await world.replica()
    id_ = await world.opened("hello")
    chat = replica.lane(id_).chat
    put_back(world, empty)
    world.connect.says("down 0")
    await world.deliver(world.customer.replies(id_, "up 0"))
    await until(lambda: world.connect.hears("up 0") and world.customer.reads(id_, "down 0"))
    assert replica.lane(id_).chat is chat
    await once(world, id_, 1)


async def test_each_keeps_its_places(world: World) -> None:
    """The first to notice gets nothing of the other's, although Redis knows of no owner."""
    empty = keep(world)
    first, second = await world.replica(), await world.replica()
    ids = []
    for number, replica in enumerate((first, second)):
        world.reached = lambda replica=replica: replica  # type: ignore[misc]  # bound now
        ids.append(await world.opened(f"hello {number}"))
    place = world.customer.opens("x", channel="C2")
    world.reached = lambda: second
    await world.deliver(place)
    await until(lambda: world.connect.hears("x"))
    await world.settled(place.conversation)
    assert (list(first.worker.lanes), list(second.worker.lanes)) == (ids, [place.conversation])
    put_back(world, empty)
    world.reached = lambda: first
    await world.deliver(world.customer.replies(place.conversation, "y"))
    await until(lambda: world.connect.hears("y"))
    await world.clock.sleep(2 * LEASE)
    assert (list(first.worker.lanes), list(second.worker.lanes)) == (ids, [place.conversation])
    assert world.connect.heard().count("y") == 1


async def test_a_place_that_nobody_had_is_claimed_after_a_while(world: World) -> None:
    empty = keep(world)
    replica = await world.replica()
    put_back(world, empty)
    root = world.customer.opens("hello")
    await world.deliver(root)
    assert world.connect.contacts == []
    await until(lambda: world.connect.hears("hello"), seconds=2 * LEASE)
    assert list(replica.worker.lanes) == [root.conversation]


async def test_what_was_settled_and_comes_back_is_not_sent_again(world: World) -> None:
    """The event is in its lane again, because only that it was settled is lost."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.seconds["send"] = 3.0
    await world.deliver(world.customer.replies(id_, "up 0"))
    waiting = keep(world)
    await until(lambda: world.connect.hears("up 0"))
    await world.settled(id_)
    world.connect.forget_tokens()
    put_back(world, waiting)
    assert (await world.kept(id_)).lane
    await until(lambda: world.connect.faults.calls["send"] == 2)
    world.connect.says("down 0")
    await once(world, id_, 1)
    assert list(replica.worker.lanes) == [id_]


async def deaf_and_lost(
    world: World,
) -> tuple[tuple[Replica, Replica], tuple[Incoming, Incoming], Snapshot]:
    """The owner of a conversation that hears of nothing which another replica stores; it knows of two
    events that this Redis lacks. The two replicas, two more events, and what Redis has."""
    owner = await world.replica()
    id_ = await world.opened("hello")
    other = await world.replica()
    owner.worker._loops[1].cancel()
    before = keep(world)
    world.connect.faults.seconds["send"] = 2.0
    zero, one, two, three = (world.customer.replies(id_, f"up {n}") for n in range(4))
    await owner.worker.accept(zero)
    await owner.worker.accept(one)
    put_back(world, before)
    return (owner, other), (two, three), before


async def test_an_event_that_redis_lost_hides_none_that_nobody_told_of(world: World) -> None:
    """Before what is known was stored again, Redis has no more events than we know of."""
    (owner, other), (two, three), _ = await deaf_and_lost(world)
    await other.worker.accept(two)
    async with owner.worker.lanes._loading:
        await owner.worker.accept(three)
        await until(lambda: world.connect.hears("up 3"))
    await world.settled(three.conversation)
    assert world.connect.heard() == ["hello", "up 0", "up 1", "up 2", "up 3"]


async def test_what_a_third_redis_lacks_hides_none_that_nobody_told_of(world: World) -> None:
    """What was stored again in the second is not known to the third."""
    (owner, other), (two, three), before = await deaf_and_lost(world)
    owner.lifeline.seconds["store.accept"] = 0.5  # of what is stored again
    for replica in (owner, other):
        replica.lifeline.seconds["slack.history"] = 60.0  # or it is found there
    await owner.worker._try_to_renew()
    await world.clock.sleep(0.1)
    loading = asyncio.create_task(owner.worker.lanes._loading.acquire())
    await world.clock.sleep(0.1)
    put_back(world, before)
    await owner.worker._try_to_renew()
    await loading
    await other.worker.accept(two)
    await owner.worker.accept(three)
    await until(lambda: world.connect.hears("up 3"))
    owner.worker.lanes._loading.release()
    await world.settled(three.conversation)
    assert world.connect.heard() == ["hello", "up 0", "up 1", "up 2", "up 3"]


async def test_what_opens_a_conversation_is_stored_again_before_its_replies(world: World) -> None:
    """Without it they would be nobody's."""
    replica = await world.replica()
    root = world.customer.opens("hello")
    reply = replace(world.customer.replies(root.conversation, "there"), opens=False)
    await replica.worker.lanes._offer([reply, root])
    kept = await world.kept(root.conversation)
    assert {incoming.id for incoming in kept.lane} == {root.id, reply.id}


async def test_what_waits_in_memory_waits_in_redis_again(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    world.connect.faults.seconds["send"] = 4 * LEASE
    await world.deliver(world.customer.replies(id_, "up 0"), world.customer.replies(id_, "up 1"))
    world.customer.written.clear()  # Slack's history has nothing
    put_back(world, before)
    await world.clock.sleep(LEASE)
    assert len((await world.kept(id_)).lane) == 2
    await replica.kill()
    world.connect.faults.seconds.clear()
    await world.replica()
    await until(lambda: world.connect.hears("up 1"))
    assert world.connect.heard() == ["hello", "up 0", "up 1"]


@pytest.mark.parametrize("noticed", ["while it is read", "before it is read"])
async def test_an_event_whose_lane_is_to_be_loaded_is_not_lost(world: World, noticed: str) -> None:
    """It was acknowledged, is in no lane yet, and nobody can read it again."""
    empty = keep(world)
    replica = await world.replica()
    root = world.customer.opens("hello")
    async with replica.worker.lanes._loading:
        await world.deliver(root)
        world.customer.written.clear()
        await world.clock.sleep(1.0)
        put_back(world, empty)
        if noticed == "before it is read":
            await replica.worker._renew()
    await until(lambda: world.connect.hears("hello"))
    await world.settled(root.conversation)
    assert world.connect.heard() == ["hello"]


async def test_states_are_stored_again_at_once(world: World) -> None:
    """With the mark of a post that is in the air, and without events that were settled."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    other = world.customer.replies(id_, "up 0")
    world.connect.faults.seconds["send"] = 3.0
    await world.deliver(other)
    waiting = keep(world)
    await until(lambda: world.connect.hears("up 0"))
    await world.settled(id_)
    world.customer.faults.seconds["post"] = 3 * LEASE
    item = world.connect.says("down 0")
    await world.clock.sleep(1.0)
    put_back(world, waiting)
    replica.worker.lanes._being_loaded.add(id_.place)  # nothing is loaded after it
    await replica.worker._renew()
    await world.clock.sleep(1.0)
    kept = await world.kept(id_)
    assert kept.conversation == replica.has(id_)
    assert (kept.lane, kept.doubt) == ((), 0.0)
    assert kept.mark
    assert kept.mark.ids == (item.id,)


async def test_an_event_need_not_wait_for_the_next_renewal(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    put_back(world, keep(world))
    await replica.worker.accept(world.customer.replies(id_, "up 0"))
    await until(lambda: world.connect.hears("up 0"), seconds=1.0)


async def test_what_was_lost_may_be_older_than_what_was_settled(world: World) -> None:
    """Another replica acknowledged it, and neither its note nor Redis reached the owner."""
    world.customer.supported = False
    await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    world.customer.replies(id_, "lost")
    await both_write(world, id_, 0)
    put_back(world, before)
    await until(lambda: world.connect.hears("lost"))


async def test_nothing_is_let_go_of_where_redis_is_replaced_after_a_lapse(world: World) -> None:
    """Right between the renewal and the question which places are ours: a Redis that knows of none
    must not be believed, for only the lane knows what waits in it."""
    empty = keep(world)
    replica = await world.replica()
    id_ = await world.opened("hello")
    replica.lifeline.redis = Redis.AWAY
    await world.clock.sleep(2 * LEASE)
    world.connect.forget_tokens()
    renew = replica.redis._renew

    async def replaced(*arguments: Argument) -> list[bytes]:
        answer: list[bytes] = await renew(*arguments)
        if arguments[6] == 1:
            replica.redis._renew = renew
            put_back(world, empty)
        return answer

    replica.redis._renew = replaced  # type: ignore[assignment]  # called the same
    chat = replica.lane(id_).chat
    replica.lifeline.redis = Redis.UP
    await world.clock.sleep(2.0)
    await once(world, id_, 0)
    assert replica.lane(id_).chat is chat


# --- who comes after it --------------------------------------------------------------------------


async def killed(world: World, replica: Replica, snapshot: Snapshot) -> None:
    """The machine dies with replica and Redis; both start again, and Connect remembers no token."""
    await replica.kill()
    put_back(world, snapshot)
    world.connect.forget_tokens()


async def test_what_was_sent_and_posted_is_not_again(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    for number in range(3):
        await both_write(world, id_, number)
    await killed(world, first, before)
    await world.replica()
    await once(world, id_, 3)
    assert world.customer.faults.calls["look"] > 0


async def test_what_was_acknowledged_last_is_read_again(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    world.connect.faults.seconds["send"] = 60.0
    await both_ways(world, id_)
    other = world.customer.opens("me, too", user="U2", channel="C2")
    await world.deliver(other)
    await killed(world, first, before)
    world.connect.faults.seconds.clear()
    await world.replica()
    await until(lambda: world.connect.hears("up 1") and world.connect.hears("me, too"))
    await world.clock.sleep(120.0)
    assert sorted(world.connect.heard()) == ["hello", "me, too", "up 0", "up 1"]
    assert world.customer.words(id_) == ["down 0"]


async def both_ways(world: World, id_: ConversationId) -> None:
    await world.deliver(world.customer.replies(id_, "up 0"), world.customer.replies(id_, "up 1"))
    world.connect.says("down 0")


async def test_a_new_message_is_not_taken_for_one_that_arrived(world: World) -> None:
    """It comes before the thread is read, when nothing else waits that a sent item could be."""
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    for number in range(2):
        await both_write(world, id_, number)
    await killed(world, first, before)
    world.customer.faults.seconds["history"] = 20.0
    await world.clock.sleep(60.0)
    await world.replica()
    await once(world, id_, 2)


@pytest.mark.parametrize("sent", [1, 2, 3])
async def test_a_long_message_of_which_parts_arrived(world: World, sent: int) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    world.connect.faults.seconds["send"] = 2.0
    await world.deliver(world.customer.replies(id_, LONG))
    await until(lambda: len(world.connect.heard()) == 1 + sent)
    await killed(world, first, before)
    await world.replica()
    await world.deliver(world.customer.replies(id_, "bye"))
    await until(lambda: world.connect.hears("bye"))
    assert " ".join(world.connect.heard()[1:]) == f"{LONG} bye"


async def test_a_post_that_was_in_the_air_is_waited_for(world: World) -> None:
    """Neither its mark nor the item is known to the Redis that comes after."""
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    world.customer.faults.seconds["post"] = 6.0
    world.connect.says(A_PAGE)
    await until(lambda: world.customer.faults.calls["post"] == 3)
    await killed(world, first, before)
    world.customer.faults.seconds.clear()
    await world.replica()
    world.connect.says("bye")
    await until(lambda: world.customer.reads(id_, "bye"))
    await world.clock.sleep(60.0)
    assert "".join(world.customer.words(id_)) == f"{A_PAGE}bye"
    assert [part for part, count in Counter(world.customer.ids(id_)).items() if count > 1] == []


async def test_a_post_that_appears_late_is_waited_for(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    world.customer.faults.next("post", Uncertain("chat.postMessage", "timeout"), late=8.0)
    world.connect.says("down 0")
    await until(lambda: world.customer.faults.calls["post"] == 2)
    await world.clock.sleep(0.5)
    await killed(world, first, before)
    assert world.customer.words(id_) == []
    second = await world.replica()
    await second.redis.expel_others()  # as with a Redis of its own
    await second.worker._renew()
    await both_write(world, id_, 1)
    await world.clock.sleep(60.0)
    assert world.customer.words(id_) == ["down 0", "down 1"]


async def test_a_new_message_is_not_taken_for_one_that_was_deleted(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    await both_write(world, id_, 0)
    world.customer.written.pop()
    await killed(world, first, before)
    await world.clock.sleep(60.0)
    await world.replica()
    await once(world, id_, 1)


async def test_a_chat_that_began_and_ended_since(world: World) -> None:
    """Nothing of it is known: history opens it again, and the same token gives an ended contact."""
    survivor = await world.replica()
    first = await world.replica()
    empty = keep(world)
    id_ = await world.opened("hello")
    await both_write(world, id_, 0)
    world.connect.ends()
    await world.settled(id_, Phase.ENDED)
    await first.kill()
    put_back(world, empty)
    world.reached = lambda: survivor
    await world.settled(id_, Phase.ENDED)
    await world.clock.sleep(120.0)
    assert len(world.connect.contacts) == 1
    told = [NoticeKind.CONNECTING, NoticeKind.ENDED, NoticeKind.ASK_REOPEN]
    assert world.customer.notices(id_) == told


async def test_a_chat_that_never_began_is_replaced_silently(world: World) -> None:
    """That our own notice stands in the thread does not mean that the contact lived."""
    survivor = await world.replica()
    first = await world.replica()
    empty = keep(world)
    world.connect.faults.always("connect", Temporary("CreateParticipantConnection", "x"))
    world.connect.faults.next("start", Busy("StartChatContact", "x"))
    root = world.customer.opens("hello")
    await world.deliver(root)
    await until(lambda: len(world.connect.contacts) == 1)
    await first.kill()
    put_back(world, empty)
    world.reached = lambda: survivor
    await until(lambda: root.conversation in survivor.worker.lanes)
    await until(lambda: survivor.has(root.conversation).last_post_ts != "")
    world.connect.contacts[0].over = True
    world.connect.faults.heal("connect")
    await until(lambda: world.connect.hears("hello"))
    told = [NoticeKind.CONNECTING, NoticeKind.BUSY]
    assert world.customer.notices(root.conversation) == told


async def test_a_conversation_that_is_wholly_lost_goes_on(world: World) -> None:
    """Slack's history opens it again; the same token gives the same contact."""
    survivor = await world.replica()
    first = await world.replica()
    empty = keep(world)
    id_ = await world.opened("hello")
    for number in range(2):
        await both_write(world, id_, number)
    assert list(first.worker.lanes) == [id_]
    await first.kill()
    put_back(world, empty)
    world.reached = lambda: survivor
    await once(world, id_, 2)
    assert world.customer.notices(id_) == [NoticeKind.CONNECTING]


async def test_a_chat_that_ended_since_is_told_of_once(world: World) -> None:
    """Its transcript cannot be read any more, so whether the last message arrived is asked."""
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    await both_write(world, id_, 0)
    world.connect.ends()
    await world.settled(id_, Phase.ENDED)
    await killed(world, first, before)
    await world.replica()
    await world.settled(id_, Phase.ENDED)
    await world.clock.sleep(120.0)
    assert world.customer.words(id_) == ["down 0"]
    told = [NoticeKind.CONNECTING, NoticeKind.ENDED, NoticeKind.ASK_REOPEN]
    assert world.customer.notices(id_) == told


async def test_a_second_death_in_the_middle_of_the_doubt(world: World) -> None:
    """What was looked into only in part is in doubt still."""
    first = await world.replica()
    id_ = await world.opened("hello")
    before = keep(world)
    for number in range(2):
        await both_write(world, id_, number)
    await killed(world, first, before)
    for calls in (8, 12, 16, 20):
        lifeline = Lifeline(calls, after=True)
        broken = await world.replica(lifeline=lifeline)
        await until(lifeline.cut.is_set)
        await broken.kill()
        world.connect.forget_tokens()
    await world.replica()
    await once(world, id_, 2)


async def test_after_a_clean_stop_nothing_is_in_doubt(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    await both_write(world, id_, 0)
    await first.stop()
    put_back(world, keep(world))
    begun = world.clock.boottime()
    await world.replica()
    world.connect.says("down 1")
    await until(lambda: world.customer.reads(id_, "down 1"))
    assert world.clock.boottime() - begun < 5.0
    assert world.customer.faults.calls["look"] == world.customer.faults.calls["history"] == 0


async def test_a_clean_stop_long_ago_may_be_a_backup(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    await first.stop()
    backup = keep(world)
    second = await world.replica()
    for number in range(2):
        await both_write(world, id_, number)
    await world.clock.sleep(3600.0)
    await killed(world, second, backup)
    await world.replica()
    await once(world, id_, 2)
