from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bridge import logs
from bridge.core.errors import Temporary

PLANTED = [
    "xoxb-123-456-abcDEF",
    "xoxe.xoxb-1-abcdef",
    "xapp-1-A1-2-abcdef",
    "Bearer abc.def",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "QVFJREFIaDJ5Yk9hbEJxWkN1TnZ0c0FBQUdVd2ZBWUpLb1pJaHZjTkFRY0dv",
    "wss://host.example/ws?X-Amz-Signature=abcdef",
    "https://files.example/f?sig=abcdef",
    "redis://user:hunter2@redis.example",
    "https://hooks.slack.com/actions/T1/2/abcdef",
    "A" * 90,
]
SECRETS = ["abcDEF", "abcdef", "abc.def", "c2ln", "JREFIaDJ", "kZ2h0dGVz", "hunter2", "AAAAA" * 9]


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure("INFO", "json", stream)
    yield stream
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, logs._Handler)]:
        root.removeHandler(handler)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def ours() -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.part")
    return logger


def test_a_line_has_time_level_logger_event_fields_and_conversation(out: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(conversation="T1:C1:1.2"):
        ours().info("contact_started", attempt=2)
    ours().info("done")
    first, second = lines(out)
    assert first.pop("timestamp").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "bridge.part",
        "event": "contact_started",
        "attempt": 2,
        "conversation": "T1:C1:1.2",
    }
    assert "conversation" not in second


def test_the_standard_library_serves_too(out: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(conversation="T1:C1:1.2"):
        logging.getLogger("bridge.part").warning("tried %d times", 3, extra={"call": "send"})
    (line,) = lines(out)
    assert line["event"] == "tried 3 times"
    assert (line["call"], line["conversation"]) == ("send", "T1:C1:1.2")


def test_levels(out: io.StringIO) -> None:
    ours().debug("too_fine")
    logging.getLogger("slack_bolt.App").setLevel(logging.DEBUG)
    try:
        logging.getLogger("slack_bolt.App").info("a library's chatter")
        logging.getLogger("slack_bolt.App").warning("a library's warning")
    finally:
        logging.getLogger("slack_bolt.App").setLevel(logging.NOTSET)
    assert [line["event"] for line in lines(out)] == ["a library"]


@pytest.mark.parametrize("planted", PLANTED)
def test_secrets_never_appear(out: io.StringIO, planted: str) -> None:
    ours().info("event", detail=planted, deep={"list": [f"before {planted} after"]})
    ours().info(f"event {planted}")
    logging.getLogger("bridge.part").error("event %s", planted, extra={"detail": planted})
    logging.getLogger("aiohttp.client").error(f"Cannot connect to {planted}")  # noqa: G004 - as libraries do
    logging.getLogger("botocore").error("Cannot connect to %s", planted)
    assert len(lines(out)) == 5
    assert not [secret for secret in SECRETS if secret in out.getvalue()]


@pytest.mark.parametrize(
    "key",
    ["text", "content", "body", "token", "connection_token", "Authorization", "client_secret"],
)
def test_keys_that_name_a_secret_or_text_hide_their_value(out: io.StringIO, key: str) -> None:
    ours().info("event", **{key: "planted"}, nested={key: ["planted"], "kept": "yes"})
    (line,) = lines(out)
    assert line[key] == logs.REDACTED
    assert line["nested"] == {key: logs.REDACTED, "kept": "yes"}
    assert "planted" not in out.getvalue()


def test_ids_and_numbers_stay_readable(out: io.StringIO) -> None:
    kept = {
        "contact": "11111111-2222-3333-4444-555555555555",
        "conversation": "E1.T1:C1:1700000000.000100",
        "content_type": "text/plain",
        "tokens": 3,
        "url": "https://slack.com/api/chat.postMessage",
    }
    ours().info("event", **kept)
    (line,) = lines(out)
    assert {key: line[key] for key in kept} == kept


def test_an_exception_is_its_type_its_place_and_our_own_words(out: io.StringIO) -> None:
    try:
        try:
            int("planted words of a person")
        except ValueError as error:
            raise Temporary("SendMessage", "ThrottlingException") from error
    except Temporary:
        ours().exception("send_failed")
    (line,) = lines(out)
    first, second = line["exception"]
    assert first["type"] == "Temporary: SendMessage: ThrottlingException"
    assert second["type"] == "ValueError"
    assert "test_logs.py" in first["trace"][-1]
    assert "planted" not in out.getvalue()


@pytest.mark.parametrize("name", ["bridge.part", "aiohttp.server", "asyncio", "redis"])
def test_exceptions_keep_their_messages_to_themselves(out: io.StringIO, name: str) -> None:
    logger = logging.getLogger(name)
    problem = RuntimeError("planted")
    problem.add_note("planted")
    logger.error("Error handling request", exc_info=problem)
    logger.error("Error handling request", exc_info=ExceptionGroup("planted", [problem]))
    logger.error("Error handling request", exc_info=(RuntimeError, problem, None))
    ours().info("event", error=problem)
    assert [line["event"] for line in lines(out)] == ["Error handling request"] * 3 + ["event"]
    assert "planted" not in out.getvalue()


@pytest.mark.parametrize(
    ("message", "head"),
    [
        ("Failed to run a message listener: planted", "Failed to run a message listener"),
        ("Unhandled request ({'text': 'planted'})", "Unhandled request"),
        (
            "Task exception was never retrieved\nfuture: planted",
            "Task exception was never retrieved",
        ),
        ("{'planted': 1}", logs.REDACTED),
    ],
)
def test_of_a_library_only_the_head_is_kept(out: io.StringIO, message: str, head: str) -> None:
    logging.getLogger("a_library.part").error(message)
    assert [line["event"] for line in lines(out)] == [head]


def test_a_line_that_cannot_be_made_is_told_without_its_arguments(
    out: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one, logs._Handler)]
    record = {"name": "bridge.part", "levelno": logging.INFO, "msg": "%d", "args": ("planted",)}
    handler.handle(logging.makeLogRecord(record | {"pathname": __file__, "lineno": 1}))
    (line,) = lines(out)
    assert line["event"] == "log_line_failed"
    assert "planted" not in out.getvalue() + "".join(capsys.readouterr())


def test_a_chain_of_exceptions_that_bites_its_tail_ends(out: io.StringIO) -> None:
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    ours().error("event", exc_info=one)
    (line,) = lines(out)
    assert [told["type"] for told in line["exception"]] == ["ValueError", "KeyError"]


def test_text_for_a_terminal_hides_the_same(out: io.StringIO) -> None:
    logs.configure("INFO", "text", out)
    problem = Temporary("SendMessage", "Throttled")
    ours().error("send_failed", token="planted", place="T1:C1", exc_info=problem)
    shown = out.getvalue()
    assert "send_failed" in shown
    assert "place=T1:C1" in shown
    assert "Temporary: SendMessage: Throttled" in shown
    assert "planted" not in shown


def test_configuring_again_replaces(out: io.StringIO) -> None:
    second = io.StringIO()
    logs.configure("ERROR", "json", second)
    ours().info("too_low")
    ours().error("heard")
    assert out.getvalue() == ""
    assert [line["event"] for line in lines(second)] == ["heard"]


@given(st.text(), st.sampled_from(PLANTED), st.text())
def test_a_secret_between_other_words_is_found(before: str, planted: str, after: str) -> None:
    hidden = logs.redact(f"{before} {planted} {after}")
    assert logs.REDACTED in hidden
    assert planted not in hidden
