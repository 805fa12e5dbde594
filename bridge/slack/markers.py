"""Names that need a look-up, as they stand in stored text until it is sent.

A marker is an id between two private-use code points, `U+E000 kind id [| label] U+E001`, with kind
`@` (user), `#` (channel) or `!` (user group). What people type is stripped of these code points, so
nobody can write a marker; a `<@U1>` that somebody typed stays the four characters it is.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_START, _END = "\ue000", "\ue001"
_MARKER = re.compile(f"{_START}([@#!])([A-Z0-9]+)(?:\\|([^{_START}{_END}]*))?{_END}")
_UNSAFE = re.compile(f"[{_START}{_END}\x00]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ID = re.compile(r"[A-Z0-9]{2,32}\Z")


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that has a name: `kind` is `@`, `#` or `!`; `label` is what to show if there is
    no other name."""

    kind: str
    id: str
    label: str = ""

    def __str__(self) -> str:
        label = f"|{self.label}" if self.label else ""
        return f"{_START}{self.kind}{self.id}{label}{_END}"


def clean(text: str) -> str:
    """Text of people without what could be taken for a marker or cannot be stored as UTF-8."""
    return _SURROGATE.sub("\ufffd", _UNSAFE.sub("", text))


def mark(kind: str, identifier: object, label: object = "") -> str:
    """A marker, or readable text where the id is not one."""
    label = clean(label).lstrip("@#") if isinstance(label, str) else ""
    if isinstance(identifier, str) and _ID.match(identifier):
        return str(Marker(kind, identifier, label))
    return f"@{label}" if label else ""


def has(text: str, kind: str, identifier: str) -> bool:
    """Whether the text names this thing."""
    return any(m.group(1, 2) == (kind, identifier) for m in _MARKER.finditer(text))


def without_leading(text: str, kind: str, identifier: str) -> str:
    """The text without the markers of this thing that it begins with."""
    if _START not in text:
        return text
    own = re.compile(f"\\s*{_START}{kind}{re.escape(identifier)}(?:\\|[^{_END}]*)?{_END}[\\s,:]*")
    while (match := own.match(text)) is not None:
        text = text[match.end() :]
    return text


async def resolve(text: str, name: Callable[[Marker], Awaitable[str]]) -> str:
    """The text with every marker replaced by what `name` returns for it."""
    out: list[str] = []
    position = 0
    for match in _MARKER.finditer(text):
        out.append(text[position : match.start()])
        out.append(await name(Marker(match.group(1), match.group(2), match.group(3) or "")))
        position = match.end()
    out.append(text[position:])
    return "".join(out)
