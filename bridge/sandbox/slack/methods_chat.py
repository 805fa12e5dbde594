"""chat.*, reactions.* and assistant.threads.* (docs: their reference pages)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bridge.sandbox.slack import shapes
from bridge.sandbox.slack.blocks import checked_blocks, text_of
from bridge.sandbox.slack.lookup import Lookup
from bridge.sandbox.slack.markup import normalised
from bridge.sandbox.slack.model import Json, Message
from bridge.sandbox.slack.web_api import ApiError, Call, Method
from bridge.sandbox.slack.workspace import Draft, Workspace

MAX_TEXT = 40_000
MAX_UPDATE_TEXT = 4_000
MAX_MARKDOWN = 12_000
MAX_ATTACHMENTS = 100
MAX_LOADING_MESSAGES = 10
CUSTOMISE = "chat:write.customize"


class ChatMethods:
    """What the app writes."""

    def __init__(self, workspace: Workspace, lookup: Lookup) -> None:
        self._workspace = workspace
        self._world = workspace.world
        self._lookup = lookup

    def table(self) -> dict[str, Method]:
        """Name to method."""
        write = ("chat:write",)
        return {
            "chat.postMessage": Method(self.post, write, limit="post"),
            "chat.postEphemeral": Method(self.post_ephemeral, write),
            "chat.update": Method(self.update, write),
            "chat.delete": Method(self.delete, write),
            "chat.getPermalink": Method(self.permalink),
            "reactions.add": Method(self.react, ("reactions:write",)),
            "reactions.remove": Method(self.unreact, ("reactions:write",)),
            "reactions.get": Method(self.reactions, ("reactions:read",)),
            "assistant.threads.setStatus": Method(self.status, ("chat:write", "assistant:write")),
            "assistant.threads.setTitle": Method(self.title, ("assistant:write",)),
            "assistant.threads.setSuggestedPrompts": Method(self.prompts, ("assistant:write",)),
        }

    def post(self, call: Call) -> Json:
        """chat.postMessage."""
        channel = self._lookup.writable(call)
        draft = self._draft(call)
        message = self._workspace.post(call.bot, channel, draft)
        shape = shapes.message(self._world, message, metadata=True)
        return {"channel": channel.id, "ts": message.ts, "message": shape}

    def post_ephemeral(self, call: Call) -> Json:
        """chat.postEphemeral."""
        channel = self._lookup.writable(call)
        user = call.required("user")
        if user not in channel.members:
            raise ApiError("user_not_in_channel")
        message = self._workspace.whisper(call.bot, channel, user, self._draft(call))
        return {"message_ts": message.ts}

    def update(self, call: Call) -> Json:
        """chat.update: text without blocks removes the blocks; metadata stays unless given."""
        channel, message = self._lookup.message(call)
        if not self._is_own(call, message):
            raise ApiError("cant_update_message")
        if len(call.text("text")) > MAX_UPDATE_TEXT:
            raise ApiError("msg_too_long")
        draft = self._draft(call)
        changes: Json = {
            "text": draft.text,
            "blocks": list(draft.blocks) or None,
            "attachments": list(draft.attachments) or None,
        }
        message.parse = call.text("parse") or "client"
        message.link_names = call.flag("link_names")
        # A message with blocks shows no "(edited)" flag.
        editor = None if draft.blocks else call.bot.bot_id
        metadata = draft.metadata if "metadata" in call.params else None
        self._workspace.edit(message, changes, editor=editor, metadata=metadata)
        shape = shapes.message(self._world, message, metadata=True)
        return {
            "channel": channel.id,
            "ts": message.ts,
            "text": message.body["text"],
            "message": shape,
        }

    def delete(self, call: Call) -> Json:
        """chat.delete."""
        channel, message = self._lookup.message(call)
        if not self._is_own(call, message):
            raise ApiError("cant_delete_message")
        self._workspace.delete(message)
        return {"channel": channel.id, "ts": message.ts}

    def permalink(self, call: Call) -> Json:
        """chat.getPermalink."""
        channel = self._lookup.channel(call)
        message = channel.messages.get(call.required("message_ts"))
        if message is None:
            raise ApiError("message_not_found")
        link = f"{self._world.base_url}/archives/{channel.id}/p{message.ts.replace('.', '')}"
        if message.thread_ts is not None:
            link += f"?thread_ts={message.thread_ts}&cid={channel.id}"
        return {"channel": channel.id, "permalink": link}

    def react(self, call: Call) -> Json:
        """reactions.add."""
        message = self._reacted(call)
        name = call.required("name", "no_reaction").strip(":")
        if not self._workspace.react(message, call.bot.bot_user, name):
            raise ApiError("already_reacted")
        return {}

    def unreact(self, call: Call) -> Json:
        """reactions.remove."""
        message = self._reacted(call)
        name = call.required("name", "no_reaction").strip(":")
        if not self._workspace.react(message, call.bot.bot_user, name, remove=True):
            raise ApiError("no_reaction")
        return {}

    def reactions(self, call: Call) -> Json:
        """reactions.get."""
        message = self._reacted(call)
        shape = shapes.message(self._world, message)
        return {"type": "message", "channel": message.channel, "message": shape}

    def status(self, call: Call) -> Json:
        """assistant.threads.setStatus: fades after two minutes, empty clears it."""
        key = self._thread(call)
        loading = call.value("loading_messages") or []
        if len(loading) > MAX_LOADING_MESSAGES:
            raise ApiError("invalid_arguments")
        status = call.text("status")
        if status:
            fades = time.monotonic() + self._workspace.settings.status_seconds
            self._world.statuses[key] = (status, fades)
        else:
            self._world.statuses.pop(key, None)
        return {}

    def title(self, call: Call) -> Json:
        """assistant.threads.setTitle."""
        self._world.titles[self._thread(call)] = call.required("title")
        return {}

    def prompts(self, call: Call) -> Json:
        """assistant.threads.setSuggestedPrompts."""
        key = self._thread(call)
        self._world.prompts[key] = {"title": call.text("title"), "prompts": call.value("prompts")}
        return {}

    # Parts

    def _thread(self, call: Call) -> tuple[str, str]:
        channel = self._world.channels.get(call.required("channel_id"))
        if channel is None or call.bot.bot_user not in channel.members:
            raise ApiError("channel_not_found")
        message = channel.messages.get(call.required("thread_ts"))
        if message is None:
            raise ApiError("invalid_thread_ts")
        return channel.id, message.root_ts

    def _reacted(self, call: Call) -> Message:
        channel = self._lookup.readable(call)
        message = channel.messages.get(call.required("timestamp", "bad_timestamp"))
        if message is None:
            raise ApiError("message_not_found")
        return message

    def _is_own(self, call: Call, message: Message) -> bool:
        return message.body.get("bot_id") == call.bot.bot_id

    def _draft(self, call: Call) -> Draft:
        blocks = checked_blocks(call)
        attachments = call.value("attachments", "invalid_attachments") or []
        if len(attachments) > MAX_ATTACHMENTS:
            raise ApiError("too_many_attachments")
        text = call.text("text")
        markdown = call.text("markdown_text")
        if markdown:
            if text or blocks:
                raise ApiError("markdown_text_conflict")
            if len(markdown) > MAX_MARKDOWN:
                raise ApiError("msg_too_long")
            blocks = [{"type": "markdown", "text": markdown}]
            text = markdown
        if not text and not blocks and not attachments:
            raise ApiError("no_text")
        if len(text) > MAX_TEXT:
            text = text[:MAX_TEXT]
            call.warnings.append("message_truncated")
        return Draft(
            text=normalised(text) if text else text_of(blocks),
            blocks=blocks,
            attachments=[{"id": n, **a} for n, a in enumerate(attachments, start=1)],
            thread_ts=call.text("thread_ts") or None,
            broadcast=call.flag("reply_broadcast"),
            **_authorship(call),
            metadata=_metadata(call),
            parse=call.text("parse") or "none",
            mrkdwn=call.flag("mrkdwn", default=True),
            link_names=call.flag("link_names"),
        )


def _authorship(call: Call) -> dict[str, Any]:
    """A customised name and icon, which need their own scope."""
    username = call.text("username") or None
    icons: Json | None = None
    if call.text("icon_emoji"):
        icons = {"emoji": call.text("icon_emoji")}
    elif call.text("icon_url"):
        icons = {f"image_{size}": call.text("icon_url") for size in (36, 48, 72)}
    if username is not None or icons is not None:
        call.need(CUSTOMISE)
    return {"username": username, "icons": icons}


def _metadata(call: Call) -> Json | None:
    metadata = call.value("metadata", "invalid_metadata_format")
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise ApiError("invalid_metadata_format")
    if metadata and set(metadata) - {"entities"} != {"event_type", "event_payload"}:
        raise ApiError("invalid_metadata_schema")
    if metadata and not isinstance(metadata["event_payload"], Mapping):
        raise ApiError("invalid_metadata_format")
    return dict(metadata)
