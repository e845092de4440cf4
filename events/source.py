"""The whole log as readers see it: an archive (or none), and behind it the server's streams (or none).

Where both have a message, it is read from the archive; that both go together is looked at where they meet.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from nats.aio.client import Client as Nats
from nats.js.errors import NotFoundError

from events import subjects
from events.archive import Archive, ArchiveError
from events.log import last_sequence, read
from events.wire import Stored

ANSWERED_S = 1.0  # what is older than this is answered in a live market


class Ends(NamedTuple):
    """Where a log ends: the last request that must be answered by now, the last of INTAKE and of JOURNAL."""

    due: int
    intake: int
    journal: int


class Log(Protocol):
    """The two streams from their beginnings, sequence 1."""

    async def ends(self) -> Ends:
        """Where it ends now; every request that a commit answers is there.

        Raises LogGapError, ArchiveError.
        """

    def requests(self, first: int, last: int) -> AsyncIterator[Stored]:
        """INTAKE from `first` to `last`, both included, in O(1) memory. Raises LogGapError, ArchiveError."""

    def journal(self, first: int, last: int) -> AsyncIterator[Stored]:
        """JOURNAL from `first` to `last`, both included, in O(1) memory. Raises LogGapError, ArchiveError."""

    def __str__(self) -> str:
        """Where it is read from, for people."""


class ServerLog:
    """The streams on a server, behind an archive where they have one."""

    def __init__(self, nc: Nats, archive: Archive | None = None) -> None:
        self._nc, self._archive = nc, archive

    async def ends(self) -> Ends:
        """See Log. A live exchange gets a moment to answer."""
        if self._archive is not None:
            await self._compare(self._archive)
        due = await last_sequence(self._nc, subjects.INTAKE, self._archive)
        await asyncio.sleep(ANSWERED_S)
        journal = await last_sequence(self._nc, subjects.JOURNAL, self._archive)
        return Ends(due, await last_sequence(self._nc, subjects.INTAKE, self._archive), journal)

    def requests(self, first: int, last: int) -> AsyncIterator[Stored]:
        """See Log."""
        return read(self._nc, subjects.INTAKE, first, last, self._archive)

    def journal(self, first: int, last: int) -> AsyncIterator[Stored]:
        """See Log."""
        return read(self._nc, subjects.JOURNAL, first, last, self._archive)

    async def _compare(self, archive: Archive) -> None:
        """Whether the archive's last messages are the server's too, where it still has them."""
        for stream in (subjects.INTAKE, subjects.JOURNAL):
            end = archive.end(stream)
            if not end:
                continue
            (archived,) = archive.read(stream, end)
            try:
                message = await self._nc.jetstream().get_msg(stream, end)
            except NotFoundError:
                continue  # before the stream's beginning, or behind its end, which `last_sequence` names
            if (message.subject, message.data or b"") != (archived.subject, archived.data):
                raise ArchiveError(f"{archive.path}: {_other(stream, end)}")

    def __str__(self) -> str:
        if self._archive is None or not self._archive.end(subjects.INTAKE):
            return "the server's streams, from request 1"
        return f"{_archived(self._archive)}, from there on the server's streams"


class ArchiveLog:
    """An archive alone, no server."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def ends(self) -> Ends:
        """See Log. Whether more was answered by then, an archive does not know: nothing is due."""
        return Ends(0, *self._archive.ends())

    def requests(self, first: int, last: int) -> AsyncIterator[Stored]:
        """See Log."""
        return _patiently(self._archive.requests(first, last))

    def journal(self, first: int, last: int) -> AsyncIterator[Stored]:
        """See Log."""
        return _patiently(self._archive.journal(first, last))

    def __str__(self) -> str:
        return f"{_archived(self._archive)}, and no further"


def _archived(archive: Archive) -> str:
    return f"the archive {archive.path} from request 1 to {archive.end(subjects.INTAKE)}"


def _other(stream: str, sequence: int) -> str:
    return f"{stream} sequence {sequence} is another than in the market's log: it is another market's archive"


async def _patiently(records: Iterator[Stored]) -> AsyncIterator[Stored]:
    """The records; now and then the loop has its turn, which Ctrl-C waits for."""
    for number, stored in enumerate(records):
        if number % 256 == 0:
            await asyncio.sleep(0)
        yield stored


def archive_at(path: Path) -> Archive | None:
    """The archive in a directory that may not be there. Raises ArchiveError."""
    return Archive(path) if path.is_dir() else None


def longer(one: Archive | None, other: Archive | None) -> Archive | None:
    """Of two archives of one market the one that goes further. Raises ArchiveError where they differ."""
    if one is None or other is None:
        return one or other
    more, less = sorted((one, other), key=lambda archive: archive.end(subjects.INTAKE), reverse=True)
    for stream in (subjects.INTAKE, subjects.JOURNAL):
        end = min(less.end(stream), more.end(stream))
        if end and list(less.read(stream, end, end)) != list(more.read(stream, end, end)):
            raise ArchiveError(f"{less.path}: {_other(stream, end)}")
    return more
