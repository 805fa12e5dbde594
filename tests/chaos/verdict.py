"""What became of every message, judged from the sandbox's records alone. Pure.

For each conversation and direction:

lost        a word of a message stands nowhere on the other side.
doubled     a word of a message stands there twice.
astray      a word stands in a thread or chat that is not its own, or under the wrong side.
reordered   message B was written after A, and something of B stands before something of A, although
            A *had reached us when B went out* (promise 2: "in written order among all that has
            reached us when the next one goes out; what comes later is still delivered, last").
            Also: the words of one message stand in another order than they were written.

B *goes out* with the first call to the other platform that carries any of it, refused, lost or not.
A *had reached us* at a moment if one of its `spans` holds then. What a span is:

- towards the agent: from the first acknowledgement of any delivery of A on. An acknowledgement says
  that A is stored, so whoever sends has it. Those that were made less than `CROSSING` seconds before
  B's call are counted apart as `crossed`: B's call may have set out before A was known. So may one
  that the sandbox dealt with when it had stood still: A must have reached us before that, too.
- towards the customer: Connect's transcript is the durable log of this direction, so from the moment
  A was said. Only where the transcript showed A late: from its first appearance in a transcript
  read, and while a socket is open on which its frame was put. What a replica is told while it stands
  still for longer than its lease, or reads when it wakes up, does not count: nobody hears of it.

What stands late for another reason (A had not reached us) is `late`: delivered, as promised, last.

Counted apart, none of it a failure:

late        as above.
crossed     as above.
ended       an agent's message that is not in the thread, said in a chat that ended, that no open
            socket was told of for as long as `HEARD` seconds and no GetTranscript ever showed: the
            chat was over before we were back.
refused     a customer's message that stands nowhere, and that is flagged in Slack as not delivered: its
            author knows (promise 3). Too many messages waited for a chat to open again.
sent again  the further copy of a customer's message, in the chat after one that ended while the
            message was in the air: until then no open socket was told of all of the earlier copy for
            as long as `HEARD` seconds, and no GetTranscript showed all of it. Whether it had arrived,
            or the last part of a long one, could not be known.
in window   the further copy of an agent's message that was posted twice because the call that made
            the earlier copy was carried out by Slack later than a post is waited and looked for
            (request time-out and two looks): the window that docs/reliability.md names. A time in
            which the sandbox stood still with the call at its door counts as Slack's.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.plan import CUSTOMER
from tests.chaos.words import Word

CROSSING = 0.25
HEARD = 1.0
FOREVER = float("inf")

Key = tuple[int, str]
"""A conversation and a side of it."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message as it was written. Times are Unix seconds."""

    conversation: int
    side: str
    number: int
    words: int
    at: float
    spans: tuple[tuple[float, float], ...] = ()
    """When we knew it (see the module): from, until."""
    unheard: bool = False
    """Nothing of it ever came to us, and its chat is over."""
    flagged: bool = False
    """Its author was told that it did not arrive."""

    def reached(self, moment: float) -> bool:
        """Whether it had reached us at a moment."""
        return any(begin <= moment < end for begin, end in self.spans)


@dataclass(frozen=True, slots=True)
class Shown:
    """One item or post that stands on the other side, in its place there."""

    conversation: int
    side: str
    """Whose words should stand in it."""
    at: float
    out: float
    """When the first call that carried any of it was made."""
    words: tuple[Word, ...]
    carried: float = 0.0
    """Seconds from when the call that made it can have left until it stood there."""
    unheard: bool = False
    """Its chat ended before we could know that it stands there."""
    chat: str = ""
    """Of a customer's item: the chat in which it stands."""
    left: float = FOREVER
    """When that call can have left at the earliest, if that is before `out`: see `evidence`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that must not happen."""

    kind: str
    conversation: int
    side: str
    number: int
    at: float
    """Around when to look."""
    detail: str


@dataclass
class Verdict:
    """What was found."""

    messages: Counter[str] = field(default_factory=Counter)
    """Written, by side."""
    failures: list[Failure] = field(default_factory=list)
    apart: Counter[str] = field(default_factory=Counter)

    def count(self, kind: str) -> int:
        """Failures of a kind."""
        return sum(failure.kind == kind for failure in self.failures)


def judge(said: Iterable[Said], shown: Iterable[Shown], window: float = FOREVER) -> Verdict:
    """Compare what was written with what stands on the other side. `window`: in seconds, how long
    a post is waited and looked for. `shown` is in the order in which it stands there."""
    verdict = Verdict()
    stands: Mapping[Key, list[Shown]] = defaultdict(list)
    for one in shown:
        stands[one.conversation, one.side].append(one)
        _astray(one, verdict)
    wrote: Mapping[Key, list[Said]] = defaultdict(list)
    for message in said:
        wrote[message.conversation, message.side].append(message)
        verdict.messages[message.side] += 1
    for key, messages in wrote.items():
        _direction(sorted(messages, key=lambda one: one.number), stands[key], window, verdict)
    return verdict


