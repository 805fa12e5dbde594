from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.connect.interactive import CANNOT_SHOW, readable
from bridge.connect.translate import EVENT, INTERACTIVE, item_of, unix_seconds
from bridge.core.model import Item, ItemKind

OURS = "p-customer"
AT = "2026-03-04T10:01:02.345Z"


def raw(**members: Any) -> dict[str, Any]:
    return {
        "Id": "m1",
        "AbsoluteTime": AT,
        "Type": "MESSAGE",
        "ContentType": "text/plain",
        "Content": "Good morning!",
        "ParticipantId": "p-agent",
        "ParticipantRole": "AGENT",
        "DisplayName": "Mina",
        "InitialContactId": "c0",
        "ContactId": "c1",
    } | members


def item(**members: Any) -> Item:
    made = item_of(raw(**members), OURS)
    assert made is not None
    return made


def test_a_message_of_an_agent() -> None:
    assert item() == Item(
        id="m1",
        time=1772618462.345,
        kind=ItemKind.MESSAGE,
        role="AGENT",
        name="Mina",
        text="Good morning!",
        segment_id="c1",
    )


@pytest.mark.parametrize("role", ["AGENT", "SYSTEM", "CUSTOM_BOT", "SUPERVISOR"])
def test_whoever_answers_is_heard(role: str) -> None:
    made = item(ParticipantRole=role)
    assert (made.kind, made.role, made.own) == (ItemKind.MESSAGE, role, False)


def test_markdown_loses_the_tags_of_links_and_nothing_else() -> None:
    made = item(
        ContentType="text/markdown",
        Content="**Hi** [x](https://a)<!--rehype:target=_self--> <!-- mine --> <!--rehype:<b>-->",
    )
    assert made.markdown
    assert made.text == "**Hi** [x](https://a) <!-- mine --> <!--rehype:<b>-->"
    assert item(Content="<!--rehype:target=_self-->").text == "<!--rehype:target=_self-->"


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("participant.joined", ItemKind.JOINED),
        ("participant.left", ItemKind.LEFT),
        ("transfer.succeeded", ItemKind.TRANSFERRED),
        ("transfer.failed", ItemKind.TRANSFER_FAILED),
        ("chat.ended", ItemKind.ENDED),
        ("chat.rehydrated", ItemKind.OTHER),
        ("participant.idle", ItemKind.OTHER),
        ("participant.invited", ItemKind.OTHER),
        ("of.another.year", ItemKind.OTHER),
    ],
)
def test_events(suffix: str, kind: ItemKind) -> None:
    made = item(Type="EVENT", ContentType=EVENT + suffix, Content="secret")
    assert (made.kind, made.text) == (kind, "")


def test_chat_ended_without_participant() -> None:
    made = item_of(
        {
            "Id": "e1",
            "AbsoluteTime": AT,
            "Type": "EVENT",
            "ContentType": EVENT + "chat.ended",
            "ContactId": "c2",
        },
        OURS,
    )
    assert made is not None
    assert (made.kind, made.role, made.own) == (ItemKind.ENDED, "", False)


def test_the_type_decides_only_where_there_is_no_content_type() -> None:
    assert item(Type="CHAT_ENDED", ContentType=None, Content=None).kind is ItemKind.ENDED
    assert item(Type="CHAT_ENDED").kind is ItemKind.MESSAGE


@pytest.mark.parametrize(
    "members",
    [
        {"ContentType": EVENT + "typing", "Type": "EVENT"},
        {"ContentType": EVENT + "message.delivered", "Type": "EVENT"},
        {"ContentType": EVENT + "message.read", "Type": "EVENT"},
        {"ContentType": EVENT + "message.metadata", "Type": "MESSAGEMETADATA"},
        {"ContentType": None, "Type": "TYPING"},
        {"MessageMetadata": {"MessageCompleted": False, "ChunkNumber": 1}},
        {"Id": None},
        {"Id": ""},
        {"Id": 7},
        {"AbsoluteTime": None},
        {"AbsoluteTime": "yesterday"},
        {"AbsoluteTime": 1772618462},
    ],
)
def test_what_is_not_remembered(members: dict[str, Any]) -> None:
    assert item_of(raw(**members), OURS) is None


