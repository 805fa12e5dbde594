"""A Lua script, run by its hash."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

from bridge import metrics
from bridge.core.errors import StoreAway
from bridge.store.pipe import Argument, Pipe


class Script:
    """One round trip, unless Redis does not know it yet. `leading` are the arguments that
    `scripts/common.lua` takes, as they are at each call."""

    def __init__(self, pipe: Pipe, name: str, leading: Callable[[], tuple[Argument, ...]]) -> None:
        self._pipe = pipe
        folder = resources.files("bridge.store") / "scripts"
        self._source = (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()
        # Redis' name for it.
        self._hash = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()
        self._leading = leading
        self._seconds = metrics.CALL_SECONDS.labels("redis", name)

    async def __call__(self, *arguments: Argument) -> Any:
        """What the script returns. Raises StoreAway."""
        words = ("EVALSHA", self._hash, 0, *self._leading(), *arguments)
        begun = time.perf_counter()
        try:
            return await self._pipe.execute(*words)
        except StoreAway as away:
            if away.code != "NOSCRIPT":
                raise
        finally:
            self._seconds.observe(time.perf_counter() - begun)
        await self._pipe.execute("SCRIPT", "LOAD", self._source)
        return await self._pipe.execute(*words)
