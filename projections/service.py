"""The projections' process: follows JOURNAL into the store, publishes the feed, answers queries.

    python -m projections.service --server URL --creds FILE --store FILE [--archive DIR] [--unforced]

A message of the feed is sent before its commit is stored, for it follows from the log alone: a process that
dies between the two is followed by one that makes the same message again, under the same number. What was
stored, and of which the server may not have everything, is published again.

Queries are read by a thread with a connection of its own: however many and long they are, the log is
followed, and a signal is obeyed.
"""

import argparse
import asyncio
import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nats.errors
import uvloop
from nats.aio.msg import Msg
from nats.js.errors import APIError

from events import faults, subjects
from events.archive import Archive, ArchiveError
from events.collecting import rarely
from events.commit import Commit
from events.connection import Connection
from events.keys import BadKeyError, Key
from events.log import (
    CommitReader,
    LogGapError,
    NotAdmittedError,
    UnreachableError,
    connect,
    last_sequence,
)
from events.records import BadRecordError
from events.together import together, until_told
from events.wire import dumps
from projections import feed
from projections.queries import reply
from projections.store import Store, StoreError, batches
from projections.tables import chunks
from projections.unforced import settled
from projections.waiting import Question, TooManyError, Waiting

PULSE_S = 0.5
CHECKPOINT_S = 1.0
FEW_PAGES = 2000  # of the store's WAL; so many the writer moves itself in some milliseconds
MOST_PAGES = 16 * 1024  # where the WAL is to begin anew
MOST_MESSAGES = 4000  # of the feed, in memory at once, where many were stored and not published
MOST_COMING = 16 * 1024  # queries that were not looked at yet; what comes beyond is dropped, and asked again
MOST_COMING_BYTES = 16 * 1024 * 1024
PATIENCE_S = 30.0  # for the server, and for the exchange to make the streams

ERRORS = (ArchiveError, BadKeyError, UnreachableError, NotAdmittedError, StoreError, LogGapError)


