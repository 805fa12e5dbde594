"""One contact against the stand-in, when nothing goes wrong."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.errors import Busy, Denied, Gone, Rejected
from bridge.core.lookback import NOTHING
from bridge.core.model import ItemKind
from tests.connect.service import World, world
from tests.connect.support import eventually, opening

__all__ = ["world"]


@pytest.mark.parametrize("connection_types", [True, False])
async def test_a_whole_chat(world: World, connection_types: bool) -> None:
    side = world.side(connection_types=connection_types)
    talk = await world.talk(side)
    greeting = talk.listener.texts("SYSTEM")
    assert greeting == ["Welcome to support. An agent will be with you shortly."]

    sent = await talk.chat.send("My router is broken", "t-1")
    again = await talk.chat.send("My router is broken", "t-1")
    assert again == sent
    await world.desk.say(talk.id, "Which colour is its light?")
    await eventually(lambda: talk.listener.texts("AGENT"), "the answer")
    assert talk.listener.texts("AGENT") == ["Which colour is its light?"]
    echoes = [each for each in talk.listener.told if each.id == sent.item_id]
    assert [(each.own, each.text, each.time) for each in echoes] == [
        (True, "My router is broken", sent.time)
    ]

    await world.desk.act(talk.id, "leave")
    await eventually(lambda: ItemKind.ENDED in talk.listener.kinds(), "the end")
    assert talk.listener.kinds()[-2:] == [ItemKind.LEFT, ItemKind.ENDED]
    assert talk.listener.overs == 0
    assert len(talk.listener.ids) == len(set(talk.listener.ids))
    with pytest.raises(Gone):
        await talk.chat.send("Are you there?", "t-2")
    await talk.chat.end("t-3")
    connections = await world.desk.requests("CreateParticipantConnection")
    assert len(connections) == (0 if connection_types else 1)
    assert len(talk.listener.renewals) == (0 if connection_types else 1)


async def test_attributes_and_name_reach_the_agent(world: World) -> None:
    talk = await world.talk()
    contact = await world.desk.contact(talk.id)
    assert contact["display_name"] == "Ann Example"
    assert contact["attributes"]["customer_email"] == "ann@example.com"
    assert contact["client_token"]


async def test_the_initial_message_is_the_customers_first_item(world: World) -> None:
    talk = await world.talk(text="My router is broken")
    own = [each.text for each in talk.listener.told if each.own and each.text]
    assert own == ["My router is broken"]


async def test_a_repeated_request_starts_one_contact(world: World) -> None:
    side = world.side()
    request = side.compose(opening())
    first, second = await side.start(request), await side.start(request)
    assert first.contact.contact_id == second.contact.contact_id
    assert len((await world.desk.call("GET", "contacts"))["contacts"]) == 1


async def test_a_service_without_connection_types_is_remembered(world: World) -> None:
    await world.desk.settings(connection_types="refused")
    side = world.side()
    await world.talk(side)
    assert len(await world.desk.requests("StartChatContact")) == 2
    await world.talk(side)
    assert len(await world.desk.requests("StartChatContact")) == 3


async def test_a_start_chat_url_needs_no_aws_credentials(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    side = world.side(start_chat_url=f"{world.sandbox.url}/startChat", endpoint_url_connect="")
    talk = await world.talk(side)
    await talk.chat.send("Hello", "t-1")
    assert await world.desk.heard(talk.id) == ["Hello"]
    with pytest.raises(Denied):
        await world.start(world.side())


@pytest.mark.parametrize("status", [None, 500])
async def test_the_start_chat_url_passes_refusals_on(world: World, status: int | None) -> None:
    await world.desk.settings(start_chat_error_status=status)
    side = world.side(start_chat_url=f"{world.sandbox.url}/startChat")
    with pytest.raises(Rejected):
        await world.start(side, source="no-such-contact")
    await world.desk.settings(concurrent_chats=0)
    with pytest.raises(Busy):
        await world.start(side)


async def test_a_continued_chat_brings_its_past_marked_as_such(world: World) -> None:
    await world.desk.settings(persistent_ready_seconds=0.0)
    side = world.side()
    first = await world.talk(side)
    await first.chat.send("Remember the number 7", "t-1")
    await world.desk.say(first.id, "I will")
    await world.desk.act(first.id, "end")
    await eventually(lambda: ItemKind.ENDED in first.listener.kinds(), "the end")

    second = await world.talk(side, source=first.id)
    past = [each for each in second.listener.told if each.past]
    assert [each.text for each in past if each.role == "AGENT" and each.text] == ["I will"]
    assert {each.id for each in past} >= {each.id for each in first.listener.told if each.text}
    assert [each.text for each in past if each.own and each.text] == ["Remember the number 7"]
    assert second.listener.overs == 0
    await second.chat.send("Which number?", "t-2")


async def test_a_past_that_cannot_be_continued_is_refused(world: World) -> None:
    side = world.side()
    with pytest.raises(Rejected):
        await world.start(side, source="11111111-2222-3333-4444-555555555555")
    assert (await world.start(side)).contact.contact_id


async def test_all_chats_taken(world: World) -> None:
    await world.desk.settings(concurrent_chats=0)
    with pytest.raises(Busy):
        await world.start(world.side())


async def test_a_transfer_does_not_end_it(world: World) -> None:
    talk = await world.talk()
    await world.desk.act(talk.id, "transfer", to="Omar")
    await eventually(lambda: any(each.name == "Omar" for each in talk.listener.told), "Omar")
    await world.desk.say(talk.id, "Omar here")
    await eventually(lambda: talk.listener.texts("AGENT"), "the new agent")
    assert ItemKind.TRANSFERRED in talk.listener.kinds()
    assert (await talk.chat.send("Hello Omar", "t-1")).item_id


async def test_the_customer_leaves_and_hears_the_rest(world: World) -> None:
    await world.desk.settings(survey="How was it?", survey_seconds=0.2)
    talk = await world.talk()
    await talk.chat.end("t-1")
    await eventually(lambda: ItemKind.ENDED in talk.listener.kinds(), "the end")
    await talk.chat.end("t-2")


async def test_catching_up_after_a_restart_uses_the_stored_token(world: World) -> None:
    talk = await world.talk()
    sent = (await talk.chat.send("In the air", "t-1")).item_id
    await eventually(lambda: sent in talk.listener.ids, "the echo")
    seen = NOTHING.plus((each.id, each.time) for each in talk.listener.told if each.id != sent)
    await talk.chat.close()
    await world.desk.fault("delay", "CreateParticipantConnection", seconds=0.5)
    before = len(await world.desk.requests("CreateParticipantConnection"))

    contact = replace(talk.started.contact, connected=True)
    chat, listener = world.listen(world.side(), contact, seen)
    read = await chat.catch_up()
    assert sent in [each.id for each in read]
    assert [each.time for each in read] == sorted(each.time for each in read)
    assert listener.ids == [sent]
    assert listener.subscriptions == 0
    await eventually(lambda: listener.subscriptions, "subscribed")
    assert listener.ids == [sent]
    assert len(await world.desk.requests("CreateParticipantConnection")) == before + 1


async def test_typing_and_receipts_keep_their_pace(world: World) -> None:
    talk = await world.talk()
    item = await world.desk.say(talk.id, "Hello")
    await eventually(lambda: talk.listener.texts("AGENT"), "the message")
    for _ in range(5):
        talk.chat.typing()
        talk.chat.delivered("an-older-item")
        talk.chat.delivered(item["Id"])

    assert await world.desk.statuses("SendEvent", count=2) == [200, 200]
    transcript = (await world.desk.contact(talk.id))["transcript"]
    received = [each["Id"] for each in transcript if "MessageMetadata" in each]
    assert received == [item["Id"]]


async def test_receipts_stop_where_more_than_two_talk(world: World) -> None:
    talk = await world.talk()
    item = await world.desk.say(talk.id, "Hello")
    await world.desk.act(talk.id, "join", name="Boss", role="SUPERVISOR")
    talk.chat.delivered(item["Id"])
    assert await world.desk.statuses("SendEvent", count=1) == [409]
    talk.chat.delivered(item["Id"])
    assert (await talk.chat.send("Still here", "t-1")).item_id
    assert await world.desk.statuses("SendEvent", count=1) == [409]


async def test_closing_leaves_the_contact_alone(world: World) -> None:
    side = world.side()
    talk = await world.talk(side)
    await side.close()
    contact = await world.desk.contact(talk.id)
    assert contact["state"] == "connected"
    assert talk.listener.overs == 0
    assert ItemKind.ENDED not in talk.listener.kinds()


async def test_two_listeners_of_one_contact_hear_the_same(world: World) -> None:
    talk = await world.talk()
    chat, other = world.listen(world.side(), talk.started.contact)
    await eventually(lambda: other.subscriptions, "subscribed")
    await world.desk.say(talk.id, "Hello both")
    await eventually(lambda: talk.listener.texts("AGENT") and other.texts("AGENT"), "the message")
    assert other.ids == talk.listener.ids
    await chat.close()
