"""Stand-ins for Slack and for Connect: all of both that a running bridge speaks to.

They serve every measured process at once, each under a path of its own, from the event loop that
drives the run, and note when a message leaves one side and when its request reaches the other.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from bench import shapes
from bench.wire import Connection, Refused, text_frame

_OK = b'{"ok":true}'
_CONFLICT = b'{"__type":"ConflictException","Message":"unsupported"}'
_SUBSCRIBE = b'"aws/subscribe"'
_ANSWERS = {
    topic.encode(): text_frame(answer)
    for topic, answer in shapes.FRAME_ANSWERS.items()
    if topic != "aws/subscribe"
}
_SUBSCRIBED = text_frame(shapes.FRAME_ANSWERS["aws/subscribe"])


class World:
    """Slack and Connect as one measured process sees them.

    Without `receipts` this Connect supports no delivered receipts, as among more than two
    participants: whoever tries one gives them up, and their cost is not in what is measured.
    """

    def __init__(self, name: str, origin: str, sockets: str, *, receipts: bool) -> None:
        self._receipts = receipts
        self.base = f"{origin}/{name}"
        self.sockets = f"{sockets.replace('http', 'ws', 1)}/{name}"
        self.calls: Counter[str] = Counter()
        """Requests, by method or operation."""
        self.slack: list[Connection] = []
        self.chats: dict[int, Connection] = {}
        """Subscribed sockets of chats."""
        self.strays = 0
        """Messages that arrived although they were not under way: sent twice."""
        self.written_again = 0
        self._numbers = itertools.count(1)
        self._nonces = itertools.count(1)
        self._under_way: dict[int, Flight] = {}
        self._new_contacts = itertools.count(90_000_000)

    # --- what the driver does --------------------------------------------------------------------

    def write_in_slack(self, index: int, on_done: Callable[[Flight], None]) -> None:
        """A customer writes in conversation `index`."""
        number = next(self._numbers)
        frame = text_frame(shapes.customer_event(number, index))
        self._under_way[number] = Flight(on_done, index, frame)
        self.slack[number % len(self.slack)].send(frame)

    def write_in_connect(self, index: int, on_done: Callable[[Flight], None]) -> None:
        """An agent writes in conversation `index`."""
        number = next(self._numbers)
        frame = text_frame(shapes.agent_frame(number, index))
        self._under_way[number] = Flight(on_done, index)
        self.chats[index].send(frame)

    def write_again(self, seconds: float) -> None:
        """What a customer wrote and nobody acknowledged so long, as Slack does."""
        for number, flight in self._under_way.items():
            if flight.unacknowledged(seconds):
                self.written_again += 1
                self.slack[number % len(self.slack)].send(flight.frame)

    def state(self) -> str:
        """For a person who looks for a fault."""
        waiting = [flight.state() for flight in self._under_way.values()]
        return (
            f"{self.base}: {len(self.slack)} Socket Mode connections, {len(self.chats)} chats, "
            f"{dict(self.calls)}, under way: {'; '.join(waiting[:5])}"
        )

    # --- what the measured process does ----------------------------------------------------------

    def request(self, method: str, head: bytes, body: bytes) -> bytes:
        self.calls[method] += 1
        match method:
            case "chat.postMessage":
                return self._posted(body)
            case "message":
                return self._sent(head, body)
            case "transcript":
                return shapes.transcript(shapes.index_of_bearer(head))
            case "connection":
                return json.dumps(self._connection(shapes.index_of_bearer(head))).encode()
            case "chat":
                return self._started()
            case "event" if not self._receipts:
                raise Refused(409, _CONFLICT)
            case "apps.connections.open":
                return json.dumps({"ok": True, "url": f"{self.sockets}/slack"}).encode()
            case _:
                return shapes.SLACK_ANSWERS.get(method, _OK)

    def _sent(self, head: bytes, body: bytes) -> bytes:
        number = shapes.number_in(body) or 0
        index = shapes.index_of_bearer(head)
        self._part(number, arrived=True)
        self.chats[index].send(text_frame(shapes.echo_frame(number, index)))
        return shapes.sent(number)

    def _posted(self, body: bytes) -> bytes:
        number = shapes.number_in(body)
        index = shapes.index_of_channel(body)
        if number is None:  # a notice
            return shapes.posted(0, index)
        self._part(number, arrived=True)
        socket = self.slack[number % len(self.slack)]
        socket.send(text_frame(shapes.own_event(number, index)))
        return shapes.posted(number, index)

    def _started(self) -> bytes:
        index = next(self._new_contacts)
        return json.dumps(
            {
                "ContactId": shapes.contact_id(index),
                "ParticipantId": shapes.participant_id(index),
                "ParticipantToken": shapes.token("part", index),
                **self._connection(index),
            }
        ).encode()

    def _connection(self, index: int) -> dict[str, object]:
        return shapes.connection(index, next(self._nonces), f"{self.sockets}/chat/{index}")

    def acknowledged(self, frame: bytes) -> None:
        number = shapes.number_of_acknowledged(frame)
        if number is not None:
            self._part(number, arrived=False)

    def _part(self, number: int, *, arrived: bool) -> None:
        flight = self._under_way.get(number)
        if flight is None:
            self.strays += arrived
            return
        if flight.note(arrived=arrived):
            del self._under_way[number]
            flight.on_done(flight)


class Flight:
    """A message under way: it is there when its request has come and its envelope is
    acknowledged (towards Slack: the envelope that tells of the post)."""

    __slots__ = ("_missing", "frame", "index", "on_done", "seconds", "sent_at")

    def __init__(self, on_done: Callable[[Flight], None], index: int, frame: bytes = b"") -> None:
        self.frame = frame
        """The envelope, where it is one that has to be acknowledged."""
        self.on_done = on_done
        self.index = index
        self.seconds = 0.0
        """From leaving one side until its request reached the other."""
        self._missing = {True, False}
        self.sent_at = time.perf_counter()

    def note(self, *, arrived: bool) -> bool:
        """Whether nothing is missing any more."""
        if arrived:
            self.seconds = time.perf_counter() - self.sent_at
        self._missing.discard(arrived)
        return not self._missing

    def unacknowledged(self, seconds: float) -> bool:
        return (
            bool(self.frame)
            and False in self._missing
            and time.perf_counter() - self.sent_at > seconds
        )

    def state(self) -> str:
        """What is still missing."""
        names = {True: "request", False: "acknowledgement"}
        missing = " and ".join(names[one] for one in self._missing)
        age = time.perf_counter() - self.sent_at
        return f"conversation {self.index} waits {age:.0f} s for {missing}"


class _SlackSocket:
    def __init__(self, world: World, connection: Connection) -> None:
        self._world = world
        self._connection = connection
        self.text = world.acknowledged
        world.slack.append(connection)
        connection.send(text_frame(shapes.HELLO))

    def lost(self) -> None:
        self._world.slack.remove(self._connection)


class _ChatSocket:
    def __init__(self, world: World, connection: Connection, index: int) -> None:
        self._world = world
        self._connection = connection
        self._index = index

    def text(self, frame: bytes) -> None:
        if _SUBSCRIBE in frame:
            self._world.chats[self._index] = self._connection
            self._connection.send(_SUBSCRIBED)
            return
        for topic, answer in _ANSWERS.items():
            if topic in frame:
                self._world.calls[topic.decode()] += 1
                self._connection.send(answer)

    def lost(self) -> None:
        if self._world.chats.get(self._index) is self._connection:
            del self._world.chats[self._index]


class StandIns:
    """The servers of all worlds: one for requests, one for WebSockets. With both platforms these are
    hosts apart, so that no socket takes over a connection that has carried requests. Use as an async
    context manager."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._worlds: dict[bytes, World] = {}
        self._servers: list[asyncio.Server] = []
        self._origins: list[str] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for _ in ("requests", "sockets"):
            server = await loop.create_server(
                lambda: Connection(self), "127.0.0.1", 0, backlog=4096, ssl=self._tls
            )
            port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
            self._origins.append(f"{'https' if self._tls else 'http'}://127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    def world(self, name: str, *, receipts: bool = False) -> World:
        """A new world, under a path of this name."""
        world = World(name, *self._origins, receipts=receipts)
        self._worlds[name.encode()] = world
        return world

    def request(self, path: bytes, head: bytes, body: bytes) -> bytes:
        _, name, *_, method = path.partition(b"?")[0].split(b"/")
        return self._worlds[name].request(method.decode(), head, body)

    def socket(self, path: bytes, connection: Connection) -> _SlackSocket | _ChatSocket:
        _, name, *where = path.partition(b"?")[0].split(b"/")
        world = self._worlds[name]
        if where[0] == b"slack":
            return _SlackSocket(world, connection)
        return _ChatSocket(world, connection, int(where[1]))
