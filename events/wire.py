"""What is on the wire: a stored message, JSON with one encoder and one decoder, and hashes over bytes."""

import hashlib
import struct
from typing import Any, NamedTuple

import orjson


class Stored(NamedTuple):
    """A message as a stream keeps it: sequence, stored time in ns since 1970, subject, bytes."""

    sequence: int
    time_ns: int
    subject: str
    data: bytes


def dumps(value: object) -> bytes:
    """Compact JSON; keys stay in their order, dataclasses become objects."""
    return orjson.dumps(value)


def loads(data: bytes) -> Any:
    """Parse JSON. Raises ValueError on anything that is not JSON in UTF-8."""
    return orjson.loads(data)


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


_HEAD = struct.Struct(">QQQQ").pack


class RequestsHash:
    """The hash over raw requests that a commit answers (R35).

    SHA-256 over, for each request in order: sequence, stored time in ns, length of the subject and
    length of the data as four unsigned 64-bit big-endian numbers, then the subject, then the data.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, sequence: int, time_ns: int, subject: str, data: bytes) -> None:
        """Add the next request. O(bytes)."""
        name = subject.encode()
        self._hash.update(_HEAD(sequence, time_ns, len(name), len(data)) + name + data)

    def hex(self) -> str:
        """The hash so far, in hexadecimal."""
        return self._hash.hexdigest()
