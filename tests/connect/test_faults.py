"""One contact against the stand-in, when things go wrong."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from msgspec.structs import replace

from bridge import metrics
from bridge.core.errors import Gone, Rejected, Temporary, Uncertain
from bridge.core.lookback import NOTHING
from bridge.core.model import ItemKind
from tests.connect.service import Talk, World, poll, world
from tests.connect.support import Listener, eventually, opening

__all__ = ["world"]

GREETING = "Welcome to support. An agent will be with you shortly."


async def hears(talk: Talk, *texts: str) -> None:
    """Wait until the agent's messages are these; none may come twice or in another order."""
    await eventually(lambda: len(talk.listener.texts("AGENT")) >= len(texts), str(texts))
    assert talk.listener.texts("AGENT") == list(texts)
    assert len(talk.listener.ids) == len(set(talk.listener.ids))


def losses() -> float:
    labels = {"side": "connect", "call": "socket", "reason": "lost"}
    return metrics.REGISTRY.get_sample_value("bridge_retries_total", labels) or 0.0


async def reconnected(talk: Talk, subscriptions: int) -> None:
    await eventually(lambda: talk.listener.subscriptions > subscriptions, "subscribed again")


# --- what was said meanwhile is not missed ------------------------------------------------------


async def test_a_greeting_whose_frame_is_lost(world: World) -> None:
    await world.desk.fault("lose_frames", "socket", times=None)
    side = world.side()
    started = await world.start(side)
    listener = Listener()
    side.listen(started.contact, NOTHING, listener, started)
    await eventually(lambda: listener.texts("SYSTEM"), "greeting")
    assert listener.texts("SYSTEM") == [GREETING]


async def test_sockets_drop_while_the_agent_writes(world: World) -> None:
    talk = await world.talk()
    await world.desk.fault("delay", "CreateParticipantConnection", seconds=0.3)
    subscriptions = talk.listener.subscriptions
    await world.desk.act(talk.id, "drop_sockets")
    for number in range(3):
        await world.desk.say(talk.id, str(number))
    await reconnected(talk, subscriptions)
    await world.desk.say(talk.id, "3")
    await hears(talk, "0", "1", "2", "3")


async def test_a_gap_longer_than_a_page_and_than_what_is_remembered(world: World) -> None:
    side = world.side(lookback_items=5, lookback_seconds=0.05)
    talk = await world.talk(side)
    await world.desk.fault("delay", "CreateParticipantConnection", seconds=1.0)
    await world.desk.act(talk.id, "drop_sockets")
    texts = [str(number) for number in range(230)]
    for text in texts:
        await world.desk.say(talk.id, text)
    await hears(talk, *texts)


async def test_frames_wait_until_the_gap_before_them_is_filled(world: World) -> None:
    talk = await world.talk()
    await world.desk.fault("delay", "CreateParticipantConnection", seconds=0.2)
    await world.desk.fault("error", "GetTranscript", times=2)
    await world.desk.act(talk.id, "drop_sockets")
    await world.desk.say(talk.id, "missed")

    async def subscribed() -> bool:
        return any(each["subscribed"] for each in await world.desk.sockets())

    await poll(subscribed)
    await world.desk.say(talk.id, "heard")
    await hears(talk, "missed", "heard")


async def test_duplicates(world: World) -> None:
    talk = await world.talk()
    await world.desk.fault("duplicate_frames", "socket", times=3)
    for text in "abc":
        await world.desk.say(talk.id, text)
    await world.desk.say(talk.id, "d")
    await hears(talk, *"abcd")


async def test_frames_in_the_wrong_order(world: World) -> None:
    talk = await world.talk(world.side(reorder_window_ms=400))
    await world.desk.fault("reorder_frames", "socket", seconds=5)
    await world.desk.say(talk.id, "first")
    await world.desk.say(talk.id, "second")
    await hears(talk, "first", "second")


async def test_without_a_window_what_comes_late_is_told_late(world: World) -> None:
    talk = await world.talk(world.side(reorder_window_ms=0, late_read_seconds=60))
    await world.desk.fault("reorder_frames", "socket", seconds=5)
    await world.desk.say(talk.id, "first")
    await world.desk.say(talk.id, "second")
    await hears(talk, "second", "first")


