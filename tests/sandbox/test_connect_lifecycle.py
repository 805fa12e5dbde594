from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bridge.sandbox.connect.settings import Settings
from tests.sandbox.connect_support import EVENT, Connect, contents, refused, running

ENDED = EVENT + "chat.ended"
GREETING = Settings().greeting


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with running() as one:
        yield one


async def reason(connect: Connect, contact_id: str) -> object:
    contact = (await connect.control("describe_contact", ContactId=contact_id))["Contact"]
    return contact.get("DisconnectReason")


async def test_the_flow_waits_for_the_customers_socket(connect: Connect) -> None:
    initial = {"ContentType": "text/plain", "Content": "I need help"}
    chat = await connect.chat(InitialMessage=initial)
    assert (await chat.show())["state"] == "waiting_for_customer"
    assert contents(await chat.transcript()) == ["I need help"]
    async with chat.stream() as stream:
        seen = await stream.until(str(GREETING))
        assert contents(seen) == ["I need help", "participant.joined", GREETING]
        assert [each["ParticipantRole"] for each in seen] == ["CUSTOMER", "CUSTOMER", "SYSTEM"]
        assert (await chat.show())["state"] == "queued"
        assert contents(await chat.transcript()) == contents(seen)


async def test_a_chat_stopped_before_its_flow_runs_never_greets(connect: Connect) -> None:
    connect.settings.flow_seconds = 0.05
    chat = await connect.chat()
    async with chat.stream() as stream:
        await connect.control("stop_contact", ContactId=chat.id)
        assert contents(await stream.items(1)) == ["chat.ended"]
        async with connect.talking():
            pass  # The flow of a later chat ran, so this one's was due.
        assert contents((await chat.show())["transcript"]) == ["chat.ended"]


async def test_a_chat_that_nobody_connected_to_dies(connect: Connect) -> None:
    connect.settings.customer_connect_seconds = 0.02
    chat = await connect.chat()
    report = await chat.wait(state="ended")
    assert report["disconnect_reason"] == "CUSTOMER_CONNECTION_NOT_ESTABLISHED"
    assert await reason(connect, chat.id) == "CUSTOMER_CONNECTION_NOT_ESTABLISHED"
    with refused("AccessDeniedException", 403):
        await chat.fresh_url()


async def test_a_connected_chat_outlives_that_limit_but_not_its_duration(
    connect: Connect,
) -> None:
    connect.settings.customer_connect_seconds = 1.0
    connect.settings.minute_seconds = 0.025
    async with connect.talking(ChatDurationInMinutes=60) as (chat, stream):
        seen = await stream.until(ENDED)
        assert contents(seen) == ["chat.ended"]
        assert await reason(connect, chat.id) == "EXPIRED"


