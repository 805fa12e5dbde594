"""The API that AWS's sample template puts before StartChatContact, for clients without
credentials (CloudFormation template startChatContactAPI)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bridge.sandbox.connect.clock import iso
from bridge.sandbox.connect.control_plane import start_chat_contact
from bridge.sandbox.connect.errors import ServiceError
from bridge.sandbox.connect.gateway import Gateway, base_of
from bridge.sandbox.connect.requests import Request, RequestLog
from bridge.sandbox.connect.strikes import abandon, strike
from bridge.sandbox.connect.wire import CONTROL, decode, operation
from bridge.sandbox.connect.world import World

TARGET = "startChat"
"""Its name for faults and the request log."""
FORWARDED = ("SupportedMessagingContentTypes", "ChatDurationInMinutes")
HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Allow-Headers": "Content-Type,X-Amz-Date,Authorization,X-Api-Key,X-Amz-Security-Token",
}


class StartChatApi:
    """POST /startChat. Its function starts the chat with credentials of its own."""

    def __init__(self, world: World, gateway: Gateway, log: RequestLog) -> None:
        self._world = world
        self._gateway = gateway
        self._log = log
        self._operation = operation(CONTROL, "StartChatContact")

    def routes(self) -> list[web.RouteDef]:
        """The one route."""
        return [web.post("/startChat", self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        record = self._log.begin(iso(self._world.clock.wall_ms()), TARGET)
        raw = await request.read()
        fault = await strike(self._world.faults, TARGET, record, {})
        if fault is not None and fault.kind == "drop":
            return abandon(request)
        try:
            if fault is not None and fault.kind != "no_answer":
                raise _failure(fault.kind, fault.options)
            response = self._start(raw, base_of(request), record)
        except ServiceError as error:
            response = self._failed(error, record)
        except (ValueError, TypeError, LookupError):
            # What makes the function itself fail is answered by the API in front of it.
            record.error = "InternalServerErrorException"
            response = web.json_response({"message": "Internal server error"}, status=502)
        if fault is not None and fault.kind == "no_answer":
            return abandon(request)
        record.status = response.status
        return response

    def _start(self, raw: bytes, base: str, record: Request) -> web.Response:
        body = decode(raw)
        members = self._forward(body)
        answer = self._gateway.perform(self._operation, start_chat_contact, members, base)
        record.contact_id = answer["ContactId"]
        return web.json_response({"data": {"startChatResult": answer}}, headers=HEADERS)

    def _forward(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the function passes on: no attributes of the caller's, no client token, no
        initial message."""
        name = body["ParticipantDetails"]["DisplayName"]
        settings = self._world.settings
        members = {
            "InstanceId": body.get("InstanceId") or settings.start_chat_instance_id or "",
            "ContactFlowId": body.get("ContactFlowId") or settings.start_chat_flow_id or "",
            "ParticipantDetails": {"DisplayName": name},
            "Attributes": {"customerName": name},
            "ClientToken": str(uuid.uuid4()),
        }
        members |= {key: body[key] for key in FORWARDED if body.get(key)}
        persistent = body.get("PersistentChat") or {}
        if persistent.get("RehydrationType") and persistent.get("SourceContactId"):
            members["PersistentChat"] = {
                key: persistent[key] for key in ("RehydrationType", "SourceContactId")
            }
        return members

    def _failed(self, error: ServiceError, record: Request) -> web.Response:
        record.error = error.code
        status = self._operation.status(error)
        failure = {
            "message": error.message,
            "code": error.code,
            "time": iso(self._world.clock.wall_ms()),
            "requestId": str(uuid.uuid4()),
            "statusCode": status,
            "retryable": status in (429, 500),
        }
        return web.json_response(
            {"data": {"Error": failure}},
            status=self._world.settings.start_chat_error_status or status,
            headers=HEADERS,
        )


def _failure(kind: str, options: Mapping[str, Any]) -> ServiceError:
    code, status = {
        "throttle": ("TooManyRequestsException", 429),
        "error": ("InternalServiceException", 500),
        "reject": ("InvalidRequestException", 400),
    }[kind]
    return ServiceError(
        str(options.get("code", code)),
        str(options.get("message", "Injected")),
        int(options.get("status", status)),
    )
