"""What a person types becomes what Slack stores."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sandbox.slack.composer import Composer
from bridge.sandbox.slack.markup import displayed, effects, normalised, unescape
from bridge.sandbox.slack.model import Message, UserGroup
from bridge.sandbox.slack.seed import seeded
from bridge.sandbox.slack.world import World
from tests.sandbox.slack_support import ANA, BEN, BOT, HELP


@pytest.fixture
def world() -> World:
    world = seeded()
    world.groups["S1"] = UserGroup("S1", "T0SB000001", "oncall", "oncall", [ANA], 0)
    return world


def text(value: str, **style: bool) -> dict[str, Any]:
    return {"type": "text", "text": value, **({"style": style} if style else {})}


@pytest.mark.parametrize(
    ("typed", "stored", "elements"),
    [
        ("hello", "hello", [text("hello")]),
        ("a & b <c>", "a &amp; b &lt;c&gt;", [text("a & b <c>")]),
        ("&amp;", "&amp;amp;", [text("&amp;")]),
        ("*b* x", "*b* x", [text("b", bold=True), text(" x")]),
        ("_i_ ~s~", "_i_ ~s~", [text("i", italic=True), text(" "), text("s", strike=True)]),
        (
            "*b _bi_*",
            "*b _bi_*",
            [text("b ", bold=True), text("bi", bold=True, italic=True)],
        ),
        ("2*3*4 snake_case_x", "2*3*4 snake_case_x", [text("2*3*4 snake_case_x")]),
        ("`a<b*c*`", "`a&lt;b*c*`", [text("a<b*c*", code=True)]),
        (
            "see https://x.io/a?b=1&c=2.",
            "see <https://x.io/a?b=1&amp;c=2>.",
            [text("see "), {"type": "link", "url": "https://x.io/a?b=1&c=2"}, text(".")],
        ),
        (
            "[our site](https://x.io)",
            "<https://x.io|our site>",
            [{"type": "link", "url": "https://x.io", "text": "our site"}],
        ),
        (
            "to a.b@x.io now",
            "to <mailto:a.b@x.io|a.b@x.io> now",
            [
                text("to "),
                {"type": "link", "url": "mailto:a.b@x.io", "text": "a.b@x.io"},
                text(" now"),
            ],
        ),
        (
            "hi @Ben Okoro, ok?",
            f"hi <@{BEN}>, ok?",
            [text("hi "), {"type": "user", "user_id": BEN}, text(", ok?")],
        ),
        ("@bot help", f"<@{BOT}> help", [{"type": "user", "user_id": BOT}, text(" help")]),
        ("@nobody here", "@nobody here", [text("@nobody here")]),
        ("@hereby", "@hereby", [text("@hereby")]),
        ("@channel!", "<!channel>!", [{"type": "broadcast", "range": "channel"}, text("!")]),
        ("@oncall", "<!subteam^S1>", [{"type": "usergroup", "usergroup_id": "S1"}]),
        ("#help #nope", f"<#{HELP}|help> #nope", [{"type": "channel", "channel_id": HELP}, text(" #nope")]),
        (":wave: 10:30:45", ":wave: 10:30:45", [{"type": "emoji", "name": "wave", "unicode": "1f44b"}, text(" 10:30:45")]),
        (
            ":wave::skin-tone-3:",
            ":wave::skin-tone-3:",
            [{"type": "emoji", "name": "wave", "skin_tone": 3, "unicode": "1f44b-1f3fc"}],
        ),
        ("🎉", ":tada:", [{"type": "emoji", "name": "tada", "unicode": "1f389"}]),
        (":acme:", ":acme:", [{"type": "emoji", "name": "acme"}]),
        ("Olá, 世界 👩‍🔧", "Olá, 世界 👩‍🔧", [text("Olá, 世界 👩‍🔧")]),
        ("<!channel> <@U1>", "&lt;!channel&gt; &lt;@U1&gt;", [text("<!channel> <@U1>")]),
    ],
)  # fmt: skip
def test_inline(world: World, typed: str, stored: str, elements: list[dict[str, Any]]) -> None:
    composed = Composer(world, BOT).compose(typed)
    assert composed.text == stored
    (block,) = composed.blocks
    assert block["type"] == "rich_text"
    assert block["elements"] == [{"type": "rich_text_section", "elements": elements}]


def test_blocks_of_every_level(world: World) -> None:
    typed = "intro\n- one\n- *two*\n    - deep\n3. three\n> quoted & more\n> again\n```\nx < y\n```\nend"
    composed = Composer(world, BOT).compose(typed)
    assert composed.text == (
        "intro\n• one\n• *two*\n    ◦ deep\n3. three\n&gt; quoted &amp; more\n&gt; again\n"
        "```x &lt; y```\nend"
    )
    (block,) = composed.blocks
    kinds = [(e["type"], e.get("style"), e.get("indent")) for e in block["elements"]]
    assert kinds == [
        ("rich_text_section", None, None),
        ("rich_text_list", "bullet", 0),
        ("rich_text_list", "bullet", 1),
        ("rich_text_list", "ordered", 0),
        ("rich_text_quote", None, None),
        ("rich_text_preformatted", None, None),
        ("rich_text_section", None, None),
    ]
    assert block["elements"][0]["elements"] == [text("intro\n")]
    assert block["elements"][1]["elements"][1]["elements"] == [text("two", bold=True)]
    assert block["elements"][5]["elements"] == [text("x < y")]


@given(st.text(alphabet="ab *_~`<>&@#:-.\n1/[]()é😀", max_size=40))
def test_whatever_is_typed_is_escaped_and_kept_whole(typed: str) -> None:
    world = seeded()
    composed = Composer(world, BOT).compose(typed)
    assert not set(re.sub(r"<[^<>]*>", "", composed.text)) & {"<", ">"}
    letters = [c for c in typed if c in "abé"]
    assert [c for c in displayed(world, composed.text) if c in "abé"] == letters


def test_nothing_typed_makes_no_block(world: World) -> None:
    composed = Composer(world, BOT).compose("  ")
    assert (composed.text, composed.blocks) == ("", [])


@pytest.mark.parametrize(
    ("body", "settings", "pings"),
    [
        ({"text": "<!channel> and <!here|here>"}, {}, ["channel", "here"]),
        ({"text": "&lt;!channel&gt; @channel"}, {}, []),
        ({"text": "@channel @ana.lima @oncall"}, {"parse": "full"}, ["channel", ANA, "S1"]),
        ({"text": "@channel @oncall"}, {"link_names": True}, ["S1"]),
        ({"text": "<@U7|x> <!subteam^S1|@oncall>"}, {}, ["U7", "S1"]),
        ({"text": "`<!everyone>`"}, {}, ["everyone"]),
        ({"text": "<!channel>"}, {"mrkdwn": False}, ["channel"]),
        ({"text": "<!date^1^{date}|then> <#C1|x>"}, {}, []),
        (
            {
                "text": "",
                "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "<!here>"}}],
            },
            {},
            ["here"],
        ),
        (
            {
                "text": "",
                "blocks": [{"type": "section", "text": {"type": "plain_text", "text": "<!here>"}}],
            },
            {},
            [],
        ),
        ({"text": "", "blocks": [{"type": "markdown", "text": "# <!here>"}]}, {}, ["here"]),
        ({"text": "", "blocks": [{"type": "markdown", "text": "&lt;!here&gt;"}]}, {}, []),
        (
            {
                "text": "",
                "blocks": [
                    {
                        "type": "rich_text",
                        "elements": [
                            {
                                "type": "rich_text_section",
                                "elements": [
                                    {"type": "text", "text": "<!channel>"},
                                    {"type": "broadcast", "range": "everyone"},
                                ],
                            }
                        ],
                    }
                ],
            },
            {},
            ["everyone"],
        ),
    ],
)
def test_pings(
    world: World, body: dict[str, Any], settings: dict[str, Any], pings: list[str]
) -> None:
    message = Message(HELP, {"ts": "1.000001", **body}, **settings)
    assert effects(world, message).pings == pings


def test_links_with_and_without_labels(world: World) -> None:
    blocks = [
        {"type": "markdown", "text": "[bank](https://evil.io/x) and <https://a.io|b>"},
        {
            "type": "actions",
            "elements": [
                {
                    "type": "button",
                    "text": {"type": "plain_text", "text": "Go"},
                    "url": "https://c.io",
                }
            ],
        },
    ]
    body = {"ts": "1.000001", "text": "<https://x.io|y> https://z.io.", "blocks": blocks}
    assert effects(world, Message(HELP, body)).links == [
        {"url": "https://x.io", "label": "y"},
        {"url": "https://z.io", "label": "https://z.io"},
        {"url": "https://evil.io/x", "label": "bank"},
        {"url": "https://a.io", "label": "b"},
        {"url": "https://c.io", "label": "Go"},
    ]


@pytest.mark.parametrize(
    ("posted", "stored"),
    [
        ("a & b", "a &amp; b"),
        ("a &amp; b &lt;", "a &amp; b &lt;"),
        ("1 < 2 > 0", "1 &lt; 2 &gt; 0"),
        ("<not an entity>", "&lt;not an entity&gt;"),
        ("<!channel> <@U1>", "<!channel> <@U1>"),
        ("go https://x.io/a?b&c.", "go <https://x.io/a?b&amp;c>."),
        ("&lt;https://x.io&gt;", "&lt;<https://x.io>&gt;"),
    ],
)
def test_posted_text_as_stored(posted: str, stored: str) -> None:
    assert normalised(posted) == stored


def test_text_as_a_person_reads_it(world: World) -> None:
    stored = f"<@{ANA}> in <#{HELP}|help>: &amp;lt; <https://x.io|y> <!here> <!subteam^S1>"
    assert displayed(world, stored) == "@Ana in #help: &lt; y @here @oncall"
    assert unescape("&amp;lt;") == "&lt;"
