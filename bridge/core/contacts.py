"""The contact of a conversation: how it is opened, how it ends, and what replaces it."""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from bridge.core.decision import (
    Decision,
    owe,
    owe_once,
    ts_key,
    unopened,
    with_person,
    without_button,
)
from bridge.core.events import (
    ContactOver,
    ContactStarted,
    CredentialsRenewed,
    Effect,
    Flag,
    Identified,
    Prepared,
    SendDelayed,
    StartDelayed,
    StartRefused,
    Then,
)
from bridge.core.lookback import NOTHING, LookBack
from bridge.core.model import (
    Conversation,
    CustomerMessage,
    Notice,
    NoticeKind,
    Opening,
    Phase,
    Policy,
    Progress,
    Sent,
)
from bridge.core.parked import unsent
from bridge.core.text import cut

LISTENING = (Phase.OPENING, Phase.OPEN, Phase.ENDING)


def identified(conversation: Conversation, event: Identified, policy: Policy) -> Decision:
    """Somebody's profile: a name to remember in a chat, or whoever opens the next one."""
    profile = event.profile
    if not event.opens or conversation.phase not in (Phase.NEW, Phase.ENDED):
        return Decision(with_person(conversation, profile.user_id, profile.name, policy))
    known = profile.user_id in {person.user_id for person in conversation.people}
    if not profile.may_open and not known:
        return _refused(conversation, event)
    return _open(conversation, event, policy)


def _refused(conversation: Conversation, event: Identified) -> Decision:
    if event.addressed:
        user_id = event.profile.user_id
        no = Notice(f"not_allowed:{user_id}", NoticeKind.NOT_ALLOWED, user_id=user_id)
        return Decision(owe_once(conversation, no), then=Then.SETTLE)
    drop = unopened(conversation) if conversation.phase is Phase.NEW else Then.SETTLE
    return Decision(conversation, then=drop)


def _open(conversation: Conversation, event: Identified, policy: Policy) -> Decision:
    profile = event.profile
    generation = conversation.generation + 1
    source = conversation.past_contact_id if policy.rehydrate else ""
    first_id, first = event.first_id, event.first
    # It travels without a name, so only the opener's own words may.
    foreign = any(
        one.id == first_id and one.user_id != profile.user_id for one in conversation.held
    )
    # What may have arrived before the last chat ended goes when its transcript was read.
    in_air = bool(source) and ts_key(first_id) <= ts_key(f"{conversation.ended_at:.6f}")
    carries = policy.initial_message and bool(first.strip()) and not (foreign or in_air)
    end = cut(first, policy.split_limit) if carries else 0
    opening = Opening(
        conversation=conversation.id,
        generation=generation,
        attempt=0,
        customer=profile,
        place_name=event.place_name,
        permalink=event.permalink,
        initial_message=first[:end].strip(),
        source_contact_id=source,
        not_before=conversation.ended_at + policy.rehydrate_seconds if source else 0.0,
    )
    opened = replace(
        conversation,
        phase=Phase.OPENING,
        generation=generation,
        attempts=0,
        opener=profile.user_id,
        opening=opening,
        request="",
        contact=None,
        progress=(
            Progress(first_id, first, policy.split_limit, end) if 0 < end < len(first) else None
        ),
        carried=first_id if end else "",
        last_own=None,
        split_limit=policy.split_limit,
        seen=NOTHING,
        past_seen=_past_seen(conversation),
        past_own=_past_own(conversation),
        told=(),
        dropped_until=0.0,
        dropped_for="",
    )
    if event.overtaken:
        opened = replace(opened, unread=first_id)
    opened = with_person(opened, profile.user_id, profile.name, policy)
    connecting = Notice(f"connecting:{generation}", NoticeKind.CONNECTING, user_id=profile.user_id)
    return without_button(Decision(owe(opened, connecting)))


