"""What a person sees in a channel: the customer's side of the sandbox reads it."""

from __future__ import annotations

import time
from typing import Any

from bridge.sandbox.slack import shapes
from bridge.sandbox.slack.interactions import elements
from bridge.sandbox.slack.markup import displayed, effects
from bridge.sandbox.slack.model import Channel, Json, Message
from bridge.sandbox.slack.world import World


class CustomerView:
    """Channels and messages as Slack's client shows them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def channel(
        self, channel: Channel, thread_ts: str | None = None, viewer: str | None = None
    ) -> Json:
        """The messages of a channel or of one thread in order of ts, the ephemeral ones of
        `viewer` among them, and the status lines shown now."""
        stored = [*channel.messages.values()]
        stored += [message for message in channel.ephemerals if message.viewer == viewer]
        if thread_ts is not None:
            stored = [message for message in stored if message.root_ts == thread_ts]
        stored.sort(key=lambda message: message.ts)
        return {
            "channel": {
                "id": channel.id,
                "name": channel.name,
                "kind": channel.kind,
                "archived": channel.archived,
                "members": list(channel.members),
                "topic": channel.topic["value"],
            },
            "messages": [self.message(message) for message in stored],
            "statuses": self._statuses(channel),
            "titles": _in(channel, self._world.titles),
            "prompts": _in(channel, self._world.prompts),
        }

    def message(self, message: Message) -> Json:
        """One message. `shown` is its text as read, `text` as stored; `body` is its JSON."""
        shape = shapes.message(self._world, message, metadata=True)
        consequences = effects(self._world, message)
        text = str(message.body.get("text") or "")
        return {
            "ts": message.ts,
            "thread_ts": shape.get("thread_ts"),
            "parent_ts": message.thread_ts,
            "subtype": message.subtype,
            "author": self._author(message),
            "user": message.body.get("user"),
            "is_bot": "bot_id" in message.body,
            "text": text,
            "shown": displayed(self._world, text),
            "blocks": shape.get("blocks", []),
            "attachments": shape.get("attachments", []),
            "files": [
                {"id": f["id"], "name": f["name"], "mimetype": f["mimetype"], "size": f["size"]}
                for f in shape.get("files", [])
            ],
            "reactions": shape.get("reactions", []),
            "buttons": [_element(element) for _, element in elements(message)],
            "edited": "edited" in message.body,
            "ephemeral": message.viewer is not None,
            "viewer": message.viewer,
            "metadata": message.metadata,
            "mrkdwn": message.mrkdwn,
            "pings": consequences.pings,
            "links": consequences.links,
            "body": shape,
        }

    def _author(self, message: Message) -> str:
        if message.body.get("username"):
            return str(message.body["username"])
        if message.body.get("user") == "USLACKBOT":
            return "Slackbot"
        user = self._world.users.get(str(message.body.get("user")))
        return user.shown_name if user else self._world.app.name

    def _statuses(self, channel: Channel) -> Json:
        now = time.monotonic()
        return {
            root: status
            for (channel_id, root), (status, fades) in self._world.statuses.items()
            if channel_id == channel.id and fades > now
        }


def _in(channel: Channel, kept: dict[tuple[str, str], Any]) -> Json:
    return {root: value for (channel_id, root), value in kept.items() if channel_id == channel.id}


def _element(element: Json) -> Json:
    text = element.get("text") or element.get("placeholder") or {}
    options = element.get("options") or []
    return {
        "type": element.get("type"),
        "action_id": element["action_id"],
        "text": text.get("text"),
        "value": element.get("value"),
        "url": element.get("url"),
        "options": [{"text": o["text"]["text"], "value": o.get("value")} for o in options],
    }
