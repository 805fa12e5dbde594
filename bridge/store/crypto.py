"""Encryption of what is stored: tokens and people's words never lie in Redis in clear.

Fernet (AES-128-CBC with HMAC-SHA256, by `cryptography`). Keys are rotated by putting a new one in
front: it encrypts from then on, while the older ones still open what they wrote.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from bridge.store.errors import Unreadable

KEY_FILE: Final = "encryption.key"


class Box:
    """Seals and opens records. `keys`: comma-separated Fernet keys (32 bytes, URL-safe base64),
    the newest first. Raises ValueError where one is not a key; the message does not show it."""

    def __init__(self, keys: str) -> None:
        self._fernet = MultiFernet(_parse(keys))

    def seal(self, record: bytes) -> bytes:
        """Encrypt under the newest key."""
        return self._fernet.encrypt(record)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt. Raises Unreadable where no key fits or the record is damaged."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise Unreadable("no key of BRIDGE_ENCRYPTION_KEYS opens the record") from None


def _parse(keys: str) -> list[Fernet]:
    parsed = []
    for position, key in enumerate(keys.split(","), 1):
        try:
            parsed.append(Fernet(key.strip()))
        except ValueError:
            # `from None`: the cause may quote the key.
            raise ValueError(
                f"BRIDGE_ENCRYPTION_KEYS: key {position} is not 32 bytes in URL-safe base64; "
                "make one with: python -c 'from cryptography.fernet import Fernet; "
                "print(Fernet.generate_key().decode())'"
            ) from None
    return parsed


def make_or_read_key(data_dir: Path) -> str:
    """The key of the embedded Redis, kept beside its data in `encryption.key` (mode 0600).

    Made where there is none; of several processes that make one at once, one wins and all use its
    key. Raises ValueError where others may read the file or it holds no key, OSError where it
    cannot be read or made.
    """
    path = data_dir / KEY_FILE
    if not path.exists():
        _make_key(path)
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        key = file.read().decode("ascii", "replace").strip()
    if mode & 0o077:
        raise ValueError(f"{path} can be read by others (mode {mode:04o}): chmod 600 it")
    try:
        Box(key)
    except ValueError:
        raise ValueError(f"{path} does not hold an encryption key") from None
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: of two processes the first wins, and nobody's key is replaced.
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
