"""A running Connect stand-in, the agent at its desk, and our side pointed at it. A test module
takes the fixtures by importing them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import pytest

from bridge.connect.api import ConnectSettings
from bridge.connect.chat import ConnectChat, ConnectSide
from bridge.connect.quota import Rate
from bridge.core.lookback import NOTHING, LookBack
from bridge.core.model import Contact, Started
from bridge.sandbox.connect.server import ConnectSandbox
from bridge.sandbox.connect.settings import Settings
from tests.connect.support import PATIENCE, Listener, SystemClock, eventually, opening

FAST = Rate(1000, 1000)
QUOTAS = dict.fromkeys(
    (
        "StartChatContact",
        "CreateParticipantConnection",
        "SendMessage",
        "SendEvent",
        "GetTranscript",
        "DisconnectParticipant",
        "DescribeContact",
    ),
    FAST,
)


T = TypeVar("T")


async def poll(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the answer is true in some way, and return it."""
    async with asyncio.timeout(PATIENCE):
        while not (answer := await ask()):
            await asyncio.sleep(0.01)
    return answer


class Desk:
    """The agent's API over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def call(self, verb: str, path: str, body: object = None) -> Any:
        """The JSON of a call that must succeed."""
        url = f"{self._url}/sandbox/{path}"
        async with self._session.request(verb, url, json=body) as response:
            answer = await response.json()
            assert response.status < 300, answer
            return answer

    async def contact(self, contact_id: str) -> dict[str, Any]:
        return dict(await self.call("GET", f"contacts/{contact_id}"))

    async def act(self, contact_id: str, action: str, **body: Any) -> Any:
        return await self.call("POST", f"contacts/{contact_id}/{action}", body)

    async def say(self, contact_id: str, text: str, **more: Any) -> dict[str, Any]:
        return dict(await self.act(contact_id, "messages", text=text, **more))

    async def fault(self, kind: str, target: str, **more: Any) -> None:
        await self.call("POST", "faults", {"kind": kind, "target": target, **more})

    async def settings(self, **changes: Any) -> None:
        await self.call("PATCH", "settings", changes)

    async def requests(self, operation: str) -> list[dict[str, Any]]:
        answer = await self.call("GET", "requests")
        return [each for each in answer["requests"] if each["operation"] == operation]

    async def statuses(self, operation: str, count: int) -> list[int]:
        """How the calls of an operation were answered, once there are so many."""

        async def statuses() -> list[int]:
            answers = [each["status"] for each in await self.requests(operation)]
            return answers if len(answers) >= count else []

        return await poll(statuses)

    async def reached(self, contact_id: str, state: str) -> None:
        """Wait until the contact is in this state."""

        async def is_there() -> bool:
            return bool((await self.contact(contact_id))["state"] == state)

        await poll(is_there)

    async def sockets(self) -> list[dict[str, Any]]:
        return list((await self.call("GET", "sockets"))["sockets"])

    async def heard(self, contact_id: str) -> list[str]:
        """What the customer said, as the service has it."""
        transcript = (await self.contact(contact_id))["transcript"]
        return [
            each["Content"]
            for each in transcript
            if each.get("ParticipantRole") == "CUSTOMER" and each.get("ContentType") == "text/plain"
        ]


@dataclass
class Talk:
    """A contact that we listen to."""

    started: Started
    chat: ConnectChat
    listener: Listener

    @property
    def id(self) -> str:
        return self.started.contact.contact_id


class World:
    """The stand-in, and as many of our sides as a test needs."""

    def __init__(self, sandbox: ConnectSandbox, desk: Desk) -> None:
        self.sandbox = sandbox
        self.desk = desk
        self._sides: list[ConnectSide] = []
        self._talks = 0

    def settings(self, **changes: Any) -> ConnectSettings:
        base: dict[str, Any] = {
            "region": "us-east-1",
            "instance_id": "instance",
            "contact_flow_id": "flow",
            "endpoint_url_connect": self.sandbox.url,
            "endpoint_url_participant": self.sandbox.url,
            "quotas": QUOTAS,
            "late_read_seconds": 0.2,
            "quarantine_seconds": 0.1,
        }
        return ConnectSettings(**(base | changes))

    def side(self, **changes: Any) -> ConnectSide:
        side = ConnectSide(self.settings(**changes), SystemClock())
        self._sides.append(side)
        return side

    async def start(self, side: ConnectSide, **changes: Any) -> Started:
        """A contact of its own."""
        self._talks += 1
        return await side.start(side.compose(opening(attempt=self._talks, **changes)))

    async def talk(self, side: ConnectSide | None = None, **changes: Any) -> Talk:
        """A contact that is subscribed, past its greeting, and accepted by Mina."""
        side = side or self.side()
        started = await self.start(side, **changes)
        listener = Listener()
        chat = side.listen(started.contact, NOTHING, listener, started)
        talk = Talk(started, chat, listener)
        await eventually(lambda: listener.subscriptions, "subscribed")
        await eventually(lambda: listener.texts("SYSTEM"), "greeting")
        await self.desk.reached(talk.id, "queued")
        await self.desk.act(talk.id, "accept", name="Mina")
        await eventually(lambda: any(each.name == "Mina" for each in listener.told), "agent joined")
        return talk

    def listen(
        self, side: ConnectSide, contact: Contact, seen: LookBack = NOTHING
    ) -> tuple[ConnectChat, Listener]:
        listener = Listener()
        return side.listen(contact, seen, listener), listener

    async def close(self) -> None:
        for side in self._sides:
            await side.close()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    sandbox = ConnectSandbox(Settings(flow_seconds=0.02))
    await sandbox.start()
    async with aiohttp.ClientSession() as session:
        world = World(sandbox, Desk(sandbox.url, session))
        yield world
        await world.close()
    await sandbox.stop()
