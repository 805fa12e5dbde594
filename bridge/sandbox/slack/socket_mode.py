"""Socket Mode: tickets, sockets, envelopes and their acknowledgements (docs: Using Socket Mode)."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from bridge.sandbox.faults import FaultPlan
from bridge.sandbox.slack.delivery import NO_RECEIVER, Delivery
from bridge.sandbox.slack.model import Json
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.world import World

DISCONNECT_REASONS = ("warning", "refresh_requested", "link_disabled", "too_many_websockets")
DEBUG_RECONNECT_SECONDS = 360.0
MISSED_PONGS = 4
DISMISSAL_SECONDS = 2.0
HOST = "applink-sandbox"


@dataclass(eq=False)
class Socket:
    """One connected client."""

    id: str
    ws: web.WebSocketResponse
    transport: asyncio.Transport | None
    lifetime: float
    opened: float = field(default_factory=time.monotonic)
    silent: bool = False
    pings_unanswered: int = 0
    closer: asyncio.Task[bool] | None = None
    sent: int = 0
    acked: int = 0

    async def write(self, frame: str) -> bool:
        """Send a text frame; False where the socket is gone."""
        try:
            await self.ws.send_str(frame)
        except ConnectionError:
            return False
        return True

    async def close(self) -> None:
        """Close with the handshake. The handler must outlive it: a handler that returns first
        cuts the connection under the client's closing frame."""
        if self.closer is None:
            self.closer = asyncio.create_task(self.ws.close())
        await asyncio.shield(self.closer)


