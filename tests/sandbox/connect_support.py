"""The official clients, a plain socket client and the desk, pointed at a sandbox of a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import aiohttp
import boto3
import botocore
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from typing_extensions import override

from bridge.sandbox.connect.clock import Clock
from bridge.sandbox.connect.server import ConnectSandbox
from bridge.sandbox.connect.settings import Settings

INSTANCE = "11111111-2222-4333-8444-555555555555"
FLOW = "66666666-7777-4888-9999-aaaaaaaaaaaa"
EVENT = "application/vnd.amazonaws.connect.event."
SUBSCRIBE = {"topic": "aws/subscribe", "content": {"topics": ["aws/chat"]}}
BOTH = ["WEBSOCKET", "CONNECTION_CREDENTIALS"]
PATIENCE = 20.0


@cache
def _session() -> Any:
    return boto3.Session(
        aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1"
    )


def _client(service: str, url: str, **config: Any) -> Any:
    return _session().client(
        service,
        endpoint_url=url,
        config=Config(retries={"total_max_attempts": 1}, proxies={}, **config),
    )


@contextmanager
def refused(code: str, status: int) -> Iterator[None]:
    """Expect a modelled error."""
    with pytest.raises(ClientError) as caught:
        yield
    response = caught.value.response
    assert response["Error"]["Code"] == code, response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status


class ShiftedClock(Clock):
    """Monotonic time that a test moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    @override
    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Stream:
    """A customer's subscribed socket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def ask(self, frame: Any) -> Any:
        """Send one frame and read the next."""
        await self.ws.send_str(frame if isinstance(frame, str) else json.dumps(frame))
        return await self.ws.receive_json(timeout=PATIENCE)

    async def item(self) -> dict[str, Any]:
        """The next chat frame's content."""
        frame = await self.ws.receive_json(timeout=PATIENCE)
        assert frame["topic"] == "aws/chat", frame
        content: dict[str, Any] = json.loads(frame["content"])
        return content

    async def items(self, number: int) -> list[dict[str, Any]]:
        """The next so many."""
        return [await self.item() for _ in range(number)]

    async def until(self, content: str) -> list[dict[str, Any]]:
        """All items up to the one with this content or content type."""
        seen = [await self.item()]
        while content not in (seen[-1].get("Content"), seen[-1].get("ContentType")):
            seen.append(await self.item())
        return seen

    async def closed(self) -> int | None:
        """The close code, once nothing but the end comes."""
        message = await self.ws.receive(timeout=PATIENCE)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED), message
        return self.ws.close_code


@dataclass
class Chat:
    """A started chat with its customer's secrets."""

    connect: Connect
    started: dict[str, Any]
    token: str
    url: str

    @property
    def id(self) -> str:
        return str(self.started["ContactId"])

    async def call(self, method: str, **members: Any) -> dict[str, Any]:
        """One participant call with the connection token."""
        return await self.connect.participate(method, ConnectionToken=self.token, **members)

    async def say(self, content: str, **members: Any) -> dict[str, Any]:
        return await self.call("send_message", ContentType="text/plain", Content=content, **members)

    async def transcript(self, **members: Any) -> list[dict[str, Any]]:
        members = {"SortOrder": "ASCENDING", "MaxResults": 100} | members
        answer = await self.call("get_transcript", **members)
        items: list[dict[str, Any]] = answer["Transcript"]
        return items

    async def desk(self, action: str, **body: Any) -> Any:
        return await self.connect.desk("POST", f"contacts/{self.id}/{action}", body)

    async def show(self) -> Any:
        return await self.connect.desk("GET", f"contacts/{self.id}")

    async def wait(self, **conditions: Any) -> Any:
        query = "&".join(f"{key}={value}" for key, value in conditions.items())
        return await self.connect.desk("GET", f"wait?contact={self.id}&{query}&timeout=5")

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Stream]:
        """Open this chat's URL and subscribe."""
        async with self.connect.http.ws_connect(self.url) as ws:
            stream = Stream(ws)
            answer = await stream.ask(SUBSCRIBE)
            assert answer["content"]["status"] == "success"
            yield stream

    async def fresh_url(self) -> str:
        answer = await self.connect.participate(
            "create_participant_connection",
            ParticipantToken=self.started["ParticipantToken"],
            Type=["WEBSOCKET"],
        )
        return str(answer["Websocket"]["Url"])


