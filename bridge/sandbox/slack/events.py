"""Inner events: what an app is told of each thing that happens (docs: Events API reference; which
keys each kind carries: slackapi/java-slack-sdk json-logs)."""

from __future__ import annotations

from bridge.sandbox.slack import shapes
from bridge.sandbox.slack.model import Channel, File, Json, Message
from bridge.sandbox.slack.world import World

_AUTHOR = {"type", "subtype", "user", "text", "ts", "blocks", "thread_ts", "attachments"}
_BOT = {"bot_id", "app_id", "bot_profile"}
_OUTSIDE = {"user_team", "source_team", "user_profile"}
_KEYS: dict[str | None, set[str]] = {
    None: _AUTHOR | _BOT | _OUTSIDE | {"client_msg_id", "team", "parent_user_id", "edited"},
    "file_share": _AUTHOR
    | _BOT
    | _OUTSIDE
    | {"files", "upload", "display_as_bot", "parent_user_id"},
    "thread_broadcast": _AUTHOR | _BOT | _OUTSIDE | {"client_msg_id", "root"},
    "bot_message": _AUTHOR - {"user"} | {"bot_id", "username", "icons"},
    "me_message": {"type", "subtype", "user", "text", "ts"},
    "channel_join": {"type", "subtype", "team", "user", "inviter", "text", "ts"},
    "channel_leave": {"type", "subtype", "team", "user", "text", "ts"},
    "channel_topic": {"type", "subtype", "user", "text", "topic", "ts"},
}


def posted(world: World, message: Message, *, stubs: bool) -> Json:
    """The `message` event of a new message. `stubs`: an outsider's file comes as a
    `check_file_info` stub (docs: Slack Connect)."""
    channel = world.channels[message.channel]
    keys = _KEYS.get(message.subtype, _KEYS[None])
    event = {key: value for key, value in message.body.items() if key in keys}
    if message.subtype is None and message.metadata is not None:
        event["metadata"] = message.metadata
    if "files" in event:
        event["files"] = [
            _file(world, world.files[key], channel, stubs=stubs) for key in event["files"]
        ]
    root = channel.messages.get(message.root_ts)
    if message.subtype == "thread_broadcast" and root is not None:
        event["root"] = shapes.message(world, root)
    return event | {
        "channel": channel.id,
        "event_ts": message.ts,
        "channel_type": channel.kind,
    }


def _file(world: World, file: File, channel: Channel, *, stubs: bool) -> Json:
    if stubs and channel.ext_shared and file.user_team != channel.team:
        return {
            "id": file.id,
            "created": file.created,
            "timestamp": file.created,
            "mode": "file_access",
            "file_access": "check_file_info",
        }
    return shapes.file(world, file)


def mentioned(event: Json) -> Json:
    """The `app_mention` twin of a `message` event: the same message, without channel_type."""
    dropped = ("channel_type", "parent_user_id", "metadata", "root")
    return {key: value for key, value in event.items() if key not in dropped} | {
        "type": "app_mention"
    }


def changed(world: World, message: Message, previous: Json, event_ts: str) -> Json:
    """`message_changed`: an edit, an unfurl, or a root that became a tombstone."""
    channel = world.channels[message.channel]
    return {
        "type": "message",
        "subtype": "message_changed",
        "message": _nested(world, message),
        "previous_message": previous,
        "channel": channel.id,
        "hidden": True,
        "ts": event_ts,
        "event_ts": event_ts,
        "channel_type": channel.kind,
    }


def deleted(world: World, message: Message, previous: Json, event_ts: str) -> Json:
    """`message_deleted`."""
    channel = world.channels[message.channel]
    return {
        "type": "message",
        "subtype": "message_deleted",
        "previous_message": previous,
        "channel": channel.id,
        "hidden": True,
        "deleted_ts": message.ts,
        "event_ts": event_ts,
        "ts": event_ts,
        "channel_type": channel.kind,
    }


def _nested(world: World, message: Message) -> Json:
    """A message inside another event."""
    shape = shapes.message(world, message)
    team = shape.get("team")
    if team and message.subtype not in ("tombstone", "bot_message"):
        shape |= {"source_team": team, "user_team": team}
    return shape


def snapshot(world: World, message: Message) -> Json:
    """A message as `previous_message` will show it: taken before the change."""
    return _nested(world, message)


def joined(channel: Channel, user: str, team: str, inviter: str | None, event_ts: str) -> Json:
    """`member_joined_channel`; `channel_type` is C or G here, unlike in messages."""
    event: Json = {
        "type": "member_joined_channel",
        "user": user,
        "channel": channel.id,
        "channel_type": "C" if channel.kind == "channel" else "G",
        "team": team,
        "event_ts": event_ts,
    }
    if inviter is not None:
        event["inviter"] = inviter
    return event


def left(channel: Channel, user: str, team: str, event_ts: str) -> Json:
    """`member_left_channel`."""
    return {
        "type": "member_left_channel",
        "user": user,
        "channel": channel.id,
        "channel_type": "C" if channel.kind == "channel" else "G",
        "team": team,
        "event_ts": event_ts,
    }


def bot_left(channel: Channel, actor: str, event_ts: str) -> Json:
    """`channel_left` / `group_left`: the bot itself was removed."""
    kind = "channel_left" if channel.kind == "channel" else "group_left"
    return {"type": kind, "channel": channel.id, "actor_id": actor, "event_ts": event_ts}


def archived(channel: Channel, user: str, event_ts: str) -> Json:
    """`channel_archive`/`_unarchive` and their `group_` twins, by the channel's state."""
    prefix = "channel" if channel.kind == "channel" else "group"
    action = "archive" if channel.archived else "unarchive"
    event: Json = {
        "type": f"{prefix}_{action}",
        "channel": channel.id,
        "user": user,
        "event_ts": event_ts,
    }
    if prefix == "channel" and channel.archived:
        event["is_moved"] = 0
    return event


def reaction(kind: str, user: str, message: Message, name: str, event_ts: str) -> Json:
    """`reaction_added` or `reaction_removed`."""
    event: Json = {
        "type": kind,
        "user": user,
        "reaction": name,
        "item": {"type": "message", "channel": message.channel, "ts": message.ts},
        "event_ts": event_ts,
    }
    if message.body.get("user"):
        event["item_user"] = message.body["user"]
    return event


def file_shared(file: File, channel: str, event_ts: str) -> Json:
    """`file_shared`: ids only."""
    return {
        "type": "file_shared",
        "file_id": file.id,
        "user_id": file.user,
        "file": {"id": file.id},
        "channel_id": channel,
        "event_ts": event_ts,
    }


def subscription(event: Json) -> str:
    """The name an app subscribes to for getting this event."""
    if event.get("type") != "message":
        return str(event.get("type"))
    return {
        "channel": "message.channels",
        "group": "message.groups",
        "im": "message.im",
        "mpim": "message.mpim",
    }.get(str(event.get("channel_type")), "message.channels")
