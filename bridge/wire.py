"""JSON as it goes to both platforms and comes from them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

_ENCODER = msgspec.json.Encoder()


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
