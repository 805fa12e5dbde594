"""The one door to AWS: every call to Connect goes out here, at the quota's pace.

The Participant Service needs only a bearer header, so that one pooled aiohttp session serves it and
the sockets. What needs SigV4 goes through boto3 in a few threads, with its own retries off, because
it would block and repeat without asking. No token, URL or text of people gets into an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import boto3
import botocore.exceptions
from botocore.config import Config

from bridge import metrics
from bridge.connect.quota import Quotas, Rate, Urgency
from bridge.connect.refusals import (
    boto_failure,
    control_failure,
    error_code,
    is_throttle,
    participant_failure,
    transport_failure,
    unanswered,
)
from bridge.core.errors import Temporary
from bridge.guarded import Attempt, Guard, GuardedRequest
from bridge.proxy import proxy_for
from bridge.wire import encoded, parsed, seconds_after

_MAX_BODY_BYTES = 16 * 1024 * 1024
"""A hundred items of the longest text, escaped, are below it."""
_THREADS = 8
_PATHS = {
    "CreateParticipantConnection": "/participant/connection",
    "SendMessage": "/participant/message",
    "SendEvent": "/participant/event",
    "GetTranscript": "/participant/transcript",
    "DisconnectParticipant": "/participant/disconnect",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectSettings:
    """What `app` fills from the settings. Durations in seconds unless the name says otherwise.

    Raises ValueError where the content types lack text/plain (Connect API reference,
    SupportedMessagingContentTypes).
    """

    region: str
    instance_id: str = ""
    contact_flow_id: str = ""
    start_chat_url: str = field(default="", repr=False)
    """Starts chats by a POST instead of the AWS API; it may hold a key, so it is not shown."""
    endpoint_url_connect: str = ""
    endpoint_url_participant: str = ""
    content_types: tuple[str, ...] = ("text/plain", "text/markdown")
    chat_duration_minutes: int | None = None
    response_mode: str | None = "COMPLETE"
    disconnect_on_customer_exit: bool = False
    connection_types: bool = True
    """Ask StartChatContact for the connection too, which saves a call."""
    attributes: bool = True
    """Tell flows and agents who writes, and where, as contact attributes."""
    request_timeout: float = 10.0
    quotas: Mapping[str, Rate] = field(default_factory=dict)
    """Replace Connect's default request quotas, by operation."""
    reorder_window_ms: int = 100
    heartbeat_seconds: float = 10.0
    rotate_seconds: tuple[float, float] = (40 * 60.0, 58 * 60.0)
    """A socket is replaced at a random age between these: its URL's credentials last an hour."""
    quarantine_seconds: float = 3.0
    """A chat that seems over waits so long for others that do: then Connect refuses them all."""
    late_read_seconds: float = 3.0
    """After this the transcript is read once more, for items that appear late."""
    lookback_seconds: float = 300.0
    lookback_items: int = 100

    def __post_init__(self) -> None:
        if "text/plain" not in self.content_types:
            raise ValueError("content_types has no text/plain, which Connect requires")

    @property
    def participant_url(self) -> str:
        """Origin of the Participant Service."""
        default = f"https://participant.connect.{self.region}.amazonaws.com"
        return (self.endpoint_url_participant or default).rstrip("/")


def new_session() -> aiohttp.ClientSession:
    """The session for calls and sockets. The quotas bound the calls, the conversations the
    sockets; a limit of the pool would let the sockets starve the calls."""
    return aiohttp.ClientSession(
        request_class=GuardedRequest,
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "amazon-connect-slack-bridge"},
    )


