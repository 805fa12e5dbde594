"""What a Slack workspace is made of. Plain state: no behaviour beyond reading itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True)
class Team:
    """A workspace."""

    id: str
    name: str
    domain: str


@dataclass(frozen=True)
class App:
    """The one app of the sandbox, as its developer knows it."""

    id: str
    name: str
    app_token: str
    signing_secret: str
    verification_token: str


@dataclass(frozen=True)
class Installation:
    """The app in one workspace: its bot user there, and the token it acts with."""

    team: str
    bot_user: str
    bot_id: str
    token: str


@dataclass
class User:
    """A person or a bot user."""

    id: str
    team: str
    name: str
    real_name: str
    display_name: str
    email: str | None = None
    tz: str = "America/Los_Angeles"
    locale: str = "en-US"
    is_bot: bool = False
    is_restricted: bool = False
    is_ultra_restricted: bool = False
    updated: int = 0

    @property
    def shown_name(self) -> str:
        """The name that stands over this user's messages."""
        return self.display_name or self.real_name or self.name


@dataclass
class Message:
    """One message. `body` is its JSON as Slack stores it, without what follows from its
    replies; the other members are what the receiver of that JSON cannot see."""

    channel: str
    body: Json
    metadata: Json | None = None
    parse: str = "none"
    mrkdwn: bool = True
    link_names: bool = False
    viewer: str | None = None
    """Whom an ephemeral message is shown to."""

    @property
    def ts(self) -> str:
        """Id and sort key within the channel: a string, seconds and six digits."""
        return str(self.body["ts"])

    @property
    def thread_ts(self) -> str | None:
        """The root's ts, on replies only."""
        root = self.body.get("thread_ts")
        return None if root is None or root == self.ts else str(root)

    @property
    def root_ts(self) -> str:
        """The ts of the thread this message is in or would open."""
        return self.thread_ts or self.ts

    @property
    def subtype(self) -> str | None:
        """Slack's subtype; None on an ordinary message."""
        value = self.body.get("subtype")
        return None if value is None else str(value)

    @property
    def author(self) -> str | None:
        """The user id, or the bot id of a post without one."""
        value = self.body.get("user") or self.body.get("bot_id")
        return None if value is None else str(value)


@dataclass
class Channel:
    """A conversation of any kind: `kind` is channel, group (private), im or mpim."""

    id: str
    name: str
    kind: str
    team: str
    creator: str
    created: int
    members: list[str] = field(default_factory=list)
    connected_teams: list[str] = field(default_factory=list)
    archived: bool = False
    is_general: bool = False
    topic: Json = field(default_factory=lambda: {"value": "", "creator": "", "last_set": 0})
    purpose: Json = field(default_factory=lambda: {"value": "", "creator": "", "last_set": 0})
    messages: dict[str, Message] = field(default_factory=dict)
    threads: dict[str, list[Message]] = field(default_factory=dict)
    """Root ts to its replies in order; a root without replies has no entry."""
    ephemerals: list[Message] = field(default_factory=list)

    @property
    def ext_shared(self) -> bool:
        """Whether another organisation is in it (Slack Connect)."""
        return len(self.connected_teams) > 1


@dataclass
class File:
    """An uploaded file; `shares` says which messages show it: channel id to list of ts."""

    id: str
    name: str
    title: str
    mimetype: str
    filetype: str
    user: str
    user_team: str
    created: int
    content: bytes = b""
    complete: bool = False
    alt_text: str = ""
    shares: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class UserGroup:
    """A group that `@handle` mentions."""

    id: str
    team: str
    handle: str
    name: str
    users: list[str]
    created: int
