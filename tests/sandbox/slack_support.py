"""A running Slack stand-in, the people in it, and the official clients pointed at it. A test
module takes the fixtures by giving them names of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.server import SlackSandbox

Json = dict[str, Any]

BOT = "U0SB000001"
ANA = "U0SB000002"
BEN = "U0SB000003"
EVA = "U0SB000004"
GENERAL = "C0SB000001"
HELP = "C0SB000002"
ACME = "C0SB000003"
HOME = "T0SB000001"
BOT_TOKEN = "xoxb-sandbox"
APP_TOKEN = "xapp-sandbox"


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Poll until the condition holds; fail the test after so long."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail("the condition did not come true in time")


async def refused(call: Awaitable[Any], error: str) -> Json:
    """The answer of a call that must fail with this error."""
    with pytest.raises(SlackApiError) as caught:
        await call
    assert caught.value.response["error"] == error
    data = caught.value.response.data
    assert isinstance(data, dict)
    return data


class Person:
    """The customer's API over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self.session = session

    async def call(self, verb: str, path: str, **body: Any) -> tuple[int, Any]:
        """Status and JSON of any route."""
        url = f"{self._url}/sandbox/{path}"
        async with self.session.request(verb, url, json=body or None) as response:
            return response.status, await response.json()

    async def do(self, path: str, verb: str = "POST", **body: Any) -> Json:
        """The JSON of a call that must succeed."""
        status, answer = await self.call(verb, path, **body)
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    async def say(self, text: str, channel: str = HELP, user: str = ANA, **more: Any) -> Json:
        """Send a message as a person."""
        return await self.do("messages", channel=channel, user=user, text=text, **more)

    async def sees(self, channel: str = HELP, query: str = "") -> list[Json]:
        """What stands in a channel."""
        view = await self.do(f"channels/{channel}/messages{query}", "GET")
        return list(view["messages"])

    async def deliveries(self) -> list[Json]:
        """What was sent to the app."""
        return list((await self.do("deliveries", "GET"))["deliveries"])


class Listener:
    """A Socket Mode client of slack_sdk that records every request and acknowledges those that
    `answers` lets it."""

    def __init__(self, client: SocketModeClient) -> None:
        self.client = client
        self.requests: list[SocketModeRequest] = []
        self.acknowledging = True
        client.socket_mode_request_listeners.append(self._on_request)

    async def _on_request(
        self, client: AsyncBaseSocketModeClient, request: SocketModeRequest
    ) -> None:
        self.requests.append(request)
        if self.acknowledging:
            await client.send_socket_mode_response(
                SocketModeResponse(envelope_id=request.envelope_id)
            )

    @property
    def events(self) -> list[Json]:
        """The inner events received, in order."""
        return [r.payload["event"] for r in self.requests if r.type == "events_api"]

    def texts(self) -> list[str]:
        """The texts of the `message` events received, in order."""
        return [e["text"] for e in self.events if e["type"] == "message"]


@asynccontextmanager
async def listening(box: SlackSandbox, ping_interval: float = 1.0) -> AsyncIterator[Listener]:
    """A connected Listener."""
    web = AsyncWebClient(base_url=box.api_url)
    client = SocketModeClient(APP_TOKEN, web_client=web, ping_interval=ping_interval)
    listener = Listener(client)
    before = len(box.sockets.sockets)
    await client.connect()  # type: ignore[no-untyped-call]  # the SDK's
    await until(lambda: len(box.sockets.sockets) > before)
    try:
        yield listener
    finally:
        await client.close()  # type: ignore[no-untyped-call]  # the SDK's
        tasks = (client.message_processor, client.message_receiver, client.current_session_monitor)
        await asyncio.gather(*(t for t in tasks if t is not None), return_exceptions=True)


@asynccontextmanager
async def bolt_connected(box: SlackSandbox, app: AsyncApp) -> AsyncIterator[AsyncSocketModeHandler]:
    """A Bolt app connected over Socket Mode."""
    handler = AsyncSocketModeHandler(app, APP_TOKEN)
    await handler.connect_async()  # type: ignore[no-untyped-call]  # the SDK's
    await until(lambda: box.sockets.sockets)
    try:
        yield handler
    finally:
        client = handler.client
        await handler.close_async()  # type: ignore[no-untyped-call]  # the SDK's
        tasks = (client.message_processor, client.message_receiver, client.current_session_monitor)
        await asyncio.gather(*(t for t in tasks if t is not None), return_exceptions=True)


@pytest.fixture
async def slack() -> AsyncIterator[SlackSandbox]:
    """A fresh stand-in on a free port."""
    box = SlackSandbox()
    await box.start()
    yield box
    await box.stop()


@pytest.fixture
async def person(slack: SlackSandbox) -> AsyncIterator[Person]:
    """The customer's side of it."""
    async with aiohttp.ClientSession() as session:
        yield Person(slack.url, session)


@pytest.fixture
async def web(slack: SlackSandbox, person: Person) -> AsyncWebClient:
    """slack_sdk's client with the bot token and no hidden retries."""
    return AsyncWebClient(
        token=BOT_TOKEN, base_url=slack.api_url, session=person.session, retry_handlers=[]
    )
