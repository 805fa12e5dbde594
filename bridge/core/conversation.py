"""The life of a conversation: what an event changes, and what is then to be done.

`decide` is pure: the next state and the effects follow from state, event and time alone, so after a
crash the same effects follow again from what was stored. Three kinds of effects:

- those of a lane event (Identify, FindRoot, SendToAgent, EndContact) are performed before the event
  is settled; the facts that they yield come back here;
- *duties* follow from the state itself, at any time: start a contact, listen to it, post what is owed;
- Flag, RetireButton and TellAgent are best effort.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import assert_never

from msgspec.structs import replace

from bridge.core import contacts, intake, outcomes, transcript
from bridge.core.decision import Decision, owe, owe_once, ts_key, unopened, without_button
from bridge.core.events import (
    AskedToEnd,
    AskedToReopen,
    CaughtUp,
    ContactOver,
    ContactStarted,
    CredentialsRenewed,
    Duty,
    Effect,
    EndContact,
    Event,
    Fact,
    FellBehind,
    FindRoot,
    Flag,
    Identified,
    Identify,
    Incoming,
    IntakeMissed,
    ItemsArrived,
    LaneEvent,
    Listen,
    MessageSent,
    NoRoot,
    Post,
    Prepared,
    ReadThread,
    Returned,
    SendDelayed,
    SendToAgent,
    StartContact,
    StartDelayed,
    StartRefused,
    Subscribed,
    Then,
    ThreadRead,
    Ticked,
    Wrote,
)
from bridge.core.model import (
    Conversation,
    CustomerMessage,
    Notice,
    NoticeKind,
    Phase,
    Policy,
    Reopen,
)


def decide(conversation: Conversation, event: Event, now: float, policy: Policy) -> Decision:
    """What `event` makes of the conversation at `now` (Unix seconds)."""
    if isinstance(event, Wrote | AskedToEnd | AskedToReopen | Returned):
        return _lane_event(conversation, event, now, policy)
    return _fact(conversation, event, now, policy)


def duties(conversation: Conversation) -> tuple[Duty, ...]:
    """What the state itself demands, now and again after every restart."""
    todo: list[Duty] = []
    if conversation.phase is Phase.OPENING and not conversation.contact and conversation.opening:
        todo.append(StartContact(conversation.opening))
    if conversation.contact and conversation.phase in contacts.LISTENING:
        todo.append(Listen(conversation.contact))
    if conversation.owed:
        todo.append(Post(conversation.owed[0]))
    if conversation.unread:
        todo.append(ReadThread(conversation.unread))
    return tuple(todo)


def next_up(conversation: Conversation, lane: Collection[Incoming]) -> Incoming | Wrote | None:
    """What the lane works on: everything by `ts`, what was kept over the end among it, but first a
    message of which something went out already, and no click waits behind messages that cannot go.
    """
    held = conversation.held if conversation.phase is Phase.OPEN else ()
    waiting: list[Incoming | Wrote] = [*map(Wrote, held), *lane]
    if len(waiting) < 2:
        return waiting[0] if waiting else None
    if conversation.phase in (Phase.OPENING, Phase.ENDING):
        waiting = [one for one in lane if not isinstance(one.event, Wrote)] or waiting
    elif conversation.carried or (conversation.progress and conversation.progress.offset):
        waiting = [one for one in waiting if _has_begun(conversation, one)] or waiting
    return min(waiting, key=_place_in_line)


def _has_begun(conversation: Conversation, waiting: Incoming | Wrote) -> bool:
    event = waiting.event if isinstance(waiting, Incoming) else waiting
    begun = conversation.progress.message_id if conversation.progress else conversation.carried
    return isinstance(event, Wrote) and event.message.id == begun


def _place_in_line(waiting: Incoming | Wrote) -> tuple[tuple[int, int], str]:
    if isinstance(waiting, Incoming):
        return ts_key(waiting.ts), waiting.id
    return ts_key(waiting.message.ts), ""


def deadline(conversation: Conversation) -> float | None:
    """When Ticked is due (Unix seconds)."""
    if conversation.phase is Phase.ENDING:
        return conversation.ending_until
    if conversation.phase is Phase.ENDED and conversation.held:
        return conversation.held_until
    return None


def _lane_event(
    conversation: Conversation, event: LaneEvent, now: float, policy: Policy
) -> Decision:
    match event:
        case Wrote():
            return _wrote(conversation, event.message, now, policy)
        case AskedToEnd():
            return _asked_to_end(conversation, event, now, policy)
        case AskedToReopen():
            return _asked_to_reopen(conversation, event)
        case Returned():
            return Decision(owe(conversation, event.message), then=Then.SETTLE)
        case _:
            assert_never(event)


def _fact(conversation: Conversation, event: Fact, now: float, policy: Policy) -> Decision:
    match event:
        case Identified():
            return contacts.identified(conversation, event, policy)
        case NoRoot():
            return Decision(conversation, then=unopened(conversation))
        case Subscribed():
            return contacts.subscribed(conversation)
        case CredentialsRenewed():
            return contacts.renewed(conversation, event)
        case ContactOver():
            return contacts.over(conversation, event, now, policy)
        case Prepared() | ContactStarted() | StartRefused() | StartDelayed():
            return contacts.opening_went_on(conversation, event, now)
        case ItemsArrived():
            return transcript.items_arrived(conversation, event, now, policy)
        case SendDelayed():
            return contacts.waits(conversation, event)
        case FellBehind() | CaughtUp() | Ticked() | IntakeMissed() | ThreadRead():
            return _time_went_on(conversation, event, now)
        case _:
            return outcomes.went_on(conversation, event, now, policy)


# --- what people in the thread do ----------------------------------------------------------------


def _wrote(
    conversation: Conversation, message: CustomerMessage, now: float, policy: Policy
) -> Decision:
    match conversation.phase:
        case Phase.NEW:
            is_reply = not conversation.id.flat and message.ts != conversation.id.thread_ts
            needs_root = is_reply and not message.mention
            return Decision(
                conversation, (FindRoot() if needs_root else Identify(message.user_id),)
            )
        case Phase.OPENING:
            return Decision(conversation)
        case Phase.OPEN:
            return _to_agent(conversation, message)
        case Phase.ENDING:
            return _wrote(contacts.ended(conversation, now), message, now, policy)
        case Phase.ENDED:
            return _wrote_after_end(conversation, message, now, policy)
        case _:
            assert_never(conversation.phase)


def _to_agent(conversation: Conversation, message: CustomerMessage) -> Decision:
    conversation = _resumed(conversation, message)
    went_with_start = _carried(conversation, message) and not conversation.progress
    if went_with_start or not message.text.strip():
        return outcomes.sent(conversation, MessageSent(message, None))
    if message.user_id not in {person.user_id for person in conversation.people}:
        return Decision(conversation, (Identify(message.user_id),))
    return Decision(conversation, (SendToAgent(message, prefix(conversation, message)),))


def _resumed(conversation: Conversation, message: CustomerMessage) -> Conversation:
    """What a message sent before it was given up, in this chat, is not sent again."""
    if conversation.progress or not _failed_here(conversation, message):
        return conversation
    return replace(conversation, progress=message.retry.progress if message.retry else None)


def _failed_here(conversation: Conversation, message: CustomerMessage) -> bool:
    return message.retry is not None and message.retry.generation == conversation.generation


def _carried(conversation: Conversation, message: CustomerMessage) -> bool:
    """Whether it went with the start. What was given up in the same chat did not go whole."""
    return conversation.carried == message.id and not _failed_here(conversation, message)


def prefix(conversation: Conversation, message: CustomerMessage) -> str:
    """The author's name, where it is not whoever opened this chat; empty where it is unknown."""
    names = {person.user_id: person.name for person in conversation.people}
    return "" if message.user_id == conversation.opener else names.get(message.user_id, "")


