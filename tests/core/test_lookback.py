from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.lookback import NOTHING, LookBack
from bridge.core.model import Item, ItemKind
from tests.core.support import known

entries = st.dictionaries(st.text(max_size=6), st.floats(0, 2e9), max_size=30)


@given(entries, st.text(max_size=6))
def test_it_knows_what_was_put_in_and_nothing_else(times: dict[str, float], other: str) -> None:
    look_back = NOTHING.plus(times.items())
    assert len(look_back) == len(times)
    assert all(item_id in look_back for item_id in times)
    assert (other in look_back) == (other in times)
    items = [Item(item_id, 0.0, ItemKind.OTHER) for item_id in (*times, other)]
    assert look_back.unknown(items) == [one for one in items if one.id not in times]
    assert look_back.unknown(items[-1:]) == [one for one in items[-1:] if one.id not in times]


@given(entries)
def test_it_is_in_order_of_time_whatever_the_order_of_arrival(times: dict[str, float]) -> None:
    look_back = NOTHING.plus(times.items())
    assert [look_back.time(n) for n in range(len(look_back))] == sorted(times.values())
    assert look_back.newest == max(times.values(), default=-inf)
    assert look_back.oldest == min(times.values(), default=-inf)


@given(entries, st.floats(0, 2e9), st.integers(0, 40))
def test_what_is_old_is_forgotten_but_for_the_newest(
    times: dict[str, float], since: float, keep: int
) -> None:
    by_age = sorted(times.values())
    left = NOTHING.plus(times.items()).since(since, keep)
    recent = [time for time in by_age if time >= since]
    expected = max([recent, by_age[len(by_age) - min(keep, len(by_age)) :]], key=len)
    assert [left.time(n) for n in range(len(left))] == expected


def test_of_the_last_there_are_no_more_than_there_are() -> None:
    assert known(1, 2, 3).last(1) == known(3)
    assert known(1, 2).last(9) == known(1, 2)


def test_two_are_merged_by_time_and_what_both_have_is_there_once() -> None:
    assert known(1, 4, 5).merged(known(2, 5)) == known(1, 2, 4, 5)
    assert NOTHING.merged(known(1)) == known(1).merged(NOTHING) == known(1)


def test_a_mark_that_stands_across_two_entries_is_none() -> None:
    mark = known(7).packed[8:]
    across = LookBack(b"\0" * 12 + mark + b"\0" * 12)
    assert "i7" not in across
    assert "i7" in LookBack(across.packed + known(7).packed)


def test_an_id_that_utf8_cannot_carry_is_known_as_any_other() -> None:
    assert "\ud800" in NOTHING.plus([("\ud800", 1.0)])
