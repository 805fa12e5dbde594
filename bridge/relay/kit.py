"""What every lane works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bridge.core.model import Policy
from bridge.core.ports import AgentSide, Clock, CustomerSide, Store
from bridge.relay.line import Line
from bridge.relay.pace import Pace


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of the relay, in seconds."""

    post_timeout: float = 10.0
    """How long one Slack request may take: after that its outcome is unknown."""
    look_delay: float = 5.0
    """What Slack may need to show a post that it accepted."""
    send_patience: float = 15 * 60.0
    post_patience: float = 60 * 60.0
    denied_patience: float = 60.0
    sign_patience: float = 300.0
    """How long a warning sign is tried, or to take a button away."""
    start_patience: float = 30 * 60.0
    end_patience: float = 60.0
    trouble_after: float = 20.0
    """The customer hears of a start that takes longer."""
    wait_told_after: float = 60.0
    """The author hears of a message that waits longer for Connect."""
    root_wait: float = 2.0
    """How long a reply waits for its root before that is fetched."""
    end_grace: float = 2.0
    """How long a 403 waits for the chat.ended that explains it."""
    repair_delay: float = 5.0
    """When a lane goes on after an error that nobody foresaw."""
    repair_patience: float = 60.0
    """How long, at least, what causes such an error is tried again."""


@dataclass(frozen=True, slots=True)
class Kit:
    """The ports and rules that a lane works with. `guard` raises NotOwner when our lease may have
    expired."""

    store: Store
    customer: CustomerSide
    agent: AgentSide
    clock: Clock
    policy: Policy
    pace: Pace
    guard: Callable[[], None]
    redis_now: Callable[[], float]
    timing: Timing = Timing()
    line: Line = field(default_factory=Line)
    """Whoever waits for a free chat."""
