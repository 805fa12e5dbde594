"""The command `parked`: what was given up is listed, tried again, or dropped. Never its text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TextIO

from bridge.core.errors import StoreAway
from bridge.core.ports import Clock
from bridge.settings import Settings
from bridge.store import embedded
from bridge.store.crypto import Box, make_or_read_key
from bridge.store.errors import Unreadable
from bridge.store.parked import Entry, ParkedStore
from bridge.store.redis import connect

_HEAD = ("ID", "WHEN (UTC)", "CONVERSATION", "DIRECTION", "REASON")


class CannotReach(Exception):
    """What is parked cannot be reached; the message says what to do."""


async def listed(settings: Settings, out: TextIO) -> int:
    """Print a table of everything. Raises CannotReach."""
    async with _store(settings) as store:
        entries = await store.entries()
    if not entries:
        out.write("Nothing is parked.\n")
        return 0
    rows = [_HEAD, *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.write("  ".join(cells).rstrip() + "\n")
    return 0


def _row(entry: Entry) -> tuple[str, ...]:
    parked = entry.parked
    if parked is None:
        return entry.id, "?", "cannot be read: see BRIDGE_ENCRYPTION_KEYS", "?", "?"
    when = datetime.fromtimestamp(parked.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return entry.id, when, str(parked.conversation), str(parked.direction), parked.reason


async def retried(settings: Settings, ids: Sequence[str], out: TextIO, clock: Clock) -> int:
    """Put these entries (none: all) back into their lanes. Returns 1 where one could not be.
    Raises CannotReach."""
    async with _store(settings) as store:
        return await _each(
            store, ids, out, "to be tried again", lambda one: store.retry(one, clock.now())
        )


async def dropped(settings: Settings, ids: Sequence[str], out: TextIO) -> int:
    """Forget these entries (none: all). Returns 1 where one could not be. Raises CannotReach."""
    async with _store(settings) as store:
        return await _each(store, ids, out, "dropped", store.drop)


async def _each(
    store: ParkedStore,
    ids: Sequence[str],
    out: TextIO,
    done: str,
    act: Callable[[Entry], Awaitable[bool]],
) -> int:
    there = {entry.id: entry for entry in await store.entries()}
    failed = False
    for id_ in dict.fromkeys(ids or there):
        try:
            acted = id_ in there and await act(there[id_])
        except Unreadable:
            out.write(f"{id_}: cannot be read: see BRIDGE_ENCRYPTION_KEYS\n")
            failed = True
            continue
        out.write(f"{id_}: {done if acted else 'is not parked'}\n")
        failed |= not acted
    if not ids and not there:
        out.write("Nothing is parked.\n")
    return 1 if failed else 0


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[ParkedStore]:
    url, keys = settings.redis_url.get_secret_value(), settings.encryption_keys.get_secret_value()
    try:
        # The socket first: where no service runs, no key is made for it either.
        socket = "" if url else embedded.running(settings.data_dir)
        box = Box(keys or make_or_read_key(settings.data_dir))
    except (OSError, ValueError, embedded.CannotServe) as error:
        raise CannotReach(str(error)) from None
    store = ParkedStore(connect(url, unix_socket=socket), box, settings.redis_prefix)
    try:
        yield store
    except StoreAway as away:
        raise CannotReach(f"{away}. Nothing was changed, or it is not known.") from None
    finally:
        await store.close()
