"""One whole conversation, scripted: it prints both sides and knows whether they were right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TextIO

from bridge.demo.people import Customer, Desk, Json
from bridge.demo.show import connect_lines, side_by_side, slack_lines
from bridge.demo.stage import Stage

_PATIENCE = 30.0
_LONG = " ".join(f"Step {number}: I restarted the router and waited." for number in range(1, 61))

Check = Callable[[], Awaitable[bool]]


class Tour:
    """Plays the script; `failures` counts the expectations that did not hold."""

    def __init__(self, stage: Stage, out: TextIO) -> None:
        self._customer: Customer = stage.customer
        self._desk: Desk = stage.desk
        self._out = out
        self.failures = 0
        self.contact = ""

    async def play(self) -> None:
        """The whole script, then both sides side by side."""
        for scene in (
            self._open,
            self._talk,
            self._long_message,
            self._dropped_socket,
            self._transfer,
            self._end,
            self._reopen,
        ):
            await scene()
        await self._each_message_once()
        await self._print()

    # --- scenes ----------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._say("A customer asks for help in a Slack thread")
        await self._customer.write("Hi, my router restarts all the time. What can I do?")
        await self._expect("the thread says that it is connecting", self._shown("onnect"))
        await self._expect("a chat contact exists in Connect", self._has_contacts(1))
        self.contact = str((await self._desk.contacts())[-1]["contact_id"])
        await self._expect(
            "the agent's side has the question", self._received("my router restarts all the time")
        )
        await self._expect("the flow's greeting is in the thread", self._shown("Welcome"))

    async def _talk(self) -> None:
        self._say("An agent accepts, and both write")
        await self._accept()
        await self._expect("the thread says who joined", self._shown("Mina"))
        await self._agent("Good morning! Which lights are on?")
        await self._customer.write("Only the red one & it blinks.")
        await self._expect("the agent reads the answer", self._received("the red one & it blinks"))
        await self._agent("Please do not tell <!channel> about it.")

    async def _long_message(self) -> None:
        self._say("The customer pastes a long text")
        await self._customer.write(_LONG)
        await self._expect("all of it arrives, in order", self._received_in_parts(_LONG))

    async def _dropped_socket(self) -> None:
        self._say("The socket drops, and the agent writes meanwhile")
        await self._desk.do(self.contact, "drop_sockets")
        await self._agent("Are you still there?")

    async def _transfer(self) -> None:
        self._say("The chat is transferred")
        await self._desk.do(self.contact, "transfer", to="Omar")
        await self._expect("the thread says who answers now", self._shown("Omar"))
        await self._agent("Omar here. I send you a new router.")

    async def _end(self) -> None:
        self._say("The agent ends the chat")
        await self._desk.do(self.contact, "end")
        await self._expect("the thread says so", self._shown("ended"))

    async def _reopen(self) -> None:
        self._say("The customer says thanks, then presses the button after all")
        await self._customer.write("Thanks!")
        await self._expect("the thread asks whether to start again", self._offers("new chat"))
        await self._expect("nobody was called", self._has_contacts(1))
        await self._press("new chat")
        await self._expect("a second chat begins", self._has_contacts(2))
        self.contact = str((await self._desk.contacts())[-1]["contact_id"])
        await self._expect("it has what was kept", self._received("Thanks!"))
        await self._accept()
        await self._agent("You are welcome. Anything else?")
        await self._press("End chat")
        await self._expect("the chat has ended in Connect too", self._over)
        await self._expect("and the thread says so again", self._shown("ended", times=3))

    async def _accept(self) -> None:
        await self._expect("it waits in the queue", self._in_state("queued"))
        await self._desk.do(self.contact, "accept", name="Mina")

    # --- expectations ----------------------------------------------------------------------------

    async def _agent(self, text: str) -> None:
        await self._desk.do(self.contact, "messages", text=text)
        await self._expect("the thread shows the agent's message", self._shown(text))

    async def _press(self, label: str) -> None:
        for message in reversed(await self._customer.thread()):
            for button in message["buttons"]:
                if label.lower() in str(button["text"]).lower():
                    await self._customer.press(str(button["text"]))
                    return
        self._report(f"there is a button “{label}”", held=False)

    async def _each_message_once(self) -> None:
        carried = [
            f"{entry['id']}/{entry['part']}"
            for message in await self._customer.thread()
            for entry in ((message["metadata"] or {}).get("event_payload") or {}).get("entries", [])
        ]
        self._report("nothing stands twice in the thread", held=len(carried) == len(set(carried)))
        pings = [
            ping
            for message in await self._customer.thread()
            for ping in message["pings"]
            if message["is_bot"] and ping in ("channel", "here", "everyone")
        ]
        self._report("nobody's text pinged the channel", held=not pings)

    def _shown(self, text: str, times: int = 1) -> Check:
        async def check() -> bool:
            thread = await self._customer.thread()
            found = [one for one in thread if one["is_bot"] and text in str(one["shown"])]
            return len(found) >= times

        return check

    def _offers(self, label: str) -> Check:
        async def check() -> bool:
            return any(
                label.lower() in str(button["text"]).lower()
                for message in await self._customer.thread()
                for button in message["buttons"]
            )

        return check

    def _has_contacts(self, number: int) -> Check:
        async def check() -> bool:
            return len(await self._desk.contacts()) == number

        return check

    def _in_state(self, state: str) -> Check:
        async def check() -> bool:
            return str((await self._desk.contacts())[-1]["state"]) == state

        return check

    def _received(self, text: str) -> Check:
        async def check() -> bool:
            return any(text in content for content in await self._from_customer())

        return check

    def _received_in_parts(self, text: str) -> Check:
        async def check() -> bool:
            return text in " ".join(await self._from_customer())

        return check

    async def _over(self) -> bool:
        contacts = await self._desk.contacts()
        return all(contact["state"] == "ended" for contact in contacts)

    async def _from_customer(self) -> Sequence[str]:
        items = await self._desk.transcript(self.contact)
        return [str(i.get("Content", "")) for i in items if i.get("ParticipantRole") == "CUSTOMER"]

    async def _expect(self, what: str, check: Check) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while not await check():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            self._report(what, held=False)
        else:
            self._report(what, held=True)

    def _report(self, what: str, *, held: bool) -> None:
        self.failures += not held
        self._out.write(f"  {'✓' if held else '✗'} {what}\n")
        self._out.flush()

    def _say(self, what: str) -> None:
        self._out.write(f"\n{what}\n")
        self._out.flush()

    async def _print(self) -> None:
        lines = list(slack_lines(await self._customer.thread()))
        seen: set[str] = set()
        for contact in await self._desk.contacts():
            items: list[Json] = []
            for item in await self._desk.transcript(str(contact["contact_id"])):
                if item["Id"] not in seen:
                    seen.add(str(item["Id"]))
                    items.append(item)
            lines += connect_lines(items)
        self._out.write(f"\n{side_by_side(lines)}\n\n")
        verdict = "Everything held." if not self.failures else f"{self.failures} did not hold."
        self._out.write(f"{verdict}\n")
        self._out.flush()
