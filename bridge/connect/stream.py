"""One WebSocket of a chat's participant: subscription, heartbeats, frames. Transport only.

Protocol: that of AWS's own chat client (amazon-connect-chatjs). An opened socket is silent
until it is subscribed, and only the answers to application heartbeats prove that it is alive.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import logging
from collections.abc import Callable

import aiohttp

from bridge.core.ports import Clock
from bridge.proxy import proxy_for
from bridge.wire import parsed

log = logging.getLogger(__name__)

_MAX_FRAME_BYTES = 1024 * 1024
_OPEN_SECONDS = 10.0
_ACK_SECONDS = 1.0
_SUBSCRIBE_TRIES = 3
_CLOSE_SECONDS = 1.0
_TOGETHER_SECONDS = 0.05
_SUBSCRIBE = json.dumps({"topic": "aws/subscribe", "content": {"topics": ["aws/chat"]}})
_HEARTBEATS = ("aws/heartbeat", "aws/ping")
_BEAT = tuple(json.dumps({"topic": topic}) for topic in _HEARTBEATS)


class StreamFailed(Exception):
    """The socket could not be opened or subscribed: a new URL is needed."""


class Stream:
    """A socket. Chat frames go to `on_item` as the JSON value of their content.

    It has no task and no timer of its own: whoever calls `read` is its reader, and `Heartbeats`
    sees to its health. `on_stale` is called at the first heartbeat after `rotate_at` (seconds of
    boottime).
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        on_item: Callable[[object], None],
        on_stale: Callable[[], None],
        rotate_at: float,
    ) -> None:
        self._session = session
        self._on_item = on_item
        self._on_stale = on_stale
        self.rotate_at = rotate_at
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._subscribed: bool | None = None
        self._awaited: tuple[str, ...] = ()
        """Heartbeats whose answers are still to come."""
        self._closing: asyncio.Task[object] | None = None

    async def open(self, url: str) -> None:
        """Open and subscribe. Raises StreamFailed."""
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                self._socket = await self._session.ws_connect(
                    url,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                    max_msg_size=_MAX_FRAME_BYTES,
                    proxy=proxy_for(url),
                )
                await self._subscribe(self._socket)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            await self.close()
            # The error's text may hold the URL, and with it the participant's credentials.
            raise StreamFailed(type(error).__name__) from None
        except BaseException:
            await self.close()
            raise

    async def read(self) -> None:
        """Take in frames until the socket is closed by either side."""
        socket = self._socket
        while socket is not None and self._took(await socket.receive()):
            pass

    async def beat(self, now: float) -> None:
        """Send both heartbeats. Where one of the last was not answered the socket is dead."""
        socket = self._socket
        if socket is None or socket.closed:
            return
        if self._awaited:
            log.info("Socket missed %s: it is replaced", " and ".join(self._awaited))
            self._closing = asyncio.create_task(self.close())
            return
        self._awaited = _HEARTBEATS
        # Writes wait only where 64 kB are unsent, and an unanswered beat comes long before that.
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            for frame in _BEAT:
                await socket.send_str(frame)
        if now >= self.rotate_at:
            self._on_stale()

    @property
    def closed(self) -> bool:
        """Whether no frame will come any more."""
        return self._socket is None or self._socket.closed

    async def close(self) -> None:
        """Close the socket; `read` returns."""
        if self._socket is not None:
            await self._socket.close()

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        for _ in range(_SUBSCRIBE_TRIES):
            await socket.send_str(_SUBSCRIBE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ACK_SECONDS):
                    while self._subscribed is None:
                        if not self._took(await socket.receive()):
                            raise StreamFailed("closed before it was subscribed")
            if self._subscribed:
                return
            if self._subscribed is False:
                break
        raise StreamFailed("the subscription was not acknowledged")

    def _took(self, message: aiohttp.WSMessage) -> bool:
        """Whether more may come after it."""
        if message.type is aiohttp.WSMsgType.TEXT:
            self._receive(parsed(message.data))
            return True
        return message.type is aiohttp.WSMsgType.BINARY

    def _receive(self, frame: object) -> None:
        if not isinstance(frame, dict):
            return
        topic = frame.get("topic")
        if topic == "aws/chat":
            content = frame.get("content")
            self._on_item(parsed(content) if isinstance(content, str) else content)
        elif topic in _HEARTBEATS:
            if topic != "aws/ping" or frame.get("statusCode") == 200:
                self._awaited = tuple(each for each in self._awaited if each != topic)
        elif topic == "aws/subscribe":
            content = frame.get("content")
            status = content.get("status") if isinstance(content, dict) else None
            self._subscribed = status == "success"
        elif topic is None and "message" in frame:
            log.warning("The socket's gateway refused a frame: %.60r", frame["message"])


class Heartbeats:
    """Beats for every open socket from one task, each socket at its own moment."""

    def __init__(self, interval: float, clock: Clock) -> None:
        self._interval = interval
        self._clock = clock
        # All wait equally long, so that the queue is sorted by itself.
        self._queue: collections.deque[tuple[float, Stream]] = collections.deque()
        self._task: asyncio.Task[None] | None = None

    async def add(self, stream: Stream) -> None:
        """Beat at once and then at every interval, until the socket is closed."""
        now = self._clock.boottime()
        await stream.beat(now)
        self._queue.append((now + self._interval, stream))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop beating."""
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._queue:
            due, stream = self._queue[0]
            if (wait := due - self._clock.boottime()) > 0:
                # Whoever is due in the next moments shares the wake-up.
                await self._clock.sleep(wait + _TOGETHER_SECONDS)
                continue
            self._queue.popleft()
            if not stream.closed:
                now = self._clock.boottime()
                self._queue.append((now + self._interval, stream))
                await stream.beat(now)
