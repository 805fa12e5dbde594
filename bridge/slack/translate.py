"""Slack's events -> lane events. Pure: what it decides follows from the event and the `Viewpoint`.

Sources: Events API reference (message, its subtypes, app_mention), interaction payloads
reference (block_actions), and key shapes recorded in slackapi/java-slack-sdk json-logs. Events are
hostile input: whatever they hold, nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bridge.core.events import AskedToEnd, AskedToReopen, Incoming, LaneEvent, Wrote
from bridge.core.model import ConversationId, CustomerMessage, Place
from bridge.slack.markers import has, without_leading
from bridge.slack.model import Identity, Json
from bridge.slack.richtext import message_text

END_BUTTON = "bridge_end"
REOPEN_BUTTON = "bridge_reopen"

# A file_share or a /me is a message like any other; every subtype that is not here is not one.
_CARRIED = frozenset({None, "file_share", "thread_broadcast", "me_message"})
_CHANNEL = re.compile(r"[CDG][A-Z0-9]{1,31}\Z")
_USER = re.compile(r"[UW][A-Z0-9]{1,31}\Z")
_TS = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}\Z", re.ASCII)
_AROUND_END = " \n*_~`.!"
_GONE = frozenset(
    f"{prefix}_{what}" for prefix in ("channel", "group") for what in ("left", "archive", "deleted")
)


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """What the meaning of an event depends on, beside the event."""

    identity: Identity
    is_support: Callable[[str], bool]
    """Whether every message in a channel is for us."""
    dm_threads: bool = False


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing of ours. `reason` is one of a closed set: it labels a metric."""

    reason: str


@dataclass(frozen=True, slots=True)
class ChannelSeen:
    """The bot joined a channel, or it was renamed; an empty name is to be looked up."""

    channel: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ChannelLost:
    """The bot was removed, or the channel archived or deleted."""

    channel: str


Translated = Incoming | Ignored | ChannelSeen | ChannelLost


def translate(body: object, view: Viewpoint) -> Translated:
    """What a request of Slack's (`event_callback`, `block_actions`, …) means to us."""
    if not isinstance(body, dict):
        return Ignored("malformed")
    match body.get("type"):
        case "event_callback":
            event = body.get("event")
            if not isinstance(event, dict):
                return Ignored("malformed")
            if not _ours(body, view.identity):
                return Ignored("other_workspace")
            return _event(event, view)
        case "block_actions":
            return _click(body, view.identity)
        case "app_rate_limited":
            return Ignored("rate_limited")
        case _:
            return Ignored("type")


def channel_of(body: object) -> str:
    """The channel whose name must be known to translate this, or empty."""
    event = body.get("event") if isinstance(body, dict) else None
    if not isinstance(event, dict) or event.get("type") != "message" or _direct(event):
        return ""
    return _matching(_CHANNEL, event.get("channel"))


def _ours(body: Json, identity: Identity) -> bool:
    """`authorizations` shows one of the installations that an event is visible to; in a channel
    shared between organisations it may be somebody else's, and the event ours all the same."""
    shown = body.get("authorizations")
    if not isinstance(shown, list) or body.get("is_ext_shared_channel"):
        return True
    entries = [entry for entry in shown if isinstance(entry, dict)]
    workspace = identity.workspace
    return not entries or any(
        entry.get("team_id") == workspace.team_id
        or (
            entry.get("is_enterprise_install")
            and entry.get("enterprise_id") == workspace.enterprise_id
        )
        for entry in entries
    )


def _event(event: Json, view: Viewpoint) -> Translated:
    kind = event.get("type")
    if kind == "message":
        return message(event, view)
    if kind == "app_mention":
        return Ignored("app_mention")  # its `message` twin says the same
    if not isinstance(kind, str):
        return Ignored("malformed")
    return _channel_event(kind, event, view.identity)


def _channel_event(kind: str, event: Json, identity: Identity) -> Translated:
    channel = event.get("channel")
    if kind in ("channel_rename", "group_rename") and isinstance(channel, dict):
        return _seen(channel.get("id"), channel.get("name"))
    if kind == "member_joined_channel" and event.get("user") == identity.bot_user_id:
        return _seen(channel, "")
    if kind == "channel_id_changed":
        return _seen(event.get("new_channel_id"), "")
    if kind in _GONE and isinstance(channel, str):
        return ChannelLost(channel)
    return Ignored("type")


def _seen(channel: object, name: object) -> Translated:
    if not (found := _matching(_CHANNEL, channel)):
        return Ignored("malformed")
    return ChannelSeen(found, name if isinstance(name, str) else "")


# --- messages ------------------------------------------------------------------------------------


