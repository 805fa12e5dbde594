"""Requests that ask, at the last moment before they are written, whether they may still be made.

A replica that was frozen may have lost what it was about to write for. So the question comes when
a connection is in hand and the body is ready, and the bytes go to the kernel in the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

Guard = Callable[[], None]


@dataclass(slots=True)
class Attempt:
    """Requests with a body that are made inside this context, on a session whose `request_class`
    is GuardedRequest, ask `guard`; the context raises what it raises."""

    guard: Guard | None
    sent: bool = False
    """Something may have been written, so the other side may have acted."""
    refusal: BaseException | None = None
    """What the guard raised. Nothing was written then."""
    _outer: Token[Attempt | None] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self._outer = _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._outer is not None:
            _current.reset(self._outer)
        if self.refusal is not None and isinstance(error, Exception):
            raise self.refusal from None  # the layers between have dressed it up


_current: ContextVar[Attempt | None] = ContextVar("_current", default=None)


class GuardedRequest(aiohttp.ClientRequest):
    """Asks the guard of the attempt that it belongs to."""

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write the headers, which waited for this, and the body."""
        one = _current.get()
        if one is not None and not _may_write(one, conn):
            return
        await super().write_bytes(writer, conn, content_length)


def _may_write(one: Attempt, conn: Connection) -> bool:
    if one.guard is not None:
        try:
            one.guard()
        except BaseException as refusal:  # noqa: BLE001 - it goes to whoever waits for the answer
            one.refusal = refusal
            if conn.protocol is not None:
                conn.protocol.set_exception(refusal)
            return False
    one.sent = True
    return True
