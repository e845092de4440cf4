"""Logs in memory and in archives, for what replays them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from events.archive import Archive
from events.commit import Commit, encode, parts
from events.subjects import COMMIT
from events.wire import Stored


@dataclass
class Log:
    """JOURNAL as a list of messages."""

    stored: Sequence[Stored]
    asked: int = 0

    @property
    def end(self) -> int:
        return len(self.stored)

    def messages(self) -> Iterator[Stored]:
        self.asked += 1
        return iter(self.stored)


def log_of(commits: Iterable[Commit], size: int = 512 * 1024) -> Log:
    """The messages of commits; a small `size` cuts them in many parts."""
    numbers = count(1)
    return Log(
        [Stored(next(numbers), 0, COMMIT, part) for one in commits for part in parts(encode(one), size)]
    )


def archive_of(path: Path, log: Log) -> Archive:
    """An archive of JOURNAL alone."""
    archive = Archive(path)
    archive.append_journal(log.stored)
    return archive
