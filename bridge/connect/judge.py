"""Whether a refused contact is over, or nobody is let in any more: one judge of all contacts.

A 403 that fresh tokens do not cure is how Connect speaks of a chat that has ended, and also how it
answers everybody where the Region is wrong or the account is broken. So refusals are judged
together. Where several contacts are refused and none is served in between, all of them are held:
they are over when DescribeContact says so, or when they are refused again although Connect has
served another contact since.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from bridge import metrics
from bridge.core.errors import Failure, Temporary, Uncertain
from bridge.core.ports import Clock

log = logging.getLogger(__name__)

_MANY = 3
"""So many contacts refused together are no coincidence."""
_TOGETHER = 300.0
"""Seconds. A socket that was lost reconnects, and finds out, at most half a minute later; one that
lives finds out when it is replaced, up to an hour later, or when somebody writes."""
_TRY_AGAIN = (45.0, 75.0)
"""Seconds after which a held contact is tried again itself: success anywhere clears them all."""
_ASK_AGAIN = 60.0
_ASK_SOON = 5.0
_LOOK_UP = 1.0
_QUIET = 60.0
"""Without a refusal, and with nobody held, suspicion ends."""
_COME_BACK = 10.0
"""Retry-After of what is not even tried: it costs nothing, and the verdict may be there by then."""

Describe = Callable[[str], Awaitable[bool]]
"""Whether Connect's record of a contact says that it is over. Raises Failure where that cannot be
told."""


class Suspect(Protocol):
    """A contact, as its judge sees it."""

    @property
    def contact_id(self) -> str:
        """The initial contact id."""
        ...

    @property
    def segment_id(self) -> str:
        """The newest contact of its chat that was heard of: DescribeContact knows the end of each
        apart."""
        ...

    def end(self) -> None:
        """It is over."""
        ...


@dataclass(slots=True)
class _Case:
    suspect: Suspect
    try_at: float
    ask_at: float
    """Both in boottime."""


class Judge:
    """One for all contacts of a process. `quarantine`: seconds that a refusal waits for others."""

    def __init__(self, clock: Clock, describe: Describe, quarantine: float) -> None:
        self._clock = clock
        self._describe = describe
        self._quarantine = quarantine
        self._refused: dict[str, float] = {}
        """When (boottime) contacts were refused since any was served."""
        self._suspected_at: float | None = None
        """Since when (boottime) everybody may be refused."""
        self._alarmed = False
        """This suspicion was found to be no mere coincidence of ends."""
        self._held: dict[str, _Case] = {}
        self._cleared: set[str] = set()
        """Were held when Connect served another: their next refusal is their end."""
        self._asker: asyncio.Task[None] | None = None

    def allow(self, suspect: Suspect, call: str) -> None:
        """Ask before a call. Raises Temporary for a held contact that was tried just now."""
        case = self._held.get(suspect.contact_id)
        if case is None:
            return
        now = self._clock.boottime()
        if now < case.try_at:
            raise _held(call)
        case.try_at = now + _pause()

    def served(self, suspect: Suspect, begun: float) -> None:
        """Connect carried out a call of this contact that was begun at `begun` (boottime)."""
        if not (self._refused or self._cleared):
            return
        self._cleared.discard(suspect.contact_id)
        self._refused = {one: at for one, at in self._refused.items() if at >= begun}
        # An answer may have been on its way since before.
        if self._suspected_at is not None and begun > self._suspected_at:
            self._cleared.update(self._held.keys() - {suspect.contact_id})
            log.warning("Connect serves chats again: %d held ones are tried again", len(self._held))
            self._calm()

    async def refused(self, suspect: Suspect, call: str) -> None:
        """Two 403 in a row. Returns where that means that the contact is over; raises Temporary
        where it is held."""
        if suspect.contact_id in self._cleared:
            return
        now = self._clock.boottime()
        self._refused = {one: at for one, at in self._refused.items() if at > now - _TOGETHER}
        self._refused[suspect.contact_id] = now
        if self._suspected_at is None and len(self._refused) < _MANY:
            await self._clock.sleep(self._quarantine)
        if self._suspected_at is None and len(self._refused) >= _MANY:
            self._suspected_at = now
            self._alarmed = False
            log.warning("Connect refuses one chat after the other: they are held and asked about")
        if self._suspected_at is not None:
            self._hold(suspect)
            raise _held(call)

    def forget(self, suspect: Suspect) -> None:
        """Nobody listens to it any more."""
        self._cleared.discard(suspect.contact_id)
        if self._held.pop(suspect.contact_id, None) is not None:
            self._count()

    async def close(self) -> None:
        """Judge no more."""
        asker = self._asker
        self._calm()
        if asker is not None:
            await asyncio.gather(asker, return_exceptions=True)

    def _hold(self, suspect: Suspect) -> None:
        now = self._clock.boottime()
        self._held.setdefault(suspect.contact_id, _Case(suspect, now + _pause(), now))
        self._count()
        if self._asker is None:
            self._asker = asyncio.create_task(self._ask())

    def _calm(self) -> None:
        self._suspected_at = None
        self._held.clear()
        self._count()
        if self._asker is not None:
            self._asker.cancel()
            self._asker = None

    def _count(self) -> None:
        metrics.HELD_CONTACTS.set(len(self._held))

    async def _ask(self) -> None:
        """Ask Connect about one held contact after the other, as long as anybody is suspected."""
        while self._held or not self._quiet:
            now = self._clock.boottime()
            case = min(self._held.values(), key=lambda one: one.ask_at, default=None)
            if case is None or case.ask_at > now:
                await self._clock.sleep(_LOOK_UP)
                continue
            case.ask_at = now + _ASK_AGAIN
            try:
                over = await self._describe(case.suspect.segment_id)
            except Failure as failure:
                await self._clock.sleep(self._unanswered(failure))
                continue
            if not over:
                self._alarm("DescribeContact knows a refused chat as open")
            elif self._held.pop(case.suspect.contact_id, None) is not None:
                self._count()
                case.suspect.end()
        self._asker = None
        self._suspected_at = None

    @property
    def _quiet(self) -> bool:
        last = max(self._refused.values(), default=float("-inf"))
        return self._clock.boottime() - last >= _QUIET

    def _unanswered(self, failure: Failure) -> float:
        """Seconds until the next question."""
        if isinstance(failure, Temporary | Uncertain):
            return _ASK_SOON
        self._alarm(str(failure))
        return _ASK_AGAIN

    def _alarm(self, reason: str) -> None:
        if self._alarmed:
            return
        self._alarmed = True
        metrics.ALARMS.labels("connect_refuses_chats").inc()
        log.error(
            "Connect refuses %d chats that may not be over; they are held until any chat works. "
            "Check Region, endpoint and account. %s",
            len(self._held),
            reason,
        )


def _pause() -> float:
    return random.uniform(*_TRY_AGAIN)  # noqa: S311 - spreads load


def _held(call: str) -> Temporary:
    return Temporary(call, "ContactHeld", _COME_BACK)
