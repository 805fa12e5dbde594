"""The table shows every figure."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tests.chaos.report import Result, table
from tests.chaos.verdict import Failure, Verdict

GOOD = Result(
    seed=9,
    seconds=61.0,
    verdict=Verdict(Counter(c=10, a=11), [], Counter(late=2)),
    orphans=[],
    unconnected=1,
    conversations=4,
    places=3,
    faults={"kill -9": 2, "SendMessage 500": 5},
    orders=3,
    takeovers=[1.0, 2.0, 6.0],
    kills=2,
    not_taken=0,
    hand_overs=[],
    memory_kb=[102_400, 204_800],
    lag=0.25,
)


def rows(result: Result) -> dict[str, str]:
    pairs = (line.strip().partition("  ") for line in table(result).splitlines())
    return {name: value.strip() for name, _, value in pairs}


def test_a_good_run() -> None:
    found = rows(GOOD)
    assert GOOD.good
    assert found["faults"] == "7 of 2 kinds (3 ordered)"
    assert found["takeover after kill -9"] == "p50 2.00 s, max 6.00 s (3)"
    assert found["ownerless at SIGTERM"] == "not measured"
    assert found["memory per replica"] == "200 MB at most"
    assert (found["messages to agents"], found["messages to customers"]) == ("10", "11")
    assert [found[kind] for kind in ("lost", "doubled", "reordered", "astray", "orphaned")] == [
        "0"
    ] * 5
    assert (found["late"], found["contacts never connected"]) == ("2", "1")


def test_one_failure_or_orphan_makes_it_bad() -> None:
    lost = Verdict(failures=[Failure("lost", 1, "c", 2, 0.0, "all of it")])
    bad = replace(GOOD, verdict=lost)
    assert not bad.good
    assert rows(bad)["lost"] == "1"
    assert not replace(GOOD, orphans=["conversation 3 has no contact"]).good
