"""The sandbox's records as evidence, without any service: what nobody carries across is missing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.sandbox.both import sandbox
from bridge.sandbox.connect.chat import Chat, Opening
from bridge.sandbox.connect.items import PLAIN
from bridge.sandbox.slack.workspace import Draft
from tests.chaos import evidence
from tests.chaos.people import Wrote
from tests.chaos.plan import QUICK, Line, Talk, draw
from tests.chaos.verdict import judge
from tests.chaos.watch import Call, Notes, Stall
from tests.chaos.words import written
from tests.chaos.world import Redis, Timeline, World, furnish

LINE = Line(0.0, 0, "c", 0, 3)
ANSWER = Line(0.0, 0, "a", 0, 3)
OPENING = Opening("i", "f", "Ana", frozenset({PLAIN}), 1000.0, "COMPLETE")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    plan = replace(draw(1, QUICK), talks=[Talk(0, "support", 0, 0.0)])
    async with sandbox() as pair:
        world = World(plan, tmp_path, pair, Redis(tmp_path), Timeline(tmp_path / "timeline"))
        furnish(world)
        yield world


def text(line: Line) -> str:
    return written(line.talk, line.side, line.number, line.words)


def ask(world: World) -> Wrote:
    """The customer opens the thread."""
    room, author = world.rooms[0], world.authors[0]
    message = world.pair.slack.workspace.say(room, author, text(LINE))
    world.threads[0] = message.ts
    return Wrote(LINE, message.ts)


def open_chat(world: World) -> Chat:
    attributes = {"slack_channel": world.rooms[0].id, "slack_thread": world.threads[0]}
    chat = world.pair.connect.world.start_chat(OPENING, attributes)
    chat.customer_connected()
    chat._run_flow()
    chat.accept("Mina")
    return chat


def answer(chat: Chat) -> Wrote:
    return Wrote(ANSWER, chat.add("MESSAGE", PLAIN, chat.agent, text(ANSWER)).id, chat)


def post(world: World, words: str, thread: str) -> None:
    installation = next(iter(world.pair.slack.world.installations.values()))
    draft = Draft(words, thread_ts=thread)
    world.pair.slack.workspace.post(installation, world.rooms[0], draft)


async def test_what_was_never_taken_nor_sent_is_lost(world: World) -> None:
    asked = ask(world)
    [said] = evidence.said(world, [asked])
    assert said.spans == ()
    assert judge([said], evidence.shown(world, Notes())).count("lost") == 1
    assert evidence.orphans(world) == (["conversation 0 has no contact"], 0)


async def test_what_is_flagged_is_refused(world: World) -> None:
    asked = ask(world)
    message = world.rooms[0].messages[asked.id]
    bot = next(iter(world.pair.slack.world.installations.values())).bot_user
    world.pair.slack.workspace.react(message, bot, "warning")
    verdict = judge(evidence.said(world, [asked]), evidence.shown(world, Notes()))
    assert (verdict.failures, verdict.apart) == ([], {"refused": 1})


async def test_an_acknowledgement_says_since_when_we_know(world: World) -> None:
    asked = ask(world)
    [delivery] = world.pair.slack.courier.deliveries
    delivery.taken_at = time.monotonic()
    [said] = evidence.said(world, [asked])
    assert said.reached(time.time() + 1.0)
    assert not said.reached(time.time() - 1.0)


async def test_both_ways(world: World) -> None:
    asked = ask(world)
    chat = open_chat(world)
    chat.add("MESSAGE", PLAIN, chat.customer, text(LINE))
    answered = answer(chat)
    post(world, text(ANSWER), world.threads[0])
    sent = Call(time.time() - 5.0, "SendMessage", chat.id, None, text(LINE))
    shown = evidence.shown(world, Notes(calls=[sent]))
    assert [one.out for one in shown if one.side == "c"] == [sent.at]
    verdict = judge(evidence.said(world, [asked, answered]), shown)
    assert verdict.failures == []
    assert evidence.orphans(world) == ([], 0)


@pytest.mark.parametrize(("stalls", "seconds"), [((), 1.0), ((Stall(-2.0, 0.2),), 3.0)])
async def test_a_post_is_carried_from_when_it_can_have_left(
    world: World, stalls: tuple[Stall, ...], seconds: float
) -> None:
    ask(world)
    post(world, text(ANSWER), world.threads[0])
    [posted] = [ts for ts in world.rooms[0].messages if ts != world.threads[0]]
    arrived = float(posted) - 1.0
    params = {"channel": world.rooms[0].id, "text": text(ANSWER)}
    call = {"method": "chat.postMessage", "at": arrived, "params": params, "ts": posted}
    world.pair.slack.api.requests.append(call)
    stood_still = [Stall(arrived + one.begin, arrived + one.end) for one in stalls]
    [shown] = evidence.shown(world, Notes(stalls=stood_still))
    assert shown.carried == pytest.approx(seconds)


async def test_of_a_post_with_two_messages_each_goes_out_when_it_was_tried(world: World) -> None:
    ask(world)
    later = replace(ANSWER, number=1)
    post(world, f"{text(ANSWER)}\n\n{text(later)}", world.threads[0])
    [posted] = [float(ts) for ts in world.rooms[0].messages if ts != world.threads[0]]
    params = {"channel": world.rooms[0].id, "text": text(ANSWER)}
    alone = {"method": "chat.postMessage", "at": posted - 2.0, "params": params}
    world.pair.slack.api.requests.append(alone)
    shown = evidence.shown(world, Notes())
    assert [(one.words[0].message, one.out) for one in shown] == [(0, posted - 2.0), (1, posted)]


async def test_a_post_in_no_thread_that_began_is_astray(world: World) -> None:
    ask(world)
    post(world, text(ANSWER), "")
    assert len(evidence.stray_posts(world)) == 1


async def test_a_second_open_contact_is_an_orphan(world: World) -> None:
    ask(world)
    open_chat(world)
    open_chat(world)
    [found], _ = evidence.orphans(world)
    assert found.startswith("conversation 0 has several contacts")


async def test_a_contact_of_no_thread_is_an_orphan(world: World) -> None:
    ask(world)
    open_chat(world)
    world.threads[0] = "1.0"
    found, _ = evidence.orphans(world)
    assert [one.split(": ")[0].split(" ")[0] for one in found] == ["contact", "conversation"]


async def test_a_contact_that_never_connected_is_apart(world: World) -> None:
    ask(world)
    open_chat(world)
    attributes = {"slack_channel": world.rooms[0].id, "slack_thread": world.threads[0]}
    world.pair.connect.world.start_chat(OPENING, attributes)
    assert evidence.orphans(world) == ([], 1)


async def test_what_was_said_to_nobody_in_a_chat_that_ended_is_unheard(world: World) -> None:
    ask(world)
    chat = open_chat(world)
    answered = answer(chat)
    assert not evidence.said(world, [answered])[0].unheard
    chat.end("AGENT_DISCONNECT")
    assert evidence.said(world, [answered])[0].unheard
    item = chat.find(answered.id)
    assert item is not None
    assert chat.ended_at is not None
    item.reads = [chat.ended_at + 1.0]  # in the chat that continues it
    assert evidence.said(world, [answered])[0].unheard
    item.reads = [chat.ended_at - 1.0]
    assert not evidence.said(world, [answered])[0].unheard


async def test_an_item_late_in_the_transcript_is_known_when_it_is_read(world: World) -> None:
    ask(world)
    chat = open_chat(world)
    answered = answer(chat)
    assert evidence.said(world, [answered])[0].reached(time.time() + 1.0)
    item = chat.find(answered.id)
    assert item is not None
    item.readable_at += 2.0
    assert not evidence.said(world, [answered])[0].reached(time.time() + 1.0)
    item.reads = [time.monotonic()]
    assert evidence.said(world, [answered])[0].reached(time.time() + 1.0)


async def test_what_a_replica_reads_when_it_wakes_up_is_known_to_nobody(world: World) -> None:
    ask(world)
    chat = open_chat(world)
    answered = answer(chat)
    item = chat.find(answered.id)
    assert item is not None
    item.readable_at += 2.0
    world.timeline.note("SIGSTOP {'replica': 0}")
    world.timeline.note("SIGSTOP is over")
    item.reads = [time.monotonic() + 0.5]
    assert not evidence.said(world, [answered])[0].reached(time.time() + 9.0)
    item.reads.append(time.monotonic() + 3.5)
    assert not evidence.said(world, [answered])[0].reached(time.time() + 3.4)
    assert evidence.said(world, [answered])[0].reached(time.time() + 3.6)


@pytest.mark.parametrize(
    ("begin", "end", "frozen"),
    [
        (4.0, 12.0, False),
        (5.0, 9.0, True),
        (8.0, 11.9, True),
        (8.0, 12.1, False),
        (10.1, 11.0, False),
    ],
)
def test_what_a_frozen_replica_was_told_is_known_to_nobody(
    begin: float, end: float, frozen: bool
) -> None:
    freezes = [Stall(1.0, 2.0), Stall(5.0, 10.0)]
    assert evidence._to_a_frozen_replica((begin, end), freezes) is frozen


@pytest.mark.parametrize(
    ("dealt_with", "left"),
    [
        (9.9, 9.9),
        (10.0, 10.0),
        (11.0, 10.0),
        (12.2, 10.0),
        (12.3, 12.3),
        (14.1, 10.0),
        (20.0, 20.0),
    ],
)
def test_what_came_in_a_stall_was_dealt_with_after_it(dealt_with: float, left: float) -> None:
    stalls = [Stall(1.0, 2.0), Stall(10.0, 12.0), Stall(12.2, 14.0)]
    stalls = stalls if dealt_with > 13.0 else stalls[:2]
    assert evidence.could_have_left(dealt_with, stalls) == left
