"""The contact: how it is opened, how it dies, what replaces it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.conversation import decide
from bridge.core.events import (
    AskedToEnd,
    AskedToReopen,
    ContactOver,
    ContactStarted,
    CredentialsRenewed,
    Event,
    Flag,
    Identified,
    Identify,
    MessageSent,
    Prepared,
    SendDelayed,
    StartDelayed,
    StartRefused,
    Subscribed,
    Then,
    Wrote,
)
from bridge.core.lookback import NOTHING
from bridge.core.model import (
    Conversation,
    ItemKind,
    Notice,
    NoticeKind,
    Person,
    Phase,
    Policy,
    Progress,
    Sent,
)
from tests.core.support import (
    ALICE,
    ALWAYS,
    BOB,
    CARRY,
    CONTACT,
    MALLORY,
    NOW,
    THREAD,
    after,
    arrived,
    ended,
    ending,
    item,
    known,
    last,
    notices,
    opened,
    opening,
    starting,
    wrote,
)

OVER = ContactOver("c1")
REOPEN = AskedToReopen("1002.000000", "U1")


# --- who opens -----------------------------------------------------------------------------------


def test_whoever_may_opens_a_chat() -> None:
    fresh = opening()
    assert fresh.phase is Phase.OPENING
    assert fresh.generation == 1
    assert fresh.people == (Person("U1", "Alice"),)
    assert fresh.opening is not None
    assert (fresh.opening.customer, fresh.opening.place_name) == (ALICE, "#support")
    assert fresh.opening.initial_message == ""
    assert fresh.opener == "U1"
    assert notices(fresh) == [NoticeKind.CONNECTING]


def test_whoever_may_not_leaves_no_trace() -> None:
    decision = last(Conversation(THREAD), Wrote(wrote(100, "U9")), Identified(MALLORY))
    assert decision.then is Then.FORGET
    assert decision.conversation == Conversation(THREAD)


def test_whoever_may_not_opens_nothing_after_the_end_either() -> None:
    decision = last(ended(), Identified(MALLORY))
    assert (decision.then, decision.conversation) == (Then.SETTLE, ended())


def test_who_may_not_and_asks_gets_an_answer() -> None:
    stranger = replace(ALICE, user_id="U9", may_open=False)
    decision = last(Conversation(THREAD), Identified(stranger, addressed=True))
    assert decision.then is Then.SETTLE
    assert notices(decision.conversation) == [NoticeKind.NOT_ALLOWED]
    assert decision.conversation.phase is Phase.NEW
    again = last(decision.conversation, Identified(stranger, addressed=True))
    assert again.conversation == decision.conversation


def test_who_took_part_may_open_again() -> None:
    took_part = after(opened(), Identified(MALLORY, opens=False))
    again = after(took_part, arrived(item(9, ItemKind.ENDED)), Identified(MALLORY))
    assert again.phase is Phase.OPENING


@pytest.mark.parametrize("make", [opening, starting, opened, ending])
def test_during_a_chat_only_the_name_counts(make: object) -> None:
    before: Conversation = make()  # type: ignore[operator]  # one of four factories
    decision = last(before, Identified(BOB, opens=False))
    assert decision.conversation == replace(
        before, people=(Person("U1", "Alice"), Person("U2", "Bob"))
    )
    assert last(decision.conversation, Identified(BOB)).conversation == decision.conversation


def test_a_name_that_comes_after_the_end_opens_nothing() -> None:
    """The chat ended while Slack was asked for the second author's name."""
    decision = last(ended(), Identified(BOB, opens=False))
    assert decision.conversation.phase is Phase.ENDED
    assert decision.then is Then.WAIT
    assert Person("U2", "Bob") in decision.conversation.people


# --- the first message travels along -------------------------------------------------------------


def test_the_initial_message_is_carried_whole() -> None:
    fresh = opening(policy=CARRY)
    assert fresh.opening is not None
    assert fresh.opening.initial_message == "text 100"
    assert (fresh.carried, fresh.progress) == ("100.000000", None)
    decision = last(after(fresh, ContactStarted(CONTACT), Subscribed()), Wrote(wrote(100)))
    assert (decision.effects, decision.then) == ((), Then.SETTLE)


