"""Open a contact: store the request, then repeat it until Connect answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from bridge.core.decision import ts_key
from bridge.core.errors import Busy, Failure, Gone, Rejected
from bridge.core.events import ContactStarted, Prepared, StartDelayed, StartRefused
from bridge.core.model import Opening, Phase, Started
from bridge.core.outcomes import DEFECT
from bridge.relay.deliver import Patience, insist
from bridge.relay.line import Since
from bridge.relay.repair import FORESEEN

if TYPE_CHECKING:
    from bridge.relay.lane import Lane

log = structlog.get_logger(__name__)


async def run(lane: Lane) -> None:
    """Work until the conversation has a contact, or wants none."""
    while (opening := _wanted(lane)) is not None:
        try:
            await _wait_for_transcript(lane, opening)
            if not lane.conversation.request:
                await lane.conclude(Prepared(lane.kit.agent.compose(opening)))
            await _start(lane, opening)
        except FORESEEN:
            raise
        except Exception as error:
            if not lane.repairs.hopeless(f"start {opening.generation}.{opening.attempt}", error):
                raise
            await lane.conclude(StartRefused(DEFECT))


def _wanted(lane: Lane) -> Opening | None:
    conversation = lane.conversation
    if conversation.phase is not Phase.OPENING or conversation.contact:
        return None
    return conversation.opening


async def _wait_for_transcript(lane: Lane, opening: Opening) -> None:
    # No longer than it was to be when the chat ended: the wall clock may have been set back since.
    wait = min(opening.not_before - lane.kit.clock.now(), lane.kit.policy.rehydrate_seconds)
    if wait > 0:
        await lane.kit.clock.sleep(wait)


async def _start(lane: Lane, opening: Opening) -> None:
    kit = lane.kit
    request, since = lane.conversation.request, _since(lane)
    until = asyncio.get_running_loop().time() + kit.timing.start_patience

    async def in_turn() -> Started:
        return await kit.line.served(
            since,
            lambda: kit.agent.start(request),
            until,
            lambda: lane.hear(StartDelayed("busy")),
        )

    def delayed(_: Failure, age: float) -> None:
        if age >= kit.timing.trouble_after:
            lane.hear(StartDelayed("trouble"))

    try:
        started = await insist(
            in_turn,
            "connect",
            kit.clock,
            Patience(kit.timing.start_patience),
            delayed,
        )
    except Failure as failure:
        log.warning("start_refused", call=failure.call, code=failure.code)
        await lane.conclude(StartRefused(failure.code, _reason(failure)))
        return
    log.info("contact_started", contact=started.contact.contact_id, attempt=opening.attempt)
    lane.started = started
    # What was looked for in the last chat may have arrived there after that.
    lane.in_doubt = lane.in_doubt or bool(lane.first_try)
    lane.first_try.clear()
    await lane.conclude(ContactStarted(started.contact))


def _since(lane: Lane) -> Since:
    """By what is waited with: a takeover changes nothing about who came first."""
    conversation = lane.conversation
    waiting = [event.ts for event in lane.waiting.values()]
    held = [message.ts for message in conversation.held]
    return min(map(ts_key, (*waiting, *held)), default=(0, 0)), str(conversation.id)


def _reason(failure: Failure) -> str:
    if isinstance(failure, Rejected | Gone):
        return "refused"
    return "busy" if isinstance(failure, Busy) else "unavailable"
