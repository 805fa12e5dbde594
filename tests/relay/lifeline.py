"""A process that dies between two instructions: its ports, cut at a chosen call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import Any, TypeVar, cast

from bridge.core.errors import Failure, NotOwner, StoreAway
from bridge.core.events import Incoming
from bridge.core.lookback import LookBack
from bridge.core.model import Contact, ConversationId, Item, Started
from bridge.core.ports import (
    AgentSide,
    Arrival,
    Chat,
    ChatListener,
    CustomerHistory,
    CustomerSide,
    Signal,
    Store,
)

T = TypeVar("T")


class Redis(Enum):
    """How Redis fares, as one replica sees it."""

    UP = auto()
    AWAY = auto()
    """Cannot be reached."""
    MUTE = auto()
    """Does what it is asked, but its answers are lost."""


class Lifeline:
    """Counts the calls of one replica to its ports. At call number `at` (from 1) everything is cut,
    before it is carried out or `after`: then no call returns and nothing is heard any more. `late`:
    that call was in the air, and is carried out so many seconds later (see `postpone`)."""

    def __init__(self, at: int = 0, *, after: bool = False, late: float | None = None) -> None:
        self.calls: list[str] = []
        self.cut = asyncio.Event()
        self.redis = Redis.UP
        self.seconds: dict[str, float] = {}
        """How long the answer to a call takes on its way."""
        self._buried = False
        self._at = at
        self._after = after
        self.landed = asyncio.Event()
        """A write that was in the air has reached Redis."""
        self.postpone: Callable[[str, float], bool] = lambda _name, _seconds: False
        """Lets a platform carry out the next call of this name late; False where nobody can."""
        self._late = late
        self._in_the_air: asyncio.Task[None] | None = None

    def store(self, store: Store) -> Store:
        return cast("Store", _Store(self, store, "store"))

    def customer(self, customer: CustomerSide) -> CustomerSide:
        return cast("CustomerSide", _Port(self, customer, "slack"))

    def history(self, history: CustomerHistory) -> CustomerHistory:
        return _History(self, history)

    def agent(self, agent: AgentSide) -> AgentSide:
        return cast("AgentSide", _Agent(self, agent, "connect"))

    async def through(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        await self._alive()
        self.calls.append(name)
        mine = len(self.calls) == self._at
        if mine and not self._after:
            if self._late is not None:
                self._in_the_air = asyncio.create_task(self._fly(name, call, self._late))
            self.cut.set()
        await self._alive()
        await asyncio.sleep(0)  # nothing goes out before a connection is in hand
        try:
            answer = await call()
        except Exception:
            await self._answered(mine)
            raise
        if name in self.seconds:
            await asyncio.sleep(self.seconds[name])
        await self._answered(mine)
        return answer

    async def _fly(self, name: str, call: Callable[[], Awaitable[object]], late: float) -> None:
        if not self.postpone(name, late):
            await asyncio.sleep(late)
        with suppress(Failure, NotOwner, StoreAway):
            await call()
        self.landed.set()

    async def _answered(self, mine: bool) -> None:
        if mine:
            self.cut.set()
        await self._alive()

    async def _alive(self) -> None:
        if self._buried:
            raise asyncio.CancelledError
        if self.cut.is_set():
            await asyncio.get_running_loop().create_future()

    def bury(self) -> None:
        """End whoever still calls. (A cancelled task may not notice: until Python 3.12,
        `asyncio.wait_for` returns an answer that came at the same moment.)"""
        self.cut.set()
        self._buried = True


class _Port:
    """Any port: its coroutines go through the lifeline."""

    def __init__(self, lifeline: Lifeline, port: object, name: str) -> None:
        self._lifeline = lifeline
        self._port = port
        self._name = name

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*args: Any, **named: Any) -> Any:
            return await self._lifeline.through(
                f"{self._name}.{name}", lambda: self._carry_out(method(*args, **named))
            )

        return call

    async def _carry_out(self, call: Coroutine[Any, Any, T]) -> T:
        return await call


class _Store(_Port):
    async def _carry_out(self, call: Coroutine[Any, Any, T]) -> T:
        if self._lifeline.redis is Redis.AWAY:
            call.close()
            raise StoreAway("away")
        answer = await call
        if self._lifeline.redis is not Redis.UP:
            raise StoreAway("no answer")
        return answer

    async def arrivals(self) -> AsyncIterator[Arrival | Signal]:
        async for heard in cast("Store", self._port).arrivals():
            if not self._lifeline.cut.is_set():
                yield heard


class _History:
    def __init__(self, lifeline: Lifeline, history: CustomerHistory) -> None:
        self._lifeline = lifeline
        self._history = history

    async def channels(self, since: str) -> AsyncIterator[Incoming]:
        async for incoming in self._history.channels(since):
            await self._lifeline.through("slack.history", _nothing)
            yield incoming

    async def thread(self, conversation: ConversationId, since: str) -> AsyncIterator[Incoming]:
        async for incoming in self._history.thread(conversation, since):
            await self._lifeline.through("slack.history", _nothing)
            yield incoming


async def _nothing() -> None:
    pass


class _Agent(_Port):
    def listen(
        self,
        contact: Contact,
        seen: LookBack,
        listener: ChatListener,
        started: Started | None = None,
    ) -> Chat:
        ear = _Ear(self._lifeline, listener)
        chat = cast("AgentSide", self._port).listen(contact, seen, ear, started)
        return cast("Chat", _Chat(self._lifeline, chat, "chat"))


class _Chat(_Port):
    async def close(self) -> None:
        await cast("Chat", self._port).close()
        await asyncio.sleep(self._lifeline.seconds.get("chat.close", 0.0))


class _Ear:
    """A listener that hears nothing when it is dead."""

    def __init__(self, lifeline: Lifeline, listener: ChatListener) -> None:
        self._lifeline = lifeline
        self._listener = listener

    def subscribed(self) -> None:
        if not self._lifeline.cut.is_set():
            self._listener.subscribed()

    def items(self, items: Sequence[Item]) -> None:
        if not self._lifeline.cut.is_set():
            self._listener.items(items)

    def renewed(self, connection_token: str, expiry: float) -> None:
        if not self._lifeline.cut.is_set():
            self._listener.renewed(connection_token, expiry)

    def over(self) -> None:
        if not self._lifeline.cut.is_set():
            self._listener.over()
