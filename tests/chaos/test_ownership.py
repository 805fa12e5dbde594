"""How long nobody owned a place, from made-up samples."""

from __future__ import annotations

from tests.chaos.ownership import died, hand_overs, ownerless, places_of, takeover
from tests.chaos.watch import Call, Sample

OWNED = {"one": "a", "two": "b", "three": "a"}
SAMPLES = [
    Sample(10.0, OWNED, frozenset("ab")),
    Sample(12.0, OWNED, frozenset("b")),
    Sample(12.4, OWNED | {"one": "b"}, frozenset("b")),
    Sample(13.0, OWNED | {"one": "b", "three": "c"}, frozenset("bc")),
]


def opened(contact: str, at: float, status: int = 101) -> Call:
    return Call(at, "OpenSocket", contact, status, "")


def test_who_died() -> None:
    assert died(SAMPLES, 11.0, within=3.0) == "a"
    assert died(SAMPLES, 11.0, within=0.5) is None
    assert died(SAMPLES, 9.0, within=3.0) is None


def test_what_it_owned() -> None:
    assert places_of(SAMPLES, "a", 11.0) == {"one", "three"}


def test_a_takeover_ends_with_the_next_socket_of_each_contact() -> None:
    contacts = {"one": ["x", "y"], "two": ["z"], "three": ["w"]}
    calls = [opened("x", 10.5), opened("x", 12.5), opened("y", 12.0, status=403), opened("w", 14.0)]
    taken = takeover(contacts, ["one", "three"], calls, at=11.0)
    assert (taken.seconds, taken.never) == ((1.5, 3.0), 1)


def test_the_longest_time_without_an_owner() -> None:
    assert ownerless(SAMPLES, 11.0, 20.0) == 1.0
    assert round(ownerless(SAMPLES, 11.0, 12.9), 3) == 0.9
    assert ownerless(SAMPLES, 12.1, 20.0) == 0.0


def test_a_hand_over_is_judged_until_the_next_trial_begins() -> None:
    entries = [(11.5, "SIGTERM {'replica': 0}"), (11.6, "terminated a"), (12.1, "SIGTERM is over")]
    trials = {"SIGTERM", "Redis restarted"}
    assert hand_overs(entries, trials, SAMPLES) == [1.0]
    entries.append((12.3, "Connect item late in the transcript {'times': 1}"))
    assert hand_overs(entries, trials, SAMPLES) == [1.0]
    entries.append((12.3, "Redis restarted {'seconds': 4.0}"))
    assert [round(one, 3) for one in hand_overs(entries, trials, SAMPLES)] == [0.3]
