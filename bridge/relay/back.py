"""The way back to the customer: mark, post, settle; and look when in doubt.

Slack has no idempotency key. So what is about to be posted is noted in Redis before (the mark) and
struck out after; whoever finds a mark looks at the thread, where each post of ours lists what it
carries, and posts only what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from bridge import metrics
from bridge.core.decision import ts_key
from bridge.core.errors import Denied, Failure, Gone, Rejected, Temporary, Uncertain
from bridge.core.events import EndContact, Posted, PostFailed, TellAgent
from bridge.core.model import AgentMessage, Mark, Notice, Outgoing, Phase
from bridge.core.outbox import batch
from bridge.core.outcomes import DEFECT
from bridge.core.ports import PartId
from bridge.relay import forward, send
from bridge.relay.deliver import Patience, insist, next_try, store_insist
from bridge.relay.doubt import Doubt
from bridge.relay.repair import FORESEEN

if TYPE_CHECKING:
    from bridge.relay.lane import Lane

log = structlog.get_logger(__name__)

Found = Mapping[PartId, str]


class _Overtaken(Exception):
    """While it waited to be posted something came that goes before it. Nothing of it was written."""


async def run(lane: Lane) -> None:
    """Post until nothing is owed."""
    while lane.conversation.owed and not lane.stopping:
        ids = _in_hand(lane)
        try:
            await _next(lane)
        except FORESEEN:
            raise
        except _Overtaken:
            lane.mark = None
        except Failure as failure:
            await _give_up(lane, ids, failure)
        except Exception as error:
            if not lane.repairs.hopeless(_work(ids[0]), error):
                raise
            await _give_up(lane, ids, error)


def _in_hand(lane: Lane) -> Sequence[str]:
    owed = [outgoing.id for outgoing in lane.conversation.owed]
    return (lane.mark.ids or owed) if lane.mark else owed[:1]


def _work(id_: str) -> str:
    return f"post {id_}"


async def _next(lane: Lane) -> None:
    """What a mark names, or else what is owed first."""
    if lane.mark:
        await _resolve(lane, lane.mark)
        return
    await _go_on(lane, lane.conversation.owed[0], lane.found)


async def _go_on(lane: Lane, outgoing: Outgoing, found: Found) -> None:
    """Deliver what is missing of it."""
    if isinstance(outgoing, AgentMessage) and outgoing.retry:
        # Before it was given up, a part of it may have been posted, and others since.
        found = await _look(lane, Mark((outgoing.id,), 0.0, outgoing.retry.since))
    await _deliver(lane, outgoing, found)


async def _resolve(lane: Lane, mark: Mark) -> None:
    """A mark that nobody settled: what was in the air then may stand in the thread. One that names
    nothing is of a store that lost its last writes: anything may.

    What it names comes first, before anything older that turned up since: it is settled if it is
    there, completed if a part of it is, and goes back into the order if nothing of it is.
    """
    await _catch_up(lane)
    found = await _look(lane, mark)
    if Doubt.POSTED in lane.doubts:
        lane.found = found
    # What is not owed was in a chat that ended before the transcript was read again. One that
    # continues it has it still, and what does not stand there whole is to be had from it.
    whole = {part: ts for part, ts in found.items() if _whole(part.id, found)}
    torn = {part.id for part in found.keys() - whole.keys()}
    begun = [outgoing for outgoing in lane.conversation.owed if outgoing.id in torn]
    await _settle(lane, whole, unmark=not begun)
    for outgoing in begun:
        await _go_on(lane, outgoing, found)
    lane.mark = None
    lane.resolve(Doubt.POSTED)


async def _settle(lane: Lane, found: Found, *, unmark: bool) -> None:
    """Settle what stands in the thread, post by post; the mark goes with the last."""
    last: dict[str, str] = {}
    for part, ts in found.items():
        last[part.id] = max(last.get(part.id, ""), ts, key=ts_key)
    posts: dict[str, list[str]] = defaultdict(list)
    for id_, ts in last.items():
        posts[ts].append(id_)
    for number, ts in enumerate(sorted(posts, key=ts_key), 1):
        settled = [outgoing for outgoing in lane.conversation.owed if outgoing.id in posts[ts]]
        event = Posted(tuple(posts[ts]), ts)
        await lane.conclude(event, unmark=unmark and number == len(posts))
        for outgoing in settled:
            _delivered(lane, outgoing)


async def _catch_up(lane: Lane) -> None:
    """What the mark names may have to be read from the transcript first."""
    chat = lane.chat
    if chat is None:
        return
    try:
        await insist(chat.catch_up, "connect", lane.kit.clock)
    except (Gone, Rejected):
        # Where it can be read after all, the connection does: what is in the thread is known then.
        log.info("mark_without_transcript")


async def _deliver(lane: Lane, outgoing: Outgoing, found: Found) -> None:
    """Post it, in parts where it is long, or with what may join it. `found` stands there already."""
    parts = lane.kit.customer.parts(outgoing)
    if parts > 1 or isinstance(outgoing, Notice):
        # After a crash half-way the chat may be over, and the rest nowhere to be read; and what a
        # notice tells would happen once more.
        await lane.save()
    posted: Sequence[Outgoing] = (outgoing,)
    newest = ""
    begun = any(part.id == outgoing.id for part in found)
    try:
        for part in range(1, parts + 1):
            ts = found.get(PartId(outgoing.id, part), "")
            if not ts:
                posted, ts = await _post(lane, outgoing, part, begun=begun or part > 1)
            newest = max(newest, ts, key=ts_key)
    except Failure as failure:
        await _give_up(lane, (outgoing.id,), failure)
        return
    lane.repairs.done(_work(outgoing.id))
    await lane.conclude(Posted(tuple(one.id for one in posted), newest), unmark=True)
    for one in posted:
        _delivered(lane, one)


def _delivered(lane: Lane, outgoing: Outgoing) -> None:
    if not isinstance(outgoing, AgentMessage):
        return
    if lane.chat and lane.conversation.phase is Phase.OPEN:
        lane.chat.delivered(outgoing.id)
    metrics.delivered(metrics.TO_CUSTOMER, lane.kit.clock.now() - outgoing.time)


async def _give_up(lane: Lane, ids: Sequence[str], error: Exception) -> None:
    gone = isinstance(error, Gone)
    if isinstance(error, Failure):
        log.error("post_failed", call=error.call, code=error.code)
    if any(isinstance(one, AgentMessage) and one.id in ids for one in lane.conversation.owed):
        metrics.failed(metrics.TO_CUSTOMER)
    if gone:
        metrics.ALARMS.labels("place_gone").inc()
    since = lane.mark.since if lane.mark else None
    failed = PostFailed(tuple(ids), _reason(error), gone, since)
    if gone:
        await _take_leave(lane, failed)
    await lane.conclude(failed, unmark=True)


def _reason(error: Exception) -> str:
    match error:
        case Gone():
            return "gone"
        case Denied():
            return "denied"
        case Failure():
            return "rejected"
        case _:
            return DEFECT


async def _take_leave(lane: Lane, failed: PostFailed) -> None:
    """The place is gone and the contact goes with it: tell the agent while there is one. Its end may
    be heard before the leaving is answered, and what waits may have opened another chat by then."""
    left = ""
    while (contact := lane.conversation.contact) and contact.contact_id != left:
        left = contact.contact_id
        for effect in lane.foresee(failed).effects:
            match effect:
                case TellAgent():
                    await send.aside(lane, effect)
                case EndContact():
                    await forward.leave(lane)
                case _:
                    pass


async def _post(
    lane: Lane, outgoing: Outgoing, part: int, *, begun: bool
) -> tuple[Sequence[Outgoing], str]:
    """Post one part, or a short one with what may join it. Return what then stands in the thread,
    and the `ts`; raise the failure that cannot be cured, and _Overtaken. `begun`: another part of it
    stands there, so the rest comes next."""
    kit = lane.kit
    place = lane.conversation.id.place
    failing: dict[bool, float] = {}  # since when; what Slack denies, apart
    attempt, joins = 0, True
    while True:
        attempt += 1
        behind = await kit.pace.turn(place, lambda: _urgent(lane))
        alone = not joins or lane.repairs.noted(_work(outgoing.id))
        load = _load(lane, outgoing) if behind and not alone else (outgoing,)
        guard = _guard(lane, () if begun else load)
        mark = await _mark(lane, load)
        try:
            return load, await kit.customer.post(lane.conversation.id, load, part, guard)
        except Failure as failure:
            if isinstance(failure, Uncertain):
                found = await _look(lane, mark)
                if stands := [one for one in load if PartId(one.id, part) in found]:
                    return stands, max((found[PartId(o.id, part)] for o in stands), key=ts_key)
            if isinstance(failure, Rejected) and len(load) > 1:
                joins = False  # what is wrong with one of them must not cost the others
                continue
            # Not since it began to wait for its turn, or for Redis: nothing had failed by then.
            now = kit.clock.boottime()
            since = failing.setdefault(isinstance(failure, Denied), now)
            await _wait(lane, failure, attempt, now - since)


def _urgent(lane: Lane) -> bool:
    """Agents' words go before notices; a notice that they wait behind goes with them."""
    return any(isinstance(outgoing, AgentMessage) for outgoing in lane.conversation.owed)


