"""Virtual time: a loop that jumps to its next timer when nothing else is left to do.

So `asyncio.sleep`, `asyncio.timeout` and `call_later` all obey one clock, hours pass in no time, and
who sleeps for an instant knows that everything that could happen by then has happened.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import fakeredis._helpers
import fakeredis._socket._base
import fakeredis.commands_mixins.server_mixin
import pytest

EPOCH = 1_700_000_000.0
"""Unix seconds at the beginning of every test."""


class Stuck(Exception):
    """Every task waits, and nothing is scheduled that could wake one."""


class _Jumping(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck
            self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time is how long was slept; nothing in it may use threads or sockets."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class FakeClock:
    """`ports.Clock` on a VirtualLoop: boottime is zero at the beginning of the test."""

    ahead = 0.0
    """How many seconds it was set forward, or back."""

    def now(self) -> float:
        return EPOCH + self.boottime() + self.ahead

    def boottime(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def until(condition: Callable[[], bool], seconds: float = 900.0) -> None:
    """Let time pass until the condition holds; fail after the deadline."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.1)


@contextmanager
def redis_lives_by(clock: FakeClock) -> Iterator[None]:
    """Let fakeredis expire its keys, and answer TIME, by this clock."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (
            fakeredis._helpers,
            fakeredis._socket._base,
            fakeredis.commands_mixins.server_mixin,
        ):
            patch.setattr(module, "time", SimpleNamespace(time=clock.now))
        yield