def test_the_initial_message_is_carried_in_part() -> None:
    policy = replace(CARRY, split_limit=5)
    fresh = opening(policy=policy)
    assert fresh.opening is not None
    assert fresh.opening.initial_message == "text"
    assert fresh.progress == Progress("100.000000", "text 100", 5, 5)
    decision = last(after(fresh, ContactStarted(CONTACT), Subscribed()), Wrote(wrote(100)))
    assert len(decision.effects) == 1
    assert decision.then is Then.WAIT


@pytest.mark.parametrize(("policy", "text"), [(CARRY, "  "), (Policy(), "text 100")])
def test_nothing_is_carried(policy: Policy, text: str) -> None:
    identified = Identified(ALICE, first_id="100.000000", first=text)
    fresh = after(Conversation(THREAD), identified, policy=policy)
    assert fresh.opening is not None
    assert (fresh.opening.initial_message, fresh.carried, fresh.progress) == ("", "", None)


def test_words_of_another_person_do_not_travel_under_the_openers_name() -> None:
    held = after(ended(policy=CARRY), Wrote(wrote(1001, "U2")), policy=CARRY)
    first = Identified(ALICE, first_id="1001.000000", first="text 1001")
    again = after(held, REOPEN, first, policy=CARRY)
    assert again.opening is not None
    assert (again.opening.initial_message, again.carried) == ("", "")
    own = after(held, REOPEN, replace(first, profile=BOB), policy=CARRY)
    assert own.carried == "1001.000000"


# --- the start -----------------------------------------------------------------------------------


def test_the_request_is_stored_before_the_first_try() -> None:
    decision = last(opening(), Prepared("request"))
    assert decision.conversation.request == "request"
    assert decision.save


def test_the_contact_is_stored_at_once() -> None:
    decision = last(opening(), ContactStarted(CONTACT))
    assert decision.conversation.contact == CONTACT
    assert decision.conversation.phase is Phase.OPENING
    assert decision.save


@pytest.mark.parametrize(
    "event",
    [Prepared("again"), ContactStarted(CONTACT), StartRefused("x"), StartDelayed("busy")],
    ids=lambda event: type(event).__name__,
)
@pytest.mark.parametrize("make", [starting, opened, ended])
def test_news_of_a_start_that_nobody_waits_for_change_nothing(event: Event, make: object) -> None:
    before: Conversation = make()  # type: ignore[operator]  # one of three factories
    assert last(before, event).conversation == before


def test_a_start_that_takes_long_is_told_once() -> None:
    told = after(opening(), StartDelayed("busy"), StartDelayed("trouble"), StartDelayed("busy"))
    assert notices(told) == [NoticeKind.CONNECTING, NoticeKind.BUSY]


def test_a_refused_start_fails_and_drops_what_waits() -> None:
    held = after(ended(), Wrote(wrote(901)), policy=Policy(rehydrate=False))
    again = after(held, REOPEN, Identified(ALICE), policy=Policy(rehydrate=False))
    decision = last(again, StartRefused("InvalidRequestException"))
    assert decision.conversation.phase is Phase.ENDED
    assert decision.effects == (Flag("901.000000"),)
    assert notices(decision.conversation)[-1] is NoticeKind.FAILED
    assert decision.save
    dropped = last(decision.conversation, Wrote(wrote(902)))
    assert (dropped.effects, dropped.then) == ((Flag("902.000000"),), Then.SETTLE)
    assert dropped.conversation.last_ts == "902.000000"


def test_without_any_chat_before_the_next_message_tries_again() -> None:
    failed = after(opening(), StartRefused("x"))
    assert last(failed, Wrote(wrote(1001))).effects == (Identify("U1"),)


def test_a_chat_that_connect_will_not_continue_is_started_without_its_past_once() -> None:
    again = after(ended(), REOPEN, Identified(ALICE), Prepared("request"))
    assert again.opening is not None
    assert again.opening.source_contact_id == "c1"
    assert again.opening.not_before == NOW + Policy().rehydrate_seconds
    decision = last(again, StartRefused("InvalidRequestException"))
    plain = decision.conversation
    assert plain.opening is not None
    assert (plain.phase, plain.request, decision.save) == (Phase.OPENING, "", True)
    assert (plain.opening.source_contact_id, plain.opening.not_before) == ("", 0.0)
    assert plain.opening.attempt == again.opening.attempt + 1
    assert last(plain, StartRefused("x")).conversation.phase is Phase.ENDED


def test_the_past_is_left_where_the_settings_say_so() -> None:
    again = after(ended(), REOPEN, Identified(ALICE), policy=Policy(rehydrate=False))
    assert again.opening is not None
    assert (again.opening.source_contact_id, again.opening.not_before) == ("", 0.0)


