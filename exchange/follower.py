"""A follower of JOURNAL: begins with the newest snapshot that verifies, and folds what comes behind it."""

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from nats.aio.client import Client as Nats
from nats.js.errors import NotFoundError

from events import subjects
from events.archive import Archive, ArchiveError
from events.chain import Place
from events.commit import Assembler, Commit, decode, parts_of
from events.log import CommitReader, LogGapError, Reader, last_sequence, message_at, read
from events.records import BadRecordError
from events.wire import RequestsHash, Stored
from exchange import snapshot
from exchange.digest import weights_in
from exchange.forked import Forked
from exchange.priority import stand_back_for_good
from exchange.recovery import fold_commit
from exchange.snapshot import Header, SnapshotError
from exchange.state import State

log = logging.getLogger("exchange")


class Follower:
    """A state that follows the log. `next` is the sequence in JOURNAL that is read next; `events` how many
    were folded since the snapshot that it began with.
    """

    def __init__(self, nc: Nats, state: State, place: Place, archive: Archive | None = None) -> None:
        self._nc, self._archive = nc, archive
        self.state, self.place, self.next = state, place, place.sequence + 1
        self.events = 0
        self._commits = CommitReader(nc, place.number, place.hash, place.sequence)
        self._reader = Reader(nc, subjects.JOURNAL, self.next, archive)
        self._aside = ThreadPoolExecutor(1, "aside", initializer=stand_back_for_good)

    @classmethod
    async def begin(
        cls,
        nc: Nats,
        snapshots: Path | None,
        archive: Archive | None = None,
        another: Callable[[Path], Awaitable[Path | None]] | None = None,
    ) -> "Follower":
        """One that has read the whole log as it is now. Raises LogGapError, ArchiveError, BadRecordError.

        A snapshot that does not verify is told in one line, and the one before it is taken; where none does,
        `another` may bring one into the directory.
        """
        started = time.monotonic()
        gc.disable()  # a collection would look again and again at what is all there to stay
        try:
            follower = None
            for path in snapshot.kept(snapshots) if snapshots is not None else ():
                follower = await cls._from(nc, path, archive, "the one before it is taken")
                if follower is not None:
                    break
            if follower is None and snapshots is not None and another is not None:
                fetched = await another(snapshots)
                if fetched is not None:
                    follower = await cls._from(nc, fetched, archive, "the log is folded from its beginning")
            if follower is None:
                follower = cls(nc, State(), Place(), archive)
            first = follower.place.number
            await follower.catch_up()
        finally:
            gc.enable()
        gc.freeze()
        read, seconds = follower.place.number - first, time.monotonic() - started
        log.info("folded %d commits; at commit %d after %.2f s", read, follower.place.number, seconds)
        return follower

    @classmethod
    async def _from(cls, nc: Nats, path: Path, archive: Archive | None, otherwise: str) -> "Follower | None":
        """One that begins with a snapshot; None where that does not verify, which is told."""
        started = time.monotonic()
        try:
            follower = cls(nc, *await _restored(nc, path, archive), archive)
        except SnapshotError as error:
            log.warning("%s; %s", error, otherwise)
            return None
        log.info("restored %s in %.2f s", path.name, time.monotonic() - started)
        return follower

    async def catch_up(self) -> None:
        """Fold to where JOURNAL ends now."""
        end = await last_sequence(self._nc, subjects.JOURNAL, self._archive)
        while self.next <= end:
            for stored in await self._reader.next_batch():
                self._fold(stored)
                await asyncio.sleep(0)

    async def fold(self, timeout: float) -> None:
        """Fold what has come, aside: on a thread that leaves the processor to the market's own work.

        Returns after `timeout` seconds of nothing. Raises BadRecordError, LogGapError.
        """
        batch = await self._reader.next_batch(timeout)

        def work() -> None:
            for stored in batch:
                self._fold(stored)

        folding = asyncio.get_running_loop().run_in_executor(self._aside, work)
        try:
            await asyncio.shield(folding)
        except asyncio.CancelledError:
            await asyncio.wait([folding])  # the state is whole before anybody else has it
            raise

    def _fold(self, stored: Stored) -> None:
        """The next message of JOURNAL."""
        commit = self._commits.take(stored)
        self.next = stored.sequence + 1
        if commit is None:
            return
        fold_commit(self.state, commit)
        self.place = Place(commit.number, commit.hash, commit.last, stored.sequence)
        self.events += len(commit.events)

    async def close(self) -> None:
        """Stop reading."""
        self._aside.shutdown()
        await self._reader.close()

    def header(self) -> Header:
        """Of a snapshot of the state as it is now."""
        number, hash_, last, sequence = self.place
        return Header(number, hash_, last, sequence, self.state.rules, self.state.digest.take())


