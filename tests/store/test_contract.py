"""What the Store promises, on a stand-in and on a real server alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet
from msgspec.structs import replace

from bridge.core.contacts import tombstone
from bridge.core.errors import NotOwner, StoreAway
from bridge.core.events import AskedToEnd, AskedToReopen, Incoming
from bridge.core.model import Contact, Conversation, Notice, NoticeKind, Phase
from bridge.core.ports import Accepted, Arrival, Gap, Intake, Signal
from bridge.store import redis as store_module
from bridge.store.errors import Unreadable
from bridge.store.pipe import Argument
from bridge.store.redis import RedisStore
from tests.store.support import (
    Backend,
    eventually,
    fake_backend,
    next_arrival,
    place,
    real_backend,
    thread,
    wrote,
)

MINE = Accepted(Intake.STORED, mine=True)
TAKEN = Accepted(Intake.STORED, mine=True, taken=True)
THEIRS = Accepted(Intake.STORED, mine=False)


@pytest.fixture(params=["fake", "real"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with fake_backend() if request.param == "fake" else real_backend() as backend:
        yield backend


@pytest.fixture
async def store(backend: Backend) -> RedisStore:
    return await backend.replica("one")


async def expire(backend: Backend, incarnation: str) -> None:
    """Let a replica's lease run out."""
    client = backend.client()
    await backend.store(incarnation, lease_seconds=0.02).renew()

    async def gone() -> bool:
        return await client.exists(f"t:lease:{incarnation}") == 0

    await eventually(gone)


# --- accept ------------------------------------------------------------------------------------


async def test_an_event_is_stored_once_and_found_in_its_lane(store: RedisStore) -> None:
    event = wrote(thread())
    assert await store.accept(event) == TAKEN
    assert await store.accept(event) == Accepted(Intake.REPEAT, mine=True)
    kept = await store.load(thread())
    assert kept.lane == (event,)
    assert kept.conversation == Conversation(thread())
    assert kept.mark is None


@pytest.mark.parametrize(
    "event", [AskedToEnd("1700000000.1", "U1"), AskedToReopen("1700000000.1", "U1")]
)
async def test_buttons_come_back_as_what_they_were(
    store: RedisStore, event: AskedToEnd | AskedToReopen
) -> None:
    incoming = Incoming(thread(), event, ("click",), opens=True)
    await store.accept(incoming)
    assert (await store.load(thread())).lane == (incoming,)


async def test_every_key_alone_tells_a_repeat_and_a_repeat_teaches_its_other_keys(
    store: RedisStore,
) -> None:
    assert await store.accept(wrote(thread(), 1, keys=("a", "b"))) == TAKEN
    for keys in (("b", "c"), ("c", "d"), ("a",), ("d",)):
        answer = await store.accept(wrote(thread(), 2, keys=keys))
        assert answer.intake is Intake.REPEAT
    assert len((await store.load(thread())).lane) == 1


async def test_a_settled_event_is_still_known(store: RedisStore) -> None:
    event = wrote(thread())
    await store.accept(event)
    await store.settle(Conversation(thread(), Phase.OPEN), [event.id])
    assert (await store.accept(event)).intake is Intake.REPEAT
    assert (await store.load(thread())).lane == ()


async def test_of_a_stranger_nothing_is_known_but_that_it_came(
    backend: Backend, store: RedisStore
) -> None:
    client = backend.client()
    before = set(await client.keys("*"))
    assert not await store.overtaken(thread())
    answer = await store.accept(wrote(thread(), opens=False))
    assert answer == Accepted(Intake.STRANGER, mine=False)
    [note] = set(await client.keys("*")) - before
    assert await client.get(note) == b""
    assert 0 < await client.pttl(note) <= 3_600_000
    assert await store.overtaken(thread())
    assert await store.accept(wrote(thread(), opens=True)) == TAKEN


