"""The participant WebSocket: subscription, heartbeats, frames, and their faults."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.clock import iso
from bridge.sandbox.connect.requests import RequestLog
from bridge.sandbox.connect.strikes import abandon, strike
from bridge.sandbox.connect.wire import decode
from bridge.sandbox.connect.world import World
from bridge.sandbox.faults import Fault

OPENING = "OpenSocket"
"""Name of the handshake, for faults and the request log."""
HANDSHAKE_ERRORS = {"throttle": 429, "error": 500, "reject": 403}
CHAT_TOPIC = "aws/chat"
FRAME_FAULTS = ("duplicate_frames", "delay_frames", "reorder_frames", "lose_frames")
KEPT = 10_000
CLOSE_SECONDS = 1.0
"""How long a client may take to answer a closing handshake."""


@dataclass(frozen=True)
class Closing:
    """The end of a socket: cleanly with a code, or the connection just breaks (None)."""

    code: int | None = None


@dataclass(eq=False)
class Socket:
    """One open socket of a customer."""

    chat: Chat
    ws: web.WebSocketResponse
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    outbox: asyncio.Queue[str | Closing] = field(default_factory=asyncio.Queue)
    subscribed: bool = False
    silent: bool = False
    frames_left: int | None = None
    """Chat frames until a `close` fault closes the socket."""
    close_code: int | None = None
    frames_sent: int = 0
    last_heartbeat: str | None = None
    told: dict[str, float] = field(default_factory=dict)
    """When the frame of each item was put on it (monotonic), by item id."""
    closed_at: float = float("inf")
    """Monotonic."""

    def summary(self) -> dict[str, Any]:
        """For the desk."""
        return {
            "id": self.id,
            "contact": self.chat.id,
            "subscribed": self.subscribed,
            "silent": self.silent,
            "frames_sent": self.frames_sent,
            "last_heartbeat": self.last_heartbeat,
        }


class SocketHub:
    """All open sockets."""

    def __init__(self, world: World, log: RequestLog) -> None:
        self._world = world
        self._log = log
        self._sockets: list[Socket] = []
        self.past: deque[Socket] = deque(maxlen=KEPT)
        """The newest sockets that were open once, for whoever asks what the customer heard."""
        self._held: dict[str, list[Callable[[], None]]] = {}
        """By chat: frames that wait for the next one (`reorder_frames`)."""
        world.send = self.publish

    def of(self, chat: Chat | None = None) -> list[Socket]:
        """The open sockets of a chat, or all."""
        return [each for each in self._sockets if chat is None or each.chat is chat]

    # --- the service speaks --------------------------------------------------------------

    def publish(self, chat: Chat, body: dict[str, Any]) -> None:
        """Send an item's frame to all subscribed sockets of the chat, as the faults allow."""
        item_id = str(body["Id"])
        frame = json.dumps(
            {
                "topic": CHAT_TOPIC,
                "contentType": "application/json",
                "content": json.dumps(body, ensure_ascii=False),
            },
            ensure_ascii=False,
        )
        if not any(each.subscribed for each in self.of(chat)):
            return
        fault = self._world.faults.strike("socket", FRAME_FAULTS, {"contact": chat.id})
        kind = fault.kind if fault else ""
        if fault is not None and kind == "delay_frames":
            self._world.timers.after(fault.seconds(), lambda: self._deliver(chat, item_id, frame))
        elif fault is not None and kind == "reorder_frames":
            self._hold(chat, item_id, frame, fault.seconds())
        elif kind != "lose_frames":
            self._deliver(chat, item_id, frame)
            if kind == "duplicate_frames":
                self._deliver(chat, item_id, frame)
            for release in self._held.pop(chat.id, []):
                release()

    def push(self, chat: Chat, frame: str) -> int:
        """Send a raw text to all sockets of a chat. Answers how many there are."""
        sockets = self.of(chat)
        for each in sockets:
            each.outbox.put_nowait(frame)
        return len(sockets)

    def drop(self, chat: Chat, code: int | None = None) -> int:
        """End all sockets of a chat. Answers how many there were."""
        sockets = self.of(chat)
        for each in sockets:
            each.outbox.put_nowait(Closing(code))
        return len(sockets)

    async def stop(self) -> None:
        """Close all sockets and wait until they are."""
        for each in self.of():
            each.outbox.put_nowait(Closing(WSCloseCode.GOING_AWAY))
        await self._world.wait_until(lambda: not self._sockets, 2 * CLOSE_SECONDS)

    def _hold(self, chat: Chat, item_id: str, frame: str, seconds: float) -> None:
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._deliver(chat, item_id, frame)

        self._held.setdefault(chat.id, []).append(release)
        self._world.timers.after(seconds, release)

    def _deliver(self, chat: Chat, item_id: str, frame: str) -> None:
        for each in self.of(chat):
            if not each.subscribed or self._is_silent(each):
                continue
            if each.frames_left is None:
                fault = self._world.faults.strike("socket", {"close"}, {"contact": chat.id})
                each.frames_left = int(fault.options.get("frames", 0)) if fault else None
                each.close_code = fault.options.get("code") if fault else None
            if each.frames_left != 0:
                each.outbox.put_nowait(frame)
                each.frames_sent += 1
                each.told.setdefault(item_id, self._world.clock.monotonic())
            if each.frames_left is not None:
                each.frames_left = max(each.frames_left - 1, 0)
            if each.frames_left == 0:
                each.outbox.put_nowait(Closing(each.close_code))

    def _is_silent(self, socket: Socket) -> bool:
        if not socket.silent:
            fault = self._world.faults.strike("socket", {"silent"}, {"contact": socket.chat.id})
            socket.silent = fault is not None
        return socket.silent

    # --- the customer's client speaks ----------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """GET /socket: one socket from opening to close."""
        value = request.query.get("token", "")
        record = self._log.begin(iso(self._world.clock.wall_ms()), OPENING)
        known = self._world.tokens.known(value)
        record.contact_id = known.chat_id if known else None
        context = {"contact": record.contact_id or ""}
        fault = await strike(self._world.faults, OPENING, record, context)
        if fault is not None and fault.kind in ("drop", "no_answer"):
            return abandon(request)
        chat = self._admitted(value)
        if fault is not None or chat is None:
            record.status = _handshake_error(fault)
            return web.Response(status=record.status)
        record.status = 101
        ws = web.WebSocketResponse(timeout=CLOSE_SECONDS)
        await ws.prepare(request)
        socket = Socket(chat, ws)
        self._sockets.append(socket)
        chat.customer_connected()
        self._world.notify()
        reader = asyncio.create_task(self._read(socket))
        reader.add_done_callback(lambda _: socket.outbox.put_nowait(Closing(WSCloseCode.OK)))
        try:
            closing = await self._write(socket)
        finally:
            self._sockets.remove(socket)
            socket.closed_at = self._world.clock.monotonic()
            self.past.append(socket)
            self._world.notify()
            # aiohttp cuts the connection instead of awaiting the client's half of the closing
            # handshake where another task still reads.
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        if closing.code is not None:
            await ws.close(code=closing.code)
        elif request.transport is not None:
            request.transport.abort()
        return ws

    def _admitted(self, value: str) -> Chat | None:
        """The chat whose URL this is, if one more socket may open on it."""
        token = self._world.tokens.valid(value, "socket_url")
        chat = self._world.chat_of(token.chat_id) if token else None
        if chat is None or chat.state == "ended":
            return None
        full = len(self.of(chat)) >= self._world.settings.sockets_per_participant
        return None if full else chat

    async def _write(self, socket: Socket) -> Closing:
        """Send what is in the outbox, until the socket is to end."""
        try:
            async with asyncio.timeout(self._world.settings.socket_seconds):
                while not isinstance(frame := await socket.outbox.get(), Closing):
                    await socket.ws.send_str(frame)
        except TimeoutError:
            return Closing(WSCloseCode.GOING_AWAY)
        except ConnectionError:
            return Closing()
        return frame

    async def _read(self, socket: Socket) -> None:
        async for message in socket.ws:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            if self._is_silent(socket):
                continue
            reply = self._answer(socket, message.data)
            socket.outbox.put_nowait(json.dumps(reply))

    def _answer(self, socket: Socket, data: str | bytes) -> dict[str, Any]:
        try:
            frame = decode(data)
        except ValueError:
            frame = {}
        topic = frame.get("topic")
        if topic == "aws/heartbeat":
            socket.last_heartbeat = iso(self._world.clock.wall_ms())
            return {"topic": topic}
        if topic == "aws/ping":
            return {"topic": topic, "statusCode": 200, "statusContent": "OK"}
        if topic in ("aws/subscribe", "aws/unsubscribe"):
            return self._subscribe(socket, topic, frame.get("content"))
        return {"message": "Forbidden", "connectionId": socket.id, "requestId": uuid.uuid4().hex}

    def _subscribe(self, socket: Socket, topic: str, content: Any) -> dict[str, Any]:
        topics = content.get("topics") if isinstance(content, dict) else None
        if topics != [CHAT_TOPIC]:
            return {"topic": topic, "content": {"status": "failure", "topics": topics or []}}
        socket.subscribed = topic == "aws/subscribe"
        self._world.notify()
        return {"topic": topic, "content": {"status": "success", "topics": topics}}


def _handshake_error(fault: Fault | None) -> int:
    if fault is None:
        return 403
    return int(fault.options.get("status", HANDSHAKE_ERRORS[fault.kind]))
