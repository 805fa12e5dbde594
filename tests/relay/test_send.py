"""Towards the agent: every message once, in order, or its author is told."""

from __future__ import annotations

from typing import Any

import pytest

from bridge import metrics
from bridge.core.errors import Busy, Denied, Failure, Gone, Rejected, Temporary, Uncertain
from bridge.core.model import ConversationId, NoticeKind, Phase, Policy, Reopen
from tests.relay.lifeline import Redis
from tests.relay.play import LONG
from tests.relay.virtual import until
from tests.relay.world import World

LOST = Uncertain("SendMessage", "timeout")


async def _write(world: World, id_: ConversationId, *texts: str, user: str = "U1") -> None:
    await world.deliver(*(world.customer.replies(id_, text, user) for text in texts))


async def test_a_long_message_goes_in_parts(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    await _write(world, id_, LONG, "bye")
    await until(lambda: world.connect.hears("bye"))
    parts = world.connect.heard()[1:-1]
    assert len(parts) == 3
    assert max(map(len, parts)) <= 1024
    assert " ".join(parts) == LONG
    assert world.connect.current.typed > 0


async def test_how_long_a_message_took_is_counted_to_the_microsecond(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.customer._newest = (int(world.clock.now()) + 1) * 10**6 + 8
    late = world.customer.replies(id_, "there")
    assert late.ts.endswith(".000009")
    await world.clock.sleep(5.0)
    before, written = _seconds(), float(late.ts)
    sent = world.clock.now()
    await world.deliver(late)
    await until(lambda: world.connect.hears("there"))
    await world.settled(id_)
    assert 0.0 <= _seconds() - before - (sent - written) < 0.5


def _seconds() -> float:
    """What all messages to the agent took together."""
    labels = {"direction": metrics.TO_AGENT}
    return metrics.REGISTRY.get_sample_value("bridge_message_seconds_sum", labels) or 0.0


async def test_the_limit_is_halved_where_connect_finds_it_too_long(world: World) -> None:
    world.connect.message_limit = 300
    await world.replica()
    id_ = await world.opened("hello")
    await _write(world, id_, LONG, "bye")
    await until(lambda: world.connect.hears("bye"))
    parts = world.connect.heard()[1:-1]
    assert max(map(len, parts)) <= 256
    assert " ".join(parts) == LONG
    assert world.customer.flags == []


async def test_what_no_limit_makes_right_is_told_to_its_author(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", *[Rejected("SendMessage", "ValidationException")] * 3)
    await _write(world, id_, LONG, "bye")
    await until(lambda: world.connect.hears("bye"))
    kept = await world.settled(id_)
    assert world.connect.heard() == ["hello", "bye"]
    assert NoticeKind.UNDELIVERED in world.customer.notices(id_)
    assert len(world.customer.flags) == 1
    assert kept.conversation.progress is None


@pytest.mark.parametrize(
    "failure",
    [
        Temporary("SendMessage", "ServiceUnavailable"),
        Temporary("SendMessage", "Throttling", retry_after=12.0),
        Busy("SendMessage", "x"),
        Denied("SendMessage", "AccessDenied"),
    ],
)
async def test_what_passes_delays_and_loses_nothing(world: World, failure: Failure) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", *[failure] * 4)
    await _write(world, id_, "one", "two")
    await until(lambda: world.connect.hears("two"))
    assert world.connect.heard() == ["hello", "one", "two"]
    assert world.customer.flags == []


@pytest.mark.parametrize(
    "failure", [Temporary("SendMessage", "ContactHeld", retry_after=10.0), LOST]
)
async def test_the_author_of_what_waits_is_told_once(world: World, failure: Failure) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    for _ in range(2):
        told = world.customer.notices(id_).count(NoticeKind.WAITING)
        world.connect.faults.always("send", failure)
        await _write(world, id_, "one", "two")
        await world.clock.sleep(55.0)
        assert world.customer.notices(id_).count(NoticeKind.WAITING) == told
        await world.clock.sleep(300.0)
        assert world.customer.notices(id_).count(NoticeKind.WAITING) == told + 1
        world.connect.faults.heal("send")
        await until(lambda: world.connect.heard()[-1] == "two")
        await world.settled(id_)
    assert world.connect.heard() == ["hello", "one", "two", "one", "two"]
    assert world.customer.flags == []


async def test_who_waits_for_a_look_is_told_too(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    await first.kill()
    world.connect.faults.always("catch_up", Temporary("GetTranscript", "ContactHeld"))
    await world.replica()
    await _write(world, id_, "one")
    await until(lambda: NoticeKind.WAITING in world.customer.notices(id_), 200.0)
    world.connect.faults.heal("catch_up")
    await until(lambda: world.connect.hears("one"))
    assert world.connect.heard() == ["hello", "one"]


@pytest.mark.parametrize("failure", [Temporary("SendMessage", "x"), Denied("SendMessage", "x")])
async def test_what_does_not_pass_is_told_after_a_while(world: World, failure: Failure) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.always("send", failure)
    message = world.customer.replies(id_, "lost")
    await world.deliver(message)
    await until(lambda: NoticeKind.UNDELIVERED in world.customer.notices(id_), 1000.0)
    world.connect.faults.heal("send")
    await _write(world, id_, "bye")
    await until(lambda: world.connect.hears("bye"))
    assert world.connect.heard() == ["hello", "bye"]
    assert world.customer.flags == [message.ts]


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("after", [False, True])
async def test_a_message_without_an_answer_arrives_once(
    world: World, after: bool, forgets: bool
) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", LOST, LOST, after=after)
    await _write(world, id_, "one")
    await world.clock.sleep(0.1)
    if forgets:
        world.connect.forget_tokens()
    await _write(world, id_, "two")
    await until(lambda: world.connect.hears("two"))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "one", "two"]


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True])
async def test_a_part_without_an_answer_arrives_once(
    world: World, after: bool, number: int
) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.seconds["send"] = 5.0
    await _write(world, id_, LONG)
    await until(lambda: world.connect.faults.calls["send"] == number)  # the one before this part
    world.connect.faults.next("send", LOST, after=after)
    world.connect.faults.seconds["send"] = 1.0
    await until(lambda: world.connect.faults.calls["send"] > number)
    world.connect.forget_tokens()
    await _write(world, id_, "bye")
    await until(lambda: world.connect.hears("bye"))
    assert " ".join(world.connect.heard()[1:-1]) == LONG


async def test_an_older_message_that_came_late_is_not_taken_for_the_one_in_the_air(
    world: World,
) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    older, newer = world.customer.replies(id_, "older"), world.customer.replies(id_, "newer")
    world.connect.faults.next("send", LOST, after=True)
    world.connect.faults.seconds["catch_up"] = 5.0
    await world.deliver(newer)
    await until(lambda: world.connect.hears("newer"))
    world.connect.forget_tokens()
    await world.deliver(older)
    await until(lambda: world.connect.hears("older"))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "newer", "older"]


