"""Copying a log to an archive, checking it on the way; what is written fits together, or is not written."""

from collections.abc import Callable
from typing import NamedTuple

from events.archive import Archive
from events.chain import Place, Scan, place_of
from events.source import Log
from events.subjects import INTAKE, JOURNAL
from events.wire import Stored


class Copied(NamedTuple):
    """What was added to an archive, and the place after its last commit."""

    requests: int
    messages: int
    place: Place


async def copy(
    log: Log, archive: Archive, progress: Callable[[int, int], None] = lambda done, whole: None
) -> Copied:
    """Copy what the archive has not yet, up to where the log ends now. O(commit) memory.

    The chain of commits is checked, and each commit's hash over its requests. A log that goes on meanwhile
    is only read. Raises Disagreement, LogGapError, ArchiveError; what was sealed by then is good.
    """
    ends = await log.ends()
    with archive.writing() as writer:
        before = archive.ends()

        def take(stream: str, stored: Stored) -> None:
            if stored.sequence >= writer.next(stream):  # requests behind the last commit are there already
                writer.add(stream, stored)

        place = await Scan(log, ends, place_of(archive), take, progress).run()
        return Copied(writer.next(INTAKE) - 1 - before[0], writer.next(JOURNAL) - 1 - before[1], place)
