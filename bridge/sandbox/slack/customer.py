"""The customer's API under `/sandbox/`: what people do in Slack, for tests and for the page.
`docs/sandbox-slack.md` describes every route."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from bridge.sandbox.slack import shapes
from bridge.sandbox.slack.customer_http import Answering, Refused, answering, body_of, wanted
from bridge.sandbox.slack.customer_view import CustomerView
from bridge.sandbox.slack.interactions import Interactions
from bridge.sandbox.slack.methods_files import new_file
from bridge.sandbox.slack.model import Channel, File, Json, Message, User, UserGroup
from bridge.sandbox.slack.workspace import Workspace


class Customer:
    """The people of the workspace, moved by a test or a page."""

    def __init__(self, workspace: Workspace, interactions: Interactions) -> None:
        self._workspace = workspace
        self._world = workspace.world
        self._interactions = interactions
        self._view = CustomerView(workspace.world)

    def routes(self) -> Iterable[web.RouteDef]:
        """Every route of this part."""
        deeds: dict[str, Answering] = {
            "users": self.add_user,
            "channels": self.add_channel,
            "dms": self.open_dm,
            "usergroups": self.add_group,
            "messages": self.say,
            "clicks": self.click,
            "shortcuts": self.shortcut,
            "commands": self.command,
            "view_submissions": self.submit,
            "reactions": self.react,
            "join": self.join,
            "leave": self.leave,
            "topic": self.topic,
            "unfurl": self.unfurl,
            "archive": self.archive,
            "remove_bot": self.remove_bot,
        }
        return [
            *(web.post(f"/sandbox/{name}", answering(deed)) for name, deed in deeds.items()),
            web.get("/sandbox/info", answering(self.info)),
            web.patch("/sandbox/messages", answering(self.edit)),
            web.delete("/sandbox/messages", answering(self.delete)),
            web.get("/sandbox/channels/{channel}/messages", answering(self.read)),
            web.get("/sandbox/views", answering(self.views)),
        ]

    # Reading

    async def info(self, _request: web.Request) -> Json:
        """Tokens, ids, people, channels."""
        world = self._world
        installation = next(iter(world.installations.values()))
        return {
            "url": world.base_url,
            "api_url": f"{world.base_url}/api/",
            "bot_token": installation.token,
            "app_token": world.app.app_token,
            "signing_secret": world.app.signing_secret,
            "app_id": world.app.id,
            "bot_id": installation.bot_id,
            "bot_user": installation.bot_user,
            "team": installation.team,
            "teams": [{"id": t.id, "name": t.name} for t in world.teams.values()],
            "users": [_person(user) for user in world.users.values()],
            "channels": [self._room(channel) for channel in world.channels.values()],
            "usergroups": [shapes.group(g, users=True) for g in world.groups.values()],
        }

    async def read(self, request: web.Request) -> Json:
        """A channel as a person sees it."""
        channel = self._channel(request.match_info["channel"])
        viewer = request.query.get("viewer")
        viewer_id = None if viewer is None else self._user(viewer).id
        return self._view.channel(channel, request.query.get("thread_ts"), viewer_id)

    async def views(self, _request: web.Request) -> Json:
        """Open modals and published homes."""
        return {"views": list(self._world.views.values()), "homes": self._world.homes}

    # People and places

    async def add_user(self, request: web.Request) -> Json:
        """A new person, in the channels named."""
        body = await body_of(request)
        team = str(body.get("team") or next(iter(self._world.installations)))
        if team not in self._world.teams:
            raise Refused("team_not_found", 404)
        real_name = str(body.get("real_name") or wanted(body, "name"))
        user = self._world.add_user(team, real_name, str(body.get("name") or ""))
        for name in ("email", "tz", "locale", "display_name"):
            if name in body:
                setattr(user, name, body[name])
        for flag in ("is_bot", "is_restricted", "is_ultra_restricted"):
            setattr(user, flag, bool(body.get(flag)))
        for channel in [self._channel(key) for key in body.get("channels") or []]:
            channel.members.append(user.id)
        return _person(user)

    async def add_channel(self, request: web.Request) -> Json:
        """A new channel; the bot is in it unless told otherwise."""
        body = await body_of(request)
        installation = next(iter(self._world.installations.values()))
        members = [self._user(key).id for key in body.get("members") or []]
        people = [u.id for u in self._world.users.values() if u.team == installation.team]
        kind = "group" if body.get("private") else "channel"
        creator = next(iter(members), None) or next(
            key for key in people if key != installation.bot_user
        )
        name = str(wanted(body, "name")).removeprefix("#")
        if self._world.channel(name) is not None:
            raise Refused("name_taken")
        channel = self._world.add_channel(name, kind, installation.team, creator)
        channel.members = members or [creator]
        if body.get("bot_member", True):
            channel.members.append(installation.bot_user)
        if body.get("ext_shared"):
            teams = [t for t in self._world.teams if t != installation.team]
            channel.connected_teams += teams
        return self._room(channel)

    async def open_dm(self, request: web.Request) -> Json:
        """The direct conversation of a person with the bot."""
        user = self._user(wanted(await body_of(request), "user"))
        installation = next(iter(self._world.installations.values()))
        return self._room(self._world.dm(installation, user.id))

    async def add_group(self, request: web.Request) -> Json:
        """A user group."""
        body = await body_of(request)
        handle = str(wanted(body, "handle")).removeprefix("@")
        users = [self._user(key).id for key in body.get("users") or []]
        team = next(iter(self._world.installations))
        group = UserGroup(self._world.mint("S"), team, handle, handle, users, 1700000000)
        self._world.groups[group.id] = group
        return shapes.group(group, users=True)

    # Messages

    async def say(self, request: web.Request) -> Json:
        """A person types and sends."""
        body = await body_of(request)
        channel, user = self._member(body)
        if channel.archived:
            raise Refused("is_archived")
        typed = str(body.get("text") or "")
        if body.get("mention_bot"):
            typed = f"@bot {typed}"
        files = [self._attached(entry, user) for entry in body.get("files") or []]
        if not typed.strip() and not files:
            raise Refused("missing: text")
        thread_ts = body.get("thread_ts")
        if thread_ts is not None and str(thread_ts) not in channel.messages:
            raise Refused("thread_not_found", 404)
        if body.get("subtype") not in (None, "me_message"):
            raise Refused("subtype: only me_message; use events for others")
        message = self._workspace.say(
            channel,
            user,
            typed,
            thread_ts=None if thread_ts is None else str(thread_ts),
            broadcast=bool(body.get("broadcast")),
            subtype=body.get("subtype"),
            files=files,
            deliver=bool(body.get("deliver", True)),
        )
        return self._stored(message)

    async def edit(self, request: web.Request) -> Json:
        """The author edits a message."""
        body = await body_of(request)
        message = self._message(body)
        self._workspace.retype(message, str(wanted(body, "text")))
        return self._stored(message)

    async def delete(self, request: web.Request) -> Json:
        """The author deletes a message."""
        self._workspace.delete(self._message(await body_of(request)))
        return {}

    async def unfurl(self, request: web.Request) -> Json:
        """Slack adds a link preview."""
        body = await body_of(request)
        message = self._message(body)
        self._workspace.unfurl(message, str(body.get("url") or "https://example.com/"))
        return self._stored(message)

    async def react(self, request: web.Request) -> Json:
        """Add a reaction, or take it back with `remove`."""
        body = await body_of(request)
        message, user = self._message(body), self._user(wanted(body, "user"))
        name = str(wanted(body, "name")).strip(":")
        changed = self._workspace.react(message, user.id, name, remove=bool(body.get("remove")))
        return {"changed": changed}

    async def click(self, request: web.Request) -> Json:
        """Use a button or a select of a message."""
        body = await body_of(request)
        channel, user = self._channel(wanted(body, "channel")), self._user(wanted(body, "user"))
        ts = str(wanted(body, "ts"))
        ephemeral = (m for m in channel.ephemerals if m.ts == ts and m.viewer == user.id)
        message = channel.messages.get(ts) or next(ephemeral, None)
        if message is None:
            raise Refused("message_not_found", 404)
        action_id = str(wanted(body, "action_id"))
        deliver = bool(body.get("deliver", True))
        payload = self._interactions.click(
            message, user, action_id, body.get("value"), deliver=deliver
        )
        if payload is None:
            raise Refused("action_not_found", 404)
        return payload

    async def shortcut(self, request: web.Request) -> Json:
        """Use a message shortcut of the app."""
        body = await body_of(request)
        message, user = self._message(body), self._user(wanted(body, "user"))
        return self._interactions.shortcut(message, user, str(wanted(body, "callback_id")))

    async def command(self, request: web.Request) -> Json:
        """Type a slash command of the app."""
        body = await body_of(request)
        channel, user = self._member(body)
        name = "/" + str(wanted(body, "command")).removeprefix("/")
        return self._interactions.command(channel, user, name, str(body.get("text") or ""))

    async def submit(self, request: web.Request) -> Json:
        """Submit an open modal."""
        body = await body_of(request)
        view = self._world.views.get(str(wanted(body, "view_id")))
        if view is None:
            raise Refused("view_not_found", 404)
        user = self._user(wanted(body, "user"))
        return self._interactions.submit(view, user, body.get("values") or {})

    # Channels

    async def join(self, request: web.Request) -> Json:
        """Someone joins, the bot too (`user: "bot"`)."""
        body = await body_of(request)
        channel, user = self._channel(wanted(body, "channel")), self._user(wanted(body, "user"))
        inviter = None if "inviter" not in body else self._user(body["inviter"]).id
        self._workspace.join(channel, user, inviter)
        return self._room(channel)

    async def leave(self, request: web.Request) -> Json:
        """Someone leaves."""
        channel, user = self._member(await body_of(request))
        self._workspace.leave(channel, user)
        return self._room(channel)

    async def topic(self, request: web.Request) -> Json:
        """Someone sets the topic."""
        body = await body_of(request)
        channel, user = self._member(body)
        self._workspace.set_topic(channel, user, str(wanted(body, "topic")))
        return self._room(channel)

    async def archive(self, request: web.Request) -> Json:
        """Archive, or with `archived: false` the opposite."""
        body = await body_of(request)
        channel = self._channel(wanted(body, "channel"))
        owner = self._world.users[channel.creator]
        self._workspace.archive(channel, owner, archived=bool(body.get("archived", True)))
        return self._room(channel)

    async def remove_bot(self, request: web.Request) -> Json:
        """Somebody takes the bot out of a channel."""
        channel = self._channel(wanted(await body_of(request), "channel"))
        bot = self._world.installations[channel.team].bot_user
        self._workspace.leave(channel, self._world.users[bot], actor=channel.creator)
        return self._room(channel)

    # Parts

    def _channel(self, key: Any) -> Channel:
        channel = self._world.channel(str(key))
        if channel is None:
            raise Refused("channel_not_found", 404)
        return channel

    def _user(self, key: Any) -> User:
        installation = next(iter(self._world.installations.values()))
        name = installation.bot_user if key == "bot" else str(key)
        user = self._world.user(name)
        if user is None:
            raise Refused("user_not_found", 404)
        return user

    def _member(self, body: Json) -> tuple[Channel, User]:
        channel, user = self._channel(wanted(body, "channel")), self._user(wanted(body, "user"))
        if user.id not in channel.members:
            raise Refused("not_in_channel", 403)
        return channel, user

    def _message(self, body: Json) -> Message:
        channel = self._channel(wanted(body, "channel"))
        message = channel.messages.get(str(wanted(body, "ts")))
        if message is None:
            raise Refused("message_not_found", 404)
        return message

    def _attached(self, entry: Json, user: User) -> File:
        try:
            content = base64.b64decode(str(entry.get("content_base64", "")), validate=True)
        except binascii.Error:
            raise Refused("content_base64 is not base64") from None
        name, mimetype = str(wanted(entry, "name")), str(entry.get("mimetype") or "")
        file = new_file(
            self._workspace,
            name,
            mimetype=mimetype,
            content=content,
            user=user.id,
            team=user.team,
        )
        file.complete = True
        return file

    def _stored(self, message: Message) -> Json:
        return shapes.message(self._world, message) | {"channel": message.channel}

    def _room(self, channel: Channel) -> Json:
        return {
            "id": channel.id,
            "name": channel.name,
            "kind": channel.kind,
            "members": list(channel.members),
            "ext_shared": channel.ext_shared,
            "archived": channel.archived,
        }


def _person(user: User) -> Json:
    return {
        "id": user.id,
        "team": user.team,
        "name": user.name,
        "real_name": user.real_name,
        "display_name": user.display_name,
        "email": user.email,
        "tz": user.tz,
        "locale": user.locale,
        "is_bot": user.is_bot,
    }
