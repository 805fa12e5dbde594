"""What was asked of the service, for tests and people to look at."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 10_000


@dataclass
class Request:
    """One call. `status` None: not answered (yet). Tokens are not kept."""

    seq: int
    at: str
    operation: str
    contact_id: str | None = None
    status: int | None = None
    error: str | None = None
    client_token: str | None = None
    content: str | None = None
    fault: str | None = None
    """The kind of the fault that struck it."""


class RequestLog:
    """The newest calls, oldest first."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque(maxlen=KEPT)
        self._numbers = itertools.count(1)

    def begin(self, at: str, operation: str) -> Request:
        """Note a call; its other fields are filled in as they become known."""
        request = Request(next(self._numbers), at, operation)
        self._requests.append(request)
        return request

    def since(self, seq: int) -> list[dict[str, Any]]:
        """All calls after this number."""
        return [asdict(each) for each in self._requests if each.seq > seq]
