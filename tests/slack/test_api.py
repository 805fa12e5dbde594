from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from bridge.core.errors import Denied, Failure, Gone, Rejected, StoreAway, Temporary, Uncertain
from bridge.sandbox.slack.server import SlackSandbox
from bridge.slack.api import Api
from bridge.slack.model import SlackSettings
from tests.slack.support import HELP, Kit, wired

POST = "chat.postMessage"
READ = "conversations.info"


async def post(kit: Kit, guard: Any = None) -> str:
    answer = await kit.api.write(POST, guard=guard, channel=HELP, text="hi")
    return str(answer["ts"])


async def failure(kit: Kit, method: str) -> Failure:
    with pytest.raises(Failure) as caught:
        await (post(kit) if method == POST else kit.api.read(READ, channel=HELP))
    return caught.value


async def test_identity_says_who_we_are(kit: Kit) -> None:
    me = kit.identity
    assert (me.workspace.team_id, me.bot_user_id) == ("T0SB000001", "U0SB000001")
    assert me.app_id == "A0SB000001"
    assert me.bot_id.startswith("B")
    assert me.scopes is not None
    assert me.may("chat:write")
    assert not me.may("admin")


async def test_identity_without_users_read(box: SlackSandbox) -> None:
    box.settings.granted_scopes = ("chat:write",)
    async with Api(SlackSettings("xoxb-sandbox", api_url=box.api_url)) as api:
        me = await api.identity()
    assert me.bot_id
    assert me.scopes == frozenset({"chat:write"})


@pytest.mark.parametrize(
    ("method", "fault", "kind", "retry_after", "posted"),
    [
        (POST, {"kind": "throttle", "retry_after": 7}, Temporary, 7.0, 0),
        (POST, {"kind": "error"}, Uncertain, None, 0),
        (POST, {"kind": "drop"}, Uncertain, None, 0),
        (POST, {"kind": "no_answer"}, Uncertain, None, 1),
        (POST, {"kind": "truncate"}, Uncertain, None, 1),
        (POST, {"kind": "internal_error_done"}, Uncertain, None, 1),
        (POST, {"kind": "reject", "error": "fatal_error"}, Uncertain, None, 0),
        (POST, {"kind": "reject", "error": "service_unavailable"}, Temporary, None, 0),
        (POST, {"kind": "reject", "error": "is_archived"}, Gone, None, 0),
        (POST, {"kind": "reject", "error": "not_in_channel"}, Gone, None, 0),
        (POST, {"kind": "reject", "error": "restricted_action_read_only_channel"}, Gone, None, 0),
        (POST, {"kind": "reject", "error": "token_revoked"}, Denied, None, 0),
        (POST, {"kind": "reject", "error": "missing_scope"}, Denied, None, 0),
        (POST, {"kind": "reject", "error": "msg_too_long"}, Rejected, None, 0),
        (POST, {"kind": "reject", "error": "never_heard_of"}, Rejected, None, 0),
        (READ, {"kind": "throttle", "retry_after": 3}, Temporary, 3.0, 0),
        (READ, {"kind": "error"}, Temporary, None, 0),
        (READ, {"kind": "truncate"}, Temporary, None, 0),
        (READ, {"kind": "reject", "error": "internal_error"}, Temporary, None, 0),
        (READ, {"kind": "reject", "error": "channel_not_found"}, Gone, None, 0),
    ],
)
async def test_failures(  # noqa: PLR0917 - columns of the table
    kit: Kit,
    method: str,
    fault: dict[str, Any],
    kind: type[Failure],
    retry_after: float | None,
    posted: int,
) -> None:
    await kit.people.do("faults", target=method, **fault)
    caught = await failure(kit, method)
    assert type(caught) is kind
    assert caught.call == method
    assert getattr(caught, "retry_after", None) == retry_after
    assert len(await kit.people.sees()) == posted
    assert len(await kit.people.calls(method)) == 1


async def test_a_429_rests_its_method_and_no_other(kit: Kit) -> None:
    await kit.people.fault("throttle", READ, retry_after=1)
    assert isinstance(await failure(kit, READ), Temporary)
    held = await failure(kit, READ)
    assert isinstance(held, Temporary)
    assert held.retry_after is not None
    assert 0.0 < held.retry_after <= 1.0
    assert len(await kit.people.calls(READ)) == 1
    await kit.api.read("conversations.members", channel=HELP)

    async with asyncio.timeout(8.0):
        while not await _answered(kit):
            await asyncio.sleep(0.05)
    assert len(await kit.people.calls(READ)) == 2


async def _answered(kit: Kit) -> bool:
    try:
        await kit.api.read(READ, channel=HELP)
    except Temporary:
        return False
    return True