def test_the_completed_message_is_shown() -> None:
    made = item(MessageMetadata={"MessageCompleted": True, "ChunkNumber": 3})
    assert made.kind is ItemKind.MESSAGE


@pytest.mark.parametrize(
    ("role", "author", "own"),
    [
        ("CUSTOMER", OURS, True),
        ("CUSTOMER", None, True),
        ("CUSTOMER", "p-other", False),
        ("AGENT", "p-agent", False),
        ("AGENT", None, False),
        (None, OURS, True),
        (None, None, False),
    ],
)
def test_whose_it_is(role: str | None, author: str | None, own: bool) -> None:
    assert item(ParticipantRole=role, ParticipantId=author).own is own


def test_the_past_of_a_continued_chat() -> None:
    assert item(ContactId=None, RelatedContactId="old").past
    assert item(ContactId="c1", RelatedContactId="old").past
    assert not item(ContactId="c1", RelatedContactId="c1").past
    assert not item(ContactId=None).past


def test_the_customers_own_words_are_known_in_the_past_too() -> None:
    of_then = {"ContactId": None, "RelatedContactId": "old", "ParticipantId": "of then"}
    assert item(**of_then, ParticipantRole="CUSTOMER").own
    assert not item(**of_then, ParticipantRole="AGENT").own
    assert not item(ContactId="c1", ParticipantId="another", ParticipantRole="CUSTOMER").own


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", '{"secret": 1}'),
        (INTERACTIVE + ".response", '{"action": "x"}'),
        ("text/html", "<b>x</b>"),
        ("text/plain", ""),
        ("text/plain", " \n "),
        ("text/plain", {"a": 1}),
        ("text/markdown", "<!--rehype:target=_self-->"),
    ],
)
def test_what_is_not_for_people_is_never_shown_as_text(content_type: str, content: object) -> None:
    made = item(ContentType=content_type, Content=content)
    assert made.kind is ItemKind.OTHER
    assert not made.text.strip()


def test_half_surrogates_are_replaced_before_anybody_encodes_them() -> None:
    made = item(Content="a\ud800b é", DisplayName="\udfff")
    assert (made.text, made.name) == ("a?b é", "?")
    inside = json.dumps(template("Panel", title="\ud800"))
    assert item(ContentType=INTERACTIVE, Content=inside).text == "?"


def test_attachments_are_named() -> None:
    files = [
        {"AttachmentId": "a", "AttachmentName": "invoice.pdf", "Status": "APPROVED"},
        {"AttachmentId": "b", "AttachmentName": "virus.exe", "Status": "REJECTED"},
        {"AttachmentId": "c", "AttachmentName": " photo.png ", "Status": "IN_PROGRESS"},
        {"AttachmentId": "d"},
        "nonsense",
    ]
    made = item(Type="ATTACHMENT", ContentType=None, Content=None, Attachments=files)
    assert (made.kind, made.text) == (ItemKind.ATTACHMENT, "invoice.pdf, photo.png")
    refused = item(Type="ATTACHMENT", ContentType=None, Attachments=files[1:2])
    assert (refused.kind, refused.text) == (ItemKind.OTHER, "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01.500Z", 1.5),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1970-01-01T00:00:02", 2.0),
        ("1970-01-01T00:00:00.123456789Z", 0.123456),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_times(text: object, seconds: float) -> None:
    assert unix_seconds(text) == pytest.approx(seconds, abs=1e-6)


# --- interactive messages ----------------------------------------------------------------------


def template(kind: str, **content: Any) -> dict[str, Any]:
    return {"templateType": kind, "version": "1.0", "data": {"content": content}}


