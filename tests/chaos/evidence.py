"""The sandbox's records as plain values: what was written, what stands where, what knew whom.

Monotonic times of the stand-ins are turned into Unix seconds.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.items import Item
from bridge.sandbox.connect.sockets import Socket
from tests.chaos.people import Wrote
from tests.chaos.plan import AGENT, CUSTOMER
from tests.chaos.verdict import CROSSING, FOREVER, HEARD, Said, Shown
from tests.chaos.watch import Call, Notes, Stall
from tests.chaos.words import Word, read
from tests.chaos.world import World

_SHOWN_LATE = 0.05
"""An item whose transcript entry was held back longer than this is late in the transcript."""

_WAKING = 2.0
"""Seconds that a replica takes, after it stood still, to let go of what is another's by now."""


def said(world: World, wrote: Sequence[Wrote]) -> list[Said]:
    """Every message that was written, with what is known of when it reached the bridge."""
    taken, sockets, freezes = _taken(world), _sockets(world), _freezes(world)
    return [
        _customers(world, one, taken)
        if one.line.side == CUSTOMER
        else _agents(one, sockets, freezes)
        for one in wrote
    ]


def shown(world: World, notes: Notes) -> list[Shown]:
    """Every item of a customer and every post of the app, in the order in which they stand."""
    found = [*_items(world, notes.calls), *_posts(world, notes.stalls)]
    return [replace(one, left=could_have_left(one.out, notes.stalls)) for one in found]


def could_have_left(at: float, stalls: Sequence[Stall]) -> float:
    """The earliest that a call can have left which was dealt with at a moment. What came while the
    sandbox stood still was dealt with when it went on, or a little later."""
    for stall in reversed(stalls):
        if stall.begin <= at <= stall.end + CROSSING:
            at = stall.begin
    return at


class Arrivals:
    """What is still missing, found by looking at new items and posts only: reading everything takes
    seconds, in which the sandbox would stand still."""

    def __init__(self, world: World, wrote: Sequence[Wrote]) -> None:
        self._world = world
        self._looked_at: dict[str, int] = {}
        self.missing = {
            Word(one.line.talk, one.line.side, one.line.number, part)
            for one in wrote
            for part in range(one.line.words)
        }
        self.stands = 0
        """How many items and posts there are."""

    def look(self) -> None:
        """Strike out what has come since."""
        for chat in self._world.pair.connect.world.chats:
            self._strike(
                chat.id,
                [item.content or "" for item in chat.items if item.sender is chat.customer],
            )
        for room in {room.id: room for room in self._world.rooms.values()}.values():
            posts = [m for m in room.messages.values() if m.body.get("bot_id")]
            self._strike(room.id, [str(message.body["text"]) for message in posts])

    def _strike(self, where: str, texts: Sequence[str]) -> None:
        begin = self._looked_at.get(where, 0)
        self._looked_at[where] = len(texts)
        self.stands += len(texts) - begin
        for text in texts[begin:]:
            self.missing.difference_update(read(text))


# --- towards the agent -----------------------------------------------------------------------------


def _taken(world: World) -> Mapping[tuple[str, str], float]:
    """When a message, by channel and ts, was first acknowledged."""
    offset = time.time() - time.monotonic()
    found: dict[tuple[str, str], float] = {}
    for delivery in world.pair.slack.courier.deliveries:
        if delivery.type != "message" or delivery.taken_at is None:
            continue
        key = str(delivery.channel), str(delivery.payload["event"].get("ts"))
        found[key] = min(found.get(key, FOREVER), delivery.taken_at + offset)
    return found


def _customers(world: World, one: Wrote, taken: Mapping[tuple[str, str], float]) -> Said:
    line, room = one.line, world.rooms[one.line.talk]
    at = taken.get((room.id, one.id))
    spans = () if at is None else ((at, FOREVER),)
    flagged = bool(room.messages[one.id].body.get("reactions"))
    return Said(
        line.talk, line.side, line.number, line.words, float(one.id), spans, flagged=flagged
    )


def _items(world: World, calls: Sequence[Call]) -> Iterator[Shown]:
    first = _first(
        (call.at, read(call.content)) for call in calls if call.operation == "SendMessage"
    )
    sockets = _sockets(world)
    for number, chats in world.chats().items():
        for chat in chats:
            for item in chat.items:
                if item.sender is chat.customer and item.content:
                    words, at = read(item.content), item.at_ms / 1000
                    out = min((first.get(word, at) for word in words), default=at)
                    unheard = _unheard(chat, item, _told(item, sockets.get(chat.id, [])))
                    out = min(out, at)
                    yield Shown(number, CUSTOMER, at, out, words, unheard=unheard, chat=chat.id)


def _first(calls: Iterator[tuple[float, tuple[Word, ...]]]) -> Mapping[Word, float]:
    """When each word first went out."""
    found: dict[Word, float] = {}
    for at, words in calls:
        for word in words:
            found[word] = min(found.get(word, FOREVER), at)
    return found


# --- towards the customer --------------------------------------------------------------------------


def _sockets(world: World) -> Mapping[str, list[Socket]]:
    """Every socket that there was, by the chat's id."""
    hub = world.pair.connect._hub
    found: dict[str, list[Socket]] = {}
    for socket in (*hub.past, *hub.of()):
        found.setdefault(socket.chat.id, []).append(socket)
    return found