class Service:
    """The store and one connection: follows, answers, and says how far it is."""

    def __init__(self, nc: Connection, store: Store, archive: Archive | None = None) -> None:
        self._nc, self._store, self._archive = nc, store, archive
        self._progress = store.progress()
        self._number, self._hash = store.cursor()
        self._waiting = Waiting()
        self._storing = asyncio.Lock()  # held from a commit's coming until its feed is out

    async def run(self) -> None:
        """Run until cancelled. Raises StoreError, LogGapError, UnreachableError."""
        await self._find_place()
        queries = await self._nc.subscribe(
            subjects.query("*", "*"),
            cb=self._take,
            pending_msgs_limit=MOST_COMING,
            pending_bytes_limit=MOST_COMING_BYTES,
        )
        try:
            await together(self._follow(), self._answer(), self._pulse(), self._checkpoint())
        finally:
            with contextlib.suppress(nats.errors.Error):
                await queries.unsubscribe()

    async def _find_place(self) -> None:
        """Wait for JOURNAL, which the exchange makes; it must reach as far as the store has read."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                end = await last_sequence(self._nc, subjects.JOURNAL, self._archive)
                break
            except (nats.errors.Error, APIError, TimeoutError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise LogGapError(f"JOURNAL cannot be read ({error}): does the exchange run?") from error
                await asyncio.sleep(0.1)
        if end < self._progress.sequence:
            raise StoreError(
                f"JOURNAL ends at sequence {end}, but the store {self._store.path} was read up to "
                f"{self._progress.sequence}: it is another log; delete the store, it is rebuilt from the log"
            )

    async def _follow(self) -> None:
        """JOURNAL into the store, and out to the feed."""
        with self._store.transaction() as connection:
            for messages in chunks(feed.to_publish(connection, self._progress.published), MOST_MESSAGES):
                await self._publish(messages)
        self._progress = self._progress._replace(published=self._number)
        await self._say()
        sequence, number, last = self._progress[:3]
        async with CommitReader(self._nc, number, last, sequence, self._archive) as reader:
            while True:
                try:
                    commits = self._new(await reader.next_batch())
                except BadRecordError as error:
                    raise StoreError(
                        f"{error}; if this is another log than before, delete the store {self._store.path}, "
                        "it is rebuilt from the log; else `exchange audit` says what is wrong"
                    ) from error
                for batch in batches(commits):
                    if batch[-1] is commits[-1]:
                        self._progress = self._progress._replace(
                            sequence=reader.sequence, commit=reader.number, hash=reader.previous
                        )
                    async with self._storing:
                        await self._store_and_publish(batch)

    async def _store_and_publish(self, batch: Sequence[Commit]) -> None:
        """Commits that follow the store's last: the feed is on its way while they are stored."""
        sent = asyncio.Event()
        published = asyncio.create_task(self._publish(self._store.tell(batch), sent))
        try:
            await sent.wait()
            self._progress = self._progress._replace(answered=batch[-1].last)
            self._store.keep(self._progress)
            self._number, self._hash = batch[-1].number, batch[-1].hash
            await published
        finally:
            published.cancel()
        self._progress = self._progress._replace(published=self._number)
        await self._say()

    def _new(self, commits: list[Commit]) -> list[Commit]:
        """Those that the store has not; the place to read on may lie before its last commit."""
        for commit in commits:
            if commit.number == self._number and commit.hash != self._hash:
                raise StoreError(
                    f"commit {commit.number} of the log is not the one in the store {self._store.path}: "
                    "delete the store, it is rebuilt from the log"
                )
        return [commit for commit in commits if commit.number > self._number]

    async def _publish(self, messages: Sequence[feed.Message], sent: asyncio.Event | None = None) -> None:
        """These messages of the feed, again and again until the server has them all. `sent` is set when
        they were handed to the system, or could not be."""
        most = self._nc.max_payload
        for subject, data in messages:
            if len(data) > most:  # one event; who misses it sees a gap, and may not be told another way
                print(f"{subject}: {len(data)} bytes are more than the server takes", file=sys.stderr)
        while True:
            try:
                try:
                    await self._nc.publish_all(message for message in messages if len(message[1]) <= most)
                finally:
                    if sent is not None:
                        sent.set()
                await self._nc.flush(timeout=5)
                return
            except (nats.errors.Error, TimeoutError) as error:
                if self._nc.is_closed:
                    raise UnreachableError("the connection was closed") from error
                await asyncio.sleep(0.2)

    async def _pulse(self) -> None:
        """Say twice a second that the feed lives."""
        while True:
            await asyncio.sleep(PULSE_S)
            await self._say()

    async def _say(self) -> None:
        """How far the feed is. Who does not hear it hears the next one."""
        with contextlib.suppress(nats.errors.Error):
            await self._nc.publish(subjects.PULSE_FEED, dumps({"commit": self._progress.published}))

    async def _checkpoint(self) -> None:
        """Every second move what was written from the store's WAL into its file, by a thread: who writes
        waits for no disk. While he writes all the time the WAL grows; when it is long and almost all of it
        was moved, he moves the rest himself, and it begins anew."""
        self._store.leave_checkpoints()
        loop = asyncio.get_running_loop()
        path, forced = self._store.path, self._store.forced
        with Store(path, forced=forced) as store, ThreadPoolExecutor(1, "checkpoints") as mover:
            while True:
                await asyncio.sleep(CHECKPOINT_S)
                for _ in range(3):
                    pages, moved = await loop.run_in_executor(mover, store.checkpoint)
                    if pages - moved <= FEW_PAGES:
                        break
                if pages > MOST_PAGES:
                    self._store.checkpoint()

    async def _take(self, message: Msg) -> None:
        """A query. The server sees to it that the subject names who asks; the reply goes to nobody else."""
        _, account, what = message.subject.split(".")
        if not message.reply.startswith(f"{subjects.inbox(account)}."):
            return
        try:
            self._waiting.put(Question(account, what, message.data, message.reply))
        except TooManyError as error:
            await self._reply(message.reply, dumps({"error": f"{what[:40]}: {error}"}))

    async def _answer(self) -> None:
        """Answer one question after the other, each not before the commits that are being stored."""
        assert self._store.path is not None, "a store in memory has one connection"
        loop = asyncio.get_running_loop()
        with Store(self._store.path) as store, ThreadPoolExecutor(1, "queries") as reader:
            while True:
                question = await self._waiting.next()
                async with self._storing:
                    pass
                answer = await loop.run_in_executor(reader, _read, store, question)
                await self._reply(question.inbox, answer)

    async def _reply(self, inbox: str, answer: bytes) -> None:
        with contextlib.suppress(nats.errors.Error):
            await self._nc.publish(inbox, answer)


def _read(store: Store, question: Question) -> bytes:
    """The answer to a question."""
    try:
        return reply(store, question.account, question.what, question.data)
    except Exception:  # a fault in one query must not end the feed for all
        traceback.print_exc()
        return dumps({"error": f"{question.what}: the query service failed; its log says why"})


async def serve(server: str, key: Key, path: Path, archive: Path | None = None, forced: bool = True) -> None:
    """Connect and run until SIGTERM or SIGINT. Raises those of ERRORS."""

    async def run() -> None:
        before = None if archive is None else Archive(archive)
        with _opened(path, forced) as store:
            nc = await connect(server, key, name="projections", patience=PATIENCE_S)
            try:
                await Service(nc, store, before).run()
            finally:
                await nc.close()

    await until_told(run())


@contextlib.contextmanager
def _opened(path: Path, forced: bool) -> Iterator[Store]:
    """The store, whole, or empty where it may be damaged. Raises StoreError."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(settled(path, forced))
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}") from error
        yield stack.enter_context(Store(path, forced=forced))


def main() -> int:
    """The command line. Exit status 0 after a signal, 1 after an error, which is one line."""
    parser = argparse.ArgumentParser(prog="projections.service", description="Feed and queries of a market.")
    parser.add_argument("--server", required=True, metavar="URL")
    parser.add_argument("--creds", required=True, type=Path, metavar="FILE", help="seed of the projections")
    parser.add_argument("--store", required=True, type=Path, metavar="FILE", help="the SQLite file")
    parser.add_argument("--archive", type=Path, metavar="DIR", help="behind which the log goes on")
    parser.add_argument(
        "--unforced",
        action="store_true",
        help="force nothing to the disk: the machine's death costs the store",
    )
    given = parser.parse_args()
    rarely()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            work = serve(given.server, Key.load(given.creds), given.store, given.archive, not given.unforced)
            runner.run(faults.steps("projections", work))
    except ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
