"""The command line: see `tests.chaos`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from dataclasses import replace

from tests.chaos.plan import FULL, QUICK, REAL_QUOTAS, Plan, Size, draw
from tests.chaos.report import Result
from tests.chaos.run import run
from tests.chaos.takeover import TAKEOVER, TAKEOVER_REAL_QUOTAS, draw_takeover
from tests.chaos.words import read

OVERHEAD = 0.29
"""Of the time given: starting, settling, judging."""


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds; 0 where every promise was kept in all of them."""
    wanted = _parser().parse_args(arguments)
    size = _size(wanted)
    failed = []
    for seed in _seeds(wanted):
        plan = draw_takeover(seed, size) if wanted.takeover else draw(seed, size)
        _begin_anew()
        result = asyncio.run(_until_terminated(plan))
        sys.stdout.write(f"seed {seed}: {'good' if result.good else 'FAILED'}\n\n")
        sys.stdout.flush()
        if not result.good:
            failed.append(seed)
    if failed:
        sys.stdout.write(f"failed seeds: {' '.join(map(str, failed))}\n")
    return 1 if failed else 0


def _begin_anew() -> None:
    """Of the seed before nothing stays, and what there is of this one is seldom looked through for
    cycles: that takes seconds, in which the sandbox stands still."""
    read.cache_clear()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


async def _until_terminated(plan: Plan) -> Result:
    """SIGTERM is to leave no process behind, as Ctrl-C does."""
    running = asyncio.ensure_future(run(plan, sys.stdout))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", help="several, as in 1-20")
    parser.add_argument("--quick", action="store_true", help="at most 2 minutes")
    parser.add_argument("--real-quotas", action="store_true", help="small, nothing is scaled up")
    parser.add_argument("--takeover", action="store_true", help="nothing but one kill -9")
    parser.add_argument("--replicas", type=int)
    parser.add_argument("--conversations", type=int)
    parser.add_argument("--messages", type=int)
    parser.add_argument("--faults", type=int)
    parser.add_argument("--minutes", type=float, help="of the whole run")
    return parser


def _size(wanted: argparse.Namespace) -> Size:
    if wanted.takeover:
        size = TAKEOVER_REAL_QUOTAS if wanted.real_quotas else TAKEOVER
    else:
        size = QUICK if wanted.quick else REAL_QUOTAS if wanted.real_quotas else FULL
    given = {
        name: value
        for name in ("replicas", "conversations", "messages", "faults")
        if (value := getattr(wanted, name)) is not None
    }
    if wanted.minutes is not None:
        given["seconds"] = wanted.minutes * 60 * (1 - OVERHEAD)
    return replace(size, **given)


def _seeds(wanted: argparse.Namespace) -> range:
    if not wanted.seeds:
        return range(wanted.seed, wanted.seed + 1)
    first, _, last = wanted.seeds.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())
