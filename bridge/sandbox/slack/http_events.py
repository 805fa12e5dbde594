"""HTTP delivery: signed POSTs to the app's request URL (docs: Events API; verifying requests)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from urllib.parse import urlencode

import aiohttp

from bridge.sandbox.slack.delivery import NO_RECEIVER, STOPPED, Delivery
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.world import World

MAX_REDIRECTS = 2
CHALLENGE_SECONDS = 3.0
JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Slack's v0 signature of a request body."""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


class HttpEvents:
    """The transport of an app with Socket Mode off."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Open the pooled session; needs a running loop."""
        self._session = aiohttp.ClientSession(auto_decompress=False)

    async def stop(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def send(self, delivery: Delivery, attempt: int, reason: str | None) -> str | None:
        """POST once. None on a 2xx in time, else Slack's name for what went wrong;
        `STOPPED` where the app answered `x-slack-no-retry: 1`."""
        url = self._url(delivery)
        if url is None or self._session is None:
            return NO_RECEIVER
        headers: dict[str, str] = {}
        if attempt:
            headers["X-Slack-Retry-Num"] = str(attempt)
            headers["X-Slack-Retry-Reason"] = _retry_reason(reason)
        body, content_type = _encode(delivery)
        try:
            status, answer, no_retry = await self._post(url, body, content_type, headers)
        except TimeoutError:
            return "http_timeout"
        except aiohttp.TooManyRedirects:
            return "too_many_redirects"
        except aiohttp.ClientSSLError:
            return "ssl_error"
        except aiohttp.ClientConnectionError:
            return "connection_failed"
        except aiohttp.ClientError:
            return "unknown_error"
        if 200 <= status < 300:
            delivery.ack(_decoded(answer))
            return None if delivery.answered.is_set() else "http_timeout"
        return STOPPED if no_retry else "http_error"

    async def wait_ready(self, seconds: float) -> None:
        """There is nothing to wait for but the schedule."""
        await asyncio.sleep(seconds)

    async def verify(self, url: str) -> bool:
        """The `url_verification` handshake; whether the challenge came back."""
        challenge = secrets.token_urlsafe(40)
        payload = {
            "token": self._world.app.verification_token,
            "challenge": challenge,
            "type": "url_verification",
        }
        try:
            status, answer, _ = await self._post(url, json.dumps(payload).encode(), JSON_TYPE, {})
        except (TimeoutError, aiohttp.ClientError):
            return False
        decoded = _decoded(answer)
        if isinstance(decoded, dict):
            decoded = decoded.get("challenge")
        return status == 200 and decoded == challenge

    def _url(self, delivery: Delivery) -> str | None:
        if delivery.kind == "events_api":
            return self._settings.request_url
        return self._settings.interactivity_url or self._settings.request_url

    async def _post(
        self, url: str, body: bytes, content_type: str, headers: Mapping[str, str]
    ) -> tuple[int, bytes, bool]:
        if self._session is None:
            raise aiohttp.ClientConnectionError("not started")
        timestamp = str(int(time.time()))
        signed = {
            "Content-Type": content_type,
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "Accept": "*/*",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": sign(self._world.app.signing_secret, timestamp, body),
            **headers,
        }
        async with self._session.post(
            url,
            data=body,
            headers=signed,
            timeout=aiohttp.ClientTimeout(total=self._settings.ack_seconds),
            max_redirects=MAX_REDIRECTS,
        ) as response:
            no_retry = response.headers.get("X-Slack-No-Retry") == "1"
            return response.status, await response.read(), no_retry


def _encode(delivery: Delivery) -> tuple[bytes, str]:
    """Events are JSON; interactions a form whose `payload` is JSON; commands a plain form."""
    if delivery.kind == "events_api":
        return json.dumps(delivery.payload).encode(), JSON_TYPE
    if delivery.kind == "interactive":
        return urlencode({"payload": json.dumps(delivery.payload)}).encode(), FORM_TYPE
    return urlencode(delivery.payload).encode(), FORM_TYPE


def _retry_reason(failure: str | None) -> str:
    return "connection_failed" if failure in (None, NO_RECEIVER) else failure


def _decoded(answer: bytes) -> object:
    text = answer.decode("utf-8", errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        return text or None
