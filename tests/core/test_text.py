from __future__ import annotations

import pytest
import regex  # type: ignore[import-untyped]  # it ships no annotations
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.text import cut, split

WORDS = st.text(alphabet="ab .!?\n\r\té\u0301\u200d👩🚀🇩🇪`[]()<>https:/界。", max_size=300)
TEXTS = st.one_of(WORDS, st.text(max_size=200))
LIMITS = st.integers(min_value=1, max_value=60)


def pieces(text: str, limit: int) -> list[str]:
    return [text[start:end] for start, end in split(text, limit)]


@given(TEXTS, LIMITS)
def test_nothing_is_lost_and_no_piece_is_blank(text: str, limit: int) -> None:
    found = pieces(text, limit)
    assert "".join(found) == (text if text.strip() else "")
    assert all(piece.strip() for piece in found)


@given(TEXTS, LIMITS)
def test_every_stripped_piece_fits(text: str, limit: int) -> None:
    assert all(len(piece.strip()) <= limit for piece in pieces(text, limit))


@given(TEXTS, LIMITS)
def test_graphemes_that_fit_stay_whole(text: str, limit: int) -> None:
    borders = {match.end() for match in regex.finditer(r"\X", text)} | {0}
    longest = max((len(match) for match in regex.findall(r"\X", text)), default=0)
    if longest <= limit:
        assert all(end in borders for _, end in split(text, limit))


@given(TEXTS, LIMITS)
def test_pieces_follow_from_the_offset_alone(text: str, limit: int) -> None:
    spans = list(split(text, limit))
    for index, (start, end) in enumerate(spans):
        assert cut(text, limit, start) == end
        assert list(split(text, limit, start)) == spans[index:]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 10, ["short"]),
        ("", 10, []),
        (" \n ", 10, []),
        ("one two three", 8, ["one two ", "three"]),
        ("One. Two three four", 12, ["One. Two ", "three four"]),
        ("First is here. And more", 18, ["First is here. ", "And more"]),
        ("line one\nline two", 12, ["line one\n", "line two"]),
        ("paragraph 1\n\nline\nlast words", 18, ["paragraph 1\n\n", "line\nlast words"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("a     b", 3, ["a     ", "b"]),
        ("    lead", 4, ["    lead"]),
        ("see [the docs](https://x.y) now", 24, ["see ", "[the docs](https://x.y) ", "now"]),
        ("go https://example.com/abc ok", 26, ["go https://example.com/abc ", "ok"]),
        ("世界。你好世界。再见", 6, ["世界。", "你好世界。", "再见"]),
        ("hi\n```\na b c\n```\nbye", 15, ["hi\n", "```\na b c\n```\n", "bye"]),
        ("```\naaa bbb\nccc ddd\n```", 14, ["```\naaa bbb\n", "ccc ddd\n```"]),
        ("👩‍🚀👩‍🚀", 3, ["👩‍🚀", "👩‍🚀"]),
        ("👩‍🚀x", 2, ["👩‍", "🚀x"]),
        ("🇩🇪🇫🇷", 3, ["🇩🇪", "🇫🇷"]),
        ("e\u0301e\u0301", 3, ["e\u0301", "e\u0301"]),
    ],
)
def test_pieces(text: str, limit: int, expected: list[str]) -> None:
    assert pieces(text, limit) == expected


@pytest.mark.parametrize(
    "unit", ["word word.\n", "[", "[a](", "<a", "```\n", "https://", " \n", "e\u0301"]
)
def test_no_text_takes_quadratic_time(unit: str) -> None:
    """40,000 characters are the most that Slack takes; the runner's time limit is the judge."""
    text = (unit * 40_000)[:40_000]
    assert "".join(pieces(text, 1024)) == (text if text.strip() else "")