async def test_an_item_that_appears_late_in_the_transcript(world: World) -> None:
    # Reconnecting takes up to a second, so that the first read comes before the item.
    talk = await world.talk(world.side(late_read_seconds=2.0))
    await world.desk.fault("late_transcript", "socket", seconds=1.5)
    await world.desk.fault("lose_frames", "socket")
    await world.desk.say(talk.id, "late")
    await world.desk.act(talk.id, "drop_sockets")
    await hears(talk, "late")


async def test_a_silent_socket_is_found_by_its_heartbeats(world: World) -> None:
    talk = await world.talk(world.side(heartbeat_seconds=0.2))
    await world.desk.fault("silent", "socket")
    subscriptions = talk.listener.subscriptions
    await world.desk.say(talk.id, "Can you hear me?")
    await reconnected(talk, subscriptions)
    await hears(talk, "Can you hear me?")


async def test_a_socket_that_never_acknowledges_is_replaced(world: World) -> None:
    await world.desk.fault("silent", "socket")
    side = world.side()
    begun = time.monotonic()
    talk = await world.talk(side)
    assert time.monotonic() - begun > 2.9  # three tries, a second each
    await world.desk.say(talk.id, "Hello")
    await hears(talk, "Hello")


async def test_rotation_loses_nothing_and_doubles_nothing(world: World) -> None:
    side = world.side(heartbeat_seconds=0.05, rotate_seconds=(0.1, 0.2))
    talk = await world.talk(side)
    texts = [str(number) for number in range(60)]
    for text in texts:
        await world.desk.say(talk.id, text)
        await asyncio.sleep(0.02)
    await hears(talk, *texts)
    assert talk.listener.subscriptions > 3
    sockets = await world.desk.sockets()
    assert len(sockets) <= 2


async def test_a_socket_lost_while_it_is_replaced_leaves_one(world: World) -> None:
    talk = await world.talk(world.side(heartbeat_seconds=0.05, rotate_seconds=(1.0, 1.0)))
    await world.desk.fault("delay", "CreateParticipantConnection", seconds=0.6)
    await world.desk.statuses("CreateParticipantConnection", count=1)
    subscriptions = talk.listener.subscriptions
    await world.desk.act(talk.id, "drop_sockets")
    await reconnected(talk, subscriptions)

    async def answered() -> bool:
        requests = await world.desk.requests("CreateParticipantConnection")
        return all(each["status"] for each in requests[:2])

    await poll(answered)
    await asyncio.sleep(0.2)  # time for a second socket, were there one
    assert len(await world.desk.sockets()) == 1
    await world.desk.say(talk.id, "Hello")
    await hears(talk, "Hello")


async def test_a_socket_is_replaced_before_its_url_expires(world: World) -> None:
    await world.desk.settings(socket_seconds=1.0)
    before = losses()
    talk = await world.talk(world.side(heartbeat_seconds=0.05))
    await reconnected(talk, 2)
    assert losses() == before
    await world.desk.say(talk.id, "Hello")
    await hears(talk, "Hello")


async def test_frames_that_make_no_sense(world: World) -> None:
    talk = await world.talk()
    frames: tuple[object, ...] = (
        "not json",
        "[" * 1000,
        [],
        None,
        {"message": "Forbidden", "connectionId": "x", "requestId": "y"},
        {"topic": "aws/chat"},
        {"topic": "aws/chat", "content": "not json"},
        {"topic": "aws/chat", "content": "[1]"},
        {"topic": "aws/chat", "content": {"Id": [], "ContentType": {}}},
        {"topic": "aws/subscribe", "content": "nonsense"},
        {"topic": "aws/elsewhere", "content": {}},
        {"topic": ["aws/chat"]},
    )
    for frame in frames:
        await world.desk.act(talk.id, "frames", frame=frame)
    subscriptions = talk.listener.subscriptions
    await world.desk.say(talk.id, "Hello")
    await hears(talk, "Hello")
    assert talk.listener.subscriptions == subscriptions


