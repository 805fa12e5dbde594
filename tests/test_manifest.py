"""The app manifest against what the code needs, and against Slack's limits (manifest schema)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.core.events import Incoming
from bridge.core.model import Workspace
from bridge.slack.model import Identity
from bridge.slack.translate import Ignored, Viewpoint, translate

ROOT = Path(__file__).parent.parent

# Slack, reference pages of the methods: every scope that a method needs where the bridge calls it.
METHOD_SCOPES: dict[str, set[str]] = {
    "apps.connections.open": set(),  # an app-level token's, which no manifest grants
    "auth.test": set(),
    "bots.info": {"users:read"},
    "chat.delete": {"chat:write"},
    "chat.getPermalink": set(),
    "chat.postMessage": {"chat:write", "chat:write.customize"},
    "chat.update": {"chat:write"},
    "conversations.history": {"channels:history", "groups:history", "im:history", "mpim:history"},
    "conversations.info": {"channels:read", "groups:read", "mpim:read"},
    "conversations.replies": {"channels:history", "groups:history", "im:history", "mpim:history"},
    "reactions.add": {"reactions:write"},
    "reactions.remove": {"reactions:write"},
    "usergroups.list": {"usergroups:read"},
    "usergroups.users.list": {"usergroups:read"},
    "users.conversations": {"channels:read", "groups:read"},
    "users.info": {"users:read", "users:read.email"},
}

FAMILIES = (
    "admin|apps|assistant|auth|bookmarks|bots|chat|conversations|emoji|files|pins|reactions|team|"
    "usergroups|users|views"
)
"""First words of Slack's methods, by which their names are found in the code."""

# Slack, reference pages of the events.
EVENT_SCOPES = {
    "channel_archive": {"channels:read"},
    "channel_deleted": {"channels:read"},
    "channel_id_changed": {"channels:read", "groups:read"},
    "channel_left": {"channels:read"},
    "channel_rename": {"channels:read"},
    "group_archive": {"groups:read"},
    "group_deleted": {"groups:read"},
    "group_left": {"groups:read"},
    "group_rename": {"groups:read"},
    "member_joined_channel": {"channels:read", "groups:read"},
    "message.channels": {"channels:history"},
    "message.groups": {"groups:history"},
    "message.im": {"im:history"},
    "message.mpim": {"mpim:history"},
}

CHANNEL_TYPES = {"channels": "channel", "groups": "group", "im": "im", "mpim": "mpim"}


def read_yaml(text: str) -> Any:
    """The plain part of YAML that the manifest keeps to: nested keys, lists of words, scalars."""
    lines = [(len(line) - len(line.lstrip()), line.strip()) for line in text.splitlines() if line]
    value, rest = _block(lines, 0)
    assert not rest, f"not understood: {rest[0][1]}"
    return value


def _block(lines: Sequence[tuple[int, str]], indent: int) -> tuple[Any, Sequence[tuple[int, str]]]:
    mapping: dict[str, Any] = {}
    items: list[Any] = []
    while lines and lines[0][0] == indent:
        (_, line), lines = lines[0], lines[1:]
        if line.startswith("- "):
            items.append(_scalar(line[2:]))
            continue
        key, _, value = line.partition(":")
        assert key not in mapping, f"twice: {key}"
        if value:
            mapping[key] = _scalar(value.strip())
        else:
            mapping[key], lines = _block(lines, indent + 2)
    assert not (mapping and items)
    return (mapping or items), lines


def _scalar(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if text.startswith('"'):
        return text.strip('"')
    assert not re.search(r"^[\[{&*!|>'%@`]|: | #", text), f"needs quotes: {text}"
    return int(text) if text.isdecimal() else text


MANIFEST = read_yaml((ROOT / "manifest.yaml").read_text(encoding="utf-8"))
SCOPES: list[str] = MANIFEST["oauth_config"]["scopes"]["bot"]
EVENTS: list[str] = MANIFEST["settings"]["event_subscriptions"]["bot_events"]


def test_texts_keep_to_their_limits() -> None:
    about, bot = MANIFEST["display_information"], MANIFEST["features"]["bot_user"]
    assert MANIFEST["_metadata"]["major_version"] in (1, 2)
    assert 1 <= len(about["name"]) <= 35
    assert 1 <= len(about["description"]) <= 140
    assert re.fullmatch(r"#[0-9a-f]{6}", about["background_color"])
    assert 1 <= len(bot["display_name"]) <= 80


def test_lists_keep_to_their_limits_and_name_nothing_twice() -> None:
    assert sorted(set(SCOPES)) == SCOPES
    assert sorted(set(EVENTS)) == EVENTS
    assert len(SCOPES) <= 255
    assert len(EVENTS) <= 100


def test_the_scopes_are_those_of_the_methods_and_events_and_no_other() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "bridge/slack").glob("*.py"))
    assert set(re.findall(rf'"((?:{FAMILIES})\.[a-zA-Z.]+)"', source)) == METHOD_SCOPES.keys()
    needed: set[str] = set().union(*METHOD_SCOPES.values(), *(EVENT_SCOPES[e] for e in EVENTS))
    assert set(SCOPES) == needed


def test_clicks_come_without_a_request_url() -> None:
    settings = MANIFEST["settings"]
    assert settings["socket_mode_enabled"] is True
    assert settings["interactivity"] == {"is_enabled": True}


def test_people_can_write_to_the_bot_directly() -> None:
    home = MANIFEST["features"]["app_home"]
    assert home["messages_tab_enabled"] is True
    assert home["messages_tab_read_only_enabled"] is False


def test_what_the_service_cannot_do_yet_is_off() -> None:
    assert MANIFEST["settings"]["org_deploy_enabled"] is False
    assert MANIFEST["settings"]["token_rotation_enabled"] is False


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_means_something_to_the_service(name: str) -> None:
    view = Viewpoint(Identity(Workspace("T1"), "UBOT"), lambda _: True)
    taken = translate({"type": "event_callback", "event": _event(name)}, view)
    assert not isinstance(taken, Ignored), taken
    assert isinstance(taken, Incoming) == name.startswith("message.")


def _event(name: str) -> dict[str, Any]:
    kind, _, place = name.partition(".")
    match kind:
        case "message":
            channel = {"channel": "D01" if place == "im" else "C01"}
            said = {"user": "U1", "ts": "1700000000.000100", "text": "Help"}
            return {"type": kind, "channel_type": CHANNEL_TYPES[place], **channel, **said}
        case "channel_rename" | "group_rename":
            return {"type": kind, "channel": {"id": "C01", "name": "help"}}
        case "channel_id_changed":
            return {"type": kind, "old_channel_id": "G01", "new_channel_id": "C01"}
        case _:
            return {"type": kind, "channel": "C01", "user": "UBOT"}
