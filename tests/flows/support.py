"""The whole service under test: both stand-ins, and the people who use them, over HTTP.

`Slack` is the customer's side, `Connect` the agent's; a `Thread` joins a Slack thread to the chat it
opened. They know URLs only, so they serve a service in this process and one in its own alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from bridge import settings
from bridge.app import running
from bridge.sandbox.both import Sandbox, sandbox

Json = dict[str, Any]
T = TypeVar("T")

PATIENCE = 30.0
QUICK: Mapping[str, str] = {
    "BRIDGE_HTTP_PORT": "0",
    "BRIDGE_SLACK_POSTS_PER_SECOND": "100",
    "BRIDGE_LOOK_SECONDS": "0.2",
    "BRIDGE_SLACK_TIMEOUT_SECONDS": "1.5",
    "BRIDGE_LEASE_SECONDS": "5",
    "BRIDGE_REHYDRATE_SECONDS": "0",
    "BRIDGE_GRACE_SECONDS": "5",
}
"""Durations that make a test quick; what they change is only when something happens."""

HELP, ACME_HELP, GENERAL = "C0SB000002", "C0SB000003", "C0SB000001"
"""The stand-in's channels: two for support (docs/sandbox-slack.md), one without the bot."""
WELCOME = "Welcome to support. An agent will be with you shortly."
"""What the stand-in's flow says first."""
END_BUTTON, REOPEN_BUTTON = "bridge_end", "bridge_reopen"
_ABOUT_AGENTS = ("has joined the chat.", "You are being transferred", "sent a file that cannot")
"""Notices that bear the id of the item which they are about."""


async def eventually(
    read: Callable[[], Awaitable[T]], holds: Callable[[T], object], seconds: float = PATIENCE
) -> T:
    """Read until it holds, and return that; fail after the deadline, showing what was read."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds(value := await read()):
        assert asyncio.get_running_loop().time() < deadline, f"still {value!r}"
        await asyncio.sleep(0.02)
    return value


class Refused(Exception):
    """A stand-in did not do what was asked."""


class _Api:
    strikes = "strikes"

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def get(self, path: str, **query: object) -> Json:
        params = {name: str(value) for name, value in query.items()}
        return await self._call("GET", path, params=params)

    async def post(self, path: str, **body: object) -> Json:
        return await self._call("POST", path, json=body)

    async def patch(self, path: str, **body: object) -> Json:
        return await self._call("PATCH", path, json=body)

    async def fault(self, kind: str, target: str = "*", **options: object) -> str:
        """Switch a fault on; returns its id."""
        return str((await self.post("faults", kind=kind, target=target, **options))["id"])

    async def struck(self, fault: str, times: int = 1) -> None:
        """Wait until this fault has struck so often."""

        async def strikes() -> int:
            found = (await self.get("faults"))[self.strikes]
            return sum(one["id"] == fault for one in found)

        await eventually(strikes, lambda found: found >= times)

    async def heal(self) -> None:
        """Switch every fault off."""
        await self._call("DELETE", "faults")

    async def requests(self) -> Sequence[Json]:
        """Every call of the service so far."""
        found: Sequence[Json] = (await self.get("requests"))["requests"]
        return found

    async def _call(self, verb: str, path: str, **how: Any) -> Json:
        async with self._session.request(verb, f"{self.url}/sandbox/{path}", **how) as response:
            answer: Json = await response.json()
        if response.status >= 400:
            raise Refused(f"{path}: {answer.get('error')}")
        return answer


class Slack(_Api):
    """The customer's side."""

    async def write(self, text: str, *, user: str = "ana", channel: str, **more: object) -> str:
        """A person writes; returns the message's `ts`."""
        message = await self.post("messages", channel=channel, user=user, text=text, **more)
        return str(message["ts"])

    async def taken_in(self) -> None:
        """Wait until the bridge has acknowledged everything: what is written next comes later,
        whichever of two sockets brings it."""
        await eventually(
            lambda: self.get("deliveries"),
            lambda answer: all(one["acked"] for one in answer["deliveries"]),
        )

    async def messages(self, channel: str, thread_ts: str = "") -> Sequence[Json]:
        """What a person sees in a channel, or in one thread."""
        query = {"thread_ts": thread_ts} if thread_ts else {}
        found: Sequence[Json] = (await self.get(f"channels/{channel}/messages", **query))[
            "messages"
        ]
        return found

    async def channel(self, name: str, *members: str, **more: object) -> str:
        """A new channel with the bot in it; returns its id."""
        room = await self.post("channels", name=name, members=list(members or ("ana",)), **more)
        return str(room["id"])


