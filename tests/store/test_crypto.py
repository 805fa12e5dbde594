from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from bridge.store.crypto import KEY_FILE, Box, Key, Kind, make_or_read_key
from bridge.store.errors import Unreadable

ONE, TWO = (Fernet.generate_key().decode() for _ in range(2))


def seal(record: bytes = b"record", keys: str = ONE) -> bytes:
    return Box(keys).seal(record, "state", "T1:C1:1.5")


def opened(sealed: bytes, keys: str = ONE) -> bytes:
    return Box(keys).open(sealed, "state", "T1:C1:1.5")


@pytest.mark.parametrize(
    ("key", "about", "sealed"),
    [
        (1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
)
def test_the_cipher_is_the_one_that_is_specified(key: int, about: bytes, sealed: str) -> None:
    """By the examples of c2sp.org/XAES-256-GCM, one for each way to double."""
    cipher, nonce = Key(bytes([key]) * 32), b"ABCDEFGHIJKLMNOPQRSTUVWX"
    assert cipher.encrypt(nonce, b"XAES-256-GCM", about).hex() == sealed
    assert cipher.decrypt(nonce, bytes.fromhex(sealed), about) == b"XAES-256-GCM"


@given(st.binary())
def test_a_box_opens_what_it_sealed(record: bytes) -> None:
    sealed = seal(record)
    assert opened(sealed) == record
    assert len(sealed) == len(record) + 41
    assert len(record) < 4 or record not in sealed


def test_no_two_records_are_sealed_alike() -> None:
    box = Box(ONE)
    assert len({box.seal(b"record", "state", "x")[:25] for _ in range(1000)}) == 1000


def test_the_newest_key_seals_and_the_older_ones_open() -> None:
    old, both = seal(), f"{TWO}, {ONE}"
    assert opened(old, both) == b"record"
    assert opened(seal(keys=both), TWO) == b"record"


def test_what_no_key_opens_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="no key"):
        opened(seal(), TWO)


def test_whatever_is_damaged_or_cut_off_is_unreadable() -> None:
    sealed = seal()
    for position in range(len(sealed)):
        flipped = sealed[position] ^ 1
        with pytest.raises(Unreadable):
            opened(sealed[:position] + bytes([flipped]) + sealed[position + 1 :])
        with pytest.raises(Unreadable):
            opened(sealed[:position])
    with pytest.raises(Unreadable):
        opened(sealed + b"x")


@pytest.mark.parametrize(("kind", "whose"), [("mark", "T1:C1:1.5"), ("state", "T1:C1:1.6")])
def test_a_record_cannot_be_passed_off_as_another(kind: Kind, whose: str) -> None:
    with pytest.raises(Unreadable):
        Box(ONE).open(seal(), kind, whose)


@pytest.mark.parametrize("keys", ["", "not-a-key", f"{ONE},", f"{ONE},{TWO[:-4]}", "é" * 44])
def test_a_wrong_key_is_named_but_not_shown(keys: str) -> None:
    with pytest.raises(ValueError, match="BRIDGE_ENCRYPTION_KEYS") as raised:
        Box(keys)
    assert raised.value.__cause__ is None
    assert not any(key in str(raised.value) for key in keys.split(",") if key)


def test_the_key_file_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = make_or_read_key(folder)
    assert opened(seal(keys=key), key) == b"record"
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert make_or_read_key(folder) == key
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]


def test_all_who_make_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def make(_: int) -> str:
        together.wait()
        return make_or_read_key(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(make, range(8)))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    key = make_or_read_key(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(ValueError, match="can be read by others") as raised:
        make_or_read_key(tmp_path)
    assert key not in str(raised.value)


def test_a_key_file_without_a_key_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / KEY_FILE
    path.touch(mode=0o600)
    path.write_text("torn")
    with pytest.raises(ValueError, match="does not hold an encryption key") as raised:
        make_or_read_key(tmp_path)
    assert "torn" not in str(raised.value)
    assert path.read_text() == "torn"