async def test_what_opens_nothing_joins_a_waiting_lane_or_a_known_conversation(
    store: RedisStore,
) -> None:
    first, second, third = (wrote(thread(), n, opens=n == 1) for n in (1, 2, 3))
    await store.accept(first)
    assert await store.accept(second) == MINE
    await store.settle(Conversation(thread(), Phase.ENDED), [first.id, second.id])
    assert await store.accept(third) == MINE
    assert (await store.load(thread())).lane == (third,)


async def test_the_first_to_accept_owns_the_place_and_hears_what_others_accept(
    backend: Backend,
) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    assert await one.accept(wrote(thread(), 1)) == TAKEN
    arrival = await next_arrival(backend, one, "one")
    event = wrote(thread(ts="1700000099.000100"), 2, text="from the other")
    assert await two.accept(event) == THEIRS
    async with asyncio.timeout(5):
        assert await arrival == Arrival(event, 1)


async def test_a_repeat_is_not_told_to_the_owner(backend: Backend) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    known, new = wrote(thread(), 1), wrote(thread(), 2)
    await one.accept(known)
    arrival = await next_arrival(backend, one, "one")
    assert await two.accept(known) == Accepted(Intake.REPEAT, mine=False)
    await two.accept(new)
    async with asyncio.timeout(5):
        assert await arrival == Arrival(new, 2)


async def test_accepting_takes_a_place_from_an_owner_whose_lease_expired(backend: Backend) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    await one.accept(wrote(thread(), 1))
    await expire(backend, "one")
    assert await two.accept(wrote(thread(), 2)) == TAKEN
    with pytest.raises(NotOwner):
        await one.settle(Conversation(thread(), Phase.OPEN))
    await one.renew()
    with pytest.raises(NotOwner):  # the lease alone does not bring the place back
        await one.settle(Conversation(thread(), Phase.OPEN))
    assert await two.claim(10) == []
    assert len((await two.load(thread())).lane) == 2


async def test_without_a_lease_an_event_is_stored_but_the_place_is_nobodys(
    backend: Backend,
) -> None:
    one, two = backend.store("one"), await backend.replica("two")
    assert await one.accept(wrote(thread())) == Accepted(Intake.STORED, mine=False, taken=True)
    with pytest.raises(NotOwner):
        await one.settle(Conversation(thread(), Phase.OPEN))
    assert (await two.renew()).vacant
    assert await two.claim(10) == [place()]
    assert [kept.conversation.id for kept in await two.load_place(place())] == [thread()]


async def test_two_bridges_can_share_a_redis(backend: Backend) -> None:
    one = backend.store("one", prefix="t")
    other = backend.store("one", prefix="u")
    await one.renew()
    await other.renew()
    assert await one.accept(wrote(thread())) == TAKEN
    assert await other.accept(wrote(thread())) == TAKEN
    assert await other.claim(10) == []


# --- settle, mark, forget ----------------------------------------------------------------------


async def test_settle_writes_the_state_and_removes_only_what_is_done(store: RedisStore) -> None:
    first, second = wrote(thread(), 1), wrote(thread(), 2)
    await store.accept(first)
    await store.accept(second)
    contact = Contact("c", "p", "token", "connection", 1700000000.25, connected=True)
    state = Conversation(thread(), Phase.OPEN, generation=2, contact=contact)
    await store.settle(state, [first.id])
    kept = await store.load(thread())
    assert kept.conversation == state
    assert kept.lane == (second,)
    later = replace(state, generation=3)
    await store.settle(later, [first.id, second.id])
    kept = await store.load(thread())
    assert kept.conversation == later
    assert kept.lane == ()


async def test_a_mark_stays_until_it_is_dropped(store: RedisStore) -> None:
    await store.accept(wrote(thread()))
    before = (await store.renew()).redis_time
    mark = await store.mark(thread(), ["item-1", "item-2"], "1700000000.5")
    after = (await store.renew()).redis_time
    assert before <= mark.at <= after
    assert (mark.ids, mark.since) == (("item-1", "item-2"), "1700000000.5")
    assert (await store.load(thread())).mark == mark
    await store.settle(Conversation(thread(), Phase.OPEN))
    assert (await store.load(thread())).mark == mark
    await store.settle(Conversation(thread(), Phase.OPEN), unmark=True)
    assert (await store.load(thread())).mark is None


