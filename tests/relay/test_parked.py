"""What finally fails is parked and can be tried again; what our own code fails on stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import structlog

from bridge import metrics
from bridge.core import contacts, outcomes, transcript
from bridge.core import conversation as core
from bridge.core.decision import Decision
from bridge.core.errors import Gone, Rejected, Uncertain
from bridge.core.events import MessageSent
from bridge.core.model import Conversation, NoticeKind, Outgoing, Phase
from bridge.core.parked import Parked
from bridge.relay import gauges
from bridge.relay import lane as lane_module
from bridge.relay.kit import Timing
from bridge.store.crypto import Box
from bridge.store.parked import ParkedStore
from tests.relay.play import LONG
from tests.relay.virtual import until
from tests.relay.world import World
from tests.store.support import KEY

A_PAGE = "A long answer, of which Slack takes several posts, " * 2
REFUSED = Rejected("SendMessage", "AccessDeniedException")
UNPOSTABLE = Rejected("chat.postMessage", "msg_blocks_too_long")
LOST = Uncertain("SendMessage", "timeout")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Many errors are logged here, and showing them off takes long."""
    with structlog.testing.capture_logs():
        yield


def shelf(world: World) -> ParkedStore:
    return ParkedStore(world.backend.client(), Box(KEY), "t")


async def parked(world: World, number: int = 1) -> list[Parked]:
    """What is parked, as soon as so much is."""
    async with asyncio.timeout(900.0):
        while len(entries := await shelf(world).entries()) < number:
            await asyncio.sleep(1.0)
    return [entry.parked for entry in entries if entry.parked]


async def retry_all(world: World) -> None:
    for number, entry in enumerate(await shelf(world).entries()):
        assert await shelf(world).retry(entry, world.clock.now() + number * 1e-6)
    assert await shelf(world).entries() == []


def words(one: Parked) -> str:
    return one.event.message.text


# --- towards the agent ---------------------------------------------------------------------------


async def test_a_refused_message_arrives_once_when_it_is_tried_again(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    counted = metrics.PARKED.labels("to_agent", "rejected")
    before = counted._value.get()
    world.connect.faults.next("send", REFUSED)
    await world.deliver(world.customer.replies(id_, "one"), world.customer.replies(id_, "two"))
    [one] = await parked(world)
    assert (one.conversation, words(one), one.reason) == (id_, "one", "rejected")
    assert counted._value.get() - before == 1
    await until(lambda: len(world.customer.flags) == 1)
    await until(lambda: world.connect.hears("two"))
    assert world.connect.heard() == ["hello", "two"]
    await retry_all(world)
    await until(lambda: NoticeKind.RETRIED in world.customer.notices(id_))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "two", "one"]
    assert world.customer.flags == []


