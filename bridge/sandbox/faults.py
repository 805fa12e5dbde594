"""Faults that a test switches on: which calls or frames suffer, how, and how often."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """One fault. `target` is an operation or method name ("SendMessage", "chat.postMessage",
    "socket") or "*"; the first `skip` matches pass unharmed, then `times` of them suffer
    (None: all, until removed)."""

    id: str
    kind: str
    target: str = "*"
    times: int | None = 1
    skip: int = 0
    match: Mapping[str, str] = field(default_factory=dict)
    """Restricts the fault to calls whose context has these values (contact, channel, app)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the kind needs: seconds, retry_after, status, code, message, frames."""
    hits: int = 0

    def applies_to(self, target: str, context: Mapping[str, str]) -> bool:
        """Whether this fault concerns a call, regardless of `skip` and `times`."""
        return self.target in ("*", target) and all(
            context.get(key) == value for key, value in self.match.items()
        )

    @property
    def spent(self) -> bool:
        """Whether it has struck as often as it should."""
        return self.times is not None and self.hits >= self.times

    def seconds(self, default: float = 1.0) -> float:
        """How long to wait, for the kinds that wait."""
        return float(self.options.get("seconds", default))


class FaultPlan:
    """The faults of one stand-in, in the order they were switched on."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self.kinds = frozenset(kinds)
        self.faults: dict[str, Fault] = {}
        self.log: list[dict[str, str]] = []
        """Every strike: fault id, kind and target, oldest first."""
        self._ids = itertools.count(1)

    def add(self, body: Mapping[str, Any]) -> Fault:
        """Switch one on. Raises ValueError where the kind is unknown or a number is not one."""
        kind = str(body.get("kind", ""))
        if kind not in self.kinds:
            raise ValueError(f"unknown kind {kind!r}; one of: {', '.join(sorted(self.kinds))}")
        known = {"kind", "target", "times", "skip", "match"}
        times = body.get("times", 1)
        fault = Fault(
            id=f"f{next(self._ids)}",
            kind=kind,
            target=str(body.get("target", "*")),
            times=None if times is None else int(times),
            skip=int(body.get("skip", 0)),
            match={str(k): str(v) for k, v in dict(body.get("match") or {}).items()},
            options={k: v for k, v in body.items() if k not in known},
        )
        self.faults[fault.id] = fault
        return fault

    def strike(
        self, target: str, kinds: Iterable[str], context: Mapping[str, str] | None = None
    ) -> Fault | None:
        """The first fault of these kinds that hits this call, counted; None if none does."""
        wanted = frozenset(kinds)
        for fault in list(self.faults.values()):
            if fault.kind not in wanted or not fault.applies_to(target, context or {}):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.hits += 1
            self.log.append({"id": fault.id, "kind": fault.kind, "target": target})
            if fault.spent:
                del self.faults[fault.id]
            return fault
        return None

    def remove(self, fault_id: str | None = None) -> None:
        """Switch one off, or all."""
        if fault_id is None:
            self.faults.clear()
        else:
            self.faults.pop(fault_id, None)
