"""The signed URLs behind attachments, as an object store serves them."""

from __future__ import annotations

import hashlib
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web

from bridge.sandbox.connect.attachments import Attachment, AttachmentStore, SignedUrl
from bridge.sandbox.connect.clock import iso
from bridge.sandbox.connect.requests import RequestLog
from bridge.sandbox.connect.strikes import abandon, strike
from bridge.sandbox.connect.world import World
from bridge.sandbox.faults import Fault

UPLOAD = "UploadAttachment"
DOWNLOAD = "DownloadAttachment"
"""Names of the two requests, for faults and the request log."""


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.response = web.Response(
            status=status,
            content_type="application/xml",
            text=f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>",
        )
        self.code = code


class FileServer:
    """PUT for uploads, GET for downloads; a signature opens exactly one of them."""

    def __init__(self, world: World, attachments: AttachmentStore, log: RequestLog) -> None:
        self._world = world
        self._attachments = attachments
        self._log = log

    def routes(self) -> list[web.RouteDef]:
        """Both requests on the attachment's path."""
        return [
            web.put("/attachments/{attachment_id}", self._serve),
            web.get("/attachments/{attachment_id}", self._serve, allow_head=False),
        ]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        target = UPLOAD if request.method == "PUT" else DOWNLOAD
        record = self._log.begin(iso(self._world.clock.wall_ms()), target)
        try:
            signed = self._permitted(request)
            record.contact_id = signed.attachment.chat.id
            context = {"contact": signed.attachment.chat.id}
            fault = await strike(self._world.faults, target, record, context)
            if fault is not None and fault.kind == "drop":
                return abandon(request)
            if fault is not None and fault.kind != "no_answer":
                raise _failure(fault)
            response = await self._carry_out(request, signed)
            if fault is not None:
                return abandon(request)
        except _Refusal as refusal:
            response, record.error = refusal.response, refusal.code
        record.status = response.status
        return response

    def _permitted(self, request: web.Request) -> SignedUrl:
        signature = request.query.get("X-Amz-Signature", "")
        signed = self._attachments.signed(signature, request.method)
        if signed is None or signed.attachment.id != request.match_info["attachment_id"]:
            raise _mismatch()
        if signed.expires <= self._world.clock.monotonic():
            raise _Refusal(403, "AccessDenied", "Request has expired")
        return signed

    async def _carry_out(self, request: web.Request, signed: SignedUrl) -> web.Response:
        if request.method == "PUT":
            return await _store(request, signed.attachment)
        return _fetch(signed)


async def _store(request: web.Request, attachment: Attachment) -> web.Response:
    """Take the bytes if the request has exactly the signed headers. A client may repeat the
    same upload whose answer was lost, not send another."""
    _check_headers(request, attachment)
    content = await request.read()
    if attachment.status != "AWAITING" or attachment.content not in (None, content):
        raise _Refusal(403, "AccessDenied", "The URL was used already")
    attachment.content = content
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return web.Response(headers={"ETag": f'"{digest}"'})


def _fetch(signed: SignedUrl) -> web.Response:
    attachment = signed.attachment
    if attachment.content is None:
        raise _Refusal(404, "NoSuchKey", "The specified key does not exist.")
    kind = "inline" if signed.inline else "attachment"
    return web.Response(
        body=attachment.content,
        headers={
            "Content-Type": attachment.content_type,
            "Content-Disposition": f"{kind}; filename*=UTF-8''{quote(attachment.name, safe='')}",
        },
    )


def _check_headers(request: web.Request, attachment: Attachment) -> None:
    """Exactly HeadersToInclude: none changed, none of Amazon's added, no other credentials."""
    signed = {name.lower(): value for name, value in attachment.headers.items()}
    for name, value in signed.items():
        if request.headers.get(name) != value:
            raise _mismatch()
    forbidden = {"authorization", "transfer-encoding", "content-encoding"}
    for name in request.headers:
        lower = name.lower()
        if lower in forbidden or (lower.startswith("x-amz-") and lower not in signed):
            raise _mismatch()


def _mismatch() -> _Refusal:
    return _Refusal(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided.",
    )


def _failure(fault: Fault) -> _Refusal:
    default = {
        "throttle": (503, "SlowDown"),
        "error": (500, "InternalError"),
        "reject": (400, "InvalidRequest"),
    }[fault.kind]
    options = fault.options
    return _Refusal(
        int(options.get("status", default[0])),
        str(options.get("code", default[1])),
        str(options.get("message", "Please try again.")),
    )
