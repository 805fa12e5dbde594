"""When the guard is asked, and when the bytes leave, against a server in a thread of its own."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from bench.trust import Trust
from bridge.guarded import Attempt, GuardedRequest

ANSWER = b"ok"
LONG = 10.0
"""Seconds; only a failure waits for so long."""


class Server(http.server.ThreadingHTTPServer):
    """Answers every POST, and notes what has arrived."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.arrived = threading.Event()
        self.bodies: list[bytes] = []

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.arrived.set()
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as it:
        thread = threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield it
        it.shutdown()
        thread.join()


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path)


Run = Callable[[Coroutine[Any, Any, None]], None]
loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(request_class=GuardedRequest)


@loops
@pytest.mark.parametrize("case", [("http", 1), ("http", 40_000), ("https", 40_000)])
def test_the_bytes_leave_in_the_step_that_asks(
    server: Server, run: Run, case: tuple[str, int], trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rest of the loop's turn does, and however long it takes."""
    scheme, size = case
    if scheme == "https":
        server.socket = trust.context.wrap_socket(server.socket, server_side=True)
    write = aiohttp.ClientRequest.write_bytes
    seen: list[bool] = []
    turned: list[bool] = []

    def guard() -> None:
        asyncio.get_running_loop().call_soon(turned.append, True)

    async def write_and_block(self: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> None:
        assert not server.bodies
        assert not turned
        await write(self, *args, **kwargs)
        seen.append(server.arrived.wait(LONG))

    monkeypatch.setattr(aiohttp.ClientRequest, "write_bytes", write_and_block)

    async def post() -> None:
        async with session() as http_session:
            with Attempt(guard):
                call = http_session.post(
                    server.url(scheme),
                    data=b"x" * size,
                    ssl=ssl.create_default_context(cafile=trust.variables["SSL_CERT_FILE"]),
                )
                async with call as response:
                    assert await response.read() == ANSWER

    run(post())
    assert seen == [True]
    assert server.bodies == [b"x" * size]


@loops
def test_what_the_guard_raises_comes_back_and_nothing_went_out(server: Server, run: Run) -> None:
    refusal = OSError("frozen for too long")
    made: list[Attempt] = []

    def refuse() -> None:
        raise refusal

    async def call(http_session: aiohttp.ClientSession, body: bytes) -> None:
        async with http_session.post(server.url(), data=body) as response:
            assert await response.read() == ANSWER

    async def calls() -> None:
        async with session() as http_session:
            await call(http_session, b"before")
            with pytest.raises(OSError, match="frozen") as caught, Attempt(refuse) as refused:
                await call(http_session, b"never")
            assert caught.value is refusal
            with Attempt(lambda: None) as passed:
                await call(http_session, b"after")
            made.extend([refused, passed])

    run(calls())
    assert server.bodies == [b"before", b"after"]
    assert [(one.sent, one.refusal) for one in made] == [(False, refusal), (True, None)]


@loops
def test_nothing_was_sent_where_no_connection_was_made(run: Run) -> None:
    async def call() -> None:
        async with session() as http_session:
            with Attempt(None) as made, pytest.raises(aiohttp.ClientConnectorError):
                await http_session.post("http://127.0.0.1:1/", data=b"x")
            assert not made.sent

    run(call())