async def test_a_conversation_is_kept_for_ever_while_active_or_waiting(
    backend: Backend, store: RedisStore
) -> None:
    client = backend.client()
    event = wrote(thread(), 1)
    await store.accept(event)
    await store.settle(Conversation(thread(), Phase.OPEN), [event.id])
    assert await client.ttl(f"t:conv:{thread()}") == -1
    await store.settle(Conversation(thread(), Phase.ENDED))
    assert 29 * 86400 < await client.ttl(f"t:conv:{thread()}") <= 30 * 86400
    await store.accept(wrote(thread(), 2))
    assert await client.ttl(f"t:conv:{thread()}") == -1
    await store.settle(Conversation(thread(), Phase.ENDED))
    assert await client.ttl(f"t:conv:{thread()}") == -1


async def test_a_conversation_that_was_removed_is_still_known_to_have_ended(
    backend: Backend, store: RedisStore
) -> None:
    client = backend.client()
    ended = Conversation(
        thread(), Phase.ENDED, 3, ended_at=5.0, past_contact_id="c1", told=("x",), last_ts="1.0"
    )
    await store.accept(wrote(thread(), 1))
    await store.settle(ended, [wrote(thread(), 1).id])
    assert (await store.load(thread())).conversation == ended
    assert 400 * 86400 < await client.ttl(f"t:tomb:{thread()}") <= 430 * 86400
    await client.delete(f"t:conv:{thread()}")
    assert (await store.load(thread())).conversation == tombstone(ended)
    assert await store.accept(wrote(thread(), 2, opens=False)) == MINE


async def test_forget_leaves_nothing_but_the_keys(backend: Backend, store: RedisStore) -> None:
    event = wrote(thread())
    await store.accept(event)
    await store.mark(thread(), ["x"], "")
    await store.settle(Conversation(thread(), Phase.OPEN))
    await store.forget(thread(), [event.id])
    assert await store.load_place(place()) == []
    assert not (await store.renew()).pending
    assert await backend.client().keys(f"t:[cl]*:{thread()}") == []
    assert (await store.accept(event)).intake is Intake.REPEAT
    assert (await store.accept(wrote(thread(), 2, opens=False))).intake is Intake.STRANGER


async def test_forget_keeps_a_conversation_that_got_more_events(store: RedisStore) -> None:
    first, second = wrote(thread(), 1), wrote(thread(), 2)
    await store.accept(first)
    await store.accept(second)
    await store.settle(Conversation(thread(), Phase.OPEN))
    await store.forget(thread(), [first.id])
    kept = await store.load(thread())
    assert kept.lane == (second,)
    assert kept.conversation.phase is Phase.OPEN


async def test_every_write_is_refused_to_others(backend: Backend, store: RedisStore) -> None:
    event = wrote(thread())
    await store.accept(event)
    await store.settle(Conversation(thread(), Phase.OPEN))
    kept = await store.load(thread())
    other = await backend.replica("other")
    with pytest.raises(NotOwner):
        await other.settle(Conversation(thread(), Phase.ENDED), [event.id], unmark=True)
    with pytest.raises(NotOwner):
        await other.mark(thread(), ["x"], "")
    with pytest.raises(NotOwner):
        await other.forget(thread(), [event.id])
    assert await store.load(thread()) == kept


async def test_an_owner_without_a_lease_is_refused_until_it_is_back(backend: Backend) -> None:
    store = await backend.replica("one")
    await store.accept(wrote(thread()))
    await expire(backend, "one")
    with pytest.raises(NotOwner):
        await store.settle(Conversation(thread(), Phase.OPEN))
    with pytest.raises(NotOwner):
        await store.mark(thread(), ["x"], "")
    assert not (await store.renew()).held
    await store.settle(Conversation(thread(), Phase.OPEN))
    assert (await store.load(thread())).conversation.phase is Phase.OPEN


# --- places ------------------------------------------------------------------------------------


