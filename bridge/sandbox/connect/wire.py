"""Routes, members, checks and errors, read from botocore's service models at run time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from bridge.sandbox.connect.errors import ServiceError

CONTROL = "connect"
PARTICIPANT = "connectparticipant"

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "double": (int, float),
    "float": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
    "timestamp": (str, int, float),
    "blob": (str,),
}
_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=[^/,\s]+/\d{8}/[a-z0-9-]+/connect/aws4_request, *"
    r"SignedHeaders=[a-z0-9;-]+, *Signature=[0-9a-f]{64}"
)


class MemberError(Exception):
    """A member of a request breaks the model. `missing`: it is absent, not merely wrong."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


@cache
def service_model(service: str) -> ServiceModel:
    """The model of a service that botocore carries."""
    return botocore.session.get_session().get_service_model(service)


@dataclass(frozen=True)
class Operation:
    """One operation of a service model."""

    service: str
    model: OperationModel

    @property
    def name(self) -> str:
        """As the API reference calls it."""
        return str(self.model.name)

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.model.http["method"])

    @property
    def path(self) -> str:
        """The path with {members}, which is also aiohttp's notation."""
        return str(self.model.http["requestUri"])

    def params(
        self, headers: Mapping[str, str], path: Mapping[str, str], body: Any
    ) -> dict[str, Any]:
        """The request's members, wherever they travel; unknown ones are dropped."""
        params = {}
        for name, shape in self._members():
            place, key = shape.serialization.get("location"), shape.serialization.get("name", name)
            source = {"header": headers, "uri": path}.get(str(place), body)
            if isinstance(source, Mapping) and source.get(key) is not None:
                params[name] = source[key]
        return params

    def check(self, params: dict[str, Any]) -> None:
        """Raises the service's own error where a member is missing, of another type, outside
        its bounds or not of its enumeration."""
        try:
            check_member(self.model.input_shape, params, "")
        except MemberError as error:
            raise ServiceError(self._bad_request(missing=error.missing), str(error)) from None

    def malformed(self) -> ServiceError:
        """The answer to a body that is not a JSON object."""
        return ServiceError(self._bad_request(missing=True), "The request body is not valid JSON")

    def throttled(self) -> ServiceError:
        """The rate error: ThrottlingException where the operation has it, else
        TooManyRequestsException (Connect API, common errors)."""
        name = "ThrottlingException"
        if name not in self._errors():
            name = "TooManyRequestsException"
        return ServiceError(name, "Rate exceeded")

    def broken(self) -> ServiceError:
        """The operation's internal error."""
        internal = [name for name in self._errors() if name.startswith("InternalS")]
        return ServiceError(internal[0], "Internal error")

    def status(self, error: ServiceError) -> int:
        """The HTTP status: the error's own, else the model's, else 400."""
        if error.status is not None:
            return error.status
        model = service_model(self.service)
        if error.code not in model.shape_names:
            return 400
        return int(model.shape_for(error.code).metadata["error"]["httpStatusCode"])

    def _members(self) -> Iterator[tuple[str, Shape]]:
        yield from self.model.input_shape.members.items()

    def _errors(self) -> list[str]:
        return [shape.name for shape in self.model.error_shapes]

    def _bad_request(self, *, missing: bool) -> str:
        if self.service == PARTICIPANT:
            return "ValidationException"
        if missing or "InvalidParameterException" not in self._errors():
            return "InvalidRequestException"
        return "InvalidParameterException"


def operation(service: str, name: str) -> Operation:
    """An operation by name."""
    return Operation(service, service_model(service).operation_model(name))


def signature_error(headers: Mapping[str, str]) -> ServiceError | None:
    """What is wrong with a SigV4 signature, by its form; the credentials may be any."""
    authorization = headers.get("Authorization")
    if not authorization:
        code, text = "MissingAuthenticationTokenException", "Missing Authentication Token"
    elif not _CREDENTIAL.fullmatch(authorization) or "X-Amz-Date" not in headers:
        code, text = "IncompleteSignatureException", "The signature is not a SigV4 signature"
    else:
        return None
    return ServiceError(code, text, 403)


def check_member(shape: Shape, value: Any, where: str) -> None:
    """Raises MemberError where a value breaks its shape."""
    name = where or "The request"
    if not isinstance(value, _TYPES[shape.type_name]) or (
        isinstance(value, bool) and shape.type_name != "boolean"
    ):
        raise MemberError(f"{name} must be of type {shape.type_name}")
    _check_bounds(shape, value, name)
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        raise MemberError(f"{name} must be one of {', '.join(allowed)}")
    for child, inner, path in _children(shape, value, where):
        check_member(child, inner, path)


def _check_bounds(shape: Shape, value: Any, name: str) -> None:
    if shape.type_name == "structure":
        return
    size = len(value) if isinstance(value, (str, list, dict)) else value
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        raise MemberError(f"{name} is below the minimum of {low}")
    if high is not None and size > high:
        raise MemberError(f"{name} is above the maximum of {high}")


def _children(shape: Shape, value: Any, where: str) -> Iterator[tuple[Shape, Any, str]]:
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            if value.get(name) is None:
                raise MemberError(f"Missing required member {_join(where, name)}", missing=True)
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield member, value[name], _join(where, name)
    elif isinstance(shape, ListShape):
        for index, each in enumerate(value):
            yield shape.member, each, f"{where}[{index}]"
    elif isinstance(shape, MapShape):
        for key, each in value.items():
            yield shape.key, key, f"key of {where}"
            yield shape.value, each, f"value in {where}"


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def decode(raw: str | bytes) -> dict[str, Any]:
    """A JSON object; nothing at all is an empty one. Raises ValueError for anything else, also
    for nesting too deep and for lone surrogates, which no UTF-8 answer could repeat."""
    try:
        body: Any = json.loads(raw) if raw.strip() else {}
        json.dumps(body, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - as for any other bad body
    return body
