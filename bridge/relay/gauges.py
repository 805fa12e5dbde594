"""What the metrics ask of the lanes in memory, when somebody reads them."""

from __future__ import annotations

from collections.abc import Collection

from bridge.core.decision import ts_key
from bridge.core.model import AgentMessage, Phase
from bridge.relay.lane import Lane


def open_conversations(lanes: Collection[Lane]) -> int:
    """How many have a live contact."""
    return sum(lane.conversation.phase is Phase.OPEN for lane in lanes)


def behind(lanes: Collection[Lane]) -> int:
    """How many have very many events waiting."""
    return sum(lane.behind for lane in lanes)


def oldest_waiting(lanes: Collection[Lane], now: float) -> float:
    """Age in seconds at `now` (Unix) of the oldest event that waits towards the agent, or 0."""
    waiting = [ts_key(one.ts)[0] for lane in lanes for one in lane.waiting.values()]
    return max(now - min(waiting), 0.0) if waiting else 0.0


def oldest_owed(lanes: Collection[Lane], now: float) -> float:
    """Age in seconds at `now` (Unix) of the oldest agent's message that is not posted, or 0."""
    owed = [
        outgoing.time
        for lane in lanes
        for outgoing in lane.conversation.owed
        if isinstance(outgoing, AgentMessage)
    ]
    return max(now - min(owed), 0.0) if owed else 0.0