async def test_an_answer_that_grows_is_told_when_it_is_complete(world: World) -> None:
    talk = await world.talk()
    await world.desk.say(talk.id, "", **{"as": "flow"}, chunks=["One ", "two ", "three"])
    await eventually(lambda: len(talk.listener.texts("SYSTEM")) > 1, "the answer")
    assert talk.listener.texts("SYSTEM") == [GREETING, "One two three"]


# --- credentials and the end --------------------------------------------------------------------


async def test_an_expired_token_is_renewed_once(world: World) -> None:
    talk = await world.talk()
    await world.desk.act(talk.id, "expire", what="connection_token")
    first, second = await asyncio.gather(talk.chat.send("one", "t-1"), talk.chat.send("two", "t-2"))
    assert first != second
    assert sorted(await world.desk.heard(talk.id)) == ["one", "two"]
    assert len(talk.listener.renewals) == 1
    assert len(await world.desk.requests("CreateParticipantConnection")) == 1
    assert talk.listener.overs == 0


async def test_a_token_is_renewed_before_it_expires(world: World) -> None:
    await world.desk.settings(token_seconds=30.0)  # less than the margin: every call renews
    talk = await world.talk()
    await talk.chat.send("one", "t-1")
    assert talk.listener.renewals
    assert set(await world.desk.statuses("SendMessage", count=1)) == {200}


DENIED = {"status": 403, "code": "AccessDeniedException", "message": "Access denied"}


async def test_a_token_that_expires_on_its_way_is_no_end(world: World) -> None:
    talk = await world.talk()
    await world.desk.fault("reject", "SendMessage", times=2, **DENIED)
    await talk.chat.send("one", "t-1")
    assert await world.desk.heard(talk.id) == ["one"]
    assert talk.listener.overs == 0


async def test_tokens_that_are_refused_again_and_again_are(world: World) -> None:
    talk = await world.talk()
    await world.desk.fault("reject", "SendMessage", times=None, **DENIED)
    with pytest.raises(Gone):
        await talk.chat.send("one", "t-1")
    assert talk.listener.overs == 1


async def test_two_403_are_the_end(world: World) -> None:
    talk = await world.talk()
    for what in ("connection_token", "participant_token"):
        await world.desk.act(talk.id, "expire", what=what)
    with pytest.raises(Gone):
        await talk.chat.send("one", "t-1")
    assert talk.listener.overs == 1
    with pytest.raises(Gone):
        await talk.chat.catch_up()
    assert talk.listener.overs == 1


async def test_an_end_that_nobody_told_us(world: World) -> None:
    talk = await world.talk()
    await world.desk.fault("lose_frames", "socket", times=None)
    await world.desk.act(talk.id, "end")
    await world.desk.act(talk.id, "drop_sockets")
    await eventually(lambda: talk.listener.overs, "over")
    assert talk.listener.overs == 1
    assert ItemKind.ENDED not in talk.listener.kinds()
    assert not await world.desk.sockets()


async def test_what_was_said_just_before_the_end_comes_before_it(world: World) -> None:
    talk = await world.talk()
    await world.desk.fault("delay_frames", "socket", seconds=0.2)
    await world.desk.say(talk.id, "Goodbye")
    await world.desk.act(talk.id, "end")
    await eventually(lambda: ItemKind.ENDED in talk.listener.kinds(), "the end")
    assert talk.listener.texts("AGENT") == ["Goodbye"]
    assert talk.listener.kinds()[-1] is ItemKind.ENDED
    assert talk.listener.overs == 0


async def test_a_contact_that_died_before_it_was_connected(world: World) -> None:
    await world.desk.settings(customer_connect_seconds=0.05)
    side = world.side(connection_types=False)
    started = await world.start(side)
    await world.desk.reached(started.contact.contact_id, "ended")
    listener = Listener()
    side.listen(started.contact, NOTHING, listener, started)
    await eventually(lambda: listener.overs, "over")
    assert (listener.overs, listener.subscriptions, listener.told) == (1, 0, [])


# --- calls --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "arrived"), [("no_answer", True), ("drop", False)])
async def test_a_send_without_answer_is_looked_up(world: World, kind: str, arrived: bool) -> None:
    talk = await world.talk()
    await world.desk.fault(kind, "SendMessage")
    with pytest.raises(Uncertain):
        await talk.chat.send("one", "t-1")
    own = [each.text for each in await talk.chat.catch_up() if each.own and each.text]
    assert own == (["one"] if arrived else [])
    await talk.chat.send("one", "t-1")
    assert await world.desk.heard(talk.id) == ["one"]


