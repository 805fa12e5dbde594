from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from bridge.store.crypto import KEY_FILE, Box, make_or_read_key
from bridge.store.errors import Unreadable

ONE, TWO = (Fernet.generate_key().decode() for _ in range(2))


@given(st.binary())
def test_a_box_opens_what_it_sealed(record: bytes) -> None:
    sealed = Box(ONE).seal(record)
    assert Box(ONE).open(sealed) == record
    assert len(record) < 4 or record not in sealed


def test_the_newest_key_seals_and_the_older_ones_open() -> None:
    old = Box(ONE).seal(b"record")
    both = Box(f"{TWO}, {ONE}")
    assert both.open(old) == b"record"
    assert Box(TWO).open(both.seal(b"record")) == b"record"


def test_what_no_key_opens_is_unreadable() -> None:
    sealed = Box(ONE).seal(b"record")
    with pytest.raises(Unreadable):
        Box(TWO).open(sealed)
    with pytest.raises(Unreadable):
        Box(ONE).open(sealed[:-8] + b"AAAAAAA=")
    with pytest.raises(Unreadable):
        Box(ONE).open(b"\xff")


@pytest.mark.parametrize("keys", ["", "not-a-key", f"{ONE},", f"{ONE},{TWO[:-4]}", "é" * 44])
def test_a_wrong_key_is_named_but_not_shown(keys: str) -> None:
    with pytest.raises(ValueError, match="BRIDGE_ENCRYPTION_KEYS") as raised:
        Box(keys)
    assert raised.value.__cause__ is None
    assert not any(key in str(raised.value) for key in keys.split(",") if key)


def test_the_key_file_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = make_or_read_key(folder)
    assert Box(key).open(Box(key).seal(b"x")) == b"x"
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