def _astray(one: Shown, verdict: Verdict) -> None:
    """Each message once for each post or item that it should not stand in."""
    strangers = {(w.conversation, w.side, w.message) for w in one.words} - {
        (one.conversation, one.side, w.message) for w in one.words
    }
    for conversation, side, number in sorted(strangers):
        where = f"stands in conversation {one.conversation} among what {one.side} wrote"
        verdict.failures.append(Failure("astray", conversation, side, number, one.at, where))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a word stands."""

    position: int
    index: int
    where: Shown


def _direction(
    messages: Sequence[Said], shown: Sequence[Shown], window: float, verdict: Verdict
) -> None:
    places: Mapping[int, list[_Place]] = defaultdict(list)
    positions = itertools.count()
    for one in shown:
        for word in one.words:
            position = next(positions)
            if (word.conversation, word.side) == (one.conversation, one.side):
                places[word.message].append(_Place(position, word.part, one))
    first: dict[int, list[_Place]] = {}
    for message in messages:
        first[message.number] = _once(message, places[message.number], window, verdict)
    _order(messages, first, verdict)


def _once(message: Said, places: Sequence[_Place], window: float, verdict: Verdict) -> list[_Place]:
    """Judge lost and doubled; returns the first place of each word, in the order of the words."""
    by_index: dict[int, list[_Place]] = defaultdict(list)
    for place in places:
        by_index[place.index].append(place)
    missing = [n for n in range(message.words) if n not in by_index]
    if missing and message.unheard and len(missing) == message.words:
        verdict.apart["ended"] += 1
    elif missing and message.flagged and len(missing) == message.words:
        verdict.apart["refused"] += 1
    elif missing:
        what = "all of it" if len(missing) == message.words else f"words {missing[0]}-{missing[-1]}"
        verdict.failures.append(_failure("lost", message, message.at, what))
    again = [each[1] for each in by_index.values() if len(each) > 1]
    if again and all(
        earlier.where.carried > window for each in by_index.values() for earlier in each[:-1]
    ):
        verdict.apart["in window"] += 1
    elif again and _ended_in_the_air(message, places):
        verdict.apart["sent again"] += 1
    elif again:
        copies = sorted({(p.where.at, p.where.out) for each in by_index.values() for p in each})
        verdict.failures.append(_failure("doubled", message, again[0].where.at, f"{copies}"))
    return [by_index[n][0] for n in sorted(by_index)]


def _ended_in_the_air(message: Said, places: Sequence[_Place]) -> bool:
    """Whether each copy stands in a chat of its own, and no chat but the last was known to have it
    whole."""
    chats: dict[str, list[_Place]] = {}
    for place in places:
        chats.setdefault(place.where.chat, []).append(place)
    *earlier, _ = chats.values()
    once = all(len({p.index for p in copy}) == len(copy) for copy in chats.values())
    heard = ({p.index for p in copy if not p.where.unheard} for copy in earlier)
    return once and all(len(known) < message.words for known in heard)


def _order(messages: Sequence[Said], places: Mapping[int, list[_Place]], verdict: Verdict) -> None:
    there = [message for message in messages if places[message.number]]
    for message in there:
        mine = [place.position for place in places[message.number]]
        if mine != sorted(mine):
            at = places[message.number][0].where.at
            verdict.failures.append(_failure("reordered", message, at, "within itself"))
    begins = {m.number: min(p.position for p in places[m.number]) for m in there}
    ends = {m.number: max(p.position for p in places[m.number]) for m in there}
    for message in there:
        overtaken_by = [
            later
            for later in there
            if later.number > message.number and begins[later.number] < ends[message.number]
        ]
        if overtaken_by:
            _overtaken(message, overtaken_by, places, verdict)


def _overtaken(
    message: Said,
    by: Sequence[Said],
    places: Mapping[int, list[_Place]],
    verdict: Verdict,
) -> None:
    """Judge one message behind others that were written after it."""
    wheres = {later.number: [place.where for place in places[later.number]] for later in by}
    outs = {number: min(where.out for where in several) for number, several in wheres.items()}
    lefts = {number: min(where.left for where in several) for number, several in wheres.items()}
    grace = CROSSING if message.side == CUSTOMER else 0.0
    crossing = [n for n, out in outs.items() if message.reached(out)]
    # At both ends of the time in which it can have left: a socket may have closed in between.
    certain = [n for n in crossing if message.reached(min(lefts[n], outs[n]) - grace)]
    if certain:
        at = places[message.number][0].where.at
        out = outs[certain[0]]
        detail = f"behind {certain}: known in {message.spans}, {certain[0]} out at {out:.3f}"
        verdict.failures.append(_failure("reordered", message, at, detail))
    else:
        verdict.apart["crossed" if crossing else "late"] += 1


def _failure(kind: str, message: Said, at: float, detail: str) -> Failure:
    return Failure(kind, message.conversation, message.side, message.number, at, detail)