class ConnectApi:
    """Calls to both services. Raises the failures of `core/errors`, and Forbidden for the
    Participant Service's 403. To be made inside the running loop."""

    def __init__(
        self, settings: ConnectSettings, quotas: Quotas, session: aiohttp.ClientSession
    ) -> None:
        self._settings = settings
        self._quotas = quotas
        self._session = session
        connect = min(5.0, settings.request_timeout)
        # Connecting has its own, shorter limit: only then is it known that nothing was written.
        self._timeout = aiohttp.ClientTimeout(
            total=settings.request_timeout + connect, connect=connect
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="connect")
        self._client_lock = threading.Lock()
        self._client: Any = None
        self._closed = False

    async def participant(
        self,
        operation: str,
        token: str,
        body: Mapping[str, Any],
        urgency: Urgency = Urgency.WAITING,
        rank: float = 0.0,
        *,
        guard: Guard | None = None,
    ) -> dict[str, Any]:
        """One call to the Participant Service, when its turn has come. `guard` comes last; what it
        raises comes back, and nothing has gone out then."""
        await self._turn(operation, urgency, rank)
        url = self._settings.participant_url + _PATHS[operation]
        with self._measured(operation):
            answer = await self._post(operation, url, body, {"X-Amz-Bearer": token}, guard)
            if answer.status != 200:
                raise participant_failure(operation, answer.status, answer.code, answer.retry_after)
            return answer.fields(operation)

    async def start_by_url(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """StartChatContact through an API of the operator's, without AWS credentials. The result
        may come bare or as AWS's sample template wraps it."""
        operation = "StartChatContact"
        await self._turn(operation)
        with self._measured(operation):
            answer = await self._post(operation, self._settings.start_chat_url, body, {})
            if answer.status // 100 != 2:
                status, code = answer.wrapped_error()
                raise control_failure(operation, status, code, answer.retry_after)
            fields = answer.fields(operation)
            data = fields.get("data")
            result = (data if isinstance(data, dict) else fields).get("startChatResult", fields)
            return result if isinstance(result, dict) else {}

    async def control(self, operation: str, method: str, params: Mapping[str, Any]) -> Any:
        """One call to the Connect API through boto3's `method`, when its turn has come."""
        await self._turn(operation)
        with self._measured(operation):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._threads, self._control, operation, method, params
            )

    def close(self) -> None:
        """Let no more calls begin. The session belongs to whoever made it."""
        self._closed = True
        self._quotas.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _turn(
        self, operation: str, urgency: Urgency = Urgency.WAITING, rank: float = 0.0
    ) -> None:
        await self._quotas[operation].take(urgency, rank)
        if self._closed:
            raise Temporary(operation, "Closed")

    def _control(self, operation: str, method: str, params: Mapping[str, Any]) -> Any:
        try:
            return getattr(self._boto(), method)(**params)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise boto_failure(operation, error) from None

    def _boto(self) -> Any:
        with self._client_lock:
            if self._client is None:
                self._client = boto3.session.Session().client(
                    "connect",
                    # boto3 signs for a region even where the address is given.
                    region_name=self._settings.region or "us-east-1",
                    endpoint_url=self._settings.endpoint_url_connect or None,
                    config=Config(
                        connect_timeout=min(5.0, self._settings.request_timeout),
                        read_timeout=self._settings.request_timeout,
                        retries={"total_max_attempts": 1},
                        max_pool_connections=_THREADS,
                    ),
                )
            return self._client

    async def _post(
        self,
        operation: str,
        url: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        guard: Guard | None = None,
    ) -> _Answer:
        request = self._session.post(
            url,
            data=encoded(body),
            headers={"Content-Type": "application/json", **headers},
            timeout=self._timeout,
            proxy=proxy_for(url),
            allow_redirects=False,
        )
        try:
            with Attempt(guard):
                response = await request
            async with response:
                raw = bytearray()
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > _MAX_BODY_BYTES:
                        raise unanswered(operation, "AnswerTooLong")
                return _Answer(response.status, response.headers, bytes(raw))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise transport_failure(operation, error) from None

    @contextlib.contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        except Temporary as failure:
            if is_throttle(failure.code):
                self._quotas[operation].throttled(failure.retry_after)
            raise
        finally:
            metrics.call_seconds("connect", operation).observe(time.perf_counter() - begun)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes = field(repr=False)

    @property
    def body(self) -> object:
        """The body's JSON, or None."""
        return parsed(self.raw)

    @property
    def code(self) -> str:
        """Connect's name for the error."""
        return error_code(self.headers.get("x-amzn-ErrorType"), self.body, self.status)

    @property
    def retry_after(self) -> float | None:
        """Seconds, where the service said."""
        return seconds_after(self.headers.get("Retry-After"))

    def fields(self, operation: str) -> dict[str, Any]:
        """The members of a successful answer. Raises where it is none: the call may have been
        carried out all the same."""
        body = self.body
        if not isinstance(body, dict):
            raise unanswered(operation, "UnreadableAnswer")
        return body

    def wrapped_error(self) -> tuple[int, str]:
        """Status and name of the error that AWS's sample function passes on as `data.Error`, where
        older ones answer 500 to everything."""
        body = self.body if isinstance(self.body, dict) else {}
        data = body.get("data")
        error = data.get("Error") or data.get("error") if isinstance(data, dict) else None
        if not isinstance(error, dict):
            return self.status, self.code
        metadata = error.get("$metadata")
        inner = error.get("statusCode")
        if inner is None and isinstance(metadata, dict):
            inner = metadata.get("httpStatusCode")
        status = inner if isinstance(inner, int) and 400 <= inner < 600 else self.status
        return status, error_code(None, error, status)
