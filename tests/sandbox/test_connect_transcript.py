from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.connect_support import Chat, Connect, contents, refused, running


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with running() as one:
        yield one


@pytest.fixture
async def chat(connect: Connect) -> Chat:
    """A chat with the messages 0 to 24; the socket is not open, so there is nothing else."""
    one = await connect.chat()
    for number in range(25):
        await one.say(str(number))
    return one


async def pages(chat: Chat, **members: Any) -> list[list[str]]:
    """All pages of a scan."""
    answer = await chat.call("get_transcript", **members)
    result = [contents(answer["Transcript"])]
    while token := answer.get("NextToken"):
        answer = await chat.call("get_transcript", **members | {"NextToken": token})
        result.append(contents(answer["Transcript"]))
    return result


def numbers(*values: int) -> list[str]:
    return [str(each) for each in values]


async def test_by_default_the_newest_ten_come_newest_first(chat: Chat) -> None:
    answer = await chat.call("get_transcript")
    assert contents(answer["Transcript"]) == numbers(*range(24, 14, -1))
    assert answer["InitialContactId"] == chat.id


async def test_backward_pages_reach_the_oldest(chat: Chat) -> None:
    assert await pages(chat, SortOrder="ASCENDING") == [
        numbers(*range(15, 25)),
        numbers(*range(5, 15)),
        numbers(*range(5)),
    ]
    assert await pages(chat, MaxResults=100) == [numbers(*range(24, -1, -1))]


async def test_forward_pages_from_an_id_begin_with_it(chat: Chat) -> None:
    items = await chat.transcript()
    start = {"Id": items[20]["Id"]}
    assert await pages(chat, StartPosition=start, SortOrder="ASCENDING", MaxResults=3) == [
        numbers(20, 21, 22),
        numbers(23, 24),
    ]
    assert await pages(chat, StartPosition=start, ScanDirection="BACKWARD", MaxResults=11) == [
        numbers(*range(20, 9, -1)),
        numbers(*range(9, -1, -1)),
    ]


async def test_a_time_is_a_start_too_inclusive_both_ways(chat: Chat) -> None:
    items = await chat.transcript()
    start = {"AbsoluteTime": items[22]["AbsoluteTime"]}
    assert await pages(chat, StartPosition=start, SortOrder="ASCENDING") == [numbers(22, 23, 24)]
    backward = await pages(chat, StartPosition=start, ScanDirection="BACKWARD", MaxResults=100)
    assert backward == [numbers(*range(22, -1, -1))]
    late = {"AbsoluteTime": "2100-01-01T00:00:00.000Z"}
    assert await pages(chat, StartPosition=late) == [[]]
    early = {"AbsoluteTime": "2000-01-01T00:00:00.000Z"}
    assert await pages(chat, StartPosition=early, ScanDirection="BACKWARD") == [[]]


async def test_most_recent_counts_from_the_end(chat: Chat) -> None:
    assert await pages(chat, StartPosition={"MostRecent": 3}, SortOrder="ASCENDING") == [
        numbers(22, 23, 24)
    ]
    [everything] = await pages(chat, StartPosition={"MostRecent": 100}, MaxResults=100)
    assert len(everything) == 25


async def test_forward_without_a_start_begins_at_the_newest(chat: Chat) -> None:
    assert await pages(chat, ScanDirection="FORWARD") == [numbers(24)]


async def test_a_page_that_ends_the_scan_has_no_token(chat: Chat) -> None:
    answer = await chat.call("get_transcript", MaxResults=25)
    assert "NextToken" not in answer
    assert len(answer["Transcript"]) == 25


async def test_a_token_goes_on_from_where_it_was_given(chat: Chat) -> None:
    answer = await chat.call("get_transcript", MaxResults=5)
    await chat.say("25")
    answer = await chat.call("get_transcript", MaxResults=5, NextToken=answer["NextToken"])
    assert contents(answer["Transcript"]) == numbers(19, 18, 17, 16, 15)


@pytest.mark.parametrize(
    "members",
    [
        {"NextToken": "made up"},
        {"StartPosition": {"Id": "unknown"}},
        {"StartPosition": {"AbsoluteTime": "yesterday"}},
        {"StartPosition": {"AbsoluteTime": "2026-01-01T00:00:00"}},
        {"StartPosition": {"MostRecent": 1, "AbsoluteTime": "2026-01-01T00:00:00.000Z"}},
        {"ScanDirection": "SIDEWAYS"},
        {"SortOrder": "NONE"},
        {"MaxResults": 101},
        {"StartPosition": {"MostRecent": 101}},
    ],
)
async def test_what_means_nothing_is_refused(connect: Connect, members: dict[str, Any]) -> None:
    chat = await connect.chat()
    with refused("ValidationException", 400):
        await chat.call("get_transcript", **members)


async def test_an_empty_token_is_refused(connect: Connect) -> None:
    chat = await connect.chat()
    headers = {"X-Amz-Bearer": chat.token}
    url = f"{connect.url}/participant/transcript"
    async with connect.http.post(url, json={"NextToken": ""}, headers=headers) as answer:
        assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "ValidationException")


async def test_tokens_are_void_for_others_and_by_setting_after_a_reconnect(
    connect: Connect, chat: Chat
) -> None:
    token = (await chat.call("get_transcript"))["NextToken"]
    other = await connect.chat()
    with refused("ValidationException", 400):
        await other.call("get_transcript", NextToken=token)
    await chat.fresh_url()
    assert (await chat.call("get_transcript", NextToken=token))["Transcript"]
    connect.settings.next_tokens_void_on_reconnect = True
    await chat.fresh_url()
    with refused("ValidationException", 400):
        await chat.call("get_transcript", NextToken=token)


