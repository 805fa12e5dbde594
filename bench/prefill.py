"""Conversations that are open before a measured process starts, stored as it would have itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import redis.asyncio as redis

from bench import shapes
from bridge.core.events import Incoming, Wrote
from bridge.core.lookback import NOTHING
from bridge.core.model import (
    Contact,
    Conversation,
    ConversationId,
    CustomerMessage,
    Person,
    Phase,
    Place,
    Sent,
    Workspace,
)
from bridge.store.crypto import Box
from bridge.store.redis import RedisStore, connect

_AT_ONCE = 32
_PLACE = Workspace(shapes.TEAM)


def _conversation(index: int) -> Conversation:
    """One in the middle of its life, in whose chat something was written before."""
    id_ = ConversationId(Place(_PLACE, shapes.channel(index)), shapes.thread(index))
    history = [
        (shapes.old_item_id(index, position), shapes.HISTORY_BEGAN + position)
        for position in range(shapes.HISTORY)
    ]
    return Conversation(
        id_,
        phase=Phase.OPEN,
        generation=1,
        opener=shapes.USER,
        contact=Contact(
            shapes.contact_id(index),
            shapes.participant_id(index),
            shapes.token("part", index),
            shapes.token("conn", index),
            time.time() + 86400,
            connected=True,
        ),
        people=(Person(shapes.USER, "Ana Ruiz"),),
        last_own=Sent(*history[-1]),
        seen=NOTHING.plus(history),
        last_ts=shapes.thread(index),
        last_post_ts=shapes.thread(index),
    )


async def for_bridge(socket: Path, key: str, chats: int) -> None:
    """Open conversations without an owner, as a replica leaves them that was stopped."""
    client = connect(unix_socket=socket, timeout_seconds=30.0)
    store = RedisStore(client, box=Box(key), incarnation="prefill", lease_seconds=3600.0)
    await store.renew()

    async def one(index: int) -> None:
        kept = _conversation(index)
        first = CustomerMessage(kept.id.thread_ts, kept.id.thread_ts, shapes.USER, "Hello")
        event = Incoming(kept.id, Wrote(first), (f"{kept.id}:first",), opens=True)
        await store.accept(event)
        await store.settle(kept, [event.id])

    for begin in range(0, chats, _AT_ONCE):
        await asyncio.gather(*map(one, range(begin, min(begin + _AT_ONCE, chats))))
    await store.release()
    # Or it would read from Slack what was written since.
    await client.delete("bridge:renewed")
    await store.close()


async def for_recipe(socket: Path, chats: int) -> None:
    """The map that it keeps."""
    client = redis.Redis(unix_socket_path=str(socket))
    for index in range(chats):
        await client.hset(
            f"thread:{shapes.channel(index)}:{shapes.thread(index)}",
            mapping={
                "participant": shapes.token("part", index),
                "id": shapes.participant_id(index),
            },
        )
    await client.aclose()
