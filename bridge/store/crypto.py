"""Encryption of what is stored: tokens and people's words never lie in Redis in clear.

XAES-256-GCM, as C2SP specifies it (c2sp.org/XAES-256-GCM): AES-256-GCM (by `cryptography`) under a
key of its own for each record, derived from the configured one and the first half of a random nonce
of 24 bytes. So there is no number of records after which a key is used up, as AES-GCM alone has, and
nothing to remember or to count between records, threads, processes and forks.

Keys are rotated by putting a new one in front: it encrypts from then on, while the older ones still
open what they wrote.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge import formats
from bridge.store.errors import Unreadable

KEY_FILE: Final = "encryption.key"

Kind = Literal["lane", "state", "mark", "parked"]

_VERSION: Final = b"\x01"
_NONCE: Final = 24
_TAG: Final = 16
_BLOCK: Final = 16
"""Bytes."""


class Key:
    """XAES-256-GCM under one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        # ECB is how a library is asked for the bare block cipher, of which CMAC (the pseudo-random
        # function of the derivation) is made.
        self._block = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305
        self._mask = int.from_bytes(self._cmac_subkey() * 2)

    def _cmac_subkey(self) -> bytes:
        """K1 of NIST SP 800-38B: zeros, encrypted, doubled in GF(2^128)."""
        carry, doubled = divmod(int.from_bytes(self._block.update(bytes(_BLOCK))) << 1, 1 << 128)
        return (doubled ^ carry * 0x87).to_bytes(_BLOCK)

    def encrypt(self, nonce: bytes, record: bytes, about: bytes) -> bytes:
        """Encrypt and authenticate; `about` is authenticated with it. A nonce (24 bytes) serves
        once."""
        return self._derived(nonce).encrypt(nonce[12:], record, about)

    def decrypt(self, nonce: bytes, sealed: bytes, about: bytes) -> bytes:
        """Raises InvalidTag unless it is what this key encrypted with this nonce and `about`."""
        return self._derived(nonce).decrypt(nonce[12:], sealed, about)

    def _derived(self, nonce: bytes) -> AESGCM:
        """NIST SP 800-108, counter mode: one block for each half of the key, as both fit in one."""
        context = nonce[:12]
        blocks = int.from_bytes(b"\0\1X\0" + context + b"\0\2X\0" + context) ^ self._mask
        return AESGCM(self._block.update(blocks.to_bytes(2 * _BLOCK)))


class Box:
    """Seals and opens records. `keys`: 32 bytes each in URL-safe base64, separated by commas, the
    newest first. Raises ValueError where one is not a key; the message does not show it.

    A record is opened as what it was sealed as: its kind, and the id of what it belongs to. So
    whoever writes in Redis cannot pass one off as another.
    """

    def __init__(self, keys: str) -> None:
        self._keys = _parse(keys)

    def seal(self, record: bytes, kind: Kind, whose: str) -> bytes:
        """Encrypt under the newest key: a byte for the version, the nonce, then ciphertext and tag
        (41 bytes more than the record)."""
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._keys[0].encrypt(nonce, record, _about(kind, whose))

    def open(self, sealed: bytes, kind: Kind, whose: str) -> bytes:
        """Decrypt. Raises Unreadable where no key fits, the record was sealed as another one or is
        damaged."""
        if not sealed.startswith(_VERSION) or len(sealed) < len(_VERSION) + _NONCE + _TAG:
            raise Unreadable("not a sealed record of version 1")
        nonce, ciphertext = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        for key in self._keys:
            with suppress(InvalidTag):
                return key.decrypt(nonce, ciphertext, _about(kind, whose))
        raise Unreadable("no key of BRIDGE_ENCRYPTION_KEYS opens the record")


def _about(kind: Kind, whose: str) -> bytes:
    return f"{kind}:{whose}".encode()


def _parse(keys: str) -> list[Key]:
    parsed = []
    for position, key in enumerate(keys.split(","), 1):
        try:
            parsed.append(Key(formats.encryption_key(key.strip())))
        except ValueError as error:
            # `from None`: the cause may quote the key.
            raise ValueError(f"BRIDGE_ENCRYPTION_KEYS: key {position} {error}") from None
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
            file.write(base64.urlsafe_b64encode(os.urandom(formats.KEY_BYTES)) + b"\n")
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
