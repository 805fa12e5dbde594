"""What Slack's message box makes of what a person types: the escaped `text` and the `rich_text`
block that stand in the message event (docs.slack.dev: formatting message text; rich text block).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.sandbox.slack import emoji
from bridge.sandbox.slack.model import Json
from bridge.sandbox.slack.world import World

BROADCASTS = ("here", "channel", "everyone")
_BULLETS = ("•", "◦", "▪︎")
_ITEM = re.compile(r"^( *)(?:([-*•])|(\d+)[.)]) +(\S.*)$")
_FENCE = re.compile(r"```\n?(.*?)\n?```", re.DOTALL)
_EMOJI_CHARACTERS = "|".join(
    re.escape(character) for character in sorted(emoji.NAMES, key=len, reverse=True)
)
_TOKEN = re.compile(
    r"(?P<code>`[^`\n]+`)"
    r"|(?P<named>\[(?P<label>[^\]\n]+)\]\((?P<target>https?://[^\s()]+)\))"
    r"|(?P<url>https?://[^\s<>|]+)"
    r"|(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<mention>(?<![\w@])@(?=\w))"
    r"|(?P<channel>(?<![\w#&])#(?P<name>[\w-]+))"
    r"|(?P<emoji>:(?P<short>[a-z0-9_+'-]+):(?::skin-tone-(?P<tone>[2-6]):)?)"
    r"|(?P<bold>(?<![\w*])\*(?=[^\s*])[^*\n]*(?<=\S)\*(?![\w*]))"
    r"|(?P<italic>(?<!\w)_(?=[^\s_])[^\n]*?(?<=[^\s_])_(?!\w))"
    r"|(?P<strike>(?<![\w~])~(?=[^\s~])[^~\n]*(?<=\S)~(?![\w~]))"
    rf"|(?P<picture>{_EMOJI_CHARACTERS})"
)
_STYLES = {"bold": "*", "italic": "_", "strike": "~"}


def escape(text: str) -> str:
    """Slack's three replacements, and no other."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True)
class Composed:
    """A message as Slack stores it."""

    text: str
    blocks: list[Json]


@dataclass
class _Inline:
    """The elements of one line or paragraph, and the same as escaped text."""

    elements: list[Json] = field(default_factory=list)
    text: str = ""

    def plain(self, text: str, style: Json) -> None:
        if not text:
            return
        self.text += escape(text)
        last = self.elements[-1] if self.elements else {}
        if last.get("type") == "text" and last.get("style", {}) == style:
            last["text"] += text
        else:
            self.element({"type": "text", "text": text}, style)

    def element(self, element: Json, style: Json, text: str = "") -> None:
        self.elements.append({**element, "style": dict(style)} if style else element)
        self.text += text

    def extend(self, other: _Inline) -> None:
        for element in other.elements:
            last = self.elements[-1] if self.elements else {}
            both_text = last.get("type") == element["type"] == "text"
            if both_text and last.get("style") == element.get("style"):
                last["text"] += element["text"]
            else:
                self.elements.append(element)
        self.text += other.text


@dataclass(frozen=True)
class _Part:
    """One block-level piece: its rich_text elements, and the same as escaped text."""

    elements: list[Json]
    text: str


