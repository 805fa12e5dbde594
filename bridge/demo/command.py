"""The command `demo`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TextIO

from bridge.demo.prompt import Prompt
from bridge.demo.stage import ServiceFailed, Stage, stage
from bridge.demo.tour import Tour


async def demo(out: TextIO, stop: asyncio.Event, *, tour_only: bool) -> int:
    """Play the tour; then, unless that was all or nobody is there to type, the prompt.

    Returns 0 only if every expectation of the tour held.
    """
    out.write("Starting a local Slack, a local Connect, and the service between them…\n")
    out.flush()
    try:
        async with stage() as running:
            return await _play(running, out, stop, tour_only=tour_only)
    except ServiceFailed as failed:
        sys.stderr.write(f"{failed}\n")
        return 1


async def _play(running: Stage, out: TextIO, stop: asyncio.Event, *, tour_only: bool) -> int:
    tour = Tour(running, out)
    playing = asyncio.create_task(tour.play())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((playing, stopped), return_when=asyncio.FIRST_COMPLETED)
    if not playing.done():
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing
        return 130
    stopped.cancel()
    playing.result()
    if not tour_only and sys.stdin.isatty():
        await Prompt(running, out).run(stop)
    return 1 if tour.failures else 0
