"""One conversation at its owner, from its first message to its last."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from bridge.core.errors import Rejected, Temporary, Uncertain
from bridge.core.events import CredentialsRenewed
from bridge.core.model import NoticeKind, Phase
from tests.relay.play import POLICY, greet, play
from tests.relay.virtual import until
from tests.relay.world import Replica, World


async def test_a_conversation_from_its_first_message_to_its_end(world: World) -> None:
    connect, customer = world.connect, world.customer
    greet(world)
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
    kept = await world.settled(id_, Phase.ENDED)
    assert connect.heard() == ["hello", "there", "thanks"]
    assert customer.words(id_) == ["Welcome 1", "one", "two"]
    assert customer.notices(id_) == [NoticeKind.CONNECTING, NoticeKind.JOINED, NoticeKind.ENDED]
    assert kept.conversation.phase is Phase.ENDED
    assert len(customer.retired) == 1  # the button


async def test_everything_that_can_happen_without_a_crash(world: World) -> None:
    greet(world)
    await world.replica(POLICY)
    await play(world)


async def test_conversations_do_not_wait_for_each_other(world: World) -> None:
    world.connect.faults.seconds["send"] = 30.0
    await world.replica()
    roots = [world.customer.opens(f"hello {number}") for number in range(20)]
    begun = world.clock.boottime()
    await world.deliver(*roots)
    await until(lambda: len(world.connect.heard()) == 20)
    assert world.clock.boottime() - begun < 60.0


def _commands(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes to Redis from here on."""
    sent: list[str] = []

    def count(whose: Any, method: str) -> None:
        execute = getattr(whose, method)

        async def counted(*arguments: Any, **options: Any) -> Any:
            sent.append(str(arguments[0]))
            return await execute(*arguments, **options)

        monkeypatch.setattr(whose, method, counted)

    count(replica.redis._pipe, "execute")
    count(replica.redis._client, "execute_command")
    return sent


async def test_a_message_to_the_agent_takes_two_round_trips(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    sent, calls = _commands(replica, monkeypatch), len(replica.lifeline.calls)
    await world.deliver(world.customer.replies(id_, "there"))
    await until(lambda: world.connect.hears("there"))
    await world.clock.sleep(0.1)
    assert [one for one in replica.lifeline.calls[calls:] if one.startswith("store.")] == [
        "store.accept",
        "store.settle",
    ]
    assert sent == ["EVALSHA", "EVALSHA"]


async def test_a_message_to_the_customer_takes_two_round_trips(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    world.connect.says("one")
    await until(lambda: world.customer.reads(id_, "one"))
    sent, calls = _commands(replica, monkeypatch), len(replica.lifeline.calls)
    world.connect.says("two")
    await until(lambda: world.customer.reads(id_, "two"))
    await world.clock.sleep(0.1)
    assert [one for one in replica.lifeline.calls[calls:] if one.startswith("store.")] == [
        "store.mark",
        "store.settle",
    ]
    assert sent == ["EVALSHA", "EVALSHA"]


async def test_no_write_carries_what_another_write_is_to_settle(world: World) -> None:
    """Three writes queue: a post's, new credentials, a message's. A crash after the second must not
    leave a state that knows of the message beside a lane that still holds it."""
    replica = await world.replica()
    id_ = await world.opened("hello")
    replica.lifeline.seconds["store.settle"] = 2.0
    world.connect.says("one")
    await until(lambda: world.customer.reads(id_, "one"))
    replica.lane(id_).hear(CredentialsRenewed("new", 1.0))
    await world.deliver(world.customer.replies(id_, "there"))
    await until(lambda: world.connect.hears("there"))
    await world.clock.sleep(3.0)
    await replica.kill()
    kept = await world.kept(id_)
    assert kept.conversation.contact is not None
    assert kept.conversation.contact.connection_token == "new"
    assert len(kept.lane) == 1
    world.connect.forget_tokens()
    await world.replica()
    await world.settled(id_)
    assert world.connect.heard() == ["hello", "there"]


async def test_a_lane_survives_what_nobody_foresaw(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.replica()
    id_ = await world.opened("hello")

    async def defect(*_: object) -> str:
        monkeypatch.undo()
        raise RuntimeError

    monkeypatch.setattr(world.customer, "with_names", defect)
    await world.deliver(world.customer.replies(id_, "one"), world.customer.replies(id_, "two"))
    await until(lambda: world.connect.hears("two"))
    assert world.connect.heard() == ["hello", "one", "two"]


async def test_what_a_chat_says_is_logged_under_its_conversation(world: World) -> None:
    replica = await world.replica()
    id_ = await world.opened("hello")
    structlog.contextvars.clear_contextvars()
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as lines:
        world.connect.ends()
        await until(lambda: id_ not in replica.worker.lanes)
    ended = [line for line in lines if line["event"] == "phase_changed"]
    assert [line["conversation"] for line in ended] == [str(id_)]


async def test_a_warning_sign_that_slack_limits_comes_later(world: World) -> None:
    await world.replica()
    id_ = await world.opened("hello")
    world.connect.faults.next("send", *[Rejected("SendMessage", "x")] * 3)
    limited = Temporary("reactions.add", "ratelimited", retry_after=30.0)
    world.customer.faults.next("flag", limited, Uncertain("reactions.add", "timeout"))
    message = world.customer.replies(id_, "lost")
    await world.deliver(message)
    await until(lambda: world.customer.flags == [message.ts])
    assert world.customer.faults.calls["flag"] == 3
