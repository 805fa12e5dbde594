"""What people write here: words each of which says whose it is and where it belongs.

So a message can be recognised in whatever parts and joins it arrives, to the word.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

_WORD = re.compile(r"\b(\d{3})([ca])(\d{4})\.(\d{3})\b")


class Word(NamedTuple):
    """One word: of the customer ("c") or the agent ("a") of a conversation."""

    conversation: int
    side: str
    message: int
    part: int


def written(conversation: int, side: str, message: int, length: int) -> str:
    """A message of so many words."""
    return " ".join(f"{conversation:03d}{side}{message:04d}.{n:03d}" for n in range(length))


@functools.lru_cache(maxsize=100_000)
def read(text: str) -> tuple[Word, ...]:
    """Our words in a text, in their order; whatever stands between them does not matter."""
    return tuple(
        Word(int(conversation), side, int(message), int(index))
        for conversation, side, message, index in _WORD.findall(text)
    )
