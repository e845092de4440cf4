"""The standby: follows JOURNAL, writes snapshots meanwhile, and takes over when nobody has the lease."""

import asyncio
import logging
import time
from pathlib import Path

from events.together import end
from exchange import snapshot
from exchange.entries import rows
from exchange.follower import Follower
from exchange.forked import Forked
from exchange.lease import Lease

LOOK_S = 0.25  # between two looks whether the lease is free
LEAST_RULES = 2  # by rules 1 the digest left out what new rules need
EVERY_EVENTS = 200_000  # folded since the last snapshot, and another is written ...
EVERY_S = 600.0  # ... or so long after it, if there was anything
LEAST_S = 10.0  # between two
SHARE = 10  # a snapshot takes at most one part in so many of the time
log = logging.getLogger("exchange")


class Standby:
    """One follower's wait for the lease. `directory` is where its snapshots go, None for nowhere."""

    def __init__(
        self, follower: Follower, lease: Lease, directory: Path | None, every_events: int = EVERY_EVENTS
    ) -> None:
        self._follower, self._lease, self._directory = follower, lease, directory
        self._every_events = every_events
        self._saved = 0  # of the follower's events, when the last snapshot was written
        self._began = time.monotonic()  # the last snapshot, or us
        self._pause = LEAST_S if every_events >= EVERY_EVENTS else 0.0
        self._writing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Follow until the lease is ours. Raises BadRecordError, LogGapError where the log is not whole."""
        looked = 0.0
        try:
            while True:
                if time.monotonic() - looked >= LOOK_S:
                    if await self._lease.take():
                        return
                    looked = time.monotonic()
                await self._follower.fold(LOOK_S)
                self._write_if_due()
        finally:
            if self._writing is not None:
                await end(self._writing)

    def _write_if_due(self) -> None:
        """Have a copy of this process write a snapshot, while we follow on."""
        age = time.monotonic() - self._began
        events = self._follower.events - self._saved
        due = events >= self._every_events or (events > 0 and age >= EVERY_S)
        is_writing = self._writing is not None and not self._writing.done()
        can = self._directory is not None and self._follower.state.rules >= LEAST_RULES
        if not can or is_writing or not due or age < self._pause:
            return
        assert self._directory is not None
        self._saved, self._began = self._follower.events, time.monotonic()
        header, state, directory = self._follower.header(), self._follower.state, self._directory

        def write() -> None:
            snapshot.write(directory, header, rows(state))

        # The copy is made here and now: while a batch is folded aside, the state is between two commits.
        self._writing = asyncio.create_task(self._told(header.commit, Forked(write)))

    async def _told(self, commit: int, writing: Forked) -> None:
        """Wait for a snapshot. That it cannot be written is told, and ends nothing: the log is whole."""
        wrong = await writing.ended()
        took = time.monotonic() - self._began
        if self._every_events >= EVERY_EVENTS:
            self._pause = max(LEAST_S, SHARE * took)
        if wrong:
            log.warning("no snapshot of commit %d: %s", commit, wrong)
        else:
            log.info("snapshot of commit %d written in %.2f s", commit, took)
