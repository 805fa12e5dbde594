"""The way out through a proxy: what goes that way, by which variables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bridge import proxy
from bridge.connect.api import ConnectApi, ConnectSettings, new_session
from bridge.connect.quota import Quotas
from bridge.connect.stream import Stream, StreamFailed
from bridge.core.errors import Temporary
from bridge.proxy import proxy_for
from bridge.slack.api import Api
from bridge.slack.model import SlackSettings
from tests.slack.support import RealClock


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """None of this machine's."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    proxy._proxy.cache_clear()
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://slack.com/api/", "http://proxy.example:3128"),
        ("wss://gateway.example/chat?token=x", "http://proxy.example:3128"),
        ("http://slack.example/", None),
        ("https://inside.example/start", None),
        ("https://localhost:8443/", None),
        ("https://127.0.0.1:8443/", None),
        ("https://[::1]:8443/", None),
    ],
)
def test_which_addresses_go_through_it(
    variables: pytest.MonkeyPatch, url: str, found: str | None
) -> None:
    variables.setenv("HTTPS_PROXY", "proxy.example:3128")
    variables.setenv("NO_PROXY", "inside.example")
    assert proxy_for(url) == found


def test_without_variables_there_is_none() -> None:
    assert proxy_for("https://slack.com/api/") is None


@pytest.fixture
async def asked(variables: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """What a proxy is asked for: the first line of each request. It answers everything itself."""
    lines: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines.append(head.splitlines()[0])
        body = b'{"ok": true, "Id": "i1"}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            variables.setenv(name, f"http://127.0.0.1:{port}")
        yield lines


async def test_slacks_methods(asked: list[str]) -> None:
    async with Api(SlackSettings("xoxb-1", api_url="http://slack.example/api/")) as api:
        await api.write("chat.postMessage", channel="C1", text="hi")
        await api.read("users.info", user="U1")
    assert asked == [
        "POST http://slack.example/api/chat.postMessage HTTP/1.1",
        "GET http://slack.example/api/users.info?user=U1 HTTP/1.1",
    ]


async def test_connects_calls_and_sockets(asked: list[str]) -> None:
    settings = ConnectSettings(
        region="us-east-1", endpoint_url_participant="http://connect.example"
    )
    async with new_session() as session:
        api = ConnectApi(settings, Quotas(RealClock(), settings.quotas), session)
        await api.participant("SendMessage", "token", {"Content": "hi"})
        stream = Stream(session, lambda _: None, lambda: None, 0.0)
        with pytest.raises(StreamFailed):
            await stream.open("ws://gateway.example/chat")
        api.close()
    assert asked == [
        "POST http://connect.example/participant/message HTTP/1.1",
        "GET ws://gateway.example/chat HTTP/1.1",
    ]


async def test_what_is_encrypted_goes_through_a_tunnel(asked: list[str]) -> None:
    async with new_session() as session:
        stream = Stream(session, lambda _: None, lambda: None, 0.0)
        with pytest.raises(StreamFailed):  # there is nobody at its other end
            await stream.open("wss://gateway.example/chat")
    async with Api(SlackSettings("xoxb-1")) as api:
        with pytest.raises(Temporary):
            await api.write("chat.postMessage", channel="C1", text="hi")
    assert asked == [
        "CONNECT gateway.example:443 HTTP/1.1",
        "CONNECT slack.com:443 HTTP/1.1",
    ]
