"""What an agent wrote -> the elements of a `rich_text` block.

The text of a rich_text element is never read for entities or formatting (Block Kit reference), so
nothing that an agent types can ping anybody, and a link always shows where it leads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Element = dict[str, Any]
Style = dict[str, bool]

_URL = re.compile(r"https?://[^\s<>\"`]+", re.IGNORECASE)
_TRAILING = ".,;:!?'*_~)]}"
_INLINE = re.compile(
    r"(?P<escape>\\[\\`*_~\[\](){}#+.!<>|-])"
    r"|(?P<ticks>`+)(?P<code>[^\n]+?)(?P=ticks)(?!`)"
    r"|!?\[(?P<label>[^\[\]\n]*)\]\(\s*<?(?P<target>[^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?"
    r"(?:\s+[\"'][^\"'\n]*[\"'])?\s*\)"
    r"|<(?P<auto>(?:https?://|mailto:)[^\s<>]+)>"
    r"|(?P<url>https?://[^\s<>\"`]+)"
    r"|(?P<two>\*\*|__|~~)(?=\S)(?P<strong>.+?)(?<=\S)(?P=two)(?!\*)"
    r"|(?<![\w*_])(?P<one>[*_])(?=[^\s*_])(?P<weak>[^\n]*?[^\s*_])(?P=one)(?![\w*_])"
)
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(.*)\Z")
_HEADING_END = re.compile(r"\s#+\Z")
_QUOTE = re.compile(r"\s{0,3}>\s?(.*)\Z")
_ITEM = re.compile(r"(\s*)(?:([-*+])|(\d{1,9})[.)])\s+(.*)\Z")
_SCHEME = re.compile(r"(?:https?://|mailto:|tel:)", re.IGNORECASE)


def escaped(text: str) -> str:
    """Text as Slack wants it in `text`: exactly three characters replaced."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def text_element(text: str, **style: bool) -> Element:
    """Text, shown as it is."""
    element: Element = {"type": "text", "text": text}
    return element | {"style": style} if style else element


def section(elements: list[Element]) -> Element:
    """A run of inline elements."""
    return {"type": "rich_text_section", "elements": elements}


def plain(text: str) -> list[Element]:
    """Plain text: only its addresses become links."""
    return [section(list(_linked(text, {})))]


def markdown(text: str) -> list[Element]:
    """The usual Markdown of a chat: emphasis, code, links, lists, quotes, headings. Whatever else
    there is stays as it was typed."""
    return list(_Blocks(text.split("\n")))


def open_fence(text: str) -> bool:
    """Whether a code fence of the text is not closed."""
    fence = ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match and not fence:
            fence = match.group(1)
        elif match and _closes(line, fence):
            fence = ""
    return bool(fence)


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return stripped.startswith(fence) and not stripped.strip(fence[0])


