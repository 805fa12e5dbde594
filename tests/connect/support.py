"""Clocks, a listener that remembers, and short ways to say what a test is about."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence

from bridge.core.model import (
    ConversationId,
    Item,
    ItemKind,
    Opening,
    Place,
    Profile,
    Workspace,
)

CONVERSATION = ConversationId(Place(Workspace("T1", "E1"), "C1"), "1700000000.000100")
PATIENCE = 10.0


class SystemClock:
    """Real time."""

    def now(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FakeClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    def boottime(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, id(future), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking every sleeper at its moment."""
        end = self.time + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self.time = max(self.time, due)
            if not future.done():
                future.set_result(None)
            await settle()
        self.time = end


async def settle() -> None:
    """Let every task that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait until the condition holds, or fail."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.01)


class Listener:
    """Remembers what a chat told."""

    def __init__(self) -> None:
        self.told: list[Item] = []
        self.batches: list[tuple[Item, ...]] = []
        self.subscriptions = 0
        self.renewals: list[tuple[str, float]] = []
        self.overs = 0

    def subscribed(self) -> None:
        self.subscriptions += 1

    def items(self, items: Sequence[Item]) -> None:
        self.told += items
        self.batches.append(tuple(items))

    def renewed(self, connection_token: str, expiry: float) -> None:
        self.renewals.append((connection_token, expiry))

    def over(self) -> None:
        self.overs += 1

    @property
    def ids(self) -> list[str]:
        return [item.id for item in self.told]

    def texts(self, *roles: str) -> list[str]:
        """What was said, by these roles or by anybody but the customer."""
        return [
            item.text
            for item in self.told
            if item.kind is ItemKind.MESSAGE
            and (item.role in roles if roles else item.role != "CUSTOMER")
        ]

    def kinds(self) -> list[ItemKind]:
        return [item.kind for item in self.told]


def opening(
    name: str = "Ann Example",
    *,
    attempt: int = 1,
    source: str = "",
    text: str = "",
    conversation: ConversationId = CONVERSATION,
) -> Opening:
    return Opening(
        conversation=conversation,
        generation=1,
        attempt=attempt,
        customer=Profile(
            "U1",
            name,
            email="ann@example.com",
            time_zone="Europe/Paris",
            locale="fr-FR",
            team_id="T9",
            external=True,
        ),
        place_name="support",
        permalink="https://example.slack.com/archives/C1/p1",
        initial_message=text,
        source_contact_id=source,
    )
