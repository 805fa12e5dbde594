"""Slack for the relay: threads in memory, with failures on request."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from bridge.core.decision import ts_key
from bridge.core.errors import Failure
from bridge.core.events import AskedToEnd, AskedToReopen, Identified, Incoming, LaneEvent, Wrote
from bridge.core.model import (
    AgentMessage,
    ConversationId,
    CustomerMessage,
    Notice,
    NoticeKind,
    Outgoing,
    Place,
    Profile,
    Workspace,
)
from bridge.core.ports import Clock, PartId

T = TypeVar("T")

_LATENCY = 0.02

_call: ContextVar[object] = ContextVar("_call")


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure before a call is carried out, or `after`, which may be `late` (seconds)."""

    failure: Failure
    after: bool = False
    late: float = 0.0


class Faults:
    """What goes wrong with which call. Every call of a fake passes through `around`."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        """How long a call takes, where it is not the usual instant."""
        self.weather: Callable[[], Fault | None] = lambda: None
        """What may befall any call."""
        self.crossed: list[str] = []
        """Calls that found another call's value in their context: a guard is kept there."""
        self._next: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Failure] = {}

    def next(self, call: str, *failures: Failure, after: bool = False, late: float = 0.0) -> None:
        """The next calls fail: before they are carried out, or `after`, which may be `late`."""
        self._next[call] += [Fault(failure, after or late > 0, late) for failure in failures]

    def always(self, call: str, failure: Failure) -> None:
        """Every call fails, until `heal`."""
        self._always[call] = failure

    def heal(self, call: str) -> None:
        del self._always[call]

    async def around(
        self, call: str, act: Callable[[], T], check: Callable[[], None] = lambda: None
    ) -> T:
        """Carry out `act`, with what is to go wrong. `check` comes right before, and may raise."""
        self.calls[call] += 1
        fault = self._take(call)
        half = self.seconds.get(call, _LATENCY) / 2
        mine = object()
        _call.set(mine)
        await asyncio.sleep(half)
        if _call.get() is not mine:
            self.crossed.append(call)
        if fault and not fault.after:
            raise fault.failure
        check()
        if fault and fault.late:
            asyncio.get_running_loop().call_later(fault.late, act)
            raise fault.failure
        result = act()
        await asyncio.sleep(half)
        if fault:
            raise fault.failure
        return result

    def _take(self, call: str) -> Fault | None:
        if self._next[call]:
            return self._next[call].popleft()
        always = self._always.get(call)
        return Fault(always) if always else self.weather()


@dataclass(frozen=True, slots=True)
class Entry:
    """What a post of ours carries: one part of something, or one of several short messages."""

    outgoing: Outgoing
    id: PartId
    text: str


@dataclass(frozen=True, slots=True)
class SlackPost:
    """A post of ours in a thread."""

    ts: str
    entries: tuple[Entry, ...]


