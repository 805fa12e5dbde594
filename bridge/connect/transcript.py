"""Reading a contact's transcript (GetTranscript)."""

from __future__ import annotations

import logging
from typing import Any

from bridge.connect.contacts import Credentials
from bridge.connect.quota import Urgency
from bridge.connect.translate import item_of
from bridge.core.errors import Rejected
from bridge.core.model import Item

log = logging.getLogger(__name__)

_PAGE = 100
_MAX_PAGES = 100
"""Connect rehydrates at most 100 past contacts, and 5 MB of them."""
_TRIES = 3


async def read_transcript(credentials: Credentials, floor: float, urgency: Urgency) -> list[Item]:
    """Every item back to `floor` (Unix seconds; -inf: the transcript's start), oldest first, and
    perhaps some older ones.

    It is read backwards, because the past of a continued chat cannot be read in any other way
    (Administrator Guide, persistent chat), and page by page with the service's own tokens, which
    are void after a reconnect: a read that fails begins anew.
    """
    for _ in range(_TRIES - 1):
        try:
            return await _read(credentials, floor, urgency)
        except _PageRefused:
            log.info("The transcript of %s is read anew", credentials.contact_id)
    return await _read(credentials, floor, urgency)


class _PageRefused(Rejected):
    """Most often the connection token was renewed since the page before."""


async def _read(credentials: Credentials, floor: float, urgency: Urgency) -> list[Item]:
    items: dict[str, Item] = {}
    body: dict[str, Any] = {
        "MaxResults": _PAGE,
        "ScanDirection": "BACKWARD",
        "SortOrder": "DESCENDING",
    }
    for _ in range(_MAX_PAGES):
        try:
            answer = await credentials.call("GetTranscript", body, urgency)
        except Rejected as failure:
            if "NextToken" not in body:
                raise
            raise _PageRefused(failure.call, failure.code) from None
        raws = answer.get("Transcript")
        page = [
            item
            for raw in (raws if isinstance(raws, list) else [])
            if (item := item_of(raw, credentials.participant_id)) is not None
        ]
        items |= {item.id: item for item in page}
        token = answer.get("NextToken")
        # An empty token means the end, too.
        if not isinstance(token, str) or not token:
            break
        if any(item.time < floor for item in page):
            break
        body["NextToken"] = token
    else:
        log.warning("The transcript of %s is longer than we read", credentials.contact_id)
    return sorted(items.values(), key=lambda item: (item.time, item.id))
