"""The way of every call: fault, token, quota, check, handler, answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from bridge.sandbox.connect import control_plane, participant
from bridge.sandbox.connect.attachments import AttachmentStore
from bridge.sandbox.connect.call import Call
from bridge.sandbox.connect.clock import iso
from bridge.sandbox.connect.errors import ServiceError
from bridge.sandbox.connect.quotas import Quotas
from bridge.sandbox.connect.requests import Request, RequestLog
from bridge.sandbox.connect.strikes import abandon, strike
from bridge.sandbox.connect.wire import (
    CONTROL,
    PARTICIPANT,
    Operation,
    decode,
    operation,
    signature_error,
)
from bridge.sandbox.connect.world import World
from bridge.sandbox.faults import Fault

Handler = Callable[[Call], dict[str, Any]]


class Gateway:
    """Serves the operations of both APIs."""

    def __init__(self, world: World, attachments: AttachmentStore, log: RequestLog) -> None:
        self._world = world
        self._attachments = attachments
        self._log = log
        self._quotas = Quotas(world.clock.monotonic)

    def routes(self) -> list[web.RouteDef]:
        """One route per operation, from the service models."""
        return [
            self._route(operation(service, name), handler)
            for service, handlers in (
                (CONTROL, control_plane.HANDLERS),
                (PARTICIPANT, participant.HANDLERS),
            )
            for name, handler in handlers.items()
        ]

    def _route(self, called: Operation, handler: Handler) -> web.RouteDef:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(called, handler, request)

        return web.route(called.method, called.path, serve)

    async def _serve(
        self, called: Operation, handler: Handler, request: web.Request
    ) -> web.StreamResponse:
        try:
            body = decode(await request.read())
        except ValueError:
            body = None
        members = called.params(request.headers, request.match_info, body or {})
        record = self._record(called, members)
        context = {
            "service": called.service,
            "contact": record.contact_id or "",
            "client_token": record.client_token or "",
        }
        fault = await strike(self._world.faults, called.name, record, context)
        if fault is not None and fault.kind == "drop":
            return abandon(request)
        try:
            if fault is not None and fault.kind != "no_answer":
                raise _failure(called, fault)
            if called.service == CONTROL and (error := signature_error(request.headers)):
                raise error
            if body is None:
                raise called.malformed()
            answer = self.perform(called, handler, members, base_of(request))
        except ServiceError as error:
            response = error_response(called, error)
            record.error = error.code
            if fault is not None and "retry_after" in fault.options:
                response.headers["Retry-After"] = str(fault.options["retry_after"])
        else:
            response = web.json_response(answer)
            record.contact_id = record.contact_id or answer.get("ContactId")
        response.headers["x-amzn-RequestId"] = str(uuid.uuid4())
        if fault is not None and fault.kind == "no_answer":
            return abandon(request)
        record.status = response.status
        return response

    def perform(
        self, called: Operation, handler: Handler, members: dict[str, Any], base: str
    ) -> dict[str, Any]:
        """Carry one call out. Raises ServiceError."""
        call = Call(self._world, self._attachments, called.name, base, members)
        if called.service == PARTICIPANT:
            creating = called.name == "CreateParticipantConnection"
            call.chat = self._world.authenticate(
                members.get("ParticipantToken" if creating else "ConnectionToken"),
                "participant_token" if creating else "connection_token",
            )
        self._meter(called, call)
        called.check(members)
        return handler(call)

    def _meter(self, called: Operation, call: Call) -> None:
        quotas = self._world.settings.quotas
        if quotas is None:
            return
        scope = call.chat.opening.instance_id if call.chat else "account"
        if not self._quotas.take(scope, called.name, quotas.get("scale", 1.0)):
            raise called.throttled()

    def _record(self, called: Operation, members: Mapping[str, Any]) -> Request:
        record = self._log.begin(iso(self._world.clock.wall_ms()), called.name)
        record.contact_id = self._named_contact(members)
        initial = members.get("InitialMessage")
        said = initial.get("Content") if isinstance(initial, dict) else members.get("Content")
        token = members.get("ClientToken")
        record.content = said if isinstance(said, str) else None
        record.client_token = token if isinstance(token, str) else None
        return record

    def _named_contact(self, members: Mapping[str, Any]) -> str | None:
        """The initial contact id of the chat that a call is about, as far as known."""
        bearer = members.get("ConnectionToken") or members.get("ParticipantToken")
        token = self._world.tokens.known(bearer) if isinstance(bearer, str) else None
        if token is not None:
            return token.chat_id
        named = members.get("ContactId") or members.get("InitialContactId")
        chat = self._world.chat_of(named) if isinstance(named, str) else None
        return chat.id if chat else None


def error_response(called: Operation, error: ServiceError) -> web.Response:
    """An error as rest-json carries it."""
    return web.json_response(
        {"Message": error.message},
        status=called.status(error),
        headers={"x-amzn-ErrorType": error.code},
    )


async def unknown_operation(_request: web.Request) -> web.Response:
    """The answer to whatever the sandbox does not offer."""
    return web.json_response(
        {"Message": "Unknown operation"},
        status=404,
        headers={"x-amzn-ErrorType": "UnknownOperationException"},
    )


def base_of(request: web.Request) -> str:
    """The origin the client used. 127.0.0.1 for localhost: AWS's JavaScript client trusts no
    other host without TLS."""
    host = request.host
    if host.partition(":")[0] == "localhost":
        host = host.replace("localhost", "127.0.0.1", 1)
    return f"http://{host}"


def _failure(called: Operation, fault: Fault) -> ServiceError:
    if fault.kind == "throttle":
        default = called.throttled()
    elif fault.kind == "error":
        default = called.broken()
    else:
        default = called.malformed()
    options = fault.options
    status = options.get("status")
    return ServiceError(
        str(options.get("code", default.code)),
        str(options.get("message", default.message)),
        None if status is None else int(status),
    )
