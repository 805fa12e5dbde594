"""How a chat ends, and what follows from a state at any time: duties, order, deadlines, buttons."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.contacts import LISTENING
from bridge.core.conversation import deadline, decide, duties, next_up
from bridge.core.events import (
    AskedToEnd,
    AskedToReopen,
    ContactOver,
    EndContact,
    Flag,
    Identified,
    ItemsArrived,
    Listen,
    PartSent,
    Post,
    Posted,
    PostFailed,
    RetireButton,
    StartContact,
    Subscribed,
    TellAgent,
    Then,
    Ticked,
    Wrote,
)
from bridge.core.model import (
    AgentMessage,
    Conversation,
    ItemKind,
    NoticeKind,
    Phase,
    Progress,
)
from tests.core.support import (
    ALICE,
    ALWAYS,
    ASK,
    CARRY,
    CONTACT,
    NEVER,
    NOW,
    THREAD,
    after,
    arrived,
    ended,
    ending,
    incoming,
    item,
    last,
    notices,
    opened,
    opening,
    starting,
    wrote,
)

END = AskedToEnd("150.000000", "U1")

# --- who may end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "may"),
    [
        (AskedToEnd("150.000000", "U1", pressed=True), True),
        (AskedToEnd("150.000000", "U2", pressed=True), False),
        (AskedToEnd("150.000000", "U2", pressed=False), True),
    ],
    ids=["button, by who wrote", "button, by somebody else", "mention, by anybody"],
)
def test_who_may_end(event: AskedToEnd, may: bool) -> None:
    decision = last(opened(), event)
    assert decision.then is Then.SETTLE
    assert decision.effects == ((EndContact(CONTACT_CONNECTED),) if may else ())
    assert decision.conversation.phase is (Phase.ENDING if may else Phase.OPEN)


CONTACT_CONNECTED = replace(CONTACT, connected=True)


def test_leaving_takes_a_bounded_time() -> None:
    leaving = ending()
    assert deadline(leaving) == NOW + ASK.ending_seconds
    assert last(leaving, Ticked(), now=NOW + 299).conversation == leaving
    decision = last(leaving, Ticked(), now=NOW + 300)
    assert decision.conversation.phase is Phase.ENDED
    assert notices(decision.conversation)[-1] is NoticeKind.ENDED
    assert decision.save


def test_the_flow_may_still_speak_while_the_customer_leaves() -> None:
    heard = after(ending(), arrived(item(5, text="How was it?")))
    assert isinstance(heard.owed[-1], AgentMessage)
    assert heard.phase is Phase.ENDING
    assert after(heard, arrived(item(6, ItemKind.ENDED))).phase is Phase.ENDED


def test_ending_twice_leaves_twice() -> None:
    """After a crash the same event has to lead to the same effect."""
    decision = last(ending(), END)
    assert decision.effects == (EndContact(CONTACT_CONNECTED),)
    assert decision.conversation == ending()


def test_a_message_while_leaving_comes_after_the_end() -> None:
    decision = last(ending(), Wrote(wrote(1001)))
    assert decision.conversation.phase is Phase.ENDED
    assert decision.conversation.held == (wrote(1001),)


def test_an_end_of_nothing_is_done() -> None:
    decision = last(ended(), END)
    assert (decision.effects, decision.then) == ((), Then.SETTLE)
    assert decision.conversation == ended()


# --- end while opening ---------------------------------------------------------------------------


def test_a_start_is_given_up_and_what_waits_flagged() -> None:
    waiting = after(ended(), Wrote(wrote(900)), AskedToReopen("901.000000", "U1"))
    waiting = after(waiting, Identified(ALICE, first_id="900.000000", first="text 900"))
    decision = last(waiting, END)
    assert decision.conversation.phase is Phase.ENDED
    assert decision.effects == (Flag("900.000000"),)
    assert decision.conversation.held == ()
    assert notices(decision.conversation)[-1] is NoticeKind.CANCELLED
    assert decision.then is Then.SETTLE
    dropped = last(decision.conversation, Wrote(wrote(950)))
    assert (dropped.effects, dropped.then) == ((Flag("950.000000"),), Then.SETTLE)


def test_a_contact_that_exists_is_left() -> None:
    decision = last(starting(), END)
    assert decision.conversation.phase is Phase.ENDING
    assert decision.effects == (EndContact(CONTACT),)
    assert decision.conversation.contact == CONTACT
    dropped = last(decision.conversation, Wrote(wrote(100)))
    assert (dropped.effects[-1], dropped.then) == (Flag("100.000000"), Then.SETTLE)
    assert dropped.conversation.phase is Phase.ENDED


def test_what_travelled_with_a_contact_that_never_lived_did_not_arrive() -> None:
    leaving = after(starting(policy=CARRY), END, policy=CARRY)
    assert last(leaving, Wrote(wrote(100)), policy=CARRY).effects[-1] == Flag("100.000000")


def test_a_message_after_a_start_that_was_given_up_opens_a_chat() -> None:
    again = last(after(opening(), END), Wrote(wrote(1001)), policy=NEVER)
    assert len(again.effects) == 1
    assert again.then is Then.WAIT


# --- an end that leaves messages behind ----------------------------------------------------------


def test_what_is_still_held_is_asked_about_again() -> None:
    held = after(ended(), Wrote(wrote(1001)), AskedToReopen("1002.000000", "U1"))
    held = after(held, Identified(ALICE, first_id="1001.000000", first="text 1001"))
    over = after(after_start(held), arrived_in("c2", ItemKind.ENDED))
    assert over.held == (wrote(1001),)
    asks = [one.id for one in over.owed if NoticeKind.ASK_REOPEN in one.id]
    assert asks == ["ask_reopen:1:1001.000000", "ask_reopen:2:1001.000000"]


def test_what_was_carried_is_not_sent_again_after_the_end() -> None:
    over = after(starting(policy=CARRY), arrived(item(1, own=True), item(2, ItemKind.ENDED)))
    decision = last(over, Wrote(wrote(100)), policy=CARRY)
    assert (decision.effects, decision.then) == ((), Then.SETTLE)
    assert decision.conversation.held == ()


def test_what_was_carried_in_part_is_sent_whole_again() -> None:
    policy = replace(CARRY, split_limit=4)
    begun = starting(policy=policy)
    assert begun.progress == Progress("100.000000", "text 100", 4, 5)
    over = after(begun, arrived(item(1, own=True), item(2, ItemKind.ENDED)), policy=policy)
    assert last(over, Wrote(wrote(100)), policy=policy).conversation.held == (wrote(100),)


# --- the order of the lane -----------------------------------------------------------------------


def test_the_lane_is_worked_in_the_order_of_ts() -> None:
    lane = [incoming(Wrote(wrote(ts))) for ts in (103, 99, 101)]
    assert next_up(opened(), lane) == lane[1]
    assert next_up(opened(), []) is None


def test_held_messages_take_their_place_by_ts() -> None:
    held = replace(opened(), held=(wrote(100), wrote(102)))
    assert next_up(held, [incoming(Wrote(wrote(101)))]) == Wrote(wrote(100))
    assert next_up(held, [incoming(Wrote(wrote(99)))]) == incoming(Wrote(wrote(99)))
    assert next_up(replace(held, phase=Phase.ENDED), []) is None


def test_a_message_goes_before_older_ones_only_if_something_of_it_went_already() -> None:
    older, long = incoming(Wrote(wrote(99))), incoming(Wrote(wrote(100)))
    noted = Progress(wrote(100).id, "a long story", limit=6, offset=0)
    assert next_up(replace(opened(), progress=noted), [long, older]) == older
    begun = replace(noted, offset=6)
    assert next_up(replace(opened(), progress=begun), [long, older]) == long


def test_a_message_that_has_begun_comes_first() -> None:
    begun = after(opened(), PartSent(Progress("102.000000", "one two", 4, 4)))
    lane = [incoming(Wrote(wrote(ts))) for ts in (101, 102)]
    assert next_up(begun, lane) == lane[1]
    assert next_up(begun, lane[:1]) == lane[0]
    carried = after(starting(policy=CARRY), Subscribed())
    lane = [incoming(Wrote(wrote(ts))) for ts in (99, 100)]
    assert next_up(carried, lane) == lane[1]


def test_no_click_waits_behind_messages_that_cannot_go() -> None:
    lane = [incoming(Wrote(wrote(100))), incoming(END)]
    assert next_up(opening(), lane) == lane[1]
    assert next_up(ending(), lane) == lane[1]
    assert next_up(opened(), lane) == lane[0]
    assert next_up(opening(), lane[:1]) == lane[0]


# --- duties --------------------------------------------------------------------------------------


def test_duties_follow_from_the_state() -> None:
    fresh = opening()
    assert fresh.opening is not None
    assert duties(fresh) == (StartContact(fresh.opening), Post(fresh.owed[0]))
    for listening in (starting(), opened(), ending()):
        assert listening.phase in LISTENING
        assert listening.contact is not None
        assert duties(listening)[0] == Listen(listening.contact)
    assert duties(Conversation(THREAD)) == ()
    assert duties(ended()) == ()


def test_only_two_phases_have_a_deadline() -> None:
    assert [deadline(one) for one in (opening(), starting(), opened(), ended())] == [None] * 4


# --- the live button -----------------------------------------------------------------------------


def posted(conversation: Conversation, ts: str) -> Posted:
    return Posted((conversation.owed[0].id,), ts)


def test_the_button_of_the_chat_goes_with_it() -> None:
    offered = after(opened(), posted(opened(), "101.000000"))
    assert offered.button_ts == "101.000000"
    for event in (END, arrived(item(9, ItemKind.ENDED)), ContactOver("c1")):
        decision = last(offered, event)
        assert decision.effects[-1] == RetireButton("101.000000")
        assert decision.conversation.button_ts == ""


def test_an_offer_that_comes_too_late_goes_at_once() -> None:
    decision = last(ending(), posted(ending(), "101.000000"))
    assert decision.effects == (RetireButton("101.000000"),)
    assert decision.conversation.button_ts == ""


def test_a_new_button_replaces_the_old_one() -> None:
    offered = after(opened(), posted(opened(), "101.000000"))
    two = replace(offered, owed=(*opening().owed,))
    decision = last(two, posted(two, "102.000000"))
    assert decision.effects == (RetireButton("101.000000"),)
    assert decision.conversation.button_ts == "102.000000"


def test_opening_again_takes_the_question_back() -> None:
    held = after(ended(), Wrote(wrote(1001)))
    asked = after(held, posted(held, "1002.000000"))
    decision = last(asked, AskedToReopen("1003.000000", "U1"), Identified(ALICE))
    assert decision.effects == (RetireButton("1002.000000"),)


# --- posts ---------------------------------------------------------------------------------------


def test_what_is_posted_is_owed_no_more() -> None:
    owing = after(opened(), arrived(item(5)))
    done = after(owing, Posted(("i5",), "103.000000"), Posted((owing.owed[0].id,), "102.000000"))
    assert done.owed == ()
    assert done.last_post_ts == "103.000000"


def test_a_message_that_cannot_be_posted_is_told_to_the_agent() -> None:
    owing = after(opened(), arrived(item(5)))
    decision = last(owing, PostFailed(("i5",), "rejected"))
    assert decision.effects == (TellAgent(CONTACT_CONNECTED, "i5", "rejected"),)
    assert decision.conversation.phase is Phase.OPEN
    assert all(one.id != "i5" for one in decision.conversation.owed)


def test_of_a_notice_that_cannot_be_posted_the_agent_hears_nothing() -> None:
    decision = last(opened(), PostFailed((opened().owed[0].id,), "rejected"))
    assert decision.effects == ()


def test_a_place_that_is_gone_ends_the_conversation() -> None:
    owing = after(replace(opened(), held=(wrote(101),)), arrived(item(5), item(6)))
    decision = last(owing, PostFailed(("i5",), "gone", gone=True))
    closed = decision.conversation
    assert decision.effects == (
        TellAgent(CONTACT_CONNECTED, "i5", "gone"),
        EndContact(CONTACT_CONNECTED),
        Flag("101.000000"),
    )
    assert decision.save
    assert (closed.phase, closed.owed, closed.held, closed.contact) == (Phase.ENDED, (), (), None)
    assert not closed.active
    waiting = decide(closed, Wrote(wrote(102)), NOW, ALWAYS)
    assert (waiting.effects, waiting.then) == ((Flag("102.000000"),), Then.SETTLE)


def test_a_place_that_is_gone_and_has_no_chat_is_let_be() -> None:
    held = after(ended(), Wrote(wrote(1001)))
    decision = last(held, PostFailed((held.owed[0].id,), "gone", gone=True))
    assert decision.effects == (Flag("1001.000000"),)
    assert not decision.conversation.active
    back_again = after(decision.conversation, Wrote(wrote(1002)))
    assert notices(back_again) == [NoticeKind.ASK_REOPEN]


def test_a_place_that_is_gone_while_a_held_message_opens_a_chat_forgets_what_it_asked() -> None:
    held = after(ended(), Wrote(wrote(900)), AskedToReopen("901.000000", "U1"), Identified(ALICE))
    closed = after(held, PostFailed((held.owed[0].id,), "gone", gone=True))
    assert (closed.phase, closed.held, closed.owed) == (Phase.ENDED, (), ())
    back_again = after(closed, Wrote(wrote(1002)))
    assert notices(back_again) == [NoticeKind.ASK_REOPEN]


def after_start(conversation: Conversation) -> Conversation:
    """A second contact, subscribed."""
    second = replace(CONTACT, contact_id="c2")
    return after(replace(conversation, contact=second), Subscribed())


def arrived_in(contact_id: str, kind: ItemKind) -> ItemsArrived:
    return ItemsArrived(contact_id, (item(20, kind),))
