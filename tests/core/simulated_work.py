"""What `relay/start`, `relay/forward` and `relay/send` do, await by await."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bridge.core.conversation import next_up
from bridge.core.decision import ts_key
from bridge.core.errors import Failure, Gone, Rejected, Uncertain
from bridge.core.events import (
    ContactOver,
    ContactStarted,
    EndContact,
    Event,
    FindRoot,
    Identified,
    Identify,
    Incoming,
    MessageFailed,
    MessageSent,
    NoRoot,
    PartSent,
    Prepared,
    SendToAgent,
    StartRefused,
    TellAgent,
    Then,
    Wrote,
)
from bridge.core.model import (
    Contact,
    CustomerMessage,
    Item,
    Opening,
    Phase,
    Profile,
    Progress,
    Sent,
)
from bridge.core.ports import Intake
from bridge.core.text import cut
from bridge.core.transcript import ASIDE, proof
from tests.core.simulated_steps import Steps, Until, insist, read

if TYPE_CHECKING:
    from tests.core.simulated_relay import SimChat, SimLane

NAMES = {"U1": "Alice", "U2": "Bob", "U9": "Mallory"}
STRANGERS = ("U9",)
ROOT_WAIT = 2.0
_SMALLEST_LIMIT = 6


# --- start ---------------------------------------------------------------------------------------


def start(lane: SimLane) -> Steps[None]:
    world = lane.world
    while opening := _wanted(lane):
        wait = min(opening.not_before - lane.now(), world.policy.rehydrate_seconds)
        yield Until(world.time, wait)
        if not lane.conversation.request:
            yield from lane.conclude(Prepared(world.connect.compose(opening)))
        yield from _start(lane, lane.conversation.request)


def _start(lane: SimLane, request: str) -> Steps[None]:
    try:
        contact = yield from insist(
            lambda: lane.world.air.call(request, lambda: lane.world.connect.start(request))
        )
    except Failure as failure:
        yield from lane.conclude(StartRefused(failure.code))
        return
    yield from lane.conclude(ContactStarted(contact))


def _wanted(lane: SimLane) -> Opening | None:
    conversation = lane.conversation
    wants = conversation.phase is Phase.OPENING and not conversation.contact
    return conversation.opening if wants else None


# --- forward -------------------------------------------------------------------------------------


def forward(lane: SimLane) -> Steps[None]:
    while not lane.stopping:
        lane.changed = False
        if lane.conversation.phase is Phase.OPEN and lane.asides:
            yield from _aside(lane, lane.asides.popleft())
        if lane.conversation.phase is Phase.OPEN and lane.in_doubt and _messages(lane):
            yield from _look(lane)
        head = next_up(lane.conversation, lane.waiting.values())
        if head is None:
            return
        if not (yield from _advance(lane, head)):
            yield lambda: lane.changed or lane.stopping


def _advance(lane: SimLane, head: Incoming | Wrote) -> Steps[bool]:
    event, done = (head.event, [head.id]) if isinstance(head, Incoming) else (head, [])
    decision = lane.apply(event)
    then = decision.then
    for effect in decision.effects:
        fact: Event | None = None
        match effect:
            case Identify():
                fact = yield from _identify(lane, effect, event)
            case FindRoot():
                fact = yield from _find_root(lane)
            case SendToAgent():
                _check_order(lane, effect.message)
                fact = yield from _send(lane, effect)
            case EndContact():
                yield from end(lane)
            case _:
                pass
        if fact is not None:
            _note_refusal(lane, event, fact)
            then = (yield from lane.conclude(fact, done)).then
    if then is Then.WAIT:
        return False
    if any(event_id in lane.waiting for event_id in done):
        yield from lane.settle(then, done)
    return True


def _check_order(lane: SimLane, message: CustomerMessage) -> None:
    conversation = lane.conversation
    progress = conversation.progress
    begun = progress and progress.offset and progress.message_id == message.id
    older = [one.id for one in _messages(lane) if ts_key(one.ts) < ts_key(message.ts)]
    assert begun or not older, f"{message.id} goes before {older}"


def _note_refusal(lane: SimLane, event: Event, fact: Event) -> None:
    refused = isinstance(fact, Identified) and fact.opens and not fact.profile.may_open
    if isinstance(event, Wrote) and (refused or isinstance(fact, NoRoot)):
        lane.world.refused.add(event.message.id)


def _identify(lane: SimLane, effect: Identify, event: Event) -> Steps[Identified]:
    conversation = lane.conversation
    opens = conversation.phase in (Phase.NEW, Phase.ENDED)
    first = event.message if isinstance(event, Wrote) else None
    first = conversation.held[0] if conversation.held else first
    yield None
    user = effect.user_id
    profile = Profile(user, NAMES[user], may_open=user not in STRANGERS)
    if first is None or not opens:
        return Identified(profile, opens=opens)
    return Identified(profile, first_id=first.id, first=first.text)


def _find_root(lane: SimLane) -> Steps[NoRoot | None]:
    world = lane.world
    thread_ts = lane.conversation.id.thread_ts

    def here() -> bool:
        return any(incoming.ts == thread_ts for incoming in lane.waiting.values())

    yield Until(world.time, ROOT_WAIT, here)
    if here():
        return None
    yield None
    root = world.root
    yield None
    if root is None:
        return NoRoot()
    accepted = world.accept(lane.me, root)
    yield None
    if accepted.intake is not Intake.STORED and root.id not in lane.waiting:
        # It may be on its way to this lane: only the store knows what was decided on.
        yield None
        if root.id not in world.store.lane:
            return NoRoot()
    lane.add(root)
    return None


def end(lane: SimLane) -> Steps[None]:
    if lane.chat:
        contact_id = lane.chat.contact_id
        seen = lane.conversation.seen
        yield from insist(
            lambda: lane.world.air.call(
                f"end/{contact_id}", lambda: lane.world.leave(contact_id, seen)
            )
        )


# --- send ----------------------------------------------------------------------------------------


def _send(lane: SimLane, effect: SendToAgent) -> Steps[MessageSent | MessageFailed | None]:
    chat, contact = lane.chat, lane.conversation.contact
    if chat is None or contact is None:
        return None
    try:
        sent = yield from _parts(lane, chat, effect)
    except Uncertain:
        lane.in_doubt = True
        yield None
        lane.changed = True
        return None
    except Gone:
        yield from _over(lane, contact)
        return None
    except Failure:
        return MessageFailed(effect.message, "rejected")
    return MessageSent(effect.message, sent)


def _parts(lane: SimLane, chat: SimChat, effect: SendToAgent) -> Steps[Sent | None]:
    progress = lane.conversation.progress
    if not progress or progress.message_id != effect.message.id:
        text = _as_sent(effect.message, effect.prefix)
        limit = lane.conversation.split_limit or lane.world.policy.split_limit
        progress = Progress(effect.message.id, text, limit, 0)
    sent: Sent | None = None
    while _rest(progress):
        end = cut(progress.text, progress.limit, progress.offset)
        after = replace(progress, offset=end)
        if _rest(after) and progress != lane.conversation.progress:
            yield from lane.conclude(PartSent(progress))
        try:
            sent = yield from _one(lane, chat, progress, end)
        except Rejected as failure:
            smaller = progress.limit // 2
            if failure.code != "ValidationException" or smaller < _SMALLEST_LIMIT:
                raise
            progress = replace(progress, limit=smaller)
            continue
        progress = after
        if _rest(progress):
            yield from lane.conclude(PartSent(progress, sent))
    return sent


def _one(lane: SimLane, chat: SimChat, progress: Progress, end: int) -> Steps[Sent]:
    text = progress.text[progress.offset : end].strip()
    token = (
        f"{lane.conversation.generation}/{progress.message_id}/{progress.offset}/{progress.limit}"
    )
    return (yield from _send_message(lane, chat.contact_id, text, token, repeatable=False))


def _send_message(
    lane: SimLane, contact_id: str, text: str, token: str, *, repeatable: bool
) -> Steps[Sent]:
    world = lane.world

    def once() -> Steps[Sent]:
        world.store.check_entitled(lane.me)
        return world.air.call(token, lambda: world.send(contact_id, text, token))

    return (yield from insist(once, repeatable=repeatable, guard=lane.guard))


def _rest(progress: Progress) -> str:
    return progress.text[progress.offset :].strip()


def _as_sent(message: CustomerMessage, prefix: str) -> str:
    return f"{prefix}: {message.text}" if prefix else message.text


def _over(lane: SimLane, contact: Contact) -> Steps[None]:
    """A 403 waits for the chat.ended that is on its way."""
    chat, connect = lane.chat, lane.world.connect
    yield lambda: not lane.is_current(contact.contact_id) or not (chat and connect.frames(chat))
    if lane.is_current(contact.contact_id):
        yield from lane.conclude(ContactOver(contact.contact_id))
    lane.changed = True


def _look(lane: SimLane) -> Steps[None]:
    chat, contact = lane.chat, lane.conversation.contact
    if chat is None or contact is None:
        return
    try:
        items = yield from insist(lambda: read(chat.catch_up))
    except Gone:
        yield from _over(lane, contact)
        return
    if not lane.is_current(contact.contact_id):
        # It ended meanwhile, and with it the progress that says which part was in the air.
        return
    lane.in_doubt = False
    if found := proof(lane.conversation, items):
        yield from _record(lane, found)


def _record(lane: SimLane, found: Item) -> Steps[None]:
    sent = Sent(found.id, found.time)
    progress = lane.conversation.progress
    one = _of_these_words(lane, found) if progress and not progress.offset else None
    if progress and one and one.id != progress.message_id:
        yield from lane.conclude(MessageSent(one, sent), _done(lane, one))
        return
    if progress is None:
        if whole := _whose(lane, found):
            yield from lane.conclude(MessageSent(whole, sent), _done(lane, whole))
        return
    after = replace(progress, offset=cut(progress.text, progress.limit, progress.offset))
    mine = [one for one in _messages(lane) if one.id == progress.message_id]
    if _rest(after) or not mine:
        yield from lane.conclude(PartSent(after, sent))
    else:
        yield from lane.conclude(MessageSent(mine[0], sent), _done(lane, mine[0]))


def _whose(lane: SimLane, found: Item) -> CustomerMessage | None:
    candidates = _messages(lane)
    return _of_these_words(lane, found) or (candidates[0] if candidates else None)


def _of_these_words(lane: SimLane, found: Item) -> CustomerMessage | None:
    for one in _messages(lane):
        if found.text.endswith(one.text.strip()) and one.text.strip():
            return one
    return None


def _messages(lane: SimLane) -> list[CustomerMessage]:
    waiting = sorted(lane.waiting.values(), key=lambda incoming: ts_key(incoming.ts))
    wrote = [one.event.message for one in waiting if isinstance(one.event, Wrote)]
    return [*lane.conversation.held, *wrote]


def _done(lane: SimLane, message: CustomerMessage) -> list[str]:
    return [
        incoming.id
        for incoming in lane.waiting.values()
        if isinstance(incoming.event, Wrote) and incoming.event.message.id == message.id
    ]


def _aside(lane: SimLane, effect: TellAgent) -> Steps[None]:
    if chat := lane.chat:
        token = f"aside/{effect.id}"
        try:
            yield from _send_message(lane, chat.contact_id, ASIDE, token, repeatable=True)
        except Failure:
            return