def _load(lane: Lane, outgoing: Outgoing) -> tuple[Outgoing, ...]:
    owed = lane.conversation.owed
    return batch(owed[owed.index(outgoing) :], lane.kit.customer.room)


async def _mark(lane: Lane, load: Sequence[Outgoing]) -> Mark:
    """Every try is marked anew: who looks waits for what may still come of the last one."""
    conversation = lane.conversation
    since = lane.mark.since if lane.mark else conversation.last_post_ts
    ids = tuple(outgoing.id for outgoing in load)
    # Known before it is stored: `restore` would write that of the last try over it.
    lane.mark = Mark(ids, lane.kit.redis_now(), since)
    lane.mark = await store_insist(
        lambda: lane.kit.store.mark(conversation.id, ids, since), lane.kit.clock
    )
    return lane.mark


def _guard(lane: Lane, first: tuple[Outgoing, ...]) -> Callable[[], None]:
    """Asked when a connection is in hand. Looks are timed by the mark, so a post that is written long
    after it could show up when the last is over: who waited for a connection, or stood still, has to
    mark anew. And `first` may be what is owed first no more: an item may appear late."""
    kit = lane.kit
    latest = kit.clock.boottime() + kit.timing.look_delay

    def guard() -> None:
        kit.guard()
        if kit.clock.boottime() > latest:
            raise Temporary("chat.postMessage", "late")
        if lane.conversation.owed[: len(first)] != first:
            raise _Overtaken

    return guard


