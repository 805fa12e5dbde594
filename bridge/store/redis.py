"""The Store on one Redis (or Valkey) primary, 6.2 or newer. Keys and scripts live only here.

    seen:{event key}       a dedupe key, with expiry
    stranger:{conversation}  something came in it that opens nothing, before anything else; for an hour
    lane:{conversation}    hash: event id -> sealed event that waits
    conv:{conversation}    hash: state, mark (sealed), marked (when; Redis time), epoch (of state)
    tomb:{conversation}    what is known of an ended one after it was removed
    place:{place}          its owner's incarnation, or "vacant"
    lease:{incarnation}    there while that replica lives; says "leaving" when it stops
    owned:{incarnation}    set of the places it took; of "vacant": what was given back
    pending:{place}        set of conversations whose lane is not empty
    active:{place}         set of conversations that are active
    owner:{incarnation}    channel: events that others took in for its places
    vacancies              channel: places were given back
    members                set of incarnations that may own something
    redis                  hash: id of the Redis that this is, epoch (how often it was replaced),
                           since (when it was last), closed (when the last replica stopped)
    settling               there while replicas take back places after it was replaced
    waiting                sorted set of places with waiting events
    renewed                when any lease was renewed last (Redis time)
    gap                    hash: since and ended, the last time without any lease (Redis time), reader
                           and done: who reads the channels for it, and whether that is finished
    parked                 hash: id -> sealed message that was given up (see `store/parked.py`)
    parked_at              sorted set of these ids by when that was

Nothing is retried here: a call whose answer was lost may have taken effect, and whoever repeats it
is told what is true by then (`accept` a repeat, `claim` every place that is ours).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast
from urllib.parse import quote

import redis.asyncio as redis
from msgspec.structs import replace
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bridge import metrics
from bridge.core.contacts import tombstone
from bridge.core.decision import ts_key
from bridge.core.errors import NotOwner
from bridge.core.events import Incoming
from bridge.core.model import Conversation, ConversationId, Mark, Place
from bridge.core.parked import Parked
from bridge.core.ports import Accepted, Arrival, Gap, Intake, Kept, Renewal, Signal
from bridge.store import records
from bridge.store.concerns import UNKNOWN, concerns
from bridge.store.crypto import Box
from bridge.store.errors import Unreadable, translated
from bridge.store.pipe import Argument, Pipe
from bridge.store.script import Script
from bridge.store.subscription import Message, Subscription

SEEN_SECONDS: Final = 26 * 3600.0
_RETENTION_SECONDS: Final = 30 * 24 * 3600.0
_TOMBSTONE_SECONDS: Final = 400 * 24 * 3600.0
_PLACES: Final = 10_000
_PENDING_TOLD: Final = 100
_PENDING_LOOKED_AT: Final = 1000
_CLAIM_LOOKED_AT: Final = 500
_LOAD_BATCH: Final = 50
_PARKED: Final = 1000
_CLEAN_SECONDS: Final = 600.0
"""A stop and the next start that are further apart may be a backup and its return."""
_CLOCKS_APART: Final = 60.0
"""Seconds by which Slack's clock and Redis' may differ, generously."""

log = logging.getLogger(__name__)


def connect(
    url: str = "",
    *,
    unix_socket: str | Path = "",
    connections: int = 32,
    timeout_seconds: float = 2.0,
) -> redis.Redis:
    """A client for a `redis://`, `rediss://` or `unix://` URL, or for a Unix socket.

    Retries are off: see above. A Redis that hangs is noticed within `timeout_seconds`. No more than
    `connections` commands are in the air; further ones wait for their turn, as long.
    """
    pool = redis.BlockingConnectionPool.from_url(
        url or f"unix://{quote(str(unix_socket))}",
        max_connections=connections,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=3,
    )
    return redis.Redis.from_pool(pool)


@dataclass(frozen=True, slots=True)
class _Found:
    """One conversation as Redis has it, the present epoch, when that began (0: at the start), and
    whether its place is ours."""

    id: ConversationId
    fields: Mapping[bytes, bytes]
    lane: Mapping[bytes, bytes]
    tomb: bytes | None
    epoch: bytes
    since: float
    mine: bool

    def doubtful(self, lane: Sequence[Incoming]) -> bool:
        """Whether an earlier Redis may have known more: of a state that it wrote, or of events that
        it may have been the first to store."""
        if b"state" in self.fields:
            return self.fields.get(b"epoch") != self.epoch
        return any(ts_key(one.ts)[0] <= self.since + _CLOCKS_APART for one in lane)


class RedisStore:
    """`ports.Store`. `incarnation` is this process's random id, `prefix` the first part of every
    key; it claims no more than `places`. `unreadable` is told the id of each record that cannot be
    read; records are never deleted for that. The caller closes the client by `close`.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        box: Box,
        incarnation: str,
        lease_seconds: float,
        prefix: str = "bridge",
        seen_seconds: float = SEEN_SECONDS,
        retention_seconds: float = _RETENTION_SECONDS,
        places: int = _PLACES,
        unreadable: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._box = box
        self._incarnation = incarnation
        self._prefix = prefix
        self._vacancies = f"{prefix}:vacancies"
        self._subscription = Subscription(
            client,
            self._vacancies,
            self._key("owner", incarnation),
            quiet_seconds=lease_seconds / 3,
        )
        self._pipe = Pipe(client, self._subscription.renew)
        self._lease_ms = round(lease_seconds * 1000)
        self._seen_ms = round(seen_seconds * 1000)
        self._retention_ms = round(retention_seconds * 1000)
        self._tombstone_ms = self._retention_ms + round(_TOMBSTONE_SECONDS * 1000)
        self._most_places = places
        self._unreadable = unreadable
        self._claim_in_doubt = False
        self._redis = ""
        """Id of the Redis that we work with."""
        self._found = ""
        """Id of the one that our lease was renewed with last."""
        self._accept = self._script("accept")
        self._settle = self._script("settle")
        self._mark = self._script("mark")
        self._forget = self._script("forget")
        self._renew = self._script("renew", lambda: "")
        self._claim = self._script("claim")
        self._vacate = self._script("vacate")
        self._retake = self._script("retake", lambda: self._found)
        self._load = self._script("load")
        self._members = self._script("members")
        self._release = self._script("release")
        self._caught_up = self._script("caught_up")

    def _script(self, name: str, working: Callable[[], str] | None = None) -> Script:
        """A script that is refused by any Redis but the one of the id `working` (empty: any)."""
        working = working or (lambda: self._redis)
        return Script(self._pipe, name, lambda: (self._prefix, self._incarnation, working()))

    def _key(self, kind: str, name: object) -> str:
        return f"{self._prefix}:{kind}:{name}"

    # --- the way of an event -------------------------------------------------------------------

    async def accept(self, incoming: Incoming) -> Accepted:
        """See `ports.Store`. After StoreAway the event may be stored all the same."""
        whose = str(incoming.conversation)
        intake, mine, taken, waiting = await self._accept(
            str(incoming.conversation.place),
            whose,
            incoming.id,
            self._box.seal(records.dump_incoming(incoming), "lane", whose),
            int(incoming.opens),
            self._seen_ms,
            *incoming.keys,
        )
        return Accepted(Intake(intake.decode()), mine == 1, taken == 1, waiting)

    async def settle(
        self,
        conversation: Conversation,
        done: Sequence[str] = (),
        unmark: bool = False,
        park: Sequence[Parked] = (),
        doubt: bool = False,
    ) -> None:
        """See `ports.Store`. Repeating it is harmless. At most 1000 entries are parked: the oldest
        make room, with an alarm."""
        id_, whose = conversation.id, str(conversation.id)
        entries: list[Argument] = []
        for one in park:
            sealed = self._box.seal(records.dump_parked(one), "parked", one.id)
            entries += [one.id, sealed, f"{one.at:.6f}"]
        written = await self._settle(
            str(id_.place),
            whose,
            self._sealed_state(conversation, whose),
            int(conversation.active),
            int(unmark),
            self._retention_ms,
            self._tombstone(conversation, whose),
            self._tombstone_ms,
            _PARKED,
            int(doubt),
            len(park),
            *entries,
            *done,
        )
        _check_owner(id_, written)
        if dropped := written - 1:
            log.error("store.parked_full", extra={"dropped": dropped})
            metrics.ALARMS.labels("parked_full").inc(dropped)

    def _tombstone(self, conversation: Conversation, whose: str) -> bytes:
        kept = None if conversation.active else tombstone(conversation)
        return self._sealed_state(kept, whose) if kept else b""

    def _sealed_state(self, conversation: Conversation, whose: str) -> bytes:
        return self._box.seal(records.dump_conversation(conversation), "state", whose)

    async def mark(self, conversation: ConversationId, ids: Sequence[str], since: str) -> Mark:
        """See `ports.Store`. Repeating it moves the time."""
        mark, whose = Mark(tuple(ids), 0.0, since), str(conversation)
        sealed = self._box.seal(records.dump_mark(mark), "mark", whose)
        time = await self._mark(str(conversation.place), whose, sealed)
        _check_owner(conversation, time)
        return replace(mark, at=float(time))

    async def forget(self, conversation: ConversationId, done: Sequence[str]) -> None:
        """See `ports.Store`. Repeating it is harmless."""
        written = await self._forget(str(conversation.place), str(conversation), *done)
        _check_owner(conversation, written)

    # --- reading -------------------------------------------------------------------------------

    async def overtaken(self, conversation: ConversationId) -> bool:
        """See `ports.Store`."""
        found: int = await self._pipe.execute("EXISTS", self._key("stranger", conversation))
        return found == 1

    async def load(self, conversation: ConversationId) -> Kept:
        """See `ports.Store`. Raises Unreadable where the state or the mark cannot be read; a lane
        event that cannot is reported and left out."""
        [found] = await self._fetch(conversation.place, [conversation])
        return self._kept(found)

    async def load_place(self, place: Place) -> Sequence[Kept]:
        """See `ports.Store`. What cannot be read is reported and left out."""
        names = await self._members("active", str(place), "pending", str(place))
        ids = sorted((ConversationId.parse(name.decode()) for name in names), key=str)
        kept = []
        for start in range(0, len(ids), _LOAD_BATCH):
            batch = ids[start : start + _LOAD_BATCH]
            for found in await self._fetch(place, batch):
                try:
                    kept.append(self._kept(found))
                except Unreadable as error:
                    self._report(str(found.id), error)
        return kept

    async def _fetch(self, place: Place, ids: Sequence[ConversationId]) -> list[_Found]:
        """State, lane and tombstone of each (all of one place), in one round trip and as of one
        moment."""
        epoch, since, mine, *answers = await self._load(str(place), *map(str, ids))
        states, lanes = ([_fields(flat) for flat in answers[n::3]] for n in (0, 1))
        found = zip(ids, states, lanes, answers[2::3], strict=True)
        return [_Found(*one, epoch, float(since), mine == 1) for one in found]

    def _kept(self, found: _Found) -> Kept:
        state, sealed_mark = found.fields.get(b"state", found.tomb), found.fields.get(b"mark")
        conversation, mark, whose = Conversation(found.id), None, str(found.id)
        if state is not None:
            conversation = records.read_conversation(self._box.open(state, "state", whose))
        if sealed_mark is not None:
            mark = records.read_mark(self._box.open(sealed_mark, "mark", whose))
            mark = replace(mark, at=float(found.fields[b"marked"]))
        lane = tuple(self._readable(found.lane.values(), whose))
        doubt = found.since if found.doubtful(lane) else 0.0
        return Kept(conversation, mark, lane, doubt, found.mine)

    def _readable(self, sealed: Iterable[bytes], whose: str) -> Iterable[Incoming]:
        for record in sealed:
            try:
                yield records.read_incoming(self._box.open(record, "lane", whose))
            except Unreadable as error:
                self._report(whose, error)

    def _report(self, whose: str, error: Unreadable) -> None:
        log.error("store.unreadable", extra={"conversation": whose, "reason": str(error)})
        self._unreadable(whose)

    # --- ownership -----------------------------------------------------------------------------

    async def renew(self, unused: Iterable[Place] = (), *, begin: bool = True) -> Renewal:
        """See `ports.Store`. At most 100 places are told; the next call goes on behind them."""
        answer = await self._renew(
            self._lease_ms,
            _PENDING_TOLD,
            _PENDING_LOOKED_AT,
            self._retention_ms,
            self._redis,
            round(_CLEAN_SECONDS * 1000),
            int(begin),
            *map(str, unused),
        )
        held, time, before, replicas, vacant, parked, present, lost, *rest = answer
        since, ended, reader, *pending = rest
        self._found = present.decode()
        self._redis = self._redis or self._found
        now, last = float(time), float(before)
        return Renewal(
            held == 1,
            dict(zip(_places(pending[::2]), pending[1::2], strict=True)),
            now,
            alone=max(now - last, 0.0) if last else 0.0,
            replicas=replicas,
            vacant=vacant == 1,
            parked=parked,
            replaced=self._found not in ("", self._redis),
            lost=lost == 1,
            gap=Gap(float(since), float(ended), reader == 1) if float(ended) else None,
        )

    async def retake(self, places: Iterable[Place], sure: bool) -> Sequence[Place]:
        """See `ports.Store`. Repeating it is harmless."""
        ours = await self._retake(int(sure), *map(str, places))
        self._redis = self._found
        return _places(ours)

    async def claim(self, limit: int) -> Sequence[Place]:
        """See `ports.Store`. After a claim whose answer was lost, every place of ours is told
        again, whatever the limit, because nobody knows which of them that claim took."""
        if self._claim_in_doubt:
            owned = await self.owned()
            self._claim_in_doubt = False
            return owned
        claimed: list[Place] = []
        more = True
        self._claim_in_doubt = True
        while more and len(claimed) < limit:
            more, *places = await self._claim(
                limit - len(claimed), _CLAIM_LOOKED_AT, self._most_places
            )
            claimed += _places(places)
        self._claim_in_doubt = False
        return claimed

    async def owned(self) -> Sequence[Place]:
        """See `ports.Store`."""
        return _places(await self._members("owned", self._incarnation))

    async def caught_up(self, ended: float) -> None:
        """See `ports.Store`. Repeating it is harmless."""
        await self._caught_up(f"{ended:.6f}")

    async def vacate(self, places: Iterable[Place]) -> None:
        """See `ports.Store`. Repeating it is harmless."""
        await self._vacate(*map(str, places))

    async def release(self) -> None:
        """See `ports.Store`. Whose lease is gone owns nothing: others claim it from there."""
        await self._release()

    async def expel_others(self) -> None:
        """End every other lease. Only for a Redis that this process has to itself: there, whoever
        else holds a lease is dead, and its places need not wait for the lease to expire."""
        with translated():
            known = await self._client.smembers(f"{self._prefix}:members")
            others = {one.decode() for one in cast("set[bytes]", known)} - {self._incarnation}
            if others:
                await self._client.delete(*(self._key("lease", one) for one in others))

    # --- the channel ---------------------------------------------------------------------------

    async def arrivals(self) -> AsyncIterator[Arrival | Signal]:
        """See `ports.Store`. Connects again by itself; what was published meanwhile is missed and
        comes by way of `renew`."""
        async with aclosing(self._subscription.messages()) as messages:
            async for message in messages:
                if (heard := self._heard(message)) is not None:
                    yield heard

    def _heard(self, message: Message) -> Arrival | Signal | None:
        vacancies = message["channel"].decode() == self._vacancies
        if message["type"] == "subscribe":
            return None if vacancies else Signal.LISTENING
        if vacancies:
            return Signal.VACANCY
        count, _, rest = message["data"].partition(b" ")
        whose, _, record = rest.partition(b" ")
        for incoming in self._readable([record], whose.decode(errors="replace")):
            return Arrival(incoming, int(count))
        return None

    async def concerns(self) -> Sequence[str]:
        """What about this Redis endangers what is stored, in words. After `renew`."""
        unknown = [] if self._redis else [UNKNOWN]
        return [*unknown, *await concerns(self._client)]

    async def ping(self) -> None:
        """Raise StoreAway where Redis does not answer."""
        with translated():
            await self._client.ping()

    async def close(self) -> None:
        """Close every connection."""
        await self._pipe.close()
        await self._client.aclose()


def _check_owner(conversation: ConversationId, answer: object) -> None:
    if answer == 0:
        raise NotOwner(f"{conversation.place} is not ours")


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """A hash as scripts return it."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _places(names: Iterable[bytes]) -> tuple[Place, ...]:
    # A place is written like the start of a conversation's id.
    return tuple(ConversationId.parse(f"{name.decode()}:").place for name in names)
