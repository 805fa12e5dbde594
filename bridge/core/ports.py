"""What the relay needs of the two platforms, the store and time. `app` decides who plays each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Protocol

from bridge.core.events import Identified, Incoming
from bridge.core.lookback import LookBack
from bridge.core.model import (
    Contact,
    Conversation,
    ConversationId,
    Item,
    Mark,
    Opening,
    Outgoing,
    Place,
    Sent,
    Started,
)
from bridge.core.parked import Parked
from bridge.core.value import Value


class Clock(Protocol):
    """Time, passed in so that tests own it."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def boottime(self) -> float:
        """Seconds that never jump and go on while the machine sleeps (CLOCK_BOOTTIME)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


# --- the customer's side -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartId:
    """One Slack post's share of an outgoing item: part `part` (from 1) of `of`, which is no part
    of its identity."""

    id: str
    part: int
    of: int = field(default=1, compare=False)


class CustomerSide(Protocol):
    """Slack, as the relay sees it. Every coroutine raises the failures of `core/errors`."""

    async def identify(self, conversation: ConversationId, user_id: str) -> Identified:
        """Profile of a person, name of the place, permalink of the thread (cached)."""
        ...

    async def with_names(self, conversation: ConversationId, text: str) -> str:
        """The text with `<@U…>` replaced by display names. Never raises: falls back to the id."""
        ...

    async def root(self, conversation: ConversationId) -> Incoming | None:
        """The thread's root as an event, read from Slack; None where no person wrote it (or it
        was deleted, or is ours)."""
        ...

    @property
    def room(self) -> int:
        """Characters of one post; what is longer takes several."""
        ...

    def parts(self, outgoing: Outgoing) -> int:
        """How many posts it takes: the same number at every call."""
        ...

    async def post(
        self,
        conversation: ConversationId,
        load: Sequence[Outgoing],
        part: int,
        guard: Callable[[], None],
    ) -> str:
        """Post and return the `ts`. `load` is what `core.outbox.batch` gave: one, of which this is
        part `part` (from 1), or several short ones that are joined (part 1).

        `guard` is called when a connection is in hand, right before the request is written; where
        it raises, nothing goes out and its exception comes back unchanged.
        """
        ...

    async def look(self, conversation: ConversationId, since: str) -> Mapping[PartId, str]:
        """Our own posts in the thread after the `ts` `since` (or all), by what they carry."""
        ...

    async def flag(self, conversation: ConversationId, message_ts: str) -> None:
        """Put a warning sign on a customer's message."""
        ...

    async def unflag(self, conversation: ConversationId, message_ts: str) -> None:
        """Take our warning sign off again."""
        ...

    async def retire_button(self, conversation: ConversationId, post_ts: str) -> None:
        """Take the button off a post of ours."""
        ...


class CustomerHistory(Protocol):
    """What Slack still knows of a time in which nobody took events in. Raises Failure."""

    def channels(self, since: str) -> AsyncIterator[Incoming]:
        """What people wrote in the support channels after the `ts` `since`."""
        ...

    def thread(self, conversation: ConversationId, since: str) -> AsyncIterator[Incoming]:
        """What people wrote in one conversation after the `ts` `since`."""
        ...


# --- the agent's side --------------------------------------------------------------------------


class ChatListener(Protocol):
    """Whom a chat tells what it hears. Called in the event loop; must not block."""

    def subscribed(self) -> None:
        """The socket is subscribed (again) and the transcript was read since."""
        ...

    def items(self, items: Sequence[Item]) -> None:
        """New items in order, each once; the customer's own are among them (`own`)."""
        ...

    def renewed(self, connection_token: str, expiry: float) -> None:
        """The connection token changed and is to be stored."""
        ...

    def over(self) -> None:
        """The contact is over, and something of it may have been missed: two 403 in a row, and it is
        not that Connect refuses every chat, or chat.ended behind a gap that nobody can fill any more
        (chat.ended comes as an item else)."""
        ...


class Chat(Protocol):
    """The live end of one contact: its credentials, its socket, its transcript."""

    async def send(self, text: str, client_token: str, guard: Callable[[], None]) -> Sent:
        """SendMessage. A 403 renews the token once; then Gone. `guard` is called when it is our turn
        (quota, credentials), right before the request; what it raises comes back unchanged."""
        ...

    async def end(self, client_token: str) -> None:
        """DisconnectParticipant. A contact that is over already is success."""
        ...

    async def catch_up(self) -> Sequence[Item]:
        """Read the transcript from the look-back on. New items go to the listener as usual; all that
        was read is returned, oldest first, and our newest message also where only a socket told of it
        so far."""
        ...

    def typing(self) -> None:
        """Show the agent that more is coming. Best effort, in the background."""
        ...

    def delivered(self, item_id: str) -> None:
        """Tell the agent that the customer has it. Best effort, newest only, rate limited."""
        ...

    async def close(self) -> None:
        """Stop listening. The contact goes on."""
        ...


class AgentSide(Protocol):
    """Connect, as the relay sees it."""

    def compose(self, opening: Opening) -> str:
        """The StartChatContact request for this opening, as text that `start` repeats. Pure."""
        ...

    async def start(self, request: str) -> Started:
        """StartChatContact, once. Repeating the same request is harmless (ClientToken)."""
        ...

    def listen(
        self,
        contact: Contact,
        seen: LookBack,
        listener: ChatListener,
        started: Started | None = None,
    ) -> Chat:
        """Connect and subscribe in the background. `seen` needs no telling again; where it is
        empty the transcript is read from its start. `started` may carry a socket URL."""
        ...


