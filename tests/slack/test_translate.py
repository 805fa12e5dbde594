from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.events import AskedToEnd, AskedToReopen, Incoming, Wrote
from bridge.core.model import ConversationId, CustomerMessage, Place, Workspace
from bridge.slack.markers import Marker
from bridge.slack.model import Identity
from bridge.slack.translate import (
    ChannelLost,
    ChannelSeen,
    Ignored,
    Viewpoint,
    channel_of,
    translate,
)

HOME = Workspace("T1", "E1")
ME = Identity(HOME, bot_user_id="UBOT", bot_id="BBOT", app_id="ABOT")
HELP, TALK, DM = "CHELP", "CTALK", "D1"
VIEW = Viewpoint(ME, is_support=lambda channel: channel == HELP)
THREADED = Viewpoint(ME, is_support=lambda _: False, dm_threads=True)
TS, ROOT = "1700000002.000100", "1700000001.000100"


def event(**changes: Any) -> dict[str, Any]:
    base = {
        "type": "message",
        "channel": HELP,
        "channel_type": "channel",
        "user": "UANA",
        "text": "hello",
        "ts": TS,
        "event_ts": TS,
        "team": "T1",
        "client_msg_id": "c-1",
    }
    return {key: value for key, value in (base | changes).items() if value is not None}


def outer(inner: object, **changes: Any) -> dict[str, Any]:
    authorizations = [{"team_id": "T1", "enterprise_id": "E1", "is_enterprise_install": False}]
    body = {"type": "event_callback", "event": inner, "authorizations": authorizations}
    return body | changes


def taken(view: Viewpoint = VIEW, **changes: Any) -> Incoming:
    found = translate(outer(event(**changes)), view)
    assert isinstance(found, Incoming), found
    return found


def conversation(channel: str, thread_ts: str) -> ConversationId:
    return ConversationId(Place(HOME, channel), thread_ts)


def test_a_message_in_a_support_channel() -> None:
    assert taken() == Incoming(
        conversation(HELP, TS),
        Wrote(CustomerMessage(TS, TS, "UANA", "hello")),
        (f"{HELP}:{TS}:new", f"{HELP}:client:c-1"),
        opens=True,
    )


@pytest.mark.parametrize(
    ("changes", "thread_ts", "opens"),
    [
        ({}, TS, True),
        ({"thread_ts": TS}, TS, True),
        ({"thread_ts": ROOT, "parent_user_id": "UBEN"}, ROOT, True),
        ({"subtype": "thread_broadcast", "thread_ts": ROOT, "root": {"user": "UBOT"}}, ROOT, True),
        ({"subtype": "me_message"}, TS, True),
        ({"channel_type": "group"}, TS, True),
        ({"channel": TALK, "text": "<@UBOT> help"}, TS, True),
        ({"channel": TALK, "text": "<@UBOT> help", "channel_type": "mpim"}, TS, True),
        ({"channel": TALK, "text": "so <@UBOT> help", "thread_ts": ROOT}, ROOT, True),
        ({"channel": TALK, "thread_ts": ROOT}, ROOT, False),
        ({"channel": TALK, "thread_ts": ROOT, "subtype": "thread_broadcast"}, ROOT, False),
        ({"channel": DM, "channel_type": "im"}, "", True),
        ({"channel": DM, "channel_type": None}, "", True),
        ({"channel": DM, "channel_type": "im", "app_context": {"entities": []}}, TS, True),
        ({"channel": DM, "channel_type": "im", "assistant_thread": {"x": 1}}, TS, True),
        (
            {"channel": DM, "channel_type": "im", "thread_ts": ROOT, "parent_user_id": "UBOT"},
            "",
            True,
        ),
        (
            {"channel": DM, "channel_type": "im", "thread_ts": ROOT, "parent_user_id": "UANA"},
            ROOT,
            True,
        ),
    ],
)
def test_the_conversation_a_message_belongs_to(
    changes: dict[str, Any], thread_ts: str, opens: bool
) -> None:
    found = taken(**changes)
    channel = changes.get("channel", HELP)
    assert (found.conversation, found.opens) == (conversation(channel, thread_ts), opens)


