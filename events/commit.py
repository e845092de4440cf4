"""Commits: what the journal is made of. One commit answers a range of requests, atomically (R33-R35).

Chain: `previous` is the SHA-256 of the whole body of the commit before (64 zeros for the first).
A body larger than a message goes in parts; each part's message says which of how many it is, and a
reader acts only on whole commits. A part 1 begins anew: the parts of a writer that died count for nothing.
"""

from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec

from events.records import AnyEvent, BadRecordError
from events.terminal import one_line
from events.wire import sha256

RULES = 2  # the newest version of the rules that this program knows
FIRST = "0" * 64
PART_BYTES = 512 * 1024  # of a body in one message; NATS takes 1 MiB by default
MOST_PARTS = 10_000
PART_HEADER = 8  # bytes before the body's: part and number of parts, 32 bits each, big-endian

Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Said(msgspec.Struct, rename={"number": "commit"}, omit_defaults=True, forbid_unknown_fields=True):
    """What a commit says besides its events."""

    number: Whole
    previous: str
    rules: Whole
    first: Whole
    last: Whole
    requests: str
    digest: str


class Commit(_Said):
    """A commit: its number (from 1), the chain, the requests it answers, and the events.

    `rules` is the version of the rules in force after it. `first` and `last` are sequences in INTAKE;
    `requests` is their hash (`wire.RequestsHash`). `digest` is the market's state after it. `events` are
    (sequence of the request, event). `hash` is the SHA-256 of its own body, and not in it.
    """

    events: tuple[tuple[int, AnyEvent], ...]
    hash: str = ""


class Heading(msgspec.Struct, rename={"number": "commit"}):
    """A commit without its events, for who checks the chain only."""

    number: Whole
    previous: str
    first: Whole
    last: Whole
    requests: str


class Packed(_Said):
    """A commit whose events are decoded one at a time, for who needs each for a moment only: the next is then
    made where the one before was, which takes a quarter less time, and leaves no holes in memory.
    """

    packed: tuple[msgspec.Raw, ...] = msgspec.field(name="events")
    hash: str = ""

    @property
    def events(self) -> Iterator[tuple[int, AnyEvent]]:
        """As in Commit, one after the other. Raises BadRecordError at one that is none."""
        try:
            for raw in self.packed:
                yield _EVENT(raw)
        except UNREADABLE as error:
            raise BadRecordError(one_line(f"commit {self.number}: not an event: {error}")) from error


_C = TypeVar("_C", Commit, Packed)
_DECODER = msgspec.json.Decoder(Commit)
_PACKED = msgspec.json.Decoder(Packed)
_EVENT = msgspec.json.Decoder(tuple[int, AnyEvent]).decode
_HEADINGS = msgspec.json.Decoder(Heading)
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ENCODER = msgspec.json.Encoder()


def encode(commit: Commit) -> bytes:
    """The body of a commit: JSON."""
    if commit.hash:
        commit = msgspec.structs.replace(commit, hash="")
    return _ENCODER.encode(commit)


def decode(body: bytes) -> Commit:
    """The commit in a body. Raises BadRecordError."""
    return _decoded(_DECODER, body)


def decode_packed(body: bytes) -> Packed:
    """The same, but for its events. Raises BadRecordError."""
    return _decoded(_PACKED, body)


def _decoded(decoder: msgspec.json.Decoder[_C], body: bytes) -> _C:
    try:
        commit = decoder.decode(body)
    except UNREADABLE as error:
        raise _refusal(error) from error
    if commit.hash:
        raise BadRecordError("not a commit: it says its own hash")
    if not 1 <= commit.rules <= RULES:
        raise BadRecordError(
            f"commit {commit.number} was made by rules {commit.rules}; this program knows 1 to {RULES}"
        )
    commit.hash = sha256(body)
    return commit


def heading(body: bytes) -> Heading:
    """What a body says besides the events, at a tenth of the cost. Raises BadRecordError."""
    try:
        return _HEADINGS.decode(body)
    except UNREADABLE as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> BadRecordError:
    """Why a body is no commit; it may be a stranger's bytes."""
    return BadRecordError(one_line(f"not a commit: {error}"))


def parts(body: bytes, size: int = PART_BYTES) -> Iterator[bytes]:
    """The messages that carry a body."""
    count = max(1, -(-len(body) // size))
    assert count <= MOST_PARTS, count
    for part in range(1, count + 1):
        header = part.to_bytes(4, "big") + count.to_bytes(4, "big")
        yield header + body[(part - 1) * size : part * size]


def parts_of(message: bytes) -> int:
    """How many messages carry the body of which this is one."""
    return int.from_bytes(message[4:PART_HEADER], "big")


class Assembler:
    """Puts parts together again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._count = 0

    def add(self, message: bytes) -> bytes | None:
        """The next message of the journal; returns the body it completes. Raises BadRecordError."""
        part, count = int.from_bytes(message[:4], "big"), parts_of(message)
        if len(message) < PART_HEADER or not 1 <= part <= count <= MOST_PARTS:
            raise BadRecordError("not a part of a commit")
        if part == 1:
            self._parts, self._count = [], count
        if part != len(self._parts) + 1 or count != self._count:
            raise BadRecordError(
                f"part {part} of {count} of a commit follows part {len(self._parts)} of {self._count}"
            )
        self._parts.append(message[PART_HEADER:])
        if part < count:
            return None
        body = b"".join(self._parts)
        self._parts = []
        return body
