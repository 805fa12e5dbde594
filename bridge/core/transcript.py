"""What Connect's transcript means for the thread: what is shown, what is known, what it proves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from bridge.core.contacts import ended
from bridge.core.decision import Decision, owing, without_button
from bridge.core.events import ItemsArrived, TellAgent
from bridge.core.lookback import LookBack
from bridge.core.model import (
    AgentMessage,
    Contact,
    Conversation,
    Item,
    ItemKind,
    Notice,
    NoticeKind,
    Outgoing,
    Policy,
    Sent,
)

ASIDE = "[Slack bridge] "
"""Begins what the bridge itself tells the agent, in the customer's name."""


def no_aside(text: str) -> str:
    """What a person wrote, so that it cannot pass for an aside: an agent would believe it, and in
    the transcript nothing would show that it had arrived."""
    return text.replace(ASIDE.strip(), "(Slack bridge)")


def items_arrived(
    conversation: Conversation, event: ItemsArrived, now: float, policy: Policy
) -> Decision:
    """New items go into the outbox, or are remembered as needing no showing."""
    contact = conversation.contact
    if not contact or contact.contact_id != event.contact_id:
        return Decision(conversation)
    fresh = conversation.seen.unknown(event.items)
    if not fresh:
        return Decision(conversation)
    shown = (_shown(conversation, item) for item in fresh)
    heard = replace(
        conversation,
        owed=owing(conversation.owed, *(one for one in shown if one)),
        contact=_moved_on(contact, fresh),
        last_own=conversation.last_own or _echo(conversation, fresh),
        seen=_look_back(conversation.seen, fresh, policy),
    )
    if any(item.kind is ItemKind.ENDED and not item.past for item in fresh):
        # From here on the transcript answers 403: what is owed has to be stored now.
        return without_button(Decision(ended(heard, now, heard=True), save=True))
    asides = [
        TellAgent(contact, item.id, "files")
        for item in fresh
        if item.kind is ItemKind.ATTACHMENT and item.role == "AGENT" and not item.past
    ]
    return Decision(heard, tuple(asides))


def remember(conversation: Conversation, items: Sequence[Item], policy: Policy) -> Conversation:
    """Put items into the look-back: they need no telling again."""
    return replace(conversation, seen=_look_back(conversation.seen, items, policy))


def agent_message(item: Item) -> AgentMessage | None:
    """What an item says to the customer; None where it is not words of the other side."""
    if item.kind is not ItemKind.MESSAGE or item.own:
        return None
    # A flow has no name of its own: Connect calls it SYSTEM_MESSAGE.
    name = "" if item.role == "SYSTEM" else item.name
    return AgentMessage(item.id, name, item.text, item.markdown, item.time)


def proof(conversation: Conversation, items: Sequence[Item]) -> Item | None:
    """The item that shows that what was in the air has been accepted, or None.

    The lane sends one thing at a time, so an item of ours after the last settled one is that thing.
    The echo of the InitialMessage comes first of all and proves nothing about later messages.
    """
    own = [item for item in items if _own_words(item)]
    last = conversation.last_own
    if last:
        # Later, not as late: one that was settled before the last may bear the same millisecond.
        own = [item for item in own if item.time > last.time and item.id != last.item_id]
    elif conversation.carried:
        own = own[1:]
    return own[0] if own else None


def proofs_of_the_past(conversation: Conversation, items: Sequence[Item]) -> Sequence[Item]:
    """What is ours in a chat that this one continues, and was accepted there after the last that we
    know of: it was in the air when that chat ended."""
    last = conversation.past_own
    if last is None:
        return []
    own = (item for item in items if item.past and item.own and _spoken(item))
    return [item for item in own if item.time > last.time and item.id != last.item_id]


def stood_in_thread(conversation: Conversation, ids: Iterable[str]) -> Conversation:
    """Remember items that were found posted although nothing here knew of them: when they come by
    the transcript, of this chat or of one that continues it, they must not be posted again."""
    # Our own notices, which have their kind in front, are no items, and no proof that a chat began.
    items = [one for one in ids if ":" not in one]
    if not items:
        return conversation
    seen = conversation.seen
    newest = max(conversation.past_seen.newest, seen.newest, 0.0)
    strays = [(item_id, newest) for item_id in items if item_id not in seen]
    return replace(conversation, seen=seen.plus(strays)) if strays else conversation


def _moved_on(contact: Contact, fresh: Sequence[Item]) -> Contact:
    """Transfers replace the contact that a chat is in."""
    segments = [item.segment_id for item in fresh if item.segment_id and not item.past]
    if not segments or segments[-1] == (contact.segment_id or contact.contact_id):
        return contact
    return replace(contact, segment_id=segments[-1])


def _echo(conversation: Conversation, fresh: Sequence[Item]) -> Sent | None:
    """The item that the InitialMessage became."""
    own = (item for item in fresh if conversation.carried and _own_words(item))
    return next((Sent(item.id, item.time) for item in own), None)


def _own_words(item: Item) -> bool:
    """Whether a person in the thread wrote it, in this chat."""
    return item.own and not item.past and _spoken(item)


def _spoken(item: Item) -> bool:
    return item.kind is ItemKind.MESSAGE and not item.text.startswith(ASIDE)


def _shown(conversation: Conversation, item: Item) -> Outgoing | None:
    if item.own or (item.past and not _was_missed(conversation, item)):
        return None
    match item.kind:
        case ItemKind.MESSAGE:
            return agent_message(item)
        case ItemKind.ATTACHMENT:
            name = "" if item.role == "SYSTEM" else item.name
            return Notice(item.id, NoticeKind.AGENT_FILES, name=name, files=item.text)
        case ItemKind.JOINED if item.role == "AGENT" and not item.past:
            return Notice(item.id, NoticeKind.JOINED, name=item.name)
        case ItemKind.TRANSFERRED if not item.past:
            return Notice(item.id, NoticeKind.TRANSFERRED, name=item.name)
        case _:
            return None


def _was_missed(conversation: Conversation, item: Item) -> bool:
    """Whether an item of a past chat was written while nobody listened, and never posted. What is
    older than the look-back was."""
    past = conversation.past_seen
    return conversation.missed and item.time > past.oldest and item.id not in past


def _look_back(seen: LookBack, fresh: Sequence[Item], policy: Policy) -> LookBack:
    """`seen` and `fresh`, without what is too old."""
    grown = seen.plus((item.id, item.time) for item in fresh)
    return grown.since(grown.newest - policy.lookback_seconds, policy.lookback_items)
