"""How messages fare, both ways: delivered, or given up, told of and parked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec.structs import replace

from bridge.core import contacts, transcript
from bridge.core.decision import Decision, owe, ts_key, without_button
from bridge.core.events import (
    AskedToEnd,
    AskedToReopen,
    Effect,
    EndContact,
    EventFailed,
    Flag,
    ItemFailed,
    LaneEvent,
    MessageFailed,
    MessageSent,
    PartSent,
    Posted,
    PostFailed,
    RetireButton,
    Returned,
    TellAgent,
    Then,
    Unflag,
    Wrote,
)
from bridge.core.model import (
    AgentMessage,
    Conversation,
    CustomerMessage,
    Notice,
    NoticeKind,
    Outgoing,
    Phase,
    Policy,
    Sent,
)
from bridge.core.parked import unposted, unsent

DEFECT = "defect"
"""The reason of what our own code cannot handle."""

Outcome = PartSent | MessageSent | MessageFailed | EventFailed | ItemFailed | Posted | PostFailed


def went_on(conversation: Conversation, event: Outcome, now: float, policy: Policy) -> Decision:
    """What comes of it."""
    match event:
        case PartSent():
            own = _newest(conversation, event.sent)
            return Decision(replace(conversation, progress=event.progress, last_own=own), save=True)
        case MessageSent():
            return sent(conversation, event)
        case MessageFailed():
            return _failed(conversation, event.message, event.reason, now)
        case EventFailed():
            return _event_failed(conversation, event.event, now)
        case ItemFailed():
            return _item_failed(conversation, event, now, policy)
        case Posted():
            return _posted(conversation, event)
        case PostFailed():
            return _post_failed(conversation, event, now)
        case _:
            assert_never(event)


# --- towards the agent ---------------------------------------------------------------------------


def sent(conversation: Conversation, event: MessageSent) -> Decision:
    """A message is in the agent's hands."""
    message = event.message
    done = done_with(contacts.waited(conversation), message, event.sent)
    if event.past:
        # It proves nothing of another message with the same words.
        done = replace(done, past_own=event.past)
    if message.files:
        done = owe(done, about(message, NoticeKind.FILES))
    if not message.retry:
        return Decision(done, then=Then.SETTLE)
    done = owe(done, about(message, NoticeKind.RETRIED))
    return Decision(done, (Unflag(message.ts),), Then.SETTLE)


def _newest(conversation: Conversation, item: Sent | None) -> Sent | None:
    """Connect answers a repeat with the item that it became the first time. What was accepted since
    then would prove of the next message that it had arrived."""
    known = [one for one in (conversation.last_own, item) if one]
    return max(known, key=lambda one: one.time, default=None)


def _failed(
    conversation: Conversation, message: CustomerMessage, reason: str, now: float
) -> Decision:
    told = owe(
        done_with(conversation, message),
        replace(about(message, NoticeKind.UNDELIVERED), reason=reason),
    )
    lost = unsent(conversation, message, reason, now)
    return Decision(told, (Flag(message.ts),), Then.SETTLE, park=(lost,))


def dropped(conversation: Conversation, message: CustomerMessage, now: float) -> Decision:
    """No chat came about for it. Where its author wanted none, that is all."""
    reason = conversation.dropped_for
    park = (unsent(conversation, message, reason, now),) if reason else ()
    done = done_with(conversation, message)
    return Decision(done, (Flag(message.ts),), Then.SETTLE, park=park)


def done_with(
    conversation: Conversation, message: CustomerMessage, item: Sent | None = None
) -> Conversation:
    """The message needs no more work; `item`: Connect accepted it as that."""
    return replace(
        conversation,
        progress=None,
        held=tuple(held for held in conversation.held if held.id != message.id),
        last_ts=max(conversation.last_ts, message.ts, key=ts_key),
        last_own=_newest(conversation, item),
    )


def about(message: CustomerMessage, kind: NoticeKind) -> Notice:
    """A notice to the author of a message; one for each try."""
    again = f":{message.retry.number}" if message.retry else ""
    return Notice(
        f"{kind}:{message.id}{again}", kind, user_id=message.user_id, message_ts=message.ts
    )


# --- what our own code cannot handle -------------------------------------------------------------