async def test_the_end_names_nobody_and_is_last(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await chat.desk("leave")
        left, ended = await stream.items(2)
        assert (left["ContentType"], left["DisplayName"]) == (EVENT + "participant.left", "Mina")
        assert ended.keys() == {
            "AbsoluteTime",
            "ContentType",
            "Id",
            "Type",
            "InitialContactId",
            "ContactId",
        }
        assert ended["ContentType"] == ENDED
        assert await reason(connect, chat.id) == "AGENT_DISCONNECT"
        for action, body in (
            ("messages", {"text": "x"}),
            ("typing", {}),
            ("accept", {}),
            ("join", {"name": "Boss"}),
            ("leave", {}),
            ("transfer", {"to": "Omar"}),
            ("end", {}),
        ):
            await connect.desk("POST", f"contacts/{chat.id}/{action}", body, status=409)
        assert contents((await chat.show())["transcript"])[-1:] == ["chat.ended"]


async def test_a_survey_keeps_the_chat_until_it_is_answered(connect: Connect) -> None:
    connect.settings.survey = "How was it?"
    async with connect.talking() as (chat, stream):
        await chat.desk("leave")
        assert contents(await stream.items(2)) == ["participant.left", "How was it?"]
        report = await chat.show()
        assert report["state"] == "disconnect_flow"
        assert report["contact_id"] != report["initial_contact_id"] == chat.id
        await chat.say("good")
        assert contents(await stream.items(2)) == ["good", "chat.ended"]
        survey = (await connect.control("describe_contact", ContactId=report["contact_id"]))[
            "Contact"
        ]
        assert (survey["InitiationMethod"], survey["PreviousContactId"]) == ("DISCONNECT", chat.id)
        assert survey["DisconnectReason"] == "CONTACT_FLOW_DISCONNECT"
        assert await reason(connect, chat.id) == "AGENT_DISCONNECT"


async def test_a_survey_nobody_answers_ends_too(connect: Connect) -> None:
    connect.settings.survey, connect.settings.survey_seconds = "How was it?", 0.02
    async with connect.talking() as (chat, stream):
        await chat.desk("leave")
        assert contents(await stream.until(ENDED))[-2:] == ["How was it?", "chat.ended"]


async def test_a_transfer_changes_the_contact_and_nothing_else(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        report = await chat.desk("transfer", to="Omar")
        left, moved, joined = await stream.items(3)
        assert contents([left, moved, joined]) == [
            "participant.left",
            "transfer.succeeded",
            "participant.joined",
        ]
        assert (left["DisplayName"], joined["DisplayName"]) == ("Mina", "Omar")
        assert left["ContactId"] == chat.id != joined["ContactId"] == report["contact_id"]
        assert {each["InitialContactId"] for each in (left, moved, joined)} == {chat.id}
        await chat.say("still me")
        assert (await stream.item())["ContactId"] == report["contact_id"]
        second = (await connect.control("describe_contact", ContactId=report["contact_id"]))[
            "Contact"
        ]
        assert (second["InitiationMethod"], second["PreviousContactId"]) == ("TRANSFER", chat.id)
        first = (await connect.control("describe_contact", ContactId=chat.id))["Contact"]
        assert "DisconnectTimestamp" in first
        by_new_id = await connect.desk("GET", f"contacts/{report['contact_id']}")
        assert by_new_id["initial_contact_id"] == chat.id
        with refused("ContactNotFoundException", 410):
            await connect.control("stop_contact", ContactId=chat.id)
        with refused("ResourceNotFoundException", 404):
            await connect.control("get_contact_attributes", InitialContactId=report["contact_id"])
        await connect.control("stop_contact", ContactId=report["contact_id"])
        assert contents(await stream.items(1)) == ["chat.ended"]


async def test_a_chat_can_go_back_to_the_queue_and_a_transfer_can_fail(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await chat.desk("transfer", fail=True)
        assert contents(await stream.items(1)) == ["transfer.failed"]
        assert (await chat.desk("transfer"))["state"] == "queued"
        assert contents(await stream.items(2)) == ["participant.left", "transfer.succeeded"]
        assert (await chat.desk("accept", name="Omar"))["agent"] == "Omar"


async def test_a_supervisor_leaving_ends_nothing(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await chat.desk("join", name="Boss")
        await chat.desk("messages", text="hello", name="Boss")
        joined, said = await stream.items(2)
        assert joined["ParticipantRole"] == said["ParticipantRole"] == "SUPERVISOR"
        await chat.desk("leave", name="Boss")
        assert contents(await stream.items(1)) == ["participant.left"]
        assert (await chat.show())["state"] == "connected"


async def test_the_customers_exit_ends_the_chat(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        await chat.call("disconnect_participant")
        left, ended = await stream.items(2)
        assert (left["ParticipantRole"], ended["ContentType"]) == ("CUSTOMER", ENDED)
        assert await reason(connect, chat.id) == "CUSTOMER_DISCONNECT"
        with refused("AccessDeniedException", 403):
            await chat.call("disconnect_participant")


async def test_by_setting_the_agent_stays_after_the_customers_exit(connect: Connect) -> None:
    connect.settings.customer_exit_ends = False
    async with connect.talking() as (chat, stream):
        await chat.call("disconnect_participant")
        with refused("AccessDeniedException", 403):
            await chat.say("gone")
        with refused("AccessDeniedException", 403):
            await chat.fresh_url()
        await chat.desk("messages", text="are you there?")
        await chat.desk("leave")
        assert contents(await stream.until(ENDED)) == [
            "participant.left",
            "are you there?",
            "participant.left",
            "chat.ended",
        ]


async def test_the_agent_goes_with_the_customer_where_the_chat_says_so(connect: Connect) -> None:
    connect.settings.survey = "How was it?"
    async with connect.talking(DisconnectOnCustomerExit=["AGENT"]) as (chat, stream):
        await chat.call("disconnect_participant", ClientToken="t")
        left, survey = await stream.items(2)
        assert (left["ParticipantRole"], survey["Content"]) == ("AGENT", "How was it?")
        await chat.call("disconnect_participant", ClientToken="t")
        assert (await chat.show())["state"] == "disconnect_flow"
        await chat.say("good")
        assert contents(await stream.items(2)) == ["good", "chat.ended"]


async def test_bots_and_flows_speak_in_their_roles(connect: Connect) -> None:
    async with connect.talking(agent=None) as (chat, stream):
        await chat.desk("messages", text="from the flow", **{"as": "flow"})
        await chat.desk("messages", text="from the bot", name="Lex", **{"as": "bot"})
        flow, bot = await stream.items(2)
        assert (flow["ParticipantRole"], flow["DisplayName"]) == ("SYSTEM", "SYSTEM_MESSAGE")
        assert (bot["ParticipantRole"], bot["DisplayName"]) == ("CUSTOM_BOT", "Lex")
        await connect.desk(
            "POST", f"contacts/{chat.id}/messages", {"text": "no agent yet"}, status=409
        )


async def test_only_a_queued_chat_is_accepted(connect: Connect) -> None:
    chat = await connect.chat()
    await connect.desk("POST", f"contacts/{chat.id}/accept", {"name": "Mina"}, status=409)
    async with connect.talking() as (other, _):
        await connect.desk("POST", f"contacts/{other.id}/accept", {"name": "Omar"}, status=409)
        assert (await other.show())["agent"] == "Mina"


async def test_waiting_tells_when_it_was_in_vain(connect: Connect) -> None:
    chat = await connect.chat()
    await connect.desk("GET", f"wait?contact={chat.id}&items=1&timeout=0.01", status=408)
    await chat.say("one")
    assert len((await chat.wait(items=1))["transcript"]) == 1