# --- the store ---------------------------------------------------------------------------------


class Intake(StrEnum):
    """What became of an event that was offered to the store."""

    STORED = "stored"
    REPEAT = "repeat"
    """Its key was known: it had been stored before."""
    STRANGER = "stranger"
    """It opens nothing, and its conversation does not exist: not remembered, but see `overtaken`."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """`mine`: this replica owns the place, and is to work the event itself. `taken`: the place
    became ours by this event, so whatever we remember of it is out of date. `waiting`: how many
    events wait in its lane, with this one."""

    intake: Intake
    mine: bool
    taken: bool = False
    waiting: int = field(default=0, compare=False)


class Kept(Value, frozen=True):
    """One conversation as it stands in the store; `lane` is not sorted. `doubt`: the store lost its
    last writes then (Redis time), and this may be older than that; 0 where it is the newest. `mine`:
    its place was ours when it was read."""

    conversation: Conversation
    mark: Mark | None
    lane: tuple[Incoming, ...]
    doubt: float = 0.0
    mine: bool = True


class Gap(Value, frozen=True):
    """A time in which no replica held a lease, so that nobody took events in (Redis time). `reader`:
    it falls to us to read the channels."""

    since: float
    ended: float
    reader: bool


class Renewal(Value, frozen=True):
    """`held`: the lease was still ours. `pending`: places of ours with events that wait, and how
    many. `alone`: seconds since any replica renewed before this one, so that nobody may have taken events in; 0
    where none ever did. `replicas`: how many live, this one included. `vacant`: there may be places
    to claim. `parked`: how many entries are parked. `replaced`: another store answers than at our
    last renewal, and refuses us until `retake`; `lost`: it may lack what the last one knew. `gap`:
    the last one of the last hours."""

    held: bool
    pending: Mapping[Place, int]
    redis_time: float
    alone: float = 0.0
    replicas: int = 1
    vacant: bool = False
    parked: int = 0
    replaced: bool = False
    lost: bool = False
    gap: Gap | None = None


class Arrival(Value, frozen=True):
    """An event for a place of ours that another replica took in. `waiting`: how many events wait in
    its lane, with this one."""

    incoming: Incoming
    waiting: int


class Signal(Enum):
    """What else is heard of other replicas."""

    VACANCY = auto()
    """One that stops gave places back: they may be claimed at once."""
    LISTENING = auto()
    """From here on we hear everything; what was told before is lost."""


class Store(Protocol):
    """What survives a restart. Every call raises StoreAway; writes to a conversation raise
    NotOwner where its place is not ours (or our lease has expired). Every call but `renew` raises
    StoreReplaced where the store is not the one that we renewed our lease with."""

    async def accept(self, incoming: Incoming) -> Accepted:
        """Drop a repeat, append to the lane, tell the owner: one round trip. A place without a
        living owner becomes ours."""
        ...

    async def settle(
        self,
        conversation: Conversation,
        done: Sequence[str] = (),
        unmark: bool = False,
        park: Sequence[Parked] = (),
        doubt: bool = False,
    ) -> None:
        """Write the state, remove these lane events (by id), drop the mark, park what was given
        up: one round trip. Where it is in `doubt` whoever loads it is told so again."""
        ...

    async def mark(self, conversation: ConversationId, ids: Sequence[str], since: str) -> Mark:
        """Note that a post carrying these ids is about to be tried: one round trip."""
        ...

    async def forget(self, conversation: ConversationId, done: Sequence[str]) -> None:
        """Remove these events, and the conversation with them if its lane is empty then."""
        ...

    async def overtaken(self, conversation: ConversationId) -> bool:
        """Whether something came in it within the last hour while there was no such conversation."""
        ...

    async def load(self, conversation: ConversationId) -> Kept:
        """One conversation; a new one where nothing is kept."""
        ...

    async def load_place(self, place: Place) -> Sequence[Kept]:
        """Every conversation of a place that is active or has waiting events."""
        ...

    async def renew(self, unused: Iterable[Place] = (), *, begin: bool = True) -> Renewal:
        """Renew our lease; one that is gone begins anew only where it is to `begin`. Of `unused` places those in which nothing waits or lives get no owner."""
        ...

    async def claim(self, limit: int) -> Sequence[Place]:
        """Take up to `limit` places that have no living owner, but no more than a fair share."""
        ...

    async def owned(self) -> Sequence[Place]:
        """The places that are ours."""
        ...

    async def caught_up(self, ended: float) -> None:
        """The channels were read after the gap that ended then."""
        ...

    async def vacate(self, places: Iterable[Place]) -> None:
        """Give these places back for others to claim at once, and claim none from now on."""
        ...

    async def retake(self, places: Iterable[Place], sure: bool) -> Sequence[Place]:
        """Work with the store as it is now, and take back those of our places that nobody else has;
        returns them. `sure`: our lease held until it was replaced, so that nobody claimed any."""
        ...

    async def release(self) -> None:
        """Drop the lease, and with it every place that is still ours."""
        ...

    def arrivals(self) -> AsyncIterator[Arrival | Signal]:
        """What other replicas tell us, from now on."""
        ...
