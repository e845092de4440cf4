"""What the log says: JOURNAL as the operator reads it, commit by commit."""

from typing import Generic, NamedTuple, TypeVar

from nats.aio.client import Client as Nats

from events.commit import Commit
from events.log import CommitReader
from events.records import ClockMoved, Event

MOST_COMMITS = 20_000  # of a demonstration; it has some hundreds

E = TypeVar("E", bound=Event, covariant=True)


class Said(NamedTuple, Generic[E]):
    """An event, the number of its commit, and market time (µs) when it happened."""

    commit: int
    now_us: int
    event: E


class Chronicle:
    """All commits so far, in order, chain verified, and all events in them."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.events: list[Said[Event]] = []
        self._now_us = 0

    async def follow(self, nc: Nats) -> None:
        """Read JOURNAL from its beginning, for ever. Raises BadRecordError, LogGapError."""
        async with CommitReader(nc) as reader:
            while True:
                for commit in await reader.next_batch():
                    self.take(commit)

    def take(self, commit: Commit) -> None:
        """The next commit."""
        assert len(self.commits) < MOST_COMMITS, "a demonstration is short"
        self.commits.append(commit)
        for _, event in commit.events:
            if isinstance(event, ClockMoved):
                self._now_us = event.now_us
            self.events.append(Said(commit.number, self._now_us, event))

    @property
    def last(self) -> int:
        """The number of the last commit."""
        return len(self.commits)

    def of(self, kind: type[E], after: int = 0, until: int = MOST_COMMITS) -> list[Said[E]]:
        """The events of a kind in commits `after` < number <= `until`. O(all events)."""
        return [
            Said(said.commit, said.now_us, said.event)
            for said in self.events
            if after < said.commit <= until and isinstance(said.event, kind)
        ]
