from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bridge import metrics
from bridge.core.events import AskedToEnd, Wrote
from bridge.core.model import Notice, NoticeKind
from bridge.sandbox.slack.server import SlackSandbox
from bridge.slack.inbound import PATH, bolt_app, routes
from bridge.slack.socket import SocketMode
from tests.slack.support import ANA, EVA, GENERAL, HELP, Kit, until, wired

SECRET = "sandbox-signing-secret"
TRANSPORTS = ["socket", "http"]


@asynccontextmanager
async def endpoint(kit: Kit) -> AsyncIterator[str]:
    """HTTP mode, served as our web server would."""
    app = web.Application()
    app.add_routes(routes(bolt_app(kit.settings, kit.api, kit.identity, kit.intake), SECRET))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(kit: Kit, transport: str) -> AsyncIterator[None]:
    """Events flow in by this transport, sent again soon when they are not acknowledged."""
    fast: dict[str, Any] = {"retry_schedule": [0.05, 0.2, 0.4], "ack_seconds": 0.4}
    if transport == "http":
        async with endpoint(kit) as url:
            await kit.people.do("settings", "PATCH", transport="http", request_url=url, **fast)
            yield
        return
    await kit.people.do("settings", "PATCH", **fast)
    bolt = bolt_app(kit.settings, kit.api, kit.identity, kit.intake)
    sockets = SocketMode(bolt, kit.api, "xapp-sandbox", kit.intake, kit.clock, check=0.02)
    await sockets.start()
    try:
        await until(lambda: sockets.ready)
        yield
    finally:
        await sockets.close()


