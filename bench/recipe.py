"""The recipe: what a user writes who joins Slack to Connect as AWS's articles on chat channels say.

A Bolt listener, boto3 in threads, a map of threads to chats in Redis, a WebSocket for each chat.
Nothing is stored before it is acknowledged, nothing is tried again, nothing is put in order.

Arguments: Redis socket. Everything else comes from the usual variables.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from typing import Any

import aiohttp
import boto3
import redis.asyncio as redis
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

_SUBSCRIBE = json.dumps({"topic": "aws/subscribe", "content": {"topics": ["aws/chat"]}})
_BEAT_SECONDS = 10.0
Chat = dict[Any, Any]

client = AsyncWebClient(token=os.environ["SLACK_BOT_TOKEN"], base_url=os.environ["SLACK_API_URL"])
app = AsyncApp(client=client, signing_secret="recipe")
connect = boto3.client("connect")
participant = boto3.client("connectparticipant")
store = redis.Redis(unix_socket_path=sys.argv[1], decode_responses=True, max_connections=1000)
listening: set[asyncio.Task[None]] = set()


@app.event("message")
async def on_message(event: dict[str, Any]) -> None:
    """Bolt leaves our own posts out."""
    key = f"thread:{event['channel']}:{event.get('thread_ts') or event['ts']}"
    chat = await store.hgetall(key)
    if not chat:
        chat = await start(key)
    await asyncio.to_thread(
        participant.send_message,
        ContentType="text/plain",
        Content=event["text"],
        ClientToken=str(uuid.uuid4()),
        ConnectionToken=chat["connection"],
    )


async def start(key: str) -> Chat:
    """Start a chat for this thread, and listen to it."""
    started = await asyncio.to_thread(
        connect.start_chat_contact,
        InstanceId=os.environ["CONNECT_INSTANCE_ID"],
        ContactFlowId=os.environ["CONNECT_CONTACT_FLOW_ID"],
        ParticipantDetails={"DisplayName": "Slack"},
    )
    chat = {"participant": started["ParticipantToken"], "id": started["ParticipantId"]}
    return await listen(key, chat)


async def listen(key: str, chat: Chat) -> Chat:
    """Connect to a chat and post what comes from it."""
    answer = await asyncio.to_thread(
        participant.create_participant_connection,
        Type=["WEBSOCKET", "CONNECTION_CREDENTIALS"],
        ParticipantToken=chat["participant"],
    )
    chat["connection"] = answer["ConnectionCredentials"]["ConnectionToken"]
    await store.hset(key, mapping=chat)
    task = asyncio.create_task(read(key, answer["Websocket"]["Url"], chat["id"]))
    listening.add(task)
    task.add_done_callback(listening.discard)
    return chat


async def read(key: str, url: str, own_id: str) -> None:
    _, channel, thread_ts = key.split(":")
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_str(_SUBSCRIBE)
        beating = asyncio.create_task(beat(socket))
        async for message in socket:
            frame = json.loads(message.data)
            if frame.get("topic") != "aws/chat":
                continue
            item = json.loads(frame["content"])
            if item.get("Type") == "MESSAGE" and item["ParticipantId"] != own_id:
                await client.chat_postMessage(
                    channel=channel,
                    thread_ts=thread_ts,
                    text=item["Content"],
                    username=item["DisplayName"],
                )
        beating.cancel()


async def beat(socket: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        await socket.send_json({"topic": "aws/heartbeat"})
        await asyncio.sleep(_BEAT_SECONDS)


async def main() -> None:
    async for key in store.scan_iter("thread:*"):
        await listen(key, await store.hgetall(key))
    handler = AsyncSocketModeHandler(app, os.environ["SLACK_APP_TOKEN"])
    await handler.start_async()  # type: ignore[no-untyped-call]  # theirs is unannotated


if __name__ == "__main__":
    asyncio.run(main())
