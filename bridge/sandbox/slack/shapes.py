"""The JSON of users, channels, messages and files, as Slack's Web API and events show them
(key lists: slackapi/java-slack-sdk json-logs)."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

from bridge.sandbox.slack.model import Channel, File, Installation, Json, Message, User, UserGroup
from bridge.sandbox.slack.world import World

IMAGE_SIZES = (24, 32, 48, 72, 192, 512)


def user(world: World, person: User, viewer_team: str, *, email: bool, locale: bool) -> Json:
    """A user object. Strangers (another organisation's people) come without e-mail or locale,
    with `is_stranger` (docs: Slack Connect)."""
    stranger = person.team != viewer_team
    shape: Json = {
        "id": person.id,
        "team_id": person.team,
        "name": person.name,
        "deleted": False,
        "color": "9f69e7",
        "real_name": person.real_name,
        "tz": person.tz,
        **_time_zone(person.tz),
        "profile": _profile(world, person, email=email and not stranger),
        "is_admin": False,
        "is_owner": False,
        "is_primary_owner": False,
        "is_restricted": person.is_restricted,
        "is_ultra_restricted": person.is_ultra_restricted,
        "is_bot": person.is_bot,
        "is_app_user": False,
        "updated": person.updated,
        "who_can_share_contact_card": "EVERYONE",
    }
    if stranger:
        shape["is_stranger"] = True
    else:
        shape["is_email_confirmed"] = not person.is_bot
        if locale:
            shape["locale"] = person.locale
    return shape


def _profile(world: World, person: User, *, email: bool) -> Json:
    first, _, last = person.real_name.partition(" ")
    profile: Json = {
        "title": "",
        "phone": "",
        "skype": "",
        "real_name": person.real_name,
        "real_name_normalized": person.real_name,
        "display_name": person.display_name,
        "display_name_normalized": person.display_name,
        "status_text": "",
        "status_emoji": "",
        "status_expiration": 0,
        "avatar_hash": f"g{person.id.lower()}",
        "first_name": first,
        "last_name": last,
        **{f"image_{size}": f"https://avatars.invalid/{person.id}/{size}" for size in IMAGE_SIZES},
        "team": person.team,
    }
    installation = world.installations.get(person.team)
    if installation is not None and installation.bot_user == person.id:
        profile |= {
            "api_app_id": world.app.id,
            "bot_id": installation.bot_id,
            "always_active": True,
        }
    if email and person.email:
        profile["email"] = person.email
    return profile


def _time_zone(name: str) -> Json:
    try:
        now = dt.datetime.now(zoneinfo.ZoneInfo(name))
    except zoneinfo.ZoneInfoNotFoundError:
        return {"tz_label": name, "tz_offset": 0}
    offset = now.utcoffset() or dt.timedelta()
    return {"tz_label": now.tzname() or name, "tz_offset": int(offset.total_seconds())}


def channel(
    shown: Channel, installation: Installation, *, num_members: bool = False, locale: bool = False
) -> Json:
    """A conversation object, as the bot sees it."""
    if shown.kind == "im":
        return _direct(shown, installation, locale=locale)
    shape: Json = {
        "id": shown.id,
        "name": shown.name,
        "is_channel": shown.kind == "channel",
        "is_group": shown.kind == "group",
        "is_im": False,
        "is_mpim": shown.kind == "mpim",
        "is_private": shown.kind != "channel",
        "created": shown.created,
        "is_archived": shown.archived,
        "is_general": shown.is_general,
        "unlinked": 0,
        "name_normalized": shown.name,
        "is_shared": shown.ext_shared,
        "is_org_shared": False,
        "is_pending_ext_shared": False,
        "pending_shared": [],
        "context_team_id": installation.team,
        "updated": shown.created * 1000,
        "creator": shown.creator,
        "is_ext_shared": shown.ext_shared,
        "shared_team_ids": list(shown.connected_teams),
        "pending_connected_team_ids": [],
        "is_member": installation.bot_user in shown.members,
        "topic": dict(shown.topic),
        "purpose": dict(shown.purpose),
        "previous_names": [],
    }
    if shown.ext_shared:
        shape |= {
            "conversation_host_id": shown.team,
            "internal_team_ids": [shown.team],
            "connected_team_ids": [t for t in shown.connected_teams if t != installation.team],
        }
    if num_members:
        shape["num_members"] = len(shown.members)
    if locale:
        shape["locale"] = "en-US"
    return shape


def _direct(shown: Channel, installation: Installation, *, locale: bool) -> Json:
    other = next((m for m in shown.members if m != installation.bot_user), installation.bot_user)
    shape: Json = {
        "id": shown.id,
        "created": shown.created,
        "is_archived": False,
        "is_im": True,
        "is_org_shared": False,
        "context_team_id": installation.team,
        "updated": shown.created * 1000,
        "user": other,
        "is_user_deleted": False,
        "priority": 0,
    }
    if locale:
        shape["locale"] = "en-US"
    return shape


def bot_profile(world: World, installation: Installation) -> Json:
    """The card of the app that a modern bot's message carries."""
    return {
        "id": installation.bot_id,
        "app_id": world.app.id,
        "name": world.app.name,
        "icons": _icons(),
        "deleted": False,
        "updated": 1700000000,
        "team_id": installation.team,
    }


def bot(world: World, installation: Installation) -> Json:
    """What bots.info shows."""
    shape = bot_profile(world, installation) | {"user_id": installation.bot_user}
    return {key: value for key, value in shape.items() if key != "team_id"}


def _icons() -> Json:
    return {f"image_{size}": f"https://avatars.invalid/app/{size}" for size in (36, 48, 72)}


def message(world: World, stored: Message, *, metadata: bool = False) -> Json:
    """A message as history, replies and the answer of chat.postMessage show it."""
    shape = dict(stored.body)
    channel = world.channels[stored.channel]
    replies = channel.threads.get(stored.ts, [])
    if replies:
        people = list(dict.fromkeys(reply.author for reply in replies if reply.author))
        shape |= {
            "thread_ts": stored.ts,
            "reply_count": len(replies),
            "reply_users_count": len(people),
            "latest_reply": replies[-1].ts,
            "reply_users": people[:5],
            "is_locked": False,
            "subscribed": False,
        }
    if metadata and stored.metadata is not None:
        shape["metadata"] = stored.metadata
    if "files" in shape:
        shape["files"] = [file(world, world.files[key]) for key in shape["files"]]
    return shape


def file(world: World, stored: File) -> Json:
    """A hosted file's object."""
    home = f"{world.base_url}/files-pri/{stored.user_team}-{stored.id}"
    person = world.users.get(stored.user)
    handle = person.name if person else stored.user
    link = f"{world.base_url}/files/{stored.user}/{stored.id}/{stored.name}"
    shape: Json = {
        "id": stored.id,
        "created": stored.created,
        "timestamp": stored.created,
        "name": stored.name,
        "title": stored.title,
        "mimetype": stored.mimetype,
        "filetype": stored.filetype,
        "pretty_type": stored.filetype.upper(),
        "user": stored.user,
        "user_team": stored.user_team,
        "editable": False,
        "size": len(stored.content),
        "mode": "hosted",
        "is_external": False,
        "external_type": "",
        "is_public": any(world.channels[c].kind == "channel" for c in stored.shares),
        "public_url_shared": False,
        "display_as_bot": False,
        "username": "",
        "url_private": f"{home}/{stored.name}",
        "url_private_download": f"{home}/download/{stored.name}",
        "permalink": link,
        "permalink_public": f"{world.base_url}/files-public/{handle}-{stored.id}",
        "media_display_type": "unknown",
        "has_rich_preview": False,
        "file_access": "visible",
    }
    if stored.alt_text:
        shape["alt_txt"] = stored.alt_text
    return shape


def shares(world: World, stored: File) -> Json:
    """Where a file is shown, by openness and channel (docs: files.info)."""
    out: Json = {}
    for channel_id, stamps in stored.shares.items():
        shown = world.channels[channel_id]
        openness = "public" if shown.kind == "channel" else "private"
        entries: list[dict[str, Any]] = []
        for ts in stamps:
            entry = {"ts": ts, "channel_name": shown.name, "team_id": shown.team}
            sharing = shown.messages.get(ts)
            if sharing is not None and sharing.thread_ts is not None:
                entry["thread_ts"] = sharing.thread_ts
            entries.append({"reply_users": [], "reply_users_count": 0, "reply_count": 0, **entry})
        out.setdefault(openness, {})[channel_id] = entries
    return out


def group(shown: UserGroup, *, users: bool) -> Json:
    """A user group; its members only on request."""
    shape: Json = {
        "id": shown.id,
        "team_id": shown.team,
        "is_usergroup": True,
        "is_subteam": True,
        "name": shown.name,
        "description": "",
        "handle": shown.handle,
        "is_external": False,
        "date_create": shown.created,
        "date_update": shown.created,
        "date_delete": 0,
        "auto_type": None,
        "created_by": shown.users[0] if shown.users else "",
        "updated_by": shown.users[0] if shown.users else "",
        "deleted_by": None,
        "user_count": len(shown.users),
    }
    if users:
        shape["users"] = list(shown.users)
    return shape
