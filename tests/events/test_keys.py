"""Keys and seed files."""

import base64
import stat
from binascii import crc_hqx
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.keys import BadKeyError, Key, is_key, is_signed, raw_key
from tests.events.strategies import PUBLIC, altered_key


def test_a_saved_key_is_the_same_key(tmp_path: Path) -> None:
    key, path = Key.make(), tmp_path / "deep" / "account.nk"
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Key.load(path)
    assert (again.public, again.seed) == (key.public, key.seed)
    assert again.sign(b"x") == key.sign(b"x")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "account.nk"
    first = Key.make()
    first.save(path)
    with pytest.raises(BadKeyError, match="exists already"):
        Key.make().save(path)
    assert Key.load(path).public == first.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_seed_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "account.nk"
    Key.make().save(path)
    path.chmod(mode)
    with pytest.raises(BadKeyError, match="chmod 600"):
        Key.load(path)


@pytest.mark.parametrize(
    "text",
    ["", "SU", "hello", "SUAAAA", PUBLIC[0], Key.make().seed[:-1], Key.make().seed.lower(), "\u00e9"],
)
def test_a_file_that_is_no_seed_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "account.nk"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(BadKeyError) as caught:
        Key.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.nk", tmp_path):
        with pytest.raises(BadKeyError, match=str(path)):
            Key.load(path)


def test_a_servers_seed_is_refused() -> None:
    import nkeys

    seed = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_SERVER)
    with pytest.raises(BadKeyError):
        Key(bytes(seed).decode())


def test_what_is_a_key() -> None:
    key = PUBLIC[0]
    assert is_key(key)
    assert len(raw_key(key) or b"") == 32
    for other in altered_key(key):
        assert not is_key(other), other
    for odd in ("", None, 5, b"U" * 56, ["U"], "U" * 56, "\u00dc" * 56, "U" + "=" * 55):
        assert not is_key(odd), odd


@pytest.mark.parametrize("size", [28, 29, 30, 31, 33])
def test_a_key_of_another_size_is_none(size: int) -> None:
    """Base32 padding would make a text of 56 characters of fewer bytes, checksum and all."""
    body = bytes([20 << 3]) + bytes(size)
    text = base64.b32encode(body + crc_hqx(body, 0).to_bytes(2, "little")).decode()
    assert raw_key(text) is None
    assert not is_key(text)


@given(st.text(min_size=56, max_size=56) | st.text("ABCDEFGHU234567=", min_size=56, max_size=56))
def test_no_text_breaks_the_check(text: str) -> None:
    raw = raw_key(text)
    assert raw is None or len(raw) == 32


@given(st.binary(max_size=100), st.binary(max_size=100), st.text(max_size=90))
def test_signatures(data: bytes, other: bytes, text: str) -> None:
    key = Key.make()
    raw = raw_key(key.public)
    assert raw is not None
    signature = key.sign(data)
    assert len(signature) == 86
    assert is_signed(raw, signature, data)
    assert is_signed(raw, signature, other) == (data == other)
    assert not is_signed(raw, text, data)
