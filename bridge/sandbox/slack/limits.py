"""Slack's rate limits, where a setting switches them on (docs: rate limits)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from bridge.sandbox.slack.settings import Settings

MINUTE = 60.0


class Asked(Protocol):
    """What a limit looks at: the method and the channel of a call."""

    method: str

    def text(self, name: str) -> str:
        """A parameter of the call."""


class Limits:
    """Token buckets: posts in each channel, and reads of history by each method."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._posts = _Buckets()
        self._reads = _Buckets()

    def wait(self, call: Asked, limit: str) -> float | None:
        """Seconds until the call would be let through; None lets it through now."""
        posts, reads = self._settings.post_rate, self._settings.history_limit
        if limit == "post" and posts is not None:
            return self._posts.take(call.text("channel"), posts["per_second"], posts["burst"])
        if limit == "history" and reads is not None:
            return self._reads.take(call.method, reads["per_minute"] / MINUTE, reads["per_minute"])
        return None


class _Buckets:
    def __init__(self) -> None:
        self._levels: dict[str, Mapping[str, float]] = {}

    def take(self, key: str, rate: float, burst: float) -> float | None:
        now = time.monotonic()
        last = self._levels.get(key, {"level": burst, "at": now})
        level = min(burst, last["level"] + (now - last["at"]) * rate)
        if level >= 1:
            self._levels[key] = {"level": level - 1, "at": now}
            return None
        self._levels[key] = {"level": level, "at": now}
        return (1 - level) / rate
