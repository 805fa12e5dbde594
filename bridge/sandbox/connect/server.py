"""The local Connect as one HTTP server."""

from __future__ import annotations

from aiohttp import web

from bridge.sandbox.connect.attachments import AttachmentStore
from bridge.sandbox.connect.clock import Clock
from bridge.sandbox.connect.cors import allow_origins, preflight
from bridge.sandbox.connect.desk import Desk
from bridge.sandbox.connect.files import FileServer
from bridge.sandbox.connect.gateway import Gateway, unknown_operation
from bridge.sandbox.connect.requests import RequestLog
from bridge.sandbox.connect.settings import Settings
from bridge.sandbox.connect.sockets import CLOSE_SECONDS, SocketHub
from bridge.sandbox.connect.start_chat_api import StartChatApi
from bridge.sandbox.connect.world import World

MAX_BODY_BYTES = 128 * 1024 * 1024
"""Above the largest attachment that Connect can be set to take (100 MB)."""


class ConnectSandbox:
    """Both Connect APIs, the participants' sockets, attachment URLs, the start chat API and the
    agent's desk on one port. All state is lost with the object."""

    def __init__(self, settings: Settings | None = None, clock: Clock | None = None) -> None:
        self.world = World(settings, clock)
        self.url = ""
        """Origin, once started, as in "http://127.0.0.1:8000"."""
        self._log = RequestLog()
        self._hub = SocketHub(self.world, self._log)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises OSError where the port is taken."""
        runner = web.AppRunner(
            self._application(), shutdown_timeout=2 * CLOSE_SECONDS, access_log=None
        )
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        self.url = f"http://{host}:{bound}"

    async def stop(self) -> None:
        """Close every socket and the port, and forget what was to happen later."""
        self.world.timers.stop()
        await self._hub.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _application(self) -> web.Application:
        attachments = AttachmentStore(self.world)
        gateway = Gateway(self.world, attachments, self._log)
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[preflight])
        application.on_response_prepare.append(allow_origins)
        application.add_routes(gateway.routes())
        application.add_routes([web.get("/socket", self._hub.serve)])
        application.add_routes(FileServer(self.world, attachments, self._log).routes())
        application.add_routes(StartChatApi(self.world, gateway, self._log).routes())
        application.add_routes(Desk(self.world, attachments, self._hub, self._log).routes())
        application.add_routes([web.route("*", "/{path:.*}", unknown_operation)])
        return application
