"""A real Redis that a test starts, kills and puts back."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.core.errors import StoreAway
from bridge.store import binary
from bridge.store.errors import translated
from bridge.store.redis import connect
from tests.store.support import eventually


class Server:
    """A server with an append-only file in a folder of its own, started by `start`."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.data = folder / "data"
        self.socket = folder / "s"
        self.password = ""
        self._options = {"appendfsync": "always", **options}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.data.mkdir(exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes",
            **self._options,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._run([str(binary.find().path), *words])
        await eventually(self._answers)

    def _run(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)

    async def _answers(self) -> bool:
        try:
            await self.do("PING")
        except StoreAway:
            return False
        return True

    async def do(self, *words: str) -> None:
        """One command."""
        client = connect(self.url.replace("unix://", f"unix://:{self.password}@"))
        try:
            with translated():
                await client.execute_command(*words)  # type: ignore[no-untyped-call]  # theirs
        finally:
            await client.aclose()

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    def hang(self) -> None:
        """SIGSTOP: the kernel still takes connections and bytes for it."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def copy(self) -> Path:
        """What it has written so far, for `put_back`."""
        to = self.data.with_name("copy")
        return Path(shutil.copytree(self.data, to, dirs_exist_ok=False))

    def put_back(self, copy: Path | None) -> None:
        """While it does not run: let it begin from the copy, or with nothing."""
        shutil.rmtree(self.data)
        if copy is not None:
            shutil.copytree(copy, self.data)


@asynccontextmanager
async def a_server(folder: Path, **options: str) -> AsyncIterator[Server]:
    """One that runs; killed in the end, whatever became of it."""
    server = Server(folder, **options)
    await server.start()
    try:
        yield server
    finally:
        server.kill()
