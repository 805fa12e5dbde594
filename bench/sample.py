"""A sampling profile of the bridge: where its processor time goes, line by line.

`python -m bench.sample FILE run` is `python -m bridge run` that writes its samples to FILE when it
ends: a stack on each line, from the outside in, and how often it was met. Nothing is traced, so
that small functions cost no more than usual. A call into C counts for the line that made it.
"""

from __future__ import annotations

import collections
import signal
import sys
from pathlib import Path
from types import CodeType, FrameType

from bridge.__main__ import main

_ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 0.001
"""Of processor time between samples; the kernel's tick may be longer."""

_stacks: collections.Counter[tuple[tuple[CodeType, int], ...]] = collections.Counter()


def _sample(_signal: int, frame: FrameType | None) -> None:
    stack = []
    while frame is not None:
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    _stacks[tuple(stack)] += 1


def _shown(code: CodeType, line: int) -> str:
    _, _, name = code.co_filename.rpartition("site-packages/")
    return f"{name.removeprefix(f'{_ROOT}/')}:{line} {code.co_qualname}"


def _run() -> int:
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS, _SECONDS)
    try:
        return main(sys.argv[2:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        lines = (
            f"{';'.join(_shown(*frame) for frame in reversed(stack))}\t{count}\n"
            for stack, count in _stacks.items()
        )
        Path(sys.argv[1]).write_text("".join(lines))


if __name__ == "__main__":
    sys.exit(_run())
