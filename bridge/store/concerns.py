"""What about a Redis endangers what is stored in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import redis.asyncio as redis

from bridge.core.errors import StoreAway
from bridge.store.errors import translated

UNKNOWN: Final = (
    "INFO replication is refused or says nothing: a Redis that was replaced or lost its last writes "
    "goes unnoticed"
)
_EVICTS: Final = "maxmemory-policy is {}: Redis may drop what waits; set noeviction"
_NO_AOF: Final = "appendonly is off: a restart of Redis loses what came after its last snapshot; set appendonly yes"


async def concerns(client: redis.Redis) -> Sequence[str]:
    """In words, each with what to set; nothing of what Redis does not tell, as managed ones may not.

    Read from INFO, because CONFIG is refused more often. Raises StoreAway."""
    try:
        with translated():
            memory = await client.info("memory")
            persistence = await client.info("persistence")
    except StoreAway as away:
        if away.code == "NOPERM":
            return []
        raise
    found = []
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(_EVICTS.format(policy))
    if persistence.get("aof_enabled", 1) == 0:
        found.append(_NO_AOF)
    return found
