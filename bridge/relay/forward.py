"""The way towards the agent: one lane event at a time, in the order of its `ts`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from bridge.core.conversation import next_up
from bridge.core.errors import Failure, Gone, Rejected
from bridge.core.events import (
    EndContact,
    Event,
    FindRoot,
    Identified,
    Identify,
    Incoming,
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

if TYPE_CHECKING:
    from bridge.relay.lane import Lane

log = structlog.get_logger(__name__)


async def run(lane: Lane) -> None:
    """Work until the lane is empty; wait where its head has to."""
    while not lane.stopping:
        lane.changed.clear()
        if lane.conversation.phase is Phase.OPEN and lane.asides:
            await send.aside(lane, lane.asides.popleft())
        unsent = lane.waiting or lane.conversation.held
        if lane.conversation.phase is Phase.OPEN and lane.in_doubt and unsent:
            await send.look(lane)
        head = next_up(lane.conversation, lane.waiting.values())
        if head is None:
            return
        if not await _advance(lane, head):
            await lane.changed.wait()


async def _advance(lane: Lane, head: Incoming | Wrote) -> bool:
    """Decide on the head and perform what follows. False: it has to wait for a change."""
    event, done = (head.event, [head.id]) if isinstance(head, Incoming) else (head, [])
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
    identified = replace(identified, addressed=addressed)
    first = conversation.held[0] if conversation.held else first
    if first is None or not opens:
        return identified
    text = await kit.customer.with_names(conversation.id, first.text)
    return replace(identified, first_id=first.id, first=no_aside(text))


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
        # It was decided on before, and opened nothing.
        return NoRoot()
    lane.add(root)
    return None


async def leave(lane: Lane) -> None:
    """Leave the chat. Where that cannot be done, the contact ends by its duration."""
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
