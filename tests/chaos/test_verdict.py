"""The verdict can fail: each kind of failure, from made-up records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.verdict import CROSSING, FOREVER, Said, Shown, Verdict, judge
from tests.chaos.words import read, written

T = 1_800_000_000.0
FROM_THE_START = ((T, FOREVER),)


def said(
    number: int, side: str = "c", words: int = 3, conversation: int = 7, **more: object
) -> Said:
    values = {"at": T + number, "spans": FROM_THE_START, **more}
    return Said(conversation, side, number, words, **values)  # type: ignore[arg-type]  # by name


def shown(*texts: str, side: str = "c", **more: float) -> list[Shown]:
    """Each text as one item, a second after the other; it went out when it stood there."""
    stands = []
    for n, text in enumerate(texts):
        at = T + 10 + n
        one = Shown(7, side, at, more.get("out", at), read(text), more.get("carried", 0.0))
        stands.append(replace(one, left=more.get("left", FOREVER)))
    return stands


def text(number: int, side: str = "c", words: int = 3, conversation: int = 7) -> str:
    return written(conversation, side, number, words)


def kinds(verdict: Verdict) -> list[str]:
    return [failure.kind for failure in verdict.failures]


@pytest.mark.parametrize("side", ["c", "a"])
def test_all_is_well(side: str) -> None:
    verdict = judge(
        [said(n, side) for n in range(3)], shown(*(text(n, side) for n in range(3)), side=side)
    )
    assert kinds(verdict) == []
    assert not verdict.apart
    assert verdict.messages == {side: 3}


def test_prefixes_joins_and_parts_do_not_matter() -> None:
    long, short = text(0, words=9), text(1)
    first, second = long[:39], long[39:]
    assert (
        kinds(judge([said(0, words=9), said(1)], shown(f"Ana: {first}", f"{second}\n{short}")))
        == []
    )


def test_lost() -> None:
    assert kinds(judge([said(0), said(1)], shown(text(1)))) == ["lost"]


def test_a_part_lost() -> None:
    [failure] = judge([said(0, words=5)], shown(text(0, words=3))).failures
    assert (failure.kind, failure.detail) == ("lost", "words 3-4")


def test_doubled() -> None:
    assert kinds(judge([said(0)], shown(text(0), text(0)))) == ["doubled"]


def test_a_part_doubled() -> None:
    assert kinds(judge([said(0, words=5)], shown(text(0, words=5), text(0, words=2)))) == [
        "doubled"
    ]


def test_doubled_inside_the_window_is_apart() -> None:
    both = shown(text(0), text(0), carried=3.0)
    inside = judge([said(0)], both, window=2.0)
    assert (kinds(inside), inside.apart) == ([], {"in window": 1})
    assert kinds(judge([said(0)], both, window=4.0)) == ["doubled"]


def test_what_was_in_the_air_when_its_chat_ended_is_apart_if_it_went_again() -> None:
    [one] = shown(text(0))
    before, again, third = (replace(one, chat=name) for name in "abc")
    unheard = replace(before, unheard=True)
    verdict = judge([said(0)], [unheard, again])
    assert (kinds(verdict), verdict.apart) == ([], {"sent again": 1})
    assert kinds(judge([said(0)], [before, again])) == ["doubled"]
    assert kinds(judge([said(0)], [before, replace(again, unheard=True)])) == ["doubled"]
    assert kinds(judge([said(0)], [unheard, again, third])) == ["doubled"]
    assert kinds(judge([said(0)], [unheard, replace(unheard, at=T + 11.0)])) == ["doubled"]


def test_a_long_message_goes_again_where_its_last_part_was_in_the_air() -> None:
    whole = text(0, words=6)
    first, last = (replace(one, chat="a") for one in shown(whole[:39], whole[39:]))
    again = [replace(one, chat="b") for one in shown(whole)]
    verdict = judge([said(0, words=6)], [first, replace(last, unheard=True), *again])
    assert (kinds(verdict), verdict.apart) == ([], {"sent again": 1})
    assert judge([said(0, words=6)], [first, *again]).apart == {"sent again": 1}
    assert kinds(judge([said(0, words=6)], [first, last, *again])) == ["doubled"]


def test_of_two_doubled_only_what_was_carried_late_is_apart() -> None:
    [early] = shown(text(0))
    [late] = shown(text(0), carried=3.0)
    assert kinds(judge([said(0)], [early, late], window=2.0)) == ["doubled"]


def test_astray() -> None:
    assert kinds(judge([said(0, conversation=8)], shown(text(0, conversation=8)))) == [
        "astray",
        "lost",
    ]
    assert kinds(judge([said(0, "c")], shown(text(0), side="a"))) == ["astray", "lost"]


@pytest.mark.parametrize("side", ["c", "a"])
def test_reordered(side: str) -> None:
    verdict = judge([said(0, side), said(1, side)], shown(text(1, side), text(0, side), side=side))
    assert kinds(verdict) == ["reordered"]


def test_a_message_between_two_parts_is_reordered() -> None:
    long = text(0, words=6)
    assert kinds(judge([said(0, words=6), said(1)], shown(long[:39], text(1), long[39:]))) == [
        "reordered"
    ]


def test_parts_in_the_wrong_order_are_reordered() -> None:
    long = text(0, words=6)
    assert kinds(judge([said(0, words=6)], shown(long[39:], long[:39]))) == ["reordered"]


def test_what_had_not_reached_us_is_late() -> None:
    late = said(0, spans=((T + 11.0, FOREVER),))
    verdict = judge([late, said(1)], shown(text(1), text(0), out=T + 10.0))
    assert (kinds(verdict), verdict.apart) == ([], {"late": 1})


def test_what_never_was_acknowledged_is_late() -> None:
    verdict = judge([said(0, spans=()), said(1)], shown(text(1), text(0)))
    assert (kinds(verdict), verdict.apart) == ([], {"late": 1})


@pytest.mark.parametrize(("before", "kind"), [(CROSSING / 2, "crossed"), (CROSSING * 2, "")])
def test_acknowledged_just_before_the_next_went_out(before: float, kind: str) -> None:
    out = T + 10.0
    crossing = said(0, spans=((out - before, FOREVER),))
    verdict = judge([crossing, said(1)], shown(text(1), text(0), out=out))
    assert list(verdict.apart) == ([kind] if kind else [])
    assert kinds(verdict) == ([] if kind else ["reordered"])


def test_what_can_have_left_before_is_crossing() -> None:
    """The sandbox stood still between an acknowledgement and the next call."""
    known = said(0, spans=((T + 5.0, FOREVER),))
    for left, kind in ((T + 9.0, ["reordered"]), (T + 5.1, [])):
        verdict = judge([known, said(1)], shown(text(1), text(0), out=T + 10.0, left=left))
        assert kinds(verdict) == kind
        assert verdict.apart["crossed"] == 1 - len(kind)


def test_nothing_crosses_on_the_way_back() -> None:
    out = T + 10.0
    known = said(0, "a", spans=((out - CROSSING / 2, FOREVER),))
    verdict = judge([known, said(1, "a")], shown(text(1, "a"), text(0, "a"), side="a", out=out))
    assert kinds(verdict) == ["reordered"]


def test_what_only_a_closed_socket_was_told_had_not_reached_us() -> None:
    told = said(0, "a", spans=((T, T + 5.0), (T + 11.0, FOREVER)))
    order = shown(text(1, "a"), text(0, "a"), side="a", out=T + 10.0)
    assert judge([told, said(1, "a")], order).apart == {"late": 1}
    [first, second] = order
    stood_still = [replace(first, left=T + 4.0), second]
    assert judge([told, said(1, "a")], stood_still).apart == {"late": 1}
    open_still = said(0, "a", spans=((T, T + 10.5),))
    assert kinds(judge([open_still, said(1, "a")], order)) == ["reordered"]


def test_unheard_in_a_chat_that_ended_is_apart() -> None:
    verdict = judge([said(0, "a", unheard=True), said(1, "a")], [])
    assert (kinds(verdict), verdict.apart) == (["lost"], {"ended": 1})


def test_what_is_flagged_as_not_delivered_is_apart() -> None:
    verdict = judge([said(0, flagged=True)], [])
    assert (kinds(verdict), verdict.apart) == ([], {"refused": 1})
    assert kinds(judge([said(0, words=5, flagged=True)], shown(text(0, words=3)))) == ["lost"]


def test_a_part_of_an_unheard_message_cannot_stand_there() -> None:
    verdict = judge([said(0, "a", words=5, unheard=True)], shown(text(0, "a", words=3), side="a"))
    assert kinds(verdict) == ["lost"]
