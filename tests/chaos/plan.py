"""What is to happen in a run: drawn from the seed and nothing else. Pure.

Times are seconds since the writing began. What depends on processes (which replica is at which
instruction then) no seed can fix; everything else is the same each time.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Side = Literal["c", "a"]
CUSTOMER: Side = "c"
AGENT: Side = "a"
Options = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything. `retries` and `ack_seconds` are Slack's, scaled like all else: an
    event is tried 1 + len(retries) times and then given up, as after 6 minutes in reality."""

    replicas: int = 3
    conversations: int = 200
    messages: int = 20_000
    faults: int = 230
    seconds: float = 255.0
    """How long people write."""
    settle_seconds: float = 100.0
    """How long after that everything may take to arrive."""
    quota_scale: float = 100.0
    posts_per_second: float = 100.0
    lease: float = 3.0
    ack_seconds: float = 1.5
    retries: tuple[float, ...] = (0.5, 3.0, 10.0)
    look_seconds: float = 0.5
    slack_timeout: float = 1.5

    @property
    def given_up(self) -> float:
        """Seconds after which Slack gives an event up where nobody is connected."""
        return sum(self.retries)


FULL = Size()
QUICK = Size(
    conversations=40,
    messages=1_600,
    faults=60,
    seconds=42.0,
    settle_seconds=45.0,
    lease=2.0,
    ack_seconds=1.0,
    retries=(0.3, 1.0, 2.5),
    look_seconds=0.3,
    slack_timeout=1.0,
)
REAL_QUOTAS = Size(
    conversations=12,
    messages=400,
    faults=40,
    seconds=200.0,
    settle_seconds=150.0,
    quota_scale=1.0,
    posts_per_second=1.0,
)


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation to be: in a support channel, in another where the bot is mentioned, or in a
    DM. `place` numbers the channels (or people, for DMs) of its kind."""

    number: int
    kind: Literal["support", "mention", "dm"]
    place: int
    opens: float
    reply_first: bool = False
    """The reply overtakes the root."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message to be written."""

    at: float
    talk: int
    side: Side
    number: int
    words: int


@dataclass(frozen=True, slots=True)
class Order:
    """One fault to be carried out."""

    at: float
    kind: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it. `trials` come one after the other, `troubles` any time."""

    seed: int
    size: Size
    dm_threads: bool
    talks: Sequence[Talk]
    lines: Sequence[Line]
    trials: Sequence[Order]
    """What strikes processes: each is over before the next begins."""
    troubles: Sequence[Order]
    """What strikes calls, frames, events and chats."""


def draw(seed: int, size: Size) -> Plan:
    """The plan of a seed."""
    chances = random.Random(seed)
    talks = _talks(chances, size)
    trials = _trials(chances, size)
    return Plan(
        seed=seed,
        size=size,
        dm_threads=chances.random() < 0.5,
        talks=talks,
        lines=_lines(chances, size, talks),
        trials=trials,
        troubles=_troubles(chances, size, max(size.faults - len(trials), 0)),
    )


# --- who writes what, when -------------------------------------------------------------------------


def _talks(chances: random.Random, size: Size) -> Sequence[Talk]:
    """Three in five in support channels, some four to a channel; of the rest a third in DMs.

    Where the bot is mentioned and in DMs they open early: what is written there while nobody is up
    for longer than Slack retries can only be found where a conversation is known already.
    """
    support = size.conversations * 3 // 5
    dms = max((size.conversations - support) // 3, 1)
    opening = size.seconds * 0.08
    talks = []
    for number in range(size.conversations):
        if number < support:
            place, opens = number % max(support // 4, 1), chances.uniform(0, size.seconds * 0.6)
            early = number < support // 2
            opens = chances.uniform(0, opening) if early else opens
            talks.append(Talk(number, "support", place, opens, chances.random() < 0.2))
        elif number < size.conversations - dms:
            place = (number - support) % max((size.conversations - support - dms) // 5, 1)
            talks.append(Talk(number, "mention", place, chances.uniform(0, opening)))
        else:
            place = number - (size.conversations - dms)
            talks.append(Talk(number, "dm", place, chances.uniform(0, opening)))
    return talks


def _lines(chances: random.Random, size: Size, talks: Sequence[Talk]) -> Sequence[Line]:
    each = size.messages // (2 * size.conversations)
    lines = []
    for talk in talks:
        for side in (CUSTOMER, AGENT):
            times = _times(chances, talk.opens, size.seconds, each)
            lines += [
                Line(at, talk.number, side, number, _length(chances, side))
                for number, at in enumerate(times)
            ]
    return sorted(lines, key=lambda line: (line.at, line.talk, line.side, line.number))


def _times(chances: random.Random, begin: float, end: float, count: int) -> Sequence[float]:
    """Some alone, some in bursts; the first at once."""
    times = [begin]
    while len(times) < count:
        at = chances.uniform(begin, end)
        burst = 1 if chances.random() < 0.7 else chances.randint(2, 6)
        times += [at + 0.02 * n for n in range(burst)]
    return sorted(times[:count])


def _length(chances: random.Random, side: Side) -> int:
    """In words of 13 characters: most are short, some take several parts to the agent, a few of
    the agent's several posts."""
    luck = chances.random()
    if luck < 0.95:
        return chances.randint(1, 8)
    if luck < 0.99 or side == CUSTOMER:
        return chances.randint(40, 180)
    return chances.randint(310, 400)


# --- what goes wrong -------------------------------------------------------------------------------

