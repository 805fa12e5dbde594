from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from bridge.web import Web


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def server() -> AsyncIterator[Web]:
    server = Web("127.0.0.1", 0, check_seconds=0.05, max_body_bytes=1000)
    server.mount(lambda app: app.router.add_post("/slack/events", _echo))
    await server.start()
    yield server
    await server.stop()


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


def url(server: Web, path: str) -> str:
    return f"http://127.0.0.1:{server.port}{path}"


async def ready(client: aiohttp.ClientSession, server: Web) -> tuple[int, dict[str, str]]:
    async with client.get(url(server, "/ready")) as answer:
        body = await answer.json()
        assert body["ready"] is (answer.status == 200)
        return answer.status, body["reasons"]


async def test_live(client: aiohttp.ClientSession, server: Web) -> None:
    async with client.get(url(server, "/live")) as answer:
        assert (answer.status, await answer.json()) == (200, {"live": True})


async def test_not_ready_before_anything_is_checked(
    client: aiohttp.ClientSession, server: Web
) -> None:
    assert await ready(client, server) == (503, {"start": "the service is starting"})


async def test_ready_follows_the_checks(client: aiohttp.ClientSession, server: Web) -> None:
    away: list[str] = []

    async def redis() -> str | None:
        return away[0] if away else None

    server.add_check("redis", redis)
    server.add_check("slack", lambda: None)
    assert await ready(client, server) == (200, {})
    away.append("no connection")
    assert await ready(client, server) == (503, {"redis": "no connection"})
    away.clear()
    assert await ready(client, server) == (200, {})


async def test_a_check_that_hangs_or_breaks_is_a_reason_and_says_no_more(
    client: aiohttp.ClientSession, server: Web
) -> None:
    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    def breaks() -> str | None:
        raise ValueError("planted")

    server.add_check("one", hangs)
    server.add_check("two", breaks)
    assert await ready(client, server) == (
        503,
        {"one": "no answer in 0.05 s", "two": "the check failed: ValueError"},
    )


async def test_metrics(client: aiohttp.ClientSession, server: Web) -> None:
    async with client.get(url(server, "/metrics")) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "\nbridge_open_conversations " in await answer.text()


async def test_mounted_routes_and_the_limit_of_bodies(
    client: aiohttp.ClientSession, server: Web
) -> None:
    async with client.post(url(server, "/slack/events"), data=b"x" * 1000) as answer:
        assert (answer.status, len(await answer.read())) == (200, 1000)
    async with client.post(url(server, "/slack/events"), data=b"x" * 1001) as answer:
        assert answer.status == 413
    async with client.get(url(server, "/elsewhere")) as answer:
        assert answer.status == 404


async def accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True


async def test_stop_lets_a_request_in_the_air_finish(client: aiohttp.ClientSession) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        entered.set()
        await leave.wait()
        return web.Response(text="done")

    server = Web("127.0.0.1", 0)
    server.mount(lambda app: app.router.add_get("/slow", slow))
    await server.start()
    asking = asyncio.create_task(client.get(url(server, "/slow")))
    await entered.wait()
    port = server.port
    stopping = asyncio.create_task(server.stop())
    async with asyncio.timeout(5):
        while await accepts(port):
            continue
    # Long enough for an impatient stop to cut the request off.
    patient = asyncio.get_running_loop().time() + 0.05
    while asyncio.get_running_loop().time() < patient:
        assert not await accepts(port)
    leave.set()
    async with await asking as answer:
        assert await answer.text() == "done"
    await stopping
    await server.stop()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.port


async def test_stop_waits_no_longer_than_told(client: aiohttp.ClientSession) -> None:
    entered = asyncio.Event()

    async def stuck(_request: web.Request) -> web.Response:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    server = Web("127.0.0.1", 0)
    server.mount(lambda app: app.router.add_post("/stuck", stuck))
    await server.start(stop_seconds=0.01)
    asking = asyncio.create_task(client.post(url(server, "/stuck")))
    await entered.wait()
    async with asyncio.timeout(5):
        await server.stop()
    with pytest.raises(aiohttp.ClientError):
        await asking


async def test_a_taken_port_is_told(server: Web) -> None:
    second = Web("127.0.0.1", server.port)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()