def _wrote_after_end(
    conversation: Conversation, message: CustomerMessage, now: float, policy: Policy
) -> Decision:
    if _carried(conversation, message):
        return outcomes.sent(conversation, MessageSent(message, None))
    if _not_after(message.since, conversation.dropped_until):
        return outcomes.dropped(conversation, message, now)
    if _opens_again(conversation, message, now, policy):
        return Decision(conversation, (Identify(message.user_id),))
    if policy.reopen is Reopen.NEVER:
        no = Notice(f"not_reopened:{message.id}", NoticeKind.NOT_REOPENED, user_id=message.user_id)
        done = outcomes.done_with(conversation, message)
        return Decision(owe_once(done, no), (Flag(message.ts),), Then.SETTLE)
    return _hold(conversation, message, now, policy)


def _opens_again(
    conversation: Conversation, message: CustomerMessage, now: float, policy: Policy
) -> bool:
    if not conversation.past_contact_id:
        return True
    if policy.reopen is Reopen.ALWAYS:
        # A flow that ends every chat at once (out of hours) takes nothing: the message that waited
        # for it must not open chat after chat.
        unheard = not conversation.last_own and not conversation.carried
        return not (unheard and _not_after(message.since, conversation.ended_at))
    asking_is_over = conversation.id.flat and now > conversation.ended_at + policy.flat_ask_seconds
    return policy.reopen is Reopen.ASK and asking_is_over


