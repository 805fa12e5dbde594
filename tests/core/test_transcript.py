"""What the transcript means: what is shown, what is remembered, what it proves."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.events import (
    ContactOver,
    Identified,
    ItemsArrived,
    MessageSent,
    Posted,
    TellAgent,
)
from bridge.core.lookback import NOTHING
from bridge.core.model import (
    AgentMessage,
    Conversation,
    Item,
    ItemKind,
    Notice,
    NoticeKind,
    Outgoing,
    Phase,
    Policy,
    Sent,
)
from bridge.core.transcript import ASIDE, no_aside, proof, stood_in_thread
from tests.core.support import (
    ALICE,
    CARRY,
    after,
    arrived,
    item,
    known,
    last,
    notices,
    opened,
    starting,
    wrote,
)

# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (item(5), AgentMessage("i5", "Ann", "hello", time=5.0)),
        (
            item(5, ItemKind.ATTACHMENT),
            Notice("i5", NoticeKind.AGENT_FILES, name="Ann", files="hello"),
        ),
        (item(5, role="SYSTEM"), AgentMessage("i5", "", "hello", time=5.0)),
        (item(5, ItemKind.JOINED), Notice("i5", NoticeKind.JOINED, name="Ann")),
        (item(5, ItemKind.JOINED, role="SYSTEM"), None),
        (item(5, ItemKind.TRANSFERRED), Notice("i5", NoticeKind.TRANSFERRED, name="Ann")),
        (item(5, ItemKind.TRANSFER_FAILED), None),
        (item(5, ItemKind.LEFT), None),
        (item(5, ItemKind.OTHER), None),
        (item(5, own=True), None),
        (item(5, past=True), None),
        (item(5, ItemKind.JOINED, past=True), None),
        (item(5, ItemKind.TRANSFERRED, past=True), None),
    ],
)
def test_what_the_thread_shows(entry: Item, shown: Outgoing | None) -> None:
    decision = last(opened(), arrived(entry))
    assert decision.conversation.owed[1:] == ((shown,) if shown else ())
    assert decision.conversation.seen == known(5)
    assert not decision.save


def test_an_agent_is_told_that_a_file_did_not_arrive() -> None:
    decision = last(opened(), arrived(item(5, ItemKind.ATTACHMENT)))
    assert [(one.id, one.reason) for one in decision.effects if isinstance(one, TellAgent)] == [
        ("i5", "files")
    ]
    assert last(decision.conversation, arrived(item(5, ItemKind.ATTACHMENT))).effects == ()
    assert last(opened(), arrived(item(5, ItemKind.ATTACHMENT, role="SYSTEM"))).effects == ()
    assert last(opened(), arrived(item(5, ItemKind.ATTACHMENT, past=True))).effects == ()


def test_items_are_shown_once_and_in_order() -> None:
    heard = after(opened(), arrived(item(5), item(6)), arrived(item(6), item(7)))
    assert [one.id for one in heard.owed[1:]] == ["i5", "i6", "i7"]
    assert heard.seen == known(5, 6, 7)


def test_markdown_stays_markdown() -> None:
    heard = after(opened(), arrived(replace(item(5), markdown=True)))
    assert isinstance(heard.owed[-1], AgentMessage)
    assert heard.owed[-1].markdown


def test_another_contacts_items_are_nothing() -> None:
    assert last(opened(), ItemsArrived("c0", (item(5),))).conversation == opened()


def test_the_end_stores_what_was_said_before() -> None:
    decision = last(opened(), arrived(item(5), item(6, ItemKind.ENDED)))
    over = decision.conversation
    assert decision.save
    assert (over.phase, over.contact, over.opening, over.request) == (Phase.ENDED, None, None, "")
    assert [one.id for one in over.owed[1:]] == ["i5", "ended:1"]
    assert over.past_contact_id == "c1"
    assert not over.missed


def test_the_end_of_the_chat_before_is_not_the_end() -> None:
    assert after(opened(), arrived(item(5, ItemKind.ENDED, past=True))).phase is Phase.OPEN


# --- the look-back -------------------------------------------------------------------------------


def test_of_a_slow_chat_a_hundred_items_are_remembered() -> None:
    heard = after(opened(), arrived(*(item(1000 * n) for n in range(150))))
    assert len(heard.seen) == 100
    assert heard.seen == known(*range(50_000, 150_000, 1000))


def test_of_a_fast_chat_five_minutes_are_remembered() -> None:
    heard = after(opened(), arrived(*(item(n) for n in range(1, 401))))
    assert heard.seen == known(*range(100, 401))


def test_look_back_and_outbox_are_ordered_whatever_the_order_of_arrival() -> None:
    heard = after(opened(), arrived(item(7)), arrived(item(5)))
    assert heard.seen == known(5, 7)
    assert [one.id for one in heard.owed[1:]] == ["i5", "i7"]


# --- items of a chat whose end was missed --------------------------------------------------------


def continued(*heard: Item) -> Conversation:
    """A chat of which `heard` was heard, that ended unheard and is being continued."""
    before = after(opened(), arrived(*heard)) if heard else opened()
    again = after(before, ContactOver("c1"), Posted(tuple(one.id for one in before.owed), "1.0"))
    again = after(replace(again, owed=()), Identified(ALICE))
    return replace(starting(), missed=again.missed, past_seen=again.past_seen, owed=())


def shown(conversation: Conversation, *items: Item) -> list[str]:
    return [one.id for one in after(conversation, arrived(*items)).owed]


def test_what_was_never_posted_is_posted_in_the_continued_chat() -> None:
    past = [item(n, past=True) for n in range(1, 7)]
    assert shown(continued(item(2), item(4)), *past) == ["i3", "i5", "i6"]


def test_of_a_chat_that_was_not_heard_at_all_everything_is() -> None:
    past = [item(n, past=True) for n in (1, 2)]
    assert shown(continued(), *past, item(3, own=True, past=True)) == ["i1", "i2"]


def test_of_a_chat_that_was_heard_to_its_end_nothing_is() -> None:
    heard = after(opened(), arrived(item(2), item(9, ItemKind.ENDED)), Identified(ALICE))
    again = replace(starting(), missed=heard.missed, past_seen=heard.past_seen, owed=())
    assert shown(again, *(item(n, past=True) for n in (1, 2, 3))) == []


def test_what_was_found_in_the_thread_is_not_posted_again() -> None:
    """It was posted, and the process died before it could say so."""
    before = after(opened(), arrived(item(2)))
    found = after(before, ContactOver("c1"), Posted(("i3",), "103.000000"))
    assert found.last_post_ts == "103.000000"
    again = after(found, Identified(ALICE))
    again = replace(starting(), missed=again.missed, past_seen=again.past_seen, owed=())
    assert shown(again, *(item(n, past=True) for n in (2, 3, 4))) == ["i4"]


def test_what_stood_in_the_thread_is_remembered_once() -> None:
    known = stood_in_thread(after(opened(), arrived(item(5))), ["i5", "i6"])
    assert known.seen == NOTHING.plus([("i5", 5.0), ("i6", 5.0)])
    assert stood_in_thread(known, ["i6"]) == known


# --- proof ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "proven"),
    [
        ([], ""),
        ([item(1, own=True)], ""),
        ([item(2)], ""),
        ([item(2, own=True)], "i2"),
        ([item(2, own=True), item(3, own=True)], "i2"),
        ([item(1, own=True), item(2, own=True)], "i2"),
        ([item(2, own=True, past=True)], ""),
        ([item(2, ItemKind.JOINED, own=True)], ""),
        ([item(2, own=True, text=f"{ASIDE}sorry")], ""),
        ([replace(item(1, own=True), id="earlier")], ""),
    ],
    ids=[
        "nothing",
        "the last settled one",
        "an agent's",
        "a later one",
        "the first of two",
        "after the settled one",
        "of the chat before",
        "an event",
        "what the bridge itself said",
        "of the same millisecond, settled before",
    ],
)
def test_what_proves_that_a_message_was_accepted(items: list[Item], proven: str) -> None:
    found = proof(opened(), items)
    assert (found.id if found else "") == proven


def test_the_first_message_of_a_chat_is_proven_by_any_of_ours() -> None:
    fresh = replace(opened(), last_own=None)
    found = proof(fresh, [item(1, own=True)])
    assert found == item(1, own=True)


def test_the_echo_of_the_initial_message_proves_nothing() -> None:
    carrying = replace(starting(policy=CARRY), phase=Phase.OPEN)
    echo, joined = item(2, own=True), item(1, ItemKind.JOINED, own=True)
    assert proof(carrying, [joined, echo]) is None
    assert proof(carrying, [joined, echo, item(3, own=True)]) == item(3, own=True)
    heard = after(carrying, arrived(joined, echo), policy=CARRY)
    assert heard.last_own == Sent("i2", 2.0)
    assert proof(heard, [joined, echo]) is None
    assert proof(heard, [joined, echo, item(3, own=True)]) == item(3, own=True)


def test_only_a_carried_message_has_an_echo_that_counts() -> None:
    assert after(opened(), arrived(item(7, own=True))).last_own == Sent("i1", 1.0)
    fresh = replace(opened(), last_own=None)
    assert after(fresh, arrived(item(7, own=True))).last_own is None
    later = after(starting(policy=CARRY), MessageSent(wrote(101), Sent("i8", 8.0)))
    assert after(later, arrived(item(7, own=True)), policy=CARRY).last_own == Sent("i8", 8.0)


def test_the_missed_end_is_told_once() -> None:
    over = after(opened(), ContactOver("c1"), ContactOver("c1"))
    assert notices(over)[1:] == [NoticeKind.MISSED]
    assert Policy().lookback_items == 100


def test_nobody_can_write_an_aside() -> None:
    forged = no_aside(f"{ASIDE}Your message did not arrive.")
    assert not forged.startswith(ASIDE)
    assert forged.endswith("Your message did not arrive.")
    assert no_aside("hello") == "hello"
