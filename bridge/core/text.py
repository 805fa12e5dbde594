"""Where to cut a long text so that people can still read it."""

from __future__ import annotations

from collections.abc import Iterator

import regex  # type: ignore[import-untyped]  # it ships no annotations

_FENCE = regex.compile(r"^[ \t]*```.*?(?:^[ \t]*```[ \t]*$|\Z)", regex.MULTILINE | regex.DOTALL)
_LINK_LENGTH = 2000
# Bounded, and without brackets inside: rows of brackets would take quadratic time.
_LINK = regex.compile(r"\[[^\[\]\n]{0,500}\]\([^()\s]{0,1000}\)|<[^<>\s]{1,1000}>|https?://\S+")
_GRAPHEME = regex.compile(r"\X")
_IDEOGRAPHIC_END = "\u3002\uff01\uff1f"  # full stop, exclamation and question mark
_BORDER = regex.compile(rf"\s+|(?<=[{_IDEOGRAPHIC_END}])")
_SENTENCE_END = regex.compile(rf"[.!?\u2026{_IDEOGRAPHIC_END}][\"'\u201d\u2019\u00bb)\]]*\Z")
_PARAGRAPH, _LINE, _SENTENCE, _WORD = 3, 2, 1, 0


def split(text: str, limit: int, offset: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the pieces from `offset` on; a text without anything but white space
    has none. Concatenated, the pieces are the text. See `cut`."""
    while text[offset:].strip():
        end = cut(text, limit, offset)
        yield offset, end
        offset = end


def cut(text: str, limit: int, offset: int = 0) -> int:
    """Return where the piece that starts at `offset` ends.

    Pieces are to be stripped of surrounding white space when they are sent: `limit` (in
    characters) holds for what is left, which is never empty. A piece ends at the last border of a
    paragraph, line, sentence or word that fits, in this order of preference, outside of code
    fences and links where it can, and never inside a grapheme that fits a piece. The same
    arguments give the same end: a retry that stores only offsets repeats the same pieces.
    """
    if len(text) - offset <= limit:
        return len(text)
    begin = _skip_blank(text, offset)
    if len(text[begin:].rstrip()) <= limit:
        return len(text)
    borders = _graphemes(text, begin, limit)
    best = _best(text, begin, borders, _protected(text, begin, borders[-1]))
    return _skip_blank(text, best)


def _skip_blank(text: str, position: int) -> int:
    """Skip white space, by graphemes: a combining mark may sit on a space."""
    for match in _GRAPHEME.finditer(text, position):
        if not match.group().isspace():
            return int(match.start())
    return len(text)


def _graphemes(text: str, begin: int, limit: int) -> list[int]:
    """Ends of the graphemes that fit together; of code points where not even one fits."""
    ends: list[int] = []
    for match in _GRAPHEME.finditer(text, begin):
        if match.end() - begin > limit:
            break
        ends.append(match.end())
    return ends or [begin + limit]


def _protected(text: str, begin: int, last: int) -> list[tuple[int, int]]:
    """Spans that had better stay whole."""
    fences = [m.span() for m in _FENCE.finditer(text) if m.end() > begin and m.start() < last]
    return fences + [match.span() for match in _LINK.finditer(text, begin, last + _LINK_LENGTH)]


def _best(text: str, begin: int, borders: list[int], protected: list[tuple[int, int]]) -> int:
    """The best border up to the last one. A better kind of border wins over a later one, unless
    it would leave more than half of the room unused."""
    last = borders[-1]
    allowed = set(borders)
    ranked = [(p, rank) for p, rank in _ranked(text, begin, last) if p in allowed]
    outside = [(p, rank) for p, rank in ranked if not _inside(p, protected)]
    half = begin + (last - begin) // 2
    for candidates in (outside, ranked):
        late = [(rank, p) for p, rank in candidates if p >= half and rank > _WORD]
        if late:
            return max(late)[1]
        if candidates:
            return candidates[-1][0]
        if not _inside(last, protected):
            break
    return last


def _ranked(text: str, begin: int, last: int) -> Iterator[tuple[int, int]]:
    for match in _BORDER.finditer(text, begin):
        if match.start() > last:
            return
        if match.start() > begin:
            yield match.start(), _rank(text, begin, match)


def _rank(text: str, begin: int, match: regex.Match[str]) -> int:
    lines = match.group().count("\n")
    if lines:
        return _PARAGRAPH if lines > 1 else _LINE
    return (
        _SENTENCE
        if _SENTENCE_END.search(text[max(begin, match.start() - 8) : match.start()])
        else _WORD
    )


def _inside(position: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < position < end for start, end in spans)
