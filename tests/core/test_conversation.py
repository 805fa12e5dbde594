"""What people do in the thread, phase by phase."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.conversation import deadline, decide
from bridge.core.events import (
    AskedToEnd,
    AskedToReopen,
    ContactStarted,
    FindRoot,
    Flag,
    Identified,
    Identify,
    LaneEvent,
    MessageFailed,
    MessageSent,
    NoRoot,
    PartSent,
    Posted,
    RetireButton,
    SendToAgent,
    Subscribed,
    Then,
    Ticked,
    Wrote,
)
from bridge.core.model import (
    Conversation,
    ConversationId,
    CustomerMessage,
    ItemKind,
    NoticeKind,
    Phase,
    Policy,
    Progress,
    Sent,
)
from tests.core.support import (
    ALWAYS,
    ASK,
    BOB,
    CONTACT,
    DM,
    NEVER,
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

# --- the first message ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_", "message", "effect"),
    [
        (THREAD, wrote(100), Identify("U1")),
        (THREAD, wrote(105), FindRoot()),
        (THREAD, wrote(105, mention=True), Identify("U1")),
        (DM, wrote(105), Identify("U1")),
    ],
    ids=["root", "reply before its root", "mention in a thread", "flat DM"],
)
def test_what_a_first_message_needs(
    id_: ConversationId, message: CustomerMessage, effect: Identify | FindRoot
) -> None:
    decision = last(Conversation(id_), Wrote(message))
    assert decision.effects == (effect,)
    assert decision.then is Then.WAIT
    assert decision.conversation == Conversation(id_)


def test_a_reply_to_nobodys_root_leaves_no_trace() -> None:
    assert last(Conversation(THREAD), Wrote(wrote(105)), NoRoot()).then is Then.FORGET


@pytest.mark.parametrize("event", [AskedToEnd("1.0", "U1"), AskedToReopen("1.0", "U1")])
def test_clicks_open_nothing(event: LaneEvent) -> None:
    assert last(Conversation(THREAD), event).then is Then.FORGET


def test_messages_wait_while_a_chat_opens() -> None:
    decision = last(opening(), Wrote(wrote(101)))
    assert (decision.effects, decision.then) == ((), Then.WAIT)
    assert decision.conversation == opening()


# --- to the agent --------------------------------------------------------------------------------


def test_the_opener_writes_without_a_name() -> None:
    message = wrote(101)
    decision = last(opened(), Wrote(message))
    assert decision.effects == (SendToAgent(message, ""),)
    assert decision.then is Then.WAIT


def test_a_second_author_is_asked_for_and_named() -> None:
    message = wrote(101, "U2")
    assert last(opened(), Wrote(message)).effects == (Identify("U2"),)
    named = after(opened(), Identified(BOB, opens=False))
    assert last(named, Wrote(message)).effects == (SendToAgent(message, "Bob"),)


def test_who_opens_the_next_chat_is_its_opener() -> None:
    again = after(
        after(ended(), Wrote(wrote(101, "U2")), Identified(BOB, first_id="101.000000")),
        ContactStarted(replace(CONTACT, contact_id="c2")),
        Subscribed(),
    )
    assert last(again, Wrote(wrote(101, "U2"))).effects == (SendToAgent(wrote(101, "U2"), ""),)
    assert last(again, Wrote(wrote(102, "U1"))).effects == (SendToAgent(wrote(102), "Alice"),)


def test_a_sent_message_is_done() -> None:
    decision = last(opened(), MessageSent(wrote(101), Sent("i5", 5.0)))
    assert decision.then is Then.SETTLE
    assert decision.conversation.last_own == Sent("i5", 5.0)
    assert decision.conversation.last_ts == "101.000000"
    assert decision.conversation.progress is None


def test_the_last_own_item_never_goes_back() -> None:
    """A message that Connect had accepted before, but an older one was written after it."""
    late = after(opened(), MessageSent(wrote(101), Sent("i7", 7.0)))
    again = after(late, MessageSent(wrote(102), Sent("i5", 5.0)))
    assert again.last_own == Sent("i7", 7.0)
    part = PartSent(Progress("102.000000", "one two", 4, 4), Sent("i5", 5.0))
    assert last(late, part).conversation.last_own == Sent("i7", 7.0)


def test_last_ts_never_goes_back() -> None:
    late = after(opened(), MessageSent(wrote(101), None), MessageSent(wrote(99), None))
    assert late.last_ts == "101.000000"


def test_of_a_part_the_progress_is_stored() -> None:
    progress = Progress("101.000000", "one two", 4, 4)
    decision = last(opened(), PartSent(progress, Sent("i5", 5.0)))
    assert decision.conversation.progress == progress
    assert decision.conversation.last_own == Sent("i5", 5.0)
    assert decision.save
    about_to_go = last(opened(), PartSent(progress))
    assert about_to_go.conversation.last_own == Sent("i1", 1.0)


def test_a_message_without_text_needs_no_sending() -> None:
    decision = last(opened(), Wrote(wrote(101, text=" ", mention=True)))
    assert (decision.effects, decision.then) == ((), Then.SETTLE)
    assert notices(decision.conversation) == [NoticeKind.CONNECTING]


@pytest.mark.parametrize("text", ["", "see file"])
def test_of_files_the_author_is_told_that_they_stay_here(text: str) -> None:
    message = wrote(101, text=text, files=2)
    done = (
        after(opened(), Wrote(message)) if not text else after(opened(), MessageSent(message, None))
    )
    assert notices(done)[1:] == [NoticeKind.FILES]
    assert getattr(done.owed[-1], "message_ts", "") == "101.000000"


def test_a_message_that_cannot_go_is_flagged_and_its_author_told() -> None:
    begun = after(opened(), PartSent(Progress("101.000000", "one two", 4, 4)))
    decision = last(begun, MessageFailed(wrote(101), "rejected"))
    assert decision.effects == (Flag("101.000000"),)
    assert decision.then is Then.SETTLE
    assert notices(decision.conversation)[1:] == [NoticeKind.UNDELIVERED]
    assert getattr(decision.conversation.owed[-1], "reason", "") == "rejected"
    assert decision.conversation.progress is None


# --- after the end -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_", "policy", "now", "opens"),
    [
        (THREAD, ALWAYS, NOW + 5, True),
        (THREAD, ASK, NOW + 90_000, False),
        (THREAD, NEVER, NOW + 5, False),
        (DM, ASK, NOW + 1799, False),
        (DM, ASK, NOW + 1801, True),
        (DM, NEVER, NOW + 1801, False),
    ],
    ids=["always", "ask", "never", "DM at once", "DM after half an hour", "DM, never"],
)
def test_what_a_message_after_the_end_does(
    id_: ConversationId, policy: Policy, now: float, opens: bool
) -> None:
    decision = last(ended(id_, policy), Wrote(wrote(1001)), now=now, policy=policy)
    assert (decision.effects == (Identify("U1"),)) is opens
    assert (decision.then is Then.WAIT) is opens


def test_ask_keeps_the_message_and_asks_once() -> None:
    decision = last(ended(), Wrote(wrote(1001)))
    assert decision.conversation.held == (wrote(1001),)
    assert decision.conversation.held_until == NOW + ASK.held_seconds
    assert decision.conversation.last_ts == "1001.000000"
    assert notices(decision.conversation) == [NoticeKind.ASK_REOPEN]
    assert decision.then is Then.SETTLE
    later = after(decision.conversation, Wrote(wrote(1002)), now=NOW + 60)
    assert later.held == (wrote(1001), wrote(1002))
    assert later.held_until == NOW + ASK.held_seconds
    assert notices(later) == [NoticeKind.ASK_REOPEN]


def test_what_is_held_is_in_order_and_once() -> None:
    held = after(ended(), *(Wrote(wrote(ts)) for ts in (1003, 1001, 1003, 1002)))
    assert [one.ts for one in held.held] == ["1001.000000", "1002.000000", "1003.000000"]


def test_never_says_so_once_and_flags_every_message() -> None:
    first = last(ended(), Wrote(wrote(1001)), policy=NEVER)
    second = decide(first.conversation, Wrote(wrote(1002)), NOW, NEVER)
    assert first.effects == (Flag("1001.000000"),)
    assert second.effects == (Flag("1002.000000"),)
    assert notices(second.conversation) == [NoticeKind.NOT_REOPENED]
    assert second.conversation.last_ts == "1002.000000"
    assert (first.then, second.then) == (Then.SETTLE, Then.SETTLE)


def test_no_more_than_twenty_messages_are_held() -> None:
    full = after(ended(), *(Wrote(wrote(1000 + n)) for n in range(1, 21)))
    assert len(full.held) == 20
    decision = last(full, Wrote(wrote(1021)))
    assert decision.conversation.held == full.held
    assert decision.effects == (Flag("1021.000000"),)
    assert notices(decision.conversation) == [NoticeKind.ASK_REOPEN, NoticeKind.HELD_FULL]
    again = last(decision.conversation, Wrote(wrote(1022)))
    assert again.effects == (Flag("1022.000000"),)
    assert notices(again.conversation) == notices(decision.conversation)
    assert again.conversation.last_ts == "1022.000000"


def test_held_messages_are_erased_after_a_day_and_every_author_told() -> None:
    held = after(
        ended(), Wrote(wrote(1001)), Wrote(wrote(1002, "U2")), Wrote(wrote(1003)), Posted((), "")
    )
    held = after(held, Posted((held.owed[0].id,), "1004.000000"))
    assert deadline(held) == NOW + 86_400
    early = last(held, Ticked(), now=NOW + 86_399)
    assert early.conversation == held
    decision = last(held, Ticked(), now=NOW + 86_400)
    assert decision.conversation.held == ()
    assert decision.effects == (RetireButton("1004.000000"),)
    assert decision.save
    told = [getattr(one, "user_id", "") for one in decision.conversation.owed]
    assert notices(decision.conversation) == [NoticeKind.HELD_ERASED] * 2
    assert sorted(told) == ["U1", "U2"]
    assert deadline(decision.conversation) is None
    asked_anew = after(decision.conversation, Wrote(wrote(1005)))
    assert notices(asked_anew)[-1] is NoticeKind.ASK_REOPEN


def test_the_button_opens_a_chat_for_what_is_held() -> None:
    held = after(ended(), Wrote(wrote(1001)))
    click = AskedToReopen("1002.000000", "U2")
    assert last(held, click).effects == (Identify("U2"),)
    again = after(held, click, Identified(BOB, first_id="1001.000000", first="text 1001"))
    assert again.phase is Phase.OPENING
    assert again.held == held.held
    assert last(again, click).then is Then.SETTLE


def test_a_message_that_waited_for_a_chat_that_took_nothing_is_asked_about() -> None:
    """Always: a flow that ends every chat at once must not be started again and again."""
    over = after(starting(policy=ALWAYS), arrived(item(3, text="closed"), item(4, ItemKind.ENDED)))
    decision = last(over, Wrote(wrote(100)), policy=ALWAYS)
    assert decision.conversation.held == (wrote(100),)
    assert decision.then is Then.SETTLE
    assert NoticeKind.ASK_REOPEN in notices(decision.conversation)
    fresh = last(over, Wrote(wrote(1001)), policy=ALWAYS)
    assert fresh.effects == (Identify("U1"),)


@pytest.mark.parametrize("event", [MessageSent(wrote(1001), None), MessageFailed(wrote(1001), "x")])
def test_a_held_message_that_went_or_cannot_go_is_held_no_more(
    event: MessageSent | MessageFailed,
) -> None:
    held = after(ended(), Wrote(wrote(1001)), Wrote(wrote(1002)))
    again = after(replace(opened(), held=held.held), event)
    assert again.held == (wrote(1002),)