class Composer:
    """Turns typed text into messages, resolving names in one world."""

    def __init__(self, world: World, bot_user: str) -> None:
        self._world = world
        self._bot_user = bot_user

    def compose(self, typed: str) -> Composed:
        """The message a person sends by typing this. Empty text makes no block."""
        if not typed.strip():
            return Composed("", [])
        parts = list(self._parts(typed))
        for part in parts[:-1]:
            # A paragraph before a list or quotation keeps its line break, as in real messages.
            if part.elements[-1]["type"] == "rich_text_section":
                section = _Inline(part.elements[-1]["elements"])
                section.plain("\n", {})
        block = {
            "type": "rich_text",
            "block_id": secrets.token_urlsafe(4)[:5],
            "elements": [element for part in parts for element in part.elements],
        }
        return Composed("\n".join(part.text for part in parts), [block])

    def _parts(self, typed: str) -> Iterator[_Part]:
        position = 0
        for fence in _FENCE.finditer(typed):
            yield from self._lines(typed[position : fence.start()].strip("\n"))
            code = fence.group(1)
            yield _Part(
                [
                    {
                        "type": "rich_text_preformatted",
                        "elements": [{"type": "text", "text": code}],
                        "border": 0,
                    }
                ],
                f"```{escape(code)}```",
            )
            position = fence.end()
        yield from self._lines(typed[position:].strip("\n"))

    def _lines(self, text: str) -> Iterator[_Part]:
        if not text:
            return
        pending: list[str] = []
        kind = ""
        for line in text.split("\n"):
            now = "list" if _ITEM.match(line) else "quote" if line.startswith(">") else "section"
            if pending and now != kind:
                yield self._part(kind, pending)
                pending = []
            kind = now
            pending.append(line)
        yield self._part(kind, pending)

    def _part(self, kind: str, lines: list[str]) -> _Part:
        if kind == "list":
            return self._list(lines)
        if kind == "quote":
            body = self._inline("\n".join(line[1:].removeprefix(" ") for line in lines), {})
            quoted = "\n".join(f"&gt; {line}" for line in body.text.split("\n"))
            return _Part([{"type": "rich_text_quote", "elements": body.elements}], quoted)
        body = self._inline("\n".join(lines), {})
        return _Part([{"type": "rich_text_section", "elements": body.elements}], body.text)

    def _list(self, lines: list[str]) -> _Part:
        elements: list[Json] = []
        texts: list[str] = []
        for line in lines:
            match = _ITEM.match(line)
            if match is None:
                continue
            indent = len(match.group(1)) // 4
            style = "bullet" if match.group(2) else "ordered"
            item = self._inline(match.group(4), {})
            section = {"type": "rich_text_section", "elements": item.elements}
            last = elements[-1] if elements else {}
            if last.get("style") == style and last.get("indent") == indent:
                last["elements"].append(section)
            else:
                elements.append(
                    {
                        "type": "rich_text_list",
                        "elements": [section],
                        "style": style,
                        "indent": indent,
                        "border": 0,
                    }
                )
            bullet = _BULLETS[min(indent, 2)] if match.group(2) else f"{match.group(3)}."
            texts.append(f"{'    ' * indent}{bullet} {item.text}")
        return _Part(elements, "\n".join(texts))

    def _inline(self, text: str, style: Json) -> _Inline:
        out = _Inline()
        position = start = 0
        while match := _TOKEN.search(text, position):
            before = _Inline()
            before.plain(text[start : match.start()], style)
            piece = _Inline()
            end = self._token(str(match.lastgroup), match, style, piece)
            if end is None:
                position = match.start() + 1
                continue
            out.extend(before)
            out.extend(piece)
            position = start = end
        tail = _Inline()
        tail.plain(text[start:], style)
        out.extend(tail)
        return out

    def _token(self, kind: str, match: re.Match[str], style: Json, out: _Inline) -> int | None:
        """Write one token; the position after it, or None where it means nothing special."""
        if kind in _STYLES:
            mark = _STYLES[kind]
            inner = self._inline(match.group(0)[1:-1], {**style, kind: True})
            inner.text = f"{mark}{inner.text}{mark}"
            out.extend(inner)
            return match.end()
        if kind == "code":
            code = match.group(0)[1:-1]
            out.element(
                {"type": "text", "text": code}, {**style, "code": True}, f"`{escape(code)}`"
            )
            return match.end()
        if kind in ("named", "url", "mail"):
            return _link(kind, match, style, out)
        if kind in ("emoji", "picture"):
            return _emoji(match, style, out)
        if kind == "channel":
            return self._channel(match, style, out)
        return self._mention(match, style, out)

    def _channel(self, match: re.Match[str], style: Json, out: _Inline) -> int | None:
        channel = self._world.channel(match.group("name"))
        if channel is None or channel.kind not in ("channel", "group"):
            return None
        element = {"type": "channel", "channel_id": channel.id}
        out.element(element, style, f"<#{channel.id}|{channel.name}>")
        return match.end()

    def _mention(self, match: re.Match[str], style: Json, out: _Inline) -> int | None:
        rest = match.string[match.end() :]
        for name, element, text in self._mentionable():
            boundary = rest[len(name) : len(name) + 1]
            if rest.lower().startswith(name.lower()) and not (
                boundary.isalnum() or boundary == "_"
            ):
                out.element(element, style, text)
                return match.end() + len(name)
        return None

    def _mentionable(self) -> list[tuple[str, Json, str]]:
        """Everything that can follow an `@`, the longest name first."""
        found: list[tuple[str, Json, str]] = [
            (name, {"type": "broadcast", "range": name}, f"<!{name}>") for name in BROADCASTS
        ]
        for group in self._world.groups.values():
            element: Json = {"type": "usergroup", "usergroup_id": group.id}
            found.append((group.handle, element, f"<!subteam^{group.id}>"))
        for user in self._world.users.values():
            mention: Json = {"type": "user", "user_id": user.id}
            names = {user.id, user.name, user.real_name, user.display_name}
            if user.id == self._bot_user:
                names.add("bot")
            found += [(name, mention, f"<@{user.id}>") for name in names if name]
        return sorted(found, key=lambda entry: len(entry[0]), reverse=True)


def _link(kind: str, match: re.Match[str], style: Json, out: _Inline) -> int:
    if kind == "named":
        url, label = match.group("target"), match.group("label")
        out.element(
            {"type": "link", "url": url, "text": label}, style, f"<{escape(url)}|{escape(label)}>"
        )
        return match.end()
    if kind == "mail":
        mail = match.group(0)
        out.element(
            {"type": "link", "url": f"mailto:{mail}", "text": mail},
            style,
            f"<mailto:{mail}|{mail}>",
        )
        return match.end()
    url = match.group(0).rstrip(".,;:!?)'\"*_~")
    out.element({"type": "link", "url": url}, style, f"<{escape(url)}>")
    return match.start() + len(url)


def _emoji(match: re.Match[str], style: Json, out: _Inline) -> int | None:
    name = match.group("short") or emoji.NAMES.get(match.group(0), "")
    if not emoji.known(name):
        return None
    element: Json = {"type": "emoji", "name": name}
    text = f":{name}:"
    tone = match.group("tone")
    if tone is not None:
        element["skin_tone"] = int(tone)
        text += f":skin-tone-{tone}:"
    code = emoji.unicode_of(name, None if tone is None else int(tone))
    if code is not None:
        element["unicode"] = code
    out.element(element, style, text)
    return match.end()
