"""What is wrong with the store: said once, and told to whoever asks whether we are ready."""

from __future__ import annotations

import structlog

from bridge import metrics
from bridge.core.errors import StoreAway

log = structlog.get_logger(__name__)


class Trouble:
    """As the renewals of our lease show it. `reason` is empty where there is none."""

    def __init__(self) -> None:
        self.reason = ""
        self._lease_lost = False

    def met(self, away: StoreAway, held: bool) -> None:
        """A renewal failed; `held`: our lease is certainly alive still."""
        if str(away) != self.reason:
            log.error("redis_trouble", reason=str(away))
            if away.lasting:
                metrics.ALARMS.labels("redis_refuses").inc()
        if not held and not self._lease_lost:
            self._lease_lost = True
            metrics.ALARMS.labels("redis_away").inc()
        self.reason = str(away)

    def over(self) -> None:
        """Our lease was renewed."""
        if self.reason:
            log.info("redis_back", after=self.reason)
        self.reason, self._lease_lost = "", False
