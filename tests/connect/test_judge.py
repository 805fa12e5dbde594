"""Many refusals are no ends: one judge of all contacts, by a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bridge import metrics
from bridge.connect.judge import Judge
from bridge.connect.quota import DEFAULT_RATES, Bucket
from bridge.core.errors import Denied, Failure, Temporary
from tests.connect.support import FakeClock, settle

DENIED = Denied("DescribeContact", "AccessDeniedException")


@dataclass
class Suspect:
    contact_id: str
    ended: bool = False

    @property
    def segment_id(self) -> str:
        return f"{self.contact_id}-latest"

    def end(self) -> None:
        self.ended = True


class Court:
    """A judge, and what DescribeContact tells it: of nobody anything unless a test says so."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.quota = Bucket(DEFAULT_RATES["DescribeContact"], self.clock)
        self.judge = Judge(self.clock, self._describe, quarantine=3.0)
        self.known: dict[str, bool | Failure] = {}
        self.default: bool | Failure = DENIED
        self.asked: list[str] = []

    async def _describe(self, contact_id: str) -> bool:
        await self.quota.take()
        self.asked.append(contact_id)
        answer = self.known.get(contact_id, self.default)
        if isinstance(answer, Failure):
            raise answer
        return answer

    async def refuse(self, *suspects: Suspect, seconds: float = 3.0) -> list[str]:
        """What becomes of contacts that are refused together."""
        calls = [asyncio.create_task(self._refused(suspect)) for suspect in suspects]
        await self.clock.advance(seconds)
        return [call.result() for call in calls]

    async def _refused(self, suspect: Suspect) -> str:
        try:
            await self.judge.refused(suspect, "SendMessage")
        except Temporary as held:
            return "held" if held.retry_after else "to be tried at once"
        return "over"

    def allowed(self, suspect: Suspect) -> bool:
        try:
            self.judge.allow(suspect, "SendMessage")
        except Temporary:
            return False
        return True


def suspects(count: int) -> list[Suspect]:
    return [Suspect(f"c-{number}") for number in range(count)]


def alarms() -> float:
    labels = {"kind": "connect_refuses_chats"}
    return metrics.REGISTRY.get_sample_value("bridge_alarms_total", labels) or 0.0


def held() -> float:
    return metrics.REGISTRY.get_sample_value("bridge_held_contacts") or 0.0


@pytest.fixture
async def court() -> AsyncIterator[Court]:
    court = Court()
    yield court
    await court.judge.close()
    court.quota.close()
    assert held() == 0


async def test_one_in_a_while_is_over_without_a_question(court: Court) -> None:
    for suspect in suspects(5):
        assert await court.refuse(suspect) == ["over"]
        await court.clock.advance(200.0)
    assert court.asked == []


async def test_of_many_not_even_the_first_is_ended(court: Court) -> None:
    before = alarms()
    assert await court.refuse(*suspects(5)) == ["held"] * 5
    assert held() == 5
    await court.clock.advance(3600.0)
    assert held() == 5
    assert alarms() == before + 1


async def test_a_busy_instance_ends_many_one_after_the_other(court: Court) -> None:
    living = Suspect("living")
    for suspect in suspects(20):
        assert await court.refuse(suspect) == ["over"]
        court.judge.served(living, court.clock.boottime())
        await court.clock.advance(1.0)


async def test_an_answer_to_an_older_call_clears_nobody(court: Court) -> None:
    begun = court.clock.boottime()
    await court.clock.advance(1.0)
    three = suspects(3)
    await court.refuse(*three)
    court.judge.served(Suspect("living"), begun)
    assert held() == 3
    assert await court.refuse(three[0], seconds=0.0) == ["held"]


async def test_what_connect_confirms_is_ended_and_alarms_nobody(court: Court) -> None:
    before = alarms()
    court.default = True
    many = suspects(200)
    assert set(await court.refuse(*many)) == {"held"}
    await court.clock.advance(20.0)
    assert all(suspect.ended for suspect in many)
    assert sorted(court.asked) == sorted(suspect.segment_id for suspect in many)
    assert alarms() == before
    assert held() == 0


async def test_the_open_ones_among_the_ended_are_kept(court: Court) -> None:
    court.default = True
    many = suspects(4)
    court.known[many[2].segment_id] = False
    before = alarms()
    await court.refuse(*many)
    await court.clock.advance(600.0)
    assert [suspect.ended for suspect in many] == [True, True, False, True]
    assert alarms() == before + 1
    court.known.clear()
    await court.clock.advance(61.0)
    assert many[2].ended


async def test_a_question_that_fails_for_now_is_asked_again_soon(court: Court) -> None:
    court.default = Temporary("DescribeContact", "ThrottlingException")
    many = suspects(3)
    before = alarms()
    await court.refuse(*many)
    court.default = True
    await court.clock.advance(90.0)
    assert all(suspect.ended for suspect in many)
    assert alarms() == before


async def test_success_anywhere_lets_the_next_refusal_count(court: Court) -> None:
    many = suspects(10)
    await court.refuse(*many)
    await court.clock.advance(60.0)
    court.judge.served(Suspect("new chat"), court.clock.boottime())
    assert held() == 0
    assert all(court.allowed(suspect) for suspect in many)
    assert await court.refuse(*many, seconds=0.0) == ["over"] * 10


async def test_who_works_again_is_no_suspect_any_more(court: Court) -> None:
    many = suspects(3)
    await court.refuse(*many)
    await court.clock.advance(60.0)
    for suspect in many[:2]:
        court.judge.served(suspect, court.clock.boottime())
    assert await court.refuse(*many[:2], Suspect("x")) == ["held"] * 3


async def test_a_held_contact_is_tried_slowly(court: Court) -> None:
    many = suspects(3)
    await court.refuse(*many)
    tries = 0
    for _ in range(600):
        await court.clock.advance(1.0)
        tries += court.allowed(many[0])
    assert 8 <= tries <= 14


async def test_suspicion_ends_when_it_has_been_quiet(court: Court) -> None:
    court.default = True
    await court.refuse(*suspects(3))
    await court.clock.advance(400.0)
    assert await court.refuse(Suspect("later")) == ["over"]


async def test_whom_nobody_listens_to_is_forgotten(court: Court) -> None:
    many = suspects(3)
    await court.refuse(*many)
    for suspect in many:
        court.judge.forget(suspect)
    assert held() == 0
    await court.clock.advance(600.0)
    await settle()
    assert not any(suspect.ended for suspect in many)
