"""Account keys: Ed25519 as NATS nkeys. A seed stays in a file that only its owner can read."""

import base64
import os
import stat
from binascii import crc_hqx
from pathlib import Path

import nkeys
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

KEY_CHARACTERS = 56
RAW_BYTES = 35  # prefix, 32 bytes of key, 2 of checksum: 56 characters of base32 without padding
SIGNATURE_CHARACTERS = 86  # 64 bytes, base64url without padding


class BadKeyError(Exception):
    """A key or seed file that cannot be used; the text says what to do."""


class Key:
    """One account's key pair: `public` names the account, `sign` signs bytes.

    The seed is kept as the text of the seed file (`SU...`), which is what NATS clients take.
    """

    def __init__(self, seed: str) -> None:
        try:
            self._pair = nkeys.from_seed(bytearray(seed.encode("ascii")))
            self.public: str = self._pair.public_key.decode("ascii")
        except Exception as error:
            raise BadKeyError("not an nkey seed (a line that begins with SU)") from error
        if not self.public.startswith("U"):
            raise BadKeyError("not a user seed: it must begin with SU")
        self.seed = seed

    @classmethod
    def make(cls) -> "Key":
        """A new key from the operating system's randomness."""
        return cls(bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)).decode("ascii"))

    @classmethod
    def load(cls, path: Path) -> "Key":
        """Read a seed file. Raises BadKeyError if it is missing, readable by others, or no seed."""
        try:
            mode = path.stat().st_mode
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadKeyError(f"{path}: {getattr(error, 'strerror', None) or 'not a seed file'}") from error
        try:
            key = cls(text)
        except BadKeyError as error:
            raise BadKeyError(f"{path}: {error}") from error
        if stat.S_IMODE(mode) & 0o077:
            raise BadKeyError(f"{path}: others can read this seed; chmod 600 {path}")
        return key

    def save(self, path: Path) -> None:
        """Write the seed with mode 0600. Raises BadKeyError if the file exists."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise BadKeyError(f"{path}: exists already; a key is never overwritten") from error
        with os.fdopen(descriptor, "w") as file:
            file.write(self.seed + "\n")

    def sign(self, data: bytes) -> str:
        """The Ed25519 signature of `data`, as 86 characters of base64url without padding."""
        return _text(self._pair.sign(data))


def is_key(text: object) -> bool:
    """Whether `text` is the public key of an account: prefix, length, alphabet and checksum."""
    return isinstance(text, str) and raw_key(text) is not None


def raw_key(text: str) -> bytes | None:
    """The 32 bytes of a public user key, or None if the text is not one.

    The checksum at its end is CRC-16/XMODEM, little-endian.
    """
    if len(text) != KEY_CHARACTERS or not text.startswith("U"):
        return None
    try:
        raw = base64.b32decode(text)
    except ValueError:
        return None
    if len(raw) != RAW_BYTES or raw[0] != nkeys.PREFIX_BYTE_USER:  # padding would make it shorter
        return None
    return raw[1:-2] if crc_hqx(raw[:-2], 0).to_bytes(2, "little") == raw[-2:] else None


def is_signed(raw: bytes, signature: str, data: bytes) -> bool:
    """Whether `signature` (86 characters) is that of the key `raw` (32 bytes) over `data` (R35).

    A signature has one spelling: characters that Python would pass over, or bits that mean nothing, make
    it false.
    """
    try:
        signed = base64.urlsafe_b64decode(signature + "==")
        if _text(signed) != signature or len(signature) != SIGNATURE_CHARACTERS:
            return False
        crypto_sign_open(signed + data, raw)
    except (BadSignatureError, ValueError):
        return False
    return True


def _text(signature: bytes) -> str:
    """A signature as base64url without padding."""
    return base64.urlsafe_b64encode(signature).decode("ascii").rstrip("=")