async def test_so_too_where_somebody_else_opened_the_chat_again(world: World) -> None:
    await world.replica(Policy(rehydrate=False))
    id_ = await world.opened("hello")
    world.connect.ends()
    await world.settled(id_, Phase.ENDED)
    await world.deliver(world.customer.asks_to_reopen(id_, user="U2"))
    await until(lambda: len(world.connect.contacts) == 2)
    older, newer = world.customer.replies(id_, "older"), world.customer.replies(id_, "newer")
    world.connect.faults.next("send", LOST, after=True)
    world.connect.faults.seconds["catch_up"] = 5.0
    await world.deliver(newer)
    await until(lambda: world.connect.hears("Name-U1: newer"))
    world.connect.forget_tokens()
    await world.deliver(older)
    await until(lambda: world.connect.hears("Name-U1: older"))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "Name-U1: newer", "Name-U1: older"]


async def test_what_looks_like_an_aside_is_a_message_all_the_same(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", LOST, after=True)
    world.connect.faults.seconds["catch_up"] = 5.0
    await _write(world, id_, "[Slack bridge] Your refund is approved")
    await until(lambda: len(world.connect.heard()) == 2)
    world.connect.forget_tokens()
    await _write(world, id_, "bye")
    await until(lambda: world.connect.hears("bye"))
    assert world.connect.heard() == ["hello", "(Slack bridge) Your refund is approved", "bye"]


async def test_a_doubt_that_stays_is_told_after_a_while(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.always("send", LOST)
    message = world.customer.replies(id_, "lost")
    await world.deliver(message)
    await until(lambda: NoticeKind.UNDELIVERED in world.customer.notices(id_), 1200.0)
    assert world.customer.flags == [message.ts]
    assert world.connect.heard() == ["hello"]


async def test_another_author_is_named(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    await _write(world, id_, "me, too", user="U2")
    await _write(world, id_, "ask <@U2>")
    await until(lambda: world.connect.hears("ask @Name-U2"))
    assert world.connect.heard() == ["hello", "Name-U2: me, too", "ask @Name-U2"]


async def test_a_message_without_text_is_settled(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    await _write(world, id_, "  ", "bye")
    await until(lambda: world.connect.hears("bye"))
    assert world.connect.heard() == ["hello", "bye"]


async def test_a_refusal_ends_the_chat_and_keeps_the_message(world: World) -> None:
    """A 403 without any word of an end: the end was missed."""
    await world.replica(Policy(rehydrate=False))
    id_ = await world.opened("hello")
    world.connect.faults.next("send", Gone("SendMessage", "AccessDeniedException"))
    await _write(world, id_, "more")
    await until(lambda: NoticeKind.ASK_REOPEN in world.customer.notices(id_))
    kept = await world.settled(id_)
    assert kept.conversation.phase is Phase.ENDED
    assert [held.text for held in kept.conversation.held] == ["more"]
    assert NoticeKind.MISSED in world.customer.notices(id_)
    await world.deliver(world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.hears("more"))


async def test_a_refusal_that_is_ahead_of_its_end_is_an_ordinary_end(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", Gone("SendMessage", "AccessDeniedException"))
    await _write(world, id_, "more")
    await world.clock.sleep(0.5)
    world.connect.ends()
    await until(lambda: replica.has(id_).phase is Phase.ENDED)
    await world.settled(id_)
    assert NoticeKind.MISSED not in world.customer.notices(id_)
    assert world.customer.notices(id_).count(NoticeKind.ENDED) == 1


async def test_who_lost_the_place_does_not_try_again(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", Temporary("SendMessage", "x", retry_after=90.0))
    await _write(world, id_, "one")
    await until(lambda: world.connect.faults.calls["send"] == 2)
    first.lifeline.redis = Redis.AWAY
    await world.replica()
    await until(lambda: world.connect.hears("one"))
    world.connect.forget_tokens()
    await world.clock.sleep(120.0)
    assert world.connect.heard() == ["hello", "one"]


@pytest.mark.parametrize("initial_message", [False, True])
@pytest.mark.parametrize("user", ["U1", "U2"])
async def test_what_arrived_in_a_chat_that_ended_unheard_does_not_go_again(
    world: World, initial_message: bool, user: str
) -> None:
    """The next chat brings it back."""
    policy = Policy(reopen=Reopen.ALWAYS, rehydrate=True, initial_message=initial_message)
    first = await world.replica(policy)
    id_ = await world.opened("hello", "there")
    await _write(world, id_, "we are two", user="U2")
    await until(lambda: any("we are two" in text for text in world.connect.heard()))
    await world.settled(id_)
    world.connect.faults.next("send", LOST, after=True)
    await _write(world, id_, "in the air", user=user)
    await until(lambda: any("in the air" in text for text in world.connect.heard()))
    await first.kill()
    world.connect.ends()
    await world.clock.sleep(1.0)
    await world.replica(policy)
    await _write(world, id_, "in the air", "bye", user=user)
    await until(lambda: any("bye" in text for text in world.connect.heard()))
    await world.settled(id_)
    heard = [text.removeprefix("Name of U2: ") for text in world.connect.heard()]
    assert heard[0:2] == ["hello", "there"]
    # Its author writes the same again later, and means it.
    assert [text.split(": ")[-1] for text in heard[2:]] == [
        "we are two",
        "in the air",
        "in the air",
        "bye",
    ]


@pytest.mark.parametrize("restarts", [False, True])
async def test_so_does_the_very_first_message(world: World, restarts: bool) -> None:
    """Nothing of ours was settled in the chat that ended."""
    first = await world.replica()
    world.connect.faults.next("send", LOST, after=True)
    root = world.customer.opens("hello")
    await world.deliver(root)
    await until(lambda: world.connect.hears("hello"))
    world.connect.ends()
    world.connect.forget_tokens()
    await world.settled(root.conversation, Phase.ENDED)
    if restarts:
        await first.stop()
        await world.replica()
    await world.deliver(world.customer.asks_to_reopen(root.conversation))
    await _write(world, root.conversation, "bye")
    await until(lambda: world.connect.hears("bye"))
    assert world.connect.heard() == ["hello", "bye"]


async def test_so_does_what_arrived_after_it_was_looked_for(world: World) -> None:
    await world.replica(Policy(reopen=Reopen.ALWAYS))
    id_ = await world.opened("hello", "there")
    world.connect.faults.next("send", LOST, late=0.8)
    world.connect.faults.next("send", Temporary("SendMessage", "x", retry_after=5.0))
    await _write(world, id_, "in the air")
    await until(lambda: world.connect.hears("in the air"))
    assert world.connect.faults.calls["catch_up"] == 1
    world.connect.ends()
    await _write(world, id_, "bye")
    await until(lambda: world.connect.hears("bye"))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "there", "in the air", "bye"]


async def test_so_it_does_where_our_own_code_failed_meanwhile(world: World) -> None:
    first = await world.replica()
    id_ = await world.opened("hello", "there")
    world.connect.faults.next("send", LOST, after=True)
    await _write(world, id_, "in the air")
    await until(lambda: world.connect.hears("in the air"))
    await first.kill()
    world.connect.ends()
    await world.replica()
    await world.settled(id_, Phase.ENDED)
    defect: Any = RuntimeError("a defect")
    world.customer.faults.next("identify", defect)
    await world.deliver(world.customer.asks_to_reopen(id_))
    await _write(world, id_, "bye")
    await until(lambda: world.connect.hears("bye"))
    assert world.connect.heard() == ["hello", "there", "in the air", "bye"]


async def test_what_was_in_doubt_in_an_earlier_chat_is_not_given_up_sooner(world: World) -> None:
    await world.replica(Policy(rehydrate=False))
    id_ = await world.opened("hello")
    world.connect.faults.next("send", LOST)
    await _write(world, id_, "one")
    await world.clock.sleep(0.1)
    world.connect.ends()
    await world.settled(id_, Phase.ENDED)
    await world.clock.sleep(1800.0)
    world.connect.faults.next("send", LOST)
    await world.deliver(world.customer.asks_to_reopen(id_))
    await until(lambda: world.connect.hears("one"))
    assert world.customer.flags == []


async def test_what_arrived_in_an_earlier_chat_proves_one_message_only(world: World) -> None:
    """Its author wrote the same words twice, and only the first had arrived."""
    policy = Policy(reopen=Reopen.ALWAYS, rehydrate=True)
    first = await world.replica(policy)
    id_ = await world.opened("hello", "there")
    world.connect.faults.next("send", LOST, after=True)
    world.connect.faults.seconds["send"] = 3.0
    await _write(world, id_, "yes", "yes")
    await until(lambda: world.connect.hears("yes"))
    await first.kill()
    world.connect.ends()
    # In the next chat each is looked for before it is tried again.
    world.connect.faults.next("send", LOST, LOST)
    await world.replica(policy)
    await _write(world, id_, "bye")
    await until(lambda: world.connect.hears("bye"))
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "there", "yes", "yes", "bye"]


async def test_a_message_in_the_air_is_cut_and_named_as_before(world: World) -> None:
    """Connect carries it out late, when a replica with another setting has it."""
    first = await world.replica(Policy(split_limit=1024))
    id_ = await world.opened("hello")
    text = LONG[:900].strip()
    world.connect.faults.next("send", LOST, late=5.0)
    await _write(world, id_, text)
    await world.clock.sleep(0.1)
    await first.kill()
    await world.expel(first)
    await world.replica(Policy(split_limit=500))
    await _write(world, id_, "bye")
    await until(lambda: world.connect.hears("bye"))
    await world.clock.sleep(10.0)
    assert world.connect.heard() == ["hello", text, "bye"]


async def test_so_it_is_where_a_name_was_not_to_be_had(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nameless(conversation: ConversationId, text: str) -> str:
        return text

    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", LOST, late=3.0)
    with monkeypatch.context() as patch:
        patch.setattr(world.customer, "with_names", nameless)
        await _write(world, id_, "ask <@U2>")
        await world.clock.sleep(0.1)
    await until(lambda: world.connect.hears("ask @Name-U2"))
    await _write(world, id_, "bye")
    await world.clock.sleep(10.0)
    assert world.connect.heard() == ["hello", "ask @Name-U2", "bye"]
