"""The bearer secrets of a chat, and what the service remembers of ClientTokens."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal

from bridge.sandbox.connect.clock import Clock, iso

Kind = Literal["participant_token", "connection_token", "socket_url"]


@dataclass
class Token:
    """One secret. `expires` is monotonic time in seconds; `expiry` the same as ISO 8601."""

    kind: Kind
    value: str
    chat_id: str
    """The initial contact id."""
    participant_id: str
    expires: float
    expiry: str


class Tokens:
    """All secrets ever given out; expired ones stay known, so that a call can be told from
    which chat it came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: dict[str, Token] = {}

    def issue(self, kind: Kind, chat_id: str, participant_id: str, seconds: float) -> Token:
        """A new one; earlier ones stay valid."""
        ms = 0 if seconds == float("inf") else self._clock.wall_ms() + int(seconds * 1000)
        token = Token(
            kind=kind,
            value=secrets.token_urlsafe(48),
            chat_id=chat_id,
            participant_id=participant_id,
            expires=self._clock.monotonic() + seconds,
            expiry=iso(ms),
        )
        self._tokens[token.value] = token
        return token

    def known(self, value: str) -> Token | None:
        """Whichever kind and however old."""
        return self._tokens.get(value)

    def valid(self, value: str, kind: Kind) -> Token | None:
        """The token if it is of this kind and has not expired."""
        token = self._tokens.get(value)
        if token is None or token.kind != kind or token.expires <= self._clock.monotonic():
            return None
        return token

    def expire(self, kind: Kind, chat_id: str) -> int:
        """Let all of a kind of one chat expire now. Answers how many were valid."""
        now = self._clock.monotonic()
        alive = [
            token
            for token in self._tokens.values()
            if token.kind == kind and token.chat_id == chat_id and token.expires > now
        ]
        for token in alive:
            token.expires = now
        return len(alive)


class ClientTokens:
    """Answers by ClientToken: the same token again gets the same answer and does nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[tuple[str, str, str], tuple[float, dict[str, Any]]] = {}

    def recall(
        self, scope: str, operation: str, token: str | None, seconds: float | None
    ) -> dict[str, Any] | None:
        """The answer given to this token within the last so many seconds, if any."""
        known = self._answers.get((scope, operation, token)) if token else None
        if known is None or (seconds is not None and self._clock.monotonic() - known[0] >= seconds):
            return None
        return known[1]

    def remember(
        self, scope: str, operation: str, token: str | None, answer: dict[str, Any]
    ) -> None:
        """Keep an answer; a call without a token is not kept."""
        if token:
            self._answers[scope, operation, token] = (self._clock.monotonic(), answer)

    def forget(self) -> None:
        """Lose them all, as the real service does after an undocumented time."""
        self._answers.clear()
