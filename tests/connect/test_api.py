"""Calls to a server that answers what Connect would not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from bridge.connect.api import ConnectApi, ConnectSettings, new_session
from bridge.connect.contacts import Contacts
from bridge.connect.quota import Quotas
from bridge.connect.refusals import Forbidden
from bridge.core.errors import Failure, Rejected, Temporary, Uncertain
from tests.connect.support import SystemClock


class Server:
    """Answers every call with what the test put there."""

    def __init__(self) -> None:
        self.answer: web.Response = web.Response()
        self.paths: list[str] = []
        self.bearers: list[str | None] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        self.bearers.append(request.headers.get("X-Amz-Bearer"))
        return self.answer


class Fixture:
    def __init__(self, server: Server, api: ConnectApi, contacts: Contacts) -> None:
        self.server = server
        self.api = api
        self.contacts = contacts


@pytest.fixture
async def made() -> AsyncIterator[Fixture]:
    server = Server()
    application = web.Application()
    application.add_routes([web.route("*", "/{path:.*}", server.serve)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    settings = ConnectSettings(
        region="us-east-1", endpoint_url_participant=url, start_chat_url=f"{url}/start?key=secret"
    )
    async with new_session() as session:
        api = ConnectApi(settings, Quotas(SystemClock()), session)
        yield Fixture(server, api, Contacts(api, settings))
        api.close()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "failure", "code"),
    [
        (web.Response(status=302, headers={"Location": "/elsewhere"}), Temporary, "HTTP 302"),
        (web.Response(status=200, text="<html>"), Uncertain, "UnreadableAnswer"),
        (web.Response(status=200, text="[1]"), Uncertain, "UnreadableAnswer"),
        (web.Response(status=200, body=b"[" * 100_000), Uncertain, "UnreadableAnswer"),
        (web.Response(status=200, body=b" " * (17 << 20)), Uncertain, "AnswerTooLong"),
        (web.Response(status=400, text="<html>"), Rejected, "HTTP 400"),
        (web.Response(status=503, text="busy"), Temporary, "HTTP 503"),
    ],
)
async def test_answers_that_are_not_connects(
    made: Fixture, answer: web.Response, failure: type[Failure], code: str
) -> None:
    made.server.answer = answer
    with pytest.raises(failure) as caught:
        await made.api.participant("SendMessage", "secret-token", {"Content": "secret"})
    assert type(caught.value) is failure
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert made.server.paths == ["/participant/message"]
    assert made.server.bearers == ["secret-token"]


async def test_a_403_is_for_contacts_to_judge(made: Fixture) -> None:
    made.server.answer = web.Response(status=403, text="{}")
    with pytest.raises(Forbidden):
        await made.api.participant("SendMessage", "token", {})


STARTED = {"ContactId": "c", "ParticipantId": "p", "ParticipantToken": "t"}


@pytest.mark.parametrize(
    "answer", [STARTED, {"data": {"startChatResult": STARTED}}, {"startChatResult": STARTED}]
)
async def test_a_start_chat_url_may_wrap_its_answer(
    made: Fixture, answer: dict[str, object]
) -> None:
    made.server.answer = web.json_response(answer)
    started = await made.contacts.start('{"ParticipantDetails":{"DisplayName":"Ann"}}')
    assert (started.contact.contact_id, started.contact.participant_token) == ("c", "t")
    assert (started.socket_url, started.contact.connection_token) == ("", "")


@pytest.mark.parametrize("answer", [{}, {"data": []}, {"data": {"startChatResult": []}}])
async def test_a_start_that_tells_nothing_is_uncertain(
    made: Fixture, answer: dict[str, object]
) -> None:
    made.server.answer = web.json_response(answer)
    with pytest.raises(Uncertain):
        await made.contacts.start("{}")


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ({"data": {"Error": {"code": "InvalidRequestException", "statusCode": 400}}}, Rejected),
        (
            {
                "data": {
                    "error": {
                        "name": "InvalidRequestException",
                        "$metadata": {"httpStatusCode": 400},
                    }
                }
            },
            Rejected,
        ),
        ({"data": {"Error": {"code": "TooManyRequestsException", "statusCode": 429}}}, Temporary),
        ({"data": {"Error": "text"}}, Temporary),
        ({"message": "Internal server error"}, Temporary),
        ("text", Temporary),
    ],
)
async def test_errors_inside_a_500_of_the_start_chat_url(
    made: Fixture, body: object, failure: type[Failure]
) -> None:
    made.server.answer = web.json_response(body, status=500)
    with pytest.raises(failure) as caught:
        await made.contacts.start("{}")
    assert type(caught.value) is failure
    assert "secret" not in str(caught.value)


async def test_after_the_end_no_call_begins(made: Fixture) -> None:
    made.api.close()
    with pytest.raises(Temporary):
        await made.api.participant("SendMessage", "token", {})
    assert made.server.paths == []


async def test_the_guard_stops_a_call(made: Fixture) -> None:
    class Sacked(Exception):
        pass

    def guard() -> None:
        raise Sacked

    with pytest.raises(Sacked):
        await made.api.participant("SendMessage", "token", {}, guard=guard)
    assert made.server.paths == []