async def settled(kit: Kit, *, acked: bool = True) -> list[dict[str, Any]]:
    """Deliveries, once all are acknowledged (or given up)."""
    async with asyncio.timeout(8):
        while True:
            found = await kit.people.deliveries()
            if found and all(d["acked"] if acked else d["attempts"] == 4 for d in found):
                return found
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_message_is_acknowledged_once_it_is_stored(kit: Kit, transport: str) -> None:
    async with connected(kit, transport):
        kit.inbox.gate = asyncio.Event()
        ts = (await kit.people.say("hello"))["ts"]
        await until(lambda: kit.box.courier.deliveries)
        await asyncio.sleep(0.1)
        assert [d["acked"] for d in await kit.people.deliveries()] == [False]
        kit.inbox.gate.set()
        await until(lambda: kit.inbox.taken)
        (delivery,) = await settled(kit)
        assert delivery["attempts"] == 1
        (incoming,) = kit.inbox.taken
        assert (incoming.conversation, incoming.opens) == (kit.thread(ts), True)
        assert kit.inbox.texts() == ["hello"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_when_slack_was_last_heard_is_told(kit: Kit, transport: str) -> None:
    metrics.SLACK_LAST_EVENT.set(0)
    begun = time.time()
    async with connected(kit, transport):
        await kit.people.say("hello")
        await settled(kit)
    heard = metrics.REGISTRY.get_sample_value("bridge_slack_last_event_timestamp_seconds")
    assert heard
    assert begun - 1.0 <= heard <= time.time() + 1.0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_cannot_be_stored_comes_again(kit: Kit, transport: str) -> None:
    async with connected(kit, transport):
        kit.inbox.away = True
        await kit.people.say("hello")
        await until(lambda: kit.inbox.refused >= 2)
        kit.inbox.away = False
        await until(lambda: kit.inbox.taken)
        (delivery,) = await settled(kit)
        assert delivery["attempts"] > 2
        assert kit.inbox.texts() == ["hello"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_is_not_for_us_is_acknowledged_once(kit: Kit, transport: str) -> None:
    async with connected(kit, transport):
        await kit.people.say("root")
        root = (await kit.people.sees())[0]["ts"]
        await kit.side.post(kit.thread(root), [Notice("n", NoticeKind.ENDED)], 1, lambda: None)
        await kit.people.do("messages", "PATCH", channel=HELP, ts=root, text="root, edited")
        await kit.people.do("topic", channel=HELP, user=ANA, topic="news")
        await kit.people.do("reactions", channel=HELP, ts=root, user=ANA, name="eyes")
        await kit.people.do("events", event={"type": "message", "user": {"x": [1]}, "ts": 5})
        await kit.people.do("events", event={"type": "never_heard_of"})
        await until(lambda: len(kit.box.courier.deliveries) >= 7)
        assert all(d["attempts"] == 1 for d in await settled(kit))
        assert kit.inbox.texts() == ["root"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_hostile_shapes_are_acknowledged(kit: Kit, transport: str) -> None:
    shapes: list[Any] = [
        {"type": "message", "channel": ["C1"], "user": 7, "message": 3, "previous_message": []},
        {"type": "message", "message": {"user": {"id": 1}}, "subtype": ["x"]},
        {"type": "member_joined_channel", "channel": {}, "inviter": []},
        {"type": "channel_rename", "channel": "C1"},
        {"type": "assistant_thread_started", "assistant_thread": "x"},
        {"type": ["message"]},
        {},
    ]
    async with connected(kit, transport):
        for shape in shapes:
            await kit.people.do("events", event=shape)
        await until(lambda: len(kit.box.courier.deliveries) == len(shapes))
        assert all(d["attempts"] == 1 for d in await settled(kit))
        assert kit.inbox.taken == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_mention_comes_once_though_slack_sends_twins(kit: Kit, transport: str) -> None:
    await kit.people.do("join", channel=GENERAL, user="bot")
    async with connected(kit, transport):
        await until(lambda: len(kit.box.courier.deliveries) == 2)
        await kit.people.say("@support please", GENERAL)
        await kit.people.say("not for you", GENERAL)
        await settled(kit)
        assert kit.inbox.texts() == ["please"]
        types = sorted(d["type"] for d in await kit.people.deliveries())
        assert types == ["app_mention", "member_joined_channel", "message", "message", "message"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_click_is_taken_in(kit: Kit, transport: str) -> None:
    async with connected(kit, transport):
        root = (await kit.people.say("hello"))["ts"]
        ts = await kit.side.post(
            kit.thread(root), [Notice("n", NoticeKind.CONNECTING)], 1, lambda: None
        )
        for user in (ANA, EVA):
            await kit.people.do("clicks", channel=HELP, ts=ts, user=user, action_id="bridge_end")
        await until(lambda: len(kit.inbox.taken) == 3)
        await settled(kit)
        clicks = [i for i in kit.inbox.taken if isinstance(i.event, AskedToEnd)]
        assert [c.event.user_id for c in clicks if isinstance(c.event, AskedToEnd)] == [ANA, EVA]
        assert all(c.conversation == kit.thread(root) and not c.opens for c in clicks)
        assert all(c.keys[0].startswith(f"{HELP}:{ts}:") for c in clicks)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_rate_limit_notice_is_acknowledged(kit: Kit, transport: str) -> None:
    async with connected(kit, transport):
        await kit.people.do("rate_limited")
        await until(lambda: kit.box.courier.deliveries)
        (delivery,) = await settled(kit)
        assert delivery["attempts"] == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_oauth_variables_in_the_environment_change_nothing(
    kit: Kit, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_CLIENT_ID", "1.2")
    monkeypatch.setenv("SLACK_CLIENT_SECRET", "secret")
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-another")
    async with connected(kit, transport):
        await kit.people.say("hello")
        await until(lambda: kit.inbox.taken)
        await settled(kit)
        assert len(await kit.people.calls("auth.test")) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_closing_refuses_without_an_acknowledgement(kit: Kit, transport: str) -> None:
    async with connected(kit, transport):
        kit.intake.close()
        await kit.people.say("too late")
        (delivery,) = await settled(kit, acked=False)
        assert not delivery["acked"]
        assert kit.inbox.taken == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_text_is_logged(
    kit: Kit, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with connected(kit, transport):
        kit.inbox.away = True
        await kit.people.say("a secret of Ana's")
        await until(lambda: kit.inbox.refused)
        kit.inbox.away = False
        await until(lambda: kit.inbox.taken)
        await settled(kit)
    ours = [r for r in caplog.records if r.name.startswith(("slack", "bridge.slack"))]
    assert ours
    assert "secret of" not in caplog.text
    assert "ticket" not in "".join(r.getMessage() for r in ours)


# --- HTTP mode only ------------------------------------------------------------------------------


def signed(body: str, secret: str = SECRET, age: float = 0.0) -> dict[str, str]:
    stamp = str(int(time.time() - age))
    digest = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256)
    return {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest.hexdigest()}",
        "Content-Type": "application/json",
    }


def message() -> str:
    event = {
        "type": "message",
        "channel": HELP,
        "channel_type": "channel",
        "user": ANA,
        "text": "a secret",
        "ts": "1700000000.000001",
    }
    return json.dumps({"type": "event_callback", "event": event})


@pytest.mark.parametrize(
    ("headers", "status", "stored"),
    [
        # Made when the test runs: a signature is good for five minutes.
        (lambda: signed(message()), 200, 1),
        (lambda: signed(message()) | {"X-Slack-Retry-Num": "3"}, 200, 1),
        (lambda: signed(message(), "wrong"), 401, 0),
        (lambda: signed(message(), ""), 401, 0),
        (lambda: signed(message(), age=400), 401, 0),
        (lambda: signed("{}"), 401, 0),
        (lambda: signed(message()) | {"X-Slack-Request-Timestamp": "now"}, 401, 0),
        (lambda: {"Content-Type": "application/json"}, 401, 0),
    ],
)
async def test_only_what_slack_signed_is_taken(
    kit: Kit,
    headers: Callable[[], dict[str, str]],
    status: int,
    stored: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        endpoint(kit) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=message(), headers=headers()) as response,
    ):
        assert response.status == status
    assert len(kit.inbox.taken) == stored
    assert "secret" not in caplog.text


async def test_a_new_request_url_is_confirmed(kit: Kit) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "abc", "token": "x"})
    async with (
        endpoint(kit) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=signed(body)) as response,
    ):
        assert (response.status, await response.json()) == (200, {"challenge": "abc"})