def message(event: Json, view: Viewpoint) -> Incoming | Ignored:
    """What a `message` event (or a message as conversations.replies lists it, its `channel`
    added) is: an event of some conversation, or nothing to us."""
    if reason := _not_by_a_person(event, view.identity):
        return Ignored(reason)
    channel, ts = _matching(_CHANNEL, event.get("channel")), _matching(_TS, event.get("ts"))
    user = _matching(_USER, event.get("user"))
    raw_thread = event.get("thread_ts")
    thread_ts = _matching(_TS, raw_thread)
    if not (channel and ts and user) or (raw_thread and not thread_ts):
        return Ignored("malformed")
    bot = view.identity.bot_user_id
    text = message_text(event)
    written = CustomerMessage(
        id=ts,
        ts=ts,
        user_id=user,
        text=without_leading(text, "@", bot).strip(),
        files=_count(event.get("files")),
        mention=has(text, "@", bot),
    )
    if not (written.text or written.files or written.mention):
        return Ignored("empty")
    where = _conversation(event, view, written, thread_ts)
    if where is None:
        return Ignored("not_for_us")
    thread, opens = where
    said: LaneEvent = Wrote(written)
    if written.mention and not written.files and _says_end(written.text):
        said, opens = AskedToEnd(ts, user, pressed=False), False
    conversation = ConversationId(Place(view.identity.workspace, channel), thread)
    return Incoming(conversation, said, _keys(channel, ts, event), opens)


def _says_end(text: str) -> bool:
    return text.strip(_AROUND_END).casefold() == "end"


def _not_by_a_person(event: Json, identity: Identity) -> str:
    """Why a message is not one that a person wrote just now, or empty."""
    subtype = event.get("subtype")
    if identity.wrote(event):
        return "own"
    if subtype == "bot_message" or event.get("bot_id") or event.get("bot_profile"):
        return "bot"
    if subtype in ("message_changed", "message_deleted"):
        return "edit"
    if not isinstance(subtype, str | None) or subtype not in _CARRIED or event.get("hidden"):
        return "subtype"
    return "no_author" if event.get("user") in ("USLACKBOT", None) else ""


def _conversation(
    event: Json, view: Viewpoint, written: CustomerMessage, thread_ts: str
) -> tuple[str, bool] | None:
    """The thread that a message belongs to, and whether it may open a conversation there."""
    reply = bool(thread_ts) and thread_ts != written.ts
    if _direct(event):
        return _direct_thread(event, view, written.ts, thread_ts if reply else ""), True
    # A reply can overtake its root, so in a support channel either may open the thread.
    if written.mention or view.is_support(str(event.get("channel"))):
        return thread_ts or written.ts, True
    return (thread_ts, False) if reply else None


def _direct_thread(event: Json, view: Viewpoint, ts: str, parent_ts: str) -> str:
    """A DM is one flat conversation, unless it is set to threads or is the DM of an agent or
    assistant, where every exchange is a thread (agents and assistants guide)."""
    threaded = view.dm_threads or any(
        event.get(key) for key in ("app_context", "assistant_thread", "assistant")
    )
    if not parent_ts:
        return ts if threaded else ""
    # Someone answers one of our flat posts in a thread: it is still the flat conversation. (What
    # stands under an agent's name has no user, so `parent_user_id` may name nobody.)
    if not threaded and event.get("parent_user_id") != event.get("user"):
        return ""
    return parent_ts


def _direct(event: Json) -> bool:
    kind = event.get("channel_type")
    if kind in ("im", "app_home"):
        return True
    return kind is None and str(event.get("channel")).startswith("D")


def _keys(channel: str, ts: str, event: Json) -> tuple[str, ...]:
    """One human gesture can come as two events with different `ts` and the same
    `client_msg_id`, and every event more than once."""
    client_id = event.get("client_msg_id")
    first = f"{channel}:{ts}:new"
    if isinstance(client_id, str) and 0 < len(client_id) <= 64:
        return first, f"{channel}:client:{client_id}"
    return (first,)


# --- clicks --------------------------------------------------------------------------------------


def _click(body: Json, identity: Identity) -> Incoming | Ignored:
    actions = body.get("actions")
    for action in actions if isinstance(actions, list) else []:
        if isinstance(action, dict) and action.get("action_id") in (END_BUTTON, REOPEN_BUTTON):
            return _pressed(body, action, identity)
    return Ignored("type")


def _pressed(body: Json, action: Json, identity: Identity) -> Incoming | Ignored:
    """`value` names the conversation; it must be the one that the button stands in."""
    container, user = _object(body, "container"), _object(body, "user").get("id")
    post = _object(body, "message")
    channel = _matching(_CHANNEL, container.get("channel_id") or _object(body, "channel").get("id"))
    post_ts = _matching(_TS, container.get("message_ts"))
    user_id = _matching(_USER, user)
    ts = _matching(_TS, action.get("action_ts"))
    conversation = _named(action.get("value"))
    if not (channel and post_ts and user_id and ts) or conversation is None:
        return Ignored("malformed")
    thread_ts = container.get("thread_ts") or post.get("thread_ts") or conversation.thread_ts
    if conversation.place != Place(identity.workspace, channel) or (
        not conversation.flat and thread_ts != conversation.thread_ts
    ):
        return Ignored("forged")
    ending = action.get("action_id") == END_BUTTON
    said = AskedToEnd(ts, user_id) if ending else AskedToReopen(ts, user_id)
    return Incoming(conversation, said, (f"{channel}:{post_ts}:{ts}:{user_id}",), opens=False)


def _named(value: object) -> ConversationId | None:
    try:
        return ConversationId.parse(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _matching(pattern: re.Pattern[str], value: object) -> str:
    return value if isinstance(value, str) and pattern.match(value) else ""


def _object(body: Json, key: str) -> Json:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
