"""Profiles and screens: what a machine has, and what a bid demands of it (R6, R24).

A screen as text is a list of words: `memory_mb>=512` names a number and its minimum, `avx2` a flag,
`only=KEY` a seller alone allowed, `block=KEY` a seller refused.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# The order is the order in the book and never changes; new numbers are added at the end.
SCREEN_NUMBERS = ("memory_mb", "jail", "reputation", "mips", "mflops")
STATED_NUMBERS = ("memory_mb", "jail", "mips", "mflops")  # reputation is the market's to say (R27)
NUMBER_SINCE = {"mips": 3, "mflops": 3}  # the version of the rules that brought it; the others: 1 (R34)
MEANING = {
    "memory_mb": "memory of one program, in MiB",
    "jail": "the jail's level: 3 namespaces, Landlock and seccomp; 2 without namespaces; 1 seccomp alone",
    "reputation": "the good share of votes, in parts per million",
    "mips": "what the benchmark measured: millions of whole-number operations a second (benchmark.md)",
    "mflops": "the same of operations on doubles",
}
FLAG = r"[a-z0-9][a-z0-9_./+-]{0,39}"
MOST_FLAGS = 512
MOST_ACCOUNTS = 256


class BadScreenError(Exception):
    """A screen that cannot be read; the text names the word and what is allowed."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What a bid demands of a machine (R6). Lists are sorted, so that equal screens are equal."""

    minimums: dict[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: dict[str, Any]) -> "Screen":
        """The screen in a request's or an event's members."""
        return cls(
            {name: body["minimums"][name] for name in SCREEN_NUMBERS if name in body["minimums"]},
            *(tuple(sorted(body[name])) for name in ("flags", "only", "blocked")),
        )

    def body(self) -> dict[str, Any]:
        """The screen as members of a request."""
        return {
            "minimums": dict(self.minimums),
            "flags": list(self.flags),
            "only": list(self.only),
            "blocked": list(self.blocked),
        }

    def parts(self) -> tuple[dict[str, int], list[str], list[str], list[str]]:
        """Minimums, flags, only and blocked, as an event has them."""
        return dict(self.minimums), list(self.flags), list(self.only), list(self.blocked)

    def is_within(self, other: "Screen") -> bool:
        """Whether every machine that passes this screen passes `other`: it is as narrow, or narrower (R9)."""
        if self.only:
            allowed = set(self.only) - set(self.blocked)
            sellers = allowed <= set(other.only or allowed) - set(other.blocked)
        else:
            sellers = not other.only and set(self.blocked) >= set(other.blocked)
        return (
            sellers
            and all(self.minimums.get(name, 0) >= least for name, least in other.minimums.items())
            and set(self.flags) >= set(other.flags)
        )

    def passes(self, numbers: dict[str, int], flags: Iterable[str], seller: str) -> bool:
        """Whether a machine passes: every minimum, every flag, and its seller allowed."""
        return (
            all(numbers.get(name, 0) >= least for name, least in self.minimums.items())
            and set(self.flags) <= set(flags)
            and (not self.only or seller in self.only)
            and seller not in self.blocked
        )

    def __str__(self) -> str:
        words = [f"{name}>={least}" for name, least in self.minimums.items()]
        words += self.flags
        words += [f"only={key}" for key in self.only] + [f"block={key}" for key in self.blocked]
        return " ".join(words)


def parse_screen(text: str) -> Screen:
    """Read a screen from text, `memory_mb>=512 avx2`. Raises BadScreenError."""
    minimums: dict[str, int] = {}
    lists: dict[str, set[str]] = {"flag": set(), "only": set(), "block": set()}
    for word in text.split():
        name, sign, value = word.partition(">=")
        if sign:
            if not name or not value:
                raise BadScreenError(f"screen: {word[:80]!r}: no spaces go around >=, as in memory_mb>=512")
            if name not in SCREEN_NUMBERS:
                raise BadScreenError(
                    f"screen: {name[:80]!r} is no number of a profile; there are {', '.join(SCREEN_NUMBERS)}"
                )
            if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > 2**31 - 1:
                raise BadScreenError(
                    f"screen: {word[:80]!r}: the minimum must be a whole number from 0 to 2147483647"
                )
            minimums[name] = int(value)
            continue
        name, sign, value = word.partition("=")
        if sign and name in ("only", "block"):
            if not re.fullmatch(r"U[A-Z2-7]{55}", value):
                raise BadScreenError(
                    f"screen: {word[:80]!r}: an account's public key must follow (U and 55 characters)"
                )
            lists[name].add(value)
        elif re.fullmatch(FLAG, word):
            lists["flag"].add(word)
        else:
            raise BadScreenError(
                f"screen: {word[:80]!r} is no minimum (memory_mb>=512), flag (avx2), only=KEY or block=KEY"
            )
    ordered = {name: minimums[name] for name in SCREEN_NUMBERS if name in minimums}
    return Screen(ordered, *(tuple(sorted(lists[name])) for name in ("flag", "only", "block")))