class FakeCustomer:
    """`ports.CustomerSide` and `ports.CustomerHistory`, and the people in Slack. Long messages take several posts."""

    room = 40

    def __init__(self, clock: Clock) -> None:
        self.faults = Faults()
        self.threads: defaultdict[ConversationId, list[SlackPost]] = defaultdict(list)
        self.written: list[Incoming] = []
        """What people did, whether or not anybody took it in."""
        self.strangers: set[str] = set()
        """Users who may not open a conversation."""
        self.supported = True
        """Whether every channel is a support channel; elsewhere history has to be asked by thread."""
        self.roots_read = 24 * 3600.0
        """How much older a root may be whose thread is read with its channel."""
        self.flags: list[str] = []
        self.retired: list[str] = []
        self._clock = clock
        self._newest = 0

    # --- what people do --------------------------------------------------------------------------

    def opens(self, text: str, user: str = "U1", channel: str = "C1") -> Incoming:
        """A new message in a channel: the root of a thread."""
        ts = self._ts()
        place = Place(Workspace("T1"), channel)
        return self._event(ConversationId(place, ts), Wrote(CustomerMessage(ts, ts, user, text)))

    def replies(self, conversation: ConversationId, text: str, user: str = "U1") -> Incoming:
        ts = self._ts()
        return self._event(conversation, Wrote(CustomerMessage(ts, ts, user, text)))

    def asks_to_end(self, conversation: ConversationId, user: str = "U1") -> Incoming:
        return self._event(conversation, AskedToEnd(self._ts(), user))

    def asks_to_reopen(self, conversation: ConversationId, user: str = "U1") -> Incoming:
        return self._event(conversation, AskedToReopen(self._ts(), user))

    def _event(self, conversation: ConversationId, event: LaneEvent) -> Incoming:
        ts = event.message.ts if isinstance(event, Wrote) else event.ts
        opens = isinstance(event, Wrote)
        incoming = Incoming(conversation, event, (f"{conversation.place}:{ts}",), opens)
        self.written.append(incoming)
        return incoming

    def _ts(self) -> str:
        self._newest = max(round(self._clock.now() * 1e6), self._newest + 1)
        return f"{self._newest // 10**6}.{self._newest % 10**6:06d}"

    # --- what they see ---------------------------------------------------------------------------

    def words(self, conversation: ConversationId) -> list[str]:
        """What agents wrote, entry by entry."""
        return [text for post in self.posts(conversation) for text in post]

    def posts(self, conversation: ConversationId) -> list[list[str]]:
        """The same, post by post."""
        return [
            [entry.text for entry in post.entries]
            for post in self._thread(conversation)
            if isinstance(post.entries[0].outgoing, AgentMessage)
        ]

    def notices(self, conversation: ConversationId) -> list[NoticeKind]:
        """What the bridge itself said."""
        return [
            entry.outgoing.kind
            for post in self._thread(conversation)
            for entry in post.entries
            if isinstance(entry.outgoing, Notice)
        ]

    def reads(self, conversation: ConversationId, text: str) -> bool:
        """Whether the thread shows this, from an agent."""
        return text in self.words(conversation)

    def ids(self, conversation: ConversationId) -> list[PartId]:
        """What the posts carry, entry by entry."""
        return [entry.id for post in self._thread(conversation) for entry in post.entries]

    def _thread(self, conversation: ConversationId) -> list[SlackPost]:
        return sorted(self.threads[conversation], key=lambda post: ts_key(post.ts))

    # --- the port --------------------------------------------------------------------------------

    async def identify(self, conversation: ConversationId, user_id: str) -> Identified:
        profile = Profile(user_id, f"Name-{user_id}", may_open=user_id not in self.strangers)
        found = Identified(profile, place_name=conversation.place.channel)
        return await self.faults.around("identify", lambda: found)

    async def with_names(self, conversation: ConversationId, text: str) -> str:
        return text.replace("<@U2>", "@Name-U2")

    async def root(self, conversation: ConversationId) -> Incoming | None:
        def find() -> Incoming | None:
            roots = (one for one in self.written if one.ts == conversation.thread_ts)
            return next(roots, None)

        return await self.faults.around("root", find)

    def parts(self, outgoing: Outgoing) -> int:
        if isinstance(outgoing, Notice):
            return 1
        return max(1, -(-len(outgoing.text) // self.room))

    async def post(
        self,
        conversation: ConversationId,
        load: Sequence[Outgoing],
        part: int,
        guard: Callable[[], None],
    ) -> str:
        entries = tuple(self._entry(outgoing, part) for outgoing in load)

        def appear() -> str:
            post = SlackPost(self._ts(), entries)
            self.threads[conversation].append(post)
            return post.ts

        return await self.faults.around("post", appear, check=guard)

    def _entry(self, outgoing: Outgoing, part: int) -> Entry:
        words = outgoing.text if isinstance(outgoing, AgentMessage) else str(outgoing.kind)
        text = words[(part - 1) * self.room : part * self.room]
        return Entry(outgoing, PartId(outgoing.id, part, self.parts(outgoing)), text)

    async def look(self, conversation: ConversationId, since: str) -> Mapping[PartId, str]:
        def read() -> Mapping[PartId, str]:
            return {
                entry.id: post.ts
                for post in self.threads[conversation]
                for entry in post.entries
                if ts_key(post.ts) > ts_key(since)
            }

        return await self.faults.around("look", read)

    async def flag(self, conversation: ConversationId, message_ts: str) -> None:
        await self.faults.around("flag", lambda: self.flags.append(message_ts))

    async def unflag(self, conversation: ConversationId, message_ts: str) -> None:
        await self.faults.around("unflag", lambda: self.flags.remove(message_ts))

    async def retire_button(self, conversation: ConversationId, post_ts: str) -> None:
        await self.faults.around("retire_button", lambda: self.retired.append(post_ts))

    # --- the history -----------------------------------------------------------------------------

    async def channels(self, since: str) -> AsyncIterator[Incoming]:
        """Of threads that are not too old."""
        oldest = float(since) - self.roots_read
        for one in await self._history(since):
            if self.supported and float(one.conversation.thread_ts) > oldest:
                yield one

    async def thread(self, conversation: ConversationId, since: str) -> AsyncIterator[Incoming]:
        for one in await self._history(since):
            if one.conversation == conversation:
                yield one

    async def _history(self, since: str) -> list[Incoming]:
        def read() -> list[Incoming]:
            wrote = [one for one in self.written if isinstance(one.event, Wrote)]
            return [one for one in wrote if ts_key(one.ts) > ts_key(since)]

        return await self.faults.around("history", read)
