"""The other half of `/sandbox/`: settings, faults, sockets, raw events, and what was recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict

from aiohttp import web

from bridge.sandbox.faults import FaultPlan
from bridge.sandbox.slack.customer_http import Refused, answering, body_of, wanted
from bridge.sandbox.slack.delivery import Courier, Delivery
from bridge.sandbox.slack.http_events import HttpEvents
from bridge.sandbox.slack.model import Json
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.socket_mode import DISCONNECT_REASONS, SocketMode
from bridge.sandbox.slack.web_api import WebApi
from bridge.sandbox.slack.world import World

SECONDS_IN_MINUTE = 60


class Controls:
    """The levers of the stand-in."""

    def __init__(
        self,
        world: World,
        *,
        settings: Settings,
        faults: FaultPlan,
        courier: Courier,
        sockets: SocketMode,
        http: HttpEvents,
        api: WebApi,
    ) -> None:
        self._world = world
        self._settings = settings
        self._faults = faults
        self._courier = courier
        self._sockets = sockets
        self._http = http
        self._api = api

    def routes(self) -> Iterable[web.RouteDef]:
        """Every route of this part."""
        return [
            web.get("/sandbox/settings", answering(self.settings)),
            web.patch("/sandbox/settings", answering(self.change_settings)),
            web.get("/sandbox/requests", answering(self.requests)),
            web.get("/sandbox/deliveries", answering(self.deliveries)),
            web.get("/sandbox/faults", answering(self.faults)),
            web.post("/sandbox/faults", answering(self.add_fault)),
            web.delete("/sandbox/faults", answering(self.remove_faults)),
            web.delete("/sandbox/faults/{id}", answering(self.remove_faults)),
            web.get("/sandbox/sockets", answering(self.sockets)),
            web.post("/sandbox/disconnect", answering(self.disconnect)),
            web.post("/sandbox/drop_sockets", answering(self.drop_sockets)),
            web.post("/sandbox/events", answering(self.event)),
            web.post("/sandbox/envelopes", answering(self.envelope)),
            web.post("/sandbox/rate_limited", answering(self.rate_limited)),
        ]

    async def settings(self, _request: web.Request) -> Json:
        """All settings."""
        return self._settings.show()

    async def change_settings(self, request: web.Request) -> Json:
        """Change some. A new request URL must answer `url_verification` first; switching
        Socket Mode off tells the sockets `link_disabled`."""
        body = await body_of(request)
        url = body.get("request_url")
        if url is not None and not await self._http.verify(str(url)):
            raise Refused("url_verification_failed")
        before = self._settings.transport
        self._settings.patch(body)
        if before == "socket" and self._settings.transport == "http":
            await self._sockets.disconnect("link_disabled")
        return self._settings.show()

    async def requests(self, request: web.Request) -> Json:
        """Web API calls with a `seq` above `since`."""
        since = int(request.query.get("since", 0))
        return {"requests": self._api.requests[since:]}

    async def deliveries(self, request: web.Request) -> Json:
        """What was sent to the app, with a `seq` above `since`."""
        since = int(request.query.get("since", 0))
        numbered = enumerate(self._courier.deliveries[since:], start=since + 1)
        return {"deliveries": [{"seq": seq, **delivery.show()} for seq, delivery in numbered]}

    async def faults(self, _request: web.Request) -> Json:
        """Those switched on, and every strike so far."""
        active = [asdict(fault) for fault in self._faults.faults.values()]
        return {"faults": active, "strikes": list(self._faults.log)}

    async def add_fault(self, request: web.Request) -> Json:
        """Switch one on."""
        return asdict(self._faults.add(await body_of(request)))

    async def remove_faults(self, request: web.Request) -> Json:
        """Switch one off, or all."""
        self._faults.remove(request.match_info.get("id"))
        return {}

    async def sockets(self, _request: web.Request) -> Json:
        """The connected sockets."""
        return {"sockets": self._sockets.show()}

    async def disconnect(self, request: web.Request) -> Json:
        """Send `disconnect` frames."""
        body = await body_of(request)
        reason = str(wanted(body, "reason"))
        if reason not in DISCONNECT_REASONS:
            raise Refused(f"reason: one of {', '.join(DISCONNECT_REASONS)}")
        return {"sockets": await self._sockets.disconnect(reason, body.get("count"))}

    async def drop_sockets(self, request: web.Request) -> Json:
        """Cut connections without a word."""
        body = await body_of(request)
        return {"sockets": self._sockets.drop(body.get("count"))}

    async def event(self, request: web.Request) -> Json:
        """Send a raw inner event, `times` times, each with an event id of its own."""
        body = await body_of(request)
        event = wanted(body, "event")
        if not isinstance(event, dict):
            raise Refused("event is not a JSON object")
        installation = next(iter(self._world.installations.values()))
        channel = self._world.channels.get(str(event.get("channel")))
        sent = [
            self._courier.send_event(event, installation, channel)
            for _ in range(int(body.get("times", 1)))
        ]
        return {"event_ids": [delivery.event_id for delivery in sent]}

    async def envelope(self, request: web.Request) -> Json:
        """Write a raw frame to sockets: text as it is, anything else as JSON."""
        body = await body_of(request)
        frame = wanted(body, "frame")
        text = frame if isinstance(frame, str) else json.dumps(frame)
        return {"sockets": await self._sockets.broadcast(text, body.get("count"))}

    async def rate_limited(self, _request: web.Request) -> Json:
        """Tell the app that its events are being limited (docs: app_rate_limited)."""
        payload = {
            "token": self._world.app.verification_token,
            "type": "app_rate_limited",
            "team_id": next(iter(self._world.installations)),
            "minute_rate_limited": int(time.time()) // SECONDS_IN_MINUTE * SECONDS_IN_MINUTE,
            "api_app_id": self._world.app.id,
        }
        self._courier.send(Delivery("events_api", "app_rate_limited", payload))
        return payload
