"""The two people of the demo, moved through the sandbox's HTTP API (docs/sandbox.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

Json = Mapping[str, Any]


class SandboxRefused(Exception):
    """The sandbox did not do what was asked; its reason is the message."""


class _Api:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/sandbox"

    async def get(self, path: str, **query: str) -> Any:
        async with self._session.get(f"{self._url}/{path}", params=query) as response:
            return await self._answer(response)

    async def post(self, path: str, **body: object) -> Any:
        async with self._session.post(f"{self._url}/{path}", json=body) as response:
            return await self._answer(response)

    async def patch(self, path: str, **body: object) -> Any:
        async with self._session.patch(f"{self._url}/{path}", json=body) as response:
            return await self._answer(response)

    @staticmethod
    async def _answer(response: aiohttp.ClientResponse) -> Any:
        answer = await response.json()
        if response.status >= 400:
            raise SandboxRefused(str(answer.get("error")))
        return answer


class Customer:
    """A person in Slack who writes in one channel."""

    def __init__(
        self, session: aiohttp.ClientSession, slack_url: str, user: str, channel: str
    ) -> None:
        self._api = _Api(session, slack_url)
        self._user = user
        self._channel = channel
        self.thread_ts = ""

    async def write(self, text: str) -> Json:
        """Write in the thread; the first message begins it."""
        thread = {"thread_ts": self.thread_ts} if self.thread_ts else {}
        message: Json = await self._api.post(
            "messages", channel=self._channel, user=self._user, text=text, **thread
        )
        self.thread_ts = self.thread_ts or str(message["ts"])
        return message

    async def press(self, label: str) -> None:
        """Press the newest button of the thread with this label."""
        for message in reversed(await self.thread()):
            for button in message["buttons"]:
                if button["text"] == label:
                    await self._api.post(
                        "clicks",
                        channel=self._channel,
                        ts=message["ts"],
                        user=self._user,
                        action_id=button["action_id"],
                    )
                    return
        raise SandboxRefused(f"there is no button {label}")

    async def thread(self) -> Sequence[Json]:
        """Everything in the thread, as a person sees it."""
        if not self.thread_ts:
            return ()
        view: Json = await self._api.get(
            f"channels/{self._channel}/messages", thread_ts=self.thread_ts
        )
        messages: Sequence[Json] = view["messages"]
        return messages


class Desk:
    """The support team in Amazon Connect."""

    def __init__(self, session: aiohttp.ClientSession, connect_url: str) -> None:
        self._api = _Api(session, connect_url)

    async def settings(self, **changes: object) -> None:
        """Change how this Connect behaves."""
        await self._api.patch("settings", **changes)

    async def contacts(self) -> Sequence[Json]:
        """Every chat contact, the newest last."""
        answer: Json = await self._api.get("contacts")
        contacts: Sequence[Json] = answer["contacts"]
        return contacts

    async def transcript(self, contact: str) -> Sequence[Json]:
        """All items of a contact, as the agent sees them."""
        answer: Json = await self._api.get(f"contacts/{contact}")
        items: Sequence[Json] = answer["transcript"]
        return items

    async def do(self, contact: str, deed: str, **body: object) -> None:
        """`accept`, `messages`, `typing`, `transfer`, `leave`, `end`, `drop_sockets`."""
        await self._api.post(f"contacts/{contact}/{deed}", **body)
