from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.connect.merge import Merger
from bridge.core.lookback import NOTHING, LookBack
from bridge.core.model import Item, ItemKind
from tests.core.support import known


def item(number: int, time: float | None = None) -> Item:
    return Item(f"i{number}", float(number if time is None else time), ItemKind.MESSAGE)


def ids(items: list[Item]) -> list[str]:
    return [each.id for each in items]


def complete(seen: LookBack = NOTHING, lookback: float = 300.0, keep: int = 100) -> Merger:
    """One whose gap at the beginning is filled."""
    merger = Merger(seen, lookback, keep)
    merger.close_gap(due=0)
    return merger


def test_what_comes_in_the_wrong_order_within_the_window_goes_out_in_the_right_one() -> None:
    merger = complete()
    merger.heard(item(2), due=10.1)
    merger.heard(item(1), due=10.2)
    assert ids(merger.release(10.0)) == []
    assert merger.next_due == 10.1
    assert ids(merger.release(10.1)) == ["i1", "i2"]
    assert merger.next_due == float("inf")


def test_what_is_not_due_yet_and_newer_goes_on_waiting() -> None:
    merger = complete()
    merger.heard(item(1), due=10.1)
    merger.heard(item(2), due=10.15)
    assert ids(merger.release(10.1)) == ["i1"]
    assert ids(merger.release(10.15)) == ["i2"]


def test_what_comes_too_late_still_goes_out_once() -> None:
    merger = complete()
    merger.heard(item(2), due=0)
    assert ids(merger.release(0)) == ["i2"]
    merger.heard(item(1), due=0)
    merger.heard(item(1), due=0)
    merger.read([item(1), item(2)], now=0)
    assert ids(merger.release(0)) == ["i1"]
    assert ids(merger.release(1)) == []


def test_frames_wait_for_the_gap_unless_the_transcript_has_them() -> None:
    merger = Merger(known(1))
    merger.heard(item(5), due=0)
    merger.heard(item(3), due=0)
    assert ids(merger.release(1000)) == []
    assert merger.next_due == float("inf")
    merger.read([item(1), item(2), item(4)], now=5)
    assert ids(merger.release(5)) == ["i2", "i3", "i4"]
    merger.close_gap(due=6)
    assert ids(merger.release(5)) == []
    assert ids(merger.release(6)) == ["i5"]


def test_a_gap_keeps_its_width_and_its_ids_until_it_is_closed() -> None:
    merger = complete(known(1000), lookback=10, keep=5)
    merger.open_gap()
    for number in range(2000, 3000):
        merger.heard(item(number), due=0)
    merger.let_go(due=0)
    assert len(merger.release(0)) == 1000
    merger.open_gap()
    assert merger.floor == 990.0
    merger.read([item(number) for number in range(995, 3000)], now=0)
    assert ids(merger.release(0)) == [f"i{each}" for each in range(995, 2000) if each != 1000]
    merger.close_gap(due=0)
    assert merger.floor == 2989.0
    merger.read([item(number) for number in range(995, 3001)], now=0)
    assert ids(merger.release(0)) == ["i3000"]


def test_a_flush_lets_everything_out_in_order() -> None:
    merger = Merger(NOTHING)
    assert merger.flush() == []
    merger.heard(item(2), due=1)
    merger.read([item(1)], now=9)
    assert ids(merger.flush()) == ["i1", "i2"]
    assert merger.flush() == []


def test_nothing_seen_before_means_reading_from_the_start() -> None:
    assert Merger(NOTHING).floor == float("-inf")
    assert Merger(known(1000, 900), lookback=300).floor == 700.0


def test_what_the_transcript_shows_from_before_the_lookback_is_old_news() -> None:
    merger = Merger(known(1000), lookback=300)
    merger.read([item(600), item(800), item(1000)], now=0)
    assert ids(merger.release(0)) == ["i800"]


def test_a_frame_is_news_however_old_its_time() -> None:
    merger = complete(known(1000))
    merger.heard(item(1), due=0)
    assert ids(merger.release(0)) == ["i1"]


def test_memory_is_bounded_and_what_was_forgotten_does_not_come_again() -> None:
    merger = complete(lookback=10, keep=5)
    everything = [item(number) for number in range(1000)]
    merger.read(everything, now=0)
    assert len(merger.release(0)) == 1000
    merger.read(everything, now=1)
    assert merger.release(1) == []
    assert len(merger._known) < 20


def test_what_came_later_than_the_look_back_reaches_is_not_news_again() -> None:
    merger = complete(lookback=300, keep=100)
    for number in range(120):
        merger.heard(item(number, 1000 + 10.0 * number), due=0)
        merger.release(0)
    late = item(999, 800)
    merger.heard(late, due=0)
    assert ids(merger.release(0)) == ["i999"]
    merger.heard(late, due=0)  # by the socket that overlaps
    assert merger.release(0) == []


class Counted(float):
    """A time that counts how often times are compared."""

    compared = 0

    def __lt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) < float(other)


def test_a_flood_that_is_too_young_to_forget_costs_no_more_for_each_item() -> None:
    merger = complete(lookback=1e9, keep=5)
    flood = [Item(f"i{number}", Counted(number), ItemKind.MESSAGE) for number in range(2000)]
    for one in flood:
        merger.heard(one, due=0)
        assert merger.release(0) == [one]
    assert Counted.compared < 20 * len(flood)


numbers = st.integers(min_value=0, max_value=15)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("heard"), numbers, st.floats(min_value=0, max_value=3)),
        st.tuples(st.just("read"), st.lists(numbers, max_size=8), st.just(0.0)),
        st.tuples(st.sampled_from(["lost", "filled"]), st.just(0), st.just(0.0)),
    ),
    max_size=40,
)


@given(steps, st.lists(numbers, max_size=5))
def test_each_item_goes_out_once_and_each_release_is_in_order(
    steps: list[tuple[str, int | list[int], float]], seen: list[int]
) -> None:
    merger = Merger(known(*seen))
    came, out = set[str](), list[str]()
    for clock, (how, what, wait) in enumerate(steps):
        if how == "lost":
            merger.open_gap()
        elif how == "filled":
            merger.close_gap(due=clock)
        elif isinstance(what, list):
            merger.read([item(number) for number in what], now=clock)
            came |= {f"i{number}" for number in what}
        else:
            merger.heard(item(what), clock + wait)
            came.add(f"i{what}")
        batch = merger.release(clock)
        times = [each.time for each in batch]
        assert times == sorted(times)
        waiting = [each.item.time for each in merger._waiting.values()]
        assert not batch or all(time > times[-1] for time in waiting)
        out += ids(batch)
    out += ids(merger.flush())
    assert len(out) == len(set(out))
    assert set(out) == came - {f"i{number}" for number in seen}
    assert len(merger) == 0
