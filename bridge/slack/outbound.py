"""The way out: what agents and the bridge itself say, posted into the thread exactly as meant."""

from __future__ import annotations

import functools
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge.core.decision import ts_key
from bridge.core.errors import Denied, Failure, Gone, Rejected, Temporary, Uncertain
from bridge.core.events import Identified, Incoming
from bridge.core.model import AgentMessage, ConversationId, Notice, Outgoing
from bridge.core.outbox import GAP
from bridge.core.ports import PartId
from bridge.core.text import split
from bridge.slack import notices
from bridge.slack.api import Api
from bridge.slack.directory import Directory
from bridge.slack.markdown import (
    Element,
    escaped,
    markdown,
    open_fence,
    plain,
    section,
    text_element,
)
from bridge.slack.model import Identity, Json
from bridge.slack.translate import Viewpoint, message

EVENT_TYPE = "bridge_post"
CUSTOMIZE = "chat:write.customize"
PART_LIMIT = 3900
"""Characters in one post: Slack advises 4,000 (chat.postMessage), and a name may come before."""

_NAME_LIMIT = 80
_REMEMBERED_BUTTONS = 1000
_WARNING = "warning"
_PAGE = 200
_WITHDRAWALS = 5
_PAUSE = 0.5


class SlackSide:
    """Slack, as the relay sees it: implements `core.ports.CustomerSide`."""

    def __init__(self, api: Api, view: Viewpoint, directory: Directory) -> None:
        self._api = api
        self._view = view
        self._identity: Identity = view.identity
        self._directory = directory
        self._customizes = view.identity.may(CUSTOMIZE)
        self._buttons: OrderedDict[tuple[str, str], Json] = OrderedDict()

    async def identify(self, conversation: ConversationId, user_id: str) -> Identified:
        """See `Directory.identify`."""
        return await self._directory.identify(conversation, user_id)

    async def with_names(self, conversation: ConversationId, text: str) -> str:
        """See `Directory.with_names`."""
        del conversation  # names are the same everywhere in a workspace
        return await self._directory.with_names(text)

    async def root(self, conversation: ConversationId) -> Incoming | None:
        """The root as the intake would have taken it: None where it is not for us."""
        if conversation.flat:
            return None
        channel = conversation.place.channel
        try:
            found = await self._api.read(
                "conversations.replies", channel=channel, ts=conversation.thread_ts, limit=1
            )
        except Gone as gone:
            if gone.code in ("thread_not_found", "message_not_found"):
                return None
            raise
        for entry in _messages(found.get("messages")):
            if entry.get("ts") == conversation.thread_ts:
                taken = message({**entry, "channel": channel}, self._view)
                if isinstance(taken, Incoming) and taken.conversation == conversation:
                    return taken
        return None

    # --- posting -----------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Characters of one post."""
        return PART_LIMIT

    def parts(self, outgoing: Outgoing) -> int:
        """How many posts it takes."""
        return max(1, len(_spans(outgoing))) if isinstance(outgoing, AgentMessage) else 1

    async def post(
        self,
        conversation: ConversationId,
        load: Sequence[Outgoing],
        part: int,
        guard: Callable[[], None],
    ) -> str:
        """Post; see the port. Raises Rejected for an agent's message without text, and Gone where
        the thread was deleted."""
        payload = self._payload(conversation, load, part)
        try:
            answer = await self._api.write("chat.postMessage", guard=guard, **payload)
        except Denied as refusal:
            if refusal.code != "missing_scope" or "username" not in payload:
                raise
            # Refused for certain, so nothing was posted: the name goes into the text instead.
            self._customizes = False
            payload = self._payload(conversation, load, part)
            answer = await self._api.write("chat.postMessage", guard=guard, **payload)
        ts = str(answer["ts"])
        if not conversation.flat and _left_the_thread(answer):
            # Under a root that was deleted Slack posts into the channel, for everybody to read.
            await self._withdraw(conversation.place.channel, ts)
            raise Gone("chat.postMessage", "thread_not_found")
        if isinstance(load[0], Notice) and notices.button(load[0], conversation):
            self._remember(conversation.place.channel, ts, payload)
        return ts

    async def _withdraw(self, channel: str, ts: str) -> None:
        """Delete a post. Never raises Failure: who tried the whole post again would leave more."""
        for _ in range(_WITHDRAWALS):
            try:
                await self._api.write("chat.delete", channel=channel, ts=ts)
            except (Temporary, Uncertain) as failure:
                after = failure.retry_after if isinstance(failure, Temporary) else None
                await self._api.pause(_PAUSE if after is None else after)
            except Failure:
                return  # deleted already, or not for us to delete
            else:
                return

    def _payload(
        self, conversation: ConversationId, load: Sequence[Outgoing], part: int
    ) -> dict[str, Any]:
        first = load[0]
        body = (
            self._notice(first, conversation)
            if isinstance(first, Notice)
            else self._words([one for one in load if isinstance(one, AgentMessage)], part)
        )
        entries = [{"id": one.id, "part": part, "of": self.parts(one)} for one in load]
        return body | {
            "channel": conversation.place.channel,
            "thread_ts": conversation.thread_ts or None,
            "mrkdwn": False,
            "parse": "none",
            "link_names": False,
            "unfurl_links": False,
            "unfurl_media": False,
            # Everybody in the workspace can read this: ids only.
            "metadata": {"event_type": EVENT_TYPE, "event_payload": {"entries": entries}},
        }

    def _words(self, messages: Sequence[AgentMessage], part: int) -> dict[str, Any]:
        """A block for each message, so that the formatting of one ends with it."""
        said = [_said(message, part) for message in messages]
        text = GAP.join(words for words, _ in said)
        blocks = [elements for _, elements in said]
        name = shown_name(messages[0].name)
        if name and not self._customizes:
            blocks[0] = [section([text_element(f"{name}\n", bold=True)]), *blocks[0]]
            text = f"{name}: {text}"
        body: dict[str, Any] = {
            "text": escaped(text),
            "blocks": [_rich_text(elements) for elements in blocks],
        }
        return body | {"username": name} if name and self._customizes else body

    def _notice(self, notice: Notice, conversation: ConversationId) -> dict[str, Any]:
        block = _rich_text(notices.elements(notice))
        button = notices.button(notice, conversation)
        return {"text": notices.fallback(notice), "blocks": [block, button] if button else [block]}

    # --- our own posts -----------------------------------------------------------------------

    async def look(self, conversation: ConversationId, since: str) -> Mapping[PartId, str]:
        """Our posts after `since`, read from Slack page by page."""
        found: dict[PartId, str] = {}
        for post in await self._history(conversation, oldest=since or None):
            ts = str(post.get("ts") or "")
            if ts_key(ts) > ts_key(since) and self._identity.wrote(post):
                found |= dict.fromkeys(_entries(post), ts)
        return found

    async def flag(self, conversation: ConversationId, message_ts: str) -> None:
        """Put a warning sign on a customer's message, once."""
        await self._react("reactions.add", conversation, message_ts, done="already_reacted")

    async def unflag(self, conversation: ConversationId, message_ts: str) -> None:
        """Take our warning sign off again, where it is there."""
        await self._react("reactions.remove", conversation, message_ts, done="no_reaction")

    async def _react(
        self, method: str, conversation: ConversationId, message_ts: str, done: str
    ) -> None:
        channel = conversation.place.channel
        try:
            await self._api.write(method, channel=channel, timestamp=message_ts, name=_WARNING)
        except Rejected as refusal:
            if refusal.code != done:
                raise
        except Denied as refusal:
            # reactions:write is an optional scope.
            if refusal.code != "missing_scope":
                raise

    async def retire_button(self, conversation: ConversationId, post_ts: str) -> None:
        """Rewrite the post without its button."""
        channel = conversation.place.channel
        post = self._buttons.pop((channel, post_ts), None) or await self._read(
            conversation, post_ts
        )
        if post is None:
            return
        blocks = [block for block in post.get("blocks") or () if block.get("type") != "actions"]
        await self._api.write(
            "chat.update",
            channel=channel,
            ts=post_ts,
            text=post.get("text"),
            blocks=blocks,
            parse="none",
            link_names=False,
        )

    def _remember(self, channel: str, ts: str, payload: Json) -> None:
        self._buttons[channel, ts] = {"text": payload["text"], "blocks": payload["blocks"]}
        if len(self._buttons) > _REMEMBERED_BUTTONS:
            self._buttons.popitem(last=False)

    async def _read(self, conversation: ConversationId, ts: str) -> Json | None:
        posts = await self._history(conversation, oldest=ts, latest=ts)
        return next((p for p in posts if p.get("ts") == ts and self._identity.wrote(p)), None)

    async def _history(self, conversation: ConversationId, **bounds: str | None) -> Sequence[Json]:
        method = "conversations.history" if conversation.flat else "conversations.replies"
        return await self._api.pages(
            method,
            "messages",
            channel=conversation.place.channel,
            ts=conversation.thread_ts or None,
            inclusive=True,
            include_all_metadata=True,
            limit=_PAGE,
            **bounds,
        )


