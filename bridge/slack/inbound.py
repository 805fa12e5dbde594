"""The way in: an event is acknowledged once it is stored, and only then.

Bolt acknowledges before a listener runs and answers 404 where none matches, so events are taken in
by a middleware, before authorization, which makes an API call of its own. It answers 200 when the
event is stored (or nothing to us), and 503 when it could not be stored: Slack sends it again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.middleware.async_middleware import AsyncMiddleware
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier

from bridge import metrics
from bridge.core.errors import Failure, StoreAway
from bridge.core.events import Incoming
from bridge.slack.api import Api
from bridge.slack.model import Identity, SlackSettings
from bridge.slack.places import Places
from bridge.slack.translate import (
    ChannelLost,
    ChannelSeen,
    Ignored,
    Viewpoint,
    channel_of,
    translate,
)

Accept = Callable[[Incoming], Awaitable[None]]
"""Stores an event durably. Raises StoreAway."""

PATH = "/slack/events"

_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z")

_log = logging.getLogger(__name__)


class Intake:
    """Translates what Slack sends and has it stored."""

    def __init__(self, view: Viewpoint, places: Places, accept: Accept) -> None:
        self._view = view
        self._places = places
        self._accept = accept
        self._closed = False

    def close(self) -> None:
        """Refuse from now on: Slack will send it again, to another replica or a later start."""
        self._closed = True

    async def take(self, body: object) -> None:
        """Take one request in; it may be acknowledged when this returns.

        Raises StoreAway where it could not be stored, and Failure where Slack did not tell us
        enough to know whether it has to be.
        """
        metrics.SLACK_LAST_EVENT.set_to_current_time()
        if self._closed:
            raise StoreAway("closing")
        if channel := channel_of(body):
            await self._places.learn(channel)
        match translate(body, self._view):
            case Incoming() as incoming:
                await self._accept(incoming)
            case ChannelSeen(channel, name):
                self._places.seen(channel, name)
            case ChannelLost(channel):
                self._places.lost(channel)
            case Ignored(reason):
                metrics.event(reason, "ignored")


class _Middleware(AsyncMiddleware):
    """Answers every request of Slack's but its check of a new request URL."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def async_process(
        self,
        *,
        req: AsyncBoltRequest,
        resp: BoltResponse,
        next: Callable[[], Awaitable[BoltResponse]],  # noqa: A002 - Bolt's name for it
    ) -> BoltResponse | None:
        del resp
        if req.body.get("type") == "url_verification":
            return await next()
        try:
            await self._intake.take(req.body)
        except (StoreAway, Failure) as error:
            metrics.event("request", "failed")
            _log.warning("event not stored, Slack will send it again: %s", error)
            return BoltResponse(status=503, body="")
        return BoltResponse(status=200, body="")


def bolt_app(settings: SlackSettings, api: Api, identity: Identity, intake: Intake) -> AsyncApp:
    """A Bolt app that only takes in. Its `authorize` is ours, so that neither auth.test is called
    for events nor a SLACK_CLIENT_ID in the environment turns it into an OAuth app."""

    async def authorize() -> AuthorizeResult:
        return AuthorizeResult(
            enterprise_id=identity.workspace.enterprise_id or None,
            team_id=identity.workspace.team_id,
            bot_user_id=identity.bot_user_id,
            bot_id=identity.bot_id,
            bot_token=settings.bot_token,
        )

    # Bolt logs whole requests: at INFO those with a wrong signature, at WARNING unhandled ones.
    logger = logging.getLogger("slack_bolt")
    logger.setLevel(logging.ERROR)
    return AsyncApp(
        logger=logger,
        # Bolt gives the logger of this name its level: it must not be one of ours.
        name=logger.name,
        client=api.sdk_client(),
        signing_secret=settings.signing_secret,
        authorize=authorize,
        before_authorize=_Middleware(intake),
    )


def routes(app: AsyncApp, signing_secret: str, path: str = PATH) -> list[web.RouteDef]:
    """The endpoint of HTTP mode, for our web server. Raises ValueError without a signing secret:
    anybody could sign with an empty one."""
    if not signing_secret:
        raise ValueError("HTTP mode needs SLACK_SIGNING_SECRET")
    verifier = SignatureVerifier(signing_secret)

    async def handle(request: web.Request) -> web.Response:
        if not _TIMESTAMP.match(request.headers.get("X-Slack-Request-Timestamp", "")):
            return web.Response(status=401)  # Bolt would answer 500, and log it, for anybody
        try:
            taken = await to_bolt_request(request)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            return await _unreadable(request, verifier)
        return await to_aiohttp_response(await app.async_dispatch(taken))

    return [web.post(path, handle)]


class Door:
    """The same endpoint, for a web server that listens before there is anything behind it: until
    `open` it answers 503, and Slack sends the event again."""

    def __init__(self) -> None:
        self._handle: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    def routes(self) -> list[web.RouteDef]:
        """What to mount."""
        return [web.post(PATH, self._pass)]

    def open(self, app: AsyncApp, signing_secret: str) -> None:
        """Let requests through. Raises ValueError as `routes` does."""
        [route] = routes(app, signing_secret)
        self._handle = route.handler

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=503) if self._handle is None else await self._handle(request)


async def _unreadable(request: web.Request, verifier: SignatureVerifier) -> web.Response:
    """Bolt stumbles over shapes it does not expect. What Slack signed is acknowledged, because
    it would come no better the next time."""
    headers: Mapping[str, str] = {key.lower(): value for key, value in request.headers.items()}
    try:
        valid = verifier.is_valid_request(await request.read(), dict(headers))
    except ValueError:
        valid = False  # not UTF-8, which Slack never sends
    if not valid:
        return web.Response(status=401)
    metrics.event("malformed", "ignored")
    return web.Response(status=200)
