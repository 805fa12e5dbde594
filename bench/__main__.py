"""`python -m bench`: measures the bridge, prints one table and writes the figures beside it."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import uvloop

from bench.growth import growth
from bench.phases import Plan, Site, messages
from bench.report import judged, table
from bridge.store import binary

QUICK = Plan(
    conversations=150,
    under_way=32,
    rounds=3,
    seconds=0.4,
    latency_seconds=0.6,
    growth=(10, 200),
    growth_tls=(),
    idle_seconds=3.0,
)


def main() -> int:
    """Exit code 1: a ratio is far off."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--only", choices=("messages", "growth"), help="one half")
    parser.add_argument("--json", type=Path, help="where the figures go (bench.json)")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        parser.error("other processes' clocks and cores can be had on Linux only")
    plan = QUICK if arguments.quick else Plan()
    # 10,000 conversations are as many sockets, here and in the measured process.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # No pauses of ours among the latencies.
    gc.freeze()
    figures = uvloop.run(run(plan, arguments.only or ""))
    (arguments.json or Path("bench.json")).write_text(json.dumps(figures, indent=1))
    print(table(figures))
    return 0 if judged(figures) else 1


async def run(plan: Plan, only: str = "") -> dict[str, object]:
    """Every figure of one run."""
    figures: dict[str, object] = {"plan": asdict(plan), "machine": _machine()}
    began = time.monotonic()

    def say(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.0f} s  {what}\n")

    every = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        site = Site(Path(folder))
        os.sched_setaffinity(0, site.cores.others)
        try:
            if only != "growth":
                figures["messages"] = await messages(plan, site, say)
            if only != "messages":
                figures["growth"] = await growth(plan, site, say)
        finally:
            os.sched_setaffinity(0, every)
    return figures


def _machine() -> dict[str, object]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    names = ("aiohttp", "redis", "hiredis", "slack-bolt", "slack-sdk", "uvloop", "boto3")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "redis_server": ".".join(map(str, binary.find().version)),
        **{name: metadata.version(name) for name in names},
    }


if __name__ == "__main__":
    sys.exit(main())
