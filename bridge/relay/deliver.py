"""The one retry policy: what a failure means for the next try, and when to give up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from bridge import metrics
from bridge.core.errors import (
    Denied,
    Failure,
    Gone,
    Rejected,
    StoreAway,
    Temporary,
    Uncertain,
)
from bridge.core.ports import Clock

log = structlog.get_logger(__name__)
T = TypeVar("T")

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
DENIED_DELAY = 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call is tried. `repeatable`: an unknown outcome may simply be tried again
    (the call carries an idempotency token, or only reads)."""

    seconds: float
    repeatable: bool = True


FOREVER = Patience(float("inf"))


def next_try(failure: Failure, attempt: int, age: float, patience: Patience) -> float | None:
    """Seconds until the next try (without jitter), or None to give up. `attempt` counts from 1."""
    if isinstance(failure, Rejected | Gone):
        return None
    if isinstance(failure, Uncertain) and not patience.repeatable:
        return None
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempt - 1, 16))
    if isinstance(failure, Denied):
        delay = DENIED_DELAY
    if isinstance(failure, Temporary) and failure.retry_after is not None:
        delay = max(failure.retry_after, 0.0)
    return delay if age + delay <= patience.seconds else None


async def insist(
    call: Callable[[], Awaitable[T]],
    side: str,
    clock: Clock,
    patience: Patience = FOREVER,
    on_retry: Callable[[Failure, float], None] | None = None,
) -> T:
    """Try until it works or patience ends; the last failure is raised then.

    `on_retry` hears of each failure that is to be tried again, and how long it has been tried.
    """
    began = clock.boottime()
    attempt = 0
    while True:
        attempt += 1
        try:
            return await call()
        except Failure as failure:
            age = clock.boottime() - began
            delay = next_try(failure, attempt, age, patience)
            reason = type(failure).__name__.lower()
            if delay is None:
                raise
            metrics.RETRIES.labels(side, failure.call, reason).inc()
            if isinstance(failure, Denied):
                metrics.ALARMS.labels(f"{side}_denied").inc()
            log.warning(
                "call_retried", side=side, call=failure.call, code=failure.code, attempt=attempt
            )
            if on_retry:
                on_retry(failure, age)
            await clock.sleep(delay + random.uniform(0, 0.25 * delay))  # noqa: S311 - jitter


async def store_insist(call: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Try a store call until Redis is there again. NotOwner passes through."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return await call()
        except StoreAway as away:
            log.info("store_away", reason=str(away), attempt=attempt)
            metrics.RETRIES.labels("redis", "write", "storeaway").inc()
            await clock.sleep(min(1.0, 0.1 * 2.0 ** min(attempt, 10)))
