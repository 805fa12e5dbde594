"""Our Slack side, wired to a running stand-in of Slack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from bridge.core.errors import StoreAway
from bridge.core.events import Incoming, Wrote
from bridge.core.model import ConversationId, Place
from bridge.sandbox.slack.server import SlackSandbox
from bridge.slack.api import Api
from bridge.slack.directory import Directory
from bridge.slack.inbound import Intake
from bridge.slack.model import Identity, SlackSettings
from bridge.slack.outbound import SlackSide
from bridge.slack.places import Places
from bridge.slack.translate import Viewpoint

Json = dict[str, Any]

ANA, BEN, EVA = "U0SB000002", "U0SB000003", "U0SB000004"
GENERAL, HELP, ACME = "C0SB000001", "C0SB000002", "C0SB000003"


async def until(condition: Callable[[], Any], seconds: float = 8.0) -> None:
    """Poll until the condition holds; fail the test after so long."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail("the condition did not come true in time")


class RealClock:
    """Time as it is; `skew` moves it."""

    def __init__(self) -> None:
        self.skew = 0.0

    def now(self) -> float:
        return time.time() + self.skew

    def boottime(self) -> float:
        return time.monotonic() + self.skew

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Inbox:
    """A store that can be away."""

    taken: list[Incoming] = field(default_factory=list)
    away: bool = False
    refused: int = 0
    gate: asyncio.Event | None = None

    async def accept(self, incoming: Incoming) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            self.refused += 1
            raise StoreAway("away")
        self.taken.append(incoming)

    def texts(self) -> list[str]:
        return [i.event.message.text for i in self.taken if isinstance(i.event, Wrote)]


class People:
    """The customer's API of the stand-in."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def do(self, path: str, verb: str = "POST", **body: Any) -> Json:
        url = f"{self._url}/sandbox/{path}"
        async with self._session.request(verb, url, json=body or None) as response:
            answer = await response.json()
            assert response.status == 200, answer
            assert isinstance(answer, dict)
            return answer

    async def say(self, text: str, channel: str = HELP, user: str = ANA, **more: Any) -> Json:
        return await self.do("messages", channel=channel, user=user, text=text, **more)

    async def sees(self, channel: str = HELP) -> list[Json]:
        return list((await self.do(f"channels/{channel}/messages", "GET"))["messages"])

    async def fault(self, kind: str, target: str, **options: Any) -> None:
        await self.do("faults", kind=kind, target=target, **options)

    async def calls(self, method: str) -> list[Json]:
        found = (await self.do("requests", "GET"))["requests"]
        return [entry for entry in found if entry["method"] == method]

    async def deliveries(self) -> list[Json]:
        return list((await self.do("deliveries", "GET"))["deliveries"])


@dataclass
class Kit:
    """Everything of ours, and those who use it."""

    box: SlackSandbox
    settings: SlackSettings
    api: Api
    identity: Identity
    clock: RealClock
    places: Places
    directory: Directory
    view: Viewpoint
    side: SlackSide
    inbox: Inbox
    intake: Intake
    people: People

    def thread(self, ts: str, channel: str = HELP) -> ConversationId:
        return ConversationId(Place(self.identity.workspace, channel), ts)


@asynccontextmanager
async def wired(box: SlackSandbox, **changes: Any) -> AsyncIterator[Kit]:
    """A Kit on a running stand-in."""
    given: Json = {
        "bot_token": "xoxb-sandbox",
        "app_token": "xapp-sandbox",
        "signing_secret": "sandbox-signing-secret",
        "api_url": box.api_url,
        "support_channels": ("#help",),
        "request_timeout": 5.0,
    }
    settings = SlackSettings(**(given | changes))
    clock, inbox = RealClock(), Inbox()
    async with Api(settings) as api, aiohttp.ClientSession() as session:
        identity = await api.identity()
        places = Places(api, settings.support_channels)
        await places.start()
        directory = Directory(api, identity, places, clock, settings.customers)
        view = Viewpoint(identity, places.is_support, settings.dm_threads)
        yield Kit(
            box,
            settings,
            api,
            identity,
            clock,
            places,
            directory,
            view,
            SlackSide(api, view, directory),
            inbox,
            Intake(view, places, inbox.accept),
            People(box.url, session),
        )


@pytest.fixture
async def box() -> AsyncIterator[SlackSandbox]:
    """A fresh stand-in on a free port."""
    sandbox = SlackSandbox()
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


@pytest.fixture
async def kit(box: SlackSandbox) -> AsyncIterator[Kit]:
    """Our side, on a fresh stand-in."""
    async with wired(box) as made:
        yield made
