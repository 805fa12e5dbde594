"""The values that everything else is about: frozen, comparable, without behaviour of their own.

*Customer* is the person in Slack, *agent* whoever answers in Connect (person, bot or flow),
*conversation* one Slack thread joined to one Connect chat through all its contacts. Times are Unix
seconds; a Slack `ts` stays the string that Slack gave.
"""

from __future__ import annotations

from enum import StrEnum

from bridge.core.lookback import NOTHING, LookBack
from bridge.core.value import Hidden, Value


class Workspace(Value, frozen=True):
    """A Slack workspace, and its Enterprise organisation where it has one."""

    team_id: str
    enterprise_id: str = ""

    def __str__(self) -> str:
        return f"{self.enterprise_id}.{self.team_id}" if self.enterprise_id else self.team_id


class Place(Value, frozen=True):
    """A Slack channel or DM: the unit of ownership, because Slack's pace is per channel."""

    workspace: Workspace
    channel: str

    def __str__(self) -> str:
        return f"{self.workspace}:{self.channel}"


class ConversationId(Value, frozen=True):
    """A thread, by its root's `ts`; an empty `thread_ts` is a DM whose answers are top-level."""

    place: Place
    thread_ts: str

    def __str__(self) -> str:
        return f"{self.place}:{self.thread_ts}"

    @classmethod
    def parse(cls, text: str) -> ConversationId:
        """Read what `str()` wrote. Raises ValueError on anything else."""
        workspace, channel, thread_ts = text.split(":")
        enterprise_id, _, team_id = workspace.rpartition(".")
        return cls(Place(Workspace(team_id, enterprise_id), channel), thread_ts)

    @property
    def flat(self) -> bool:
        """Whether this is a DM without threads."""
        return not self.thread_ts


class Phase(StrEnum):
    """Where a conversation is in its life."""

    NEW = "new"
    """Seen, but whether it may open is not decided yet."""
    OPENING = "opening"
    """A contact is being started or connected."""
    OPEN = "open"
    ENDING = "ending"
    """The customer left; the disconnect flow may still speak."""
    ENDED = "ended"


class Reopen(StrEnum):
    """What a message after the end does (BRIDGE_REOPEN)."""

    ASK = "ask"
    ALWAYS = "always"
    NEVER = "never"


class Person(Value, frozen=True):
    """Somebody who wrote in the thread; the name is what agents see."""

    user_id: str
    name: str = ""


class Profile(Value, frozen=True):
    """What Slack tells of a person. Empty where Slack or our scopes do not."""

    user_id: str
    name: str
    email: str = ""
    time_zone: str = ""
    locale: str = ""
    team_id: str = ""
    external: bool = False
    may_open: bool = True
    """Whether BRIDGE_CUSTOMERS lets this person open a conversation."""


class Progress(Value, frozen=True):
    """How far a message of many parts has come; kept so that a retry cuts it at the same places."""

    message_id: str
    text: Hidden[str]
    limit: int
    offset: int


class Retry(Value, frozen=True):
    """What is known of a message that was given up, for when somebody has it tried again."""

    number: int = 0
    """How often it was tried again."""
    ts: str = ""
    """When it was, last: rules that ask when a message was written go by this."""
    generation: int = 0
    """The chat in which it failed, where it was to go to the agent."""
    progress: Progress | None = None
    """How far it had come in that chat."""
    since: str = ""
    """Of an agent's message: posts of it may stand in the thread after this `ts`."""


class CustomerMessage(Value, frozen=True):
    """What a person wrote in Slack.

    `id` is the message's identity in its place (its `ts`); `text` is plain text or Markdown as
    agents shall read it, entities resolved except `<@U…>` user mentions, which need a look-up.
    """

    id: str
    ts: str
    user_id: str
    text: Hidden[str]
    files: int = 0
    """How many files were attached (they do not travel yet)."""
    mention: bool = False
    """The bot was mentioned."""
    retry: Retry | None = None
    """It was given up before."""

    @property
    def since(self) -> str:
        """Since when it is to be delivered: its `ts`, or that of its newest retry."""
        return self.retry.ts if self.retry and self.retry.ts else self.ts


