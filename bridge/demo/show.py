"""Print what each side saw, side by side, in the order of time."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from bridge.demo.people import Json

_EVENTS = {
    "participant.joined": "joined",
    "participant.left": "left",
    "transfer.succeeded": "the chat was transferred",
    "chat.ended": "the chat ended",
}
_PREFIX = "application/vnd.amazonaws.connect.event."


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that one side saw. `left`: it stands in Slack."""

    at: float
    left: bool
    text: str


def slack_lines(messages: Sequence[Json]) -> Iterator[Line]:
    """A thread, as a person in Slack reads it."""
    for message in messages:
        buttons = "".join(f" [{button['text']}]" for button in message["buttons"])
        yield Line(float(message["ts"]), True, f"{message['author']}: {message['shown']}{buttons}")


def connect_lines(items: Sequence[Json]) -> Iterator[Line]:
    """A transcript, as the agent reads it."""
    for item in items:
        at = datetime.fromisoformat(str(item["AbsoluteTime"])).timestamp()
        who = item.get("DisplayName") or item.get("ParticipantRole") or ""
        kind = str(item.get("ContentType", ""))
        event = kind.removeprefix(_PREFIX)
        if event in _EVENTS:
            yield Line(at, False, f"({who} {_EVENTS[event]})".replace("( ", "("))
        elif not kind.startswith(_PREFIX):
            yield Line(at, False, f"{who}: {item.get('Content', '')}")


def side_by_side(lines: Sequence[Line], width: int | None = None) -> str:
    """Two columns: Slack left, Connect right."""
    half = ((width or shutil.get_terminal_size((120, 40)).columns) - 3) // 2
    rows = [_row("Slack, what the customer sees", "Amazon Connect, what the agent sees", half)]
    rows.append(f"{'─' * half}─┼─{'─' * half}")
    for line in sorted(lines, key=lambda one: one.at):
        pieces = _wrapped(line.text, half)
        rows += [_row(piece, "", half) if line.left else _row("", piece, half) for piece in pieces]
    return "\n".join(rows)


def _row(left: str, right: str, half: int) -> str:
    return f"{left:<{half}} │ {right}".rstrip()


def _wrapped(text: str, half: int) -> Iterator[str]:
    shown = text if len(text) <= 400 else f"{text[:180]} … ({len(text)} characters) … {text[-60:]}"
    first = True
    for paragraph in shown.splitlines() or [""]:
        for piece in textwrap.wrap(paragraph, half - 2) or [""]:
            yield piece if first else f"  {piece}"
            first = False
