from __future__ import annotations

import aiohttp
import botocore.exceptions as boto
import pytest

from bridge.connect.refusals import (
    Forbidden,
    boto_failure,
    control_failure,
    error_code,
    participant_failure,
    transport_failure,
)
from bridge.core.errors import Busy, Denied, Failure, Gone, Rejected, Temporary, Uncertain


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ValidationException", Rejected),
        (402, "ServiceQuotaExceededException", Rejected),
        (403, "AccessDeniedException", Forbidden),
        (404, "ResourceNotFoundException", Gone),
        (409, "ConflictException", Rejected),
        (410, "ContactNotFoundException", Gone),
        (429, "ThrottlingException", Temporary),
        (400, "ThrottlingException", Temporary),
        (302, "HTTP 302", Temporary),
        (408, "HTTP 408", Temporary),
        (500, "InternalServerException", Temporary),
        (503, "HTTP 503", Temporary),
        (502, "HTTP 502", Uncertain),
        (504, "HTTP 504", Uncertain),
    ],
)
def test_the_participant_service(status: int, code: str, kind: type[Exception]) -> None:
    assert type(participant_failure("SendMessage", status, code, None)) is kind


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidRequestException", Rejected),
        (400, "InvalidParameterException", Rejected),
        (404, "ResourceNotFoundException", Rejected),
        (429, "LimitExceededException", Busy),
        (402, "ServiceQuotaExceededException", Busy),
        (429, "TooManyRequestsException", Temporary),
        (429, "ThrottlingException", Temporary),
        (403, "AccessDeniedException", Denied),
        (403, "ExpiredTokenException", Denied),
        (400, "UnrecognizedClientException", Denied),
        (500, "InternalServiceException", Temporary),
    ],
)
def test_the_connect_api(status: int, code: str, kind: type[Failure]) -> None:
    failure = control_failure("StartChatContact", status, code, 7.0)
    assert type(failure) is kind
    if isinstance(failure, Temporary) and status == 429:
        assert failure.retry_after == 7.0


def test_a_contact_that_is_not_there_is_gone() -> None:
    failure = control_failure("StopContact", 410, "ContactNotFoundException", None)
    assert type(failure) is Gone


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (boto.NoCredentialsError(), Denied),
        (boto.CredentialRetrievalError(provider="x", error_msg="y"), Denied),
        (boto.EndpointConnectionError(endpoint_url="https://secret"), Temporary),
        (boto.ConnectTimeoutError(endpoint_url="https://secret"), Temporary),
        (boto.ReadTimeoutError(endpoint_url="https://secret"), Uncertain),
        (boto.ConnectionClosedError(endpoint_url="https://secret"), Uncertain),
        (boto.ParamValidationError(report="secret"), Rejected),
    ],
)
def test_errors_of_botocore(error: Exception, kind: type[Failure]) -> None:
    failure = boto_failure("StartChatContact", error)
    assert type(failure) is kind
    assert "secret" not in str(failure)


@pytest.mark.parametrize(
    ("call", "error", "kind"),
    [
        ("SendMessage", aiohttp.ServerDisconnectedError(), Uncertain),
        ("SendMessage", TimeoutError(), Uncertain),
        ("SendMessage", aiohttp.ClientPayloadError(), Uncertain),
        ("SendMessage", aiohttp.ConnectionTimeoutError(), Temporary),
        ("GetTranscript", aiohttp.ServerDisconnectedError(), Temporary),
        ("CreateParticipantConnection", TimeoutError(), Temporary),
    ],
)
def test_errors_of_the_transport(
    call: str, error: aiohttp.ClientError | TimeoutError, kind: type[Failure]
) -> None:
    assert type(transport_failure(call, error)) is kind


@pytest.mark.parametrize(
    ("header", "body", "code"),
    [
        ("AccessDeniedException", {}, "AccessDeniedException"),
        ("AccessDeniedException:http://internal/", {}, "AccessDeniedException"),
        (None, {"__type": "com.amazon#ValidationException"}, "ValidationException"),
        (None, {"code": "InvalidRequestException"}, "InvalidRequestException"),
        (None, "text", "HTTP 500"),
        (None, {"code": 5}, "HTTP 500"),
        ("x" * 500, {}, "x" * 64),
    ],
)
def test_the_name_of_an_error(header: str | None, body: object, code: str) -> None:
    assert error_code(header, body, 500) == code
