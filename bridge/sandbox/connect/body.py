"""JSON bodies of the desk's requests, read with plain complaints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.sandbox.connect.errors import DeskError
from bridge.sandbox.connect.wire import decode


@dataclass(frozen=True)
class Body:
    """The members of a request; each reader raises DeskError 400 for a wrong one."""

    members: dict[str, Any]

    @classmethod
    def of(cls, raw: bytes) -> Body:
        """Parse; an empty body is an empty object."""
        try:
            return cls(decode(raw))
        except ValueError:
            raise DeskError("the body is not a JSON object") from None

    def has(self, name: str) -> bool:
        """Whether a member is there and not null."""
        return self.members.get(name) is not None

    def any(self, name: str) -> Any:
        """A required member of any type, null included."""
        if name not in self.members:
            raise DeskError(f"{name} is missing")
        return self.members[name]

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is absent or null."""
        value = self.members.get(name)
        if value is not None and (not isinstance(value, str) or not value):
            raise DeskError(f"{name} is a string that is not empty")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required where there is no default."""
        value = self.optional_text(name)
        value = default if value is None else value
        if value is None:
            raise DeskError(f"{name} is missing")
        return value

    def texts(self, name: str) -> list[str] | None:
        """A list of strings that is not empty, or None where it is absent."""
        value = self.members.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise DeskError(f"{name} is a list of strings")
        if not value:
            raise DeskError(f"{name} is empty")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean."""
        value = self.members.get(name, default)
        if not isinstance(value, bool):
            raise DeskError(f"{name} is true or false")
        return value

    def choice(self, name: str, options: Sequence[str], default: str | None = None) -> str:
        """One of a few strings."""
        value = self.text(name, default)
        if value not in options:
            raise DeskError(f"{name} is one of {', '.join(options)}")
        return value
