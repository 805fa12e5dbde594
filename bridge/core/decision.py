"""What a decision is, and the small moves that all of them share."""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from bridge.core.events import Effect, RetireButton, Then
from bridge.core.model import AgentMessage, Conversation, Notice, Outgoing, Person, Policy
from bridge.core.parked import Parked
from bridge.core.value import Value


class Decision(Value, frozen=True):
    """The next state, what to do, and what becomes of the lane event.

    `save`: the state holds something that could not be learned again after a crash (a start
    request, a token, the last words of a chat that ended), so it is stored at once.
    `park`: what was given up by this decision; it is stored together with the state.
    """

    conversation: Conversation
    effects: tuple[Effect, ...] = ()
    then: Then = Then.WAIT
    save: bool = False
    park: tuple[Parked, ...] = ()


def unopened(conversation: Conversation) -> Then:
    """What becomes of an event that opens nothing: no trace stays, unless somebody is owed an answer."""
    return Then.SETTLE if conversation.owed else Then.FORGET


def owe(conversation: Conversation, outgoing: Outgoing) -> Conversation:
    """Put something into the outbox towards Slack, as `owing` does."""
    owed = owing(conversation.owed, outgoing)
    return conversation if owed is conversation.owed else replace(conversation, owed=owed)


def owing(owed: tuple[Outgoing, ...], *more: Outgoing) -> tuple[Outgoing, ...]:
    """The outbox with these at its end, each once. What an agent said goes before what was said
    later and still waits: an item may appear late."""
    for outgoing in more:
        if any(one.id == outgoing.id for one in owed):
            continue
        place = len(owed)
        if isinstance(outgoing, AgentMessage):
            later = (n for n, one in enumerate(owed) if _said_after(one, outgoing.time))
            place = next(later, place)
        owed = (*owed[:place], outgoing, *owed[place:])
    return owed


def _said_after(outgoing: Outgoing, time: float) -> bool:
    return isinstance(outgoing, AgentMessage) and outgoing.time > time


def owe_once(conversation: Conversation, notice: Notice) -> Conversation:
    """The same for a notice that is given once for each opening or end."""
    if notice.kind in conversation.told:
        return conversation
    return owe(replace(conversation, told=(*conversation.told, notice.kind)), notice)


def with_person(
    conversation: Conversation, user_id: str, name: str, policy: Policy
) -> Conversation:
    """Remember an author; of too many the opener and the newest stay."""
    if user_id in {person.user_id for person in conversation.people}:
        return conversation
    people = (*conversation.people, Person(user_id, name))
    if len(people) > policy.people:
        people = (people[0], *people[-(policy.people - 1) :])
    return replace(conversation, people=people)


def without_button(decision: Decision) -> Decision:
    """The same decision, and our live button goes: it would offer what no longer applies."""
    conversation = decision.conversation
    if not conversation.button_ts:
        return decision
    return replace(
        decision,
        conversation=replace(conversation, button_ts=""),
        effects=(*decision.effects, RetireButton(conversation.button_ts)),
    )


@lru_cache(maxsize=1024)
def ts_key(ts: str) -> tuple[int, int]:
    """A Slack `ts` as a sort key; as a float it would lose digits. Malformed ones sort first."""
    seconds, _, fraction = ts.partition(".")
    try:
        return int(seconds), int(fraction[:6].ljust(6, "0") or 0)
    except ValueError:
        return 0, 0
