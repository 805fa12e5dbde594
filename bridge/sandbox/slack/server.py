"""One port that is Slack: composes the parts and serves them."""

from __future__ import annotations

from aiohttp import web

from bridge.sandbox.faults import FaultPlan
from bridge.sandbox.slack.controls import Controls
from bridge.sandbox.slack.customer import Customer
from bridge.sandbox.slack.delivery import EVENT_FAULTS, Courier
from bridge.sandbox.slack.http_events import HttpEvents
from bridge.sandbox.slack.interactions import Interactions
from bridge.sandbox.slack.lookup import Lookup
from bridge.sandbox.slack.methods_chat import ChatMethods
from bridge.sandbox.slack.methods_conversations import ConversationMethods
from bridge.sandbox.slack.methods_directory import AppMethods, DirectoryMethods
from bridge.sandbox.slack.methods_files import FileMethods
from bridge.sandbox.slack.methods_views import Triggers, ViewMethods
from bridge.sandbox.slack.seed import seeded
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.socket_mode import SocketMode
from bridge.sandbox.slack.web_api import CALL_FAULTS, WebApi
from bridge.sandbox.slack.workspace import Workspace

MAX_BODY = 1 << 30
"""Slack takes files up to 1 GB."""


class SlackSandbox:
    """A local Slack. `start` it, point clients at `api_url`, `stop` it; one use each."""

    def __init__(self) -> None:
        self.world = seeded()
        self.settings = Settings()
        self.faults = FaultPlan(("delay", "silent", *CALL_FAULTS, *EVENT_FAULTS))
        self.sockets = SocketMode(self.world, self.settings, self.faults)
        self.http = HttpEvents(self.world, self.settings)
        self.courier = Courier(
            self.world,
            self.settings,
            self.faults,
            {"socket": self.sockets, "http": self.http},
        )
        self.workspace = Workspace(self.world, self.settings, self.courier.emit)
        lookup = Lookup(self.world)
        files = FileMethods(self.workspace, lookup, self.courier.spawn)
        triggers = Triggers(self.settings)
        interactions = Interactions(self.workspace, self.courier, triggers)
        self.api = WebApi(
            self.world,
            self.settings,
            self.faults,
            {
                **ChatMethods(self.workspace, lookup).table(),
                **ConversationMethods(self.workspace, lookup).table(),
                **DirectoryMethods(self.world).table(),
                **AppMethods(self.world, self.settings, self.sockets).table(),
                **files.table(),
                **ViewMethods(self.world, triggers).table(),
            },
        )
        customer = Customer(self.workspace, interactions)
        controls = Controls(
            self.world,
            settings=self.settings,
            faults=self.faults,
            courier=self.courier,
            sockets=self.sockets,
            http=self.http,
            api=self.api,
        )
        self._app = web.Application(client_max_size=MAX_BODY)
        self._app.add_routes(
            [
                web.route("*", "/api/{method}", self.api.handle),
                web.get("/link/", self.sockets.connect),
                web.post("/upload/v1/{key}", files.receive),
                web.get("/files-pri/{key}/{name}", files.download),
                web.get("/files-pri/{key}/download/{name}", files.download),
                web.post("/actions/{key:.+}", interactions.respond),
                *customer.routes(),
                *controls.routes(),
            ]
        )
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, without a slash at the end."""
        return self.world.base_url

    @property
    def api_url(self) -> str:
        """What clients take as their base URL."""
        return f"{self.url}/api/"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises OSError where the port is taken."""
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.world.base_url = f"http://{host}:{runner.addresses[0][1]}"
        self.http.start()

    async def stop(self) -> None:
        """Drop what is under way, close sockets and the port."""
        await self.courier.stop()
        await self.sockets.stop()
        await self.http.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
