"""What can happen to a conversation (Event) and what is then to be done (Effect): closed unions.

Lane events come from Slack and are stored until they are settled. Facts are what the service learns
while it works; they are not stored, because after a crash they are learned again.
"""

from __future__ import annotations

from enum import StrEnum

from bridge.core.model import (
    AgentMessage,
    Contact,
    ConversationId,
    CustomerMessage,
    Item,
    Opening,
    Outgoing,
    Profile,
    Progress,
    Sent,
)

# --- lane events -------------------------------------------------------------------------------
from bridge.core.value import Hidden, Value


class Wrote(Value, frozen=True, tag="wrote"):
    """A person wrote a message that belongs to this conversation."""

    message: CustomerMessage


class AskedToEnd(Value, frozen=True, tag="end"):
    """A person pressed End chat, or mentioned the bot with nothing but `end`."""

    ts: str
    user_id: str
    pressed: bool = True
    """By the button, which everybody in the channel sees: only who wrote in the thread may."""


class AskedToReopen(Value, frozen=True, tag="reopen"):
    """A person pressed the button that starts a new chat in this thread."""

    ts: str
    user_id: str


class Returned(Value, frozen=True, tag="returned"):
    """Somebody has an agent's message, which could not be posted, tried again."""

    message: AgentMessage

    @property
    def ts(self) -> str:
        """When."""
        return self.message.retry.ts if self.message.retry else ""


LaneEvent = Wrote | AskedToEnd | AskedToReopen | Returned


class Incoming(Value, frozen=True):
    """A lane event as it is taken in. `keys` identify it (each alone suffices): an event with a
    known key is a repeat. `opens`: it may begin a conversation; others need one to exist."""

    conversation: ConversationId
    event: LaneEvent
    keys: tuple[str, ...]
    opens: bool

    @property
    def id(self) -> str:
        """The event's identity within its lane."""
        return self.keys[0]

    @property
    def ts(self) -> str:
        """What the lane is sorted by."""
        return self.event.message.ts if isinstance(self.event, Wrote) else self.event.ts


# --- facts -------------------------------------------------------------------------------------


class Identified(Value, frozen=True):
    """Slack told who somebody is. `first` is the text that is to open the chat, and its id."""

    profile: Profile
    place_name: str = ""
    permalink: str = ""
    first_id: str = ""
    first: Hidden[str] = ""
    opens: bool = True
    """Asked in order to open a chat. False: only for the name, in a chat that was open then and
    may have ended since."""
    addressed: bool = False
    """They turned to us (a mention, a flat DM, the button), and are owed an answer."""
    overtaken: bool = False
    """Replies may have come before what opens the chat, and belonged to no conversation then."""


class Prepared(Value, frozen=True):
    """The start request is composed; it has to be stored before it goes out."""

    request: Hidden[str]


class ContactStarted(Value, frozen=True):
    """Connect created the contact."""

    contact: Contact


class StartRefused(Value, frozen=True):
    """Connect will not create the contact. `code` is Connect's name for that, `reason` ours:
    `refused` (not as asked), or patience ended: `busy` (all chats are taken), `unavailable`."""

    code: str
    reason: str = "refused"


class StartDelayed(Value, frozen=True):
    """Starting takes long, and we keep trying. `reason`: `busy` (all of Connect's chats are taken)
    or `trouble`."""

    reason: str


class NoRoot(Value, frozen=True):
    """The thread of a reply has no root that a person wrote."""


class Subscribed(Value, frozen=True):
    """The socket is subscribed: from here on nothing said in Connect can be missed."""


class CredentialsRenewed(Value, frozen=True):
    """A new connection token (or the first one)."""

    connection_token: Hidden[str]
    expiry: float


class PartSent(Value, frozen=True):
    """A part of a long message was accepted (or, without `sent`, the first one is about to go):
    `progress` is where the next one begins."""

    progress: Progress
    sent: Sent | None = None


class MessageSent(Value, frozen=True):
    """A whole message was accepted; `sent` is its last part (None: it had no text, or was accepted in
    an earlier chat, as `past`)."""

    message: CustomerMessage
    sent: Sent | None
    past: Sent | None = None


class MessageFailed(Value, frozen=True):
    """A message cannot be delivered."""

    message: CustomerMessage
    reason: str


class SendDelayed(Value, frozen=True):
    """A message of this person waits for Connect, and we keep trying."""

    user_id: str
    message_ts: str


class EventFailed(Value, frozen=True):
    """A lane event on which our own code fails, again and again."""

    event: LaneEvent


