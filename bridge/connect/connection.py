"""A participant's connection: one subscribed socket at any time, through losses and rotations."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Protocol

import aiohttp

from bridge import metrics
from bridge.connect.api import ConnectSettings
from bridge.connect.contacts import Connection, Credentials
from bridge.connect.quota import Urgency
from bridge.connect.stream import Heartbeats, Stream, StreamFailed
from bridge.core.errors import Failure, Gone, Temporary
from bridge.core.model import Started
from bridge.core.ports import Clock

log = logging.getLogger(__name__)

_BACKOFF_CAP = 30.0
_STEADY = 60.0
"""A socket that lived so long was a good one: its loss does not repeat the one before."""
_ROTATE_AGAIN = 60.0


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: exponential with full jitter."""
    return random.uniform(0, min(_BACKOFF_CAP, 0.5 * 2.0 ** min(failures, 10)))  # noqa: S311 - spreads load


class Hearer(Protocol):
    """Whom a connection tells."""

    def subscribed(self, gap: bool) -> None:
        """From here on every frame is heard. `gap`: before that, some were not."""
        ...

    def heard(self, raw: object) -> None:
        """The content of a chat frame."""
        ...

    def lost(self) -> bool:
        """From here on frames may be missed. Returns whether there is more to hear."""
        ...


class ParticipantConnection:
    """Keeps one contact's socket until it is over or `stop` is called.

    Its one task is the socket's reader; another exists only while a second socket is opened to
    replace the first.
    """

    def __init__(
        self,
        settings: ConnectSettings,
        session: aiohttp.ClientSession,
        clock: Clock,
        *,
        heartbeats: Heartbeats,
        credentials: Credentials,
        hearer: Hearer,
    ) -> None:
        self._settings = settings
        self._session = session
        self._clock = clock
        self._heartbeats = heartbeats
        self._credentials = credentials
        self._hearer = hearer
        self._given: Connection | None = None
        """To be used first, and once."""
        self._current: Stream | None = None
        self._next: Stream | None = None
        self._reader: asyncio.Task[None] | None = None
        self._rotation: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self, urgency: Urgency, started: Started | None) -> None:
        """Connect in the background; `started` may carry a URL that was fetched just now."""
        if started is not None and started.socket_url:
            self._given = Connection("", 0.0, started.socket_url, started.socket_expiry)
        self._reader = asyncio.create_task(self._keep(urgency))

    def stop(self) -> None:
        """Stop without waiting. It may be called from the tasks of this object."""
        self._stopped = True
        for task in (self._reader, self._rotation):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    async def close(self) -> None:
        """Stop, and wait until the sockets are closed."""
        self.stop()
        tasks = [task for task in (self._reader, self._rotation) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, urgency: Urgency) -> None:
        failures = 0
        while not self._stopped:
            begun = self._clock.boottime()
            try:
                await self._connect_and_read(urgency)
            except Gone:
                return
            except (Failure, StreamFailed) as reason:
                log.info("Contact %s: no socket: %s", self._credentials.contact_id, reason)
            except Exception as error:  # noqa: BLE001 - a chat must not go deaf by a defect
                # Only the class: the text of a library's error may hold the URL or a frame.
                log.error("Contact %s: %s", self._credentials.contact_id, type(error).__name__)  # noqa: TRY400 - same
            else:
                urgency = Urgency.RECONNECT
            failures = 1 if self._clock.boottime() - begun > _STEADY else failures + 1
            if not self._stopped:
                metrics.RETRIES.labels("connect", "socket", "lost").inc()
                await self._clock.sleep(backoff(failures))

    async def _connect_and_read(self, urgency: Urgency) -> None:
        """Returns when the socket is lost and none has replaced it."""
        stream: Stream | None = await self._opened(urgency)
        gap = True
        try:
            while stream is not None:
                self._current = stream
                await self._read(stream, gap)
                stream, self._next, gap = self._next, None, False
        finally:
            self._current = None
            if self._next is not None:
                await self._next.close()
                self._next = None
            self._stopped = not self._hearer.lost() or self._stopped

    async def _read(self, stream: Stream, gap: bool) -> None:
        with metrics.SOCKETS.labels("connect", "open").track_inprogress():
            try:
                await self._heartbeats.add(stream)
                self._hearer.subscribed(gap)
                await stream.read()
            finally:
                # Where the socket is lost meanwhile, the rotation must not bring a second one.
                if self._rotation is not None and self._next is None:
                    self._rotation.cancel()
                await stream.close()

    async def _opened(self, urgency: Urgency) -> Stream:
        with metrics.SOCKETS.labels("connect", "connecting").track_inprogress():
            given, self._given = self._given, None
            connection = given or await self._credentials.connect(urgency)
            if not connection.url:
                raise Temporary("CreateParticipantConnection", "NoUrl")
            rotate_at = self._rotate_at(connection.url_expiry)
            stream = Stream(self._session, self._hearer.heard, self._rotate, rotate_at)
            await stream.open(connection.url)
            return stream

    def _rotate_at(self, url_expiry: float) -> float:
        """In boottime, and before what the socket was opened with expires."""
        age = random.uniform(*self._settings.rotate_seconds)  # noqa: S311 - spreads load
        remaining = url_expiry - self._clock.now()
        if remaining > 0:
            age = min(age, 0.9 * remaining)
        return self._clock.boottime() + age

    def _rotate(self) -> None:
        if self._rotation is None or self._rotation.done():
            self._rotation = asyncio.create_task(self._replace())
            self._rotation.add_done_callback(self._rotated)

    def _rotated(self, task: asyncio.Task[None]) -> None:
        # A finished task keeps its coroutine, and there are as many as conversations.
        if self._rotation is task:
            self._rotation = None

    async def _replace(self) -> None:
        """Open and subscribe the second socket, then close the first: its reader goes on with the
        second, and both have heard everything meanwhile."""
        old = self._current
        try:
            new = await self._opened(Urgency.ROUTINE)
        except Gone:
            return
        except (Failure, StreamFailed) as reason:
            log.info("Contact %s: not rotated: %s", self._credentials.contact_id, reason)
            if old is not None:
                old.rotate_at = self._clock.boottime() + _ROTATE_AGAIN
            return
        self._next = new
        if old is not None:
            await old.close()
