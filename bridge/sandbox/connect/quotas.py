"""The documented request rates, as token buckets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

RATES: Mapping[str, tuple[float, float]] = {
    "CreateParticipantConnection": (6, 9),
    "SendMessage": (10, 15),
    "SendEvent": (10, 15),
    "GetTranscript": (8, 12),
    "StartAttachmentUpload": (2, 5),
    "CompleteAttachmentUpload": (2, 5),
    "GetAttachment": (8, 12),
    "DisconnectParticipant": (3, 5),
    "StartChatContact": (5, 8),
    "StopContact": (10, 15),
    "DescribeContact": (10, 15),
    "GetContactAttributes": (10, 15),
    "UpdateContactAttributes": (10, 15),
}
"""Calls a second and burst (Administrator Guide, service quotas). An operation that is not
listed has no rate."""


@dataclass
class _Bucket:
    level: float
    at: float


class Quotas:
    """One bucket per scope (account or instance) and operation."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, scope: str, operation: str, scale: float) -> bool:
        """Whether one more call is within the rate, times `scale`."""
        if operation not in RATES:
            return True
        rate, burst = (each * scale for each in RATES[operation])
        burst = max(burst, 1.0)
        now = self._monotonic()
        bucket = self._buckets.setdefault((scope, operation), _Bucket(burst, now))
        bucket.level = min(burst, bucket.level + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.level < 1:
            return False
        bucket.level -= 1
        return True
