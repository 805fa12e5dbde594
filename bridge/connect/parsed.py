"""JSON as Connect sends it."""

from __future__ import annotations

import json

import msgspec


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
