"""Towards the customer: every message once, in order, or the agent is told."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.core.errors import Denied, Failure, Gone, Rejected, Temporary, Uncertain
from bridge.core.events import FellBehind
from bridge.core.model import ItemKind, NoticeKind, Phase, Policy, Reopen
from bridge.core.ports import PartId
from tests.relay.lifeline import Lifeline, Redis
from tests.relay.play import A_PAGE
from tests.relay.virtual import until
from tests.relay.world import World

LOST = Uncertain("chat.postMessage", "timeout")
GONE = Gone("chat.postMessage", "is_archived")


async def test_a_long_message_takes_several_posts(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    item = world.connect.says(A_PAGE)
    world.connect.says("bye")
    await until(lambda: world.customer.reads(id_, "bye"))
    assert "".join(world.customer.words(id_)) == A_PAGE + "bye"
    assert world.customer.ids(id_)[1:4] == [PartId(item.id, part) for part in (1, 2, 3)]
    assert world.connect.current.delivered[0] == item.id


async def test_posts_keep_the_pace_of_their_channel(world: World) -> None:
    await world.replica()
    here, there = await world.opened("hello"), await world.opened("hi")
    begun = world.clock.boottime()
    for contact in world.connect.contacts:
        for number in range(10):
            world.connect.says(f"{contact.id}, message number {number}", contact=contact)
    await until(lambda: all(len(world.customer.words(id_)) == 10 for id_ in (here, there)))
    assert world.clock.boottime() - begun > 15.0
    for id_, contact in zip((here, there), world.connect.contacts, strict=True):
        said = [f"{contact.id}, message number {number}" for number in range(10)]
        assert world.customer.posts(id_) == [[text] for text in said]


async def test_what_waits_is_joined_and_what_does_not_is_not(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    texts = [f"No {number}" for number in range(30)]
    for text in texts:
        world.connect.says(text)
    await until(lambda: world.customer.reads(id_, texts[-1]))
    posts = world.customer.posts(id_)
    assert [text for post in posts for text in post] == texts
    assert [len(post) for post in posts[:3]] == [1, 1, 1]  # of the burst, the notice was the first
    assert max(len(post) for post in posts) > 4
    assert all(len("\n\n".join(post)) <= world.customer.room for post in posts)
    kept = await world.settled(id_)
    assert kept.mark is None
    assert len(world.connect.current.delivered) == 30
    await world.clock.sleep(10.0)
    for text in ("one", "two", "three"):
        world.connect.says(text)
    await until(lambda: world.customer.reads(id_, "three"))
    assert world.customer.posts(id_)[-3:] == [["one"], ["two"], ["three"]]


async def test_only_neighbours_of_one_sender_are_joined(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    await _fall_behind(world)
    for text, name in (("a", "Ann"), ("b", "Ann"), ("c", "Ben"), ("d", "Ann")):
        world.connect.says(text, name)
    world.connect.joins("Eva")
    world.connect.says("e", "Ann")
    await until(lambda: world.customer.reads(id_, "e"))
    assert world.customer.posts(id_)[-4:] == [["a", "b"], ["c"], ["d"], ["e"]]
    assert world.customer.ids(id_)[-1].id == world.connect.current.items[-1].id


async def test_one_bad_message_does_not_cost_those_that_would_join_it(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    await _fall_behind(world)
    for text in ("a", "b", "c"):
        world.connect.says(text)
    await world.clock.sleep(0.5)
    world.customer.faults.next("post", Rejected("chat.postMessage", "invalid_blocks"))
    await until(lambda: world.customer.reads(id_, "c"))
    assert world.customer.words(id_)[-3:] == ["a", "b", "c"]
    assert world.customer.posts(id_)[-1] == ["b", "c"]
    assert world.connect.asides == []


async def _fall_behind(world: World) -> None:
    """Spend the burst of the newest contact's channel, and more."""
    contact = world.connect.current
    for number in range(5):
        world.connect.says(f"This takes a post of its own, number {number}", contact=contact)
    posts = world.customer.faults.calls["post"]
    await until(lambda: world.customer.faults.calls["post"] == posts + 5)