class SocketMode:
    """All sockets of the app. Each envelope goes to one of them in turn."""

    def __init__(self, world: World, settings: Settings, faults: FaultPlan) -> None:
        self._world = world
        self._settings = settings
        self._faults = faults
        self._tickets: dict[str, float] = {}
        self._pending: dict[str, Delivery] = {}
        self._connected = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = 0
        self.sockets: list[Socket] = []

    def issue_url(self) -> str:
        """A fresh address for one connection, spent by its first use."""
        ticket = str(uuid.uuid4())
        self._tickets[ticket] = time.monotonic() + self._settings.ticket_seconds
        base = self._world.base_url.replace("http", "ws", 1)
        return f"{base}/link/?ticket={ticket}&app_id={self._world.app.id}"

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """The WebSocket endpoint. A spent, expired or unknown ticket is refused with 403."""
        expires = self._tickets.pop(request.query.get("ticket", ""), 0.0)
        if expires <= time.monotonic() or self._settings.transport != "socket":
            return web.Response(status=403)
        ws = web.WebSocketResponse(autoping=False, max_msg_size=0)
        await ws.prepare(request)
        lifetime = self._settings.connection_seconds
        if request.query.get("debug_reconnects") == "true":
            lifetime = min(lifetime, DEBUG_RECONNECT_SECONDS)
        socket = Socket(secrets.token_hex(4), ws, request.transport, lifetime)
        if len(self.sockets) >= self._settings.max_sockets:
            await socket.write(_disconnect_frame("too_many_websockets"))
            await socket.close()
            return ws
        await self._serve(socket)
        return ws

    async def _serve(self, socket: Socket) -> None:
        self.sockets.append(socket)
        keepers = [
            asyncio.create_task(self._ping(socket)),
            asyncio.create_task(self._expire(socket)),
        ]
        try:
            await socket.write(self._hello(socket))
            self._connected.set()
            async for frame in socket.ws:
                await self._receive(socket, frame)
        finally:
            self._remove(socket)
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await socket.close()

    def _remove(self, socket: Socket) -> None:
        if socket in self.sockets:
            self.sockets.remove(socket)
        if not self.sockets:
            self._connected.clear()

    def _hello(self, socket: Socket) -> str:
        return json.dumps(
            {
                "type": "hello",
                "num_connections": len(self.sockets),
                "debug_info": {
                    "host": HOST,
                    "build_number": 1,
                    "approximate_connection_time": int(socket.lifetime),
                },
                "connection_info": {"app_id": self._world.app.id},
            }
        )

    async def _receive(self, socket: Socket, frame: WSMessage) -> None:
        if frame.type is WSMsgType.PING:
            if not self._is_silent(socket):
                await socket.ws.pong(frame.data)
        elif frame.type is WSMsgType.PONG:
            socket.pings_unanswered = 0
        elif frame.type is WSMsgType.TEXT:
            self._acknowledge(socket, frame.data)

    def _acknowledge(self, socket: Socket, data: str) -> None:
        try:
            answer = json.loads(data)
        except ValueError:
            return
        if not isinstance(answer, dict):
            return
        delivery = self._pending.get(str(answer.get("envelope_id")))
        if delivery is not None:
            socket.acked += 1
            delivery.ack(answer.get("payload"))

    async def _ping(self, socket: Socket) -> None:
        while not socket.ws.closed:
            await asyncio.sleep(self._settings.ping_seconds)
            if socket.pings_unanswered >= MISSED_PONGS:
                self._remove(socket)
                await socket.close()
                return
            if not self._is_silent(socket):
                socket.pings_unanswered += 1
                try:
                    await socket.ws.ping(f"Ping from {HOST}".encode())
                except ConnectionError:
                    return

    async def _expire(self, socket: Socket) -> None:
        warning = self._settings.warning_seconds
        await asyncio.sleep(max(0.0, socket.lifetime - warning))
        await socket.write(_disconnect_frame("warning"))
        await asyncio.sleep(warning)
        self._remove(socket)
        await socket.close()

    async def _dismiss(self, socket: Socket, reason: str) -> None:
        """Tell a client to go, and close the socket should it still be there a little later.
        After a `warning` it is in use until then."""
        seconds = DISMISSAL_SECONDS
        if reason == "warning":
            seconds = self._settings.warning_seconds
        else:
            self._remove(socket)
        await socket.write(_disconnect_frame(reason))
        closing = asyncio.create_task(_close_later(socket, seconds))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _is_silent(self, socket: Socket) -> bool:
        if not socket.silent:
            socket.silent = self._faults.strike("socket", ("silent",)) is not None
        return socket.silent

    # Delivering

    async def send(self, delivery: Delivery, attempt: int, _reason: str | None) -> str | None:
        """Write an envelope to one socket and wait for its acknowledgement."""
        live = [socket for socket in self.sockets if not socket.ws.closed]
        if not live:
            # A socket in its closing handshake is still listed: without this, waiting for a
            # receiver would return at once and use up every try.
            self._connected.clear()
            return NO_RECEIVER
        self._turn += 1
        socket = live[self._turn % len(live)]
        envelope_id = str(uuid.uuid4())
        delivery.envelopes.append(envelope_id)
        self._pending[envelope_id] = delivery
        socket.sent += 1
        try:
            if not self._is_silent(socket):
                await socket.write(json.dumps(_envelope(delivery, envelope_id, attempt)))
            async with asyncio.timeout(self._settings.ack_seconds):
                await delivery.answered.wait()
        except TimeoutError:
            return "timeout"
        finally:
            if delivery.answered.is_set():
                for known in delivery.envelopes:
                    self._pending.pop(known, None)
        return None

    async def wait_ready(self, seconds: float) -> None:
        """Return when a socket is connected, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._connected.wait()
        except TimeoutError:
            return

    # What the customer's API does to sockets

    async def broadcast(self, frame: str, count: int | None = None) -> int:
        """Write a raw frame to some sockets, the oldest first; how many got it."""
        chosen = self.sockets[:count]
        return sum([await socket.write(frame) for socket in chosen])

    async def disconnect(self, reason: str, count: int | None = None) -> int:
        """Send `disconnect` frames to some sockets, the oldest first; how many."""
        chosen = self.sockets[:count]
        for socket in chosen:
            await self._dismiss(socket, reason)
        return len(chosen)

    def drop(self, count: int | None = None) -> int:
        """Cut TCP connections without a closing handshake; how many."""
        chosen = self.sockets[:count]
        for socket in chosen:
            self._remove(socket)
            if socket.transport is not None:
                socket.transport.abort()
        return len(chosen)

    def show(self) -> list[Json]:
        """The connected sockets, the oldest first."""
        return [
            {
                "id": socket.id,
                "age": time.monotonic() - socket.opened,
                "silent": socket.silent,
                "sent": socket.sent,
                "acked": socket.acked,
            }
            for socket in self.sockets
        ]

    async def stop(self) -> None:
        """Close every socket."""
        for closing in list(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await asyncio.gather(*(socket.close() for socket in list(self.sockets)))


def _envelope(delivery: Delivery, envelope_id: str, attempt: int) -> Json:
    envelope: dict[str, Any] = {
        "envelope_id": envelope_id,
        "payload": delivery.payload,
        "type": delivery.kind,
        "accepts_response_payload": delivery.accepts_payload,
    }
    if delivery.kind == "events_api":
        envelope |= {"retry_attempt": attempt, "retry_reason": "timeout" if attempt else ""}
    return envelope


async def _close_later(socket: Socket, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await socket.close()


def _disconnect_frame(reason: str) -> str:
    return json.dumps({"type": "disconnect", "reason": reason, "debug_info": {"host": HOST}})