@pytest.mark.parametrize(
    "body", ["{", "[1]", '{"authorizations": [1]}', "payload=%7B", "payload=3", "[" * 50_000]
)
async def test_unreadable_bodies_are_acknowledged_if_slack_signed_them(kit: Kit, body: str) -> None:
    async with endpoint(kit) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=body, headers=signed(body)) as response:
            assert response.status == 200
        async with session.post(url, data=body, headers=signed(body, "wrong")) as response:
            assert response.status == 401


async def test_bytes_that_are_no_text_are_refused(kit: Kit) -> None:
    async with (
        endpoint(kit) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=b"\x00\xff", headers=signed("{}")) as response,
    ):
        assert response.status == 401


async def test_http_mode_without_a_secret_is_refused(kit: Kit) -> None:
    app = bolt_app(kit.settings, kit.api, kit.identity, kit.intake)
    with pytest.raises(ValueError, match="SLACK_SIGNING_SECRET"):
        routes(app, "")


# --- which channel it is -------------------------------------------------------------------------


async def test_a_channel_that_is_not_known_yet_is_looked_up_before_it_is_judged(
    box: SlackSandbox,
) -> None:
    async with (
        wired(box, support_channels=("#help", "new-help")) as kit,
        connected(kit, "socket"),
    ):
        assert kit.places.unresolved == frozenset({"new-help"})
        await kit.people.do("channels", name="new-help", members=[ANA])
        await kit.people.fault("error", "conversations.info", times=2)
        await kit.people.say("first!", "new-help")
        await until(lambda: kit.inbox.taken)
        (delivery,) = await settled(kit)
        assert delivery["attempts"] == 3
        (incoming,) = kit.inbox.taken
        assert isinstance(incoming.event, Wrote)
        assert incoming.opens
        assert kit.places.unresolved == frozenset()


async def test_a_renamed_channel_changes_sides(kit: Kit) -> None:
    async with connected(kit, "socket"):
        renamed = {"type": "channel_rename", "channel": {"id": HELP, "name": "archive"}}
        await kit.people.do("events", event=renamed)
        await settled(kit)
        await kit.people.say("anybody?")
        await until(lambda: len(kit.box.courier.deliveries) == 2)
        await settled(kit)
        assert kit.inbox.taken == []
