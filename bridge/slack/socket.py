"""Socket Mode: several connections, each watched, because slack_sdk's client can go deaf.

It closes its old socket before it opens the new one, which a second connection covers; and after a
failed handshake it tries the same spent ticket for ever, which only a new client cures. It also
reconnects by itself, and a hasty replacement leaks its loops: hence the patience.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from bridge import metrics
from bridge.core.ports import Clock
from bridge.slack.api import Api
from bridge.slack.inbound import Intake

CONNECTIONS = 2
_CLOSE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class _Handler(AsyncSocketModeHandler):
    """Bolt's handler, with a record of what is in the air."""

    def __init__(
        self, app: AsyncApp, app_token: str, in_air: set[asyncio.Task[None]], ping_interval: float
    ) -> None:
        super().__init__(
            app,
            app_token,
            logger=_silent_logger(),
            ping_interval=ping_interval,
        )
        self._in_air = in_air

    async def handle(  # type: ignore[override]  # as Bolt's own narrows it
        self, client: SocketModeClient, req: SocketModeRequest
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._in_air.add(task)
        try:
            await super().handle(client, req)
        except ConnectionError:
            _log.info("acknowledgement lost with its socket, Slack will send it again")
        except Exception as error:  # noqa: BLE001 - whatever Bolt stumbles over
            # A failed store is an answer, not an exception: this is a shape that Bolt cannot read.
            metrics.event("malformed", "ignored")
            _log.warning("envelope acknowledged unread: %s", type(error).__name__)
            with contextlib.suppress(Exception):
                await client.send_socket_mode_response(SocketModeResponse(req.envelope_id))
        finally:
            if task is not None:
                self._in_air.discard(task)


class SocketMode:
    """Keeps Socket Mode connections alive and feeds what they bring to the intake.

    `patience`: seconds without a connection after which a client is replaced. `check`: seconds
    between looks. `ping_interval`: seconds; slack_sdk calls a socket stale after four without a
    pong. `silence`: seconds without any connection after which an operator is called;
    `heard_again` is told how long such a silence was.
    """

    def __init__(
        self,
        app: AsyncApp,
        api: Api,
        app_token: str,
        intake: Intake,
        clock: Clock,
        *,
        connections: int = CONNECTIONS,
        patience: float = 50.0,
        check: float = 1.0,
        ping_interval: float = 10.0,
        silence: float = 60.0,
        heard_again: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._api = api
        self._app_token = app_token
        self._intake = intake
        self._clock = clock
        self._patience = patience
        self._check = check
        self._ping_interval = ping_interval
        self._silence = silence
        self._heard_again = heard_again
        self._connected = [False] * connections
        self._heard_at = clock.boottime()
        """When any connection was last up."""
        self._silent = False
        self._tasks: list[asyncio.Task[None]] = []
        self._in_air: set[asyncio.Task[None]] = set()
        self.replaced = 0
        """Clients that were given up and replaced."""

    @property
    def ready(self) -> bool:
        """Whether at least one connection is up."""
        return any(self._connected)

    async def start(self) -> None:
        """Check the app-level token and start connecting. Raises Denied if it is refused."""
        await self._api.open_socket()
        self._heard_at = self._clock.boottime()
        self._tasks = [
            asyncio.create_task(self._keep(index), name=f"slack-socket-{index}")
            for index in range(len(self._connected))
        ]

    async def close(self, drain_seconds: float = 5.0) -> None:
        """Refuse new events, let those in the air be acknowledged, disconnect."""
        self._intake.close()
        if self._in_air:
            await asyncio.wait(set(self._in_air), timeout=drain_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _keep(self, index: int) -> None:
        while True:
            handler = _Handler(self._app, self._app_token, self._in_air, self._ping_interval)
            # Returns when connected; fails never, and tries on by itself.
            connecting = asyncio.create_task(_connect(handler.client))
            try:
                await self._watch(index, handler.client)
                self.replaced += 1
                _log.warning("Socket Mode client %d replaced: it did not reconnect", index)
            finally:
                self._show(index, connected=False)
                await _dispose(handler.client, connecting)

    async def _watch(self, index: int, client: SocketModeClient) -> None:
        """Return when the client has not been connected for as long as our patience lasts."""
        last = self._clock.boottime()
        while self._clock.boottime() - last < self._patience:
            await self._clock.sleep(self._check)
            connected = await client.is_connected()
            if connected:
                last = self._clock.boottime()
            if connected != self._connected[index]:
                _log.info("Socket Mode client %d: %s", index, "up" if connected else "down")
            self._show(index, connected=connected)
            self._report_silence()

    def _report_silence(self) -> None:
        """Slack drops what it could not deliver for about an hour: somebody has to know."""
        now = self._clock.boottime()
        if self.ready:
            if self._silent:
                _log.warning("Slack can be heard again after %d s", now - self._heard_at)
                self._heard_again(now - self._heard_at)
            self._heard_at, self._silent = now, False
        elif not self._silent and now - self._heard_at >= self._silence:
            self._silent = True
            metrics.ALARMS.labels("slack_silent").inc()
            _log.error("no event and no pong of Slack's for %d s", now - self._heard_at)

    def _show(self, index: int, *, connected: bool) -> None:
        self._connected[index] = connected
        up = sum(self._connected)
        metrics.SOCKETS.labels("slack", "open").set(up)
        metrics.SOCKETS.labels("slack", "connecting").set(len(self._connected) - up)


def _silent_logger() -> logging.Logger:
    """The SDK's client logs addresses with tickets in them when it cannot connect."""
    logger = logging.getLogger("slack_sdk.socket_mode")
    logger.setLevel(logging.CRITICAL)
    return logger


async def _connect(client: SocketModeClient) -> None:
    await client.connect()  # type: ignore[no-untyped-call]  # theirs is unannotated


async def _dispose(client: SocketModeClient, connecting: asyncio.Task[None]) -> None:
    """Close a client, and what its own close leaves running: a reconnect under way rebinds the
    loops that it has just cancelled."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.close(), _CLOSE_SECONDS)  # type: ignore[no-untyped-call]  # same
    loops = (client.current_session_monitor, client.message_receiver, client.message_processor)
    running = [connecting, *(loop for loop in loops if loop is not None)]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    with contextlib.suppress(Exception):
        await client.aiohttp_client_session.close()
