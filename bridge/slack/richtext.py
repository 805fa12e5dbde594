"""What a person wrote in Slack -> text that an agent can read, Markdown where it is formatted.

Slack's composer sends a `rich_text` block beside an escaped `text`; the block keeps lists and
nesting, its text is not escaped, and it is preferred (Block Kit reference, rich text block). All of
it is read with suspicion: an unknown or malformed part degrades to its text, and nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bridge.slack.markers import clean, mark
from bridge.slack.model import Json

_ENTITY = re.compile(r"<([^<>]*)>")
_STYLES = (("code", "`"), ("strike", "~~"), ("italic", "_"), ("bold", "**"))


def message_text(message: Json) -> str:
    """The text of a message, what it forwards included. User, channel and group mentions are
    markers; see `markers`."""
    own = _blocks(message.get("blocks")) or flat_text(_string(message.get("text")))
    shared = [_shared(entry) for entry in _objects(message.get("attachments"))]
    return "\n\n".join(part for part in (own.strip(), *shared) if part)


def flat_text(text: str) -> str:
    """Escaped `text` with its entities read (Formatting text for app surfaces)."""
    out: list[str] = []
    position = 0
    for match in _ENTITY.finditer(text):
        out += [_unescape(text[position : match.start()]), _entity(match.group(1))]
        position = match.end()
    out.append(_unescape(text[position:]))
    return "".join(out)


def _unescape(text: str) -> str:
    return clean(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def _entity(entity: str) -> str:
    target, _, label = entity.partition("|")
    label = _unescape(label)
    if target.startswith("@"):
        return mark("@", target[1:], label)
    if target.startswith("#"):
        return mark("#", target[1:], label)
    if target.startswith("!subteam^"):
        return mark("!", target.removeprefix("!subteam^"), label)
    if target.startswith("!date^"):
        return label
    if target.startswith("!"):
        return label or f"@{clean(target[1:])}"
    return _link(_unescape(target), label)


def _link(url: str, label: str) -> str:
    """Slack shows bare addresses without their scheme: such a label adds nothing."""
    shown = url.removeprefix("mailto:").removeprefix("tel:")
    bare = shown.removeprefix("https://").removeprefix("http://").rstrip("/")
    if not label or label.rstrip("/") in (url, shown, bare):
        return shown
    return f"[{label}]({url})"


def _shared(attachment: Json) -> str:
    """A message that was forwarded; other attachments are previews of links."""
    if not (attachment.get("is_share") or attachment.get("is_msg_unfurl")):
        return ""
    text = flat_text(_string(attachment.get("text")) or _string(attachment.get("fallback")))
    author = clean(_string(attachment.get("author_name")))
    return _quoted(f"{author}: {text}" if author else text)


def _blocks(blocks: object) -> str:
    rendered = [_rich_text(block) for block in _objects(blocks) if block.get("type") == "rich_text"]
    return "\n".join(part for part in rendered if part)


def _rich_text(block: Json) -> str:
    out: list[str] = []
    for part in _objects(block.get("elements")):
        render = _PARTS.get(_string(part.get("type")), _section)
        out.append(render(part).removesuffix("\n"))
    return "\n".join(out)


def _section(part: Json) -> str:
    return "".join(_inline(element) for element in _objects(part.get("elements")))


def _list(part: Json) -> str:
    """One level of a list: nesting is consecutive lists of growing `indent`."""
    indent = "   " * min(_number(part.get("indent")), 8)
    first = _number(part.get("offset")) + 1
    ordered = part.get("style") == "ordered"
    lines: list[str] = []
    for index, item in enumerate(_objects(part.get("elements"))):
        bullet = f"{first + index}. " if ordered else "- "
        text = _section(item).strip("\n").replace("\n", f"\n{indent}{' ' * len(bullet)}")
        lines.append(f"{indent}{bullet}{text}")
    return "\n".join(lines)


def _preformatted(part: Json) -> str:
    text = "".join(_bare(element) for element in _objects(part.get("elements")))
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.strip(chr(10))}\n{fence}"


def _quote(part: Json) -> str:
    return _quoted(_section(part).removesuffix("\n"))


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n")) if text else ""


_PARTS: Mapping[str, Callable[[Json], str]] = {
    "rich_text_list": _list,
    "rich_text_preformatted": _preformatted,
    "rich_text_quote": _quote,
}


def _inline(element: Json) -> str:
    render = _ELEMENTS.get(_string(element.get("type")), _bare)
    return _styled(render(element), element.get("style"))


def _bare(element: Json) -> str:
    """An element as its own text: inside code, or of a type that is not known."""
    for key in ("text", "url", "fallback", "value", "name"):
        if found := clean(_string(element.get(key))):
            return found
    return ""


def _styled(text: str, style: object) -> str:
    """Emphasis marks stand next to the words, and on one line, to be read as such."""
    marks = [sign for name, sign in _STYLES if isinstance(style, dict) and style.get(name)]
    if not marks or not text.strip():
        return text
    return "\n".join(_wrapped(line, marks) for line in text.split("\n"))


def _wrapped(line: str, marks: list[str]) -> str:
    inner = line.strip()
    if not inner:
        return line
    before, after = line[: line.index(inner[0])], line[len(line.rstrip()) :]
    return f"{before}{''.join(reversed(marks))}{inner}{''.join(marks)}{after}"


def _emoji(element: Json) -> str:
    codes = _string(element.get("unicode"))
    try:
        return (
            clean("".join(chr(int(code, 16)) for code in codes.split("-")))
            if codes
            else (_emoji_name(element))
        )
    except (ValueError, OverflowError):
        return _emoji_name(element)


def _emoji_name(element: Json) -> str:
    name = clean(_string(element.get("name")))
    return f":{name}:" if name else ""


_ELEMENTS: Mapping[str, Callable[[Json], str]] = {
    "link": lambda e: _link(clean(_string(e.get("url"))), clean(_string(e.get("text")))),
    "user": lambda e: mark("@", e.get("user_id")),
    "usergroup": lambda e: mark("!", e.get("usergroup_id")),
    "channel": lambda e: mark("#", e.get("channel_id")),
    "broadcast": lambda e: f"@{clean(_string(e.get('range')))}",
    "emoji": _emoji,
    "date": lambda e: clean(_string(e.get("fallback"))) or str(_number(e.get("timestamp")) or ""),
}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 10**12 else 0


def _objects(value: object) -> list[Json]:
    return [e for e in value if isinstance(e, dict)] if isinstance(value, list) else []
