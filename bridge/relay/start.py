"""Open a contact: store the request, then repeat it until Connect answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bridge.core.errors import Busy, Failure
from bridge.core.events import ContactStarted, Prepared, StartDelayed, StartRefused
from bridge.core.model import Opening, Phase
from bridge.relay.deliver import Patience, insist

if TYPE_CHECKING:
    from bridge.relay.lane import Lane

log = structlog.get_logger(__name__)


async def run(lane: Lane) -> None:
    """Work until the conversation has a contact, or wants none."""
    while (opening := _wanted(lane)) is not None:
        await _wait_for_transcript(lane, opening)
        if not lane.conversation.request:
            await lane.conclude(Prepared(lane.kit.agent.compose(opening)))
        await _start(lane, opening)


def _wanted(lane: Lane) -> Opening | None:
    conversation = lane.conversation
    if conversation.phase is not Phase.OPENING or conversation.contact:
        return None
    return conversation.opening


async def _wait_for_transcript(lane: Lane, opening: Opening) -> None:
    wait = opening.not_before - lane.kit.clock.now()
    if wait > 0:
        await lane.kit.clock.sleep(wait)


async def _start(lane: Lane, opening: Opening) -> None:
    kit = lane.kit
    request = lane.conversation.request

    def delayed(failure: Failure, age: float) -> None:
        if isinstance(failure, Busy):
            lane.hear(StartDelayed("busy"))
        elif age >= kit.timing.trouble_after:
            lane.hear(StartDelayed("trouble"))

    try:
        started = await insist(
            lambda: kit.agent.start(request),
            "connect",
            kit.clock,
            Patience(kit.timing.start_patience),
            delayed,
        )
    except Failure as failure:
        log.warning("start_refused", call=failure.call, code=failure.code)
        await lane.conclude(StartRefused(failure.code))
        return
    log.info("contact_started", contact=started.contact.contact_id, attempt=opening.attempt)
    lane.started = started
    await lane.conclude(ContactStarted(started.contact))
