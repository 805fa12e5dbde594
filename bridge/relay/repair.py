"""What happens when our own code fails: it is tried again for a while, then without its cause.

An error that nobody foresaw may pass (it came of the state, or of an answer) or not. A lane must
stand still for it neither for ever nor not at all, and what is given up must not vanish.
"""

from __future__ import annotations

import structlog

from bridge import metrics
from bridge.core.errors import NotOwner
from bridge.core.ports import Clock
from bridge.relay.clock import Stopping

log = structlog.get_logger(__name__)

_TRIES = 5

FORESEEN = (NotOwner, Stopping)
"""What ends a task in the ordinary course of things."""


class Repairs:
    """Counts in memory what each error befell; a new owner begins anew."""

    __slots__ = ("_clock", "_failed", "_patience")

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock = clock
        self._patience = patience
        self._failed: dict[str, tuple[int, float]] = {}

    def hopeless(self, work: str, error: Exception) -> bool:
        """Note that `work` (a kind and an id) failed. Whether it did so often, and for long."""
        now = self._clock.boottime()
        tries, since = self._failed.pop(work, (0, now))
        if tries + 1 < _TRIES or now - since < self._patience:
            self._failed[work] = tries + 1, since
            return False
        log.error("given_up", work=work, tries=tries + 1, exc_info=error)
        metrics.ALARMS.labels("defect").inc()
        return True

    def noted(self, work: str) -> bool:
        """Whether it failed before."""
        return work in self._failed

    def done(self, work: str) -> None:
        """It came to an end."""
        self._failed.pop(work, None)
