"""Decisions, events and the model: the small moves that everything else relies on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.decision import Decision, owe, owe_once, ts_key, with_person, without_button
from bridge.core.events import AskedToEnd, Flag, Incoming, RetireButton, Then, Wrote
from bridge.core.model import (
    AgentMessage,
    Contact,
    Conversation,
    ConversationId,
    CustomerMessage,
    Notice,
    NoticeKind,
    Person,
    Phase,
    Place,
    Policy,
    Workspace,
)
from tests.core.support import DM, THREAD, ended, ending, opened, opening, wrote

NOTICE = Notice("n1", NoticeKind.BUSY)


def test_nothing_is_owed_twice() -> None:
    once = owe(Conversation(THREAD), NOTICE)
    assert once.owed == (NOTICE,)
    assert owe(once, replace(NOTICE, reason="other")) is once


def test_what_was_said_earlier_goes_before_what_still_waits() -> None:
    conversation = Conversation(THREAD)
    first, late, later = (AgentMessage(f"m{n}", "Mina", "hi", time=float(n)) for n in (1, 2, 3))
    for outgoing in (first, later, NOTICE, late):
        conversation = owe(conversation, outgoing)
    assert conversation.owed == (first, late, later, NOTICE)
    assert owe(conversation, late) is conversation


def test_what_was_said_at_the_same_time_stays_in_the_order_in_which_it_came() -> None:
    conversation = Conversation(THREAD)
    ties = [AgentMessage(f"m{n}", "Mina", "hi", time=1.0) for n in (2, 1)]
    for outgoing in ties:
        conversation = owe(conversation, outgoing)
    assert list(conversation.owed) == ties


def test_a_notice_for_each_opening_is_owed_once_even_when_it_is_posted() -> None:
    told = owe_once(Conversation(THREAD), NOTICE)
    assert told.told == (NoticeKind.BUSY,)
    posted = replace(told, owed=())
    assert owe_once(posted, replace(NOTICE, id="n2")) == posted


def test_of_too_many_authors_the_opener_and_the_newest_stay() -> None:
    conversation = Conversation(THREAD)
    for number in range(60):
        conversation = with_person(conversation, f"U{number}", str(number), Policy())
    assert len(conversation.people) == 50
    assert conversation.people[0] == Person("U0", "0")
    assert conversation.people[1:] == tuple(Person(f"U{n}", str(n)) for n in range(11, 60))
    assert with_person(conversation, "U59", "renamed", Policy()) is conversation


def test_a_decision_loses_the_live_button() -> None:
    offered = replace(Conversation(THREAD), button_ts="1.000000")
    decision = without_button(Decision(offered, (Flag("0.5"),), Then.SETTLE, save=True))
    assert decision == Decision(
        Conversation(THREAD), (Flag("0.5"), RetireButton("1.000000")), Then.SETTLE, save=True
    )
    plain = Decision(Conversation(THREAD))
    assert without_button(plain) is plain


@given(st.lists(st.tuples(st.integers(0, 2**33), st.integers(0, 999_999))))
def test_ts_are_ordered_as_numbers(pairs: list[tuple[int, int]]) -> None:
    stamps = [f"{seconds}.{fraction:06d}" for seconds, fraction in pairs]
    assert [ts_key(stamp) for stamp in stamps] == pairs


@pytest.mark.parametrize(
    ("ts", "key"),
    [("", (0, 0)), ("x.1", (0, 0)), ("5", (5, 0)), ("5.1", (5, 100_000)), ("5.x", (0, 0))],
)
def test_a_malformed_ts_sorts_first(ts: str, key: tuple[int, int]) -> None:
    assert ts_key(ts) == key


def test_an_event_is_known_by_its_first_key_and_sorted_by_its_ts() -> None:
    message = wrote(7)
    written = Incoming(THREAD, Wrote(message), ("a", "b"), opens=True)
    clicked = Incoming(THREAD, AskedToEnd("8.000000", "U1"), ("c",), opens=False)
    assert (written.id, written.ts) == ("a", "7.000000")
    assert (clicked.id, clicked.ts) == ("c", "8.000000")


@pytest.mark.parametrize(
    "id_",
    [THREAD, DM, ConversationId(Place(Workspace("T1", "E1"), "C2"), "1.000000")],
    ids=str,
)
def test_a_conversation_is_named_by_text(id_: ConversationId) -> None:
    assert ConversationId.parse(str(id_)) == id_
    assert id_.flat is (id_.thread_ts == "")


@pytest.mark.parametrize("text", ["", "T1:C1", "T1:C1:1:2"])
def test_other_text_names_none(text: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        ConversationId.parse(text)


@pytest.mark.parametrize(
    ("conversation", "active"),
    [
        (Conversation(THREAD), False),
        (opening(), True),
        (opened(), True),
        (ending(), True),
        (ended(), False),
        (replace(ended(), held=(wrote(1),)), True),
        (owe(ended(), NOTICE), True),
    ],
    ids=lambda value: str(getattr(value, "phase", value)),
)
def test_which_conversations_have_something_to_watch(
    conversation: Conversation, active: bool
) -> None:
    assert conversation.active is active


def test_values_cannot_be_changed() -> None:
    conversation = Conversation(THREAD)
    with pytest.raises(AttributeError):
        conversation.phase = Phase.OPEN  # type: ignore[misc]  # which is the point


def test_secrets_and_words_are_not_in_representations() -> None:
    contact = Contact("c1", "p1", "participant-secret", "connection-secret")
    message = CustomerMessage("1", "1", "U1", "what she wrote")
    shown = repr(replace(opened(), contact=contact, held=(message,), request="the request"))
    for hidden in ("secret", "what she wrote", "the request"):
        assert hidden not in shown