class Opening(Value, frozen=True):
    """Everything Connect is told about a chat when it starts."""

    conversation: ConversationId
    generation: int
    attempt: int
    """Counts the contacts tried for this generation: part of the idempotency token."""
    customer: Profile
    place_name: str = ""
    permalink: str = ""
    initial_message: Hidden[str] = ""
    source_contact_id: str = ""
    """The ended contact that this one continues (persistent chat), or empty."""
    not_before: float = 0.0
    """Connect needs a while to make the old transcript available."""


class Contact(Value, frozen=True):
    """A Connect chat contact and the secrets of its customer."""

    contact_id: str
    """The initial contact id: it stays when a transfer changes `ContactId`."""
    participant_id: str
    participant_token: Hidden[str]
    connection_token: Hidden[str] = ""
    connection_expiry: float = 0.0
    connected: bool = False
    """We were subscribed at least once, so a 403 means that it has ended."""
    segment_id: str = ""
    """The newest contact of the chat that was heard of; empty: none but the first."""


class Sent(Value, frozen=True):
    """Connect accepted a message as this item."""

    item_id: str
    time: float
    """Its `AbsoluteTime`."""


class Started(Value, frozen=True):
    """The answer to StartChatContact; `socket_url` only where it was asked for and given."""

    contact: Contact
    socket_url: Hidden[str] = ""
    socket_expiry: float = 0.0


class ItemKind(StrEnum):
    """What an entry of a Connect transcript is, as far as the bridge cares."""

    MESSAGE = "message"
    ATTACHMENT = "attachment"
    JOINED = "joined"
    LEFT = "left"
    TRANSFERRED = "transferred"
    TRANSFER_FAILED = "transfer_failed"
    ENDED = "ended"
    OTHER = "other"
    """Known and without meaning for the customer, or unknown: remembered, never shown."""


class Item(Value, frozen=True):
    """One entry of a Connect transcript."""

    id: str
    time: float
    """`AbsoluteTime`: the order among items."""
    kind: ItemKind
    role: str = ""
    """AGENT, CUSTOMER, SYSTEM, CUSTOM_BOT, SUPERVISOR or empty."""
    name: str = ""
    text: Hidden[str] = ""
    markdown: bool = False
    own: bool = False
    """Written by our participant: the echo of what we sent."""
    past: bool = False
    """Belongs to the chat that this one continues."""
    segment_id: str = ""
    """The contact it was said in: a transfer begins another one of the same chat."""


class NoticeKind(StrEnum):
    """What the bridge itself says in a thread."""

    CONNECTING = "connecting"
    BUSY = "busy"
    JOINED = "joined"
    TRANSFERRED = "transferred"
    ENDED = "ended"
    MISSED = "missed"
    """Ended while we were away: what was written meanwhile may be missing."""
    CANCELLED = "cancelled"
    """The customer ended the chat before it began."""
    ASK_REOPEN = "ask_reopen"
    HELD_FULL = "held_full"
    HELD_ERASED = "held_erased"
    NOT_REOPENED = "not_reopened"
    WAITING = "waiting"
    """Connect has not taken the customer's message for a while."""
    UNDELIVERED = "undelivered"
    FILES = "files"
    """The customer's files did not go."""
    AGENT_FILES = "agent_files"
    """Files that an agent sent."""
    NOT_ALLOWED = "not_allowed"
    """Somebody whom BRIDGE_CUSTOMERS leaves out asked for a chat."""
    FAILED = "failed"
    RETRIED = "retried"
    """A message that could not be delivered went out after all."""
    NOT_DONE = "not_done"
    """A click had no effect."""
    SLOW = "slow"
    """Very many messages wait."""


class Notice(Value, frozen=True, tag="notice"):
    """A notice owed to the thread; `id` is stable, so that it is posted once."""

    id: str
    kind: NoticeKind
    name: str = ""
    """Of an agent, for JOINED and TRANSFERRED."""
    user_id: str = ""
    """Whom it concerns."""
    message_ts: str = ""
    """The message it concerns."""
    reason: str = ""
    """A code of the reasons that `slack/notices` puts in words."""
    files: Hidden[str] = ""
    """Names of the files it is about."""


class AgentMessage(Value, frozen=True, tag="message"):
    """What an agent wrote, on its way into the thread."""

    id: str
    name: str
    text: Hidden[str]
    markdown: bool = False
    time: float = 0.0
    """`AbsoluteTime` of the item."""
    retry: Retry | None = None
    """It was given up before."""


Outgoing = AgentMessage | Notice


