"""What was given up, for whoever looks after the service: listed, tried again, dropped.

Works beside a running service, on the same Redis: entries are parked by `RedisStore.settle`, and
leave in the same script that puts them back into their lane, whose owner is told at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import redis.asyncio as redis

from bridge.core.parked import Parked
from bridge.store import records
from bridge.store.crypto import Box
from bridge.store.errors import Unreadable, translated
from bridge.store.pipe import Pipe
from bridge.store.redis import SEEN_SECONDS
from bridge.store.script import Script

_LAST: Final = (inf, "")


@dataclass(frozen=True, slots=True)
class Entry:
    """One that is parked; `parked` is None where it cannot be read."""

    id: str
    sealed: bytes
    parked: Parked | None


class ParkedStore:
    """`prefix` is the first part of every key. Every call raises StoreAway. The caller closes the
    client by `close`."""

    def __init__(self, client: redis.Redis, box: Box, prefix: str) -> None:
        self._client = client
        self._pipe = Pipe(client)
        self._box = box
        self._prefix = prefix
        # Nobody's incarnation: a place that it takes has no living owner, and is claimed.
        nobody = secrets.token_hex(8)
        self._unpark = Script(self._pipe, "unpark", lambda: (prefix, nobody, ""))
        self._seen_ms = round(SEEN_SECONDS * 1000)

    async def entries(self) -> Sequence[Entry]:
        """All of them, the oldest first; what cannot be read comes last."""
        with translated():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.execute_command("ZRANGE", f"{self._prefix}:parked_at", "0", "-1")
                pipe.execute_command("HGETALL", f"{self._prefix}:parked")
                ids, sealed = await pipe.execute()
        entries = [self._entry(id_.decode(), sealed[id_]) for id_ in ids]
        return sorted(entries, key=lambda one: one.parked.order if one.parked else _LAST)

    def _entry(self, id_: str, sealed: bytes) -> Entry:
        try:
            parked = records.read_parked(self._box.open(sealed, "parked", id_))
        except Unreadable:
            return Entry(id_, sealed, None)
        return Entry(id_, sealed, parked)

    async def retry(self, entry: Entry, now: float) -> bool:
        """Put it back into its lane at `now` (Unix seconds). False where it is not parked any
        more, or not as it was read. Raises Unreadable."""
        parked = entry.parked
        if parked is None:
            raise Unreadable(f"{entry.id} cannot be read")
        incoming, whose = parked.again(now), str(parked.conversation)
        record = self._box.seal(records.dump_incoming(incoming), "lane", whose)
        place = str(incoming.conversation.place)
        return await self._take_out(entry, place, whose, incoming.id, record)

    async def drop(self, entry: Entry) -> bool:
        """Forget it. False where it is not parked any more, or not as it was read."""
        return await self._take_out(entry)

    async def _take_out(self, entry: Entry, *lane: str | bytes) -> bool:
        taken = await self._unpark(entry.id, entry.sealed, self._seen_ms, *lane)
        return bool(taken == 1)

    async def close(self) -> None:
        """Close every connection."""
        await self._pipe.close()
        await self._client.aclose()
