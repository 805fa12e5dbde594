"""Interactive messages of flows and bots as text that a person can read and answer.

Shapes: Administrator Guide, "Interactive message templates". Every one of them is answered in
plain text with the title of an option, so that a numbered list is enough to take part. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.wire import parsed

CANNOT_SHOW = "[This message can only be shown in another app.]"

_LISTS = frozenset({"ListPicker", "Panel", "QuickReply"})


def readable(content: str) -> str:
    """Title, subtitle and numbered options; for templates that we cannot show, the title and a
    note. Never raises."""
    return "\n".join(_template(parsed(content))) or CANNOT_SHOW


def _template(message: object) -> Iterator[str]:
    fields = _object(_object(_object(message).get("data")).get("content"))
    template = _object(message).get("templateType")
    yield from _texts(fields, "title", "subtitle")
    if template == "Carousel":
        for element in _objects(fields.get("elements")):
            yield ""
            yield from _list(element)
    elif template == "TimePicker":
        yield from _numbered(_slot(each) for each in _objects(fields.get("timeslots")))
    elif template in _LISTS:
        yield from _options(fields)
    else:
        yield CANNOT_SHOW


def _list(element: Mapping[str, Any]) -> Iterator[str]:
    """One list of a carousel: never a carousel again, whatever it claims."""
    fields = _object(_object(element.get("data")).get("content"))
    yield from _texts(fields, "title", "subtitle")
    yield from _options(fields)


def _options(fields: Mapping[str, Any]) -> Iterator[str]:
    # Older sample functions name a quick reply's options `buttons` and their titles `text`.
    elements = _objects(fields.get("elements")) or _objects(fields.get("buttons"))
    yield from _numbered(_option(each) for each in elements)


def _option(element: Mapping[str, Any]) -> str:
    title = " - ".join(_texts(element, "title", "subtitle")) or "".join(_texts(element, "text"))
    return " ".join((title, *_texts(element, "url"))).strip()


def _slot(slot: Mapping[str, Any]) -> str:
    return "".join(_texts(slot, "date"))


def _numbered(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate((each for each in lines if each), start=1):
        yield f"{number}. {line}"


def _texts(fields: Mapping[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and (text := value.strip()):
            yield text


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