class _Blocks:
    """Reads lines, yields the blocks they make."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0
        self._paragraph: list[str] = []

    def __iter__(self) -> Iterator[Element]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            reader = next((read for test, read in _READERS if test.match(line)), None)
            if reader is None:
                self._paragraph.append(line)
                self._at += 1
            else:
                yield from self._flush()
                yield reader(self)
        yield from self._flush()

    def _flush(self) -> Iterator[Element]:
        text = "\n".join(self._paragraph).strip("\n")
        self._paragraph = []
        if text.strip():
            yield section(list(_inline(text, {})))

    def _take(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        while self._at < len(self._lines):
            match = pattern.match(self._lines[self._at])
            if match is None:
                return
            self._at += 1
            yield match

    def fence(self) -> Element:
        match = _FENCE.match(self._lines[self._at])
        fence = match.group(1) if match else "```"
        self._at += 1
        code: list[str] = []
        while self._at < len(self._lines) and not _closes(self._lines[self._at], fence):
            code.append(self._lines[self._at])
            self._at += 1
        self._at += 1
        # Slack refuses an empty element.
        return {
            "type": "rich_text_preformatted",
            "elements": [text_element("\n".join(code) or " ")],
        }

    def heading(self) -> Element:
        match = _HEADING.match(self._lines[self._at])
        self._at += 1
        title = _HEADING_END.sub("", match.group(1).rstrip() if match else "").rstrip()
        elements = _inline(title or " ", {})
        return section([{**e, "style": {**e.get("style", {}), "bold": True}} for e in elements])

    def quote(self) -> Element:
        lines = [match.group(1) for match in self._take(_QUOTE)]
        return {
            "type": "rich_text_quote",
            "elements": list(_inline("\n".join(lines).strip("\n") or " ", {})),
        }

    def items(self) -> Element:
        """Items of one kind and depth; the next depth is the next list."""
        items: list[re.Match[str]] = []
        while self._at < len(self._lines):
            match = _ITEM.match(self._lines[self._at])
            if match is None or (items and not _alike(items[0], match)):
                break
            items.append(match)
            self._at += 1
        first = items[0]
        shape: Element = {
            "type": "rich_text_list",
            "style": "bullet" if first.group(2) else "ordered",
            "indent": min(len(first.group(1).expandtabs(4)) // 2, 8),
            "elements": [section(list(_inline(m.group(4) or " ", {}))) for m in items],
        }
        start = int(first.group(3) or 1)
        return shape | {"offset": start - 1} if start > 1 else shape


_READERS: tuple[tuple[re.Pattern[str], Callable[[_Blocks], Element]], ...] = (
    (_FENCE, _Blocks.fence),
    (_HEADING, _Blocks.heading),
    (_QUOTE, _Blocks.quote),
    (_ITEM, _Blocks.items),
)


def _alike(one: re.Match[str], other: re.Match[str]) -> bool:
    return one.group(1) == other.group(1) and bool(one.group(2)) == bool(other.group(2))


def _inline(text: str, style: Style) -> Iterator[Element]:
    position = 0
    for match in _INLINE.finditer(text):
        yield from _text(text[position : match.start()], style)
        yield from _span(match, style)
        position = match.end()
    yield from _text(text[position:], style)


def _span(match: re.Match[str], style: Style) -> Iterator[Element]:
    found = match.groupdict()
    if found["escape"]:
        yield from _text(found["escape"][1:], style)
    elif found["code"]:
        yield from _text(found["code"], style | {"code": True})
    elif found["label"] is not None:
        yield from _labelled(match.group(), found["label"], found["target"], style)
    elif found["auto"]:
        yield _link(found["auto"], style)
    elif found["url"]:
        yield from _linked(found["url"], style)
    elif found["two"]:
        name = "strike" if found["two"] == "~~" else "bold"
        yield from _emphasised(found["strong"], name, style)
    else:
        yield from _emphasised(found["weak"], "italic", style)


def _emphasised(text: str, name: str, style: Style) -> Iterator[Element]:
    """Each kind of emphasis nests once: a long row of stars would nest without end."""
    inside = _text if name in style else _inline
    yield from inside(text, style | {name: True})


def _labelled(source: str, label: str, target: str, style: Style) -> Iterator[Element]:
    """A label may say one address and lead to another: the address is shown beside it."""
    if not _SCHEME.match(target):
        yield from _text(source, style)
        return
    if label.strip() and label.strip() != target:
        yield from _unlinked(label, style)
        yield from _text(" (", style)
        yield _link(target, style)
        yield from _text(")", style)
    else:
        yield _link(target, style)


def _unlinked(label: str, style: Style) -> Iterator[Element]:
    """A label's own formatting, without links of its own."""
    for element in _inline(label, style):
        yield element if element["type"] == "text" else text_element(element["url"], **style)


def _linked(text: str, style: Style) -> Iterator[Element]:
    """Text whose bare addresses are links."""
    position = 0
    for match in _URL.finditer(text):
        url = match.group().rstrip(_TRAILING)
        if url.count("(") > url.count(")") and match.group()[len(url) :].startswith(")"):
            url += ")"
        yield from _text(text[position : match.start()], style)
        yield _link(url, style)
        position = match.start() + len(url)
    yield from _text(text[position:], style)


def _text(text: str, style: Style) -> Iterator[Element]:
    if text:
        yield text_element(text, **style)


def _link(url: str, style: Style) -> Element:
    """A link without a label: Slack shows the address."""
    element: Element = {"type": "link", "url": url}
    return element | {"style": style} if style else element
