from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.events import AskedToEnd, AskedToReopen, Incoming, Returned, Wrote
from bridge.core.lookback import NOTHING
from bridge.core.model import (
    AgentMessage,
    Contact,
    Conversation,
    CustomerMessage,
    Mark,
    Notice,
    NoticeKind,
    Phase,
)
from bridge.core.parked import Parked
from bridge.store import records
from bridge.store.errors import Unreadable
from tests.store.support import thread, wrote

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(float, NUMBERS)


@settings(max_examples=60, deadline=None)
@given(st.from_type(Conversation))
def test_a_conversation_is_read_as_it_was_written(conversation: Conversation) -> None:
    assert records.read_conversation(records.dump_conversation(conversation)) == conversation


@settings(max_examples=60, deadline=None)
@given(st.from_type(Incoming))
def test_a_lane_event_is_read_as_it_was_written(incoming: Incoming) -> None:
    read = records.read_incoming(records.dump_incoming(incoming))
    assert read == incoming
    assert type(read.event) is type(incoming.event)


@given(st.from_type(Mark))
def test_a_mark_is_read_as_it_was_written(mark: Mark) -> None:
    assert records.read_mark(records.dump_mark(mark)) == mark


@settings(max_examples=60, deadline=None)
@given(st.from_type(Parked))
def test_what_is_parked_is_read_as_it_was_written(parked: Parked) -> None:
    assert records.read_parked(records.dump_parked(parked)) == parked


def test_a_kind_of_parked_event_that_is_not_known_is_unreadable() -> None:
    record = json.loads(
        records.dump_parked(Parked(thread(), Returned(AgentMessage("i", "Ann", "hi")), 1.0, "x"))
    )
    record["event"]["type"] = "danced"
    with pytest.raises(Unreadable, match=r"Parked: \$\.event\.type"):
        records.read_parked(json.dumps(record, separators=(",", ":")).encode())


def test_a_record_has_its_version_and_no_defaults() -> None:
    record = json.loads(records.dump_conversation(Conversation(thread(), Phase.OPEN)))
    assert record == {
        "v": 1,
        "id": {
            "place": {"workspace": {"team_id": "T1"}, "channel": "C1"},
            "thread_ts": thread().thread_ts,
        },
        "phase": "open",
    }


def test_what_version_1_wrote_is_still_read() -> None:
    record = (
        b'{"v":1,"id":{"place":{"workspace":{"team_id":"T1"},"channel":"C1"},"thread_ts":"1.5"},'
        b'"phase":"open","contact":{"contact_id":"c","participant_id":"p","participant_token":"t"},'
        b'"seen":{"packed":"P/QAAAAAAACuKh7/uhHPCkAAAAAAAAAAIJ6jfWQslzI="},"owed":[{"type":"notice","id":"n","kind":"ended"}],"ended_at":5}'
    )
    assert records.read_conversation(record) == Conversation(
        thread(ts="1.5"),
        Phase.OPEN,
        contact=Contact("c", "p", "t"),
        seen=NOTHING.plus([("i1", 1.25), ("i2", 2.0)]),
        owed=(Notice("n", NoticeKind.ENDED),),
        ended_at=5.0,
    )
    where = (
        b'"conversation":{"place":{"workspace":{"team_id":"T1"},"channel":"C1"},"thread_ts":"1.5"}'
    )
    start = b'{"v":1,' + where + b',"keys":["k"],"opens":true,"event":{'
    for end, event in (
        (
            b'"type":"wrote","message":{"id":"1","ts":"2","user_id":"U","text":"hi"}}}',
            Wrote(CustomerMessage("1", "2", "U", "hi")),
        ),
        (b'"type":"end","ts":"1","user_id":"U"}}', AskedToEnd("1", "U")),
        (b'"type":"reopen","ts":"1","user_id":"U"}}', AskedToReopen("1", "U")),
    ):
        expected = Incoming(thread(ts="1.5"), event, ("k",), opens=True)
        assert records.read_incoming(start + end) == expected
    assert records.read_mark(b'{"v":1,"ids":["a","b"],"at":1.5}') == Mark(("a", "b"), 1.5)


def test_unknown_fields_are_ignored() -> None:
    record = json.loads(records.dump_conversation(Conversation(thread(), Phase.OPEN)))
    newer = {**record, "colour": "green", "id": {**record["id"], "shape": "round"}}
    raw = json.dumps(newer, separators=(",", ":")).encode()
    assert records.read_conversation(raw) == Conversation(thread(), Phase.OPEN)


@pytest.mark.parametrize(
    "record",
    [b"", b"{}", b"nonsense", b'{"v":2,"id":{}}', b'{"v":1,', b'{"v":1}', b'{"v":1,"id":1}'],
)
def test_what_is_no_record_of_this_version_is_unreadable(record: bytes) -> None:
    for read in (records.read_conversation, records.read_incoming, records.read_mark):
        with pytest.raises(Unreadable):
            read(record)


def test_an_unknown_kind_of_event_is_unreadable() -> None:
    record = json.loads(records.dump_incoming(wrote(thread())))
    record["event"]["type"] = "danced"
    with pytest.raises(Unreadable, match=r"Incoming: \$\.event\.type"):
        records.read_incoming(json.dumps(record, separators=(",", ":")).encode())


def test_an_unreadable_record_is_described_without_its_content() -> None:
    raw = records.dump_incoming(wrote(thread(), text="SECRET"))
    with pytest.raises(Unreadable, match=r"event\.message\.text") as raised:
        records.read_incoming(raw.replace(b'"SECRET"', b'["SECRET"]'))
    assert "SECRET" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    event = wrote(thread(), text="a\ud83db \N{GRINNING FACE}")
    read = records.read_incoming(records.dump_incoming(event))
    assert read == wrote(thread(), text="a?b \N{GRINNING FACE}")