def test_a_list_is_numbered() -> None:
    message = template(
        "ListPicker",
        title="Which product?",
        subtitle="Pick one",
        elements=[
            {"title": "Router", "subtitle": "R-200"},
            {"title": "Modem"},
            {"title": "Shop", "type": "hyperlink", "url": "https://example.com"},
            {"subtitle": ""},
        ],
    )
    made = item(ContentType=INTERACTIVE, Content=json.dumps(message), ParticipantRole="CUSTOM_BOT")
    assert (made.kind, made.markdown) == (ItemKind.MESSAGE, True)
    assert made.text.splitlines() == [
        "Which product?",
        "Pick one",
        "1. Router - R-200",
        "2. Modem",
        "3. Shop https://example.com",
    ]


@pytest.mark.parametrize("kind", ["Panel", "QuickReply"])
def test_short_lists(kind: str) -> None:
    message = template(kind, title="Sure?", elements=[{"title": "Yes"}, {"title": "No"}])
    assert readable(json.dumps(message)) == "Sure?\n1. Yes\n2. No"


def test_old_quick_replies() -> None:
    message = template("QuickReply", title="Sure?", buttons=[{"text": "Yes"}, {"text": "No"}])
    assert readable(json.dumps(message)) == "Sure?\n1. Yes\n2. No"


def test_times_to_pick_are_shown_as_the_bot_expects_them_back() -> None:
    message = template(
        "TimePicker",
        title="When?",
        timeslots=[{"date": "2026-05-04T17:00+00:00", "duration": 60}, {"duration": 1}],
    )
    assert readable(json.dumps(message)) == "When?\n1. 2026-05-04T17:00+00:00"


def test_a_carousel_shows_each_of_its_lists() -> None:
    message = template(
        "Carousel",
        title="Our shops",
        elements=[
            template("Panel", title="North", elements=[{"title": "Book"}]),
            template("Panel", title="South", elements=[{"title": "Call"}]),
        ],
    )
    assert readable(json.dumps(message)) == "Our shops\n\nNorth\n1. Book\n\nSouth\n1. Call"


def test_other_templates_show_title_and_note() -> None:
    message = template("ApplePay", title="Pay", merchant={"x": 1})
    assert readable(json.dumps(message)) == f"Pay\n{CANNOT_SHOW}"


@pytest.mark.parametrize("content", ["", "not json", "[]", '"x"', "null", "[" * 100_000, "{}"])
def test_what_cannot_be_read_is_a_note(content: str) -> None:
    assert readable(content) == CANNOT_SHOW


# --- anything at all ---------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
hostile = st.fixed_dictionaries(
    {},
    optional={
        "Id": st.text(max_size=3) | anything,
        "AbsoluteTime": st.sampled_from([AT, "0001-01-01T00:00:00+14:00", "9999-12-31"]) | anything,
        "Type": st.sampled_from(["MESSAGE", "EVENT", "ATTACHMENT"]) | anything,
        "ContentType": st.sampled_from(["text/plain", INTERACTIVE, EVENT + "chat.ended"])
        | anything,
        "Content": anything | anything.map(json.dumps),
        "ParticipantId": st.just(OURS) | anything,
        "ParticipantRole": st.just("CUSTOMER") | anything,
        "DisplayName": anything,
        "Attachments": anything,
        "MessageMetadata": anything,
        "RelatedContactId": anything,
    },
)


@given(hostile | anything)
def test_nothing_breaks_it_and_only_text_is_shown(entry: object) -> None:
    made = item_of(entry, OURS)
    if made is None or made.kind is not ItemKind.MESSAGE:
        return
    assert isinstance(entry, dict)
    assert entry["ContentType"] in ("text/plain", "text/markdown", INTERACTIVE)
    assert isinstance(made.text, str)
    assert made.text.strip()


kinds = st.sampled_from(["ListPicker", "Panel", "QuickReply", "TimePicker", "Carousel", "Other"])
fields = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("title", "subtitle", "elements", "buttons", "timeslots"), anything),
)


@given(kinds, fields | anything)
def test_no_template_breaks_it(kind: str, content: object) -> None:
    shown = readable(json.dumps({"templateType": kind, "data": {"content": content}}))
    assert shown.strip()