class Connect:
    """One sandbox and the clients of a test."""

    def __init__(self, sandbox: ConnectSandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http
        self.url = sandbox.url
        self.settings = sandbox.world.settings
        self._control = _client("connect", self.url)
        self._participant = _client(
            "connectparticipant", self.url, signature_version=botocore.UNSIGNED
        )

    def close(self) -> None:
        self._control.close()
        self._participant.close()

    async def control(self, method: str, **members: Any) -> dict[str, Any]:
        """One call of boto3's connect client; InstanceId is filled in."""
        call = getattr(self._control, method)
        return await asyncio.to_thread(call, **{"InstanceId": INSTANCE} | members)

    async def participate(self, method: str, **members: Any) -> dict[str, Any]:
        """One call of boto3's connectparticipant client."""
        return await asyncio.to_thread(getattr(self._participant, method), **members)

    async def start(self, **members: Any) -> dict[str, Any]:
        """StartChatContact alone."""
        details = {"DisplayName": "Ann"}
        members = {"ContactFlowId": FLOW, "ParticipantDetails": details} | members
        return await self.control("start_chat_contact", **members)

    async def chat(self, **members: Any) -> Chat:
        """A started chat with a connection, its socket not yet opened."""
        started = await self.start(**members)
        connection = await self.participate(
            "create_participant_connection",
            ParticipantToken=started["ParticipantToken"],
            Type=BOTH,
        )
        return Chat(
            self,
            started,
            connection["ConnectionCredentials"]["ConnectionToken"],
            connection["Websocket"]["Url"],
        )

    @asynccontextmanager
    async def talking(
        self, agent: str | None = "Mina", **members: Any
    ) -> AsyncIterator[tuple[Chat, Stream]]:
        """A chat that went through the flow; with an agent unless there is to be none."""
        chat = await self.chat(**members)
        async with chat.stream() as stream:
            await chat.wait(state="queued")
            await stream.until(EVENT + "participant.joined")
            if self.settings.greeting:
                await stream.until(self.settings.greeting)
            if agent is not None:
                await chat.desk("accept", name=agent)
                await stream.until(EVENT + "participant.joined")
            yield chat, stream

    async def desk(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """One call of the desk's API."""
        data = body if isinstance(body, (str, bytes)) else json.dumps(body or {})
        async with self.http.request(method, f"{self.url}/sandbox/{path}", data=data) as answer:
            text = await answer.text()
            assert answer.status == status, f"{answer.status} {text}"
            return json.loads(text)

    async def fault(self, kind: str, target: str = "*", **options: Any) -> Any:
        return await self.desk("POST", "faults", {"kind": kind, "target": target, **options})

    async def requests(self, operation: str) -> list[dict[str, Any]]:
        answer = await self.desk("GET", "requests")
        return [each for each in answer["requests"] if each["operation"] == operation]


@asynccontextmanager
async def running(clock: Clock | None = None) -> AsyncIterator[Connect]:
    """A sandbox on a free port, quick enough for tests, and its clients."""
    sandbox = ConnectSandbox(Settings(flow_seconds=0.01), clock)
    await sandbox.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as http:
            connect = Connect(sandbox, http)
            try:
                yield connect
            finally:
                connect.close()
    finally:
        await sandbox.stop()


def contents(items: list[dict[str, Any]]) -> list[str]:
    """What was said, and the short names of events."""
    return [
        each["Content"]
        if "Content" in each
        else each.get("ContentType", "file").removeprefix(EVENT)
        for each in items
    ]
