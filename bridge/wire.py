"""What the two platforms' answers have in common: JSON, and how long to wait."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

_ENCODER = msgspec.json.Encoder()
_LONGEST_RETRY_AFTER = 3600.0
"""Seconds. Neither platform asks for as much; who waits for ever is silent."""


def parsed(text: str | bytes) -> object:
    """The value, or None where this is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        pass
    # A text that was cut inside an emoji holds half of a surrogate pair, which only json reads.
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def encoded(fields: Mapping[str, object]) -> bytes:
    """A JSON object."""
    try:
        return _ENCODER.encode(fields)
    except UnicodeEncodeError:
        return json.dumps(fields).encode()  # half of a surrogate pair


def seconds_after(header: str | None) -> float | None:
    """A Retry-After header in seconds, bounded; None where there is none that we can read."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return min(seconds, _LONGEST_RETRY_AFTER) if seconds >= 0 else None
