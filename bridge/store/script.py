"""A Lua script, run by its hash."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from typing import Any, Final

import redis.asyncio as redis

from bridge import metrics
from bridge.core.errors import StoreAway
from bridge.store.errors import translated

_MOVED: Final = {"READONLY", "MASTERDOWN", "NOREPLICAS"}
"""What an old primary says after a failover: the name may lead to another one by now."""

Argument = str | bytes | int


class Script:
    """One round trip, unless Redis does not know it yet. `leading` are the arguments that
    `scripts/common.lua` takes, as they are at each call."""

    def __init__(
        self, client: redis.Redis, name: str, leading: Callable[[], tuple[Argument, ...]]
    ) -> None:
        self._client = client
        folder = resources.files("bridge.store") / "scripts"
        source = (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()
        self._run = client.register_script(source)
        self._leading = leading
        self._seconds = metrics.CALL_SECONDS.labels("redis", name)

    async def __call__(self, *arguments: Argument) -> Any:
        """What the script returns. Raises StoreAway, after which the next call connects anew where
        this Redis is not the primary any more."""
        try:
            with translated(), self._seconds.time():
                return await self._run(args=(*self._leading(), *arguments))
        except StoreAway as away:
            if away.code in _MOVED:
                with suppress(redis.RedisError, OSError):
                    await self._client.connection_pool.disconnect()
            raise