def test_direct_messages_open_threads_where_set_to() -> None:
    direct = {"channel": DM, "channel_type": "im"}
    assert taken(THREADED, **direct).conversation == conversation(DM, TS)
    reply = taken(THREADED, **direct, thread_ts=ROOT, parent_user_id="UBOT")
    assert reply.conversation == conversation(DM, ROOT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"channel": TALK}, "not_for_us"),
        ({"user": "UBOT"}, "own"),
        ({"user": None, "subtype": "bot_message", "bot_id": "BBOT"}, "own"),
        ({"app_id": "ABOT"}, "own"),
        ({"bot_profile": {"app_id": "ABOT"}}, "own"),
        ({"bot_id": "BOTHER"}, "bot"),
        ({"bot_profile": {"app_id": "AOTHER"}}, "bot"),
        ({"subtype": "bot_message", "user": None, "username": "Ana"}, "bot"),
        ({"user": "USLACKBOT"}, "no_author"),
        ({"user": None}, "no_author"),
        ({"subtype": "channel_join", "text": "<@UANA> has joined"}, "subtype"),
        ({"subtype": "channel_topic"}, "subtype"),
        ({"subtype": "huddle_thread"}, "subtype"),
        ({"subtype": "tombstone"}, "subtype"),
        ({"subtype": {"x": 1}}, "subtype"),
        ({"hidden": True}, "subtype"),
        ({"subtype": "message_changed", "message": {"bot_id": "BBOT"}}, "edit"),
        ({"subtype": "message_deleted", "previous_message": {}}, "edit"),
        ({"type": "app_mention", "text": "<@UBOT> help"}, "app_mention"),
        ({"type": "reaction_added"}, "type"),
        ({"type": 7}, "malformed"),
        ({"ts": "17"}, "malformed"),
        ({"ts": 1700000002.1}, "malformed"),
        ({"thread_ts": "x:y"}, "malformed"),
        ({"channel": "C1:2"}, "malformed"),
        ({"user": "U 1"}, "malformed"),
        ({"text": "  "}, "empty"),
    ],
)
def test_what_is_not_for_us(changes: dict[str, Any], reason: str) -> None:
    assert translate(outer(event(**changes)), VIEW) == Ignored(reason)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, Ignored("malformed")),
        ({}, Ignored("type")),
        ({"type": "event_callback", "event": []}, Ignored("malformed")),
        ({"type": "app_rate_limited", "team_id": "T1"}, Ignored("rate_limited")),
        ({"command": "/help"}, Ignored("type")),
        ({"type": "view_submission"}, Ignored("type")),
        (outer(event(), authorizations=[{"team_id": "T2"}]), Ignored("other_workspace")),
        (
            outer({"type": "member_joined_channel", "user": "UBOT", "channel": "C9"}),
            ChannelSeen("C9"),
        ),
        (
            outer({"type": "member_joined_channel", "user": "UANA", "channel": "C9"}),
            Ignored("type"),
        ),
        (
            outer({"type": "channel_rename", "channel": {"id": "C9", "name": "new"}}),
            ChannelSeen("C9", "new"),
        ),
        (
            outer({"type": "channel_id_changed", "old_channel_id": "G9", "new_channel_id": "C9"}),
            ChannelSeen("C9"),
        ),
        (outer({"type": "group_left", "channel": "C9"}), ChannelLost("C9")),
        (outer({"type": "channel_deleted", "channel": "C9"}), ChannelLost("C9")),
        (outer({"type": "channel_rename", "channel": {"id": 5}}), Ignored("malformed")),
    ],
)
def test_other_requests(body: object, expected: object) -> None:
    assert translate(body, VIEW) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"authorizations": []},
        {"authorizations": None},
        {"authorizations": [{"enterprise_id": "E1", "is_enterprise_install": True}]},
        {"authorizations": [{"team_id": "T2"}], "is_ext_shared_channel": True},
    ],
)
def test_the_place_is_that_of_our_installation_not_of_the_author(changes: dict[str, Any]) -> None:
    body = outer(event(team="T2", user_team="T2", source_team="T2"), **changes)
    found = translate(body, VIEW)
    assert isinstance(found, Incoming)
    assert found.conversation.place.workspace == HOME


def test_files_are_counted_and_their_text_kept() -> None:
    with_text = taken(subtype="file_share", files=[{"id": "F1"}, {"id": "F2"}], text="see")
    only = taken(subtype="file_share", files=[{"id": "F1"}], text="", client_msg_id=None)
    assert isinstance(with_text.event, Wrote)
    assert (with_text.event.message.text, with_text.event.message.files) == ("see", 2)
    assert isinstance(only.event, Wrote)
    assert (only.event.message.text, only.event.message.files) == ("", 1)
    assert only.keys == (f"{HELP}:{TS}:new",)


def test_the_mention_is_noted_and_taken_off_the_front() -> None:
    found = taken(channel=TALK, text="<@UBOT>, ask <@UBOT> or <@UANA>")
    assert isinstance(found.event, Wrote)
    bot, ana = Marker("@", "UBOT"), Marker("@", "UANA")
    assert found.event.message.text == f"ask {bot} or {ana}"
    assert found.event.message.mention


def test_a_typed_entity_is_not_a_mention() -> None:
    blocks = [
        {
            "type": "rich_text",
            "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "<@UBOT> end"}]}
            ],
        }
    ]
    typed = event(channel=TALK, text="&lt;@UBOT&gt; end", blocks=blocks)
    assert translate(outer(typed), VIEW) == Ignored("not_for_us")


