"""How long places were without an owner, and conversations without a socket. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.watch import Call, Sample

_HAND_OVER: Final = 10.0
"""Seconds after a SIGTERM in which a place that lost its owner lost it by that."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """One kill -9 whose conversations others took over. `seconds` has one entry for each
    conversation that was heard again, `never` counts those that were not."""

    at: float
    seconds: tuple[float, ...]
    never: int = 0


def died(samples: Sequence[Sample], at: float, within: float) -> str | None:
    """Who lived at a moment and lives no more `within` seconds; None where that is not one."""
    before = [sample for sample in samples if sample.at <= at]
    after = [sample for sample in samples if sample.at <= at + within]
    if not before:
        return None
    gone = before[-1].alive - after[-1].alive
    return next(iter(gone)) if len(gone) == 1 else None


def places_of(samples: Sequence[Sample], owner: str, at: float) -> frozenset[str]:
    """What somebody owned at a moment."""
    before = [sample for sample in samples if sample.at <= at]
    owners = before[-1].owners if before else {}
    return frozenset(place for place, name in owners.items() if name == owner)


def takeover(
    contacts: Mapping[str, Iterable[str]], places: Iterable[str], calls: Sequence[Call], at: float
) -> Takeover:
    """When each contact of these places opened its next socket after a kill. `contacts`: those
    that were open then, by place."""
    wanted = {contact for place in places for contact in contacts.get(place, ())}
    opened: dict[str, float] = {}
    for call in calls:
        if call.operation == "OpenSocket" and call.status == 101 and call.at >= at:
            opened.setdefault(call.contact, call.at - at)
    seconds = tuple(sorted(opened[contact] for contact in wanted if contact in opened))
    return Takeover(at, seconds, len(wanted) - len(seconds))


def hand_overs(
    entries: Iterable[tuple[float, str]], trials: Collection[str], samples: Sequence[Sample]
) -> list[float]:
    """For each SIGTERM of the time line the longest that any place was without an owner, in the
    seconds after it and before the next trial (`trials`: their kinds) strikes: in a Redis that is
    down for longer than a lease, every place loses its owner."""
    begins = [at for at, what in entries if what.partition(" {")[0] in trials]
    return [
        ownerless(samples, at, min([at + _HAND_OVER, *(begin for begin in begins if begin > at)]))
        for at, what in entries
        if what.startswith("terminated")
    ]


def ownerless(samples: Sequence[Sample], begin: float, end: float) -> float:
    """The longest that any place which had an owner was without a living one, in a span of time."""
    longest = 0.0
    since: dict[str, float] = {}
    for sample in samples:
        if sample.at > end:
            break
        owned = {place for place, owner in sample.owners.items() if owner in sample.alive}
        for place in sample.owners.keys() - owned:
            since.setdefault(place, sample.at)
        for place in [place for place in since if place in owned]:
            gone = since.pop(place)
            if gone >= begin:
                longest = max(longest, sample.at - gone)
    still = [end - gone for gone in since.values() if gone >= begin]
    return max(longest, *still, 0.0) if still else longest
