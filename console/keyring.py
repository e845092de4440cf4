"""The three keys of a market: its operator's, its exchange's, its projections'."""

from pathlib import Path
from typing import NamedTuple

from events.keys import Key

NAMES = ("operator", "exchange", "projections")


class Keyring(NamedTuple):
    """The keys under <data>/keys, by role."""

    operator: Key
    exchange: Key
    projections: Key

    @classmethod
    def load(cls, data: Path) -> "Keyring":
        """The keys of a market that exists. Raises BadKeyError."""
        return cls(*(Key.load(place(data, name)) for name in NAMES))

    @classmethod
    def load_or_make(cls, data: Path) -> "Keyring":
        """The keys, made where they are not there yet. Raises BadKeyError."""
        for name in NAMES:
            if not place(data, name).exists():
                Key.make().save(place(data, name))
        return cls.load(data)


def place(data: Path, name: str) -> Path:
    """Where a key is kept."""
    return data / "keys" / f"{name}.nk"