def _past_seen(conversation: Conversation) -> LookBack:
    """What tells the items of past chats that were never posted from all others: of a chat whose
    end was missed the whole look-back, of another the newest item. A chat of which nothing was
    heard changes nothing."""
    heard = conversation.seen if conversation.missed else conversation.seen.last(1)
    return heard or conversation.past_seen


def _past_own(conversation: Conversation) -> Sent | None:
    """Our newest settled item of all chats so far. Where there is none, whatever of ours a continued
    chat brings back was in the air, unless it went with the start: that is settled without an item.
    """
    last = conversation.last_own or conversation.past_own
    if last or conversation.carried or not conversation.past_contact_id:
        return last
    return Sent("", 0.0)


def opening_went_on(
    conversation: Conversation,
    event: Prepared | ContactStarted | StartRefused | StartDelayed,
    now: float,
) -> Decision:
    """How the start of a contact fares."""
    if conversation.phase is not Phase.OPENING or conversation.contact:
        return Decision(conversation)
    match event:
        case Prepared():
            return Decision(replace(conversation, request=event.request), save=True)
        case ContactStarted():
            # The request has served: the state is written with each message, and shorter without.
            return Decision(replace(conversation, contact=event.contact, request=""), save=True)
        case StartDelayed():
            busy = Notice(f"busy:{conversation.generation}", NoticeKind.BUSY, reason=event.reason)
            return Decision(owe_once(conversation, busy))
        case StartRefused():
            return _start_refused(conversation, event, now)
        case _:
            assert_never(event)


def waits(conversation: Conversation, event: SendDelayed) -> Decision:
    """Connect takes no messages of an open chat: its customer is told once, until it does again."""
    if conversation.phase is not Phase.OPEN:
        return Decision(conversation)
    waiting = Notice(
        f"waiting:{event.message_ts}",
        NoticeKind.WAITING,
        user_id=event.user_id,
        message_ts=event.message_ts,
    )
    return Decision(owe_once(conversation, waiting))


def waited(conversation: Conversation) -> Conversation:
    """Connect took a message: of the next disturbance the customer is told again."""
    if NoticeKind.WAITING not in conversation.told:
        return conversation
    told = tuple(kind for kind in conversation.told if kind != NoticeKind.WAITING)
    return replace(conversation, told=told)


def _start_refused(conversation: Conversation, event: StartRefused, now: float) -> Decision:
    opening = conversation.opening
    if event.reason == "refused" and opening and opening.source_contact_id:
        # Connect will not continue the old chat (no transcript, too old, too many): without it.
        plain = replace(opening, source_contact_id="", not_before=0.0, attempt=opening.attempt + 1)
        return Decision(replace(conversation, opening=plain, request=""), save=True)
    return given_up(conversation, now, NoticeKind.FAILED, event.reason)


def subscribed(conversation: Conversation) -> Decision:
    """The socket listens: from now on a 403 means that the contact has ended, and what would open
    another one has served."""
    contact = conversation.contact
    if not contact or (contact.connected and conversation.phase is not Phase.OPENING):
        return Decision(conversation)
    phase = Phase.OPEN if conversation.phase is Phase.OPENING else conversation.phase
    connected = replace(contact, connected=True)
    return Decision(replace(conversation, phase=phase, opening=None, contact=connected), save=True)


def renewed(conversation: Conversation, event: CredentialsRenewed) -> Decision:
    """A connection token lives a day; the chat may live longer."""
    if not conversation.contact:
        return Decision(conversation)
    contact = replace(
        conversation.contact,
        connection_token=event.connection_token,
        connection_expiry=event.expiry,
    )
    return Decision(replace(conversation, contact=contact), save=True)


