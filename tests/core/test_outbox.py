from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.model import AgentMessage, Notice, NoticeKind, Outgoing, Retry
from bridge.core.outbox import GAP, MOST, batch

ROOM = 40
MESSAGES = st.builds(
    AgentMessage,
    id=st.uuids().map(str),
    name=st.sampled_from(["", "Ann", "Ben"]),
    text=st.one_of(
        st.text(alphabet="ab \n`*", max_size=12), st.text(alphabet="ab", min_size=30, max_size=90)
    ),
    markdown=st.booleans(),
)
NOTICES = st.builds(Notice, id=st.uuids().map(str), kind=st.just(NoticeKind.JOINED))
OUTBOXES = st.one_of(
    st.lists(st.one_of(MESSAGES, MESSAGES, NOTICES), min_size=1, max_size=20),
    st.lists(
        st.builds(AgentMessage, st.uuids().map(str), st.just("Ann"), st.just("a")), min_size=1
    ),
)


def _text(load: tuple[Outgoing, ...]) -> str:
    return GAP.join(one.text.strip() for one in load if isinstance(one, AgentMessage))


@given(OUTBOXES)
def test_a_batch_is_the_beginning_of_the_outbox(owed: list[Outgoing]) -> None:
    load = batch(owed, ROOM)
    assert 1 <= len(load) <= MOST
    assert list(load) == owed[: len(load)]


@given(OUTBOXES)
def test_what_is_joined_is_of_one_sender_and_fits_whole(owed: list[Outgoing]) -> None:
    load = batch(owed, ROOM)
    if len(load) > 1:
        assert len(_text(load)) <= ROOM
        texts = [one for one in load if isinstance(one, AgentMessage) and one.text.strip()]
        assert len(texts) == len(load)
        assert len({(one.name, one.markdown) for one in texts}) == 1


@given(OUTBOXES)
def test_nothing_stays_behind_that_could_have_joined(owed: list[Outgoing]) -> None:
    load = batch(owed, ROOM)
    if len(load) == len(owed):
        return
    first, following = owed[0], owed[len(load)]
    reasons = [
        not isinstance(first, AgentMessage) or not isinstance(following, AgentMessage),
        len(load) == MOST,
        len(_text((*load, following))) > ROOM,
    ]
    if isinstance(first, AgentMessage) and isinstance(following, AgentMessage):
        reasons += [
            (first.name, first.markdown) != (following.name, following.markdown),
            not first.text.strip(),
            not following.text.strip(),
        ]
    assert any(reasons)


@given(OUTBOXES)
def test_everything_goes_in_order(owed: list[Outgoing]) -> None:
    rest, gone = owed, list[Outgoing]()
    while rest:
        load = batch(rest, ROOM)
        gone += load
        rest = rest[len(load) :]
    assert gone == owed


def test_what_is_tried_again_goes_alone() -> None:
    """It is looked for in the thread before, which nothing that joins another is."""
    plain, again = AgentMessage("i1", "Ann", "a"), AgentMessage("i2", "Ann", "b", retry=Retry(1))
    assert batch([plain, again], ROOM) == (plain,)
    assert batch([again, plain], ROOM) == (again,)