class Mark(Value, frozen=True):
    """Stored before a Slack post is tried: whoever finds it has to look before posting."""

    ids: tuple[str, ...]
    """None where nobody knows what was tried: then everything that is owed."""
    at: float
    """Redis time."""
    since: str = ""
    """The newest `ts` of ours that was settled: the look starts there."""


class Conversation(Value, frozen=True):
    """All that is kept of one conversation."""

    id: ConversationId
    phase: Phase = Phase.NEW
    generation: int = 0
    """Counts the chats of this thread."""
    attempts: int = 0
    """Contacts of this generation that were given up before they connected."""
    opener: str = ""
    """User id of whoever opened the newest chat."""
    opening: Opening | None = None
    """Until the contact is connected. From then on no other one takes its place, and this holds what
    a person wrote and who that is."""
    request: Hidden[str] = ""
    """The StartChatContact request as it goes out, stored before the first try, until
    Connect has answered."""
    contact: Contact | None = None
    people: tuple[Person, ...] = ()
    """Who wrote, the opener first."""
    progress: Progress | None = None
    carried: str = ""
    """Id of the message that travelled with the start as InitialMessage; after the end only where
    the contact lived and it went whole."""
    last_own: Sent | None = None
    """Our newest settled item in this contact."""
    split_limit: int = 0
    """Characters in one SendMessage of this chat, whatever the settings are by now: what is in the air
    has to be cut the same by whoever tries it again. 0: as they are."""
    seen: LookBack = NOTHING
    """The look-back: items of this contact that are posted, owed, or need no showing."""
    past_seen: LookBack = NOTHING
    """What is known of the chat before: its look-back where its end was missed (what a continued
    chat brings back of it and is not in here was never posted), else its newest item."""
    past_own: Sent | None = None
    """`last_own` of the chats before. What a continued chat brings back of ours that is later was in
    the air when its chat ended, and had arrived."""
    owed: tuple[Outgoing, ...] = ()
    """The outbox towards Slack, in order: everything that was decided and is not posted yet."""
    held: tuple[CustomerMessage, ...] = ()
    """Written after the end, kept until somebody presses the button."""
    held_until: float = 0.0
    told: tuple[str, ...] = ()
    """Kinds of notices that are given once for each opening or end, and were."""
    dropped_until: float = 0.0
    """No chat came about: messages written up to here, and not delivered, never will be."""
    dropped_for: str = ""
    """Why, where nobody wanted it so: those messages are parked then."""
    button_ts: str = ""
    """Our post that carries the live button (end, or start again)."""
    ended_at: float = 0.0
    ending_until: float = 0.0
    past_contact_id: str = ""
    """The last contact that ended: what a new one continues."""
    missed: bool = False
    """Nobody heard the end of the chat that a new one continues."""
    last_ts: str = ""
    """Newest event of the thread that was settled."""
    unread: str = ""
    """From this `ts` on the thread has to be read: nobody took events in for a time."""
    gap_ended: float = 0.0
    """When the last such time ended that this conversation knows of (Redis time)."""
    last_post_ts: str = ""
    """Newest post of ours that was settled."""
    behind: bool = False
    """Very many messages wait, and their author was told."""

    @property
    def active(self) -> bool:
        """Whether its owner has anything to watch or to do, waiting events apart."""
        live = self.phase in (Phase.OPENING, Phase.OPEN, Phase.ENDING)
        return live or bool(self.owed) or bool(self.held) or bool(self.unread)


class Policy(Value, frozen=True):
    """The settings that decisions depend on. Durations in seconds."""

    reopen: Reopen = Reopen.ASK
    initial_message: bool = False
    held_messages: int = 20
    held_seconds: float = 24 * 3600.0
    flat_ask_seconds: float = 30 * 60.0
    """In a flat DM, ASK holds this long after the end; then a message opens a chat."""
    rehydrate: bool = True
    """Continue the old chat (persistent chat) when a thread is opened again."""
    rehydrate_seconds: float = 45.0
    """How long after the end Connect has the transcript ready (30 to 60 s)."""
    ending_seconds: float = 300.0
    unconnected_tries: int = 3
    lookback_seconds: float = 300.0
    lookback_items: int = 100
    split_limit: int = 1024
    """Characters in one SendMessage."""
    people: int = 50
    """How many authors of one thread are remembered."""
