"""Every decoder of bytes from outside, each with what must hold whatever the bytes are."""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass

from events.profile import SCREEN_NUMBERS
from events.records import EVENTS
from events.refusals import CODES
from events.requests import KINDS

MOST_LINE = 2000
Check = Callable[[bytes], None]  # raises where a decoder does what it must not


@dataclass(frozen=True)
class Target:
    """A decoder. `make` gives a check that begins anew; it is made anew after `fresh` inputs (0: never),
    for what it knows of inputs before. `seeds` are valid inputs. `share` is its part of all inputs. `json`:
    there is JSON in them, of which members are to be changed."""

    name: str
    make: Callable[[], Check]
    seeds: Callable[[], list[bytes]]
    share: int
    fresh: int = 0
    json: bool = True


WORDS = tuple(
    sorted(
        {member.name for kind in KINDS.values() for member in kind.members}
        | {word for kind in EVENTS.values() for word in (kind.kind, *kind.__annotations__)}
        | {
            *KINDS,
            *SCREEN_NUMBERS,
            "client",
            "bank",
            "fees",
            "avx2",
            "python/3.11",
            "events",
            "most",
            "after",
        }
    )
)


def assert_known(code: str) -> None:
    """A refusal's code must be one that `explain` has words for, or a form of the table of requests."""
    rule, member, reason = code.split("/")
    if code not in CODES:
        rules = {(m.rule, m.name) for kind in KINDS.values() for m in kind.members}
        assert reason in ("missing", "form") and (rule, member) in rules, code


def assert_line(text: str, named: str = "") -> None:
    """A refusal must be one line that a person can read to its end, and name what is to be named."""
    assert text and "\n" not in text and len(text) <= MOST_LINE and named in text, text[: 2 * MOST_LINE]


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    """The event loop of all checks, one after the other; it goes with the process."""
    return asyncio.new_event_loop()


def pieces(data: bytes) -> list[bytes]:
    """Many messages in one input: each behind its length, two bytes, big-endian."""
    found, at = [], 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def joined(messages: list[bytes]) -> bytes:
    """The input that `pieces` takes apart."""
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)