async def test_an_answer_that_takes_too_long_is_uncertain(world: World) -> None:
    talk = await world.talk(world.side(request_timeout=0.1))
    await world.desk.fault("delay", "SendMessage", seconds=5)
    with pytest.raises(Uncertain):
        await talk.chat.send("one", "t-1")


async def test_throttling(world: World) -> None:
    talk = await world.talk()
    await world.desk.fault("throttle", "SendMessage", retry_after=1)
    with pytest.raises(Temporary) as caught:
        await talk.chat.send("one", "t-1")
    assert caught.value.retry_after == 1
    begun = time.monotonic()
    await talk.chat.send("one", "t-1")
    assert time.monotonic() - begun > 0.9


@pytest.mark.parametrize(("kind", "failure"), [("error", Temporary), ("reject", Rejected)])
async def test_refused_sends(world: World, kind: str, failure: type[Exception]) -> None:
    talk = await world.talk()
    await world.desk.fault(kind, "SendMessage")
    with pytest.raises(failure):
        await talk.chat.send("one", "t-1")
    assert (await talk.chat.send("one", "t-1")).item_id


async def test_a_service_that_is_away(world: World) -> None:
    side = world.side()
    talk = await world.talk(side)
    request = side.compose(opening())
    await world.sandbox.stop()
    # A pooled connection may break only when it is written to.
    with pytest.raises((Temporary, Uncertain)):
        await talk.chat.send("one", "t-1")
    with pytest.raises(Temporary):
        await talk.chat.send("one", "t-1")
    with pytest.raises(Temporary):
        await side.start(request)
    assert talk.listener.overs == 0


async def test_no_secret_and_no_text_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="bridge")
    talk = await world.talk(world.side(heartbeat_seconds=0.1))
    for kind in ("silent", "close"):
        await world.desk.fault(kind, "socket")
        subscriptions = talk.listener.subscriptions
        await world.desk.say(talk.id, "my secret words")
        await reconnected(talk, subscriptions)
    await world.desk.settings(sockets_per_participant=0)
    await world.desk.act(talk.id, "drop_sockets")
    await eventually(lambda: "WSServerHandshakeError" in caplog.text, "a refused socket")
    await world.desk.fault("no_answer", "SendMessage")
    with pytest.raises(Uncertain) as caught:
        await talk.chat.send("my secret words", "t-1")
    contact = talk.started.contact
    said = caplog.text + repr(caught.value) + repr(talk.started) + repr(talk.listener.told)
    for secret in (
        contact.participant_token,
        contact.connection_token,
        talk.started.socket_url,
        "my secret words",
    ):
        assert secret
        assert secret not in said
    assert "token=" not in said


async def test_a_rotation_leaves_the_stored_token_alone(world: World) -> None:
    side = world.side(heartbeat_seconds=0.05, rotate_seconds=(0.1, 0.2))
    talk = await world.talk(side)
    await eventually(lambda: talk.listener.subscriptions > 3, "rotations")
    assert talk.listener.renewals == []
    await talk.chat.close()
    # What is stored is older than the newest, and works.
    contact = replace(talk.started.contact, connected=True)
    chat, _ = world.listen(side, contact)
    connections = len(await world.desk.requests("CreateParticipantConnection"))
    await world.desk.fault("delay", "CreateParticipantConnection", seconds=1.0, times=None)
    await chat.send("Still me", "t-1")
    assert await world.desk.heard(talk.id) == ["Still me"]
    assert len(await world.desk.requests("CreateParticipantConnection")) <= connections + 1


async def test_a_token_of_which_half_is_over_is_stored_anew(world: World) -> None:
    await world.desk.settings(token_seconds=11 * 3600.0)
    side = world.side(heartbeat_seconds=0.05, rotate_seconds=(0.1, 0.2))
    talk = await world.talk(side)
    await eventually(lambda: len(talk.listener.renewals) > 1, "a newer token")
