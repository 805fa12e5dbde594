"""What finally fails is parked with what is needed to try it again, and nothing is doubled by that."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.events import (
    AskedToEnd,
    CaughtUp,
    ContactStarted,
    EventFailed,
    FellBehind,
    Flag,
    Identified,
    Incoming,
    ItemFailed,
    LaneEvent,
    MessageFailed,
    MessageSent,
    PartSent,
    Posted,
    PostFailed,
    Prepared,
    Returned,
    SendToAgent,
    StartRefused,
    Subscribed,
    TellAgent,
    Then,
    Unflag,
    Wrote,
)
from bridge.core.model import (
    AgentMessage,
    Conversation,
    Item,
    ItemKind,
    NoticeKind,
    Phase,
    Progress,
    Retry,
    Sent,
)
from bridge.core.parked import Direction, Parked, unposted, unsent
from tests.core.support import (
    ALICE,
    ALWAYS,
    CONTACT,
    NOW,
    THREAD,
    after,
    arrived,
    ended,
    item,
    last,
    notices,
    opened,
    opening,
    starting,
    wrote,
)

LATER = NOW + 500.0


def given_up(conversation: Conversation, reason: str = "rejected") -> Parked:
    """The message of second 105, refused."""
    [parked] = last(conversation, MessageFailed(wrote(105), reason)).park
    return parked


def again(parked: Parked, now: float = LATER) -> LaneEvent:
    return parked.again(now).event


# --- towards the agent ---------------------------------------------------------------------------


def test_a_message_that_failed_is_parked_as_its_author_is_told() -> None:
    decision = last(opened(), MessageFailed(wrote(105), "rejected"))
    assert decision.effects == (Flag("105.000000"),)
    assert notices(decision.conversation)[-1] is NoticeKind.UNDELIVERED
    [parked] = decision.park
    assert (parked.conversation, parked.reason, parked.at) == (THREAD, "rejected", NOW)
    assert parked.direction is Direction.TO_AGENT
    assert isinstance(parked.event, Wrote)
    assert replace(parked.event.message, retry=None) == wrote(105)


def test_what_is_tried_again_is_an_event_that_nobody_knows_in_its_old_place_in_line() -> None:
    parked = given_up(opened())
    tried = parked.again(LATER)
    assert isinstance(tried, Incoming)
    assert tried.ts == "105.000000"
    assert tried.opens
    assert tried.keys == (f"parked:{parked.id}",)
    assert isinstance(tried.event, Wrote)
    assert tried.event.message.since == f"{LATER:.6f}"


def test_each_try_has_an_id_of_its_own_and_being_told_twice_changes_nothing() -> None:
    first = given_up(opened())
    assert given_up(opened()).id == first.id
    event = again(first)
    assert isinstance(event, Wrote)
    [second] = last(opened(), MessageFailed(event.message, "rejected"), now=LATER).park
    assert second.id != first.id
    ids = [
        notice.id
        for one in (wrote(105), event.message)
        for notice in last(opened(), MessageFailed(one, "rejected")).conversation.owed[-1:]
    ]
    assert len(set(ids)) == 2


def test_what_arrives_after_all_loses_its_flag_and_its_author_hears_of_it() -> None:
    event = again(given_up(opened()))
    assert isinstance(event, Wrote)
    assert last(opened(), event).effects == (SendToAgent(event.message),)
    decision = last(opened(), MessageSent(event.message, Sent("i5", 5.0)))
    assert decision.effects == (Unflag("105.000000"),)
    assert notices(decision.conversation)[-1] is NoticeKind.RETRIED
    assert decision.then is Then.SETTLE


def test_parts_that_went_out_are_not_sent_again_in_the_same_chat() -> None:
    progress = Progress("105.000000", "text 105", 4, 4)
    failing = after(opened(), PartSent(progress, Sent("i5", 5.0)))
    [parked] = last(failing, MessageFailed(wrote(105), "rejected")).park
    over = after(failing, MessageFailed(wrote(105), "rejected"))
    assert over.progress is None
    resumed = last(over, again(parked))
    assert resumed.conversation.progress == progress
    other_chat = replace(over, generation=over.generation + 1)
    assert last(other_chat, again(parked)).conversation.progress is None


def test_a_message_of_which_only_the_start_was_carried_is_not_taken_for_delivered() -> None:
    failing = replace(
        opened(), carried="105.000000", progress=Progress("105.000000", "text 105", 4, 4)
    )
    decision = last(failing, MessageFailed(wrote(105), "rejected"))
    [parked] = decision.park
    event = again(parked)
    assert isinstance(event, Wrote)
    assert isinstance(last(decision.conversation, event).effects[0], SendToAgent)
    over = after(decision.conversation, arrived(item(9, ItemKind.ENDED)))
    kept = last(over, event)
    assert kept.conversation.held == (event.message,)


def test_after_the_end_it_is_kept_until_somebody_asks_for_a_new_chat() -> None:
    event = again(given_up(opened()))
    assert isinstance(event, Wrote)
    held = after(ended(), event)
    assert held.held == (event.message,)
    assert notices(held) == [NoticeKind.ASK_REOPEN]
    assert last(ended(policy=ALWAYS), event, policy=ALWAYS).effects  # somebody is identified


def start_failed() -> Conversation:
    return after(opening(), StartRefused("InternalServiceException"))


def test_what_waited_for_a_chat_that_did_not_come_about_is_parked() -> None:
    decision = last(start_failed(), Wrote(wrote(100)))
    [parked] = decision.park
    assert parked.reason == "not_started"
    assert decision.effects == (Flag("100.000000"),)
    assert decision.then is Then.SETTLE


def test_tried_again_it_asks_for_a_chat_and_is_given_up_again_with_that() -> None:
    [parked] = last(start_failed(), Wrote(wrote(100))).park
    event = again(parked)
    assert isinstance(event, Wrote)
    assert last(start_failed(), event, now=LATER).park == ()
    identified = Identified(ALICE, first_id="100.000000", first="text 100")
    reopened = after(start_failed(), identified, now=LATER)
    assert reopened.phase is Phase.OPENING
    failed = after(reopened, StartRefused("x"), now=LATER + 60.0)
    [second] = last(failed, event, now=LATER + 61.0).park
    assert second.id != parked.id


def test_what_the_customer_cancelled_is_not_parked() -> None:
    cancelled = after(opening(), AskedToEnd("150.000000", "U1"))
    decision = last(cancelled, Wrote(wrote(100)))
    assert decision.effects == (Flag("100.000000"),)
    assert decision.park == ()


def test_what_was_held_is_parked_where_the_new_chat_does_not_come_about() -> None:
    held = after(ended(), Wrote(wrote(2000)))
    reopened = after(held, Identified(ALICE, first_id="2000.000000", first="text 2000"))
    # The first refusal is of the chat that it would continue, the second of any.
    decision = last(reopened, StartRefused("x"), StartRefused("x"), now=LATER)
    [parked] = decision.park
    assert parked.reason == "not_started"
    assert decision.save


# --- towards the customer ------------------------------------------------------------------------

SAID = AgentMessage("i5", "Ann", "hello", time=5.0)


def owing() -> Conversation:
    return replace(after(opened(), arrived(item(5))), last_post_ts="140.000000")


def test_a_post_that_failed_is_parked_as_the_agent_is_told() -> None:
    decision = last(owing(), PostFailed(("i5",), "rejected"))
    assert decision.effects == (TellAgent(replace(CONTACT, connected=True), "i5", "rejected"),)
    [parked] = decision.park
    assert parked.direction is Direction.TO_CUSTOMER
    assert parked.event == Returned(replace(SAID, retry=Retry(since="140.000000")))


@pytest.mark.parametrize("phase", list(Phase))
def test_it_comes_back_into_the_outbox_whatever_the_conversation_does(phase: Phase) -> None:
    parked = unposted(owing(), SAID, "rejected", NOW)
    event = again(parked)
    assert isinstance(event, Returned)
    assert event.ts == f"{LATER:.6f}"
    decision = last(replace(opened(), phase=phase, owed=()), event)
    assert decision.conversation.owed == (event.message,)
    assert decision.then is Then.SETTLE
    assert decision.conversation.phase is phase


def test_the_agent_hears_that_it_arrived_after_all() -> None:
    event = again(unposted(owing(), SAID, "rejected", NOW))
    decision = last(replace(opened(), owed=()), event, Posted(("i5",), "170.000000"))
    assert decision.effects == (TellAgent(replace(CONTACT, connected=True), "i5", "arrived"),)


def test_a_notice_is_not_parked() -> None:
    [connecting] = opening().owed
    assert last(opening(), PostFailed((connecting.id,), "rejected")).park == ()


def test_where_the_place_is_gone_everything_that_waits_is_parked() -> None:
    busy = after(owing(), arrived(item(6)))
    busy = replace(busy, held=(wrote(90),))
    decision = last(busy, PostFailed(("i5",), "gone", gone=True))
    assert [(one.direction, one.event.message.id) for one in decision.park] == [
        (Direction.TO_CUSTOMER, "i5"),
        (Direction.TO_CUSTOMER, "i6"),
        (Direction.TO_AGENT, "90.000000"),
    ]
    [waiting] = last(decision.conversation, Wrote(wrote(105))).park
    assert waiting.reason == "gone"


# --- what our own code cannot handle -------------------------------------------------------------


def test_an_event_that_our_code_cannot_handle_is_told_of_and_parked() -> None:
    decision = last(opened(), EventFailed(Wrote(wrote(105))))
    assert decision.effects == (Flag("105.000000"),)
    assert decision.then is Then.SETTLE
    [parked] = decision.park
    assert parked.reason == "defect"
    assert notices(decision.conversation)[-1] is NoticeKind.UNDELIVERED


def test_a_first_message_that_cannot_be_handled_does_not_keep_the_next_one_out() -> None:
    failed = after(Conversation(THREAD), EventFailed(Wrote(wrote(100))))
    reply = last(failed, Wrote(wrote(105)))
    assert reply.effects
    opened_ = after(failed, Wrote(wrote(105)), Identified(ALICE, first_id="105.000000", first="x"))
    assert opened_.phase is Phase.OPENING


def test_a_click_that_cannot_be_handled_is_told_of_and_not_kept() -> None:
    decision = last(opened(), EventFailed(AskedToEnd("150.000000", "U1")))
    assert notices(decision.conversation)[-1] is NoticeKind.NOT_DONE
    assert decision.then is Then.SETTLE
    assert decision.park == ()


def test_an_agents_message_that_cannot_be_handled_again_stays_parked() -> None:
    event = again(unposted(owing(), SAID, "rejected", NOW))
    decision = last(opened(), EventFailed(event))
    [parked] = decision.park
    assert parked.direction is Direction.TO_CUSTOMER
    assert parked.id != unposted(owing(), SAID, "rejected", NOW).id


def test_an_item_that_cannot_be_handled_is_parked_and_told_no_more() -> None:
    bad = item(5, text="bad")
    decision = last(opened(), ItemFailed(CONTACT.contact_id, bad))
    assert decision.effects == (TellAgent(replace(CONTACT, connected=True), "i5", "defect"),)
    [parked] = decision.park
    assert isinstance(parked.event, Returned)
    assert parked.event.message.text == "bad"
    assert decision.save
    assert after(decision.conversation, arrived(bad)).owed == decision.conversation.owed
    assert last(decision.conversation, ItemFailed(CONTACT.contact_id, bad)).park == ()


@pytest.mark.parametrize(
    "silent", [item(5, own=True), item(5, ItemKind.JOINED), item(5, past=True)], ids=repr
)
def test_an_item_that_is_no_news_for_the_customer_is_only_remembered(silent: Item) -> None:
    decision = last(opened(), ItemFailed(CONTACT.contact_id, silent))
    assert decision.park == ()
    assert decision.effects == ()
    assert "i5" in decision.conversation.seen


# --- lanes that are behind -----------------------------------------------------------------------


def test_an_author_is_told_once_that_very_much_waits_until_it_does_not_any_more() -> None:
    behind = last(opened(), FellBehind("U1", "105.000000"))
    assert notices(behind.conversation)[-1] is NoticeKind.SLOW
    told = last(behind.conversation, FellBehind("U2", "106.000000"))
    assert told.conversation == behind.conversation
    free = after(told.conversation, CaughtUp())
    assert notices(after(free, FellBehind("U1", "300.000000"))).count(NoticeKind.SLOW) == 2


def test_nobody_is_told_of_a_lane_before_anything_is_known_of_its_conversation() -> None:
    assert last(Conversation(THREAD), FellBehind("U1", "1.0")).conversation == Conversation(THREAD)


def test_where_it_failed_is_kept_with_a_message_that_fails_before_it_goes_on() -> None:
    progress = Progress("105.000000", "text 105", 4, 4)
    failing = replace(opened(), progress=progress)
    event = again(unsent(failing, wrote(105), "rejected", NOW))
    assert isinstance(event, Wrote)
    second = unsent(replace(failing, progress=None), event.message, "defect", LATER)
    assert isinstance(second.event, Wrote)
    assert second.event.message.retry is not None
    assert second.event.message.retry.progress == progress


def test_a_contact_that_starts_twice_for_one_message_tells_no_lies() -> None:
    """A retried message that travels with the start of a new chat went whole."""
    retry = Retry(1, f"{LATER:.6f}", generation=1)
    message = replace(wrote(105), retry=retry)
    carried = replace(starting(), generation=2, carried="105.000000")
    carried = after(carried, Prepared("r"), ContactStarted(CONTACT), Subscribed())
    assert last(carried, Wrote(message)).effects == (Unflag("105.000000"),)
