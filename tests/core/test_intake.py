"""A time without intake."""

from __future__ import annotations

from msgspec.structs import replace

from bridge.core.conversation import decide
from bridge.core.events import Identified, IntakeMissed, ThreadRead
from bridge.core.model import Conversation, Phase, Policy, Profile
from tests.core.support import opened, wrote

GAP = IntakeMissed("1700000500.000000", 1_700_001_000.0)


def after(
    conversation: Conversation, *events: IntakeMissed | ThreadRead | Identified
) -> Conversation:
    for event in events:
        conversation = decide(conversation, event, GAP.ended, Policy()).conversation
    return conversation


def test_the_thread_is_to_be_read_from_the_older_of_what_is_known() -> None:
    early = replace(opened(), last_ts="1700000400.000000")
    assert after(early, GAP).unread == "1700000400.000000"
    late = replace(opened(), last_ts="1700000600.000000")
    assert after(late, GAP).unread == GAP.since
    assert decide(late, GAP, GAP.ended, Policy()).save


def test_it_is_kept_for_that_even_if_its_chat_is_over() -> None:
    missed = after(opened(), GAP)
    assert replace(missed, phase=Phase.ENDED, owed=(), held=()).active
    assert not replace(after(missed, ThreadRead(GAP.ended)), phase=Phase.ENDED, owed=()).active


def test_what_was_read_is_not_read_again() -> None:
    read = after(opened(), GAP, ThreadRead(GAP.ended))
    assert read.unread == ""
    assert after(read, GAP) == read


def test_another_gap_while_it_is_read_is_read_too() -> None:
    another = replace(GAP, ended=GAP.ended + 50.0)
    assert after(opened(), GAP, another, ThreadRead(GAP.ended)).unread
    assert not after(opened(), GAP, another, ThreadRead(another.ended)).unread


def test_what_overtook_the_first_message_is_read() -> None:
    root = wrote(100, mention=True)
    who = Identified(Profile("U1", "Ana"), first_id=root.id, addressed=True)
    opens = Conversation(opened().id)
    assert after(opens, who).unread == ""
    assert after(opens, replace(who, overtaken=True)).unread == root.id


def test_whoever_did_not_live_then_missed_nothing() -> None:
    id_ = replace(opened().id, thread_ts="1700002000.000000")
    assert not after(replace(opened(), id=id_), GAP).unread
    assert not after(Conversation(opened().id), GAP).unread
    assert not after(opened(), replace(GAP, since="")).unread


def test_a_conversation_that_waited_to_begin_is_read_from_what_waits() -> None:
    waited = replace(GAP, waits="1700000450.000000")
    assert after(Conversation(opened().id), waited).unread == waited.waits
    ended = replace(opened(), phase=Phase.ENDED, owed=(), last_ts="1700000100.000000")
    assert after(ended, waited).unread == waited.waits
    assert after(replace(opened(), last_ts=""), waited).unread == GAP.since