def _left_the_thread(answer: Json) -> bool:
    message = answer.get("message")
    return isinstance(message, dict) and not message.get("thread_ts")


@functools.lru_cache(maxsize=1024)
def shown_name(name: str) -> str:
    """A display name that is nothing but a name: one line, no brackets, at most 80 characters."""
    kept = "".join(
        " " if character.isspace() else character
        for character in name
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    return " ".join(kept.translate(dict.fromkeys(map(ord, "<>"))).split())[:_NAME_LIMIT].strip()


def _spans(outgoing: Outgoing) -> Sequence[tuple[int, int]]:
    return list(split(outgoing.text, PART_LIMIT)) if isinstance(outgoing, AgentMessage) else []


def _said(message: AgentMessage, part: int) -> tuple[str, list[Element]]:
    """One part of a message, as text and as rich_text elements."""
    spans = _spans(message)
    if not spans:
        raise Rejected("chat.postMessage", "no_text")
    start, end = spans[part - 1]
    text = message.text[start:end].strip()
    if not message.markdown:
        return text, plain(text)
    return text, markdown(f"```\n{text}" if open_fence(message.text[:start]) else text)


def _rich_text(elements: list[Element]) -> Element:
    return {"type": "rich_text", "elements": elements}


def _entries(post: Json) -> list[PartId]:
    """What a post of ours carries, by its metadata."""
    metadata = post.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT_TYPE:
        return []
    entries = (metadata.get("event_payload") or {}).get("entries")
    return [
        PartId(str(entry["id"]), int(entry["part"]), int(entry["of"]))
        for entry in _messages(entries)
        if {"id", "part", "of"} <= entry.keys()
    ]


def _messages(value: object) -> list[Json]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
