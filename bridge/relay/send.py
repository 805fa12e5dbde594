"""Send one message to the agent, in parts where it is long, and find out about doubtful ones."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from bridge import metrics
from bridge.core.conversation import next_up, prefix
from bridge.core.decision import ts_key
from bridge.core.errors import Failure, Gone, Rejected, Uncertain
from bridge.core.events import (
    ContactOver,
    Incoming,
    MessageFailed,
    MessageSent,
    PartSent,
    SendDelayed,
    SendToAgent,
    TellAgent,
    Wrote,
)
from bridge.core.model import CustomerMessage, Item, Progress, Sent
from bridge.core.ports import Chat
from bridge.core.text import cut
from bridge.core.transcript import ASIDE, no_aside, proof, proofs_of_the_past
from bridge.relay.deliver import FIRST_DELAY, Patience, insist
from bridge.relay.doubt import Doubt

if TYPE_CHECKING:
    from bridge.relay.lane import Lane

log = structlog.get_logger(__name__)

_SMALLEST_LIMIT = 256


_CLOCKS_APART = 5.0
"""Seconds by which Slack's clock and Connect's may differ."""


class _Overtaken(Exception):
    """While a message waited for its turn an older event came in, which goes first."""


async def message(lane: Lane, effect: SendToAgent) -> MessageSent | MessageFailed | None:
    """Send it; None where the contact is over or the outcome is to be looked for first."""
    chat, contact = lane.chat, lane.conversation.contact
    if chat is None or contact is None:
        return None
    try:
        sent = await _parts(lane, chat, effect)
    except _Overtaken:
        lane.changed.set()
        return None
    except Uncertain:
        return await _doubt(lane, effect.message)
    except Gone:
        await _over(lane, contact.contact_id)
        return None
    except Failure as failure:
        log.warning("message_failed", call=failure.call, code=failure.code)
        return _failed(effect.message, isinstance(failure, Rejected))
    return _sent(lane, effect.message, sent)


async def _parts(lane: Lane, chat: Chat, effect: SendToAgent) -> Sent | None:
    progress = await _where_it_stands(lane, effect)
    sent: Sent | None = None
    while _rest(progress):
        end = cut(progress.text, progress.limit, progress.offset)
        after = replace(progress, offset=end)
        if _rest(after) and progress != lane.conversation.progress:
            # A retry has to cut at the same places, whatever the settings are by then.
            await lane.conclude(PartSent(progress))
        try:
            sent = await _one(lane, chat, effect.message, progress, end)
        except Rejected as failure:
            smaller = progress.limit // 2
            if failure.code != "ValidationException" or smaller < _SMALLEST_LIMIT:
                raise
            progress = replace(progress, limit=smaller)
            continue
        progress = after
        if _rest(progress):
            await lane.conclude(PartSent(progress, sent))
            chat.typing()
    return sent


async def _one(
    lane: Lane, chat: Chat, message: CustomerMessage, progress: Progress, end: int
) -> Sent:
    part = progress.text[progress.offset : end].strip()
    # Not by where it ends: a name that was not to be had at the last try makes it longer.
    token = _token(lane, f"{message.id}/{progress.offset}/{progress.limit}")
    if len(lane.waiting) > 1:
        chat.typing()

    def guard() -> None:
        # While we waited, another replica may have taken the place over and sent it.
        lane.kit.guard()
        if not progress.offset and (lane.missing or not _is_next(lane, message)):
            raise _Overtaken

    return await insist(
        lambda: chat.send(part, token, guard),
        "connect",
        lane.kit.clock,
        Patience(lane.kit.timing.send_patience, repeatable=False),
        lambda _, age: _waits(lane, message, age),
    )


def _waits(lane: Lane, message: CustomerMessage, age: float) -> None:
    if age >= lane.kit.timing.wait_told_after:
        lane.hear(SendDelayed(message.user_id, message.ts))


def _is_next(lane: Lane, message: CustomerMessage) -> bool:
    head = next_up(lane.conversation, lane.waiting.values())
    event = head.event if isinstance(head, Incoming) else head
    return isinstance(event, Wrote) and event.message.id == message.id


def _rest(progress: Progress) -> str:
    return progress.text[progress.offset :].strip()


async def _where_it_stands(lane: Lane, effect: SendToAgent) -> Progress:
    kept = lane.conversation.progress
    if kept and kept.message_id == effect.message.id:
        return kept
    text = await _as_sent(lane, effect.message, effect.prefix)
    return Progress(effect.message.id, text, _limit(lane), 0)


def _limit(lane: Lane) -> int:
    return lane.conversation.split_limit or lane.kit.policy.split_limit


async def _as_sent(lane: Lane, message: CustomerMessage, prefix: str) -> str:
    text = await lane.kit.customer.with_names(lane.conversation.id, message.text)
    return no_aside(f"{prefix}: {text}" if prefix else text)


def _token(lane: Lane, name: str) -> str:
    whole = f"{lane.conversation.id}/{lane.conversation.generation}/{name}"
    return hashlib.sha256(whole.encode()).hexdigest()


# --- outcomes ------------------------------------------------------------------------------------


def _sent(lane: Lane, message: CustomerMessage, sent: Sent | None) -> MessageSent:
    lane.first_try.pop(message.id, None)
    seconds, micros = ts_key(message.ts)
    metrics.delivered(metrics.TO_AGENT, lane.kit.clock.now() - seconds - micros / 1e6)
    return MessageSent(message, sent)


def _failed(message: CustomerMessage, rejected: bool) -> MessageFailed:
    metrics.failed(metrics.TO_AGENT)
    return MessageFailed(message, "rejected" if rejected else "unavailable")


async def _doubt(lane: Lane, message: CustomerMessage) -> MessageFailed | None:
    """No answer came: the transcript knows whether it arrived."""
    lane.in_doubt = True
    now = lane.kit.clock.boottime()
    first = lane.first_try.setdefault(message.id, now)
    if now - first > lane.kit.timing.send_patience:
        lane.first_try.pop(message.id)
        # One that did arrive must not be given up: its item would be taken for the next message.
        found = await look(lane)
        return None if found or lane.in_doubt else _failed(message, rejected=False)
    _waits(lane, message, now - first)
    await lane.kit.clock.sleep(FIRST_DELAY)
    lane.changed.set()
    return None


async def _over(lane: Lane, contact_id: str) -> None:
    """A 403 most often is a moment ahead of the chat.ended that explains it."""
    try:
        async with asyncio.timeout(lane.kit.timing.end_grace):
            while _is_current(lane, contact_id) and not lane.stopping:
                lane.changed.clear()
                await lane.changed.wait()
    except TimeoutError:
        await lane.conclude(ContactOver(contact_id))
    lane.changed.set()


def _is_current(lane: Lane, contact_id: str) -> bool:
    contact = lane.conversation.contact
    return contact is not None and contact.contact_id == contact_id


# --- doubt ---------------------------------------------------------------------------------------


async def look(lane: Lane) -> bool:
    """Find out what became of a message that was in the air when the last answer was read: True
    where it arrived."""
    chat, contact = lane.chat, lane.conversation.contact
    if chat is None or contact is None:
        return False
    head = min(_messages(lane), key=lambda one: ts_key(one.ts), default=None)

    def waits(_: Failure, age: float) -> None:
        if head:
            _waits(lane, head, age)

    try:
        items = await insist(chat.catch_up, "connect", lane.kit.clock, on_retry=waits)
    except Gone:
        await _over(lane, contact.contact_id)
        return False
    if not _is_current(lane, contact.contact_id):
        # It ended meanwhile, and with it what tells which message or part was in the air.
        return False
    lane.in_doubt = False
    for item in proofs_of_the_past(lane.conversation, items):
        if one := await _of_these_words(lane, item, in_any_chat=True):
            arrived = replace(_sent(lane, one, None), past=Sent(item.id, item.time))
            await lane.conclude(arrived, _done(lane, one))
    found = proof(lane.conversation, items)
    metrics.DOUBTS.labels("arrived" if found else "missing").inc()
    rest = list(items)
    while found:
        # One was in the air; a store that lost its last writes may have lost more.
        await _record(lane, found)
        rest.remove(found)
        found = proof(lane.conversation, rest)
    lane.resolve(Doubt.SENT)
    return len(rest) < len(items)


async def _record(lane: Lane, found: Item) -> None:
    sent = Sent(found.id, found.time)
    progress = lane.conversation.progress
    if progress and not progress.offset and (one := await _other(lane, found, progress)):
        await lane.conclude(_sent(lane, one, sent), _done(lane, one))
        return
    if progress is None:
        if begun := await _first_part(lane, found):
            await lane.conclude(PartSent(begun, sent))
        elif whole := await _whose(lane, found):
            await lane.conclude(_sent(lane, whole, sent), _done(lane, whole))
        return
    after = replace(progress, offset=cut(progress.text, progress.limit, progress.offset))
    mine = [one for one in _messages(lane) if one.id == progress.message_id]
    if _rest(after) or not mine:
        await lane.conclude(PartSent(after, sent))
    else:
        await lane.conclude(_sent(lane, mine[0], sent), _done(lane, mine[0]))


async def _whose(lane: Lane, found: Item) -> CustomerMessage | None:
    """The waiting message that `found` is.

    Most often the head; but an older message can have come in meanwhile and be the head now, so the
    text decides, and only where it says nothing (message processing may have changed it) the order:
    a wrong guess loses a message, so never one that was written later, by whatever clock.
    """
    if one := await _of_these_words(lane, found):
        return one
    before = ts_key(f"{found.time:.6f}")
    return next((one for one in _candidates(lane, found) if ts_key(one.ts) <= before), None)


async def _of_these_words(
    lane: Lane, found: Item, *, in_any_chat: bool = False
) -> CustomerMessage | None:
    names = {person.user_id: person.name for person in lane.conversation.people}
    for one in _candidates(lane, found):
        prefixes = {prefix(lane.conversation, one)}
        if in_any_chat:  # whoever opened that one wrote without a name
            prefixes |= {"", names.get(one.user_id, "")}
        texts = [(await _as_sent(lane, one, each)).strip() for each in prefixes]
        if found.text.strip() in texts:
            return one
    return None


async def _other(lane: Lane, found: Item, progress: Progress) -> CustomerMessage | None:
    """An older message that came in, and went out, before anything of the one that was noted did."""
    one = await _of_these_words(lane, found)
    return one if one and one.id != progress.message_id else None


async def _first_part(lane: Lane, found: Item) -> Progress | None:
    """Progress after the first part of a long message, where `found` is that: a store that lost its
    last writes may have lost the first note of it, too."""
    limit = _limit(lane)
    for one in _candidates(lane, found):
        text = await _as_sent(lane, one, prefix(lane.conversation, one))
        begun = Progress(one.id, text, limit, cut(text, limit, 0))
        if _rest(begun) and text[: begun.offset].strip() == found.text.strip():
            return begun
    return None


def _candidates(lane: Lane, found: Item) -> list[CustomerMessage]:
    """Waiting messages that were written before `found` was accepted."""
    latest = ts_key(f"{found.time + _CLOCKS_APART:.6f}")
    return [one for one in _messages(lane) if one.text.strip() and ts_key(one.ts) <= latest]


def _messages(lane: Lane) -> list[CustomerMessage]:
    waiting = sorted(lane.waiting.values(), key=lambda incoming: ts_key(incoming.ts))
    wrote = [one.event.message for one in waiting if isinstance(one.event, Wrote)]
    return [*lane.conversation.held, *wrote]


def _done(lane: Lane, message: CustomerMessage) -> list[str]:
    return [
        incoming.id
        for incoming in lane.waiting.values()
        if isinstance(incoming.event, Wrote) and incoming.event.message.id == message.id
    ]


# --- asides --------------------------------------------------------------------------------------

_ASIDES = {
    "gone": "Your message did not arrive: the customer's Slack channel is gone.",
    "files": "Your file did not arrive: files do not reach the customer in Slack yet.",
    "denied": "Your message did not arrive: Slack refuses the bridge's access.",
    "arrived": "Your message that did not arrive before is in Slack now.",
}


async def aside(lane: Lane, effect: TellAgent) -> None:
    """Tell the agent, in the customer's name, what became of a message of theirs."""
    chat = lane.chat
    if chat is None:
        return
    words = _ASIDES.get(effect.reason, "Your last message could not be posted in Slack.")
    token = _token(lane, f"aside/{effect.reason}/{effect.id}")
    try:
        await insist(
            lambda: chat.send(f"{ASIDE}{words}", token, lane.kit.guard),
            "connect",
            lane.kit.clock,
            Patience(lane.kit.timing.end_patience),
        )
    except Failure as failure:
        log.warning("aside_failed", call=failure.call, code=failure.code)
