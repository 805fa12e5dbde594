"""The way towards the agent: one lane event at a time, in the order of its `ts`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from bridge import metrics
from bridge.core.conversation import next_up
from bridge.core.errors import Failure, Gone, Rejected
from bridge.core.events import (
    EndContact,
    Event,
    EventFailed,
    FindRoot,
    Identified,
    Identify,
    Incoming,
    LaneEvent,
    NoRoot,
    SendToAgent,
    Then,
    Wrote,
)
from bridge.core.model import Phase, Profile
from bridge.core.ports import Intake
from bridge.core.transcript import no_aside
from bridge.relay import send
from bridge.relay.deliver import Patience, insist, store_insist
from bridge.relay.doubt import Doubt
from bridge.relay.repair import FORESEEN

if TYPE_CHECKING:
    from bridge.relay.lane import Lane

log = structlog.get_logger(__name__)


async def run(lane: Lane) -> None:
    """Work until the lane is empty; wait where its head has to."""
    while not lane.stopping:
        lane.changed.clear()
        if Doubt.WRITTEN in lane.doubts or lane.missing:
            await lane.changed.wait()
            continue
        try:
            await _find_out(lane)
            head = next_up(lane.conversation, lane.waiting.values())
            if head is None:
                return
            goes_on = await _advance(lane, head)
        except FORESEEN:
            raise
        except Exception as error:
            if not await _gave_up(lane, error):
                raise
            continue
        if not goes_on:
            await lane.changed.wait()


async def _find_out(lane: Lane) -> None:
    """What comes before the next event: asides, and what became of a message in the air."""
    if lane.conversation.phase is not Phase.OPEN:
        return
    if lane.asides:
        await send.aside(lane, lane.asides.pop(0))
    if lane.in_doubt and (lane.waiting or lane.conversation.held):
        await send.look(lane)


async def _gave_up(lane: Lane, error: Exception) -> bool:
    """Our own code failed. After many tries the lane goes on without what it failed on."""
    head = next_up(lane.conversation, lane.waiting.values())
    if head is None:
        return False
    event, done = _taken(head)
    # A message may have gone out before the error came.
    lane.in_doubt = lane.in_doubt or lane.conversation.contact is not None
    if not lane.repairs.hopeless(_work(head), error):
        return False
    lane.in_doubt = False
    if isinstance(event, Wrote):
        metrics.failed(metrics.TO_AGENT)
    await lane.conclude(EventFailed(event), done)
    return True


def _taken(head: Incoming | Wrote) -> tuple[LaneEvent, list[str]]:
    """The event, and what is removed from the lane with it."""
    return (head.event, [head.id]) if isinstance(head, Incoming) else (head, [])


def _work(head: Incoming | Wrote) -> str:
    return f"event {head.id if isinstance(head, Incoming) else head.message.id}"


async def _advance(lane: Lane, head: Incoming | Wrote) -> bool:
    """Decide on the head and perform what follows. False: it has to wait for a change."""
    event, done = _taken(head)
    decision = lane.apply(event)
    then = decision.then
    for effect in decision.effects:
        match effect:
            case Identify():
                fact: Event | None = await _identify(lane, effect, event)
            case FindRoot():
                fact = await _find_root(lane)
            case SendToAgent():
                fact = await send.message(lane, effect)
            case EndContact():
                await leave(lane)
                continue
            case _:
                continue
        if fact is not None:
            then = (await lane.conclude(fact, done)).then
    if then is Then.WAIT:
        return False
    if any(event_id in lane.waiting for event_id in done):
        await lane.settle(then, done)
    lane.repairs.done(_work(head))
    return True


async def _identify(lane: Lane, effect: Identify, event: Event) -> Identified:
    kit, conversation = lane.kit, lane.conversation
    try:
        identified = await insist(
            lambda: kit.customer.identify(conversation.id, effect.user_id), "slack", kit.clock
        )
    except (Rejected, Gone) as failure:
        log.info("profile_unknown", code=failure.code)
        identified = Identified(Profile(effect.user_id, effect.user_id))
    opens = conversation.phase in (Phase.NEW, Phase.ENDED)
    first = event.message if isinstance(event, Wrote) else None
    addressed = first is None or first.mention or conversation.id.flat
    identified = replace(identified, opens=opens, addressed=addressed)
    first = conversation.held[0] if conversation.held else first
    if first is None or not opens:
        return identified
    text = await kit.customer.with_names(conversation.id, first.text)
    overtaken = await store_insist(lambda: kit.store.overtaken(conversation.id), kit.clock)
    return replace(identified, first_id=first.id, first=no_aside(text), overtaken=overtaken)


async def _find_root(lane: Lane) -> NoRoot | None:
    """The root of the thread, which most often is only a moment behind its first reply."""
    kit, conversation_id = lane.kit, lane.conversation.id
    try:
        async with asyncio.timeout(kit.timing.root_wait):
            while not lane.stopping and not any(
                event.ts == conversation_id.thread_ts for event in lane.waiting.values()
            ):
                lane.changed.clear()
                await lane.changed.wait()
    except TimeoutError:
        root = await insist(lambda: kit.customer.root(conversation_id), "slack", kit.clock)
    else:
        return None
    if root is None:
        return NoRoot()
    accepted = await store_insist(lambda: kit.store.accept(root), kit.clock)
    if accepted.intake is not Intake.STORED and root.id not in lane.waiting:
        kept = await store_insist(lambda: kit.store.load(conversation_id), kit.clock)
        if root.id not in {incoming.id for incoming in kept.lane}:
            # It was decided on before, and opened nothing; else it is on its way to this lane.
            return NoRoot()
    lane.add(root)
    return None


async def leave(lane: Lane) -> None:
    """Leave the chat. Where that cannot be done, the contact ends by its duration."""
    if lane.chat is None:
        await lane.save()  # nobody listens to a contact that is still being stored
    chat, conversation = lane.chat, lane.conversation
    if chat is None:
        return
    token = f"end/{conversation.id}/{conversation.generation}"
    try:
        await insist(
            lambda: chat.end(token),
            "connect",
            lane.kit.clock,
            Patience(lane.kit.timing.end_patience),
        )
    except Failure as failure:
        log.warning("end_failed", call=failure.call, code=failure.code)
