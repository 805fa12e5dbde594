"""What `relay/back` does, await by await."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from bridge.core.decision import ts_key
from bridge.core.errors import Failure, Gone, Rejected, Uncertain
from bridge.core.events import Posted, PostFailed, Then
from bridge.core.model import Mark, Notice, Outgoing
from bridge.core.outbox import batch
from bridge.core.ports import PartId
from tests.core.simulated_steps import Air, Steps, Until, insist, read
from tests.core.simulated_work import end

if TYPE_CHECKING:
    from tests.core.simulated_relay import SimLane

ROOM = 20
LOOK_DELAY = 5.0
POST_TIMEOUT = Air.LONGEST

Found = Mapping[PartId, str]


def back(lane: SimLane) -> Steps[None]:
    while lane.conversation.owed and not lane.stopping:
        if lane.mark:
            yield from _resolve(lane, lane.mark)
        else:
            yield from _deliver(lane, lane.conversation.owed[0], {})


def _resolve(lane: SimLane, mark: Mark) -> Steps[None]:
    if chat := lane.chat:
        with suppress(Gone):
            yield from insist(lambda: read(chat.catch_up))
    found = yield from _look_at_thread(lane, mark)
    whole = {part: ts for part, ts in found.items() if _whole(part.id, found)}
    begun = {part.id for part in found.keys() - whole.keys()}
    posts: dict[str, list[str]] = {}
    for part in whole:
        ts = max((there for other, there in whole.items() if other.id == part.id), key=ts_key)
        if part.part == 1:
            posts.setdefault(ts, []).append(part.id)
    for number, ts in enumerate(sorted(posts, key=ts_key), 1):
        last = number == len(posts) and not begun
        yield from lane.conclude(Posted(tuple(posts[ts]), ts), unmark=last)
    for outgoing in lane.conversation.owed:
        if outgoing.id in begun:
            yield from _deliver(lane, outgoing, found)
    lane.mark = None


def _look_at_thread(lane: SimLane, mark: Mark) -> Steps[Found]:
    """When nothing of the marked try can be in the air any more, and once more a little later if
    something is missing then."""
    world = lane.world
    longest = POST_TIMEOUT + LOOK_DELAY
    found: Found = {}
    for pause in (min(mark.at + longest - lane.redis_now(), longest), LOOK_DELAY):
        yield Until(world.time, pause)
        found = yield from insist(lambda: read(lambda: world.slack.look(mark.since)))
        found = {part: ts for part, ts in found.items() if part.id in mark.ids}
        if all(_whole(one, found) for one in mark.ids):
            break
    return found


def _whole(id_: str, found: Found) -> bool:
    parts = [part for part in found if part.id == id_]
    return bool(parts) and len(parts) == parts[0].of


def _deliver(lane: SimLane, outgoing: Outgoing, found: Found) -> Steps[None]:
    posted: Sequence[Outgoing] = (outgoing,)
    newest = ""
    parts = lane.world.slack.parts(outgoing)
    if parts > 1 or isinstance(outgoing, Notice):
        # After a crash half-way the chat may be over, and the rest nowhere to be read; and what a
        # notice tells would happen once more.
        yield from lane.settle(Then.SETTLE, ())
    try:
        for part in range(1, parts + 1):
            ts = found.get(PartId(outgoing.id, part), "")
            if not ts:
                posted, ts = yield from _post(lane, outgoing, part)
            newest = max(newest, ts, key=ts_key)
    except Failure as failure:
        yield from _give_up(lane, outgoing, failure)
        return
    yield from lane.conclude(Posted(tuple(one.id for one in posted), newest), unmark=True)


def _give_up(lane: SimLane, outgoing: Outgoing, failure: Failure) -> Steps[None]:
    gone = isinstance(failure, Gone)
    failed = PostFailed((outgoing.id,), failure.code, gone)
    # The state forgets the contact, so that has to be left before; and none may start meanwhile.
    yield from lane.conclude(failed, unmark=True, first=end if gone else None)


def _post(lane: SimLane, outgoing: Outgoing, part: int) -> Steps[tuple[Sequence[Outgoing], str]]:
    """The channel is always behind: whatever waits and may be joined is joined. A post goes out soon
    after its mark: whoever finds that knows how long to wait."""
    world = lane.world
    joins = True
    while True:
        owed = lane.conversation.owed
        rest = owed[owed.index(outgoing) :]
        short = tuple(takewhile(lambda one: world.slack.parts(one) == 1, rest))
        load = batch(short, ROOM) if joins and short else (outgoing,)
        ids = tuple(one.id for one in load)
        marked_at = world.time.now
        since = lane.mark.since if lane.mark else lane.conversation.last_post_ts
        yield None
        mark = world.store.set_mark(lane.me, ids, since)
        yield None
        lane.mark = mark
        lane.guard()
        if world.time.now - marked_at > POST_TIMEOUT:
            continue
        try:
            world.store.check_entitled(lane.me)
            world.store.check_marked(ids, POST_TIMEOUT)
            ts = yield from world.air.call((ids, part), partial(world.slack.post, load, part))
        except Failure as failure:
            yield None
            if isinstance(failure, Uncertain):
                found = yield from _look_at_thread(lane, mark)
                there = [one for one in load if PartId(one.id, part) in found]
                if there:
                    return there, max((found[PartId(o.id, part)] for o in there), key=ts_key)
            if isinstance(failure, Rejected) and len(load) > 1:
                joins = False
            elif isinstance(failure, Rejected | Gone):
                raise
        else:
            yield None
            return load, ts