async def _wait(lane: Lane, failure: Failure, attempt: int, age: float) -> None:
    """Wait for the next try; raise the failure where there is none."""
    kit = lane.kit
    delay = next_try(failure, attempt, age, _patience(lane, failure))
    if delay is None:
        raise failure
    metrics.RETRIES.labels("slack", failure.call, type(failure).__name__.lower()).inc()
    if isinstance(failure, Denied):
        metrics.ALARMS.labels("slack_denied").inc()
    log.warning("post_retried", call=failure.call, code=failure.code, attempt=attempt)
    if isinstance(failure, Temporary) and failure.retry_after is not None:
        kit.pace.hold(lane.conversation.id.place, delay)  # no turn comes sooner
    else:
        await kit.clock.sleep(delay)


def _patience(lane: Lane, failure: Failure) -> Patience:
    timing = lane.kit.timing
    return Patience(timing.denied_patience if isinstance(failure, Denied) else timing.post_patience)


async def _look(lane: Lane, mark: Mark) -> Found:
    """Our posts in the thread that carry what the mark names. Looks when nothing of the marked try
    can be in the air any more, and once more a little later if something is missing then."""
    kit, timing = lane.kit, lane.kit.timing
    longest = timing.post_timeout + timing.look_delay
    # Where Redis' clock was set back the mark seems to come from the future.
    wait = min(max(mark.at + longest - kit.redis_now(), 0.0), longest)
    found: Found = {}
    for pause in (wait, timing.look_delay):
        await kit.clock.sleep(pause)
        found = await insist(
            lambda: kit.customer.look(lane.conversation.id, mark.since), "slack", kit.clock
        )
        found = {part: ts for part, ts in found.items() if not mark.ids or part.id in mark.ids}
        ids = mark.ids or tuple(outgoing.id for outgoing in lane.conversation.owed)
        shown = not mark.ids and kit.redis_now() > mark.at + longest + timing.look_delay
        if shown or all(_whole(one, found) for one in ids):
            break
    metrics.DOUBTS.labels("arrived" if found else "missing").inc()
    return found


def _whole(id_: str, found: Found) -> bool:
    """Whether every part of it is there."""
    parts = [part for part in found if part.id == id_]
    return bool(parts) and len(parts) >= max(part.of for part in parts)
