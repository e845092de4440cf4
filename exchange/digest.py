"""The digest of the market's state: a sum over its entries, kept up as they change.

Equal states have equal digests, however they were reached. An entry is a key and a list of plain values;
its weight is the first 128 bits of BLAKE2b over both as JSON; the digest is the sum modulo 2**128.
Taking it costs O(entries changed since it was last taken).
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

import msgspec

Key = tuple[Any, ...]  # a kind of entity, and what names one
MODULUS = 1 << 128
WEIGHT = 16  # bytes of a weight
ENCODER = msgspec.json.Encoder()  # as events are written in commits


class Digest:
    """`entry` gives the present values under a key, or None where there is none any more."""

    def __init__(self, entry: Callable[[Key], list[object] | None]) -> None:
        self._entry = entry
        self._weights: dict[Key, int] = {}
        self._changed: set[Key] = set()
        self._sum = 0
        self.touch: Callable[[Key], None] = self._changed.add  # the entry under this key changes

    def take(self) -> str:
        """The digest of the state as it is now, in hexadecimal."""
        weights, entry, encode, total = self._weights, self._entry, ENCODER.encode, self._sum
        for key in self._changed:
            values = entry(key)
            if values is None:
                total -= weights.pop(key, 0)
            else:
                new = int.from_bytes(blake2b(encode((key, values)), digest_size=16).digest(), "big")
                total += new - weights.get(key, 0)
                weights[key] = new
        self._changed.clear()
        self._sum = total % MODULUS
        return f"{self._sum:032x}"

    def fresh(self) -> str:
        """The same, computed from every entry anew; equal to `take` unless a change was not told."""
        total = 0
        for key in self._weights:
            values = self._entry(key)
            assert values is not None, key
            total += weight(row(key, values))
        return f"{total % MODULUS:032x}"

    def keys(self) -> frozenset[Key]:
        """What it sums over, as of the last `take`. O(entries)."""
        return frozenset(self._weights)

    def fill(self, weights: dict[Key, int]) -> None:
        """Begin with entries whose weights are known: those of a snapshot."""
        assert not self._weights
        self._weights, self._sum = weights, sum(weights.values()) % MODULUS
        self._changed.clear()


def row(key: Key, values: list[object]) -> bytes:
    """An entry as JSON."""
    return ENCODER.encode((key, values))


def weight(row: bytes) -> int:
    """What an entry adds to the digest."""
    return int.from_bytes(raw_weight(row), "big")


def raw_weight(row: bytes) -> bytes:
    """The same in WEIGHT bytes, big-endian."""
    return blake2b(row, digest_size=WEIGHT).digest()


def weights_in(read: Callable[[int], bytes]) -> Iterator[int]:
    """The weights in a file's bytes, one after the other. Ends where the file does."""
    while piece := read(WEIGHT * 1024):
        for start in range(0, len(piece), WEIGHT):
            yield int.from_bytes(piece[start : start + WEIGHT], "big")
