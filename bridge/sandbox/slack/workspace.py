"""What people and the app do in the workspace: each deed changes the world and tells the app."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.sandbox.slack import events, shapes
from bridge.sandbox.slack.composer import Composer, escape
from bridge.sandbox.slack.model import Channel, File, Installation, Json, Message, User
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.world import World

TOMBSTONE = "This message was deleted."


class Emit(Protocol):
    """Tells the app of an inner event, if its bot is where it happened."""

    def __call__(self, event: Json, channel: Channel) -> None:
        """Send it."""


@dataclass(frozen=True)
class Draft:
    """A message of the app before it has a ts."""

    text: str = ""
    blocks: Sequence[Json] = ()
    attachments: Sequence[Json] = ()
    thread_ts: str | None = None
    broadcast: bool = False
    username: str | None = None
    icons: Json | None = None
    metadata: Json | None = None
    parse: str = "none"
    mrkdwn: bool = True
    link_names: bool = False


class Workspace:
    """The deeds."""

    def __init__(self, world: World, settings: Settings, emit: Emit) -> None:
        self.world = world
        self.settings = settings
        self._emit = emit

    # Messages

    def say(
        self,
        channel: Channel,
        user: User,
        typed: str,
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
        subtype: str | None = None,
        files: Sequence[File] = (),
        deliver: bool = True,
    ) -> Message:
        """A person sends a message. `deliver=False` keeps it from the app: it is in history
        only, as after an outage of event delivery."""
        composed = Composer(self.world, self._bot(channel)).compose(typed)
        body: Json = {"type": "message", "user": user.id, "text": composed.text}
        if files:
            subtype = "file_share"
            body |= {"files": [file.id for file in files], "upload": False, "display_as_bot": False}
        elif broadcast and thread_ts is not None:
            subtype = "thread_broadcast"
        if subtype is not None:
            body["subtype"] = subtype
        if subtype in (None, "thread_broadcast"):
            body["client_msg_id"] = str(uuid.uuid4())
        if subtype != "me_message":
            body["team"] = user.team
            if composed.blocks:
                body["blocks"] = composed.blocks
        if channel.ext_shared:
            body |= {"user_team": user.team, "source_team": user.team}
        message = self._put(channel, body, thread_ts)
        self._share(files, message)
        if deliver:
            self._announce(message)
        return message

    def post(self, installation: Installation, channel: Channel, draft: Draft) -> Message:
        """The app sends a message; it hears of it like of any other."""
        return self._app_message(installation, channel, draft, files=())

    def share(
        self, installation: Installation, channel: Channel, draft: Draft, files: Sequence[File]
    ) -> Message:
        """The app's uploaded files appear in a message."""
        message = self._app_message(installation, channel, draft, files=files)
        for file in files:
            self._emit(events.file_shared(file, channel.id, message.ts), channel)
        return message

    def whisper(
        self, installation: Installation, channel: Channel, viewer: str, draft: Draft
    ) -> Message:
        """An ephemeral message: seen by one person, in no event and no history."""
        body = self._app_body(installation, draft) | {"ts": self.world.mint_ts()}
        if draft.thread_ts is not None:
            body["thread_ts"] = draft.thread_ts
        message = Message(channel.id, body, parse=draft.parse, viewer=viewer)
        channel.ephemerals.append(message)
        return message

    def edit(
        self,
        message: Message,
        changes: Json,
        *,
        editor: str | None,
        metadata: Json | None = None,
    ) -> None:
        """Change a stored message; a value of None removes the key. `editor` marks it edited;
        None leaves no mark, as for unfurls. `metadata` {} clears."""
        previous = events.snapshot(self.world, message)
        for key, value in changes.items():
            if value is None:
                message.body.pop(key, None)
            else:
                message.body[key] = value
        if metadata is not None:
            message.metadata = metadata or None
        event_ts = self.world.mint_ts()
        if editor is not None:
            message.body["edited"] = {"user": editor, "ts": event_ts}
        self._tell(message, events.changed(self.world, message, previous, event_ts))

    def retype(self, message: Message, typed: str) -> None:
        """Its author edits a message."""
        channel = self.world.channels[message.channel]
        composed = Composer(self.world, self._bot(channel)).compose(typed)
        changes = {"text": composed.text, "blocks": composed.blocks or None}
        self.edit(message, changes, editor=message.author)

    def unfurl(self, message: Message, url: str) -> None:
        """Slack attaches a preview of a link: a change that is no edit."""
        preview = {
            "from_url": url,
            "original_url": url,
            "title": "A page",
            "title_link": url,
            "text": "What the page is about",
            "fallback": "A page",
            "service_name": "example",
            "id": 1,
        }
        attachments = [*message.body.get("attachments", []), preview]
        self.edit(message, {"attachments": attachments}, editor=None)

    def delete(self, message: Message) -> None:
        """Remove a message. A root with replies becomes a tombstone; the tombstone goes with
        its last reply (reported by several bridges; not in Slack's documentation)."""
        channel = self.world.channels[message.channel]
        previous = events.snapshot(self.world, message)
        event_ts = self.world.mint_ts()
        if channel.threads.get(message.ts):
            message.body = {
                "type": "message",
                "subtype": "tombstone",
                "text": TOMBSTONE,
                "user": "USLACKBOT",
                "hidden": True,
                "ts": message.ts,
            }
            message.metadata = None
            self._tell(message, events.changed(self.world, message, previous, event_ts))
            return
        root = channel.messages.get(message.thread_ts or "")
        self.world.forget(message)
        self._tell(message, events.deleted(self.world, message, previous, event_ts))
        if root is not None and root.subtype == "tombstone" and not channel.threads.get(root.ts):
            self.delete(root)

    def react(self, message: Message, user: str, name: str, *, remove: bool = False) -> bool:
        """Add or remove one person's reaction. Whether anything changed."""
        reactions: list[Json] = message.body.setdefault("reactions", [])
        entry = next((r for r in reactions if r["name"] == name), None)
        if (entry is not None and user in entry["users"]) is not remove:
            if not reactions:
                del message.body["reactions"]
            return False
        if entry is None:
            entry = {"name": name, "users": [], "count": 0}
            reactions.append(entry)
        entry["users"] = [u for u in entry["users"] if u != user] + ([] if remove else [user])
        entry["count"] = len(entry["users"])
        remaining = [r for r in reactions if r["users"]]
        message.body["reactions"] = remaining
        if not remaining:
            del message.body["reactions"]
        kind = "reaction_removed" if remove else "reaction_added"
        self._tell(message, events.reaction(kind, user, message, name, self.world.mint_ts()))
        return True

    # Channels

    def join(self, channel: Channel, user: User, inviter: str | None = None) -> None:
        """Someone comes in; the bot too can be invited so."""
        if user.id in channel.members:
            return
        channel.members.append(user.id)
        body: Json = {"user": user.id, "text": f"<@{user.id}> has joined the channel"}
        if inviter is not None:
            body["inviter"] = inviter
        message = self._notice(channel, "channel_join", body)
        self._emit(events.joined(channel, user.id, user.team, inviter, message.ts), channel)

    def leave(self, channel: Channel, user: User, actor: str | None = None) -> None:
        """Someone goes out, or is taken out by `actor`. The bot hears of its own removal."""
        if user.id not in channel.members:
            return
        body: Json = {"user": user.id, "text": f"<@{user.id}> has left the channel"}
        own = user.id == self._bot(channel)
        self._notice(channel, "channel_leave", body, announced=not own)
        event_ts = self.world.mint_ts()
        self._emit(events.left(channel, user.id, user.team, event_ts), channel)
        if own:
            self._emit(events.bot_left(channel, actor or user.id, event_ts), channel)
        channel.members.remove(user.id)

    def set_topic(self, channel: Channel, user: User, topic: str) -> None:
        """Someone changes the topic."""
        channel.topic = {"value": escape(topic), "creator": user.id, "last_set": int(time.time())}
        text = f"<@{user.id}> set the channel topic: {escape(topic)}"
        self._notice(
            channel, "channel_topic", {"user": user.id, "text": text, "topic": escape(topic)}
        )

    def archive(self, channel: Channel, user: User, *, archived: bool = True) -> None:
        """Close a channel to new messages, or open it again."""
        channel.archived = archived
        self._emit(events.archived(channel, user.id, self.world.mint_ts()), channel)

    # Parts

    def _bot(self, channel: Channel) -> str:
        installation = self.world.installations[channel.team]
        return installation.bot_user

    def _app_body(self, installation: Installation, draft: Draft) -> Json:
        body: Json = {"type": "message", "text": draft.text}
        if draft.username is not None or draft.icons is not None:
            body |= {
                "subtype": "bot_message",
                "bot_id": installation.bot_id,
                "app_id": self.world.app.id,
                "username": draft.username or self.world.app.name,
            }
            if draft.icons is not None:
                body["icons"] = draft.icons
        else:
            body |= {
                "user": installation.bot_user,
                "bot_id": installation.bot_id,
                "app_id": self.world.app.id,
                "team": installation.team,
                "bot_profile": shapes.bot_profile(self.world, installation),
            }
        if draft.blocks:
            body["blocks"] = list(draft.blocks)
        if draft.attachments:
            body["attachments"] = list(draft.attachments)
        return body

    def _app_message(
        self, installation: Installation, channel: Channel, draft: Draft, files: Sequence[File]
    ) -> Message:
        body = self._app_body(installation, draft)
        if files:
            body |= {
                "subtype": "file_share",
                "files": [file.id for file in files],
                "upload": False,
                "display_as_bot": False,
            }
        elif draft.broadcast and draft.thread_ts is not None and "subtype" not in body:
            body["subtype"] = "thread_broadcast"
        message = self._put(channel, body, draft.thread_ts)
        message.metadata = draft.metadata
        message.parse = draft.parse
        message.mrkdwn = draft.mrkdwn
        message.link_names = draft.link_names
        self._share(files, message)
        # The app's reply clears its status in the thread (docs: assistant.threads.setStatus).
        self.world.statuses.pop((channel.id, message.root_ts), None)
        self._announce(message)
        return message

    def _put(self, channel: Channel, body: Json, thread_ts: str | None) -> Message:
        body["ts"] = self.world.mint_ts()
        root = None if thread_ts is None else channel.messages.get(thread_ts)
        if root is not None:
            # A reply's ts leads to its thread all the same: assumed, Slack only advises
            # against it. Where the root is gone, Slack makes an ordinary message of the reply
            # without a word; apps have been seen answering in the channel that way.
            root = channel.messages.get(root.root_ts, root)
            body["thread_ts"] = root.ts
            if root.body.get("user"):
                body["parent_user_id"] = root.body["user"]
        message = Message(channel.id, body)
        self.world.store(message)
        return message

    def _share(self, files: Sequence[File], message: Message) -> None:
        for file in files:
            file.shares.setdefault(message.channel, []).append(message.ts)

    def _notice(
        self, channel: Channel, subtype: str, body: Json, *, announced: bool = True
    ) -> Message:
        message = self._put(channel, {"type": "message", "subtype": subtype, **body}, None)
        if announced:
            self._announce(message)
        return message

    def _announce(self, message: Message) -> None:
        """The `message` event, and its `app_mention` twin where the bot is mentioned."""
        channel = self.world.channels[message.channel]
        event = events.posted(self.world, message, stubs=self.settings.external_file_stubs)
        self._emit(event, channel)
        mention = f"<@{self._bot(channel)}"
        by_person = message.subtype in (None, "file_share", "thread_broadcast")
        if by_person and channel.kind != "im" and mention in message.body["text"]:
            self._emit(events.mentioned(event), channel)

    def _tell(self, message: Message, event: Json) -> None:
        self._emit(event, self.world.channels[message.channel])