# --- connected -----------------------------------------------------------------------------------


def test_subscribed_opens_the_chat() -> None:
    decision = last(starting(), Subscribed())
    assert decision.conversation.phase is Phase.OPEN
    assert decision.conversation.contact == replace(CONTACT, connected=True)
    assert (decision.conversation.opener, decision.conversation.opening) == ("U1", None)
    assert decision.save
    again = last(decision.conversation, Subscribed())
    assert (again.conversation, again.save) == (decision.conversation, False)


def test_subscribed_while_leaving_is_remembered() -> None:
    from_opening = replace(ending(), contact=CONTACT)
    decision = last(from_opening, Subscribed())
    assert decision.conversation.phase is Phase.ENDING
    assert decision.conversation.contact == replace(CONTACT, connected=True)


def test_a_renewed_token_is_stored() -> None:
    decision = last(opened(), CredentialsRenewed("fresh", 9.0))
    contact = decision.conversation.contact
    assert contact is not None
    assert (contact.connection_token, contact.connection_expiry) == ("fresh", 9.0)
    assert decision.save
    assert last(ended(), CredentialsRenewed("fresh", 9.0)).conversation == ended()


# --- over ----------------------------------------------------------------------------------------


def test_a_contact_that_died_unconnected_is_replaced_silently_twice() -> None:
    now = starting()
    for attempt in (1, 2):
        decision = last(now, OVER)
        again = decision.conversation
        assert again.opening is not None
        assert (again.phase, again.contact, again.request) == (Phase.OPENING, None, "")
        assert (again.opening.attempt, again.attempts, decision.save) == (attempt, attempt, True)
        assert notices(again) == [NoticeKind.CONNECTING]
        now = after(again, Prepared("request"), ContactStarted(CONTACT))
    decision = last(now, OVER)
    assert decision.conversation.phase is Phase.ENDED
    assert notices(decision.conversation)[-1] is NoticeKind.FAILED
    assert decision.save
    dropped = last(decision.conversation, Wrote(wrote(100)))
    assert (dropped.effects, dropped.then) == ((Flag("100.000000"),), Then.SETTLE)


def test_a_chat_that_ended_while_nobody_listened_is_told_as_missed() -> None:
    decision = last(opened(), OVER)
    assert decision.conversation.phase is Phase.ENDED
    assert decision.conversation.missed
    assert decision.conversation.past_contact_id == "c1"
    assert notices(decision.conversation)[-1] is NoticeKind.MISSED
    assert decision.save


def test_items_show_that_a_contact_lived_although_nobody_said_subscribed() -> None:
    heard = after(starting(), arrived(item(3)))
    decision = last(heard, OVER)
    assert decision.conversation.phase is Phase.ENDED
    assert notices(decision.conversation)[-1] is NoticeKind.MISSED


def test_the_end_of_a_contact_that_the_customer_left_is_an_end() -> None:
    decision = last(ending(), OVER)
    assert notices(decision.conversation)[-1] is NoticeKind.ENDED
    assert decision.conversation.phase is Phase.ENDED
    unconnected = last(replace(ending(), contact=CONTACT), OVER)
    assert notices(unconnected.conversation)[-1] is NoticeKind.ENDED
    assert unconnected.conversation.past_contact_id == ""


def test_another_contacts_end_is_nothing() -> None:
    assert last(opened(), ContactOver("c0")).conversation == opened()
    assert last(ended(), OVER).conversation == ended()


# --- the chat before -----------------------------------------------------------------------------


def reopened(before: Conversation) -> Conversation:
    return after(before, REOPEN, Identified(ALICE))


def test_of_a_chat_that_was_heard_to_its_end_the_newest_item_is_kept() -> None:
    heard = after(opened(), arrived(item(3), item(4), item(9, ItemKind.ENDED)))
    assert reopened(heard).past_seen == known(9)
    assert not reopened(heard).missed


def test_of_a_chat_whose_end_was_missed_the_look_back_is_kept() -> None:
    missed = after(opened(), arrived(item(3), item(4)), OVER)
    again = reopened(missed)
    assert again.past_seen == known(3, 4)
    assert (again.seen, again.missed) == (NOTHING, True)


