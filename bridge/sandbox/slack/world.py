"""The workspace's state, and the ids and timestamps that Slack mints."""

from __future__ import annotations

import itertools
import re
import time
from collections import defaultdict
from collections.abc import Iterator

from bridge.sandbox.slack.model import (
    App,
    Channel,
    File,
    Installation,
    Json,
    Message,
    Team,
    User,
    UserGroup,
)

_WORD = re.compile(r"[^a-z0-9]+")


class World:
    """Teams, people, channels, messages, groups and files. Ids are minted in a fixed order, so
    that two fresh worlds which saw the same calls agree."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.base_url = ""
        """Where this Slack answers, without a slash at the end; known once it listens."""
        self.teams: dict[str, Team] = {}
        self.installations: dict[str, Installation] = {}
        """By team id."""
        self.users: dict[str, User] = {}
        self.channels: dict[str, Channel] = {}
        self.files: dict[str, File] = {}
        self.groups: dict[str, UserGroup] = {}
        self.views: dict[str, Json] = {}
        self.homes: dict[str, Json] = {}
        """User id to the published App Home."""
        self.statuses: dict[tuple[str, str], tuple[str, float]] = {}
        """(channel, root ts) to the status shown there and when it fades (monotonic)."""
        self.titles: dict[tuple[str, str], str] = {}
        self.prompts: dict[tuple[str, str], Json] = {}
        self._ids: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._last_micros = 0

    def mint(self, prefix: str) -> str:
        """The next id of a kind: `U0SB000001`, `C0SB000001`, and so on."""
        return f"{prefix}0SB{next(self._ids[prefix]):06X}"

    def mint_ts(self) -> str:
        """A timestamp later than every one before it, in the whole sandbox."""
        self._last_micros = max(time.time_ns() // 1000, self._last_micros + 1)
        return f"{self._last_micros // 1_000_000}.{self._last_micros % 1_000_000:06d}"

    def add_team(self, name: str, domain: str) -> Team:
        """Another workspace."""
        team = Team(self.mint("T"), name, domain)
        self.teams[team.id] = team
        return team

    def install(self, team: str, token: str, name: str) -> Installation:
        """Put the app into a workspace: a bot user and its token."""
        bot = User(
            id=self.mint("U"),
            team=team,
            name=name,
            real_name=self.app.name,
            display_name="",
            is_bot=True,
            updated=int(time.time()),
        )
        self.users[bot.id] = bot
        installation = Installation(team, bot.id, self.mint("B"), token)
        self.installations[team] = installation
        return installation

    def add_user(self, team: str, real_name: str, name: str = "") -> User:
        """A person; the handle is made from the name where none is given."""
        handle = name or _WORD.sub(".", real_name.lower()).strip(".")
        user = User(
            id=self.mint("U"),
            team=team,
            name=handle,
            real_name=real_name,
            display_name=real_name.split(" ", maxsplit=1)[0],
            updated=int(time.time()),
        )
        self.users[user.id] = user
        return user

    def add_channel(self, name: str, kind: str, team: str, creator: str) -> Channel:
        """A conversation with its creator in it."""
        prefix = {"im": "D"}.get(kind, "C")
        channel = Channel(
            id=self.mint(prefix),
            name=name,
            kind=kind,
            team=team,
            creator=creator,
            created=int(time.time()),
            members=[creator],
            connected_teams=[team],
        )
        self.channels[channel.id] = channel
        return channel

    def dm(self, installation: Installation, user: str) -> Channel:
        """The direct conversation of a person with the bot, made on first use."""
        for channel in self.channels.values():
            if channel.kind == "im" and set(channel.members) == {installation.bot_user, user}:
                return channel
        channel = self.add_channel("", "im", installation.team, user)
        channel.members = [user, installation.bot_user]
        return channel

    def channel(self, key: str) -> Channel | None:
        """By id, or by name with or without its `#`."""
        found = self.channels.get(key)
        if found is not None:
            return found
        name = key.removeprefix("#")
        return next((c for c in self.channels.values() if name and c.name == name), None)

    def user(self, key: str) -> User | None:
        """By id, handle, or name as shown, with or without its `@`; the case is ignored."""
        found = self.users.get(key)
        if found is not None:
            return found
        name = key.removeprefix("@").lower()
        return next(
            (
                user
                for user in self.users.values()
                if name and name in (user.name, user.real_name.lower(), user.display_name.lower())
            ),
            None,
        )

    def bot_of(self, bot_id: str) -> Installation | None:
        """The installation with this bot id."""
        return next((i for i in self.installations.values() if i.bot_id == bot_id), None)

    def installation_in(self, channel: Channel) -> Installation | None:
        """The first installation whose bot is in the channel: the one that hears its events."""
        return next((i for i in self.installations.values() if i.bot_user in channel.members), None)

    def store(self, message: Message) -> None:
        """Add a message, to its thread too if it is a reply."""
        channel = self.channels[message.channel]
        channel.messages[message.ts] = message
        if message.thread_ts is not None:
            channel.threads.setdefault(message.thread_ts, []).append(message)

    def forget(self, message: Message) -> None:
        """Take a message out, and out of its thread."""
        channel = self.channels[message.channel]
        channel.messages.pop(message.ts, None)
        replies = channel.threads.get(message.thread_ts or "", [])
        if message in replies:
            replies.remove(message)
            if not replies:
                del channel.threads[message.root_ts]