async def test_a_contact_of_the_chain_filters_and_a_foreign_one_yields_nothing(
    connect: Connect,
) -> None:
    async with connect.talking() as (chat, _):
        second = (await chat.desk("transfer", to="Omar"))["contact_id"]
        await chat.say("to omar")
        of_second = await chat.transcript(ContactId=second)
        assert contents(of_second) == ["transfer.succeeded", "participant.joined", "to omar"]
        of_first = await chat.transcript(ContactId=chat.id)
        assert contents(of_first)[-1:] == ["participant.left"]
        assert len(of_first) + len(of_second) == len(await chat.transcript())
        other = await connect.chat()
        answer = await chat.call("get_transcript", ContactId=other.id)
        assert (answer["Transcript"], answer["NextToken"]) == ([], "")


# --- persistent chat ---------------------------------------------------------------------


def persistent(kind: str, source: str) -> dict[str, Any]:
    return {"PersistentChat": {"RehydrationType": kind, "SourceContactId": source}}


async def three_segments(connect: Connect) -> tuple[str, str, str]:
    """An ended chat: C1, a transfer to C2, a survey in C3."""
    connect.settings.survey = "How was it?"
    async with connect.talking() as (chat, stream):
        await chat.say("in C1")
        second = (await chat.desk("transfer", to="Omar"))["contact_id"]
        await chat.say("in C2")
        third = (await chat.desk("leave"))["contact_id"]
        await chat.desk("end")
        await stream.until("application/vnd.amazonaws.connect.event.chat.ended")
    return chat.id, second, third


async def test_a_past_session_comes_back_whole_or_from_a_segment(connect: Connect) -> None:
    connect.settings.persistent_ready_seconds = 0.0
    first, second, third = await three_segments(connect)
    whole = await connect.chat(**persistent("ENTIRE_PAST_SESSION", first))
    assert whole.started["ContinuedFromContactId"] == third
    part = await connect.chat(**persistent("FROM_SEGMENT", second))
    assert part.started["ContinuedFromContactId"] == second

    [now, *past] = await pages(part, SortOrder="ASCENDING", ScanDirection="BACKWARD")
    assert now == []
    said = [each for page in reversed(past) for each in page]
    assert [each for each in said if each.startswith("in ")] == ["in C1", "in C2"]
    assert "How was it?" not in said
    [_, *past] = await pages(whole, SortOrder="ASCENDING", ScanDirection="BACKWARD")
    said = [each for page in reversed(past) for each in page]
    assert said[-2:] == ["How was it?", "chat.ended"]


async def test_past_items_name_their_contact_as_related(connect: Connect) -> None:
    connect.settings.persistent_ready_seconds = 0.0
    connect.settings.survey = None
    async with connect.talking() as (old, _):
        await old.say("long ago")
        await old.desk("end")
    chat = await connect.chat(**persistent("ENTIRE_PAST_SESSION", old.id))
    await chat.say("now")
    answer = await chat.call("get_transcript", SortOrder="ASCENDING")
    assert [each["ContactId"] for each in answer["Transcript"]] == [chat.id]
    past = (
        await chat.call(
            "get_transcript",
            NextToken=answer["NextToken"],
            ScanDirection="BACKWARD",
            SortOrder="ASCENDING",
        )
    )["Transcript"]
    assert "long ago" in contents(past)
    assert {each["RelatedContactId"] for each in past} == {old.id}
    assert not any("ContactId" in each for each in past)
    # StartPosition and ContactId do not reach the past.
    with refused("ValidationException", 400):
        await chat.call("get_transcript", StartPosition={"Id": past[0]["Id"]})
    for members in ({"StartPosition": {"MostRecent": 100}}, {"ContactId": chat.id}):
        answer = await chat.call("get_transcript", ScanDirection="BACKWARD", **members)
        assert contents(answer["Transcript"]) == ["now"]
        assert "NextToken" not in answer


async def test_links_add_up(connect: Connect) -> None:
    connect.settings.persistent_ready_seconds = 0.0
    members: dict[str, Any] = {}
    for text in ("one", "two", "three"):
        chat = await connect.chat(**members)
        await chat.say(text)
        await chat.desk("end")
        members = persistent("FROM_SEGMENT", chat.id)
    last = await connect.chat(**members)
    said = [each for page in await pages(last) for each in page]
    assert [each for each in said if each != "chat.ended"] == ["three", "two", "one"]


async def test_only_the_past_that_is_ready_can_be_linked(connect: Connect) -> None:
    connect.settings.persistent_ready_seconds = 0.0
    chat = await connect.chat()
    with refused("InvalidRequestException", 400):
        await connect.start(**persistent("FROM_SEGMENT", chat.id))
    with refused("ResourceNotFoundException", 404):
        await connect.start(**persistent("FROM_SEGMENT", "unknown"))
    await chat.desk("end")
    connect.settings.persistent_ready_seconds = 30.0
    with refused("InvalidRequestException", 400):
        await connect.start(**persistent("FROM_SEGMENT", chat.id))
    connect.settings.persistent_ready_seconds = 0.0
    await connect.start(**persistent("FROM_SEGMENT", chat.id))
    _, second, _ = await three_segments(connect)
    with refused("InvalidRequestException", 400):
        await connect.start(**persistent("ENTIRE_PAST_SESSION", second))
