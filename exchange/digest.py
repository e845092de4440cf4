"""The digest of the market's state: a sum over its entries, kept up as they change.

Equal states have equal digests, however they were reached. An entry is a key and a list of plain values;
its weight is the first 128 bits of BLAKE2b over both as JSON; the digest is the sum modulo 2**128.
Taking it costs O(entries changed since it was last taken).
"""

import hashlib
from collections.abc import Callable
from typing import Any

from events.wire import dumps

Key = tuple[Any, ...]  # a kind of entity, and what names one
MODULUS = 1 << 128


class Digest:
    """`entry` gives the present values under a key, or None where there is none any more."""

    def __init__(self, entry: Callable[[Key], list[object] | None]) -> None:
        self._entry = entry
        self._weights: dict[Key, int] = {}
        self._changed: set[Key] = set()
        self._sum = 0

    def touch(self, key: Key) -> None:
        """The entry under this key is about to change, or has changed."""
        self._changed.add(key)

    def take(self) -> str:
        """The digest of the state as it is now, in hexadecimal."""
        for key in self._changed:
            values = self._entry(key)
            weight = 0
            if values is not None:
                weight = int.from_bytes(hashlib.blake2b(dumps([key, values]), digest_size=16).digest(), "big")
            self._sum += weight - self._weights.pop(key, 0)
            if values is not None:
                self._weights[key] = weight
        self._changed.clear()
        self._sum %= MODULUS
        return f"{self._sum:032x}"

    def fresh(self) -> str:
        """The same, computed from every entry anew; equal to `take` unless a change was not told."""
        total = 0
        for key in self._weights:
            values = self._entry(key)
            assert values is not None, key
            total += int.from_bytes(hashlib.blake2b(dumps([key, values]), digest_size=16).digest(), "big")
        return f"{total % MODULUS:032x}"
