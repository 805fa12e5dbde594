"""Plans follow from their seed, and have in them what a run is to show."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from tests.chaos.faults import CONNECT, SLACK
from tests.chaos.plan import (
    AGENT,
    CUSTOMER,
    FULL,
    QUICK,
    SPAN,
    TRIALS,
    TROUBLES,
    Size,
    draw,
    split_limits,
)
from tests.chaos.takeover import TAKEOVER, TAKEOVER_REAL_QUOTAS, draw_takeover
from tests.chaos.words import Word, read, written

SEEDS = range(1, 6)


@pytest.mark.parametrize("size", [FULL, QUICK])
def test_a_seed_gives_its_plan_again(size: object) -> None:
    assert draw(5, QUICK) == draw(5, QUICK)
    assert draw(5, QUICK) != draw(6, QUICK)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_seed_has_all_that_is_promised(seed: int) -> None:
    plan = draw(seed, FULL)
    orders = [*plan.trials, *plan.troubles]
    assert len(plan.talks) == 200
    assert len({(talk.kind, talk.place) for talk in plan.talks}) >= 50
    assert len(plan.lines) == 20_000
    assert len(orders) >= 200
    assert {order.kind for order in orders} == {*TRIALS, *TROUBLES}
    outages = [order for order in plan.trials if order.kind == "all replicas down"]
    assert all(order.options["seconds"] > FULL.given_up for order in outages)
    frozen = [order for order in plan.trials if order.kind == "SIGSTOP"]
    assert all(order.options["seconds"] > FULL.lease for order in frozen)


@pytest.mark.parametrize("seed", SEEDS)
def test_trials_do_not_overlap(seed: int) -> None:
    for size in (FULL, QUICK):
        for one, following in itertools.pairwise(draw(seed, size).trials):
            assert following.at >= one.at + one.options["seconds"] + size.lease + SPAN


@pytest.mark.parametrize("seed", SEEDS)
def test_what_no_history_could_show_opens_before_the_first_trial(seed: int) -> None:
    plan = draw(seed, FULL)
    opened = max(talk.opens for talk in plan.talks if talk.kind != "support")
    assert opened + 1.0 < plan.trials[0].at


def test_lines_of_a_side_are_numbered_in_the_order_of_time() -> None:
    plan = draw(3, QUICK)
    sides = Counter((line.talk, line.side) for line in plan.lines)
    assert len(set(sides.values())) == 1
    for key in sides:
        mine = [line for line in plan.lines if (line.talk, line.side) == key]
        assert [line.number for line in mine] == list(range(len(mine)))


def test_every_fault_of_a_stand_in_can_be_ordered() -> None:
    assert {*SLACK, *CONNECT} <= {*TROUBLES}


def test_split_limits_change() -> None:
    assert len(set(itertools.islice(split_limits(1), 20))) > 1


def test_words_are_read_from_any_text() -> None:
    text = written(12, "a", 345, 2)
    assert read(f"Ana: {text}, &amp; more") == (Word(12, "a", 345, 0), Word(12, "a", 345, 1))


@pytest.mark.parametrize("size", [TAKEOVER, TAKEOVER_REAL_QUOTAS])
def test_a_takeover_strikes_once_when_all_is_open_and_all_write_then(size: Size) -> None:
    plan = draw_takeover(1, size)
    (kill,) = plan.trials
    assert (kill.kind, plan.troubles) == ("kill -9", [])
    assert len(plan.talks) == 400
    # StartChatContact and CreateParticipantConnection of all fit in between.
    opened = max(talk.opens for talk in plan.talks)
    assert (kill.at - opened) * 5 * size.quota_scale > 400
    after = Counter((line.talk, line.side) for line in plan.lines if line.at >= kill.at)
    assert after == {(talk.number, side): 1 for talk in plan.talks for side in (CUSTOMER, AGENT)}