_Drawn = Callable[[random.Random, Size], Options]

SPAN = 2.5
"""Seconds after a trial, beyond a lease, in which the replicas find their places again."""


def _down(chances: random.Random, size: Size) -> Options:
    """How long something is away: sometimes a moment, sometimes longer than a lease."""
    return {"seconds": chances.choice((0.3, 1.0, size.lease + 1.5)) * chances.uniform(0.8, 1.2)}


def _restart(chances: random.Random, size: Size) -> Options:
    return {
        "replica": chances.randrange(size.replicas),
        "seconds": chances.choice((0.0, 0.5, size.lease + 1.0)),
    }


TRIALS: Mapping[str, _Drawn] = {
    "kill -9": _restart,
    "SIGTERM": _restart,
    "SIGSTOP": lambda chances, size: {
        "replica": chances.randrange(size.replicas),
        "seconds": size.lease + chances.uniform(0.5, 2.5),
    },
    "all replicas down": lambda chances, size: {
        "seconds": size.given_up + 2.0,
        "ended": chances.randint(1, 1 + size.conversations // 40),
    },
    "Redis restarted": _down,
    "Redis stopped": _down,
    "Redis paused": _down,
}
"""What strikes processes, and how it is drawn. SIGSTOP lasts longer than a lease."""


def _times_of(low: int, high: int, **more: tuple[float, float]) -> _Drawn:
    def drawn(chances: random.Random, size: Size) -> Options:
        values = {name: round(chances.uniform(*span), 3) for name, span in more.items()}
        return {"times": chances.randint(low, high), **values}

    return drawn


TROUBLES: Mapping[str, _Drawn] = {
    # Slack calls us
    "Slack event duplicated": _times_of(3, 15),
    "Slack event duplicated under a new id": _times_of(3, 15),
    "Slack event delayed": _times_of(3, 10, seconds=(0.2, 2.5)),
    "Slack events reordered": _times_of(3, 10, seconds=(0.2, 1.0)),
    "Slack acknowledgement lost": _times_of(3, 10),
    "Slack socket dropped": _times_of(1, 3),
    "Slack socket silent": _times_of(1, 1, seconds=(1.0, 3.0)),
    "Slack socket refreshed": _times_of(1, 2),
    # we call Slack
    "Slack post not answered": _times_of(1, 6),
    "Slack post done, internal_error": _times_of(1, 4),
    "Slack post answered in half": _times_of(1, 4),
    "Slack post dropped": _times_of(1, 6),
    "Slack post late": lambda chances, size: {
        "times": chances.randint(1, 5),
        # It is there before the last look, as docs/architecture.md says it has to be.
        "seconds": chances.uniform(0.2, size.slack_timeout + size.look_seconds),
    },
    "Slack post 500": _times_of(1, 8),
    "Slack 429 storm": _times_of(5, 30),
    "Slack read 429": _times_of(1, 10),
    "Slack read 500": _times_of(1, 5),
    # we call Connect
    "SendMessage not answered": _times_of(1, 6),
    "SendMessage dropped": _times_of(1, 6),
    "SendMessage late": _times_of(1, 6, seconds=(0.2, 2.5)),
    "SendMessage 500": _times_of(1, 8),
    "Connect 429 storm": _times_of(10, 60),
    "StartChatContact not answered": _times_of(1, 3),
    "StartChatContact 500": _times_of(1, 3),
    "CreateParticipantConnection not answered": _times_of(1, 5),
    "GetTranscript 500": _times_of(1, 5),
    "client tokens forgotten": _times_of(1, 1),
    "connection tokens expired": _times_of(1, 10),
    # Connect's sockets
    "Connect socket dropped": _times_of(1, 10),
    "Connect socket silent": _times_of(1, 3),
    "Connect socket doubled": _times_of(1, 8),
    "Connect frame duplicated": _times_of(5, 40),
    "Connect frames reordered": _times_of(5, 40),
    "Connect item late in the transcript": _times_of(3, 20, seconds=(0.3, 2.0)),
    # people
    "chat transferred": _times_of(1, 8),
    "chat transferred to the queue": _times_of(1, 4),
}
"""What strikes calls, frames, events and chats, and how it is drawn."""


def _cycle(chances: random.Random, kinds: Sequence[str]) -> Iterator[str]:
    """Each kind once in every round, in an order of its own."""
    while True:
        yield from chances.sample(kinds, len(kinds))


def _trials(chances: random.Random, size: Size) -> Sequence[Order]:
    orders: list[Order] = []
    at = size.seconds * 0.08 + 3.0
    for kind in _cycle(chances, list(TRIALS)):
        options = TRIALS[kind](chances, size)
        over = at + options["seconds"] + size.lease + SPAN
        if over > size.seconds:
            return orders
        orders.append(Order(at, kind, options))
        at = over + chances.uniform(0, 1.5)
    return orders


def _troubles(chances: random.Random, size: Size, count: int) -> Sequence[Order]:
    kinds = itertools.islice(_cycle(chances, list(TROUBLES)), count)
    orders = [
        Order(chances.uniform(1.0, size.seconds), kind, TROUBLES[kind](chances, size))
        for kind in kinds
    ]
    return sorted(orders, key=lambda order: order.at)


def split_limits(seed: int) -> Iterator[int]:
    """BRIDGE_SPLIT_LIMIT of each start of a replica."""
    chances = random.Random(f"split {seed}")
    while True:
        yield chances.choice((300, 700, 1024))
