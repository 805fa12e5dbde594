"""What a person or a test may change about the local Connect while it runs."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

DEFAULT_EXTENSIONS = (
    *("csv", "doc", "docx", "heic", "jfif", "jpeg", "jpg", "mov", "mp4"),
    *("pdf", "png", "ppt", "pptx", "rtf", "txt", "wav", "xls", "xlsx"),
)
LARGEST = 10**12
"""No number is larger, so that none is infinite."""


@dataclass
class Settings:
    """Durations are seconds. The defaults are those of the real service where it states one."""

    region: str = "us-east-1"
    account_id: str = "123456789012"
    instance_ids: list[str] | None = None
    """Instances that exist; None: any."""
    contact_flow_ids: list[str] | None = None
    """Flows that exist; None: any."""

    greeting: str | None = "Welcome to support. An agent will be with you shortly."
    flow_seconds: float = 0.1
    """From the customer's connection to the first block of the flow."""
    survey: str | None = None
    """What the disconnect flow says when the agent left; None: the chat ends at once."""
    survey_seconds: float = 300.0
    """How long the disconnect flow waits for the customer's answer."""
    customer_exit_ends: bool = True
    """Whether the customer's exit ends a chat whose agent is still there."""
    default_response_mode: Literal["INCREMENTAL", "COMPLETE"] = "INCREMENTAL"

    customer_connect_seconds: float = 300.0
    url_seconds: float = 100.0
    socket_seconds: float = 3600.0
    sockets_per_participant: int = 5
    token_seconds: float = 86400.0
    minute_seconds: float = 60.0
    """Length of a minute of ChatDurationInMinutes."""
    default_duration_minutes: int = 1500
    persistent_ready_seconds: float = 30.0
    """From the end of a chat until its transcript can be rehydrated."""
    client_token_seconds: float | None = None
    """How long a ClientToken is remembered; None: until the sandbox stops."""

    max_message_bytes: int = 16384
    max_message_chars: int | None = None
    concurrent_chats: int = 500
    connection_types: Literal["honoured", "ignored", "refused"] = "honoured"
    """What becomes of StartChatContact's ConnectionTypes; older services do not know it."""
    next_tokens_void_on_reconnect: bool = False
    """Whether CreateParticipantConnection voids the NextTokens given before it."""
    quotas: dict[str, float] | None = None
    """{"scale": 1.0} enforces the documented rates, scaled; None: no rates."""

    attachments_enabled: bool = True
    attachment_extensions: list[str] = field(default_factory=lambda: list(DEFAULT_EXTENSIONS))
    attachment_max_bytes: int = 20 * 1024 * 1024
    attachments_per_chat: int = 35
    attachment_scan: Literal["approve", "reject", "hold"] = "approve"
    scan_seconds: float | None = 0.0
    """Time between IN_PROGRESS and the verdict; None: no scanner, approved in one step."""
    upload_url_seconds: float = 900.0

    start_chat_instance_id: str | None = None
    """The start chat API's own instance, used where a request names none."""
    start_chat_flow_id: str | None = None
    start_chat_error_status: int | None = None
    """Status of the start chat API's failures; None: the service's own (older templates: 500)."""

    def patch(self, body: Mapping[str, Any]) -> None:
        """Change some. Raises ValueError, changing nothing, where a name or type is wrong."""
        hints = typing.get_type_hints(type(self))
        for name, value in body.items():
            if name not in hints:
                raise ValueError(f"unknown setting {name!r}")
            if not _fits(value, hints[name]):
                raise ValueError(f"setting {name!r} cannot be {value!r}")
        scale = (body.get("quotas") or {}).get("scale", 1.0)
        if scale <= 0:
            raise ValueError("the scale of quotas is above 0")
        for name, value in body.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """All of them, as JSON values."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(each, arguments[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(each, arguments[1]) for key, each in value.items()
        )
    if isinstance(value, bool) or hint is bool:
        return hint is bool and isinstance(value, bool)
    if hint in (int, float):
        numbers = (int,) if hint is int else (int, float)
        return isinstance(value, numbers) and 0 <= value <= LARGEST
    return isinstance(value, hint)
