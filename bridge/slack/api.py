"""The one door to Slack's Web API: one pooled session, no hidden retries, our kinds of failure."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from bridge import __version__, metrics
from bridge.core.errors import Denied, Failure, Gone, Rejected, Temporary, Uncertain
from bridge.core.model import Workspace
from bridge.guarded import Attempt, Guard, GuardedRequest
from bridge.proxy import proxy_for
from bridge.slack.model import Identity, Json, SlackSettings
from bridge.wire import encoded, parsed, seconds_after

# The names of Slack's errors by what they call for (Web API reference, error lists of the methods).
_DONE_MAYBE = frozenset({"internal_error", "fatal_error"})
_TEMPORARY = frozenset(
    {
        "ratelimited", "rate_limited", "service_unavailable", "request_timeout",
        "team_added_to_org", "external_channel_migrating",
    }
)  # fmt: skip
_DENIED = frozenset(
    {
        "account_inactive", "token_revoked", "invalid_auth", "not_authed", "token_expired",
        "team_access_not_granted", "access_denied", "org_login_required", "missing_scope",
        "not_allowed_token_type", "feature_disabled", "app_access_restricted",
        "ekm_access_denied", "no_permission", "forbidden_team",
    }
)  # fmt: skip
_GONE = frozenset(
    {
        "channel_not_found", "is_archived", "not_in_channel", "restricted_action",
        "cannot_reply_to_message", "thread_not_found", "message_not_found",
        "messages_tab_disabled", "user_not_found", "users_not_found", "user_not_visible",
    }
)  # fmt: skip


# Limited in each channel before anything else, so who knows the channels keeps its pace.
_LIMITED_PER_CHANNEL = frozenset({"chat.postMessage"})


class Api:
    """Calls Slack's Web API. Use as an async context manager, or `open` and `close`."""

    def __init__(
        self,
        settings: SlackSettings,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._sleep = sleep
        self._refused_until: dict[str, float] = {}
        """By method: when Slack will hear it again (monotonic). Limits are counted for each method
        in a workspace (Slack, rate limits), and this is a client of one workspace."""
        self._session: aiohttp.ClientSession | None = None
        self._headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Make the session; connects to nothing."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.request_timeout),
            request_class=GuardedRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._headers = _headers(self._settings.bot_token)

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._session is not None:
            await self._session.close()

    def sdk_client(self) -> AsyncWebClient:
        """One of slack_sdk's, for Bolt and Socket Mode, which want one."""
        # With a closed session it would open one of its own, which asks no guard.
        return AsyncWebClient(
            token=self._settings.bot_token,
            base_url=self._settings.api_url,
            session=self._pool(),
            # The default handler sends a post again after a reset: a double post.
            retry_handlers=[],
            logger=quiet_logger("slack_sdk.web"),
        )

    async def read(self, method: str, **params: object) -> Json:
        """Call a method that changes nothing. Raises Failure, never Uncertain."""
        return (await self._call("GET", method, params, changes=False)).data

    async def write(self, method: str, *, guard: Guard | None = None, **body: object) -> Json:
        """Call a method that changes something, with a JSON body.

        `guard` is called when a connection is in hand and the request ready; what it raises comes
        back unchanged, and nothing has gone out then. Raises Failure; Uncertain where Slack may have acted.
        """
        return (await self._call("POST", method, body, guard=guard, changes=True)).data

    async def pages(self, method: str, key: str, **params: object) -> Sequence[Json]:
        """Read all pages of a cursored method, and return the objects under `key` in order.

        A 429 between two pages is waited out: where one page a minute is allowed, who began anew
        would never see the last.
        """
        found: list[Json] = []
        cursor = ""
        while True:
            try:
                page = await self.read(method, **params, cursor=cursor or None)
            except Temporary as busy:
                if not cursor or busy.retry_after is None:
                    raise
                await self.pause(busy.retry_after)
                continue
            found += [entry for entry in page.get(key) or () if isinstance(entry, dict)]
            cursor = str((page.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                return found

    async def pause(self, seconds: float) -> None:
        """Wait before a call is tried again."""
        await self._sleep(seconds)

    async def open_socket(self) -> None:
        """Prove that the app-level token is good. Spends one ticket; raises Denied if it is not,
        where slack_sdk's client would try for ever in silence."""
        await self._call(
            "POST",
            "apps.connections.open",
            {},
            headers=_headers(self._settings.app_token),
            changes=False,
        )

    async def identity(self) -> Identity:
        """Ask Slack who we are (auth.test, and bots.info where that does not name the app)."""
        answer = await self._call("POST", "auth.test", {}, changes=False)
        me = answer.data
        workspace = Workspace(str(me.get("team_id") or ""), str(me.get("enterprise_id") or ""))
        bot_id = str(me.get("bot_id") or "")
        return Identity(
            workspace,
            bot_user_id=str(me.get("user_id") or ""),
            bot_id=bot_id,
            app_id=str(me.get("app_id") or "") or await self._app_id(bot_id, workspace),
            scopes=_scopes(answer.headers),
        )

    async def _app_id(self, bot_id: str, workspace: Workspace) -> str:
        """Only one of three marks of our own posts, so that `users:read` is not needed for it."""
        try:
            found = await self.read("bots.info", bot=bot_id, team_id=workspace.team_id)
        except (Denied, Gone, Rejected):
            return ""
        return str((found.get("bot") or {}).get("app_id") or "")

    async def _call(
        self,
        verb: str,
        method: str,
        fields: Mapping[str, object],
        *,
        changes: bool,
        guard: Guard | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Answer:
        """Fields that are None are left out. Not by slack_sdk's client: that costs a quarter more a
        post, and takes some answers (plain text, 5xx) for defects of its own."""
        session = self._pool()
        self._mind_limits(method)
        given = {name: value for name, value in fields.items() if value is not None}
        body: dict[str, Any] = (
            {"data": encoded(given)} if verb == "POST" else {"params": _query(given)}
        )
        begun = time.perf_counter()
        with Attempt(guard) as call:
            try:
                async with session.request(
                    verb,
                    self._settings.api_url + method,
                    headers=headers or self._headers,
                    proxy=proxy_for(self._settings.api_url),
                    allow_redirects=False,  # Slack sends none, and a POST would come back as a GET
                    **body,
                ) as response:
                    answer = _Answer(response.status, response.headers, await response.read())
            except (aiohttp.ClientError, OSError) as error:
                unsure = changes and call.sent
                raise _unknown(method, type(error).__name__, uncertain=unsure) from None
            finally:
                metrics.call_seconds("slack", method).observe(time.perf_counter() - begun)
        failure = _failure(method, answer, uncertain=changes)
        if failure is not None:
            self._note_limit(failure)
            raise failure
        return answer

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            raise RuntimeError("the Slack API is not open")
        return self._session

    def _mind_limits(self, method: str) -> None:
        """Ask for nothing that Slack has said it will not answer yet."""
        wait = self._refused_until.get(method, 0.0) - time.monotonic()
        if wait > 0:
            raise Temporary(method, "ratelimited", wait)

    def _note_limit(self, failure: Failure) -> None:
        after = failure.retry_after if isinstance(failure, Temporary) else None
        if after is not None and failure.call not in _LIMITED_PER_CHANNEL:
            self._refused_until[failure.call] = time.monotonic() + after


class _Answer:
    """`data` is empty where the body is no JSON object."""

    def __init__(self, status: int, headers: Mapping[str, str], raw: bytes) -> None:
        self.status = status
        self.headers = headers
        data = parsed(raw)
        self.data: Json = data if isinstance(data, dict) else {}


def _headers(token: str) -> Mapping[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        # Without a charset Slack adds a warning to each answer.
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": f"amazon-connect-slack-bridge/{__version__}",
    }


def _query(fields: Mapping[str, object]) -> dict[str, str]:
    return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in fields.items()}


def _scopes(headers: Mapping[str, str]) -> frozenset[str] | None:
    listed = headers.get("X-OAuth-Scopes")
    if listed is None:
        return None
    return frozenset(scope.strip() for scope in listed.split(",") if scope.strip())


def _failure(method: str, answer: _Answer, *, uncertain: bool) -> Failure | None:
    """What an answer means; None: it was done. `uncertain`: it might have happened, unless Slack
    says no."""
    status, data = answer.status, answer.data
    if status == 200 and data.get("ok") is True:
        return None
    code = str(data.get("error") or f"http_{status}")
    if status == 429:
        return Temporary(method, code, seconds_after(answer.headers.get("Retry-After")))
    if "error" not in data or status >= 500:
        return _unknown(method, code, uncertain=uncertain and not 400 <= status < 500)
    if code in _DONE_MAYBE:
        return _unknown(method, code, uncertain=uncertain)
    if code in _TEMPORARY:
        return Temporary(method, code)
    if code in _DENIED:
        return Denied(method, code)
    if code in _GONE or code.startswith("restricted_action"):
        return Gone(method, code)
    return Rejected(method, code)


def _unknown(method: str, code: str, *, uncertain: bool) -> Failure:
    return Uncertain(method, code) if uncertain else Temporary(method, code)


def quiet_logger(name: str) -> logging.Logger:
    """A logger for the SDKs that stays at WARNING: below it they log what people wrote."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.WARNING)
    return logger
