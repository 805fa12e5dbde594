"""The command line: `run`, `parked`, `sandbox`, `demo`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import uvloop

from bridge import __version__, logs

if TYPE_CHECKING:
    from bridge.settings import Settings

_M_MMAP_THRESHOLD = -3

Main = Callable[[asyncio.Event], Awaitable[int]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (2: wrong settings)."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="connect-slack-bridge", description="The bridge between Slack and Amazon Connect."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="run the service; settings come from the environment")
    run.set_defaults(command=_run)

    parked = commands.add_parser(
        "parked",
        help="messages that were given up: list them, try them again, drop them",
        description="What could be delivered neither at once nor later is parked. With the "
        "settings of the service, while it runs: list what is parked (never its text), put it back "
        "into its queue, or drop it.",
    )
    parked.add_argument("action", choices=("list", "retry", "drop"))
    parked.add_argument("ids", nargs="*", metavar="ID", help="as list shows it")
    parked.add_argument("--all", action="store_true", help="retry or drop everything")
    parked.set_defaults(command=lambda arguments: _parked(parked, arguments))

    sandbox = commands.add_parser("sandbox", help="a local Slack and a local Connect")
    sandbox.add_argument("--slack-port", type=int, default=0, help="0: any free port")
    sandbox.add_argument("--connect-port", type=int, default=0, help="0: any free port")
    sandbox.set_defaults(command=_sandbox)

    demo = commands.add_parser("demo", help="service and sandbox together, to see and to play with")
    demo.add_argument("--tour", action="store_true", help="only the scripted conversation")
    demo.set_defaults(command=_demo)
    return parser


def _settings() -> Settings | None:
    """The settings, or None where they are wrong, and it is said why."""
    # Imported here: a wrong setting is reported without loading the SDKs.
    from bridge.settings import SettingsError, load  # noqa: PLC0415

    try:
        return load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return None


def _run(_arguments: argparse.Namespace) -> int:
    settings = _settings()
    if settings is None:
        return 2
    logs.configure(settings.log_level, settings.log_format)
    from bridge.app import CannotStart, serve  # noqa: PLC0415

    _collect_less()
    _map_large_blocks()

    async def service(stop: asyncio.Event) -> int:
        try:
            await serve(settings, stop)
        except CannotStart as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return 0

    return _until_signal(service)


def _collect_less() -> None:
    """Modules live for ever, and conversations for hours: by default every few hundred messages all
    of them would be looked through for cycles, of which a message leaves next to none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _map_large_blocks() -> None:
    """Each TLS connection has a buffer of 256 kB (uvloop), of which a chat's socket fills a page or
    two. What glibc maps by itself takes no more memory than is used; but once such a block was freed
    it takes all further ones from its heap, which was used before (mallopt, M_MMAP_THRESHOLD)."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


def _parked(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    named = bool(arguments.ids) + arguments.all
    if arguments.action == "list" and named:
        parser.error("list takes neither ids nor --all")
    if arguments.action != "list" and named != 1:
        parser.error(f"{arguments.action} takes ids or --all")
    settings = _settings()
    if settings is None:
        return 2
    from bridge import parked  # noqa: PLC0415
    from bridge.relay.clock import SystemClock  # noqa: PLC0415

    async def act() -> int:
        match arguments.action:
            case "list":
                return await parked.listed(settings, sys.stdout)
            case "retry":
                return await parked.retried(settings, arguments.ids, sys.stdout, SystemClock())
            case _:
                return await parked.dropped(settings, arguments.ids, sys.stdout)

    try:
        return asyncio.run(act())
    except parked.CannotReach as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _sandbox(arguments: argparse.Namespace) -> int:
    from bridge.sandbox.both import serve  # noqa: PLC0415

    return _until_signal(
        lambda stop: serve(arguments.slack_port, arguments.connect_port, sys.stdout, stop)
    )


def _demo(arguments: argparse.Namespace) -> int:
    from bridge.demo.command import demo  # noqa: PLC0415

    return _until_signal(lambda stop: demo(sys.stdout, stop, tour_only=arguments.tour))


def _until_signal(work: Main) -> int:
    """Run in an event loop; SIGINT and SIGTERM ask it to stop, a second one ends it at once."""

    async def supervised() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work(stop))

        def signalled() -> None:
            if stop.is_set():
                task.cancel()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, signalled)
        try:
            return await task
        except asyncio.CancelledError:
            return 130

    return uvloop.run(supervised())


if __name__ == "__main__":
    sys.exit(main())