@pytest.mark.parametrize("reason", ["refused", "never connected", "ended from outside"])
def test_a_chat_of_which_nothing_was_heard_hides_nothing(reason: str) -> None:
    again = reopened(after(opened(), arrived(item(3)), OVER))
    second = replace(CONTACT, contact_id="c2")
    events: dict[str, list[Event]] = {
        "refused": [StartRefused("x"), StartRefused("x")],
        "never connected": [ContactStarted(second), ContactOver("c2")] * 3,
        "ended from outside": [ContactStarted(second), Subscribed(), ContactOver("c2")],
    }
    third = reopened(after(again, *events[reason]))
    assert third.past_seen == known(3)
    assert third.missed


def test_a_flow_that_ends_the_chat_at_once_is_an_end() -> None:
    """Out of hours: the items come before Subscribed does."""
    over = after(starting(), arrived(item(2, text="closed"), item(3, ItemKind.ENDED)))
    assert over.phase is Phase.ENDED
    assert over.past_contact_id == "c1"
    decision = decide(over, Wrote(wrote(100)), NOW, ALWAYS)
    assert decision.conversation.held == (wrote(100),)


def test_a_start_that_was_called_off_hides_nothing_either() -> None:
    again = after(reopened(after(opened(), arrived(item(3)), OVER)), ContactStarted(CONTACT))
    third = reopened(after(again, AskedToEnd("1003.000000", "U1"), Wrote(wrote(1001))))
    assert third.past_seen == known(3)
    assert third.missed


def test_a_chat_that_ended_before_its_transcript_was_read_hides_nothing() -> None:
    again = after(reopened(after(opened(), arrived(item(3)), OVER)), ContactStarted(CONTACT))
    third = reopened(after(again, arrived(item(8), item(9, ItemKind.ENDED))))
    assert third.past_seen == known(3, 8, 9)
    assert third.missed


def test_what_a_chat_brought_back_is_missed_no_more() -> None:
    again = after(reopened(after(opened(), arrived(item(3)), OVER)), ContactStarted(CONTACT))
    caught_up = after(again, Subscribed(), arrived(item(4, past=True), item(9, ItemKind.ENDED)))
    assert not reopened(caught_up).missed


# --- Connect takes no messages --------------------------------------------------------------------

DELAYED = SendDelayed("U1", "110.000000")


def test_whose_message_waits_is_told_once_until_one_went_through() -> None:
    told = after(opened(), DELAYED, DELAYED)
    assert notices(told).count(NoticeKind.WAITING) == 1
    waiting = next(one for one in told.owed if one.id == "waiting:110.000000")
    assert isinstance(waiting, Notice)
    assert (waiting.user_id, waiting.message_ts) == ("U1", "110.000000")
    later = SendDelayed("U2", "120.000000")
    assert notices(after(told, later)).count(NoticeKind.WAITING) == 1
    again = after(told, MessageSent(wrote(110), Sent("i2", 2.0)), later)
    assert notices(again).count(NoticeKind.WAITING) == 2


@pytest.mark.parametrize("conversation", [opening(), ended(), ending()])
def test_only_an_open_chat_can_be_waited_for(conversation: Conversation) -> None:
    assert after(conversation, DELAYED) == conversation


@pytest.mark.parametrize("reason", ["busy", "unavailable"])
def test_a_start_that_was_given_up_says_why(reason: str) -> None:
    given_up = after(opening(), Prepared("request"), StartRefused("x", reason))
    assert given_up.phase is Phase.ENDED
    failed = given_up.owed[-1]
    assert isinstance(failed, Notice)
    assert (failed.kind, failed.reason) == (NoticeKind.FAILED, reason)


def test_only_a_refusal_gives_up_the_old_chat() -> None:
    asked = after(ended(), REOPEN, Identified(ALICE))
    assert asked.opening
    assert asked.opening.source_contact_id
    assert after(asked, StartRefused("x", "busy")).phase is Phase.ENDED
    again = after(asked, StartRefused("x")).opening
    assert again
    assert again.source_contact_id == ""


def test_a_transfer_moves_the_chat_on() -> None:
    moved = after(opened(), arrived(replace(item(5), segment_id="c2")))
    assert moved.contact
    assert (moved.contact.contact_id, moved.contact.segment_id) == ("c1", "c2")
    back = after(moved, arrived(replace(item(6, past=True), segment_id="c0")))
    assert back.contact == moved.contact
    same = after(opened(), arrived(replace(item(5), segment_id="c1")))
    assert same.contact == opened().contact
