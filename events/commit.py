"""Commits: what the journal is made of. One commit answers a range of requests, atomically (R33-R35).

Chain: `previous` is the SHA-256 of the whole body of the commit before (64 zeros for the first).
A body larger than a message goes in parts; each part's message says which of how many it is, and a
reader acts only on whole commits. A part 1 begins anew: the parts of a writer that died count for nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from events.records import BadRecordError, Event, event_of
from events.wire import dumps, loads, sha256

RULES = 1  # the version of the rules by which this program decides
FIRST = "0" * 64
PART_BYTES = 512 * 1024  # of a body in one message; NATS takes 1 MiB by default
MOST_PARTS = 10_000
PART_HEADER = 8  # bytes before the body's: part and number of parts, 32 bits each, big-endian


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: its number (from 1), the chain, the requests it answers, and the events.

    `first` and `last` are sequences in INTAKE; `requests` is their hash (`wire.RequestsHash`).
    `digest` is the market's state after it. `events` are (sequence of the request, event).
    `hash` is the SHA-256 of its own body.
    """

    number: int
    previous: str
    rules: int
    first: int
    last: int
    requests: str
    digest: str
    events: tuple[tuple[int, Event], ...]
    hash: str = ""


def encode(commit: Commit) -> bytes:
    """The body of a commit: JSON."""
    return dumps(
        {
            "commit": commit.number,
            "previous": commit.previous,
            "rules": commit.rules,
            "first": commit.first,
            "last": commit.last,
            "requests": commit.requests,
            "digest": commit.digest,
            "events": [[sequence, event.wire()] for sequence, event in commit.events],
        }
    )


def decode(body: bytes) -> Commit:
    """The commit in a body. Raises BadRecordError."""
    try:
        wire: Any = loads(body)
        if type(wire["rules"]) is not int or wire["rules"] != RULES:
            raise BadRecordError(
                f"commit {wire['commit']} was made by rules {wire['rules']}; this program knows {RULES}"
            )
        numbers = [
            wire["commit"],
            wire["rules"],
            wire["first"],
            wire["last"],
            *(pair[0] for pair in wire["events"]),
        ]
        if not all(type(number) is int for number in numbers):
            raise BadRecordError("a number of a commit is not an integer")
        return Commit(
            wire["commit"],
            wire["previous"],
            wire["rules"],
            wire["first"],
            wire["last"],
            wire["requests"],
            wire["digest"],
            tuple((sequence, event_of(event)) for sequence, event in wire["events"]),
            sha256(body),
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BadRecordError(f"not a commit: {error!r}") from error


def parts(body: bytes, size: int = PART_BYTES) -> Iterator[bytes]:
    """The messages that carry a body."""
    count = max(1, -(-len(body) // size))
    assert count <= MOST_PARTS, count
    for part in range(1, count + 1):
        header = part.to_bytes(4, "big") + count.to_bytes(4, "big")
        yield header + body[(part - 1) * size : part * size]


class Assembler:
    """Puts parts together again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, message: bytes) -> bytes | None:
        """The next message of the journal; returns the body it completes. Raises BadRecordError."""
        part, count = int.from_bytes(message[:4], "big"), int.from_bytes(message[4:PART_HEADER], "big")
        if len(message) < PART_HEADER or not 1 <= part <= count <= MOST_PARTS:
            raise BadRecordError("not a part of a commit")
        if part == 1:
            self._parts = []
        if part != len(self._parts) + 1:
            raise BadRecordError(f"part {part} of a commit follows part {len(self._parts)}")
        self._parts.append(message[PART_HEADER:])
        if part < count:
            return None
        body = b"".join(self._parts)
        self._parts = []
        return body
