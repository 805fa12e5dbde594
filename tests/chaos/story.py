"""All that the sandbox's records know of one conversation, in the order of time: for whoever looks
for the cause of a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bridge.sandbox.connect.items import EVENT
from tests.chaos.watch import Call, Notes
from tests.chaos.words import read
from tests.chaos.world import World

Entry = tuple[float, str]

_LONG = 0.25
"""Shorter stalls are no part of the story."""


def story(world: World, number: int, notes: Notes) -> str:
    """One line for each thing that happened; times as in the timeline."""
    entries = [
        *_thread(world, number),
        *_deliveries(world, number),
        *_posts(world, number),
        *_chats(world, number),
        *_calls(world, number, notes.calls),
        *_stalls(notes),
        *((at, f"                    -- {what}") for at, what in world.timeline.entries),
    ]
    began = world.timeline.began
    return "".join(f"{at - began:9.3f}  {what}\n" for at, what in sorted(entries))


def _brief(text: str) -> str:
    words = read(text)
    if not words:
        return text[:60]
    runs = dict.fromkeys(f"{w.conversation:03d}{w.side}{w.message:04d}" for w in words)
    return f"{' '.join(runs)} ({len(words)} words)"


def _thread(world: World, number: int) -> Iterator[Entry]:
    room, thread = world.rooms[number], world.threads[number]
    for message in list(room.messages.values()):
        if thread in ("", message.root_ts):
            who = "POST " if message.body.get("bot_id") else "wrote"
            yield float(message.ts), f"Slack   {who} {_brief(str(message.body['text']))}"


def _deliveries(world: World, number: int) -> Iterator[Entry]:
    offset = time.time() - time.monotonic()
    room, thread = world.rooms[number], world.threads[number]
    for delivery in world.pair.slack.courier.deliveries:
        event = delivery.payload.get("event") or {}
        root = event.get("thread_ts") or event.get("ts")
        if delivery.channel != room.id or event.get("bot_id") or thread not in ("", root):
            continue
        what = f"{delivery.type} {_brief(str(event.get('text')))}"
        for tried in delivery.attempts:
            yield tried.at + offset, f"event   tried {what}: {tried.failure or 'answered'}"
        if delivery.taken_at is not None:
            yield delivery.taken_at + offset, f"event   TAKEN {what}"


def _posts(world: World, number: int) -> Iterator[Entry]:
    room, thread = world.rooms[number], world.threads[number]
    for call in world.pair.slack.api.requests:
        params = call["params"]
        there = (params.get("thread_ts") or params.get("ts") or "") == thread
        if params.get("channel") == room.id and there:
            outcome = f"{call['status']} {call['error'] or ''} {call['fault'] or ''}"
            yield (
                call["at"],
                f"called  {call['method']} {_brief(str(params.get('text')))} {outcome}",
            )


def _chats(world: World, number: int) -> Iterator[Entry]:
    for chat in world.chats().get(number, []):
        yield chat.contacts[0].initiated_ms / 1000, f"Connect CHAT  {chat.id}"
        for item in chat.items:
            who = item.sender.role if item.sender else "-"
            what = _brief(item.content or (item.content_type or "").removeprefix(EVENT))
            yield item.at_ms / 1000, f"Connect item  {who} {what} {item.id}"


def _calls(world: World, number: int, calls: Sequence[Call]) -> Iterator[Entry]:
    mine = {chat.id for chat in world.chats().get(number, [])}
    for call in calls:
        if call.contact in mine:
            yield call.at, f"called  {call.operation} {_brief(call.content)} {call.status}"


def _stalls(notes: Notes) -> Iterator[Entry]:
    for stall in notes.stalls:
        if (lasted := stall.end - stall.begin) >= _LONG:
            yield stall.begin, f"                    -- the sandbox stands still for {lasted:.1f} s"
