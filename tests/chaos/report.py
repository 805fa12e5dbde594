"""The one table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.verdict import Verdict

FAILURES = ("lost", "doubled", "reordered", "astray")


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    seed: int
    seconds: float
    verdict: Verdict
    orphans: Sequence[str]
    unconnected: int
    conversations: int
    places: int
    faults: Mapping[str, int]
    orders: int
    takeovers: Sequence[float]
    kills: int
    """Kills of a single replica whose takeover could be measured."""
    not_taken: int
    """Conversations of these that got no socket again."""
    hand_overs: Sequence[float]
    """For each SIGTERM, the longest that a place had no living owner."""
    memory_kb: Sequence[int]
    lag: float

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not self.verdict.failures and not self.orphans


def table(result: Result) -> str:
    """All figures of a run."""
    verdict = result.verdict
    rows = [
        ("seed", str(result.seed)),
        ("wall time", f"{result.seconds:.0f} s"),
        ("conversations", f"{result.conversations} in {result.places} channels and DMs"),
        ("messages to agents", str(verdict.messages["c"])),
        ("messages to customers", str(verdict.messages["a"])),
        (
            "faults",
            f"{sum(result.faults.values())} of {len(result.faults)} kinds ({result.orders} ordered)",
        ),
        *((f"  {kind}", str(times)) for kind, times in sorted(result.faults.items())),
        *((kind, str(verdict.count(kind))) for kind in FAILURES),
        ("orphaned", str(len(result.orphans))),
        ("apart", ""),
        *((f"  {kind}", str(times)) for kind, times in sorted(verdict.apart.items())),
        ("  contacts never connected", str(result.unconnected)),
        ("takeover after kill -9", _spread(result.takeovers)),
        ("  kills measured", str(result.kills)),
        ("  conversations not taken over", str(result.not_taken)),
        ("ownerless at SIGTERM", _spread(result.hand_overs)),
        ("memory per replica", f"{max(result.memory_kb, default=0) / 1024:.0f} MB at most"),
        ("sandbox late by", f"{result.lag * 1000:.0f} ms at most"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def _spread(seconds: Iterable[float]) -> str:
    known = sorted(seconds)
    if not known:
        return "not measured"
    return f"p50 {statistics.median(known):.2f} s, max {known[-1]:.2f} s ({len(known)})"
