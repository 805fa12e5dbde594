"""Cursors: `limit`, `cursor` and `response_metadata.next_cursor` (docs: pagination)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from bridge.sandbox.slack.model import Json
from bridge.sandbox.slack.web_api import ApiError, Call

Item = TypeVar("Item")

MAX_LIMIT = 1000


def page(
    call: Call, items: Sequence[Item], *, default: int = 100, most: int = MAX_LIMIT
) -> tuple[list[Item], Json]:
    """The items of the call's page, and the `response_metadata` that leads to the next; its
    `next_cursor` is empty on the last page. Raises ApiError for a bad limit or cursor."""
    limit = call.number("limit", default)
    if limit < 1 or limit > MAX_LIMIT:
        raise ApiError("invalid_limit")
    limit = min(limit, most)
    start = _decode(call.text("cursor"))
    rest = len(items) - start - limit
    cursor = _encode(start + limit) if rest > 0 else ""
    return list(items[start : start + limit]), {"response_metadata": {"next_cursor": cursor}}


def _encode(position: int) -> str:
    return base64.b64encode(f"next:{position}".encode()).decode()


def _decode(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        name, _, position = base64.b64decode(cursor, validate=True).decode().partition(":")
        if name == "next":
            return int(position)
    except (binascii.Error, ValueError):
        pass
    raise ApiError("invalid_cursor")