async def test_a_place_is_loaded_with_what_is_active_or_waiting(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOAD_BATCH", 2)
    names = ["open", "owed", "ended", "waiting", "elsewhere"]
    ids = {name: thread(ts=f"{n}.0") for n, name in enumerate(names)}
    ids["elsewhere"] = thread("C2")
    for id_ in ids.values():
        await store.accept(wrote(id_))
    await store.settle(Conversation(ids["ended"], Phase.OPEN))
    notice = Notice("n", NoticeKind.ENDED)
    for name, state in {
        "open": Conversation(ids["open"], Phase.OPEN),
        "owed": Conversation(ids["owed"], Phase.ENDED, owed=(notice,)),
        "ended": Conversation(ids["ended"], Phase.ENDED),
    }.items():
        await store.settle(state, [wrote(ids[name]).id])
    kept = {kept.conversation.id: kept for kept in await store.load_place(place())}
    assert kept.keys() == {ids["open"], ids["owed"], ids["waiting"]}
    assert kept[ids["owed"]].conversation.owed == (notice,)
    assert kept[ids["waiting"]].lane == (wrote(ids["waiting"]),)
    assert kept[ids["open"]].lane == ()


async def test_renewal_tells_whether_the_lease_was_held(backend: Backend) -> None:
    store = backend.store("one")
    assert not (await store.renew()).held
    assert (await store.renew()).held
    await expire(backend, "one")
    assert not (await store.renew()).held


async def test_a_lease_that_is_gone_begins_anew_only_where_it_is_to(backend: Backend) -> None:
    one = await backend.replica("one")
    assert (await one.renew(begin=False)).held
    await expire(backend, "one")
    assert not (await one.renew(begin=False)).held
    assert not (await one.renew(begin=False)).held
    with pytest.raises(NotOwner):
        await one.settle(Conversation(thread()))
    await one.renew()
    assert (await one.renew(begin=False)).held


async def test_renewal_tells_how_many_replicas_live(backend: Backend) -> None:
    one = await backend.replica("one")
    assert (await one.renew()).replicas == 1
    await backend.replica("two")
    assert (await one.renew()).replicas == 2
    await expire(backend, "two")
    assert (await one.renew()).replicas == 1


async def test_renewal_tells_how_long_nobody_renewed(backend: Backend) -> None:
    one = await backend.replica("one")
    first = await one.renew()
    assert first.alone < 60
    await backend.client().set("t:renewed", f"{first.redis_time - 100:.6f}")
    assert 99 < (await one.renew()).alone < 160


async def test_each_replica_is_told_of_the_last_gap_and_one_is_to_read(backend: Backend) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    assert (await one.renew()).gap is None
    last = (await one.renew()).redis_time
    await backend.client().set("t:renewed", f"{last - 100:.6f}")
    found = (await one.renew()).gap
    assert found is not None
    assert (round(last - found.since), found.reader) == (100, True)
    assert (await two.renew()).gap == replace(found, reader=False)
    assert (await one.renew()).gap == found
    await backend.client().delete("t:lease:one")
    assert (await two.renew()).gap == found  # its reader died before it was done
    await two.caught_up(found.ended)
    assert (await two.renew()).gap == replace(found, reader=False)


async def test_a_gap_that_nobody_read_is_part_of_the_next(backend: Backend) -> None:
    one, client = await backend.replica("one"), backend.client()

    async def gap_of(seconds: float) -> Gap:
        await client.set("t:renewed", f"{(await one.renew()).redis_time - seconds:.6f}")
        found = (await one.renew()).gap
        assert found is not None
        return found

    await gap_of(500.0)
    longer = await gap_of(100.0)
    assert 499 < longer.ended - longer.since < 560
    await one.caught_up(longer.ended)
    shorter = await gap_of(100.0)
    assert 99 < shorter.ended - shorter.since < 160


async def test_what_is_read_says_whether_it_is_ours(backend: Backend) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    await one.accept(wrote(thread()))
    assert [kept.mine for kept in await one.load_place(place())] == [True]
    assert [kept.mine for kept in await two.load_place(place())] == [False]
    assert (await one.load(thread())).mine
    assert list(await one.owned()) == [place()]
    await expire(backend, "one")
    assert not (await one.load(thread())).mine


async def test_whoever_has_a_redis_to_himself_need_not_wait_for_dead_leases(
    backend: Backend,
) -> None:
    dead = await backend.replica("dead")
    await dead.accept(wrote(thread("C1")))
    heir = await backend.replica("heir")
    assert list(await heir.claim(10)) == []
    await heir.expel_others()
    assert list(await heir.claim(10)) == [place("C1")]


async def test_renewal_tells_of_our_places_where_events_wait(backend: Backend) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    dead = await backend.replica("dead")
    await one.accept(wrote(thread("C1")))
    await two.accept(wrote(thread("C2")))
    await dead.accept(wrote(thread("C3")))
    await one.accept(wrote(thread("C4"), 1))
    await one.settle(Conversation(thread("C4"), Phase.OPEN), [wrote(thread("C4"), 1).id])
    await expire(backend, "dead")
    assert (await one.renew()).pending == {place("C1"): 1}
    assert (await two.renew()).pending == {place("C2"): 1}


async def test_renewal_tells_that_there_may_be_something_to_claim(backend: Backend) -> None:
    one, dead = await backend.replica("one"), await backend.replica("dead")
    await dead.accept(wrote(thread()))
    assert not (await one.renew()).vacant
    await expire(backend, "dead")
    assert (await one.renew()).vacant
    await one.claim(10)
    assert not (await one.renew()).vacant


async def test_renewal_lets_go_of_places_where_nothing_waits_or_lives(backend: Backend) -> None:
    one, two = await backend.replica("one"), await backend.replica("two")
    for channel, phase in (("C1", Phase.ENDED), ("C2", Phase.OPEN), ("C3", Phase.ENDED)):
        event = wrote(thread(channel), 1)
        await one.accept(event)
        await one.settle(Conversation(thread(channel), phase), [event.id])
    await one.accept(wrote(thread("C3"), 2))
    await one.renew([place("C1"), place("C2"), place("C3")])
    client = backend.client()
    assert await client.smembers("t:owned:one") == {
        str(place("C2")).encode(),
        str(place("C3")).encode(),
    }
    assert await two.accept(wrote(thread("C1"), 3)) == TAKEN
    assert await two.accept(wrote(thread("C2"), 3)) == THEIRS
    await one.renew([place("C1")])
    await two.settle(Conversation(thread("C1"), Phase.OPEN))


async def test_renewal_goes_on_where_the_last_one_stopped(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PENDING_TOLD", 2)
    everywhere = {place(f"C{n}") for n in range(5)}
    for where in everywhere:
        await store.accept(wrote(thread(where.channel)))
    told = [(await store.renew()).pending for _ in range(3)]
    assert [len(places) for places in told] == [2, 2, 2]
    assert set().union(*told) == everywhere


async def test_places_of_a_dead_replica_are_claimed_once_and_within_the_limit(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_CLAIM_LOOKED_AT", 2)
    dead = await backend.replica("dead")
    one, two = await backend.replica("one"), await backend.replica("two")
    everywhere = {place(f"C{n}") for n in range(7)}
    for where in everywhere:
        await dead.accept(wrote(thread(where.channel)))
    assert await one.claim(10) == []
    await dead.release()
    first, second = await one.claim(3), await two.claim(10)
    assert (len(first), len(second)) == (3, 4)
    assert {*first, *second} == everywhere
    assert await one.claim(10) == []
    assert await backend.client().smembers("t:members") == {b"one", b"two"}
    await one.settle(Conversation(thread(first[0].channel), Phase.OPEN))
    with pytest.raises(NotOwner):
        await one.settle(Conversation(thread(second[0].channel), Phase.OPEN))


async def test_a_claim_takes_no_more_than_a_fair_share(backend: Backend) -> None:
    dead = await backend.replica("dead")
    one, two = await backend.replica("one"), await backend.replica("two")
    for n in range(6):
        await dead.accept(wrote(thread(f"C{n}")))
    for n in range(3):
        await one.accept(wrote(thread(f"D{n}")))
    await expire(backend, "dead")
    assert len(await one.claim(10)) == 2  # five of nine
    assert len(await two.claim(10)) == 4
    assert not (await one.renew()).vacant


async def test_a_claim_takes_no_more_than_a_replica_may_own(backend: Backend) -> None:
    dead, full = await backend.replica("dead"), backend.store("full", places=2)
    await full.renew()
    for n in range(3):
        await dead.accept(wrote(thread(f"C{n}")))
    await expire(backend, "dead")
    assert len(await full.claim(10)) == 2
    assert await full.claim(10) == []
    assert (await full.renew()).vacant


# --- hand-over ---------------------------------------------------------------------------------


async def test_a_place_that_is_given_back_is_anybodys_at_once(backend: Backend) -> None:
    leaving, other = await backend.replica("leaving"), await backend.replica("other")
    for channel in ("C1", "C2"):
        await leaving.accept(wrote(thread(channel)))
    await leaving.vacate([place("C1")])
    with pytest.raises(NotOwner):
        await leaving.settle(Conversation(thread("C1"), Phase.OPEN))
    await leaving.settle(Conversation(thread("C2"), Phase.OPEN))
    assert await other.claim(10) == [place("C1")]
    await other.settle(Conversation(thread("C1"), Phase.OPEN))
    await leaving.vacate([place("C1")])  # it is no longer ours to give
    await other.settle(Conversation(thread("C1"), Phase.OPEN))


async def test_an_event_takes_a_place_that_was_given_back(backend: Backend) -> None:
    leaving, other = await backend.replica("leaving"), await backend.replica("other")
    await leaving.accept(wrote(thread(), 1))
    await leaving.vacate([place()])
    assert await other.accept(wrote(thread(), 2)) == TAKEN
    assert await other.claim(10) == []


async def test_whoever_leaves_claims_nothing_and_has_no_share(backend: Backend) -> None:
    leaving, other = await backend.replica("leaving"), await backend.replica("other")
    for n in range(4):
        await leaving.accept(wrote(thread(f"C{n}")))
    await leaving.vacate([place("C0"), place("C1")])
    assert (await leaving.renew()).held
    assert await leaving.claim(10) == []
    assert set(await other.claim(10)) == {place("C0"), place("C1")}


@pytest.mark.parametrize("how", ["vacate", "release"])
async def test_others_hear_at_once_that_places_were_given_back(backend: Backend, how: str) -> None:
    leaving, other = await backend.replica("leaving"), await backend.replica("other")
    await leaving.accept(wrote(thread()))
    heard = await next_arrival(backend, other, "other")
    await (leaving.vacate([place()]) if how == "vacate" else leaving.release())
    assert await asyncio.wait_for(heard, 10) is Signal.VACANCY


async def test_an_idle_place_is_not_claimed_and_opens_again_by_an_event(backend: Backend) -> None:
    dead, one = await backend.replica("dead"), await backend.replica("one")
    event = wrote(thread(), 1)
    await dead.accept(event)
    await dead.settle(Conversation(thread(), Phase.ENDED), [event.id])
    await dead.release()
    assert await one.claim(10) == []
    assert await backend.client().exists(f"t:place:{place()}") == 0
    assert await one.accept(wrote(thread(), 2, opens=False)) == TAKEN


async def test_a_released_replica_writes_no_more(store: RedisStore) -> None:
    await store.accept(wrote(thread()))
    await store.release()
    with pytest.raises(NotOwner):
        await store.settle(Conversation(thread(), Phase.OPEN))


async def test_who_has_no_lease_claims_nothing(backend: Backend) -> None:
    dead, one = await backend.replica("dead"), backend.store("one")
    await dead.accept(wrote(thread()))
    await dead.release()
    assert await one.claim(10) == []
    await one.renew()
    assert await one.claim(10) == [place()]


async def test_a_replica_that_comes_back_keeps_what_nobody_claimed(backend: Backend) -> None:
    slow, other = await backend.replica("slow"), await backend.replica("other")
    for channel in ("C1", "C2"):
        await slow.accept(wrote(thread(channel)))
    await expire(backend, "slow")
    [claimed] = await other.claim(1)
    await slow.renew()
    [left] = {place("C1"), place("C2")} - {claimed}
    await slow.settle(Conversation(thread(left.channel), Phase.OPEN))
    with pytest.raises(NotOwner):
        await slow.settle(Conversation(thread(claimed.channel), Phase.OPEN))
    assert await other.claim(10) == []


async def test_a_claim_whose_answer_was_lost_is_told_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, one, two = [await backend.replica(name) for name in ("dead", "one", "two")]
    await one.accept(wrote(thread("C2")))
    await expire(backend, "one")
    await two.accept(wrote(thread("C2"), 2))
    await one.renew()
    await dead.accept(wrote(thread()))
    await dead.release()
    claim = one._claim

    async def lost(*arguments: Argument) -> list[bytes]:
        await claim(*arguments)
        raise StoreAway("the answer was lost")

    monkeypatch.setattr(one, "_claim", lost)
    with pytest.raises(StoreAway):
        await one.claim(10)
    monkeypatch.setattr(one, "_claim", claim)
    assert await one.claim(10) == (place(),)
    assert await one.claim(10) == []


# --- what may happen to Redis ------------------------------------------------------------------


async def test_scripts_are_loaded_again_where_redis_forgot_them(
    backend: Backend, store: RedisStore
) -> None:
    event = wrote(thread())
    client = backend.client()
    await client.script_flush()
    assert await store.accept(event) == TAKEN
    await client.script_flush()
    await store.settle(Conversation(thread(), Phase.OPEN), [event.id])
    assert (await store.load(thread())).lane == ()


async def test_a_rotated_key_still_opens_and_the_new_one_seals(backend: Backend) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    before = backend.store("one", key=old)
    await before.renew()
    await before.accept(wrote(thread()))
    between = backend.store("one", key=f"{new},{old}")
    assert len((await between.load(thread())).lane) == 1
    await between.settle(Conversation(thread(), Phase.OPEN), [wrote(thread()).id])
    after = backend.store("one", key=new)
    assert (await after.load(thread())).conversation.phase is Phase.OPEN


@pytest.mark.parametrize("record", ["state", "mark", "event"])
async def test_a_record_that_was_put_elsewhere_is_not_taken_for_what_belongs_there(
    backend: Backend, store: RedisStore, record: str
) -> None:
    client, own, other = backend.client(), thread(ts="1.0"), thread(ts="2.0")
    for id_ in (own, other):
        await store.accept(wrote(id_))
        await store.settle(Conversation(id_, Phase.OPEN))
        await store.mark(id_, ["x"], "")
    key, field = ("t:lane", wrote(other).id) if record == "event" else ("t:conv", record)
    foreign = await client.hget(f"{key}:{other}", field)
    assert foreign
    await client.hset(f"{key}:{own}", field, foreign)
    if record == "event":
        assert (await store.load(own)).lane == (wrote(own),)
        assert backend.unreadable == [str(own)]
    else:
        with pytest.raises(Unreadable):
            await store.load(own)


async def test_what_no_key_opens_is_reported_left_out_and_left_alone(backend: Backend) -> None:
    lost, store = backend.store("one", key=Fernet.generate_key().decode()), backend.store("one")
    await store.renew()
    unreadable, readable, half = thread(ts="1.0"), thread(ts="2.0"), thread(ts="3.0")
    await lost.accept(wrote(unreadable))
    await lost.settle(Conversation(unreadable, Phase.OPEN))
    await store.accept(wrote(readable))
    await lost.accept(wrote(half, 1))
    await store.accept(wrote(half, 2))
    kept = {kept.conversation.id: kept.lane for kept in await store.load_place(place())}
    assert kept == {readable: (wrote(readable),), half: (wrote(half, 2),)}
    assert sorted(backend.unreadable) == [str(unreadable), str(half)]
    with pytest.raises(Unreadable):
        await store.load(unreadable)
    assert (await lost.load(unreadable)).conversation.phase is Phase.OPEN
    assert len((await lost.load(half)).lane) == 1
