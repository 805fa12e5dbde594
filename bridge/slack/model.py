"""What the Slack side knows about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.core.model import Workspace

Json = Mapping[str, Any]
"""An object of what Slack sends: no key of it is certain. It is a dict, and is asked for as one,
because asking for an abstract Mapping takes ten times as long."""


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """How to reach Slack, and whom to serve."""

    bot_token: str = field(repr=False)
    app_token: str = field(default="", repr=False)
    """Given: Socket Mode."""
    signing_secret: str = field(default="", repr=False)
    """For HTTP mode."""
    api_url: str = "https://slack.com/api/"
    support_channels: tuple[str, ...] = ()
    """Channel ids, names with or without `#`, or `*` for every channel the bot is in."""
    customers: tuple[str, ...] = ("everyone",)
    """Who may open a conversation: `everyone`, `external`, or user groups by handle or id."""
    dm_threads: bool = False
    """Every top-level DM opens a thread of its own, instead of one flat conversation."""
    request_timeout: float = 10.0
    """Seconds for one Web API call, connecting included."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are in Slack: the installation that the bot token belongs to."""

    workspace: Workspace
    bot_user_id: str
    bot_id: str = ""
    app_id: str = ""
    scopes: frozenset[str] | None = None
    """What `x-oauth-scopes` listed; None where Slack did not say."""

    def wrote(self, message: Json) -> bool:
        """Whether a message is ours. A post with a customised author has no `user`, so all the
        marks that Slack leaves are tried."""
        profile = message.get("bot_profile")
        app_id = profile.get("app_id") if isinstance(profile, dict) else None
        return (
            message.get("user") == self.bot_user_id
            or (bool(self.bot_id) and message.get("bot_id") == self.bot_id)
            or (bool(self.app_id) and self.app_id in (message.get("app_id"), app_id))
        )

    def may(self, scope: str) -> bool:
        """Whether a scope was granted, as far as is known."""
        return self.scopes is None or scope in self.scopes
