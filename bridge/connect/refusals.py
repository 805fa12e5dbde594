"""What a call that did not succeed means: Connect's answers and the transports' errors as the
failures of `core/errors`. Pure.

Statuses and error names: the service models of botocore for `connect` and `connectparticipant`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import botocore.exceptions as boto

from bridge.core.errors import Busy, Denied, Failure, Gone, Rejected, Temporary, Uncertain
from bridge.wire import seconds_after

_CHANGES_NOTHING = frozenset({"CreateParticipantConnection", "GetTranscript"})
"""Calls that may be repeated whatever became of them."""

# SigV4 refusals come as 403 or 400.
_CREDENTIALS = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_ALL_TAKEN = frozenset({"LimitExceededException", "ServiceQuotaExceededException"})
"""The quota of chats that are open at the same time is used up (Connect API, StartChatContact);
calls that come too fast are answered by TooManyRequestsException or ThrottlingException."""


class Forbidden(Exception):
    """403 from the Participant Service: an expired token, or a contact that is over. `contacts`
    finds out which; it goes no further."""

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call


def unanswered(call: str, code: str) -> Failure:
    """The request went out and no whole answer came back."""
    return Temporary(call, code) if call in _CHANGES_NOTHING else Uncertain(call, code)


def participant_failure(
    call: str, status: int, code: str, retry_after: float | None
) -> Failure | Forbidden:
    """What the Participant Service's answer means."""
    if status in (401, 403):
        return Forbidden(call)
    if status in (404, 410):
        return Gone(call, code)
    return _by_status(call, status, code, retry_after)


def control_failure(call: str, status: int, code: str, retry_after: float | None) -> Failure:
    """What the Connect API's answer means."""
    if call == "StartChatContact" and code in _ALL_TAKEN:
        return Busy(call, code, retry_after)
    if status in (401, 403) or code in _CREDENTIALS:
        return Denied(call, code)
    if status == 410 or (status == 404 and call != "StartChatContact"):
        # To a start, 404 says that the instance, the flow or the past contact does not exist.
        return Gone(call, code)
    return _by_status(call, status, code, retry_after)


def is_throttle(code: str) -> bool:
    """Whether an error's name says that calls came too fast; LimitExceeded is about chats that
    exist."""
    return "Throttl" in code or code.startswith("TooManyRequests") or code == "HTTP 429"


def _by_status(call: str, status: int, code: str, retry_after: float | None) -> Failure:
    if status == 429 or is_throttle(code):
        return Temporary(call, code, retry_after)
    if status in (502, 504):
        # From a gateway: the service behind it may have carried the call out.
        return unanswered(call, code)
    if 400 <= status < 500 and status != 408:
        return Rejected(call, code)
    return Temporary(call, code, retry_after)


def transport_failure(call: str, error: aiohttp.ClientError | TimeoutError) -> Failure:
    """What an error of aiohttp means. Its text may hold a URL with a secret: only the class name
    is kept."""
    code = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Temporary(call, code)
    return unanswered(call, code)


def boto_failure(call: str, error: Exception) -> Failure:
    """What an error of botocore means."""
    if isinstance(error, boto.ClientError):
        answer: Mapping[str, Any] = error.response
        metadata = answer.get("ResponseMetadata", {})
        return control_failure(
            call,
            int(metadata.get("HTTPStatusCode", 500)),
            str(answer.get("Error", {}).get("Code", "Unknown")),
            seconds_after(metadata.get("HTTPHeaders", {}).get("retry-after")),
        )
    code = type(error).__name__
    if isinstance(error, boto.ParamValidationError):
        return Rejected(call, code)
    if isinstance(error, boto.ConnectionError):
        return Temporary(call, code)
    if isinstance(error, boto.HTTPClientError | boto.IncompleteReadError):
        return unanswered(call, code)
    # What remains of botocore's own errors is about credentials and configuration.
    return Denied(call, code)


def error_code(header: str | None, body: object, status: int) -> str:
    """Connect's name for an error: header x-amzn-ErrorType, or a member of the body."""
    fields = body if isinstance(body, dict) else {}
    for name in (header, fields.get("__type"), fields.get("code"), fields.get("name")):
        if isinstance(name, str) and (code := name.partition(":")[0].rpartition("#")[2].strip()):
            return code[:64]
    return f"HTTP {status}"
