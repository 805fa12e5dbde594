"""The floor: the bare sum of what no bridge can do without, and nothing else.

Slack to Connect: a Socket Mode frame read and acknowledged, Bolt's dispatch of it, a round trip to
Redis that stores it, a pooled POST, a round trip that settles, the echo of our own message read and
dropped. Connect to Slack: a frame read and parsed, a round trip, a pooled post by slack_sdk, a
round trip, the event that tells of the post through Bolt. No order, no doubt, no secrets, no errors.

Arguments: addresses of the world and of its sockets, Redis socket, number of chats.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import redis.asyncio as redis
import uvloop
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.middleware.async_middleware import AsyncMiddleware
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient

from bench import shapes
from bench.sockets import beat, subscribed


class Floor(AsyncMiddleware):
    """Both directions."""

    def __init__(self, base: str, store: redis.Redis, session: aiohttp.ClientSession) -> None:
        self._base = base
        self._store = store
        self._session = session
        self.client = AsyncWebClient(
            token="xoxb-floor", base_url=f"{base}/api/", session=session, retry_handlers=[]
        )
        self._sending: set[asyncio.Task[None]] = set()

    async def async_process(
        self,
        *,
        req: AsyncBoltRequest,
        resp: BoltResponse,
        next: Callable[[], Awaitable[BoltResponse]],  # noqa: A002 - Bolt's name for it
    ) -> BoltResponse:
        del resp, next
        event = req.body["event"]
        if "bot_id" not in event:
            await self._store.hset(f"lane:{event['channel']}", event["ts"], event["text"])
            task = asyncio.create_task(self._send(event["channel"], event["ts"], event["text"]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return BoltResponse(status=200, body="")

    async def _send(self, channel: str, ts: str, text: str) -> None:
        async with self._session.post(
            f"{self._base}/participant/message",
            data=json.dumps({"ContentType": "text/plain", "Content": text, "ClientToken": ts}),
            headers={
                "Content-Type": "application/json",
                "X-Amz-Bearer": shapes.token("conn", int(channel[1:])),
            },
        ) as response:
            await response.read()
        await self._store.hdel(f"lane:{channel}", ts)

    async def listen(self, index: int, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Post what the agent writes."""
        channel, thread = shapes.channel(index), shapes.thread(index)
        async for message in socket:
            frame = json.loads(message.data)
            if frame["topic"] != "aws/chat":
                continue
            item = json.loads(frame["content"])
            if item["ParticipantRole"] == "CUSTOMER":
                continue
            await self._store.hset(f"mark:{channel}", item["Id"], "")
            await self.client.chat_postMessage(
                channel=channel, thread_ts=thread, text=item["Content"]
            )
            await self._store.hdel(f"mark:{channel}", item["Id"])


async def main(base: str, sockets_base: str, redis_socket: str, chats: int) -> None:
    store = redis.Redis(unix_socket_path=redis_socket, protocol=3, max_connections=1000)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    floor = Floor(base, store, session)
    app = AsyncApp(
        client=floor.client,
        signing_secret="floor",
        authorize=_authorize,
        before_authorize=floor,
        logger=logging.getLogger("floor"),
    )
    handler = AsyncSocketModeHandler(app, "xapp-floor")
    await handler.connect_async()  # type: ignore[no-untyped-call]  # theirs is unannotated
    sockets = [await subscribed(session, f"{sockets_base}/chat/{index}") for index in range(chats)]
    listening = [floor.listen(index, socket) for index, socket in enumerate(sockets)]
    await asyncio.gather(beat(sockets), *listening)


async def _authorize() -> AuthorizeResult:
    return AuthorizeResult(enterprise_id=None, team_id=shapes.TEAM, bot_token="xoxb-floor")


if __name__ == "__main__":
    address, sockets_address, redis_path, number = sys.argv[1:]
    uvloop.run(main(address, sockets_address, redis_path, int(number)))
