"""conversations.* (docs: their reference pages)."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.sandbox.slack import shapes
from bridge.sandbox.slack.lookup import PREFIX, Lookup
from bridge.sandbox.slack.model import Channel, Json, Message
from bridge.sandbox.slack.paging import MAX_LIMIT, page
from bridge.sandbox.slack.web_api import ApiError, Call, Method
from bridge.sandbox.slack.workspace import Workspace

READ = tuple(f"{prefix}:read" for prefix in PREFIX.values())
HISTORY = tuple(f"{prefix}:history" for prefix in PREFIX.values())
TYPES = {
    "public_channel": "channel",
    "private_channel": "group",
    "im": "im",
    "mpim": "mpim",
}


def stamp(ts: str, error: str) -> tuple[int, int]:
    """A ts as numbers that compare. Raises ApiError."""
    seconds, _, micros = ts.partition(".")
    try:
        return int(seconds), int(micros.ljust(6, "0")[:6])
    except ValueError:
        raise ApiError(error) from None


def in_range(call: Call, messages: Iterable[Message]) -> list[Message]:
    """The messages between `oldest` and `latest`; both ends only with `inclusive`."""
    low = stamp(call.text("oldest") or "0", "invalid_ts_oldest")
    high = stamp(call.text("latest") or "99999999999", "invalid_ts_latest")
    inclusive = call.flag("inclusive")

    def inside(message: Message) -> bool:
        at = stamp(message.ts, "internal_error")
        return low <= at <= high if inclusive else low < at < high

    return [message for message in messages if inside(message)]


class ConversationMethods:
    """Channels, their members and what was written in them."""

    def __init__(self, workspace: Workspace, lookup: Lookup) -> None:
        self._workspace = workspace
        self._world = workspace.world
        self._lookup = lookup

    def table(self) -> dict[str, Method]:
        """Name to method."""
        return {
            "conversations.info": Method(self.info, READ),
            "conversations.history": Method(self.history, HISTORY, limit="history"),
            "conversations.replies": Method(self.replies, HISTORY, limit="history"),
            "conversations.list": Method(self.all, READ),
            "conversations.members": Method(self.members, READ),
            "conversations.open": Method(self.open, ("im:write", "mpim:write")),
            "conversations.join": Method(self.join, ("channels:join",)),
            "conversations.leave": Method(self.leave),
            "users.conversations": Method(self.of_user, READ),
        }

    def info(self, call: Call) -> Json:
        """conversations.info."""
        channel = self._lookup.channel(call)
        call.need(f"{PREFIX[channel.kind]}:read")
        shape = shapes.channel(
            channel,
            call.bot,
            num_members=call.flag("include_num_members"),
            locale=call.flag("include_locale"),
        )
        return {"channel": shape}

    def history(self, call: Call) -> Json:
        """conversations.history: the newest first, without the replies in threads."""
        channel = self._lookup.history(call)
        top = [
            message
            for message in reversed(channel.messages.values())
            if message.thread_ts is None or message.subtype == "thread_broadcast"
        ]
        shown, metadata = page(call, in_range(call, top), **self._limits())
        more = bool(metadata["response_metadata"]["next_cursor"])
        return {
            "messages": self._messages(call, shown),
            "has_more": more,
            "pin_count": 0,
            "channel_actions_ts": None,
            "channel_actions_count": 0,
            **(metadata if more else {}),
        }

    def replies(self, call: Call) -> Json:
        """conversations.replies: the root on every page (assumed for later pages, and not
        counted in `limit`), then its replies, the oldest first. A reply's ts gives that
        message alone."""
        channel = self._lookup.history(call)
        root = channel.messages.get(call.required("ts", "thread_not_found"))
        if root is None:
            raise ApiError("thread_not_found")
        found = in_range(call, channel.threads.get(root.ts, []))
        shown, metadata = page(call, found, **self._limits())
        more = bool(metadata["response_metadata"]["next_cursor"])
        return {
            "messages": self._messages(call, [root, *shown]),
            "has_more": more,
            **(metadata if more else {}),
        }

    def all(self, call: Call) -> Json:
        """conversations.list."""
        kinds = self._kinds(call)
        found = [
            channel
            for channel in self._world.channels.values()
            if channel.kind in kinds and self._shown(call, channel)
        ]
        return self._channels(call, found)

    def of_user(self, call: Call) -> Json:
        """users.conversations: the bot's own, or what it shares with a user."""
        kinds = self._kinds(call)
        user = call.text("user") or call.bot.bot_user
        found = [
            channel
            for channel in self._world.channels.values()
            if channel.kind in kinds and user in channel.members and self._shown(call, channel)
        ]
        return self._channels(call, found)

    def members(self, call: Call) -> Json:
        """conversations.members: ids only."""
        channel = self._lookup.channel(call)
        shown, metadata = page(call, channel.members)
        return {"members": shown, **metadata}

    def open(self, call: Call) -> Json:
        """conversations.open: one user opens the direct conversation, several a group's."""
        users = [user for user in call.text("users").split(",") if user]
        if call.text("channel"):
            channel = self._lookup.channel(call)
        elif not users:
            raise ApiError("users_list_not_supplied")
        elif any(user not in self._world.users for user in users):
            raise ApiError("user_not_found")
        elif len(users) == 1:
            channel = self._world.dm(call.bot, users[0])
        else:
            channel = self._group_dm(call, users)
        call.need("im:write" if channel.kind == "im" else "mpim:write")
        if call.flag("return_im"):
            return {"channel": shapes.channel(channel, call.bot)}
        return {"channel": {"id": channel.id}}

    def join(self, call: Call) -> Json:
        """conversations.join: public channels only."""
        channel = self._lookup.channel(call)
        if channel.kind != "channel":
            raise ApiError("method_not_supported_for_channel_type")
        if channel.archived:
            raise ApiError("is_archived")
        already = call.bot.bot_user in channel.members
        self._workspace.join(channel, self._world.users[call.bot.bot_user])
        shape = {"channel": shapes.channel(channel, call.bot)}
        return shape | ({"warning": "already_in_channel"} if already else {})

    def leave(self, call: Call) -> Json:
        """conversations.leave."""
        channel = self._lookup.channel(call)
        if call.bot.bot_user not in channel.members:
            return {"not_in_channel": True}
        self._workspace.leave(channel, self._world.users[call.bot.bot_user])
        return {}

    # Parts

    def _limits(self) -> dict[str, int]:
        limit = self._workspace.settings.history_limit
        if limit is None:
            return {"default": 100, "most": MAX_LIMIT}
        most = int(limit["messages"])
        return {"default": most, "most": most}

    def _messages(self, call: Call, messages: Iterable[Message]) -> list[Json]:
        metadata = call.flag("include_all_metadata")
        return [shapes.message(self._world, message, metadata=metadata) for message in messages]

    def _kinds(self, call: Call) -> set[str]:
        names = (call.text("types") or "public_channel").replace(" ", "").split(",")
        if any(name not in TYPES for name in names):
            raise ApiError("invalid_types")
        kinds = {TYPES[name] for name in names}
        for kind in kinds:
            call.need(f"{PREFIX[kind]}:read")
        return kinds

    def _shown(self, call: Call, channel: Channel) -> bool:
        if call.flag("exclude_archived") and channel.archived:
            return False
        member = call.bot.bot_user in channel.members
        return member or (channel.kind == "channel" and channel.team == call.bot.team)

    def _channels(self, call: Call, found: list[Channel]) -> Json:
        shown, metadata = page(call, found)
        return {
            "channels": [shapes.channel(c, call.bot, num_members=True) for c in shown]
        } | metadata

    def _group_dm(self, call: Call, users: list[str]) -> Channel:
        members = {*users, call.bot.bot_user}
        for channel in self._world.channels.values():
            if channel.kind == "mpim" and set(channel.members) == members:
                return channel
        handles = "--".join(sorted(self._world.users[user].name for user in members))
        channel = self._world.add_channel(f"mpdm-{handles}-1", "mpim", call.bot.team, users[0])
        channel.members = [*users, call.bot.bot_user]
        return channel
