"""One table of a run's figures, and what is judged by them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
Rows = Sequence[Mapping[str, float]]

FAR_OFF = 3.0
"""Times the floor: more than noise explains."""
_TITLES = {"to_agent": "Slack to agent", "to_customer": "agent to Slack"}


def table(figures: Figures) -> str:
    """Everything for people, in the form of docs/performance.md."""
    lines = [_machine(figures["machine"]), ""]
    if found := figures.get("messages"):
        lines += [*_costs(found["cost"]), "", *_standins(found["cost"]), ""]
        for part, latencies in found["latency"].items():
            lines += [*_latencies(part, latencies), ""]
        for what in ("sent_twice", "not_acknowledged"):
            lines.append(f"{what.replace('_', ' ').capitalize()}: {found[what]}")
    if rows := figures.get("growth"):
        lines += [*_growth(rows), ""]
    return "\n".join(lines)


def judged(figures: Figures) -> bool:
    """Whether no message costs far more than the floor, and none was sent twice."""
    found = figures.get("messages")
    if not found:
        return True
    ratios = [ratio(found["cost"], "bridge", "floor", one) for one in _TITLES]
    return max(ratios) <= FAR_OFF and not any(found["sent_twice"].values())


def ratio(costs: Figures, name: str, against: str, direction: str) -> float:
    """Of processor time for a message: the median over the rounds."""
    return _ratio(costs[name][direction], "cpu_ms", costs[against][direction], "cpu_ms")


def _ratio(rows: Rows, key: str, others: Rows, other: str) -> float:
    return statistics.median(one[key] / two[other] for one, two in zip(rows, others, strict=True))


def _machine(machine: Figures) -> str:
    return (
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"Redis {machine['redis_server']}; load average at the start {machine['load_average']:.2f}"
    )


def _middle(rows: Rows, key: str) -> float:
    return statistics.median(row[key] for row in rows)


def _spread(rows: Rows, key: str) -> str:
    values = [row[key] for row in rows]
    return f"{min(values):.2f}-{max(values):.2f}"


def _costs(costs: Figures) -> Iterable[str]:
    yield "A message at saturation, one core"
    yield _row(
        "", "ms of processor", "least-most", "a second", "x floor", "x recipe", "Redis trips",
        "commands", "kB in", "kB written", "Redis ms",
    )  # fmt: skip
    for direction, title in _TITLES.items():
        yield title
        for name, found in costs.items():
            if rows := found[direction]:
                yield _row(f"  {name}", *_cost_cells(costs, name, direction, rows))
    if found := costs.get("bridge, receipts", {}).get("to_customer"):
        with_, without = _middle(found, "cpu_ms"), _middle(costs["bridge"]["to_customer"], "cpu_ms")
        each = _middle(found, "receipts")
        yield f"A delivered receipt: {(with_ - without) / each:.2f} ms ({each:.2f} a message above)"


def _cost_cells(costs: Figures, name: str, direction: str, rows: Rows) -> Iterable[str]:
    yield f"{_middle(rows, 'cpu_ms'):.3f}"
    yield _spread(rows, "cpu_ms")
    yield f"{_middle(rows, 'per_second'):.0f}"
    for against in ("floor", "recipe"):
        known = against in costs and len(costs[against][direction]) == len(rows)
        yield f"{ratio(costs, name, against, direction):.2f}" if known else "-"
    yield f"{_middle(rows, 'redis_round_trips'):.2f}"
    yield f"{_middle(rows, 'redis_commands'):.1f}"
    yield f"{_middle(rows, 'redis_received') / 1000:.1f}"
    yield f"{_middle(rows, 'redis_written') / 1000:.1f}"
    yield f"{_middle(rows, 'redis_cpu_ms'):.3f}"


def _latencies(part: float, latencies: Figures) -> Iterable[str]:
    yield f"Added latency at {part} of what saturates the bridge, ms"
    yield _row(
        "", "a second", "busy", "p50", "p95", "p99", "x floor's p50", "p99/p50", "least-most"
    )
    for direction, title in _TITLES.items():
        yield title
        floor = latencies["floor"][direction]
        for name, found in latencies.items():
            rows = found[direction]
            rate = rows[0]["rate"]
            yield _row(
                f"  {name}",
                f"{rate:.0f}",
                f"{_middle(rows, 'cpu_ms') * rate / 1000:.2f}",
                *(f"{_middle(rows, key):.2f}" for key in ("p50", "p95", "p99")),
                f"{_ratio(rows, 'p50', floor, 'p50'):.2f}",
                f"{_ratio(rows, 'p99', rows, 'p50'):.2f}",
                _spread([{"p99/p50": row["p99"] / row["p50"]} for row in rows], "p99/p50"),
            )


def _standins(costs: Figures) -> Iterable[str]:
    yield "Is anything else the bottleneck? Shares of a core at saturation"
    yield _row("", "measured", "stand-ins", "Redis")
    for direction, title in _TITLES.items():
        for name, found in costs.items():
            if rows := found[direction]:
                keys = ("share", "standins_share", "redis_share")
                cells = (f"{_middle(rows, key):.2f}" for key in keys)
                yield _row(f"  {title}, {name}", *cells)


_GROWTH: Mapping[str, Callable[[Figures], str]] = {
    "ready s": lambda row: f"{row['ready_seconds']:.2f}",
    "listening s": lambda row: f"{row['listening_seconds']:.2f}",
    "start cpu s": lambda row: f"{row['start_cpu_seconds']:.2f}",
    "MB": lambda row: f"{row['bridge']['resident'] / 1e6:.0f}",
    "bare MB": lambda row: f"{row['bare']['resident'] / 1e6:.0f}",
    "idle %": lambda row: f"{row['bridge']['share'] * 100:.2f}",
    "bare idle %": lambda row: f"{row['bare']['share'] * 100:.2f}",
    "Redis/h": lambda row: f"{row['redis_idle']['commands_per_hour']:.0f}",
    "Redis MB": lambda row: f"{row['redis_idle']['memory'] / 1e6:.1f}",
    "ms to agent": lambda row: f"{_middle(row['cost']['to_agent'], 'cpu_ms'):.3f}",
    "ms to Slack": lambda row: f"{_middle(row['cost']['to_customer'], 'cpu_ms'):.3f}",
}


def _growth(rows: Sequence[Figures]) -> Iterable[str]:
    yield "By open conversations"
    yield _row("", *_GROWTH)
    for row in rows:
        name = f"  {row['conversations']}{', TLS' if row['tls'] else ''}"
        yield _row(name, *(cell(row) for cell in _GROWTH.values()))
    yield from _each(rows)


def _each(rows: Sequence[Figures]) -> Iterable[str]:
    """What one more conversation costs: from the fewest to the most."""
    for tls in (False, True):
        alike = [row for row in rows if row["tls"] == tls]
        if len(alike) < 2:
            continue
        few, many = alike[0], alike[-1]
        more = many["conversations"] - few["conversations"]
        ours, bare = (
            (many[who]["resident"] - few[who]["resident"]) / more for who in ("bridge", "bare")
        )
        yield (
            f"Memory of an open conversation{', TLS' if tls else ''}: {ours / 1000:.1f} kB, "
            f"{ours / bare:.2f} x a bare socket; idle processor time at {many['conversations']}: "
            f"{many['bridge']['share'] / many['bare']['share']:.2f} x bare"
        )


def _row(name: str, *cells: str) -> str:
    return f"{name:<28}" + "".join(f"{cell:>16}" for cell in cells)
