"""The way back to the customer: mark, post, settle; and look when in doubt.

Slack has no idempotency key. So what is about to be posted is noted in Redis before (the mark) and
struck out after; whoever finds a mark looks at the thread, where each post of ours lists what it
carries, and posts only what is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from bridge import metrics
from bridge.core.decision import ts_key
from bridge.core.errors import Denied, Failure, Gone, Temporary, Uncertain
from bridge.core.events import Effect, EndContact, Posted, PostFailed, TellAgent
from bridge.core.model import AgentMessage, Outgoing, Phase
from bridge.core.ports import PartId
from bridge.relay import forward, send
from bridge.relay.deliver import Patience, insist, next_try, store_insist

if TYPE_CHECKING:
    from bridge.relay.lane import Lane

log = structlog.get_logger(__name__)

Found = Mapping[PartId, str]


async def run(lane: Lane) -> None:
    """Post until nothing is owed."""
    if lane.mark:
        await _resolve(lane)
    while lane.conversation.owed and not lane.stopping:
        await _deliver(lane, lane.conversation.owed[0], {})


async def _resolve(lane: Lane) -> None:
    """A mark that we did not set in this life: what was in the air then may stand in the thread.

    What it names comes first, before anything older that turned up since: it is settled if it is
    there, completed if a part of it is, and goes back into the order if nothing of it is.
    """
    mark = lane.mark
    if mark is None:
        return
    await _catch_up(lane)
    waited = lane.kit.redis_now() - mark.at
    found = await _look(
        lane,
        mark.ids,
        mark.since,
        lane.kit.timing.post_timeout + lane.kit.timing.look_delay - waited,
    )
    there = {part.id for part in found}
    for outgoing in lane.conversation.owed:
        if outgoing.id in there:
            there.discard(outgoing.id)
            await _deliver(lane, outgoing, found)
    if there:
        # Its chat ended before the transcript was read again; one that continues it has it still.
        newest = max((ts for part, ts in found.items() if part.id in there), key=ts_key)
        await lane.conclude(Posted(tuple(there), newest), unmark=True)
    lane.mark = None


async def _catch_up(lane: Lane) -> None:
    """What the mark names may have to be read from the transcript first."""
    chat = lane.chat
    if chat is None:
        return
    try:
        await insist(chat.catch_up, "connect", lane.kit.clock)
    except Gone:
        log.info("mark_without_transcript")


async def _deliver(lane: Lane, outgoing: Outgoing, found: Found) -> None:
    customer = lane.kit.customer
    newest = ""
    marked = False
    try:
        for part in range(1, customer.parts(outgoing) + 1):
            ts = found.get(PartId(outgoing.id, part), "")
            if not ts:
                ts = await _post(lane, outgoing, part, marked)
                marked = True
            newest = max(newest, ts, key=ts_key)
    except Failure as failure:
        await _give_up(lane, outgoing, failure)
        return
    await lane.conclude(Posted((outgoing.id,), newest), unmark=True)
    _delivered(lane, outgoing)


def _delivered(lane: Lane, outgoing: Outgoing) -> None:
    if not isinstance(outgoing, AgentMessage):
        return
    if lane.chat and lane.conversation.phase is Phase.OPEN:
        lane.chat.delivered(outgoing.id)
    metrics.MESSAGES.labels(metrics.TO_CUSTOMER, "delivered").inc()
    age = lane.kit.clock.now() - outgoing.time
    metrics.MESSAGE_SECONDS.labels(metrics.TO_CUSTOMER).observe(max(age, 0.0))


async def _give_up(lane: Lane, outgoing: Outgoing, failure: Failure) -> None:
    log.error("post_failed", call=failure.call, code=failure.code)
    gone = isinstance(failure, Gone)
    if isinstance(outgoing, AgentMessage):
        metrics.MESSAGES.labels(metrics.TO_CUSTOMER, "failed").inc()
    if gone:
        metrics.ALARMS.labels("place_gone").inc()
    reason = "gone" if gone else "denied" if isinstance(failure, Denied) else "rejected"
    failed = PostFailed((outgoing.id,), reason, gone)
    if gone:
        await _take_leave(lane, lane.foresee(failed).effects)
    await lane.conclude(failed, unmark=True)


async def _take_leave(lane: Lane, effects: Sequence[Effect]) -> None:
    """The place is gone and the contact goes with it: tell the agent while there is one."""
    for effect in effects:
        match effect:
            case TellAgent():
                await send.aside(lane, effect)
            case EndContact():
                await forward.leave(lane)
            case _:
                pass


async def _post(lane: Lane, outgoing: Outgoing, part: int, marked: bool) -> str:
    """Post one part and return its `ts`; raises the failure that cannot be cured."""
    kit, conversation = lane.kit, lane.conversation
    place = conversation.id.place
    began = kit.clock.boottime()
    attempt = 0
    while True:
        attempt += 1
        await kit.pace.turn(place)
        if not marked:
            await store_insist(
                lambda: kit.store.mark(conversation.id, (outgoing.id,), conversation.last_post_ts),
                kit.clock,
            )
        try:
            return await kit.customer.post(conversation.id, outgoing, part, kit.guard)
        except Failure as failure:
            if isinstance(failure, Uncertain):
                found = await _look(
                    lane, (outgoing.id,), conversation.last_post_ts, kit.timing.look_delay
                )
                if ts := found.get(PartId(outgoing.id, part)):
                    return ts
                marked = False
            age = kit.clock.boottime() - began
            delay = next_try(failure, attempt, age, _patience(lane, failure))
            if delay is None:
                raise
            if isinstance(failure, Temporary) and failure.retry_after is not None:
                kit.pace.hold(place, failure.retry_after)
            metrics.RETRIES.labels("slack", failure.call, type(failure).__name__.lower()).inc()
            if isinstance(failure, Denied):
                metrics.ALARMS.labels("slack_denied").inc()
            log.warning("post_retried", call=failure.call, code=failure.code, attempt=attempt)
            await kit.clock.sleep(delay)


def _patience(lane: Lane, failure: Failure) -> Patience:
    timing = lane.kit.timing
    return Patience(timing.denied_patience if isinstance(failure, Denied) else timing.post_patience)


async def _look(lane: Lane, ids: Collection[str], since: str, wait: float) -> Found:
    """Our posts in the thread that carry any of `ids`. Looks after `wait` seconds, and once more a
    little later if something is missing then."""
    kit, conversation = lane.kit, lane.conversation
    found: Found = {}
    for pause in (max(wait, 0.0), kit.timing.look_delay):
        await kit.clock.sleep(pause)
        found = await insist(lambda: kit.customer.look(conversation.id, since), "slack", kit.clock)
        found = {part: ts for part, ts in found.items() if part.id in ids}
        if _complete(lane, ids, found):
            break
    outcome = "arrived" if found else "missing"
    metrics.DOUBTS.labels(outcome).inc()
    return found


def _complete(lane: Lane, ids: Collection[str], found: Found) -> bool:
    owed = {outgoing.id: outgoing for outgoing in lane.conversation.owed if outgoing.id in ids}
    return all(
        PartId(outgoing.id, part) in found
        for outgoing in owed.values()
        for part in range(1, lane.kit.customer.parts(outgoing) + 1)
    )
