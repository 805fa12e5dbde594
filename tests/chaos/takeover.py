"""One kill -9 when everything is open and calm, to measure what one takeover takes. Pure.

Of two replicas one dies, so half of the conversations are taken over, while both sides of each
write a message.
"""

from __future__ import annotations

import random
from dataclasses import replace

from tests.chaos.plan import AGENT, CUSTOMER, FULL, REAL_QUOTAS, Line, Order, Plan, Size, Talk

TAKEOVER = replace(FULL, replicas=2, conversations=400, messages=1600, seconds=60.0)
TAKEOVER_REAL_QUOTAS = replace(
    TAKEOVER,
    quota_scale=REAL_QUOTAS.quota_scale,
    posts_per_second=REAL_QUOTAS.posts_per_second,
    seconds=300.0,
    settle_seconds=REAL_QUOTAS.settle_seconds,
)

_OPENED = 0.3
_KILL = 0.6
"""Shares of the time: all have opened; one replica dies."""
_WRITING = 2.0
"""Seconds after that in which everybody writes."""


def draw_takeover(seed: int, size: Size) -> Plan:
    """The plan of a seed: four conversations to a support channel."""
    chances = random.Random(seed)
    opened, kill = size.seconds * _OPENED, size.seconds * _KILL
    talks = [
        Talk(number, "support", number // 4, chances.uniform(0.0, opened))
        for number in range(size.conversations)
    ]
    lines = [
        Line(at, talk.number, side, number, chances.randint(1, 8))
        for talk in talks
        for side in (CUSTOMER, AGENT)
        for number, at in enumerate((talk.opens, kill + chances.uniform(0.0, _WRITING)))
    ]
    return Plan(
        seed=seed,
        size=size,
        dm_threads=True,
        talks=talks,
        lines=sorted(lines, key=lambda line: (line.at, line.talk, line.side, line.number)),
        trials=[Order(kill, "kill -9", {"replica": 0, "seconds": size.seconds - kill})],
        troubles=[],
    )