class Connect(_Api):
    """The agent's side."""

    strikes = "log"

    async def contacts(self) -> Sequence[Json]:
        """Every chat, the newest last."""
        found: Sequence[Json] = (await self.get("contacts"))["contacts"]
        return found

    async def contacts_of(self, channel: str, thread_ts: str) -> Sequence[Json]:
        """The chats that a thread opened, the newest last."""
        return [
            contact
            for contact in await self.contacts()
            if contact["attributes"].get("slack_channel") == channel
            and contact["attributes"].get("slack_thread", "") == thread_ts
        ]

    async def contact(self, contact: str) -> Json:
        """One chat with its transcript."""
        return await self.get(f"contacts/{contact}")

    async def do(self, contact: str, deed: str, **body: object) -> Json:
        """`accept`, `messages`, `transfer`, `leave`, `join`, `end`, `frames`, …"""
        return await self.post(f"contacts/{contact}/{deed}", **body)


class Thread:
    """One Slack thread (or flat DM) and the newest chat that it opened."""

    def __init__(self, slack: Slack, connect: Connect, channel: str, ts: str = "") -> None:
        self.slack = slack
        self.connect = connect
        self.channel = channel
        self.ts = ts
        self.flat = channel.startswith("D")
        self.contact = ""
        self.wrote: list[str] = []

    # --- in Slack --------------------------------------------------------------------------------

    async def write(self, text: str, *, user: str = "ana", **more: object) -> str:
        """Write in the thread; the first message begins it. Returns the message's `ts`."""
        if self.ts:
            more["thread_ts"] = self.ts
        self.wrote.append(text)
        ts = await self.slack.write(text, user=user, channel=self.channel, **more)
        if not self.flat:
            self.ts = self.ts or ts
        return ts

    async def messages(self) -> Sequence[Json]:
        """The thread as a person sees it."""
        return await self.slack.messages(self.channel, self.ts)

    async def posts(self) -> Sequence[Json]:
        """Ours among them."""
        return [message for message in await self.messages() if message["is_bot"]]

    async def heard(self) -> Sequence[str]:
        """What agents and flows said, as the customer reads it: posts under an agent's name, and
        those without a name that are no notice."""
        carriers = [post for post in await self.posts() if _carries_item(post)]
        return [text for post in carriers for text in _texts(post)]

    async def told(self) -> Sequence[str]:
        """What the bridge itself said."""
        return [str(post["shown"]) for post in await self.posts() if not _carries_item(post)]

    async def told_of(self, words: str, times: int = 1) -> Sequence[str]:
        """Wait until the bridge has said something so many times."""
        return await eventually(self.told, lambda told: sum(words in one for one in told) >= times)

    async def press(self, action: str, user: str = "ana") -> None:
        """Press the newest such button, once it is there."""

        async def buttons() -> Sequence[str]:
            return [
                str(message["ts"])
                for message in await self.messages()
                for button in message["buttons"]
                if button["action_id"] == action
            ]

        found = await eventually(buttons, bool)
        await self.slack.post(
            "clicks", channel=self.channel, ts=found[-1], user=user, action_id=action
        )

    async def reactions(self, ts: str) -> Sequence[str]:
        """Names of the reactions on a message."""
        found = [one for one in await self.messages() if one["ts"] == ts]
        return [str(reaction["name"]) for one in found for reaction in one["reactions"]]

    # --- in Connect ------------------------------------------------------------------------------

    async def contacts(self) -> Sequence[Json]:
        """Every chat of this thread, the newest last."""
        return await self.connect.contacts_of(self.channel, self.ts)

    async def opened(self, number: int = 1) -> str:
        """Wait for the thread's n-th chat and turn to it."""
        found = await eventually(self.contacts, lambda contacts: len(contacts) >= number)
        self.contact = str(found[number - 1]["contact_id"])
        return self.contact

    async def accepted(self, name: str = "Mina", number: int = 1) -> str:
        """Wait for the n-th chat, and let an agent take it."""
        contact = await self.opened(number)
        await self.state("queued")
        await self.connect.do(contact, "accept", name=name)
        return contact

    async def state(self, wanted: str) -> None:
        """Wait until the chat is in this state."""
        await eventually(
            lambda: self.connect.contact(self.contact), lambda found: found["state"] == wanted
        )

    async def say(self, text: str, **more: object) -> Json:
        """The agent (or `as` flow or bot) says something."""
        return await self.connect.do(self.contact, "messages", text=text, **more)

    async def received(self) -> Sequence[str]:
        """All that the agent's side has of the customer in this chat (not of earlier ones)."""
        return _words(await self.connect.contact(self.contact), own=True)

    # --- across ----------------------------------------------------------------------------------

    async def reaches_agent(self, *texts: str) -> None:
        """The agent's side of this chat comes to have exactly these, in this order."""
        await eventually(self.received, lambda received: list(received) == list(texts))

    async def reaches_customer(self, *texts: str) -> None:
        """The thread comes to have exactly these of the agent's side, in this order."""
        await eventually(self.heard, lambda heard: list(heard) == list(texts))

    async def talk(self) -> None:
        """Open with “Hello” and have Mina answer: both directions work."""
        await self.write("Hello")
        await self.accepted()
        await self.reaches_agent("Hello")
        await self.say("Good morning")
        await self.reaches_customer(WELCOME, "Good morning")

    async def complete(self) -> None:
        """Everything written on each side, over all chats of the thread, comes to stand on the
        other exactly once and in order; a last word each way shows that nothing comes behind it."""
        await self._all_there()
        await self.write("That is all from me.")
        await self.say("That is all from us.")
        await self._all_there()

    async def _all_there(self) -> None:
        wrote, said = flowing(self.wrote), await self._agents_in_connect()
        await eventually(self._customer_in_connect, lambda found: found == wrote)
        await eventually(self.heard, lambda heard: list(heard) == said)

    async def _customer_in_connect(self) -> str:
        return flowing([text for chat in await self._chats() for text in _words(chat, own=True)])

    async def _agents_in_connect(self) -> list[str]:
        return [text for chat in await self._chats() for text in _words(chat, own=False)]

    async def _chats(self) -> list[Json]:
        return [await self.connect.contact(one["contact_id"]) for one in await self.contacts()]