async def test_a_flood_in_one_thread_leaves_the_others_their_turns(world: World) -> None:
    await world.replica()
    here, there = await world.opened("hello"), await world.opened("hi")
    flooded, quiet = world.connect.contacts
    for number in range(40):
        world.connect.says(f"This takes a post of its own, number {number}", contact=flooded)
    await world.clock.sleep(5.5)
    before = len(world.customer.posts(here))
    world.connect.says("one", contact=quiet)
    await until(lambda: world.customer.reads(there, "one"))
    assert len(world.customer.posts(here)) <= before + 2
    await until(lambda: len(world.customer.posts(here)) == 40)


async def test_words_go_before_notices_of_other_threads(world: World) -> None:
    await world.replica()
    first, second, third = [await world.opened(text) for text in ("one", "two", "three")]
    contacts = world.connect.contacts
    await _fall_behind(world)
    await world.clock.sleep(0.3)
    # A notice with words behind it goes with them; one alone goes after all words.
    await world.deliver(world.customer.asks_to_end(first))
    world.connect._add(contacts[1], ItemKind.JOINED, "AGENT", "Ann")
    world.connect.says("after the notice", contact=contacts[1])
    world.connect.says("words", contact=contacts[2])
    await until(lambda: NoticeKind.ENDED in world.customer.notices(first))
    assert NoticeKind.JOINED in world.customer.notices(second)
    assert world.customer.reads(second, "after the notice")
    assert world.customer.reads(third, "words")


async def test_a_429_holds_the_whole_channel(world: World) -> None:
    await world.replica()
    here, there = await world.opened("hello"), await world.opened("hi")
    first, second = world.connect.contacts
    limited = Temporary("chat.postMessage", "ratelimited", retry_after=30.0)
    world.customer.faults.next("post", limited)
    begun = world.clock.boottime()
    world.connect.says("one", contact=first)
    await world.clock.sleep(1.0)
    world.connect.says("two", contact=second)
    await until(lambda: world.customer.reads(here, "one") and world.customer.reads(there, "two"))
    posts = sorted(float(post.ts) for id_ in (here, there) for post in world.customer.threads[id_])
    assert posts[-2] - world.clock.now() > begun - world.clock.boottime() + 30.0


@pytest.mark.parametrize(
    "failure",
    [
        Temporary("chat.postMessage", "service_unavailable"),
        Denied("chat.postMessage", "invalid_auth"),
    ],
)
async def test_what_passes_delays_and_loses_nothing(world: World, failure: Failure) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", failure)
    world.connect.says("one")
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    assert world.customer.words(id_) == ["one", "two"]


async def test_what_waited_for_its_turn_is_not_given_up_at_once(world: World) -> None:
    """Patience with a refusal begins with that."""
    await world.replica()
    id_ = await world.opened("hello")
    limited = Temporary("chat.postMessage", "ratelimited", retry_after=70.0)
    world.customer.faults.next("post", limited, Denied("chat.postMessage", "invalid_auth"))
    world.connect.says("one")
    await until(lambda: world.customer.reads(id_, "one"))
    await world.settled(id_)
    assert world.connect.asides == []


@pytest.mark.parametrize("waits_for", ["turn", "connection"])
async def test_what_was_said_before_goes_before_what_waits(world: World, waits_for: str) -> None:
    """Its frame is late, but comes before the later one is written."""
    await world.replica()
    id_ = await world.opened("hello")
    if waits_for == "turn":
        limited = Temporary("chat.postMessage", "ratelimited", retry_after=20.0)
        world.customer.faults.next("post", limited)
    else:
        world.customer.faults.seconds["post"] = 4.0
    contact = world.connect.current
    sockets, contact.chats = contact.chats, []
    late = world.connect.says("one")
    contact.chats = sockets
    begun = world.clock.boottime()
    world.connect.says("two")
    await world.clock.sleep(1.0)
    sockets[0].tell([late])
    await until(lambda: world.customer.reads(id_, "two"))
    assert world.customer.words(id_) == ["one", "two"]
    assert world.clock.boottime() - begun < 30.0