@pytest.mark.parametrize("text", ["<@UBOT> end", "<@UBOT>  END!", "<@UBOT|bot>: *End*."])
@pytest.mark.parametrize("thread_ts", [None, ROOT])
def test_a_mention_with_end_asks_to_end(text: str, thread_ts: str | None) -> None:
    found = taken(channel=TALK, text=text, thread_ts=thread_ts)
    assert (found.event, found.opens) == (AskedToEnd(TS, "UANA", pressed=False), False)
    assert found.conversation == conversation(TALK, thread_ts or TS)
    assert found.keys[0] == f"{TALK}:{TS}:new"


@pytest.mark.parametrize("text", ["end", "<@UBOT> the end", "<@UBOT> end of story", "<@UANA> end"])
def test_other_words_do_not(text: str) -> None:
    assert isinstance(taken(text=text).event, Wrote)


def click(action_id: str = "bridge_end", **changes: Any) -> dict[str, Any]:
    action = {
        "type": "button",
        "action_id": action_id,
        "action_ts": "1700000009.500000",
        "value": str(conversation(HELP, ROOT)),
    }
    container = {"type": "message", "message_ts": TS, "channel_id": HELP, "thread_ts": ROOT}
    return {
        "type": "block_actions",
        "user": {"id": "UANA", "team_id": "T1"},
        "container": container | changes.pop("container", {}),
        "channel": {"id": HELP},
        "message": {"ts": TS, "thread_ts": ROOT},
        "actions": [action | changes.pop("action", {})],
    } | changes


@pytest.mark.parametrize(
    ("action_id", "kind"), [("bridge_end", AskedToEnd), ("bridge_reopen", AskedToReopen)]
)
def test_a_click(action_id: str, kind: type) -> None:
    assert translate(click(action_id), VIEW) == Incoming(
        conversation(HELP, ROOT),
        kind("1700000009.500000", "UANA"),
        (f"{HELP}:{TS}:1700000009.500000:UANA",),
        opens=False,
    )


def test_a_click_in_a_flat_conversation() -> None:
    body = click(
        action={"value": str(conversation(DM, ""))},
        container={"channel_id": DM, "thread_ts": None},
        message={"ts": TS},
    )
    found = translate(body, VIEW)
    assert isinstance(found, Incoming)
    assert found.conversation == conversation(DM, "")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (click(action={"value": str(conversation(TALK, ROOT))}), "forged"),
        (click(action={"value": str(conversation(HELP, TS))}), "forged"),
        (click(action={"value": f"T2:{HELP}:{ROOT}"}), "forged"),
        (click(action={"value": "rubbish"}), "malformed"),
        (click(action={"value": None}), "malformed"),
        (click(action={"action_ts": "soon"}), "malformed"),
        (click(user={}), "malformed"),
        (click("other_button"), "type"),
        (click(actions="x"), "type"),
    ],
)
def test_clicks_that_are_not_ours(body: dict[str, Any], reason: str) -> None:
    assert translate(body, VIEW) == Ignored(reason)


def test_only_messages_in_channels_need_a_name() -> None:
    assert channel_of(outer(event())) == HELP
    assert channel_of(outer(event(channel=DM, channel_type="im"))) == ""
    assert channel_of(outer(event(type="reaction_added"))) == ""
    assert channel_of({"event": 3}) == ""


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.sampled_from([TS, ROOT, HELP, DM, "UANA", "UBOT", "<@UBOT> end", "im", "file_share"])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
MESSAGE_KEYS = [
    "subtype", "user", "text", "blocks", "ts", "thread_ts", "channel", "channel_type", "bot_id",
    "bot_profile", "files", "hidden", "client_msg_id", "parent_user_id", "attachments", "app_id",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(MESSAGE_KEYS), JSON, max_size=6), JSON, JSON)
def test_no_event_raises(changes: dict[str, Any], authorizations: Any, inner: Any) -> None:
    for body in (outer(event() | changes, authorizations=authorizations), outer(inner), inner):
        found = translate(body, VIEW)
        channel_of(body)
        if isinstance(found, Incoming):
            assert ConversationId.parse(str(found.conversation)) == found.conversation
            assert found.keys[0]


@given(
    st.dictionaries(
        st.sampled_from(["user", "container", "channel", "message", "actions"]), JSON, max_size=4
    ),
    st.dictionaries(st.sampled_from(["value", "action_ts", "action_id"]), JSON, max_size=3),
)
def test_no_click_raises(changes: dict[str, Any], action: dict[str, Any]) -> None:
    found = translate(click(action=action) | changes, VIEW)
    assert isinstance(found, Incoming | Ignored)
