"""How the routes under `/sandbox/` read requests and answer: JSON both ways."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bridge.sandbox.slack.model import Json

Answering = Callable[[web.Request], Awaitable[Any]]


class Refused(Exception):
    """A request of the customer's that cannot be carried out."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


def answering(handler: Answering) -> Callable[[web.Request], Awaitable[web.Response]]:
    """JSON out, and `{"error": …}` for what was refused."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request))
        except Refused as refusal:
            return web.json_response({"error": refusal.error}, status=refusal.status)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return handle


async def body_of(request: web.Request) -> Json:
    """The JSON object of a request; an empty body is an empty object."""
    data = await request.read()
    if not data:
        return {}
    try:
        body = json.loads(data)
    except ValueError:
        raise Refused("the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refused("the body is not a JSON object")
    return body


def wanted(body: Json, name: str) -> Any:
    """A member that must be there. Raises Refused."""
    if body.get(name) in (None, ""):
        raise Refused(f"missing: {name}")
    return body[name]