def _event_failed(conversation: Conversation, event: LaneEvent, now: float) -> Decision:
    """The lane goes on without this event, and nobody waits for it in vain."""
    match event:
        case Wrote():
            failed = _failed(conversation, event.message, DEFECT, now)
            if conversation.phase is not Phase.NEW:
                return failed
            # The next message of the thread opens a chat, whatever this one would have done.
            over = replace(failed.conversation, phase=Phase.ENDED, ended_at=now)
            return replace(failed, conversation=over)
        case Returned():
            lost = unposted(conversation, event.message, DEFECT, now)
            return Decision(conversation, then=Then.SETTLE, park=(lost,))
        case AskedToEnd() | AskedToReopen():
            # Not parked: pressed again by somebody else, much later, it would mean another chat.
            not_done = Notice(f"not_done:{event.ts}", NoticeKind.NOT_DONE, user_id=event.user_id)
            return Decision(owe(conversation, not_done), then=Then.SETTLE)
        case _:
            assert_never(event)


def _item_failed(
    conversation: Conversation, event: ItemFailed, now: float, policy: Policy
) -> Decision:
    """An item of the transcript that cannot be shown; the others go on."""
    contact, item = conversation.contact, event.item
    here = contact is not None and contact.contact_id == event.contact_id
    if not here or item.id in conversation.seen:
        return Decision(conversation)
    known = transcript.remember(conversation, (item,), policy)
    news = not item.past or conversation.missed
    said = transcript.agent_message(item) if news else None
    if said is None:
        return Decision(known, save=True)
    tell = _tell_agent(conversation, [said.id], DEFECT)
    return Decision(known, tell, save=True, park=(unposted(conversation, said, DEFECT, now),))


# --- towards the customer ------------------------------------------------------------------------


def _posted(conversation: Conversation, event: Posted) -> Decision:
    """These stand in the thread."""
    rest, done = _parted(conversation, event.ids)
    owed = {outgoing.id for outgoing in done}
    strays = [one for one in event.ids if one not in owed]
    newest = max(conversation.last_post_ts, event.ts, key=ts_key)
    known = transcript.stood_in_thread(conversation, strays)
    posted = replace(known, owed=rest, last_post_ts=newest)
    offers = {
        NoticeKind.CONNECTING: (Phase.OPENING, Phase.OPEN),
        NoticeKind.ASK_REOPEN: (Phase.ENDED,),
    }
    again = [one.id for one in done if isinstance(one, AgentMessage) and one.retry]
    decision = Decision(posted, _tell_agent(posted, again, "arrived"))
    for outgoing in done:
        if isinstance(outgoing, Notice) and outgoing.kind in offers:
            if posted.phase not in offers[outgoing.kind]:
                return replace(decision, effects=(*decision.effects, RetireButton(event.ts)))
            decision = without_button(decision)
            offered = replace(decision.conversation, button_ts=event.ts)
            return replace(decision, conversation=offered)
    return decision


def _post_failed(conversation: Conversation, event: PostFailed, now: float) -> Decision:
    """These cannot be posted, and where the place is gone nothing can."""
    rest, lost = _parted(conversation, event.ids)
    words = _words([*lost, *(rest if event.gone else ())])
    park = tuple(unposted(conversation, one, event.reason, now, event.since) for one in words)
    contact = conversation.contact
    tell = _tell_agent(conversation, [one.id for one in _words(lost)], event.reason)
    if not event.gone:
        return Decision(replace(conversation, owed=rest), tell, park=park)
    leave: tuple[Effect, ...] = (EndContact(contact),) if contact else ()
    # Whoever still waits cannot be told, and must not open another chat that nobody can see.
    closed = replace(
        contacts.ended(conversation, now),
        owed=(),
        button_ts="",
        held=(),
        held_until=0.0,
        told=(),
        dropped_until=now,
        dropped_for=event.reason,
    )
    flags = tuple(Flag(message.ts) for message in conversation.held)
    unheard = tuple(unsent(conversation, one, event.reason, now) for one in conversation.held)
    return Decision(closed, (*tell, *leave, *flags), save=True, park=(*park, *unheard))


def _parted(
    conversation: Conversation, ids: Sequence[str]
) -> tuple[tuple[Outgoing, ...], list[Outgoing]]:
    """The outbox without what these ids name, and that."""
    taken = [outgoing for outgoing in conversation.owed if outgoing.id in ids]
    rest = tuple(outgoing for outgoing in conversation.owed if outgoing.id not in ids)
    return rest, taken


def _words(outgoing: Sequence[Outgoing]) -> list[AgentMessage]:
    return [one for one in outgoing if isinstance(one, AgentMessage)]


def _tell_agent(conversation: Conversation, ids: Sequence[str], reason: str) -> tuple[Effect, ...]:
    """One line for all of them, while there is somebody to read it."""
    contact = conversation.contact
    if ids and contact and conversation.phase is Phase.OPEN:
        return (TellAgent(contact, ids[0], reason),)
    return ()
