"""What finally failed, and how it comes back: as an event of its lane, when somebody says so."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from msgspec.structs import replace

from bridge.core.events import Incoming, Returned, Wrote
from bridge.core.model import AgentMessage, Conversation, ConversationId, CustomerMessage, Retry
from bridge.core.value import Value


class Direction(StrEnum):
    """Where something was to go."""

    TO_AGENT = "to_agent"
    TO_CUSTOMER = "to_customer"


class Parked(Value, frozen=True):
    """A message that was given up: kept until somebody tries it again or drops it."""

    conversation: ConversationId
    event: Wrote | Returned
    at: float
    """When it was given up (Unix seconds)."""
    reason: str
    """A code: `rejected`, `unavailable`, `not_started`, `denied`, `gone` or `defect`."""

    @property
    def direction(self) -> Direction:
        """Where it was to go."""
        return Direction.TO_AGENT if isinstance(self.event, Wrote) else Direction.TO_CUSTOMER

    @property
    def id(self) -> str:
        """The same whenever the same try is given up, and another for each try: so a store that is
        told twice keeps it once, and knows what was taken out again."""
        tries = self.event.message.retry.number if self.event.message.retry else 0
        whole = f"{self.conversation}/{self.direction}/{self.event.message.id}/{tries}"
        return hashlib.sha256(whole.encode()).hexdigest()[:12]

    @property
    def order(self) -> tuple[float, str]:
        """When it was given up; of those that were together, when it was written."""
        match self.event:
            case Wrote(message=wrote):
                return self.at, wrote.ts
            case Returned(message=said):
                return self.at, f"{said.time:.6f}"

    def again(self, now: float) -> Incoming:
        """The event that brings it back into its lane at `now` (Unix seconds). Its key is its own:
        those under which the message was taken in are known, and would make it a repeat."""
        retry = self.event.message.retry or Retry()
        retry = replace(retry, number=retry.number + 1, ts=f"{now:.6f}")
        event: Wrote | Returned
        match self.event:
            case Wrote(message=wrote):
                event = Wrote(replace(wrote, retry=retry))
            case Returned(message=said):
                event = Returned(replace(said, retry=retry))
        return Incoming(self.conversation, event, (f"parked:{self.id}",), opens=True)


def unsent(conversation: Conversation, message: CustomerMessage, reason: str, now: float) -> Parked:
    """A customer's message that did not reach the agent, or not whole."""
    retry = message.retry or Retry()
    here, progress = conversation.generation, conversation.progress
    if progress and progress.message_id == message.id:
        retry = replace(retry, generation=here, progress=progress)
    elif retry.generation != here:
        retry = replace(retry, generation=here, progress=None)
    return Parked(conversation.id, Wrote(replace(message, retry=retry)), now, reason)


def unposted(
    conversation: Conversation,
    message: AgentMessage,
    reason: str,
    now: float,
    since: str | None = None,
) -> Parked:
    """An agent's message that does not stand in the thread, or not whole: parts of it may, after
    the `ts` `since`."""
    # What an earlier try posted may stand there, too.
    retry = message.retry or Retry(since=conversation.last_post_ts if since is None else since)
    return Parked(conversation.id, Returned(replace(message, retry=retry)), now, reason)
