"""Customers and agents who keep writing, as the plan says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.errors import DeskError
from bridge.sandbox.connect.items import PLAIN
from tests.chaos.plan import AGENT, CUSTOMER, Line, Talk
from tests.chaos.words import written
from tests.chaos.world import World

POLL = 0.1
ROOT_DELAY = 0.8
"""How long a root is on its way that its reply overtakes."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """A line that was written: `id` is the message's ts in Slack, or the item's in Connect."""

    line: Line
    id: str
    chat: Chat | None = None


class People:
    """All who write. `run` returns when the time is over."""

    def __init__(self, world: World) -> None:
        self.wrote: list[Wrote] = []
        self._world = world
        self._slack = world.pair.slack
        self._connect = world.pair.connect.world
        self._began = 0.0
        self._chats: dict[int, list[Chat]] = {}

    async def run(self) -> None:
        """Write all lines, or as many as go."""
        self._began = asyncio.get_running_loop().time()
        lines: dict[tuple[int, str], list[Line]] = {}
        for line in self._world.plan.lines:
            lines.setdefault((line.talk, line.side), []).append(line)
        desk = asyncio.create_task(self._desk())
        writers = [
            asyncio.create_task(
                self._customer(talk, lines[talk.number, CUSTOMER])
                if side == CUSTOMER
                else self._agent(talk, lines[talk.number, AGENT])
            )
            for talk in self._world.plan.talks
            for side in (CUSTOMER, AGENT)
        ]
        try:
            done, _ = await asyncio.wait(writers, timeout=self._world.size.seconds + 10.0)
            for task in done:
                task.result()
        finally:
            for task in (desk, *writers):
                task.cancel()
            await asyncio.gather(desk, *writers, return_exceptions=True)

    async def answer(self) -> None:
        """Go on accepting chats, after the writing."""
        await self._desk()

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(self._began + at - asyncio.get_running_loop().time(), 0.0))

    # --- customers -------------------------------------------------------------------------------

    async def _customer(self, talk: Talk, lines: Sequence[Line]) -> None:
        for line in lines:
            await self._until(line.at)
            self._write(talk, line)

    def _write(self, talk: Talk, line: Line) -> None:
        world = self._world
        room, author = world.rooms[talk.number], world.authors[talk.number]
        text = written(line.talk, line.side, line.number, line.words)
        thread = world.threads.get(talk.number)
        if thread is None and talk.kind == "mention":
            text = f"@bot {text}"
        if thread is None and talk.reply_first:
            self._slack.faults.add(
                {
                    "kind": "delay_events",
                    "target": "message",
                    "match": {"channel": room.id},
                    "seconds": ROOT_DELAY,
                }
            )
            world.strike("reply before its root")
        message = self._slack.workspace.say(room, author, text, thread_ts=thread or None)
        if thread is None:
            flat = talk.kind == "dm" and not world.plan.dm_threads
            world.threads[talk.number] = "" if flat else message.ts
        self.wrote.append(Wrote(line, message.ts))

    # --- agents ----------------------------------------------------------------------------------

    async def _agent(self, talk: Talk, lines: Sequence[Line]) -> None:
        for line in lines:
            await self._until(line.at)
            chat = await self._connected(talk.number)
            text = written(line.talk, line.side, line.number, line.words)
            item = chat.add("MESSAGE", PLAIN, chat.agent, text)
            self.wrote.append(Wrote(line, item.id, chat))

    async def _connected(self, talk: int) -> Chat:
        while True:
            for chat in reversed(self._chats.get(talk, [])):
                if chat.state == "connected" and chat.agent is not None:
                    return chat
            await asyncio.sleep(POLL)

    async def _desk(self) -> None:
        """Somebody takes every chat that waits."""
        while True:
            self._chats = self._world.chats()
            for chat in self._connect.chats:
                if chat.state == "queued":
                    try:
                        chat.accept("Mina")
                    except DeskError:
                        continue
            await asyncio.sleep(POLL)