async def _restored(nc: Nats, path: Path, archive: Archive | None) -> tuple[State, Place]:
    """The state in a snapshot of this log, and where it stands. Raises SnapshotError.

    A copy of this process reads the file beside us, looks at its SHA-256 and weighs the rows.
    """
    said = snapshot.header(path)
    await check_commit(nc, path, said, archive)
    read, write = os.pipe()
    weighing = Forked(partial(_weigh, path, read, write), nice=0)
    os.close(write)
    try:
        with open(read, "rb", snapshot.PIECE_BYTES) as weights:  # noqa: ASYNC230 - it works for us alone
            state = snapshot.restore(path, weights_in(weights.read))
    except SnapshotError as error:
        raise SnapshotError(await weighing.ended() or str(error)) from error
    wrong = await weighing.ended()
    if wrong:
        raise SnapshotError(wrong)
    return state, said.place


def _weigh(path: Path, read: int, write: int) -> None:
    """What the copy does."""
    os.close(read)
    with open(write, "wb", 0) as weights:

        def tell(some: bytes) -> None:
            with contextlib.suppress(BrokenPipeError):  # it gave up, over a row; is the file damaged?
                weights.write(some)

        snapshot.check_whole(path, tell)


async def check_commit(nc: Nats, path: Path, said: Header, archive: Archive | None) -> None:
    """Whether a snapshot is of the commit that stands in JOURNAL. Raises SnapshotError."""
    try:
        commit = await commit_at(nc, said.sequence, archive)
    except (ArchiveError, BadRecordError, NotFoundError) as error:
        raise SnapshotError(f"{path}: JOURNAL has no commit at its sequence {said.sequence}") from error
    if (commit.number, commit.hash, commit.last) != (said.commit, said.hash, said.last):
        raise SnapshotError(f"{path}: it is of another log: commit {said.commit} is not the one in JOURNAL")
    if (commit.digest, commit.rules) != (said.digest, said.rules):
        raise SnapshotError(f"{path}: its digest is not the one that commit {said.commit} says")


async def check_answered(nc: Nats, place: Place, archive: Archive | None = None) -> None:
    """Whether INTAKE still has, byte for byte, what the commit at a place answered: where its end was lost,
    other requests may have come to stand there. Raises ArchiveError, BadRecordError, LogGapError.
    """
    end = await last_sequence(nc, subjects.INTAKE, archive)
    if end < place.last:
        raise LogGapError(
            f"INTAKE ends at {end}, but request {place.last} was answered: the server's files were truncated",
            subjects.INTAKE,
            end + 1,
        )
    if place.number == 0:
        return
    commit, hashed = await commit_at(nc, place.sequence, archive), RequestsHash()
    async for stored in read(nc, subjects.INTAKE, commit.first, commit.last, archive):
        hashed.add(*stored)
    if hashed.hex() != commit.requests:
        raise LogGapError(
            f"INTAKE: requests {commit.first} to {commit.last} are not those that commit {commit.number} "
            "answered: the server's files were truncated, and others came in their place",
            subjects.INTAKE,
            commit.first,
        )


async def commit_at(nc: Nats, sequence: int, archive: Archive | None = None) -> Commit:
    """The commit whose last message stands at a sequence in JOURNAL.

    Raises ArchiveError, BadRecordError, NotFoundError.
    """
    last = (await message_at(nc, subjects.JOURNAL, sequence, archive)).data
    count = parts_of(last)
    assembler = Assembler()
    for part in range(sequence - max(count, 1) + 1, sequence):
        assembler.add((await message_at(nc, subjects.JOURNAL, part, archive)).data)
    body = assembler.add(last)
    if body is None:
        raise BadRecordError(f"JOURNAL sequence {sequence} does not end a commit")
    return decode(body)
