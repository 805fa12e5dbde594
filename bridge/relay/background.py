"""Tasks that nobody waits for, until the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from bridge import metrics

log = structlog.get_logger(__name__)


class Background:
    """Keeps them alive, and says so where one fails."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.stopping = False
        """The replica stops: it takes nothing more on, and what fails is no news."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this in the background."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if task.cancelled() or self.stopping:
            return
        if error := task.exception():
            log.error("worker_task_failed", exc_info=error)
            metrics.ALARMS.labels("worker_task_failed").inc()
