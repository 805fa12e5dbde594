"""Finds the channel or message that a call names, with Slack's errors where it may not."""

from __future__ import annotations

from bridge.sandbox.slack.model import Channel, Message
from bridge.sandbox.slack.web_api import ApiError, Call
from bridge.sandbox.slack.world import World

PREFIX = {"channel": "channels", "group": "groups", "im": "im", "mpim": "mpim"}


class Lookup:
    """Channels and messages as one bot may see them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def channel(self, call: Call) -> Channel:
        """The channel a call names by id: public, or one the bot is in."""
        channel = self._world.channels.get(call.required("channel", "channel_not_found"))
        if channel is None or not self._visible(call, channel):
            raise ApiError("channel_not_found")
        return channel

    def readable(self, call: Call) -> Channel:
        """A channel whose messages the bot may read: it must be a member."""
        channel = self.channel(call)
        if call.bot.bot_user not in channel.members:
            raise ApiError("not_in_channel")
        return channel

    def history(self, call: Call) -> Channel:
        """The same, with the history scope of the channel's kind."""
        channel = self.readable(call)
        call.need(f"{PREFIX[channel.kind]}:history")
        return channel

    def writable(self, call: Call) -> Channel:
        """A channel to post in: by id, by name, or by a user id for the direct conversation."""
        key = call.required("channel", "channel_not_found")
        if key in self._world.users:
            return self._world.dm(call.bot, key)
        channel = self._world.channel(key)
        if channel is None or not self._visible(call, channel):
            raise ApiError("channel_not_found")
        if channel.archived:
            raise ApiError("is_archived")
        if call.bot.bot_user not in channel.members and "chat:write.public" not in call.scopes:
            raise ApiError("not_in_channel")
        return channel

    def message(self, call: Call) -> tuple[Channel, Message]:
        """A message to change, by channel id and ts."""
        channel = self.channel(call)
        message = channel.messages.get(call.required("ts", "message_not_found"))
        if message is None:
            raise ApiError("message_not_found")
        if channel.archived:
            raise ApiError("is_archived")
        return channel, message

    def _visible(self, call: Call, channel: Channel) -> bool:
        member = call.bot.bot_user in channel.members
        return member or (channel.kind == "channel" and channel.team == call.bot.team)