async def test_a_429_of_a_post_is_for_whoever_knows_the_channels(kit: Kit) -> None:
    await kit.people.fault("throttle", POST, retry_after=30)
    assert isinstance(await failure(kit, POST), Temporary)
    await post(kit)


async def test_pages_go_on_after_a_429_where_they_were(box: SlackSandbox) -> None:
    """At one page a minute whoever began anew would never reach the second."""
    box.settings.history_limit = {"messages": 3, "per_minute": 60}
    pauses: list[float] = []
    async with wired(box) as kit:
        for index in range(7):
            await kit.people.say(f"message {index}")

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            await asyncio.sleep(seconds)

        async with Api(kit.settings, pause) as api:
            await kit.people.fault("throttle", "conversations.history", skip=1, retry_after=1)
            listed = await api.pages("conversations.history", "messages", channel=HELP)
    texts = [entry["text"] for entry in listed]
    assert texts == [f"message {index}" for index in range(6, -1, -1)]
    assert [0.0 < seconds <= 1.0 for seconds in pauses] == [True]


async def test_nothing_is_sent_twice(kit: Kit) -> None:
    await post(kit)
    await kit.people.fault("no_answer", POST)
    with pytest.raises(Uncertain):
        await post(kit)
    assert len(await kit.people.sees()) == 2


async def test_a_time_out_is_uncertain_for_a_post_only(box: SlackSandbox) -> None:
    async with wired(box, request_timeout=0.3, support_channels=("*",)) as kit:
        for method, kind in ((POST, Uncertain), (READ, Temporary)):
            await kit.people.fault("delay", method, seconds=0.8)
            assert type(await failure(kit, method)) is kind


async def test_a_refused_connection_is_temporary(box: SlackSandbox) -> None:
    async with wired(box) as kit:
        await box.stop()
        await kit.api.close()
        await kit.api.open()
        assert type(await failure(kit, POST)) is Temporary


async def test_a_closed_api_calls_nothing(box: SlackSandbox) -> None:
    api = Api(SlackSettings("xoxb-sandbox", api_url=box.api_url))
    async with api:
        await api.identity()
    with pytest.raises(RuntimeError):
        await api.write(POST, channel=HELP, text="late")


async def test_an_app_token_is_checked(box: SlackSandbox) -> None:
    for token in ("xapp-wrong", "xoxb-sandbox"):
        settings = SlackSettings("xoxb-sandbox", app_token=token, api_url=box.api_url)
        async with Api(settings) as api:
            with pytest.raises(Denied):
                await api.open_socket()


async def test_pages_are_read_to_the_end(kit: Kit) -> None:
    for index in range(7):
        await kit.people.say(f"message {index}")
    listed = await kit.api.pages("conversations.history", "messages", channel=HELP, limit=3)
    assert [entry["text"] for entry in listed] == [f"message {index}" for index in range(6, -1, -1)]
    assert len(await kit.people.calls("conversations.history")) == 3


class Sacked(Exception):
    pass


@pytest.mark.parametrize("error", [Sacked("x"), StoreAway("x"), OSError("x"), TimeoutError("x")])
@pytest.mark.parametrize("pooled", [False, True])
async def test_the_guard_stops_a_post(box: SlackSandbox, error: Exception, pooled: bool) -> None:
    async with wired(box) as kit:
        if not pooled:
            await kit.api.close()
            await kit.api.open()

        def guard() -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            await post(kit, guard)
        assert caught.value is error
        assert await kit.people.calls(POST) == []
        await post(kit)
        assert len(await kit.people.sees()) == 1


async def test_the_guard_is_asked_when_the_connection_is_in_hand(kit: Kit) -> None:
    """It is asked after the wait for a connection, however long that was."""
    order: list[str] = []
    await kit.people.do("faults", kind="delay", target=READ, seconds=0.2)

    async def occupied() -> None:
        await kit.api.read(READ, channel=HELP)
        order.append("read")

    def guard() -> None:
        order.append("guard")

    session = kit.api.sdk_client().session
    assert session is not None
    assert session.connector is not None
    session.connector._limit = 1
    reading = asyncio.create_task(occupied())
    await asyncio.sleep(0.05)
    await post(kit, guard)
    await reading
    assert order == ["read", "guard"]


async def test_no_token_and_no_text_in_logs_or_errors(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await kit.people.do("faults", target=POST, kind="truncate")
    with pytest.raises(Uncertain) as caught:
        await kit.api.write(POST, channel=HELP, text="a secret of Ana's")
    shown = f"{caught.value!r} {caplog.text}"
    assert "secret" not in shown
    assert "xoxb" not in shown
