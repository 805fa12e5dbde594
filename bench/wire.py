"""HTTP/1.1 and WebSocket, server side, as little of it as the measured clients need.

A web framework would take as much of the machine as what is measured. This takes some ten
microseconds a request: no routing, no objects, answers as bytes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Protocol, cast

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nsec-websocket-key: *(\S+)", re.IGNORECASE)
_TEXT, _CLOSE, _PING = 1, 8, 9


class Refused(Exception):
    """Answers a request with another status than 200."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Receiver(Protocol):
    """Whom an open WebSocket tells."""

    def text(self, frame: bytes) -> None: ...

    def lost(self) -> None: ...


class Site(Protocol):
    """Who answers."""

    def request(self, path: bytes, head: bytes, body: bytes) -> bytes:
        """The JSON to answer with, and 200. Raises Refused."""
        ...

    def socket(self, path: bytes, connection: Connection) -> Receiver:
        """A WebSocket was opened."""
        ...


def text_frame(payload: bytes) -> bytes:
    """A whole frame, unmasked, as servers send it."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Connection(asyncio.Protocol):
    """One client: requests answered in their order, or a WebSocket."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._buffer = b""
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._receiver is not None:
            self._receiver.lost()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer and (self._one_frame() if self._receiver else self._one_request()):
            pass

    def send(self, frame: bytes) -> None:
        """Write a frame."""
        if self._transport is not None:
            self._transport.write(frame)

    def _one_request(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = buffer[:end]
        length = _LENGTH.search(head)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(buffer) < whole:
            return False
        self._buffer = buffer[whole:]
        path = head[head.index(b" ") + 1 : head.index(b" HTTP/")]
        key = _KEY.search(head)
        if key:
            self._upgrade(path, key[1])
        else:
            try:
                self._answer(200, self._site.request(path, head, buffer[end + 4 : whole]))
            except Refused as refused:
                self._answer(refused.status, refused.body)
        return True

    def _answer(self, status: int, body: bytes) -> None:
        self.send(
            b"HTTP/1.1 %d -\r\nContent-Type: application/json; charset=utf-8\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (status, len(body), body)
        )

    def _upgrade(self, path: bytes, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        self._receiver = self._site.socket(path, self)

    def _one_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 6:
            return False
        size, start = buffer[1] & 0x7F, 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(buffer[2:start], "big")
        end = start + 4 + size
        if len(buffer) < end:
            return False
        self._buffer = buffer[end:]
        payload = _unmasked(buffer[start + 4 : end], buffer[start : start + 4])
        kind = buffer[0] & 0x0F
        if kind == _TEXT and self._receiver is not None:
            self._receiver.text(payload)
        elif kind == _PING:
            self.send(bytes((0x8A, size)) + payload)
        elif kind == _CLOSE:
            self.send(bytes((0x88, size)) + payload)
            if self._transport is not None:
                self._transport.close()
        return True


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )
