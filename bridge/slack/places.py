"""The channels the bot is in: their names, and which of them are for support."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bridge.core.errors import Denied, Gone
from bridge.slack.api import Api
from bridge.slack.model import Json

_ID = re.compile(r"[CG][A-Z0-9]{6,}\Z")


class Places:
    """Names of channels, and the setting BRIDGE_SUPPORT_CHANNELS applied to them.

    A channel is configured by id or by name; names follow the channel through renames, and a
    channel whose name is not known yet has to be `learn`ed before it can be judged.
    """

    def __init__(self, api: Api, channels: Iterable[str]) -> None:
        self._api = api
        wanted = {channel.strip() for channel in channels} - {""}
        self._all = "*" in wanted
        self._ids = frozenset(channel for channel in wanted if _ID.match(channel))
        # Slack keeps names of channels in lower case.
        self._names = frozenset(
            channel.removeprefix("#").lower() for channel in wanted - self._ids - {"*"}
        )
        self._known: dict[str, str] = {}

    async def start(self) -> None:
        """Read the names of all channels that the bot is in, where names are configured.

        Raises Failure; Denied where the scope `channels:read` is missing.
        """
        if not self._names:
            return
        for channel in await self._ours():
            self.seen(str(channel.get("id") or ""), str(channel.get("name") or ""))

    async def _ours(self) -> Sequence[Json]:
        """Every channel that the bot is in; without `groups:read` the public ones."""
        try:
            return await self._list("public_channel,private_channel")
        except Denied as refusal:
            if refusal.code != "missing_scope":
                raise
            return await self._list("public_channel")

    async def _list(self, types: str) -> Sequence[Json]:
        return await self._api.pages(
            "users.conversations", "channels", types=types, exclude_archived=True, limit=200
        )

    @property
    def unresolved(self) -> frozenset[str]:
        """Configured names of which the bot has seen no channel: it may not be a member."""
        return self._names - set(self._known.values())

    def is_support(self, channel: str) -> bool:
        """Whether everything that people write there is for support."""
        return self._all or channel in self._ids or self._known.get(channel, "") in self._names

    async def support_channels(self) -> Sequence[str]:
        """Ids of the support channels that the bot is in. Raises Failure."""
        if self._all:
            return [str(channel.get("id")) for channel in await self._ours() if channel.get("id")]
        named = {channel for channel, name in self._known.items() if name in self._names}
        return sorted(named | self._ids)

    async def learn(self, channel: str) -> None:
        """Make sure that `is_support` can judge this channel. Raises Failure where Slack does
        not answer: a guess could lose a customer's message."""
        if self._names and channel not in self._known and not self.is_support(channel):
            try:
                await self.name(channel)
            except Gone:
                return
            except Denied as refusal:
                # A kind of channel whose names we may not read cannot be configured by name.
                if refusal.code != "missing_scope":
                    raise

    async def name(self, channel: str) -> str:
        """The channel's name without `#`. Raises Failure."""
        if channel not in self._known:
            found = await self._api.read("conversations.info", channel=channel)
            self._known[channel] = str((found.get("channel") or {}).get("name") or "").lower()
        return self._known[channel]

    def seen(self, channel: str, name: str) -> None:
        """Note a channel's name, first or new; an empty one is to be looked up when needed."""
        if name:
            self._known[channel] = name.lower()
        else:
            self._known.pop(channel, None)

    def lost(self, channel: str) -> None:
        """Forget a channel that the bot is no longer in."""
        self._known.pop(channel, None)
