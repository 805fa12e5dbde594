"""The Web API's front: reads a call however it is written, checks its token and scopes, applies
faults and limits, and answers as Slack does (docs: Using the Web API; rate limits)."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bridge.sandbox.faults import FaultPlan
from bridge.sandbox.slack.limits import Limits
from bridge.sandbox.slack.model import Installation, Json
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.world import World

CALL_FAULTS = (
    "throttle", "error", "no_answer", "drop", "reject", "internal_error_done", "truncate",
)  # fmt: skip
_TRUE = ("1", "true", "True", "yes")
JSON_TYPE = "application/json"


class ApiError(Exception):
    """An `ok: false` answer."""

    def __init__(self, error: str, **extra: Any) -> None:
        super().__init__(error)
        self.error = error
        self.extra = extra


@dataclass
class Call:
    """One call: its parameters (strings, or JSON values from a JSON body) and who makes it."""

    method: str
    params: Mapping[str, Any]
    installation: Installation | None = None
    scopes: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)

    @property
    def bot(self) -> Installation:
        """The installation whose bot token this is. Raises ApiError for an app token."""
        if self.installation is None:
            raise ApiError("not_allowed_token_type")
        return self.installation

    def text(self, name: str) -> str:
        """A parameter as text; empty where absent."""
        value = self.params.get(name)
        return "" if value is None else str(value)

    def required(self, name: str, error: str = "invalid_arguments") -> str:
        """A parameter that must be there. Raises ApiError."""
        value = self.text(name)
        if not value:
            if error == "invalid_arguments":
                note = f"[ERROR] missing required field: {name}"
                raise ApiError(error, response_metadata={"messages": [note]})
            raise ApiError(error)
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean parameter: true, "true", "1" or 1."""
        value = self.params.get(name)
        return default if value is None else value is True or str(value) in _TRUE

    def number(self, name: str, default: int) -> int:
        """A whole number. Raises ApiError where it is none."""
        value = self.text(name)
        try:
            return int(value) if value else default
        except ValueError:
            raise ApiError("invalid_arguments") from None

    def value(self, name: str, error: str = "invalid_arguments") -> Any:
        """A JSON value, whether sent as JSON or as JSON text; None where absent."""
        value = self.params.get(name)
        if not isinstance(value, str):
            return value
        if not value:
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise ApiError(error) from None

    def need(self, *scopes: str) -> None:
        """Raise ApiError unless one of these scopes is granted."""
        if scopes and not set(scopes) & set(self.scopes):
            provided = ",".join(self.scopes)
            raise ApiError("missing_scope", needed=",".join(scopes), provided=provided)


@dataclass(frozen=True)
class Method:
    """One method: what it does, which scopes open it (any of them), which token it takes."""

    run: Callable[[Call], Json]
    scopes: tuple[str, ...] = ()
    token: str = "bot"  # noqa: S105 - bot, app, or none
    limit: str = ""
    """`history` or `post`: the limit that a setting can put on it."""