def _not_after(ts: str, time: float) -> bool:
    return ts_key(ts) <= ts_key(f"{time:.6f}")


def _hold(
    conversation: Conversation, message: CustomerMessage, now: float, policy: Policy
) -> Decision:
    if message.id in {held.id for held in conversation.held}:
        return Decision(conversation, then=Then.SETTLE)
    if len(conversation.held) >= policy.held_messages:
        full = Notice(f"held_full:{message.id}", NoticeKind.HELD_FULL, user_id=message.user_id)
        done = outcomes.done_with(conversation, message)
        return Decision(owe_once(done, full), (Flag(message.ts),), Then.SETTLE)
    held = sorted((*conversation.held, message), key=lambda one: ts_key(one.ts))
    kept = replace(
        contacts.asking(outcomes.done_with(conversation, message), message),
        held=tuple(held),
        held_until=conversation.held_until if conversation.held else now + policy.held_seconds,
    )
    return Decision(kept, then=Then.SETTLE)


def _asked_to_end(
    conversation: Conversation, event: AskedToEnd, now: float, policy: Policy
) -> Decision:
    if conversation.phase is Phase.NEW:
        return Decision(conversation, then=unopened(conversation))
    wrote = event.user_id in {person.user_id for person in conversation.people}
    if event.pressed and not wrote:
        return Decision(conversation, then=Then.SETTLE)
    if conversation.phase is Phase.OPENING and not conversation.contact:
        # A start that is in the air needs no cure: a contact that nobody connects to reaches no
        # flow and no agent, and dies by itself after 5 minutes (Administrator Guide).
        cancelled = contacts.given_up(conversation, now, NoticeKind.CANCELLED)
        return replace(cancelled, then=Then.SETTLE, save=False)
    if not conversation.contact:
        return Decision(conversation, then=Then.SETTLE)
    ending, flags = _leaving(conversation, now, policy)
    leave = EndContact(conversation.contact)
    return without_button(Decision(ending, (leave, *flags), Then.SETTLE))


def _leaving(
    conversation: Conversation, now: float, policy: Policy
) -> tuple[Conversation, tuple[Effect, ...]]:
    """The contact is kept until its end is heard of: another task can store this state before the
    customer has left, and after a crash then the same event has to lead to the same effect."""
    if conversation.phase is Phase.ENDING:
        return conversation, ()
    ending = replace(conversation, phase=Phase.ENDING, ending_until=now + policy.ending_seconds)
    if conversation.phase is Phase.OPEN:
        return ending, ()
    flags = tuple(Flag(message.ts) for message in conversation.held)
    return replace(ending, held=(), held_until=0.0, dropped_until=now, dropped_for=""), flags


def _asked_to_reopen(conversation: Conversation, event: AskedToReopen) -> Decision:
    match conversation.phase:
        case Phase.NEW:
            return Decision(conversation, then=unopened(conversation))
        case Phase.ENDED:
            return Decision(conversation, (Identify(event.user_id),))
        case _:
            return Decision(conversation, then=Then.SETTLE)


# --- the lane, and time --------------------------------------------------------------------------


def _time_went_on(
    conversation: Conversation,
    event: FellBehind | CaughtUp | Ticked | IntakeMissed | ThreadRead,
    now: float,
) -> Decision:
    match event:
        case IntakeMissed():
            return intake.missed(conversation, event)
        case ThreadRead():
            return intake.read(conversation, event)
        case Ticked():
            return _ticked(conversation, now)
        case FellBehind() if not (conversation.behind or conversation.phase is Phase.NEW):
            slow = Notice(f"slow:{event.ts}", NoticeKind.SLOW, user_id=event.user_id)
            return Decision(owe(replace(conversation, behind=True), slow), save=True)
        case CaughtUp() if conversation.behind:
            return Decision(replace(conversation, behind=False), save=True)
        case _:
            return Decision(conversation)


def _ticked(conversation: Conversation, now: float) -> Decision:
    due = deadline(conversation)
    if due is None or now < due:
        return Decision(conversation)
    if conversation.phase is Phase.ENDING:
        return Decision(contacts.ended(conversation, now), save=True)
    erased = replace(conversation, held=(), held_until=0.0, told=())
    for message in {message.user_id: message for message in conversation.held}.values():
        erased = owe(erased, outcomes.about(message, NoticeKind.HELD_ERASED))
    return without_button(Decision(erased, save=True))
