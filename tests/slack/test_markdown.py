from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.slack.markdown import escaped, markdown, open_fence, plain

Json = dict[str, Any]


def text(value: str, **style: bool) -> Json:
    return {"type": "text", "text": value} | ({"style": style} if style else {})


def link(url: str, **style: bool) -> Json:
    return {"type": "link", "url": url} | ({"style": style} if style else {})


def section(*elements: Json) -> Json:
    return {"type": "rich_text_section", "elements": list(elements)}


@pytest.mark.parametrize(
    ("source", "elements"),
    [
        ("just words", [text("just words")]),
        ("a **b** c", [text("a "), text("b", bold=True), text(" c")]),
        ("__b__", [text("b", bold=True)]),
        ("*i* and _j_", [text("i", italic=True), text(" and "), text("j", italic=True)]),
        ("~~s~~", [text("s", strike=True)]),
        ("**a *b***", [text("a ", bold=True), text("b", bold=True, italic=True)]),
        ("snake_case_name", [text("snake_case_name")]),
        ("2 * 3 * 4", [text("2 * 3 * 4")]),
        (r"\*not\*", [text("*"), text("not"), text("*")]),
        ("`a*b*` x", [text("a*b*", code=True), text(" x")]),
        ("``a`b``", [text("a`b", code=True)]),
        ("[docs](https://x.y/a)", [text("docs"), text(" ("), link("https://x.y/a"), text(")")]),
        ("[https://x.y](https://x.y)", [link("https://x.y")]),
        (
            "[https://bank.com](https://evil.com)",
            [text("https://bank.com"), text(" ("), link("https://evil.com"), text(")")],
        ),
        ("[a](<https://x.y> 'title')", [text("a"), text(" ("), link("https://x.y"), text(")")]),
        ("[](https://x.y)", [link("https://x.y")]),
        (
            "![cat](https://x.y/c.png)",
            [text("cat"), text(" ("), link("https://x.y/c.png"), text(")")],
        ),
        ("[x](javascript:alert(1))", [text("[x](javascript:alert(1))")]),
        ("see https://x.y/a_b_c.", [text("see "), link("https://x.y/a_b_c"), text(".")]),
        ("(https://x.y/a_(b))", [text("("), link("https://x.y/a_(b)"), text(")")]),
        ("<https://x.y>", [link("https://x.y")]),
        ("<!channel> <@U1> @here", [text("<!channel> <@U1> @here")]),
        ("one\n\ntwo", [text("one\n\ntwo")]),
    ],
)
def test_inline(source: str, elements: list[Json]) -> None:
    assert markdown(source) == [section(*elements)]


def listing(style: str, indent: int, *items: str, **more: int) -> Json:
    elements = [section(text(item)) for item in items]
    return {"type": "rich_text_list", "style": style, "indent": indent, "elements": elements} | more


@pytest.mark.parametrize(
    ("source", "blocks"),
    [
        (
            "# A *b* c",
            [
                section(
                    *(text("A ", bold=True), text("b", italic=True, bold=True)),
                    text(" c", bold=True),
                )
            ],
        ),
        ("# Title #\nbody", [section(text("Title", bold=True)), section(text("body"))]),
        ("- a\n- b\n  * c\n\n1. d", None),
        ("3) a\n4) b", [listing("ordered", 0, "a", "b", offset=2)]),
        (
            "> q\n> r\ns",
            [{"type": "rich_text_quote", "elements": [text("q\nr")]}, section(text("s"))],
        ),
        (
            "```py\nx = **1**\n```\nafter",
            [
                {"type": "rich_text_preformatted", "elements": [text("x = **1**")]},
                section(text("after")),
            ],
        ),
        (
            "```\nnever closed",
            [{"type": "rich_text_preformatted", "elements": [text("never closed")]}],
        ),
        ("~~~\n```\n~~~", [{"type": "rich_text_preformatted", "elements": [text("```")]}]),
    ],
)
def test_blocks(source: str, blocks: list[Json] | None) -> None:
    expected = blocks or [
        listing("bullet", 0, "a", "b"),
        listing("bullet", 1, "c"),
        listing("ordered", 0, "d"),
    ]
    assert markdown(source) == expected


def test_plain_text_stays_as_it_is() -> None:
    source = "*stars* _and_ `ticks`\n# no title\n- no list https://x.y/z!"
    assert plain(source) == [section(text(source[:-14]), link("https://x.y/z"), text("!"))]


def test_escaping_replaces_three_characters() -> None:
    assert escaped("<!channel> & *x* &lt;") == "&lt;!channel&gt; &amp; *x* &amp;lt;"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("", False), ("```\na", True), ("```\na\n```", False), ("```\n~~~", True), ("a ``` b", False)],
)
def test_open_fences(source: str, *, expected: bool) -> None:
    assert open_fence(source) is expected


def leaves(value: object) -> Iterator[Json]:
    if isinstance(value, dict):
        if "elements" not in value:
            yield value
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)


@pytest.mark.parametrize(
    "unit", ["*", "**", "***", "**a", "**_~~", "[", "[a](", "`a``", "<", "~~", "_ a_"]
)
def test_long_rows_of_signs_are_read(unit: str) -> None:
    """Neither deep recursion nor quadratic time: an agent may paste anything."""
    source = (unit * 4000)[:4000]
    assert list(leaves(markdown(source)))


SOURCES = st.text(alphabet="ab \n*_~`[]()<>!@#-1.>\\:/|&", max_size=80) | st.lists(
    st.sampled_from(
        [
            "**",
            "*",
            "`",
            "```",
            "\n",
            "[a](",
            "https://x.y",
            ")",
            "<@U1>",
            "<!here>",
            "- ",
            "> ",
            "w",
        ]
    ),
    max_size=25,
).map("".join)


@given(SOURCES)
def test_only_text_and_bare_links_come_out(source: str) -> None:
    for rendered in (markdown(source), plain(source)):
        for leaf in leaves(rendered):
            assert "type" not in leaf or leaf["type"] in ("text", "link")
            if leaf.get("type") == "text":
                assert leaf["text"]
            if leaf.get("type") == "link":
                assert "text" not in leaf
    if source.strip():
        assert all(block["elements"] for block in markdown(source))
        assert markdown(source)


@given(st.text(alphabet="ab <@!>*_`\n", max_size=60))
def test_plain_text_loses_nothing(source: str) -> None:
    assert "".join(leaf.get("text", "") for leaf in leaves(plain(source))) == source
