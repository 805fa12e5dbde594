"""Inbound and Outbound on a service that answers as the test says, in the test's own time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bridge.connect.api import ConnectSettings
from bridge.connect.contacts import Credentials
from bridge.connect.inbound import Inbound
from bridge.connect.outbound import Outbound
from bridge.connect.quota import Quotas, Rate, Urgency
from bridge.connect.refusals import Forbidden
from bridge.connect.translate import EVENT
from bridge.core.errors import Rejected, Temporary
from bridge.core.lookback import NOTHING
from bridge.core.model import Item
from tests.connect.support import FakeClock, Listener, settle

SETTINGS = ConnectSettings(region="us-east-1", reorder_window_ms=0, lookback_seconds=10)


class Service(Credentials):
    """Answers with what is queued for an operation, else with nothing."""

    def __init__(self) -> None:
        self.contact_id = "c-1"
        self.participant_id = "p-1"
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.answers: dict[str, list[dict[str, Any] | Exception]] = {}

    async def call(
        self,
        operation: str,
        body: Mapping[str, Any],
        urgency: Urgency = Urgency.WAITING,
        guard: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        if guard is not None:
            guard()
        self.calls.append((operation, dict(body)))
        queued = self.answers.get(operation)
        answer = queued.pop(0) if queued else {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def call_once(self, operation: str, body: Mapping[str, Any], urgency: Urgency) -> None:
        await self.call(operation, body, urgency)

    def heard(self, items: Sequence[Item]) -> None:
        self.segment_id = items[-1].segment_id

    def receipts(self) -> list[str]:
        return [
            json.loads(body["Content"])["messageId"]
            for operation, body in self.calls
            if body.get("ContentType") == EVENT + "message.delivered"
        ]


def frame(number: int) -> dict[str, Any]:
    return {
        "Id": f"i{number}",
        "AbsoluteTime": f"2026-03-04T10:{number // 60:02}:{number % 60:02}.000Z",
        "ContentType": "text/plain",
        "Content": str(number),
        "ParticipantRole": "AGENT",
    }


BEGIN = 1772618400.0  # frame(0)


def echo(number: int) -> dict[str, Any]:
    return frame(number) | {"ParticipantRole": "CUSTOMER", "ParticipantId": "p-1"}


def inbound(service: Service, clock: FakeClock, listener: Listener, *seen: int) -> Inbound:
    known = NOTHING.plus((f"i{number}", BEGIN + number) for number in seen)
    return Inbound(SETTINGS, clock, service, seen=known, listener=listener, on_ended=lambda: None)


def outbound(service: Service, clock: FakeClock, rate: float = 10) -> Outbound:
    quotas = Quotas(clock, {"SendEvent": Rate(rate, rate)})
    return Outbound(quotas, clock, service)


# --- inbound -----------------------------------------------------------------------------------


async def test_a_gap_that_was_never_filled_is_still_one_after_the_next_loss() -> None:
    service, clock, listener = Service(), FakeClock(), Listener()
    part = inbound(service, clock, listener, 0)
    service.answers["GetTranscript"] = [Temporary("GetTranscript", "InternalServerException")]
    part.subscribed(gap=True)
    await settle()
    # So many frames are let go although the gap before them is not filled.
    for number in range(100, 1101):
        part.heard(frame(number))
    assert len(listener.told) == 1001
    part.lost()

    old = [frame(number) for number in range(99, 0, -1)]
    service.answers["GetTranscript"] = [{"Transcript": old, "NextToken": ""}]
    part.subscribed(gap=True)
    await settle()
    assert [each.text for each in listener.told[1001:]] == [str(each) for each in range(1, 100)]
    await part.close()


@pytest.mark.parametrize("lost", [False, True])
async def test_an_end_that_is_heard_behind_a_gap_was_not_heard_to_its_end(lost: bool) -> None:
    """What the gap hides cannot be read any more: after the end the transcript is refused."""
    service, clock, listener = Service(), FakeClock(), Listener()
    ends: list[bool] = []
    part = Inbound(
        SETTINGS,
        clock,
        service,
        seen=NOTHING.plus([("i0", BEGIN)]),
        listener=listener,
        on_ended=lambda: ends.append(True),
    )
    service.answers["GetTranscript"] = [Temporary("GetTranscript", "InternalServerException")]
    part.subscribed(gap=True)
    await settle()
    part.heard(frame(2))
    part.heard(frame(3) | {"ContentType": EVENT + "chat.ended"})
    part.lost() if lost else part.flush()
    assert listener.ids == ["i2"]
    assert listener.overs == 1
    assert ends == [True]
    await part.close()


async def test_the_end_of_a_new_contact_is_told_although_it_was_not_read_yet() -> None:
    service, clock, listener = Service(), FakeClock(), Listener()
    part = inbound(service, clock, listener)
    part.heard(frame(1))
    part.heard(frame(2) | {"ContentType": EVENT + "chat.ended"})
    part.flush()
    assert listener.ids == ["i1", "i2"]
    assert listener.overs == 0
    await part.close()


async def test_a_transcript_that_is_refused_does_not_silence_the_sockets() -> None:
    service, clock, listener = Service(), FakeClock(), Listener()
    part = inbound(service, clock, listener)
    service.answers["GetTranscript"] = [Rejected("GetTranscript", "ValidationException")]
    part.heard(frame(1))
    assert listener.told == []
    part.subscribed(gap=True)
    await settle()
    assert listener.ids == ["i1"]
    assert listener.subscriptions == 1
    await part.close()


async def test_reading_goes_on_until_the_lookback_and_no_further() -> None:
    service, clock, listener = Service(), FakeClock(), Listener()
    part = inbound(service, clock, listener, 100)  # reads back to 90
    service.answers["GetTranscript"] = [
        {"Transcript": [frame(102), frame(101)], "NextToken": "t1"},
        {"Transcript": [], "NextToken": "t2"},
        {"Transcript": [frame(100), frame(85)], "NextToken": "t3"},
        {"Transcript": [frame(1)]},
    ]
    read = await part.catch_up()
    assert [each.id for each in read] == ["i85", "i100", "i101", "i102"]
    assert listener.ids == ["i101", "i102"]
    tokens = [body.get("NextToken") for _, body in service.calls]
    assert tokens == [None, "t1", "t2"]
    await part.close()


async def test_our_newest_message_is_read_also_where_only_a_socket_told_of_it() -> None:
    clock, service, listener = FakeClock(), Service(), Listener()
    part = inbound(service, clock, listener)
    part.subscribed(gap=True)
    await settle()
    part.heard(echo(2))
    service.answers["GetTranscript"] = [
        {"Transcript": [frame(3), frame(1)]},
        {"Transcript": [frame(3), echo(2), frame(1)]},
    ]
    assert [item.text for item in await part.catch_up()] == ["1", "2", "3"]
    assert [item.text for item in await part.catch_up()] == ["1", "2", "3"]
    await part.close()


async def test_a_read_begins_anew_where_a_new_connection_voids_its_pages() -> None:
    service, clock, listener = Service(), FakeClock(), Listener()
    part = inbound(service, clock, listener, 0)
    newest: dict[str, Any] = {"Transcript": [frame(3)], "NextToken": "t1"}
    void = Rejected("GetTranscript", "ValidationException")
    service.answers["GetTranscript"] = [newest, void, newest, {"Transcript": [frame(2), frame(1)]}]
    part.subscribed(gap=True)
    await settle()
    assert listener.ids == ["i1", "i2", "i3"]
    service.answers["GetTranscript"] = [newest, void] * 3
    with pytest.raises(Rejected):
        await part.catch_up()
    assert service.answers["GetTranscript"] == []
    await part.close()


async def test_after_a_rotation_the_transcript_is_read_once() -> None:
    service, clock, listener = Service(), FakeClock(), Listener()
    part = inbound(service, clock, listener)
    part.subscribed(gap=True)
    await clock.advance(10)
    assert len(service.calls) == 2
    part.subscribed(gap=False)
    part.heard(frame(1))
    assert listener.ids == ["i1"]  # nothing was missed, so nothing is held
    await clock.advance(10)
    assert len(service.calls) == 3
    assert listener.subscriptions == 2
    await part.close()


# --- outbound ----------------------------------------------------------------------------------


async def test_only_the_newest_receipt_goes_every_five_seconds() -> None:
    service, clock = Service(), FakeClock()
    part = outbound(service, clock)
    for number in range(3):
        part.delivered(f"a{number}")
    await settle()
    assert service.receipts() == ["a2"]
    part.delivered("b0")
    part.delivered("b1")
    await clock.advance(4.9)
    assert service.receipts() == ["a2"]
    await clock.advance(0.2)
    assert service.receipts() == ["a2", "b1"]
    await clock.advance(60)
    assert service.receipts() == ["a2", "b1"]
    await part.close()


async def test_receipts_stop_at_a_conflict_and_typing_does_not() -> None:
    service, clock = Service(), FakeClock()
    service.answers["SendEvent"] = [Rejected("SendEvent", "ConflictException")]
    part = outbound(service, clock)
    part.delivered("a")
    await clock.advance(60)
    part.delivered("b")
    await clock.advance(60)
    assert service.receipts() == ["a"]
    part.typing()
    await settle()
    assert len(service.calls) == 2
    await part.close()


async def test_typing_is_shown_every_ten_seconds_and_only_where_the_quota_is_free() -> None:
    service, clock = Service(), FakeClock()
    part = outbound(service, clock)
    for _ in range(30):
        part.typing()
        await clock.advance(1)
    assert len(service.calls) == 3
    busy = outbound(service, clock, rate=0.01)
    busy.typing()
    await settle()
    assert len(service.calls) == 3
    await part.close()
    await busy.close()


async def test_signs_fail_in_silence_and_end_with_the_chat() -> None:
    service, clock = Service(), FakeClock()
    service.answers["SendEvent"] = [Forbidden("SendEvent"), Temporary("SendEvent", "x")]
    part = outbound(service, clock)
    part.typing()
    part.delivered("a")
    await settle()
    assert len(service.calls) == 2
    part.delivered("b")
    part.stop()
    await clock.advance(60)
    part.typing()
    part.delivered("c")
    await clock.advance(60)
    assert len(service.calls) == 2
    await part.close()
    await asyncio.sleep(0)
