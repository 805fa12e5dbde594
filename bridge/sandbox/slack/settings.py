"""What a test may change about the stand-in while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

SCOPES = (
    "app_mentions:read", "assistant:write", "channels:history", "channels:join", "channels:read",
    "chat:write", "chat:write.customize", "commands", "emoji:read",
    "files:read", "files:write", "groups:history", "groups:read", "im:history", "im:read",
    "im:write", "mpim:history", "mpim:read", "mpim:write", "reactions:read", "reactions:write",
    "team:read", "usergroups:read", "users:read", "users:read.email",
)  # fmt: skip

SUBSCRIPTIONS = (
    "app_home_opened", "app_mention", "app_uninstalled", "channel_archive", "channel_deleted",
    "channel_id_changed", "channel_left", "channel_rename", "channel_shared", "channel_unarchive",
    "channel_unshared", "file_shared", "group_archive", "group_left", "group_rename",
    "group_unarchive", "member_joined_channel", "member_left_channel", "message.channels",
    "message.groups", "message.im", "message.mpim", "reaction_added", "reaction_removed",
    "tokens_revoked",
)  # fmt: skip


@dataclass
class Settings:
    """Durations are seconds."""

    transport: str = "socket"
    """`socket` (Socket Mode is on) or `http` (it is off): exclusive, as in an app's settings."""
    request_url: str | None = None
    interactivity_url: str | None = None
    """Where clicks go in HTTP mode; None: to the request URL."""
    ack_seconds: float = 3.0
    retry_schedule: tuple[float, ...] = (1.0, 60.0, 300.0)
    """Waits before each further try of an unanswered event."""
    ping_seconds: float = 10.0
    ticket_seconds: float = 30.0
    connection_seconds: float = 18060.0
    """A socket is told to refresh after this time."""
    warning_seconds: float = 10.0
    """From the `warning` frame to the real cut."""
    max_sockets: int = 10
    granted_scopes: tuple[str, ...] = SCOPES
    subscriptions: tuple[str, ...] = SUBSCRIPTIONS
    history_limit: Mapping[str, float] | None = None
    """`{"messages": 15, "per_minute": 1}`: the limit of apps sold outside the Marketplace."""
    post_rate: Mapping[str, float] | None = None
    """`{"per_second": 1, "burst": 4}`: chat.postMessage in each channel."""
    share_seconds: float = 0.05
    """From files.completeUploadExternal to the message that shows the file."""
    external_file_stubs: bool = True
    """Events carry files of outsiders as `check_file_info` stubs."""
    trigger_seconds: float = 3.0
    response_url_seconds: float = 1800.0
    response_url_uses: int = 5
    status_seconds: float = 120.0

    def patch(self, body: Mapping[str, Any]) -> None:
        """Change some settings, all or none. Raises ValueError naming the wrong one."""
        checked = {}
        for name, value in body.items():
            if name not in _CHECKS:
                raise ValueError(f"unknown setting {name!r}")
            try:
                checked[name] = _CHECKS[name](value)
            except (TypeError, ValueError, KeyError) as error:
                raise ValueError(f"setting {name!r}: {error}") from error
        for name, value in checked.items():
            setattr(self, name, value)

    def show(self) -> dict[str, Any]:
        """All settings as JSON."""
        return asdict(self)


def _transport(value: Any) -> str:
    if value not in ("socket", "http"):
        raise ValueError("must be socket or http")
    return str(value)


def _seconds(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError("must be a number of seconds, 0 or more")
    return number


def _optional_url(value: Any) -> str | None:
    if value is None:
        return None
    if not str(value).startswith(("http://", "https://")):
        raise ValueError("must be an http or https address, or null")
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("must be a list of names")
    return tuple(str(name) for name in value)


def _numbers(*keys: str) -> Callable[[Any], Mapping[str, float] | None]:
    def check(value: Any) -> Mapping[str, float] | None:
        if value is None:
            return None
        if set(value) != set(keys) or any(float(value[key]) <= 0 for key in keys):
            raise ValueError(f"needs positive numbers for: {', '.join(keys)}")
        return {key: float(value[key]) for key in keys}

    return check


_CHECKS: dict[str, Callable[[Any], Any]] = {
    **{f.name: _seconds for f in fields(Settings) if f.type == "float"},
    "transport": _transport,
    "request_url": _optional_url,
    "interactivity_url": _optional_url,
    "retry_schedule": lambda value: tuple(_seconds(wait) for wait in value),
    "max_sockets": int,
    "response_url_uses": int,
    "granted_scopes": _names,
    "subscriptions": _names,
    "external_file_stubs": bool,
    "history_limit": _numbers("messages", "per_minute"),
    "post_rate": _numbers("per_second", "burst"),
}
