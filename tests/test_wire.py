"""Whatever comes, nothing is raised, and no text is lost for how it was cut."""

from __future__ import annotations

import pytest

from bridge.wire import encoded, parsed, seconds_after


def test_a_value() -> None:
    assert parsed('{"a": [1, "\\u00e9"]}') == {"a": [1, "é"]}
    assert parsed(b'{"a": null}') == {"a": None}


def test_half_of_a_surrogate_pair_is_read() -> None:
    assert parsed('{"Content": "cut \\ud83d"}') == {"Content": "cut \ud83d"}


@pytest.mark.parametrize("text", ["", "x", "{", b"\xff", "\ud83d", "[" * 100_000])
def test_what_is_no_json(text: str | bytes) -> None:
    assert parsed(text) is None


@pytest.mark.parametrize("text", ["Grüezi \N{GRINNING FACE}", "cut \ud83d", "\x00\u2028"])
def test_what_is_written_is_read(text: str) -> None:
    assert parsed(encoded({"text": text, "blocks": [{"n": 1, "no": None}]})) == {
        "text": text,
        "blocks": [{"n": 1, "no": None}],
    }


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("99999", 3600.0),
        ("-1", None),
        ("nan", None),
        ("inf", 3600.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert seconds_after(header) == seconds