@pytest.mark.parametrize("late", [0.0, 3.0, 9.0])
@pytest.mark.parametrize("after", [False, True])
async def test_a_post_without_an_answer_stands_there_once(
    world: World, after: bool, late: float
) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", LOST, LOST, after=after, late=late if after else 0.0)
    world.connect.says(A_PAGE)
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    await world.settled(id_)
    await world.clock.sleep(10.0)
    assert "".join(world.customer.words(id_)) == A_PAGE + "two"


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Rejected("chat.postMessage", "msg_blocks_too_long"), "could not be posted"),
        (Denied("chat.postMessage", "token_revoked"), "refuses"),
    ],
)
async def test_the_agent_is_told_of_what_cannot_be_posted(
    world: World, failure: Failure, words: str
) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", *[failure] * (3 if isinstance(failure, Denied) else 1))
    world.connect.says("lost")
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    await until(lambda: bool(world.connect.asides))
    await world.deliver(world.customer.replies(id_, "thanks"))
    await until(lambda: world.connect.hears("thanks"))
    assert len(world.connect.asides) == 1
    assert words in world.connect.asides[0]
    assert world.customer.words(id_) == ["two"]
    assert world.connect.heard() == ["hello", "thanks"]


async def test_a_channel_that_is_gone_ends_the_chat_and_the_agent_is_told(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.always("post", GONE)
    contact = world.connect.current
    world.connect.says("lost")
    await until(lambda: contact.over)
    assert len(world.connect.asides) == 1
    assert "channel is gone" in world.connect.asides[0]
    kept = await world.settled(id_)
    assert kept.conversation.phase is Phase.ENDED
    await until(lambda: id_ not in replica.worker.lanes)
    assert world.customer.faults.calls["post"] == 2  # the notice, and this


async def test_a_gone_channel_and_a_connect_that_does_not_answer(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.always("post", GONE)
    for call in ("send", "end"):
        world.connect.faults.always(call, Temporary(call, "x"))
    world.connect.says("lost")
    await until(lambda: id_ not in replica.worker.lanes)
    kept = await world.kept(id_)
    assert kept.conversation.phase is Phase.ENDED


async def test_a_chat_that_was_opened_while_a_gone_place_was_left_is_left_too(world: World) -> None:
    """The chat is heard to end long before the answer to leaving it comes."""
    await world.replica(Policy(reopen=Reopen.ALWAYS, rehydrate=False))
    id_ = await world.opened("hello")
    world.customer.faults.always("post", GONE)
    world.connect.faults.seconds["end"] = 20.0
    first = world.connect.current
    world.connect.says("lost")
    await until(lambda: first.over)
    await world.deliver(world.customer.replies(id_, "still there?"))
    await world.clock.sleep(60.0)
    kept = await world.settled(id_)
    assert kept.conversation.phase is Phase.ENDED
    assert len(world.connect.contacts) == 2
    assert all(contact.over for contact in world.connect.contacts)


async def test_an_aside_never_outlives_its_chat(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", Rejected("chat.postMessage", "x"))
    world.connect.says("lost")
    world.connect.ends()
    await until(lambda: id_ not in replica.worker.lanes)
    assert world.customer.notices(id_)[-1] is NoticeKind.ENDED


async def test_nothing_is_posted_when_the_lease_may_have_expired(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 100.0
    world.connect.says("one")
    await until(lambda: world.customer.faults.calls["post"] == 2)
    # The post waits for its connection until long after the lease has run out.
    replica.lifeline.redis = Redis.AWAY
    await world.clock.sleep(60.0)
    assert world.customer.words(id_) == []
    world.customer.faults.seconds.clear()
    replica.lifeline.redis = Redis.UP
    await until(lambda: world.customer.reads(id_, "one"))
    await world.settled(id_)
    assert world.customer.words(id_) == ["one"]


async def test_what_was_in_the_air_when_the_chat_ended_is_not_posted_again(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 2.0
    world.connect.says("one")
    await until(lambda: world.customer.reads(id_, "one"))
    await first.kill()
    world.connect.says("two")
    world.connect.ends()
    world.customer.faults.seconds.clear()
    await world.replica()
    await until(lambda: NoticeKind.MISSED in world.customer.notices(id_))
    await world.deliver(world.customer.replies(id_, "more"), world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.hears("more"))
    world.connect.says("three")
    await until(lambda: world.customer.reads(id_, "three"))
    assert world.customer.words(id_) == ["one", "two", "three"]


async def test_every_try_is_marked_anew(world: World) -> None:
    """Who takes over waits for what may still come of the last try, not of the first."""
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 1.0
    world.connect.says(A_PAGE)
    await until(lambda: len(world.customer.words(id_)) == 1)
    world.customer.faults.next("post", LOST, LOST)
    world.customer.faults.next("post", LOST, late=12.0)
    await until(lambda: world.customer.faults.calls["post"] == 5)  # the third try of part 2
    await world.clock.sleep(1.0)
    await first.stop(grace=0.0)
    await world.replica()
    await world.clock.sleep(60.0)
    assert "".join(world.customer.words(id_)) == A_PAGE


async def test_what_is_marked_is_completed_before_anything_else(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 1.0
    world.connect.says(A_PAGE)
    await until(lambda: len(world.customer.words(id_)) == 1)
    await first.kill()
    world.connect.says("two")
    await world.replica()
    await until(lambda: world.customer.reads(id_, "two"))
    assert "".join(world.customer.words(id_)) == A_PAGE + "two"


async def test_a_look_that_fails_is_tried_again(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", LOST, after=True)
    world.customer.faults.next("look", Temporary("look", "x"), Uncertain("look", "x"))
    world.connect.says("one")
    await until(lambda: world.customer.reads(id_, "one"))
    await world.settled(id_)
    assert world.customer.words(id_) == ["one"]


async def test_a_long_message_is_completed_although_its_chat_ended(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 1.0
    world.connect.says(A_PAGE)
    await until(lambda: len(world.customer.words(id_)) == 1)
    await first.kill()
    world.connect.ends()
    await world.replica()
    await until(lambda: NoticeKind.MISSED in world.customer.notices(id_))
    assert "".join(world.customer.words(id_)) == A_PAGE


@pytest.mark.parametrize("late", [0.0, 4.0, 9.5, 14.5])
@pytest.mark.parametrize("begin", ["joined", "part", "429"])
async def test_a_post_in_the_air_at_takeover_stands_there_once(
    world: World, begin: str, late: float
) -> None:
    """It lands up to its time-out and a look's delay after it was marked, however long ago the
    first try or the first part was."""
    first = await world.replica()
    id_ = await world.opened("hello")
    await _fall_behind(world)
    texts = [A_PAGE] if begin == "part" else ["a", "b", "c"]
    for text in texts:
        world.connect.says(text)
    if begin == "part":
        await until(lambda: world.customer.reads(id_, A_PAGE[:40]))
    if begin == "429":
        limited = Temporary("chat.postMessage", "ratelimited", retry_after=40.0)
        world.customer.faults.next("post", limited)
    done = world.customer.faults.calls["post"] + (begin == "429")
    world.customer.faults.next("post", LOST, after=True, late=late)
    await until(lambda: world.customer.faults.calls["post"] == done + 1)
    await first.stop(grace=0.0)
    world.connect.says("after")
    await world.replica()
    await until(lambda: world.customer.reads(id_, "after"))
    await world.settled(id_)
    await world.clock.sleep(30.0)
    assert "".join(world.customer.words(id_)[5:]) == "".join([*texts, "after"])
    shown = {part.id for part in world.customer.ids(id_)[1:]}
    assert set(world.connect.current.delivered) == shown
    assert len(set(world.customer.ids(id_))) == len(world.customer.ids(id_))


@pytest.mark.parametrize("waits", [4.5, 5.5, 9.5])
async def test_a_post_is_written_so_soon_after_its_mark_that_the_looks_find_it(
    world: World, waits: float
) -> None:
    """It waits for a connection, and Slack shows it a time-out and a look's delay later."""
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 2 * waits
    world.customer.faults.next("post", LOST, after=True, late=14.9)
    world.connect.says("one")
    posts = world.customer.faults.calls["post"]
    await until(lambda: world.customer.faults.calls["post"] == posts + 1)
    del world.customer.faults.seconds["post"]
    await until(lambda: world.customer.reads(id_, "one"))
    await world.settled(id_)
    await world.clock.sleep(30.0)
    assert world.customer.words(id_) == ["one"]


async def test_a_post_that_was_marked_long_ago_is_marked_anew(world: World) -> None:
    """A look could not know of one that goes out later, after the process stood still."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    replica.lifeline.seconds["store.mark"] = 6.0
    world.connect.says("one")
    posts = world.customer.faults.calls["post"]
    await until(lambda: world.customer.faults.calls["post"] == posts + 1)
    replica.lifeline.seconds.clear()
    await until(lambda: world.customer.reads(id_, "one"))
    await world.settled(id_)
    assert world.customer.faults.calls["post"] == posts + 2
    assert world.customer.words(id_) == ["one"]


async def test_a_defect_after_a_post_does_not_repeat_it(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.connect.says("one")
    unforeseen: Any = KeyError("ts")
    world.customer.faults.next("post", unforeseen, after=True)
    await until(lambda: world.customer.reads(id_, "one"))
    await world.clock.sleep(30.0)
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    assert replica.has(id_).owed == ()
    assert world.customer.words(id_) == ["one", "two"]


@pytest.mark.parametrize("heard_before", [True, False])
async def test_a_transcript_that_is_refused_is_no_failure_of_a_post(
    world: World, heard_before: bool
) -> None:
    """A NextToken is void after a reconnect, and a takeover begins with one."""
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 2.0
    world.connect.says("one")
    await until(lambda: world.customer.reads(id_, "one"))
    await first.kill()
    world.customer.faults.seconds.clear()
    world.connect.faults.next("catch_up", Rejected("GetTranscript", "ValidationException"))
    world.connect.faults.seconds["connect"] = 0.0 if heard_before else 1.0
    second = await world.replica()
    await until(lambda: id_ in second.worker.lanes)
    second.lane(id_).hear(FellBehind("U1", id_.thread_ts))  # a notice is owed
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    await world.settled(id_)
    assert world.customer.words(id_) == ["one", "two"]
    assert world.connect.asides == []


@pytest.mark.parametrize("cut", range(1, 16))
async def test_a_mark_without_ids_looks_for_everything_that_is_owed(world: World, cut: int) -> None:
    """Redis may have forgotten which posts were tried and which were settled. Whoever finds out may
    die over it."""
    first = await world.replica()
    id_ = await world.opened("hello")
    older = (await world.kept(id_)).conversation
    texts = ["one", A_PAGE, "two"]
    for text in texts:
        world.connect.says(text)
    await until(lambda: world.customer.reads(id_, "two"))
    await world.settled(id_)
    await first.kill()
    reader = world.backend.store(first.name)
    await reader.settle(older)
    await reader.mark(id_, (), older.last_post_ts)
    second = await world.replica(lifeline=Lifeline(cut, after=True))
    await second.lifeline.cut.wait()
    await second.kill()
    await world.replica()
    world.connect.says("three")
    await until(lambda: world.customer.reads(id_, "three"))
    await world.settled(id_)
    assert "".join(world.customer.words(id_)) == "".join([*texts, "three"])


@pytest.mark.parametrize("late", [14.0, 19.0])
async def test_what_lands_late_in_a_chat_that_ended_is_known_when_it_is_continued(
    world: World, late: float
) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", LOST, late=late)
    calls = world.customer.faults.calls["post"]
    world.connect.says("one")
    await until(lambda: world.customer.faults.calls["post"] == calls + 1)
    await first.stop(grace=0.0)
    world.connect.ends()
    await world.replica()
    await until(lambda: NoticeKind.MISSED in world.customer.notices(id_))
    await world.deliver(world.customer.replies(id_, "more"), world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.hears("more"))
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    assert world.customer.words(id_) == ["one", "two"]


async def test_a_redis_whose_clock_is_set_back_does_not_put_off_a_look(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 9.0
    world.customer.faults.next("post", Uncertain("chat.postMessage", "time-out"), after=True)
    world.connect.says("one")
    await world.clock.sleep(5.0)
    world.redis_clock.ahead = -3600.0
    await world.clock.sleep(60.0)
    kept = await world.settled(id_)
    assert (kept.mark, world.customer.words(id_)) == (None, ["one"])
    assert world.clock.boottime() < 120.0


@pytest.mark.parametrize("stood_still", [0.0, 9.0])
async def test_a_look_counts_on_no_later_time_than_redis_has(
    world: World, stood_still: float
) -> None:
    """A process that stands still between a renewal and its writing learns Redis' time late."""
    first, second = await world.replica(), await world.replica()
    renew = second.redis.renew

    async def slow(*arguments: Any, **named: Any) -> Any:
        await world.clock.sleep(stood_still)
        return await renew(*arguments, **named)

    second.redis.renew = slow  # type: ignore[method-assign]
    world.reached = lambda: first
    id_ = await world.opened("hello")
    await world.clock.sleep(40.0)
    world.customer.faults.next("post", LOST, late=14.5)
    posts = world.customer.faults.calls["post"]
    world.connect.says("one")
    await until(lambda: world.customer.faults.calls["post"] == posts + 1)
    await first.stop(grace=0.0)
    await until(lambda: id_ in second.worker.lanes)
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    await world.settled(id_)
    await world.clock.sleep(30.0)
    assert world.customer.words(id_) == ["one", "two"]
