"""Structured log lines on standard error: a conversation id on each, secrets and text on none.

Our parts log an event name and fields, by structlog or by the standard library's `extra`:

    structlog.get_logger(__name__).info("contact_started", attempt=1)
    logging.getLogger(__name__).info("contact_started", extra={"attempt": 1})

and bind the conversation with `structlog.contextvars.bound_contextvars(conversation=str(id))`.

What libraries log cannot be trusted, because it may quote a request, a URL or a message: of their
lines only the head is kept, up to the first value in it, and of exceptions the type and the place.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO, TypedDict

import structlog
from typing_extensions import override

REDACTED = "[redacted]"

Format = Literal["json", "text"]

_OURS = "bridge"
_HOME = Path(__file__).resolve().parent.parent
_FRAMES = 6
_EXCEPTIONS = 8
_HEAD_LENGTH = 120
_DEPTH = 5

_SECRET_KEY = re.compile(
    r"(?:^|_)(?:text|content|body|blocks|payload|message|email|tokens?|secret|password|"
    r"authorization|bearer|cookie|(?:api|encryption)_keys?)$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"\b(?:xox[a-z]|xoxe\.xox[a-z]|xapp|xwfp)-[\w-]+"  # Slack's tokens
    r"|\bhooks\.slack\.com/\S+"  # a response_url is a capability
    r"|\beyJ[\w-]{8,}\.[\w.-]+"  # JSON web tokens
    r"|\bQVF[\w+/=-]{16,}"  # Connect's participant and connection tokens
    r"|\b[Bb]earer\s+\S+"
    r"|(?<=://)[^\s/@]+@"  # user:password@ of a URL
    r"|(?<=\?)[\w.~-]+=\S*"  # the query of a URL
    r"|[\w+/=-]{80,}"  # whatever else is as long as only bearer secrets are
)
_VALUE_BEGINS = re.compile(r"[:({\[<'\"`%\n]")
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, form: Format | None = None, stream: TextIO | None = None) -> None:
    """Send every log line of the process to `stream` (standard error): ours from `level` up, those
    of libraries from WARNING up. `form` None means text on a terminal and JSON elsewhere.

    A later call replaces an earlier one.
    """
    out = stream if stream is not None else sys.stderr
    as_text = form == "text" if form else out.isatty()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(out)
    handler.setFormatter(_Formatter(colours=out.isatty() if as_text else None))
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or _is_ours(record.name))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level)


def redact(text: str) -> str:
    """The text without what looks like a token, a password in a URL or a URL's query."""
    return _SECRET_VALUE.sub(REDACTED, text)


def _is_ours(name: str) -> bool:
    return name == _OURS or name.startswith(f"{_OURS}.")


class _Told(TypedDict):
    """What a line says of one exception."""

    type: str
    trace: list[str]


class _Handler(logging.StreamHandler[TextIO]):
    @override
    def handleError(self, record: logging.LogRecord) -> None:
        # The inherited one prints the record's arguments.
        line = _render_failure(record)
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(line + self.terminator)


class _Formatter(logging.Formatter):
    """Makes one line of a record. `colours` None: JSON."""

    def __init__(self, colours: bool | None) -> None:
        super().__init__()
        self._as_json = colours is None
        self._render: Any = (
            structlog.processors.JSONRenderer()
            if colours is None
            else structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0)
        )

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        error = _exception(fields.pop("exc_info", None) or record.exc_info)
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat("T", "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redact(str(fields.pop("event", ""))),
            **{key: _redacted(key, value) for key, value in fields.items()},
        }
        if error is not None:
            told = [_described(one) for one in _chain(error)]
            line["exception"] = told if self._as_json else _as_text(told)
        return str(self._render(None, line["level"], line))


def _render_failure(record: logging.LogRecord) -> str:
    place = f"{_short(record.pathname)}:{record.lineno}"
    return json.dumps({"level": "error", "event": "log_line_failed", "place": place})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    message: object = record.msg
    if isinstance(message, Mapping):
        return dict(message)  # from structlog
    bound = structlog.contextvars.get_contextvars()
    if not _is_ours(record.name):
        return {"event": _head(str(message)), **bound}
    extra = {key: value for key, value in vars(record).items() if key not in _OWN_ATTRIBUTES}
    return {"event": record.getMessage(), **bound, **extra}


def _head(message: str) -> str:
    return _VALUE_BEGINS.split(message, maxsplit=1)[0].strip()[:_HEAD_LENGTH] or REDACTED


def _redacted(key: str, value: object, depth: int = 0) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEY.search(key) or depth > _DEPTH:
        return REDACTED
    if isinstance(value, BaseException):
        return _title(value)
    if isinstance(value, Mapping):
        return {
            redact(str(name)): _redacted(str(name), item, depth + 1) for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(key, item, depth + 1) for item in value]
    return redact(str(value))


def _exception(info: object) -> BaseException | None:
    """What a log call gave as `exc_info`: True, an exception, or the triple of sys.exc_info."""
    if isinstance(info, tuple):
        info = info[1]
    elif info is True:
        info = sys.exception()
    return info if isinstance(info, BaseException) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, those it holds, and those it came of: each once, at most _EXCEPTIONS."""
    waiting: list[BaseException] = [error]
    met: set[int] = set()
    while waiting and len(met) < _EXCEPTIONS:
        one = waiting.pop(0)
        if id(one) in met:
            continue
        met.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
        origin = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        if origin is not None:
            waiting.append(origin)


def _described(error: BaseException) -> _Told:
    return {"type": _title(error), "trace": list(_places(error.__traceback__))}


def _as_text(told: Sequence[_Told]) -> str:
    return "\n".join("\n    ".join([one["type"], *one["trace"]]) for one in told)


def _title(error: BaseException) -> str:
    kind = type(error)
    if _is_ours(kind.__module__):
        return redact(f"{kind.__name__}: {error}")
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def _places(trace: TracebackType | None) -> Iterable[str]:
    frames = traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False)
    return (f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-_FRAMES:])


def _short(filename: str) -> str:
    path = Path(filename)
    if "site-packages" in path.parts:
        return filename.rpartition("site-packages/")[2]
    return str(path.relative_to(_HOME)) if path.is_relative_to(_HOME) else path.name
