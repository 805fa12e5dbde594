"""A bare aiohttp client that holds sockets of chats and their heartbeats, and nothing else.

Arguments: address of the world's sockets, number of chats.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

import aiohttp
import uvloop

_SUBSCRIBE = json.dumps({"topic": "aws/subscribe", "content": {"topics": ["aws/chat"]}})
_BEATS = (json.dumps({"topic": "aws/heartbeat"}), json.dumps({"topic": "aws/ping"}))
_BEAT_SECONDS = 10.0


async def subscribed(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    """A socket that was opened and subscribed."""
    socket = await session.ws_connect(url)
    await socket.send_str(_SUBSCRIBE)
    await socket.receive()
    return socket


async def beat(sockets: Sequence[aiohttp.ClientWebSocketResponse]) -> None:
    """Both heartbeats for every socket, spread over the interval."""
    while True:
        began = asyncio.get_running_loop().time()
        for position, socket in enumerate(sockets):
            for frame in _BEATS:
                await socket.send_str(frame)
            due = began + _BEAT_SECONDS * (position + 1) / len(sockets)
            if (wait := due - asyncio.get_running_loop().time()) > 0.02:
                await asyncio.sleep(wait)


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for message in socket:
        json.loads(message.data)


async def main(base: str, chats: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        sockets = [await subscribed(session, f"{base}/chat/{index}") for index in range(chats)]
        await asyncio.gather(beat(sockets), *(_read(socket) for socket in sockets))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