def flowing(texts: Iterable[str]) -> str:
    """Texts as one, so that it does not matter where a long one was cut."""
    return " ".join(" ".join(texts).split())


def _words(chat: Json, *, own: bool) -> list[str]:
    """Messages of a chat, without those of a chat before: the customer's or all others."""
    return [
        str(item["Content"])
        for item in chat["transcript"]
        if item["Type"] == "MESSAGE"
        and (item.get("ParticipantRole") == "CUSTOMER") == own
        and "RelatedContactId" not in item
    ]


def entries(post: Json) -> list[Json]:
    """What a post of ours carries, by its metadata."""
    payload = (post["metadata"] or {}).get("event_payload") or {}
    found: list[Json] = payload.get("entries", [])
    return found


def _texts(post: Json) -> list[str]:
    """What a post says, message by message where several were joined."""
    shown = str(post["shown"])
    return shown.split("\n\n") if len(entries(post)) > 1 else [shown]


def _carries_item(post: Json) -> bool:
    """Whether a post is what somebody in Connect wrote, and no notice of the bridge's."""
    if any(words in str(post["shown"]) for words in _ABOUT_AGENTS):
        return False
    return any(":" not in str(entry["id"]) for entry in entries(post))


# --- the service ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class World:
    """Both stand-ins, and the port where a service serves its probes."""

    pair: Sandbox
    session: aiohttp.ClientSession
    slack: Slack
    connect: Connect
    port: int = 0

    def environment(self, folder: Path, **variables: str) -> dict[str, str]:
        """What a service on these stand-ins is given. An empty variable counts as absent."""
        return {**self.pair.environment, **QUICK, "BRIDGE_DATA_DIR": str(folder), **variables}

    def thread(self, channel: str = HELP, ts: str = "") -> Thread:
        """A thread, which the first message begins."""
        return Thread(self.slack, self.connect, channel, ts)

    async def room(self, name: str, *members: str, **more: object) -> Thread:
        """A thread to be begun in a new channel, where the bot has to be mentioned."""
        return self.thread(await self.slack.channel(name, *members, **more))

    async def dm(self, user: str = "ana") -> Thread:
        """The flat conversation of a person with the bot."""
        return self.thread(str((await self.slack.post("dms", user=user))["id"]))

    async def ready(self) -> Json:
        """What the readiness probe says."""
        async with self.session.get(f"http://127.0.0.1:{self.port}/ready") as response:
            answer: Json = await response.json()
        return answer


@asynccontextmanager
async def stand_ins() -> AsyncIterator[World]:
    """Both stand-ins without a service."""
    async with sandbox() as pair, aiohttp.ClientSession() as session:
        slack, connect = Slack(session, pair.slack.url), Connect(session, pair.connect.url)
        # What is not acknowledged comes again soon, as often as the test lasts.
        await slack.patch("settings", retry_schedule=[0.3] * 100)
        await connect.patch("settings", flow_seconds=0.0, persistent_ready_seconds=0.0)
        yield World(pair, session, slack, connect)


@asynccontextmanager
async def bridge(folder: Path, **variables: str) -> AsyncIterator[World]:
    """The service in this process, on stand-ins of its own."""
    async with stand_ins() as world, serving(world.environment(folder, **variables)) as port:
        yield replace(world, port=port)


@asynccontextmanager
async def serving(environment: Mapping[str, str]) -> AsyncIterator[int]:
    """Run a service in this process; yields its port."""
    stop = asyncio.Event()
    async with running(settings.load(environment)) as service:
        working = asyncio.ensure_future(service.run(stop))
        try:
            yield service.port
        finally:
            stop.set()
            await working


def programs_below(folder: Path) -> dict[int, str]:
    """What runs with this folder, or one in it, as its own or among its arguments: names by pid.

    (A process that nobody has waited for yet has neither.)
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                here = (entry / "cwd").resolve()
                if here.is_relative_to(folder.resolve()) or str(folder) in " ".join(words[1:]):
                    found[int(entry.name)] = words[0]
    return found
