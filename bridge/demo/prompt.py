"""A prompt to write as the customer and as the agent."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TextIO

from bridge.demo.people import Customer, Desk, SandboxRefused
from bridge.demo.show import Line, connect_lines, slack_lines
from bridge.demo.stage import Stage

HELP = """
Now you. What you write goes through the running bridge:

  c TEXT      write as the customer, in the Slack thread (the first message opens a chat)
  accept      accept the chat as the agent
  a TEXT      write as the agent
  transfer    hand the chat to a colleague
  end         end the chat as the agent
  press TEXT  press the button of that name in Slack
  new         begin another thread
  quit        stop (or Ctrl-C)
"""


class Prompt:
    """Reads commands from standard input and shows what either side sees."""

    def __init__(self, stage: Stage, out: TextIO) -> None:
        self._customer: Customer = stage.customer
        self._desk: Desk = stage.desk
        self._out = out
        self._shown: set[Line] = set()
        self._before: set[str] = set()
        """Contacts of the tour."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `quit`, the end of input, or `stop`."""
        self._customer.thread_ts = ""
        self._before = {str(one["contact_id"]) for one in await self._desk.contacts()}
        self._out.write(HELP)
        self._out.flush()
        work = {asyncio.create_task(self._read()), asyncio.create_task(self._show())}
        work.add(asyncio.create_task(_wait(stop)))
        _, rest = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _read(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := (await reader.readline()).decode(errors="replace"):
            command, _, text = line.strip().partition(" ")
            if command in ("quit", "q", "exit"):
                return
            try:
                await self._do(command, text.strip())
            except SandboxRefused as refused:
                self._out.write(f"  ({refused})\n")

    async def _do(self, command: str, text: str) -> None:
        match command:
            case "":
                return
            case "c":
                await self._customer.write(text)
            case "press":
                await self._customer.press(text)
            case "new":
                self._customer.thread_ts = ""
                self._shown.clear()
            case "accept":
                await self._desk.do(await self._contact(), "accept", name="Mina")
            case "a":
                await self._desk.do(await self._contact(), "messages", text=text)
            case "transfer":
                await self._desk.do(await self._contact(), "transfer", to="Omar")
            case "end":
                await self._desk.do(await self._contact(), "end")
            case _:
                self._out.write(HELP)

    async def _contact(self) -> str:
        contacts = [str(one["contact_id"]) for one in await self._desk.contacts()]
        if not contacts or contacts[-1] in self._before:
            raise SandboxRefused("there is no chat yet: write something with c")
        return contacts[-1]

    async def _show(self) -> None:
        while True:
            lines = list(slack_lines(await self._customer.thread()))
            with suppress(SandboxRefused):
                lines += connect_lines(await self._desk.transcript(await self._contact()))
            for line in sorted(set(lines) - self._shown, key=lambda one: one.at):
                where = "Slack   │" if line.left else "Connect │"
                self._out.write(f"  {where} {line.text}\n")
            self._out.flush()
            self._shown |= set(lines)
            await asyncio.sleep(0.2)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
