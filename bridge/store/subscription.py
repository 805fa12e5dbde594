"""What other replicas publish. It is heard over a connection of its own, which asks for nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import redis.asyncio as redis

from bridge.core.errors import StoreAway
from bridge.store.errors import translated

_RECONNECT_SECONDS: Final = 0.2
"""What is published meanwhile is missed."""

log = logging.getLogger(__name__)

Message = Mapping[str, Any]
"""As redis-py gives it: `type`, `channel`, `data`."""


class Subscription:
    """To `channels`. After `quiet_seconds` without a message it is asked whether it lives, and after
    as long again made anew: what it told later might be older than a lapse of our lease."""

    def __init__(self, client: redis.Redis, *channels: str, quiet_seconds: float) -> None:
        self._client = client
        self._channels = channels
        self._quiet_seconds = quiet_seconds
        self._stale = False
        self._listening: asyncio.Timeout | None = None
        """While the next message is waited for."""

    def renew(self) -> None:
        """Connect again: the name may lead to another Redis by now. Closing the connection under
        redis-py instead would be met by it as an AttributeError if it was about to write."""
        self._stale = True
        if self._listening is not None and not self._listening.expired():
            self._listening.reschedule(asyncio.get_running_loop().time())

    async def messages(self) -> AsyncGenerator[Message]:
        """Everything from now on, `subscribe` of each channel first and after each interruption."""
        told = False
        while True:
            try:
                async with aclosing(self._connected()) as messages:
                    async for message in messages:
                        told = False
                        yield message
            except StoreAway as error:
                if not told:
                    log.warning("store.arrivals_interrupted", extra={"reason": str(error)})
                told = True
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _connected(self) -> AsyncGenerator[Message]:
        async with self._client.pubsub() as channel:
            self._stale = False
            with translated():
                await channel.subscribe(*self._channels)
            asked = False
            while True:
                with translated():
                    message = await self._next(channel)
                    if message is None and asked:
                        raise redis.TimeoutError
                asked = message is None
                if message is not None and message["type"] != "pong":
                    yield message

    async def _next(self, channel: redis.client.PubSub) -> Message | None:
        """None when nothing came, and Redis was asked."""
        message: Message | None = None
        if not self._stale:
            try:
                async with asyncio.timeout(None) as self._listening:
                    message = await channel.get_message(timeout=self._quiet_seconds)
                    if message is None:
                        await channel.ping()
            finally:
                self._listening = None
        if self._stale:  # also where redis-py kept its cancellation to itself
            raise redis.ConnectionError
        return message
