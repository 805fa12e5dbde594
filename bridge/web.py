"""The HTTP server: probes, metrics, and whatever else is mounted on it (Slack's HTTP events)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from aiohttp import web

from bridge import metrics

Check = Callable[[], str | Awaitable[str | None] | None]
"""Tells why the service is not ready, in words fit for anybody, or None where nothing is wrong."""


class Web:
    """Serves `GET /live`, `GET /ready` and `GET /metrics`. Not ready while no check is given."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        check_seconds: float = 2.0,
        max_body_bytes: int = 1024 * 1024,
    ) -> None:
        """`port` 0 takes a free one. A check that takes longer than `check_seconds` fails; a
        request whose body is larger than `max_body_bytes` is answered 413."""
        self._host = host
        self._port = port
        self._check_seconds = check_seconds
        self._checks: dict[str, Check] = {}
        self._runner: web.AppRunner | None = None
        self._app = web.Application(client_max_size=max_body_bytes)
        self._app.router.add_get("/live", _live)
        self._app.router.add_get("/ready", self._ready)
        self._app.router.add_get("/metrics", _metrics)

    def add_check(self, name: str, check: Check) -> None:
        """Ask `check` too before saying that the service is ready."""
        self._checks[name] = check

    def mount(self, add_routes: Callable[[web.Application], object]) -> None:
        """Let another part add its routes, before `start`."""
        add_routes(self._app)

    @property
    def port(self) -> int:
        """The port that is really listened on. Raises RuntimeError before `start`."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the HTTP server is not started")
        port = self._runner.addresses[0][1]
        return int(port)

    async def start(self, *, stop_seconds: float = 5.0) -> None:
        """Listen. Raises OSError where the port is taken. `stop_seconds` (above 0) is how long
        `stop` waits for requests in the air."""
        runner = web.AppRunner(
            self._app, access_log=None, handle_signals=False, shutdown_timeout=stop_seconds
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening and let requests in the air finish. Harmless twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _ready(self, _request: web.Request) -> web.Response:
        names = tuple(self._checks)
        answers = await asyncio.gather(*(self._ask(self._checks[name]) for name in names))
        reasons = {name: answer for name, answer in zip(names, answers, strict=True) if answer}
        if not names:
            reasons = {"start": "the service is starting"}
        return web.json_response(
            {"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200
        )

    async def _ask(self, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._check_seconds):
                answer = check()
                return await answer if inspect.isawaitable(answer) else answer
        except TimeoutError:
            return f"no answer in {self._check_seconds:g} s"
        except Exception as error:  # noqa: BLE001 - a probe answers whatever a check does
            return f"the check failed: {type(error).__name__}"


async def _live(_request: web.Request) -> web.Response:
    return web.json_response({"live": True})


async def _metrics(_request: web.Request) -> web.Response:
    body, content_type = metrics.exposition()
    return web.Response(body=body, headers={"Content-Type": content_type})