class ItemsArrived(Value, frozen=True):
    """Items of the contact, in order, none seen before."""

    contact_id: str
    items: tuple[Item, ...]


class ItemFailed(Value, frozen=True):
    """An item of the contact on which our own code fails."""

    contact_id: str
    item: Item


class ContactOver(Value, frozen=True):
    """The contact has ended, not heard to its end (or died before it connected)."""

    contact_id: str


class Posted(Value, frozen=True):
    """These (items or notices, by id) stand in the thread; `ts` is the newest post."""

    ids: tuple[str, ...]
    ts: str


class PostFailed(Value, frozen=True):
    """These cannot be posted, now or later. `gone`: the place itself is."""

    ids: tuple[str, ...]
    reason: str
    gone: bool = False
    since: str | None = None
    """Parts of them may stand in the thread after this `ts`; None: after our newest settled post."""


class Ticked(Value, frozen=True):
    """The deadline of the conversation has passed."""


class FellBehind(Value, frozen=True):
    """Very many events wait in the lane, the newest of them by this person."""

    user_id: str
    ts: str


class CaughtUp(Value, frozen=True):
    """The lane is empty again."""


class IntakeMissed(Value, frozen=True):
    """Nobody took events in between `since` (a `ts`) and `ended` (Redis time): the thread has to be
    read. `waits`: the `ts` of the oldest event in the lane, where that was written before the end."""

    since: str
    ended: float
    waits: str = ""


class ThreadRead(Value, frozen=True):
    """What was written in the thread until `ended` is stored in the lane."""

    ended: float


Fact = (
    Identified
    | NoRoot
    | Prepared
    | ContactStarted
    | StartRefused
    | StartDelayed
    | Subscribed
    | CredentialsRenewed
    | PartSent
    | MessageSent
    | MessageFailed
    | SendDelayed
    | EventFailed
    | ItemsArrived
    | ItemFailed
    | ContactOver
    | Posted
    | PostFailed
    | Ticked
    | FellBehind
    | CaughtUp
    | IntakeMissed
    | ThreadRead
)

Event = LaneEvent | Fact

# --- effects -----------------------------------------------------------------------------------


class Identify(Value, frozen=True):
    """Ask Slack who this is -> Identified."""

    user_id: str


class FindRoot(Value, frozen=True):
    """A reply came before the root of its thread: wait for that briefly, then fetch it."""


class StartContact(Value, frozen=True):
    """Compose (-> Prepared) where no request is stored, then start it -> ContactStarted,
    StartRefused, StartDelayed."""

    opening: Opening


class Listen(Value, frozen=True):
    """Connect, subscribe, fill gaps -> Subscribed, ItemsArrived, ContactOver, CredentialsRenewed."""

    contact: Contact


class SendToAgent(Value, frozen=True):
    """Send it, in parts where it is long -> PartSent, MessageSent, MessageFailed, ContactOver."""

    message: CustomerMessage
    prefix: str = ""
    """The author's name, where it is not the opener."""


class EndContact(Value, frozen=True):
    """Take the customer out of the chat (DisconnectParticipant)."""

    contact: Contact


class Post(Value, frozen=True):
    """Post into the thread -> Posted, PostFailed."""

    outgoing: Outgoing


class ReadThread(Value, frozen=True):
    """Take in what was written in the thread after the `ts` `since` -> ThreadRead."""

    since: str


Duty = StartContact | Listen | Post | ReadThread
"""What the state itself demands."""


class TellAgent(Value, frozen=True):
    """One bracketed line to the agent: something of theirs did not arrive. Best effort."""

    contact: Contact
    id: str
    reason: str


class Flag(Value, frozen=True):
    """Show on a customer's message that it was not delivered. Best effort."""

    message_ts: str


class Unflag(Value, frozen=True):
    """Take that back: it was delivered after all. Best effort."""

    message_ts: str


class RetireButton(Value, frozen=True):
    """Take the button off a post of ours. Best effort."""

    post_ts: str


Effect = (
    Identify
    | FindRoot
    | StartContact
    | Listen
    | SendToAgent
    | EndContact
    | Post
    | ReadThread
    | TellAgent
    | Flag
    | Unflag
    | RetireButton
)


class Then(StrEnum):
    """What becomes of the lane event that was decided on."""

    WAIT = "wait"
    """It stays at the head until something changes."""
    SETTLE = "settle"
    """It is done: store the state and remove it."""
    FORGET = "forget"
    """It is done, and there is no conversation: remove every trace."""
