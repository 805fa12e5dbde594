"""GetTranscript: which items a request selects, and in which order."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge.sandbox.connect.chat import Chat, Cursor
from bridge.sandbox.connect.clock import parse_iso
from bridge.sandbox.connect.errors import invalid
from bridge.sandbox.connect.items import Item
from bridge.sandbox.connect.world import World

DEFAULT_RESULTS = 10
_READS = 20
"""Noted of each item."""


def get_transcript(world: World, chat: Chat, params: Mapping[str, Any]) -> dict[str, Any]:
    """One page (Participant API, GetTranscript).

    Positions are item numbers, so that an item which becomes readable late is in its place.
    Raises ValidationException for a NextToken or StartPosition that means nothing here.
    """
    contact_id = params.get("ContactId")
    if contact_id is not None and world.chat_of(contact_id) is not chat:
        return {"InitialContactId": chat.id, "Transcript": [], "NextToken": ""}
    now = world.clock.monotonic()
    items = [each for each in chat.items if each.readable_at <= now]
    if contact_id is not None:
        items = [each for each in items if each.contact_id == contact_id]
    cursor = _cursor(chat, items, params)
    numbered = (
        list(enumerate(chat.opening.past))
        if cursor.in_past
        else [(each.number, each) for each in items]
    )
    page, following = _scan(numbered, cursor, params.get("MaxResults") or DEFAULT_RESULTS)
    if following is None and cursor.reaches_past and not cursor.in_past:
        following = replace(cursor, in_past=True, position=len(chat.opening.past) - 1)
    for _, item in page:
        if len(item.reads) < _READS:
            item.reads.append(now)
    page.sort(key=lambda each: each[0], reverse=params.get("SortOrder") != "ASCENDING")
    answer: dict[str, Any] = {
        "InitialContactId": chat.id,
        "Transcript": [each.entry(related=cursor.in_past) for _, each in page],
    }
    if following is not None:
        answer["NextToken"] = secrets.token_urlsafe(32)
        chat.cursors[answer["NextToken"]] = following
    return answer


def _cursor(chat: Chat, items: Sequence[Item], params: Mapping[str, Any]) -> Cursor:
    """Where this page begins. A NextToken overrules StartPosition, not the direction."""
    start, direction = params.get("StartPosition"), params.get("ScanDirection")
    if token := params.get("NextToken"):
        known = chat.cursors.get(token)
        if known is None:
            raise invalid("NextToken is not valid")
        return known if direction is None else replace(known, forward=direction == "FORWARD")
    forward = (direction or ("FORWARD" if start else "BACKWARD")) == "FORWARD"
    whole = not start and "ContactId" not in params
    return Cursor(
        position=_start(items, start, forward=forward),
        forward=forward,
        reaches_past=whole and not forward and bool(chat.opening.past),
    )


def _scan(
    numbered: Sequence[tuple[int, Item]], cursor: Cursor, limit: int
) -> tuple[list[tuple[int, Item]], Cursor | None]:
    """Up to `limit` entries from the cursor on, and where the next page begins, if any."""
    if cursor.forward:
        ahead = [each for each in numbered if each[0] >= cursor.position]
    else:
        ahead = [each for each in reversed(numbered) if each[0] <= cursor.position]
    following = replace(cursor, position=ahead[limit][0]) if len(ahead) > limit else None
    return ahead[:limit], following


def _start(items: Sequence[Item], start: Mapping[str, Any] | None, *, forward: bool) -> int:
    """The first position. Without a StartPosition both directions begin at the newest item."""
    newest = items[-1].number if items else 0
    if not start:
        return newest
    if len(start) != 1:
        raise invalid("StartPosition has exactly one member")
    if "Id" in start:
        for each in items:
            if each.id == start["Id"]:
                return each.number
        raise invalid("StartPosition.Id is not an item of this chat")
    if "MostRecent" in start:
        back = min(max(start["MostRecent"], 1), len(items))
        return items[-back].number if items else 0
    try:
        at_ms = parse_iso(start["AbsoluteTime"])
    except ValueError:
        raise invalid("StartPosition.AbsoluteTime is not an ISO 8601 time") from None
    if forward:
        return next((each.number for each in items if each.at_ms >= at_ms), newest + 1)
    return next((each.number for each in reversed(items) if each.at_ms <= at_ms), -1)
