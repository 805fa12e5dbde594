"""Conversations in every phase, made the way they come about: by events."""

from __future__ import annotations

from msgspec.structs import replace

from bridge.core.conversation import decide
from bridge.core.decision import Decision
from bridge.core.events import (
    AskedToEnd,
    ContactStarted,
    Event,
    Identified,
    Incoming,
    ItemsArrived,
    LaneEvent,
    MessageSent,
    Prepared,
    Subscribed,
    Wrote,
)
from bridge.core.lookback import NOTHING, LookBack
from bridge.core.model import (
    Contact,
    Conversation,
    ConversationId,
    CustomerMessage,
    Item,
    ItemKind,
    Notice,
    NoticeKind,
    Place,
    Policy,
    Profile,
    Reopen,
    Sent,
    Workspace,
)

PLACE = Place(Workspace("T1"), "C1")
THREAD = ConversationId(PLACE, "100.000000")
DM = ConversationId(PLACE, "")
NOW = 1000.0
ALICE = Profile("U1", "Alice")
BOB = Profile("U2", "Bob")
MALLORY = Profile("U9", "Mallory", may_open=False)
CONTACT = Contact("c1", "p1", "participant-token")
ASK = Policy(reopen=Reopen.ASK)
ALWAYS = Policy(reopen=Reopen.ALWAYS)
NEVER = Policy(reopen=Reopen.NEVER)
CARRY = Policy(initial_message=True)


def wrote(
    ts: int, user: str = "U1", text: str | None = None, files: int = 0, mention: bool = False
) -> CustomerMessage:
    """A message of second `ts`, which is its text too."""
    words = f"text {ts}" if text is None else text
    return CustomerMessage(f"{ts}.000000", f"{ts}.000000", user, words, files, mention)


def incoming(event: LaneEvent, conversation: ConversationId = THREAD) -> Incoming:
    """The event as it waits in a lane."""
    ts = event.message.ts if isinstance(event, Wrote) else event.ts
    return Incoming(conversation, event, (f"C1:{ts}:{type(event).__name__}",), opens=True)


def item(
    number: int,
    kind: ItemKind = ItemKind.MESSAGE,
    text: str = "hello",
    *,
    own: bool = False,
    past: bool = False,
    role: str = "",
) -> Item:
    """The transcript's entry of second `number`."""
    role = role or ("CUSTOMER" if own else "AGENT")
    return Item(f"i{number}", float(number), kind, role, "Ann", text, own=own, past=past)


def known(*numbers: int) -> LookBack:
    """The look-back that these items leave."""
    return NOTHING.plus((f"i{number}", float(number)) for number in numbers)


def arrived(*items: Item) -> ItemsArrived:
    """Items of the contact that `opened` has."""
    return ItemsArrived(CONTACT.contact_id, items)


def after(
    conversation: Conversation, *events: Event, now: float = NOW, policy: Policy = ASK
) -> Conversation:
    """What becomes of it by these events, one after the other."""
    for event in events:
        conversation = decide(conversation, event, now, policy).conversation
    return conversation


def last(
    conversation: Conversation, *events: Event, now: float = NOW, policy: Policy = ASK
) -> Decision:
    """The decision on the last of these events."""
    before = after(conversation, *events[:-1], now=now, policy=policy)
    return decide(before, events[-1], now, policy)


def opening(id_: ConversationId = THREAD, policy: Policy = ASK) -> Conversation:
    """Alice wrote the message of second 100, and a contact is to be started."""
    first = wrote(100)
    identified = Identified(ALICE, "#support", "https://link", first.id, first.text)
    return after(Conversation(id_), Wrote(first), identified, policy=policy)


def starting(id_: ConversationId = THREAD, policy: Policy = ASK) -> Conversation:
    """The contact exists; nobody is connected."""
    return after(opening(id_, policy), Prepared("request"), ContactStarted(CONTACT), policy=policy)


def opened(id_: ConversationId = THREAD, policy: Policy = ASK) -> Conversation:
    """Subscribed; the first message is in the agent's hands."""
    subscribed = after(starting(id_, policy), Subscribed(), policy=policy)
    return after(subscribed, MessageSent(wrote(100), Sent("i1", 1.0)), policy=policy)


def ended(id_: ConversationId = THREAD, policy: Policy = ASK) -> Conversation:
    """The agent ended the chat at NOW; the customer was told."""
    over = after(opened(id_, policy), arrived(item(9, ItemKind.ENDED)), policy=policy)
    return replace(over, owed=())


def ending(policy: Policy = ASK) -> Conversation:
    """Alice asked to end at NOW; the contact has not said its last word."""
    return after(opened(policy=policy), AskedToEnd("150.000000", "U1"), policy=policy)


def notices(conversation: Conversation) -> list[NoticeKind]:
    """What is owed to the thread, by kind."""
    return [one.kind for one in conversation.owed if isinstance(one, Notice)]
