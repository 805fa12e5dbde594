"""HTTP delivery against Bolt's own server and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web as http
from slack_bolt.async_app import AsyncApp
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.http_events import sign
from bridge.sandbox.slack.server import SlackSandbox
from tests.sandbox import slack_support
from tests.sandbox.slack_support import ANA, HELP, Json, Person, until

person, slack, web = slack_support.person, slack_support.slack, slack_support.web

SECRET = "sandbox-signing-secret"
Handler = Callable[[http.Request], Awaitable[http.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A request URL on a free port."""
    app = http.Application()
    app.router.add_route("*", "/slack/events", handler)
    async with running(app) as url:
        yield url


@asynccontextmanager
async def running(app: http.Application) -> AsyncIterator[str]:
    runner = http.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await http.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    finally:
        await runner.cleanup()


class Endpoint:
    """A request URL that keeps what it gets and answers with the statuses given, then 200."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses = list(statuses)
        self.headers = headers or {}
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def handle(self, request: http.Request) -> http.Response:
        body = await request.read()
        if b"url_verification" in body:
            return http.Response(text=json.loads(body)["challenge"])
        self.got.append((dict(request.headers), body))
        status = self.statuses.pop(0) if self.statuses else 200
        return http.Response(status=status, headers=self.headers)

    def retries(self) -> list[tuple[str | None, str | None]]:
        """Retry number and reason of each request."""
        return [(h.get("X-Slack-Retry-Num"), h.get("X-Slack-Retry-Reason")) for h, _ in self.got]


def test_the_signature_matches_slacks_own_verifier() -> None:
    body = b"payload=%7B%7D"
    signature = sign("s3cret", "1531420618", body)
    assert (
        SignatureVerifier("s3cret").generate_signature(timestamp="1531420618", body=body)
        == signature
    )


async def test_bolt_verifies_answers_and_hears(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    app = AsyncApp(client=web, signing_secret=SECRET)
    heard: list[Json] = []
    clicked = asyncio.Event()

    @app.event("message")
    async def on_message(event: Json) -> None:
        heard.append(event)

    @app.action("go")
    async def on_click(ack: Any) -> None:
        await ack()
        clicked.set()

    async with running(app.web_app("/slack/events")) as url:
        await person.do("settings", "PATCH", transport="http", request_url=url)
        await person.say("over http")
        await until(lambda: heard)
        button = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
        posted = await web.chat_postMessage(
            channel=HELP, text="?", blocks=[{"type": "actions", "elements": [button]}]
        )
        await person.do("clicks", channel=HELP, ts=posted["ts"], user=ANA, action_id="go")
        async with asyncio.timeout(5):
            await clicked.wait()
        await until(lambda: all(d.answered.is_set() for d in slack.courier.deliveries))
    assert heard[0]["text"] == "over http"
    kinds = [d["type"] for d in await person.deliveries()]
    assert kinds == ["message", "message", "block_actions"]


async def test_a_wrong_secret_is_refused_by_bolt(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    app = AsyncApp(client=web, signing_secret="another")
    async with running(app.web_app("/slack/events")) as url:
        status, answer = await person.call("PATCH", "settings", request_url=url)
    assert (status, answer) == (400, {"error": "url_verification_failed"})
    assert slack.settings.request_url is None


async def test_an_address_without_an_answer_is_not_registered(person: Person) -> None:
    status, _ = await person.call("PATCH", "settings", request_url="http://127.0.0.1:9/none")
    assert status == 400


async def register(person: Person, url: str, **settings: Any) -> None:
    values: Json = {"retry_schedule": [0, 0, 0], "ack_seconds": 1, **settings}
    await person.do("settings", "PATCH", transport="http", request_url=url, **values)


async def test_the_requests_are_signed_and_shaped_as_slacks(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    endpoint = Endpoint()
    async with serving(endpoint.handle) as url:
        await register(person, url)
        button = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
        posted = await web.chat_postMessage(
            channel=HELP, text="?", blocks=[{"type": "actions", "elements": [button]}]
        )
        await until(lambda: len(endpoint.got) == 1)
        await person.do("clicks", channel=HELP, ts=posted["ts"], user=ANA, action_id="go")
        await until(lambda: len(endpoint.got) == 2)
    (headers, body), (click_headers, click_body) = endpoint.got
    verifier = SignatureVerifier(SECRET)
    assert verifier.is_valid_request(body, headers)
    assert verifier.is_valid_request(click_body, click_headers)
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["event"]["ts"] == posted["ts"]
    assert "X-Slack-Retry-Num" not in headers
    assert click_headers["Content-Type"] == "application/x-www-form-urlencoded"
    (payload,) = parse_qs(click_body.decode())["payload"]
    assert json.loads(payload)["type"] == "block_actions"


async def test_failures_are_retried_with_number_and_reason(
    slack: SlackSandbox, person: Person
) -> None:
    endpoint = Endpoint(500, 404, 302)
    async with serving(endpoint.handle) as url:
        await register(person, url)
        await person.say("x")
        await until(lambda: len(endpoint.got) == 4)
        await until(slack.courier.deliveries[0].answered.is_set)
    reasons = [(None, None), *((str(n), "http_error") for n in (1, 2, 3))]
    assert endpoint.retries() == reasons
    assert len({json.loads(body)["event_id"] for _, body in endpoint.got}) == 1


async def test_no_retry_is_respected(slack: SlackSandbox, person: Person) -> None:
    endpoint = Endpoint(500, headers={"X-Slack-No-Retry": "1"})
    async with serving(endpoint.handle) as url:
        await register(person, url)
        await person.say("x")
        await until(lambda: slack.courier.deliveries[0].attempts[-1].failure)
        await person.say("y")
        await until(lambda: len(endpoint.got) == 2)
    texts = [json.loads(body)["event"]["text"] for _, body in endpoint.got]
    assert texts == ["x", "y"]


async def test_silence_is_a_timeout_and_a_lost_connection_another_reason(
    slack: SlackSandbox, person: Person
) -> None:
    reasons: list[str | None] = []
    release = asyncio.Event()

    async def handler(request: http.Request) -> http.StreamResponse:
        body = await request.read()
        if b"url_verification" in body:
            return http.json_response({"challenge": json.loads(body)["challenge"]})
        attempt = request.headers.get("X-Slack-Retry-Num")
        if request.headers.get("X-Slack-Retry-Reason") not in reasons:
            reasons.append(request.headers.get("X-Slack-Retry-Reason"))
        if attempt is None:
            await release.wait()
        elif attempt == "1":
            assert request.transport is not None
            request.transport.abort()
        elif attempt == "2":
            raise http.HTTPTemporaryRedirect(request.path)
        return http.Response()

    async with serving(handler) as url:
        await register(person, url, ack_seconds=0.2)
        await person.say("x")
        await until(slack.courier.deliveries[0].answered.is_set)
        release.set()
    expected = ["http_timeout", "connection_failed", "too_many_redirects"]
    assert reasons == [None, *expected]
    (delivery,) = await person.deliveries()
    assert delivery["failures"] == expected
    assert delivery["acked"]


async def test_clicks_are_not_retried(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    endpoint = Endpoint()
    async with serving(endpoint.handle) as url:
        await register(person, url)
        button = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
        posted = await web.chat_postMessage(
            channel=HELP, text="?", blocks=[{"type": "actions", "elements": [button]}]
        )
        await until(lambda: len(endpoint.got) == 1)
        endpoint.statuses = [500]
        await person.do("clicks", channel=HELP, ts=posted["ts"], user=ANA, action_id="go")
        await until(lambda: slack.courier.deliveries[1].attempts[-1:] != [])
        await until(lambda: slack.courier.deliveries[1].attempts[-1].failure)
    delivery = (await person.deliveries())[1]
    assert (delivery["attempts"], delivery["failures"]) == (1, ["http_error"])


async def test_an_acknowledgement_that_is_lost(slack: SlackSandbox, person: Person) -> None:
    endpoint = Endpoint()
    async with serving(endpoint.handle) as url:
        await person.do(
            "settings", "PATCH", transport="http", request_url=url, retry_schedule=[0, 0]
        )
        await person.do("faults", kind="lose_acks", target="message")
        await person.say("hello")
        await until(lambda: all(d.answered.is_set() for d in slack.courier.deliveries))
    assert endpoint.retries() == [(None, None), ("1", "http_timeout")]