async def test_refused_again_it_is_parked_and_told_again(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", REFUSED, REFUSED)
    await world.deliver(world.customer.replies(id_, "one"))
    await parked(world)
    await retry_all(world)
    [again] = await parked(world)
    await world.settled(id_)
    assert world.customer.notices(id_).count(NoticeKind.UNDELIVERED) == 2
    assert again.event.message.retry is not None
    assert again.event.message.retry.number == 1
    await retry_all(world)
    await until(lambda: world.connect.hears("one"))
    assert world.connect.heard() == ["hello", "one"]


async def test_parts_that_arrived_are_not_sent_again(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.seconds["send"] = 5.0
    await world.deliver(world.customer.replies(id_, LONG))
    await until(lambda: len(world.connect.heard()) == 2)
    world.connect.faults.next("send", REFUSED)
    await parked(world)
    world.connect.forget_tokens()
    await retry_all(world)
    await until(lambda: world.connect.heard()[-1].endswith("number 65 of a long story"))
    assert " ".join(world.connect.heard()[1:]) == LONG


async def test_one_that_is_tried_again_after_the_end_waits_for_a_new_chat(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", REFUSED)
    await world.deliver(world.customer.replies(id_, "one"))
    await parked(world)
    world.connect.ends()
    await world.settled(id_, Phase.ENDED)
    await retry_all(world)
    await until(lambda: NoticeKind.ASK_REOPEN in world.customer.notices(id_))
    assert not world.connect.hears("one")
    await world.deliver(world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.hears("one"))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "one"]
    assert world.customer.flags == []


async def test_what_waited_for_a_chat_that_never_came_gets_one_later(world: World) -> None:
    await world.replica()
    world.connect.faults.always("start", Rejected("StartChatContact", "InvalidRequest"))
    root = world.customer.opens("hello")
    await world.deliver(root)
    [one] = await parked(world)
    assert (words(one), one.reason) == ("hello", "not_started")
    await world.settled(root.conversation)
    await retry_all(world)
    [again] = await parked(world)
    assert again.reason == "not_started"
    world.connect.faults.heal("start")
    await retry_all(world)
    await until(lambda: world.connect.hears("hello"))
    await world.settled(root.conversation)
    assert world.connect.heard() == ["hello"]


async def test_one_that_arrived_at_the_last_moment_is_not_given_up(world: World) -> None:
    """Its item would prove that the next message arrived, which never went out."""
    await world.replica(timing=Timing(send_patience=0.0))
    id_ = await world.opened("hello")
    world.connect.faults.next("send", LOST)
    world.connect.faults.next("send", LOST, after=True)
    await world.deliver(world.customer.replies(id_, "one"), world.customer.replies(id_, "two"))
    await until(lambda: world.connect.hears("two"))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "one", "two"]
    assert world.customer.flags == []
    assert await shelf(world).entries() == []


# --- towards the customer ------------------------------------------------------------------------


async def test_a_post_that_failed_stands_there_once_when_it_is_tried_again(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", UNPOSTABLE)
    world.connect.says("one")
    world.connect.says("two")
    [one] = await parked(world)
    assert (one.conversation, words(one), one.reason) == (id_, "one", "rejected")
    await until(lambda: world.customer.reads(id_, "two") and len(world.connect.asides) == 1)
    await retry_all(world)
    await until(lambda: world.customer.reads(id_, "one") and len(world.connect.asides) == 2)
    await world.settled(id_)
    assert world.customer.words(id_) == ["two", "one"]


async def test_posts_that_stand_there_are_not_posted_again(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 5.0
    world.connect.says(A_PAGE)
    await until(lambda: len(world.customer.words(id_)) == 1)
    world.customer.faults.next("post", UNPOSTABLE)
    await parked(world)
    assert len(world.customer.words(id_)) == 1
    await retry_all(world)
    await until(lambda: "".join(world.customer.words(id_)).endswith(A_PAGE[-20:]))
    await world.settled(id_)
    assert "".join(world.customer.words(id_)) == A_PAGE


async def test_parts_of_every_try_are_looked_for_at_a_takeover(world: World) -> None:
    """The first part stands before what was posted between the two tries, the second after it."""
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.seconds["post"] = 5.0
    world.connect.says(A_PAGE)
    world.connect.says("two")
    await until(lambda: len(world.customer.words(id_)) == 1)
    world.customer.faults.next("post", UNPOSTABLE)
    await parked(world)
    await until(lambda: world.customer.reads(id_, "two"))
    await world.settled(id_)
    await retry_all(world)
    await until(lambda: len(world.customer.words(id_)) == 3)
    await first.kill()
    await world.replica()
    await until(lambda: len(world.customer.words(id_)) >= 4)
    await world.settled(id_)
    begun, two, *rest = world.customer.words(id_)
    assert (two, "".join([begun, *rest])) == ("two", A_PAGE)


async def test_a_place_that_is_gone_leaves_nothing_unparked(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.always("post", Gone("chat.postMessage", "channel_not_found"))
    world.connect.says("one")
    world.connect.says("two")
    both = await parked(world, 2)
    assert [(words(one), one.reason) for one in both] == [("one", "gone"), ("two", "gone")]
    world.customer.faults.heal("post")
    await retry_all(world)
    await until(lambda: world.customer.reads(id_, "two"))
    assert world.customer.words(id_) == ["one", "two"]


async def test_a_thread_that_is_gone_is_no_defect_of_ours(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    world.customer.faults.next("post", Uncertain("chat.postMessage", "timeout"))
    world.connect.says("one")
    await until(lambda: first.lane(id_).mark is not None)
    await first.kill()
    world.customer.faults.always("look", Gone("conversations.replies", "channel_not_found"))
    await world.replica()
    [one] = await parked(world)
    assert (words(one), one.reason) == ("one", "gone")


# --- what our own code cannot handle -------------------------------------------------------------


def failing_on(text: str, real: Callable[..., Any], times: int = 10**6) -> Callable[..., Any]:
    """The same function, which fails on whoever says this."""
    left = [times]

    def fail(*arguments: Any) -> Any:
        said = {getattr(one, "text", one) for one in arguments if not isinstance(one, Conversation)}
        if text in said and left[0]:
            left[0] -= 1
            raise RuntimeError
        return real(*arguments)

    return fail


@pytest.mark.parametrize("times", [3, 10**6], ids=["for a while", "for ever"])
async def test_a_message_our_code_fails_on_holds_nobody_up_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(core, "_to_agent", failing_on("bad", core._to_agent, times))
    await world.replica()
    id_ = await world.opened("hello")
    begun = world.clock.boottime()
    await world.deliver(world.customer.replies(id_, "bad"), world.customer.replies(id_, "good"))
    await until(lambda: world.connect.hears("good"))
    if times == 3:
        assert world.connect.heard() == ["hello", "bad", "good"]
        assert await shelf(world).entries() == []
        return
    assert world.clock.boottime() - begun > 60.0
    [one] = await parked(world)
    assert (words(one), one.reason) == ("bad", "defect")
    await until(lambda: NoticeKind.UNDELIVERED in world.customer.notices(id_))
    assert len(world.customer.flags) == 1
    monkeypatch.undo()
    await retry_all(world)
    await until(lambda: world.connect.hears("bad"))
    assert world.connect.heard() == ["hello", "good", "bad"]


async def test_a_message_that_went_out_before_our_code_failed_goes_out_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    real, left = outcomes.sent, [3]

    def fail(conversation: Conversation, event: MessageSent) -> Decision:
        if left[0]:
            left[0] -= 1
            world.connect.forget_tokens()
            raise RuntimeError
        return real(conversation, event)

    monkeypatch.setattr(outcomes, "sent", fail)
    await world.deliver(world.customer.replies(id_, "one"), world.customer.replies(id_, "two"))
    await until(lambda: world.connect.hears("two"))
    assert world.connect.heard() == ["hello", "one", "two"]


async def test_an_item_our_code_fails_on_is_parked_and_the_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "_shown", failing_on("bad", transcript._shown))
    first = await world.replica()
    id_ = await world.opened("hello")
    await first.kill()
    for text in ("one", "bad", "two"):
        world.connect.says(text)
    second = await world.replica()
    await until(lambda: world.customer.reads(id_, "two"))
    world.connect.says("three")
    [one] = await parked(world)
    assert (words(one), one.reason) == ("bad", "defect")
    await until(lambda: world.customer.reads(id_, "three") and len(world.connect.asides) == 1)
    await second.kill()
    await world.replica()
    await retry_all(world)
    await until(lambda: world.customer.reads(id_, "bad"))
    await world.settled(id_)
    assert world.customer.words(id_) == ["one", "two", "three", "bad"]
    assert await shelf(world).entries() == []


async def test_a_fact_our_code_fails_on_is_heard_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = contacts.subscribed, [3]

    def fail(conversation: Conversation) -> Decision:
        if left[0]:
            left[0] -= 1
            raise RuntimeError
        return real(conversation)

    monkeypatch.setattr(contacts, "subscribed", fail)
    await world.replica()
    await world.opened("hello")
    assert world.connect.heard() == ["hello"]


async def test_a_start_our_code_fails_on_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_opening: object) -> str:
        raise RuntimeError

    await world.replica()
    monkeypatch.setattr(world.connect, "compose", fail)
    root = world.customer.opens("hello")
    await world.deliver(root)
    [one] = await parked(world)
    assert (words(one), one.reason) == ("hello", "not_started")
    await until(lambda: NoticeKind.FAILED in world.customer.notices(root.conversation))
    monkeypatch.undo()
    await retry_all(world)
    await until(lambda: world.connect.hears("hello"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("times", [3, 10**6], ids=["for a while", "for ever"])
async def test_a_post_our_code_fails_on_stands_there_once_or_is_parked(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int, *, after: bool
) -> None:
    real, left = world.customer.post, [times]

    async def post(conversation: Any, load: Sequence[Outgoing], *rest: Any) -> str:
        fails = left[0] > 0 and any(getattr(one, "text", "") == "bad" for one in load)
        left[0] -= fails
        if fails and not after:
            raise RuntimeError
        ts: str = await real(conversation, load, *rest)
        if fails:
            raise RuntimeError
        return ts

    monkeypatch.setattr(world.customer, "post", post)
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.says("bad")
    world.connect.says("good")
    await until(lambda: world.customer.reads(id_, "good"))
    if after or times == 3:
        assert world.customer.words(id_) == ["bad", "good"]
        assert await shelf(world).entries() == []
        return
    [one] = await parked(world)
    assert (words(one), one.reason) == ("bad", "defect")
    assert world.customer.words(id_) == ["good"]
    await until(lambda: len(world.connect.asides) == 1)


async def test_of_messages_that_are_joined_only_the_bad_one_is_parked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.customer.post

    async def post(conversation: Any, load: Sequence[Outgoing], *rest: Any) -> str:
        if any(getattr(one, "text", "") == "bad" for one in load):
            raise RuntimeError
        ts: str = await real(conversation, load, *rest)
        return ts

    monkeypatch.setattr(world.customer, "post", post)
    replica = await world.replica()
    replica.kit.pace._rate = (1 / 60, 1)  # always behind, so that whatever waits is joined
    id_ = await world.opened("hello")
    for text in ("one", "bad", "two"):
        world.connect.says(text)
    await until(lambda: world.customer.reads(id_, "two"))
    await world.settled(id_)
    assert world.customer.words(id_) == ["one", "two"]
    assert [words(one) for one in await parked(world)] == ["bad"]
    monkeypatch.undo()
    await retry_all(world)
    await until(lambda: world.customer.reads(id_, "bad"))


# --- lanes that are behind -----------------------------------------------------------------------


async def test_who_writes_very_much_is_told_once_that_it_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "_MANY", 10)
    replica = await world.replica()
    id_ = await world.opened("hello")

    async def flood(count: int) -> None:
        world.connect.faults.seconds["send"] = 30.0
        texts = [f"{count}-{number}" for number in range(count)]
        await world.deliver(*(world.customer.replies(id_, text) for text in texts))
        assert gauges.behind(replica.worker.lanes.values()) == (1 if count > 11 else 0)
        world.connect.faults.seconds["send"] = 0.0
        await until(lambda: world.connect.hears(texts[-1]))
        await world.settled(id_)
        assert world.connect.heard()[-count:] == texts

    def told() -> int:
        return world.customer.notices(id_).count(NoticeKind.SLOW)

    await flood(8)
    assert told() == 0
    await flood(20)
    assert told() == 1
    await flood(30)
    assert told() == 2
    assert gauges.behind(replica.worker.lanes.values()) == 0
