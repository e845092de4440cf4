"""Where a command reads the log from: a running market, a data directory that rests, or an archive.

The log is read by a thread with an event loop of its own, so that the command can work through it without
waiting, and Ctrl-C ends it at once. Nothing is written anywhere.
"""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

import uvloop
from nats.aio.client import Client as Nats

from console.data_directory import ARCHIVE
from console.log_commands import Archived, is_alone, log_on_server, open_archive
from console.session import Data, OperatorCreds
from events.archive import Archive
from events.cli import DATA, Json, Server
from events.log import Reader, last_sequence
from events.source import ServerLog, archive_at, longer
from events.subjects import JOURNAL
from events.wire import Stored
from projections.journal import ArchiveJournal, read_ahead
from projections.replay import Journal

T = TypeVar("T")


class Source(NamedTuple):
    """Where JOURNAL is to be read from, as the five options say that `reads_journal` gives a command."""

    archive: Archived = None
    server: Server = ""
    creds: OperatorCreds = None
    data: Data = DATA
    as_json: Json = False

    def journal(self) -> contextlib.AbstractContextManager[Journal]:
        """See journal_at."""
        return journal_at(self.data, self.server, self.creds, self.archive)


def reads_journal(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a Source, with an option for each part of it behind its own."""
    (first, *own) = inspect.signature(command).parameters.values()
    hints = get_type_hints(Source, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    where = [
        inspect.Parameter(name, kind, default=default, annotation=hints[name])
        for name, default in Source._field_defaults.items()
    ]

    def run(**given: Any) -> None:
        command(Source(**{name: given.pop(name) for name in Source._fields}), **given)

    assert first.annotation is Source, command
    made: Any = run
    made.__name__, made.__doc__, made.__module__ = command.__name__, command.__doc__, command.__module__
    made.__signature__ = inspect.Signature([*(one.replace(kind=kind) for one in own), *where])
    made.__annotations__ = {one.name: one.annotation for one in made.__signature__.parameters.values()}
    return run


class ServerJournal:
    """JOURNAL on a server, and before it what an archive has of it."""

    def __init__(self, loop: "LoopThread", nc: Nats, end: int, archive: Archive | None = None) -> None:
        self._loop, self._nc, self._archive = loop, nc, archive
        self.end = end
        self._readers: list[Reader] = []

    def close(self) -> None:
        """End what `messages` began, however far somebody read."""
        for reader in self._readers:
            self._loop.call(reader.close())

    def messages(self) -> Iterator[Stored]:
        """See Journal. While some are worked through, the next are on their way. Raises LogGapError."""
        begin = 1
        if self._archive is not None and self._archive.end(JOURNAL):
            begin = self._archive.end(JOURNAL) + 1
            yield from read_ahead(self._archive.journal())
        if begin > self.end:
            return
        reader = Reader(self._nc, JOURNAL, begin)
        self._readers.append(reader)
        coming = self._loop.begin(reader.next_batch())
        while True:
            batch = coming.result()
            last = batch[-1].sequence >= self.end
            if not last:
                coming = self._loop.begin(reader.next_batch())
            yield from (stored for stored in batch if stored.sequence <= self.end)
            if last:
                return


class LoopThread:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reading", daemon=True)

    def __enter__(self) -> "LoopThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.call(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def begin(self, work: Coroutine[Any, Any, T]) -> Any:
        """Start a coroutine there; returns its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there to its end."""
        future = self.begin(work)
        try:
            return future.result()  # type: ignore[no-any-return]
        except BaseException:
            future.cancel()
            raise


@contextlib.contextmanager
def journal_at(
    data: Path, server: str = "", creds: Path | None = None, archive: Path | None = None
) -> Iterator[Journal]:
    """JOURNAL to be read: of an archive alone, unless a market is named too; else of a market, behind the
    archive given and the one that it was restored from.

    Raises MarketError, ArchiveError, LogGapError, and what connecting raises.
    """
    given = None
    if archive is not None:
        given = open_archive(archive)
        if is_alone(archive, server, data):
            yield ArchiveJournal(given)
            return
    archived = longer(given, None if server else archive_at(data / ARCHIVE))
    with LoopThread() as loop:
        opened = log_on_server(data, server, creds)
        nc = loop.call(_entered(opened))
        try:
            journal = ServerJournal(loop, nc, loop.call(_end(nc, archived)), archived)
            try:
                yield journal
            finally:
                journal.close()
        finally:
            loop.call(_left(opened))


@contextlib.contextmanager
def journal_of_path(path: Path) -> Iterator[Journal]:
    """JOURNAL of a data directory, or of an archive, whichever it is. Raises MarketError."""
    if (path / "nats").is_dir():
        with journal_at(path) as journal:
            yield journal
    else:
        yield ArchiveJournal(open_archive(path))


async def _cancel_all() -> None:
    """End what still runs in this loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _end(nc: Nats, archive: Archive | None) -> int:
    """Where JOURNAL ends; that archive and server go together is looked at."""
    if archive is not None:
        return (await ServerLog(nc, archive).ends()).journal
    return await last_sequence(nc, JOURNAL)


async def _entered(opened: contextlib.AbstractAsyncContextManager[Nats]) -> Nats:
    return await opened.__aenter__()


async def _left(opened: contextlib.AbstractAsyncContextManager[Nats]) -> None:
    await opened.__aexit__(None, None, None)
