"""The log held against itself without deciding anything: forms, chain, ranges and hashes of requests (R35).

What is wrong is a Disagreement: the first place where the log contradicts itself, by stream and sequence.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NamedTuple

from events.archive import Archive
from events.commit import FIRST, Assembler, Heading, heading
from events.log import LogGapError
from events.records import BadRecordError
from events.source import Ends, Log
from events.subjects import INTAKE, JOURNAL
from events.wire import RequestsHash, Stored, sha256


@dataclass(slots=True)
class Disagreement(Exception):  # noqa: N818 - what an auditor calls it
    """The first place where the log contradicts itself: stream, sequence there, and what is wrong."""

    stream: str
    sequence: int
    what: str

    def __str__(self) -> str:
        return f"{self.stream} sequence {self.sequence}: {self.what}"


class Place(NamedTuple):
    """After a commit: its number, hash and last request, and JOURNAL's sequence; before the first: zeros."""

    number: int = 0
    hash: str = FIRST
    last: int = 0
    sequence: int = 0


BEGINNING = Place()


class Whole(NamedTuple):
    """A commit as it stands in JOURNAL: its heading, its body, and the sequence of its last message."""

    commit: Heading
    body: bytes
    sequence: int


class Chain:
    """Takes JOURNAL's messages in order and gives whole commits; number, hash and range must follow."""

    def __init__(self, place: Place = BEGINNING) -> None:
        self.place = place
        self._assembler = Assembler()

    def take(self, stored: Stored) -> Whole | None:
        """The next message; returns the commit that it completes. Raises Disagreement. O(bytes)."""
        here, (number, previous, last, _) = stored.sequence, self.place
        try:
            body = self._assembler.add(stored.data)
            if body is None:
                return None
            commit = heading(body)
        except BadRecordError as error:
            raise Disagreement(JOURNAL, here, str(error)) from None
        if commit.number != number + 1:
            what = f"commit {commit.number} stands where commit {number + 1} belongs"
            raise Disagreement(JOURNAL, here, what)
        if commit.previous != previous:
            what = f"commit {commit.number} does not carry the hash of the commit before it"
            raise Disagreement(JOURNAL, here, what)
        if commit.first != last + 1 or commit.last < commit.first:
            what = f"requests {last + 1} to {commit.first - 1} were passed over"
            raise Disagreement(JOURNAL, here, what)
        self.place = Place(commit.number, sha256(body), commit.last, here)
        return Whole(commit, body, here)


class Scan:
    """One pass over a log from a place on; `take` gets each message of both streams, once it fits.

    A commit's requests come before the messages that carry it.
    """

    def __init__(
        self,
        log: Log,
        ends: Ends,
        place: Place = BEGINNING,
        take: Callable[[str, Stored], None] = lambda stream, stored: None,
        progress: Callable[[int, int], None] = lambda done, whole: None,
    ) -> None:
        self._log, self._ends, self._take, self._progress = log, ends, take, progress
        self._chain = Chain(place)

    async def run(self) -> Place:
        """Read to the ends; returns the place after the last commit. O(commit) memory.

        `progress` is told messages of JOURNAL done and in all.
        Raises Disagreement, LogGapError, ArchiveError.
        """
        start = self._chain.place
        requests = self._log.requests(start.last + 1, self._ends.intake)
        waiting: list[Stored] = []
        async for message in self._log.journal(start.sequence + 1, self._ends.journal):
            waiting.append(message)
            whole = self._chain.take(message)
            if whole is not None:
                await self._cover(whole, requests)
                for stored in waiting:
                    self._take(JOURNAL, stored)
                waiting.clear()
            self._progress(message.sequence - start.sequence, self._ends.journal - start.sequence)
        async for stored in requests:
            self._take(INTAKE, stored)
        return self._chain.place

    async def _cover(self, whole: Whole, requests: AsyncIterator[Stored]) -> None:
        """A commit's requests must have the hash that it says."""
        commit = whole.commit
        if commit.last > self._ends.intake:
            what = f"the end is missing, up to request {commit.last} that commit {commit.number} answers"
            raise Disagreement(INTAKE, self._ends.intake + 1, what)
        hashed = RequestsHash()
        for expected in range(commit.first, commit.last + 1):
            stored = await following(requests, expected)
            hashed.add(*stored)
            self._take(INTAKE, stored)
        if hashed.hex() != commit.requests:
            raise Disagreement(INTAKE, commit.first, changed_requests(commit))


def changed_requests(commit: Heading) -> str:
    """What is wrong where a commit's requests do not have its hash."""
    return f"requests {commit.first} to {commit.last} are not those that commit {commit.number} answered"


async def following(requests: AsyncIterator[Stored], expected: int) -> Stored:
    """The next request, which must have this sequence. Raises Disagreement."""
    stored = await anext(requests, None)
    if stored is None or stored.sequence != expected:
        raise Disagreement(INTAKE, expected, "this request is missing")
    return stored


def gap(error: LogGapError) -> Disagreement:
    """A gap of the server's, as a Disagreement."""
    return Disagreement(error.stream, error.sequence, str(error).removeprefix(f"{error.stream}: "))


def place_of(archive: Archive) -> Place:
    """The place after the last commit of an archive. Reads its last segments of JOURNAL.

    Raises ArchiveError, Disagreement where the commit there is none.
    """
    for segment in reversed(archive.segments(JOURNAL)):
        assembler = Assembler()
        found: tuple[bytes, int] | None = None
        for stored in archive.journal(segment.first, segment.last):
            try:
                body = assembler.add(stored.data)
            except BadRecordError:
                body, assembler = None, Assembler()  # the end of a commit that begins in the segment before
            if body is not None:
                found = body, stored.sequence
        if found is not None:
            try:
                commit = heading(found[0])
            except BadRecordError as error:
                raise Disagreement(JOURNAL, found[1], str(error)) from None
            return Place(commit.number, sha256(found[0]), commit.last, found[1])
    return BEGINNING
