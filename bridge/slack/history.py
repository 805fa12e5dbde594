"""What Slack still knows of a time in which nobody took events in.

Slack delivers again for a few minutes at most (Events API, retries), so after a longer outage its
history is the only source. What is read goes the same way as events do, where repeats are dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from bridge.core.decision import ts_key
from bridge.core.errors import Denied, Gone
from bridge.core.events import Incoming
from bridge.core.model import ConversationId
from bridge.slack.api import Api
from bridge.slack.model import Json
from bridge.slack.places import Places
from bridge.slack.translate import Viewpoint, message

_PAGE = 200
_ROOTS_SECONDS = 24 * 3600
"""How old the root of a thread may be whose replies are looked for."""


class SlackHistory:
    """Implements `core.ports.CustomerHistory`."""

    def __init__(self, api: Api, view: Viewpoint, places: Places) -> None:
        self._api = api
        self._view = view
        self._places = places

    async def channels(self, since: str) -> AsyncIterator[Incoming]:
        """Roots and replies after `since` in every support channel; replies also to roots of the day
        before."""
        oldest = f"{max(ts_key(since)[0] - _ROOTS_SECONDS, 0)}.000000"
        for channel in await self._places.support_channels():
            try:
                posts = await self._api.pages(
                    "conversations.history", "messages", channel=channel, oldest=oldest, limit=_PAGE
                )
            except (Gone, Denied):
                continue  # not ours to read, or not any more
            for post in sorted(posts, key=_order):
                if _order(post) > ts_key(since):
                    for incoming in self._taken(channel, [post]):
                        yield incoming
                if post.get("reply_count") and ts_key(_latest(post)) > ts_key(since):
                    async for reply in self._replies(channel, str(post.get("ts")), since):
                        if reply.ts != post.get("ts"):
                            yield reply

    async def thread(self, conversation: ConversationId, since: str) -> AsyncIterator[Incoming]:
        """Messages of one conversation after `since`."""
        channel = conversation.place.channel
        if conversation.flat:
            posts = await self._api.pages(
                "conversations.history", "messages", channel=channel, oldest=since, limit=_PAGE
            )
            for incoming in self._taken(channel, sorted(posts, key=_order)):
                yield incoming
            return
        async for incoming in self._replies(channel, conversation.thread_ts, since):
            yield incoming

    async def _replies(self, channel: str, root: str, since: str) -> AsyncIterator[Incoming]:
        """Nothing where the thread is gone, be it since its channel was read."""
        try:
            posts = await self._api.pages(
                "conversations.replies",
                "messages",
                channel=channel,
                ts=root,
                oldest=since,
                limit=_PAGE,
            )
        except Gone:
            return
        for incoming in self._taken(channel, sorted(posts, key=_order)):
            if ts_key(incoming.ts) > ts_key(since):
                yield incoming

    def _taken(self, channel: str, posts: Sequence[Json]) -> list[Incoming]:
        found = (message({**post, "channel": channel}, self._view) for post in posts)
        return [incoming for incoming in found if isinstance(incoming, Incoming)]


def _latest(root: Json) -> str:
    """The newest `ts` of a thread; where Slack does not say, one that is later than any."""
    return str(root.get("latest_reply") or "9999999999.000000")


def _order(post: Mapping[str, object]) -> tuple[int, int]:
    return ts_key(str(post.get("ts") or ""))