@dataclass
class Answer:
    """What goes back, before it is written to the connection."""

    body: Json
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class WebApi:
    """Serves `/api/{method}`."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        faults: FaultPlan,
        methods: Mapping[str, Method],
    ) -> None:
        self._world = world
        self._settings = settings
        self._faults = faults
        self._methods = methods
        self._limits = Limits(settings)
        self.requests: list[Json] = []
        """Every call, oldest first, without its token."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One call, with the faults that strike it."""
        name = request.match_info["method"]
        entry: Json = {"seq": len(self.requests) + 1, "method": name, "params": {}}
        entry |= {"at": time.time(), "status": 0, "ok": None, "error": None, "fault": None}
        self.requests.append(entry)
        try:
            call, token = await self._read(name, request)
        except ApiError as error:
            return self._respond(Answer({"ok": False, "error": error.error}), entry)
        entry["params"] = dict(call.params)
        context = {"channel": call.text("channel") or call.text("channel_id")}
        delay = self._faults.strike(name, ("delay",), context)
        if delay is not None:
            await asyncio.sleep(delay.seconds())
        fault = self._faults.strike(name, CALL_FAULTS, context)
        kind = "" if fault is None else fault.kind
        entry["fault"] = kind or None
        if fault is not None and kind in ("drop", "throttle", "error", "reject"):
            if kind == "drop":
                return _hang_up(request)
            return self._respond(_refusal(kind, fault.options), entry)
        answer = self._run(call, token)
        entry["ts"] = answer.body.get("ts")
        if kind == "no_answer":
            entry |= {"ok": answer.body["ok"], "error": answer.body.get("error")}
            return _hang_up(request)
        if kind == "internal_error_done":
            answer = Answer({"ok": False, "error": "internal_error"})
        return self._respond(answer, entry, truncated=kind == "truncate")

    async def _read(self, name: str, request: web.Request) -> tuple[Call, str]:
        """Parameters from query, form or JSON; the token from the header or a form."""
        params: Json = dict(request.query)
        params.pop("token", None)
        token = ""
        call = Call(name, params)
        if request.content_type == JSON_TYPE and request.can_read_body:
            params |= _json_body(await request.read())
            params.pop("token", None)
            if "charset" not in request.headers.get("Content-Type", "").lower():
                call.warnings.append("missing_charset")
        elif request.method == "POST":
            form = await request.post()
            params |= {key: value for key, value in form.items() if isinstance(value, str)}
            token = str(params.pop("token", ""))
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            token = bearer.strip()
        return call, token

    def _run(self, call: Call, token: str) -> Answer:
        headers = {"X-OAuth-Scopes": ",".join(self._settings.granted_scopes)}
        method = self._methods.get(call.method, _UNKNOWN)
        try:
            self._authorise(call, token, method)
            wait = self._limits.wait(call, method.limit)
            if wait is not None:
                return _throttled(wait)
            if method.scopes:
                headers["X-Accepted-OAuth-Scopes"] = ",".join(method.scopes)
                call.need(*method.scopes)
            body = {"ok": True, **method.run(call)}
        except ApiError as error:
            body = {"ok": False, "error": error.error, **error.extra}
        if call.warnings:
            body["warning"] = ",".join(call.warnings)
            metadata = dict(body.get("response_metadata") or {})
            body["response_metadata"] = metadata | {"warnings": list(call.warnings)}
        return Answer(body, headers=headers)

    def _authorise(self, call: Call, token: str, method: Method) -> None:
        if method.token == "none":  # noqa: S105 - a kind of token
            return
        if not token:
            raise ApiError("not_authed")
        is_app = token == self._world.app.app_token
        installed = [i for i in self._world.installations.values() if i.token == token]
        if not is_app and not installed:
            raise ApiError("invalid_auth")
        if is_app is not (method.token == "app"):  # noqa: S105 - a kind of token
            raise ApiError("not_allowed_token_type")
        call.scopes = self._settings.granted_scopes
        call.installation = installed[0] if installed else None

    def _respond(self, answer: Answer, entry: Json, *, truncated: bool = False) -> web.Response:
        entry |= {
            "status": answer.status,
            "ok": answer.body.get("ok"),
            "error": answer.body.get("error"),
        }
        data = json.dumps(answer.body).encode()
        return web.Response(
            body=data[: len(data) // 2] if truncated else data,
            status=answer.status,
            headers=answer.headers,
            content_type=JSON_TYPE,
            charset="utf-8",
        )


def _unknown(call: Call) -> Json:
    raise ApiError("unknown_method", req_method=call.method)


_UNKNOWN = Method(_unknown, token="none")  # noqa: S106 - a kind of token


def _json_body(data: bytes) -> Json:
    try:
        body = json.loads(data)
    except ValueError:
        raise ApiError("invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError("json_not_object")
    return body


def _throttled(seconds: float) -> Answer:
    retry_after = str(max(1, math.ceil(seconds)))
    return Answer({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": retry_after})


def _refusal(kind: str, options: Mapping[str, Any]) -> Answer:
    if kind == "throttle":
        return _throttled(float(options.get("retry_after", 1)))
    if kind == "error":
        error = str(options.get("error", "internal_error"))
        return Answer({"ok": False, "error": error}, int(options.get("status", 500)))
    return Answer({"ok": False, "error": str(options.get("error", "fatal_error"))})


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
