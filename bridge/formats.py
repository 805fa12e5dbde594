"""What may stand in a setting: checks of text, pure.

Each takes a value and returns the one to use, or raises a ValueError that says what is wrong and
never repeats the value: a secret may stand in the wrong place.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

CONTENT_TYPES = (
    "text/plain",
    "text/markdown",
    "application/json",
    "application/vnd.amazonaws.connect.message.interactive",
    "application/vnd.amazonaws.connect.message.interactive.response",
)
"""What a customer's side may declare (Connect API reference, StartChatContact)."""

KEY_BYTES = 32  # AES-256


def listed(value: str) -> tuple[str, ...]:
    """The entries of a comma-separated list."""
    return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)


def _split_url(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        # Its message quotes the URL.
        raise ValueError("is not a URL") from None
    return parts


def http_url(value: str) -> str:
    """An absolute http or https URL."""
    parts = _split_url(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http:// or https:// URL")
    return value


def secret_http_url(value: SecretStr) -> SecretStr:
    """The same, hidden."""
    http_url(value.get_secret_value())
    return value


def api_url(value: str) -> str:
    """The same, as a base that method names are joined to."""
    # slack_sdk joins method names on with urljoin, which needs the slash.
    return http_url(value).rstrip("/") + "/"


def redis_url(value: SecretStr) -> SecretStr:
    """A URL that redis-py understands."""
    parts = _split_url(value.get_secret_value())
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("has another scheme")
    return value


def bot_token(value: SecretStr) -> SecretStr:
    """A bot token, of a rotating app or not."""
    if not value.get_secret_value().startswith(("xoxb-", "xoxe.xoxb-")):
        raise ValueError("is not a bot token (it does not begin with xoxb-)")
    return value


def app_token(value: SecretStr) -> SecretStr:
    """An app-level token."""
    if not value.get_secret_value().startswith("xapp-"):
        raise ValueError("is not an app-level token (it does not begin with xapp-)")
    return value


def signing_secret(value: SecretStr) -> SecretStr:
    """Whatever is not plainly something else."""
    if value.get_secret_value().startswith(("xox", "xapp-")):
        raise ValueError("is a token, not the signing secret")
    return value


def instance_id(value: str) -> str:
    """The id: 1 to 100 characters of any kind, says Connect, so only look-alikes are refused."""
    hosts = (".connect.aws", ".awsapps.com")
    if value.startswith("arn:") or "/" in value or value.endswith(hosts):
        raise ValueError("is an ARN or a URL")
    return value


def flow_id(value: str) -> str:
    """The id; of an ARN the last part."""
    return value.rpartition("/")[2] if value.startswith("arn:") else value


def encryption_key(text: str) -> bytes:
    """A key of 32 bytes, written in URL-safe base64."""
    try:
        key = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"is not {KEY_BYTES} bytes in URL-safe base64")
    return key


def encryption_keys(value: SecretStr) -> SecretStr:
    """One or more such keys, separated by commas."""
    keys = listed(value.get_secret_value())
    if not keys:
        raise ValueError("has no key")
    for number, key in enumerate(keys, start=1):
        try:
            encryption_key(key)
        except ValueError as error:
            raise ValueError(f"entry {number} {error}") from None
    return SecretStr(",".join(keys))


def support_channels(value: tuple[str, ...]) -> tuple[str, ...]:
    """Channels, or `*` alone."""
    if "*" in value and len(value) > 1:
        raise ValueError("has * beside other entries")
    return value


def customers(value: tuple[str, ...]) -> tuple[str, ...]:
    """One of the two words, or user groups."""
    if not value:
        raise ValueError("has no entry")
    words = {"everyone", "external"}
    entries = tuple(entry.lower() if entry.lower() in words else entry for entry in value)
    if len(entries) > 1 and words & set(entries):
        raise ValueError("has everyone or external beside other entries")
    return entries


def content_types(value: tuple[str, ...]) -> tuple[str, ...]:
    """Types that StartChatContact takes; text/plain among them."""
    if "text/plain" not in value:
        raise ValueError("has no text/plain, which Connect requires")
    if not set(value) <= set(CONTENT_TYPES):
        raise ValueError("has a type that Connect does not know")
    return value


def response_mode(value: str) -> str | None:
    """The mode as Connect writes it; None for `none`."""
    return None if value.lower() == "none" else value.upper()