def over(conversation: Conversation, event: ContactOver, now: float, policy: Policy) -> Decision:
    """Two 403 in a row: an end that was missed, or a contact that died before it connected."""
    contact = conversation.contact
    if not contact or contact.contact_id != event.contact_id:
        return Decision(conversation)
    if contact.connected or conversation.seen:
        left = conversation.phase is Phase.ENDING
        gone = ended(conversation, now, NoticeKind.ENDED if left else NoticeKind.MISSED)
        return without_button(Decision(gone, save=True))
    # It died unconnected (after 5 minutes): nobody saw it, so another takes its place silently.
    attempts = conversation.attempts + 1
    opening = conversation.opening
    if conversation.phase is not Phase.OPENING or opening is None:
        return without_button(Decision(ended(conversation, now), save=True))
    if attempts >= policy.unconnected_tries:
        return given_up(conversation, now, NoticeKind.FAILED)
    again = replace(
        conversation,
        attempts=attempts,
        opening=replace(opening, attempt=opening.attempt + 1),
        request="",
        contact=None,
    )
    return Decision(again, save=True)


def ended(
    conversation: Conversation,
    now: float,
    kind: NoticeKind = NoticeKind.ENDED,
    *,
    heard: bool = False,
) -> Conversation:
    """The chat is over (`heard`: by chat.ended, which comes last, so that nothing of it was
    missed); what follows in the thread is a matter of BRIDGE_REOPEN."""
    if conversation.phase not in LISTENING:
        return conversation
    contact = conversation.contact
    # Items can be heard before Subscribed is: a flow may end the chat as soon as it began.
    read = contact is not None and contact.connected
    lived = contact if contact and (contact.connected or conversation.seen) else None
    carried = conversation.carried if lived and not conversation.progress else ""
    closed = replace(
        conversation,
        phase=Phase.ENDED,
        ended_at=now,
        ending_until=0.0,
        contact=None,
        opening=None,
        request="",
        progress=None,
        carried=carried,
        held=tuple(held for held in conversation.held if held.id != carried),
        told=(),
        # What an earlier chat left unposted stays so until a transcript was read, which is before
        # Subscribed.
        seen=conversation.seen if read else conversation.past_seen.merged(conversation.seen),
        missed=(lived is not None and not heard) or (conversation.missed and not read),
        past_contact_id=lived.contact_id if lived else conversation.past_contact_id,
    )
    closed = owe(closed, Notice(f"ended:{conversation.generation}", kind))
    return asking(closed, closed.held[0]) if closed.held else closed


def tombstone(conversation: Conversation) -> Conversation | None:
    """What is kept of an ended conversation when all else is erased: enough to understand a late
    reply as one that comes after the end. None before the end."""
    if conversation.phase is not Phase.ENDED:
        return None
    return Conversation(
        conversation.id,
        Phase.ENDED,
        conversation.generation,
        dropped_until=conversation.dropped_until,
        ended_at=conversation.ended_at,
        past_contact_id=conversation.past_contact_id,
        last_ts=conversation.last_ts,
        last_post_ts=conversation.last_post_ts,
    )


def asking(conversation: Conversation, message: CustomerMessage) -> Conversation:
    """Ask, once for each end, whether what waits shall open a new chat."""
    ask_id = f"ask_reopen:{conversation.generation}:{message.id}"
    return owe_once(conversation, Notice(ask_id, NoticeKind.ASK_REOPEN, user_id=message.user_id))


def given_up(conversation: Conversation, now: float, kind: NoticeKind, why: str = "") -> Decision:
    """No chat came about: whatever was written up to now will not be delivered. It is parked,
    unless the customer wanted it so."""
    flags: tuple[Effect, ...] = tuple(Flag(message.ts) for message in conversation.held)
    reason = "" if kind is NoticeKind.CANCELLED else "not_started"
    park = tuple(unsent(conversation, one, reason, now) for one in conversation.held if reason)
    closed = replace(
        conversation,
        phase=Phase.ENDED,
        ended_at=now,
        contact=None,
        opening=None,
        request="",
        progress=None,
        carried="",
        held=(),
        held_until=0.0,
        told=(),
        dropped_until=now,
        dropped_for=reason,
    )
    notice = Notice(f"{kind}:{conversation.generation}", kind, reason=why)
    given_up = Decision(owe(closed, notice), flags, Then.WAIT, save=True, park=park)
    return without_button(given_up)
