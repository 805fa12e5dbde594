"""What the service counts, on one registry. A leaf: every part may import it.

Labels are closed sets: never an id, a name or text of people. Durations are in seconds.
"""

from __future__ import annotations

import functools

import prometheus_client as prometheus

REGISTRY = prometheus.CollectorRegistry()
prometheus.ProcessCollector(registry=REGISTRY)
prometheus.PlatformCollector(registry=REGISTRY)
# `_created` samples double every series and no dashboard of ours reads them.
prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # theirs is unannotated

TO_AGENT = "to_agent"
TO_CUSTOMER = "to_customer"
DIRECTIONS = (TO_AGENT, TO_CUSTOMER)

# From a fast local call to a queue that waited for an outage to pass.
_MESSAGE_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 1800)
_CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1, 2, 5, 10, 30)

MESSAGES = prometheus.Counter(
    "bridge_messages",
    "Messages by direction and what became of them (delivered, failed).",
    ["direction", "outcome"],
    registry=REGISTRY,
)
EVENTS = prometheus.Counter(
    "bridge_events",
    "Events that Slack sent, by kind and what became of them "
    "(stored, repeat, stranger, ignored, failed).",
    ["kind", "outcome"],
    registry=REGISTRY,
)
SLACK_LAST_EVENT = prometheus.Gauge(
    "bridge_slack_last_event_timestamp_seconds",
    "When this replica last got anything from Slack (Unix time), 0 where it never did.",
    registry=REGISTRY,
)
MESSAGE_SECONDS = prometheus.Histogram(
    "bridge_message_seconds",
    "From Slack's ts (to_agent) or Connect's AbsoluteTime (to_customer) to delivery.",
    ["direction"],
    buckets=_MESSAGE_BUCKETS,
    registry=REGISTRY,
)
CALL_SECONDS = prometheus.Histogram(
    "bridge_call_seconds",
    "Duration of one call, by side (slack, connect, redis) and the platform's name for the call.",
    ["side", "call"],
    buckets=_CALL_BUCKETS,
    registry=REGISTRY,
)
RETRIES = prometheus.Counter(
    "bridge_retries",
    "Calls that are tried again, by side, call and kind of failure.",
    ["side", "call", "reason"],
    registry=REGISTRY,
)
QUEUE_AGE_SECONDS = prometheus.Gauge(
    "bridge_queue_age_seconds",
    "Age of the oldest message that waits here, 0 where none does.",
    ["direction"],
    registry=REGISTRY,
)
OPEN_CONVERSATIONS = prometheus.Gauge(
    "bridge_open_conversations",
    "Conversations with a live contact that this replica works.",
    registry=REGISTRY,
)
HELD_CONTACTS = prometheus.Gauge(
    "bridge_held_contacts",
    "Contacts that Connect refuses although they may not be over.",
    registry=REGISTRY,
)
SOCKETS = prometheus.Gauge(
    "bridge_sockets",
    "WebSockets of this replica, by side (slack, connect) and state (connecting, open).",
    ["side", "state"],
    registry=REGISTRY,
)
LANES = prometheus.Gauge(
    "bridge_lanes",
    "Lanes in the memory of this replica.",
    registry=REGISTRY,
)
PLACES_OWNED = prometheus.Gauge(
    "bridge_places_owned",
    "Slack channels and DMs that this replica owns.",
    registry=REGISTRY,
)
PLACES_CLAIMED = prometheus.Counter(
    "bridge_places_claimed",
    "Places that this replica took from others that stopped or died.",
    registry=REGISTRY,
)
CATCH_UPS = prometheus.Counter(
    "bridge_catch_ups",
    "Readings of Slack's history after a time without intake, by what was read (channels, thread).",
    ["of"],
    registry=REGISTRY,
)
DOUBTS = prometheus.Counter(
    "bridge_doubts",
    "Posts and sends whose outcome was unknown, by what the look showed (arrived, missing).",
    ["outcome"],
    registry=REGISTRY,
)
PARKED = prometheus.Counter(
    "bridge_parked",
    "Messages that were given up and parked, by direction and reason.",
    ["direction", "reason"],
    registry=REGISTRY,
)
PARKED_ENTRIES = prometheus.Gauge(
    "bridge_parked_entries",
    "Messages that are parked, of all replicas.",
    registry=REGISTRY,
)
LANES_BEHIND = prometheus.Gauge(
    "bridge_lanes_behind",
    "Lanes of this replica in which very many events wait.",
    registry=REGISTRY,
)
ALARMS = prometheus.Counter(
    "bridge_alarms",
    "What an operator has to act on, by kind.",
    ["kind"],
    registry=REGISTRY,
)

# A series that appears only with its first failure hides that failure from rate(). And to look one
# up for each message costs more than to count it.
_DELIVERED = {one: MESSAGES.labels(one, "delivered") for one in DIRECTIONS}
_FAILED = {one: MESSAGES.labels(one, "failed") for one in DIRECTIONS}
_SECONDS = {one: MESSAGE_SECONDS.labels(one) for one in DIRECTIONS}
for _direction in DIRECTIONS:
    QUEUE_AGE_SECONDS.labels(_direction)


def delivered(direction: str, seconds: float) -> None:
    """Count a message that arrived, so long after it was written; clocks may differ."""
    _DELIVERED[direction].inc()
    _SECONDS[direction].observe(max(seconds, 0.0))


def failed(direction: str) -> None:
    """Count a message that was given up."""
    _FAILED[direction].inc()


def event(kind: str, outcome: str) -> None:
    """Count an event that Slack sent."""
    _events(kind, outcome).inc()


@functools.cache
def _events(kind: str, outcome: str) -> prometheus.Counter:
    return EVENTS.labels(kind, outcome)


@functools.cache
def call_seconds(side: str, call: str) -> prometheus.Histogram:
    """The series of CALL_SECONDS for one call; finding it costs more than to observe it."""
    return CALL_SECONDS.labels(side, call)


def exposition() -> tuple[bytes, str]:
    """Every metric in Prometheus' text format, and the content type to serve it with."""
    return prometheus.generate_latest(REGISTRY), prometheus.CONTENT_TYPE_PLAIN_0_0_4