def _agents(one: Wrote, sockets: Mapping[str, list[Socket]], freezes: Sequence[Stall]) -> Said:
    line, chat = one.line, one.chat
    item = chat.find(one.id) if chat else None
    if chat is None or item is None:
        raise LookupError(f"an item that the sandbox does not have: {one}")
    offset = time.time() - time.monotonic()
    at = item.at_ms / 1000
    late = item.readable_at + offset - at > _SHOWN_LATE
    told = _told(item, sockets.get(chat.id, []))
    spans = [(begin + offset, end + offset) for begin, end in told]
    spans = [span for span in spans if not _to_a_frozen_replica(span, freezes)]
    if not late:
        spans = [(at, FOREVER)]
    elif reads := [at for at in item.reads if not _by_a_waking_replica(at + offset, freezes)]:
        spans.append((reads[0] + offset, FOREVER))
    return Said(
        line.talk,
        line.side,
        line.number,
        line.words,
        at,
        tuple(spans),
        unheard=_unheard(chat, item, told),
    )


def _freezes(world: World) -> Sequence[Stall]:
    """When replicas stood still, each for longer than its lease."""
    found: list[Stall] = []
    for at, what in world.timeline.entries:
        if what.startswith("SIGSTOP {"):
            found.append(Stall(at, FOREVER))
        elif what == "SIGSTOP is over":
            found[-1] = Stall(found[-1].begin, at)
    return found


def _by_a_waking_replica(at: float, freezes: Sequence[Stall]) -> bool:
    """Whether a transcript may have been read by a replica that stood still: it asks what it was about
    to ask, while its places are another's, who does not hear of it."""
    return any(freeze.end <= at <= freeze.end + _WAKING for freeze in freezes)


def _to_a_frozen_replica(span: tuple[float, float], freezes: Sequence[Stall]) -> bool:
    """Whether the socket that was told of an item then may have been one's that stood still: it is
    closed when its owner finds out."""
    begin, end = span
    return any(
        freeze.begin <= begin <= freeze.end and end <= freeze.end + _WAKING for freeze in freezes
    )


def _told(item: Item, sockets: Sequence[Socket]) -> list[tuple[float, float]]:
    """From when until when sockets were open that were told of an item."""
    return [
        (socket.told[item.id], socket.closed_at) for socket in sockets if item.id in socket.told
    ]


def _unheard(chat: Chat, item: Item, told: Sequence[tuple[float, float]]) -> bool:
    """Whether the chat ended before anybody could know of the item."""
    if chat.ended_at is None:
        return False
    heard = any(end - begin >= HEARD for begin, end in told)
    read = bool(item.reads) and item.reads[0] < chat.ended_at
    return not heard and not read


def _posts(world: World, stalls: Sequence[Stall]) -> Iterator[Shown]:
    posts = [r for r in world.pair.slack.api.requests if r["method"] == "chat.postMessage"]
    first = _first((r["at"], read(str(r["params"].get("text")))) for r in posts)
    arrived = {(r["params"].get("channel"), r.get("ts")): r["at"] for r in posts if r.get("ts")}
    bots = {i.bot_id for i in world.pair.slack.world.installations.values()}
    for number, thread in world.threads.items():
        room = world.rooms[number]
        for message in list(room.messages.values()):
            if message.body.get("bot_id") not in bots or (message.thread_ts or "") != thread:
                continue
            at = float(message.ts)
            carried = at - could_have_left(arrived.get((room.id, message.ts), at), stalls)
            # A post may carry several messages, of which one was tried alone before.
            for _, several in itertools.groupby(read(str(message.body["text"])), _message):
                words = tuple(several)
                out = min(first.get(word, at) for word in words)
                yield Shown(number, AGENT, at, min(out, at), words, carried)


def _message(word: Word) -> tuple[int, str, int]:
    return word[:3]


# --- conversations and contacts ----------------------------------------------------------------------


def orphans(world: World) -> tuple[list[str], int]:
    """Contacts and conversations that have not each other, in words; and how many contacts died (or
    wait to die) without ever having been connected.

    Every contact that is open belongs to a thread that began, and is the only one there. Every
    thread that began has a contact: an open one, or one that ended.
    """
    chats = world.chats()
    known = {chat.id for several in chats.values() for chat in several}
    found = []
    unconnected = 0
    for chat in world.pair.connect.world.chats:
        if chat.state == "waiting_for_customer" or (
            chat.contact.reason == "CUSTOMER_CONNECTION_NOT_ESTABLISHED"
        ):
            unconnected += 1
        elif chat.id not in known:
            found.append(f"contact {chat.id} belongs to no conversation: {chat.attributes}")
    for number in sorted(world.threads):
        mine = [c for c in chats.get(number, []) if c.state != "waiting_for_customer"]
        live = [chat.id for chat in mine if chat.state != "ended"]
        if not mine:
            found.append(f"conversation {number} has no contact")
        if len(live) > 1:
            found.append(f"conversation {number} has several contacts: {live}")
    return found, unconnected


def stray_posts(world: World) -> list[str]:
    """Posts of agents' words that stand in a channel but in no thread that began."""
    bots = {i.bot_id for i in world.pair.slack.world.installations.values()}
    places = {(world.rooms[n].id, thread) for n, thread in world.threads.items()}
    return [
        f"post {message.ts} in {room.id}: {read(str(message.body['text']))[:1]}"
        for room in world.pair.slack.world.channels.values()
        for message in list(room.messages.values())
        if message.body.get("bot_id") in bots
        and read(str(message.body["text"]))
        and (room.id, message.thread_ts or "") not in places
    ]
