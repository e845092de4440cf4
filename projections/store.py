"""The store: one SQLite file (WAL) with all projections, and the cursor in the same transactions.

It can be deleted and rebuilt at any time: it holds nothing that is not in JOURNAL.
"""

import contextlib
import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Integer, Table, Text, create_engine, event, select
from sqlalchemy.exc import DatabaseError, OperationalError

from events import faults
from events.commit import FIRST, Commit
from events.records import Event
from events.wire import dumps, loads
from projections import accounts, contracts, feed, machines, market, orders
from projections.tables import METADATA, Fold, Handler, Moment, text_of

SCHEMA = 3  # of these tables; a store of another one is rebuilt
APPLICATION = 0x436F7265  # "Core": SQLite's application id, so that no other file is taken for a store
CACHE_KIB = 32 * 1024  # of the file's pages in memory
MOST_EVENTS = 2000  # of the commits in one transaction, where there is more than one commit

CURSOR = Table(
    "cursor",
    METADATA,
    Column("commit", Integer, primary_key=True),
    Column("hash", Text, nullable=False),
)

# How this store was filled, which two stores of the same commits need not share: where to read on in
# JOURNAL, the last commit whose feed was published, and the last request that was answered by then.
PROGRESS = Table(
    "progress",
    METADATA,
    Column("sequence", Integer, primary_key=True),
    Column("commit", Integer, nullable=False),
    Column("hash", Text, nullable=False),
    Column("published", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
)


class StoreError(Exception):
    """The store cannot be used; the text is one line that says what to do."""


class Progress(NamedTuple):
    """Where to read on: JOURNAL sequence, and number and hash of the commit that ended there. The last
    commit whose feed messages were published. The last request that the commits read so far answer: of an
    INTAKE that lost its end this is a witness.
    """

    sequence: int = 0
    commit: int = 0
    hash: str = FIRST
    published: int = 0
    answered: int = 0


_CURSOR = text_of(select(CURSOR))
_MOVE_CURSOR = text_of(CURSOR.update(), "commit", "hash")
_MOVE_PROGRESS = text_of(PROGRESS.update(), *Progress._fields)


class Store:
    """One store; `path` None is in memory. Not for use by several threads.

    `forced`: what a checkpoint moved is on the disk (else see projections/unforced.py). A file of another
    schema is emptied by itself. Raises StoreError for a file that is no store.
    """

    def __init__(self, path: Path | None = None, *, forced: bool = True) -> None:
        self.path, self.forced = path, forced
        self._connection = _connect(path, forced)
        self._driver: sqlite3.Connection = self._connection.connection.driver_connection  # type: ignore[assignment]
        self._folds: _Folds | None = None  # None: to be read from the tables
        self._told: Sequence[Commit] = ()
        try:
            with self._connection.begin():
                version = self._connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version != SCHEMA:
                self._create()
        except BaseException:
            self.close()
            raise

    def _create(self) -> None:
        """Empty tables of this schema."""
        with self._connection.begin():
            named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            for (name,) in self._connection.exec_driver_sql(named).all():
                self._connection.exec_driver_sql(f'DROP TABLE "{name}"')
            METADATA.create_all(self._connection)
            self._connection.execute(CURSOR.insert(), {"commit": 0, "hash": FIRST})
            self._connection.execute(PROGRESS.insert(), Progress()._asdict())
            self._connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
            self._connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        self._connection.engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: everything read in it is as of one commit. Raises StoreError."""
        try:
            with self._connection.begin():
                yield self._connection
        except OperationalError as error:  # a full disk, a file that another process holds
            raise StoreError(f"{self.path}: {error.orig}") from error

    def leave_checkpoints(self) -> None:
        """Never move what was written from the WAL into the file, but by `checkpoint`."""
        self._driver.execute("PRAGMA wal_autocheckpoint = 0")

    def checkpoint(self) -> tuple[int, int]:
        """Move what was written from the WAL into the file, as far as nobody reads what was there before.
        Others may write meanwhile. Returns the pages in the WAL, and how many of these are in the file.
        Raises StoreError."""
        try:
            _, pages, moved = self._driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:  # a full disk
            raise StoreError(f"{self.path}: {error}") from error
        return pages, moved

    def cursor(self) -> tuple[int, str]:
        """Number and hash of the last commit folded; (0, 64 zeros) before the first."""
        with self.transaction() as connection:
            return cursor(connection)

    def progress(self) -> Progress:
        """Where to read on, and what was published."""
        with self.transaction() as connection:
            return Progress(*connection.execute(select(PROGRESS)).one())

    def tell(self, commits: Sequence[Commit]) -> list[feed.Message]:
        """What the feed says of commits, to be published; `keep` stores it, and all else that they change.

        It may be published before: the same commits make the same messages again. Raises StoreError if
        they do not follow the last commit.
        """
        assert not self._told, "what was told is not kept yet"
        folds = self._folds or self._remember()
        number, last = folds.cursor
        messages: list[feed.Message] = []
        try:
            for commit in commits:
                if commit.number != number + 1 or commit.previous != last:
                    raise StoreError(
                        f"commit {commit.number} does not follow commit {number} of the store"
                        f"{f' {self.path}' if self.path else ''}: the log is another one than it was "
                        "made from; delete the store, it is rebuilt from the log"
                    )
                messages += folds.tell(commit)
                number, last = commit.number, commit.hash
        except BaseException:
            self._folds = None
            raise
        self._told = commits
        return messages

    def keep(self, progress: Progress | None = None) -> None:
        """Fold what was told into all tables, and note `progress`, in one transaction.

        Raises StoreError, and changes nothing, where that cannot be stored.
        """
        folds, commits = self._folds, self._told
        assert folds is not None, "nothing was told"
        self._folds, self._told = None, ()  # what fails has changed them, but not the store
        for commit in commits:
            folds.fold(commit)
        driver = self._driver
        try:
            driver.execute("BEGIN IMMEDIATE")
            if driver.execute(_CURSOR).fetchone() != folds.cursor:
                raise StoreError(f"{self.path}: another process writes it; give each one a store of its own")
            folds.write(driver)
            if commits:
                folds.cursor = (commits[-1].number, commits[-1].hash)
                driver.execute(_MOVE_CURSOR, folds.cursor)
            if progress is not None:
                driver.execute(_MOVE_PROGRESS, progress)
            faults.point("projections.before-commit")
            driver.execute("COMMIT")
        except BaseException as error:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):  # a full disk, a file that another process holds
                raise StoreError(f"{self.path}: {error}") from error
            raise
        faults.point("projections.after-commit")
        self._folds = folds

    def apply(self, commits: Sequence[Commit], progress: Progress | None = None) -> None:
        """Fold commits, and note `progress`, in one transaction.

        Raises StoreError, and changes nothing, if they do not follow the store's last commit.
        """
        self.tell(commits)
        self.keep(progress)

    def _check(self) -> None:
        """What is remembered is what the tables say. O(accounts)."""
        if self._folds is not None:
            with self.transaction() as connection:
                assert self._folds.memory() == _Folds(connection).memory()

    def _remember(self) -> "_Folds":
        """The folds, with what they remember of the tables. O(accounts)."""
        with self.transaction() as connection:
            self._folds = _Folds(connection)
        return self._folds


class _Folds:
    """All folds, as of the store's `cursor`; what is folded beyond it waits to be written."""

    def __init__(self, connection: Connection) -> None:
        self.cursor = cursor(connection)
        moment = self._moment = Moment(self.cursor[0], market.now_us(connection))
        self._feed, self._told_us = feed.Fold(connection), moment.now_us
        self._market, self._money = market.Fold(connection, moment), accounts.Fold(connection, moment)
        self._folds: tuple[Fold, ...] = (
            self._market,
            self._money,
            machines.Fold(),
            contracts.Fold(self._money.balances),
            orders.Fold(self._money.balances),  # behind contracts, of which it asks whose orders they were
        )
        self._handlers: dict[type[Event], list[Handler]] = defaultdict(list)
        for fold in self._folds:
            for kind, handler in fold.handlers().items():
                self._handlers[kind].append(handler)

    def memory(self) -> tuple[object, ...]:
        """All that is remembered between transactions."""
        at = (self.cursor, self._moment, self._told_us)
        return (*at, self._market.row, self._money.balances, self._feed.feeds)

    def tell(self, commit: Commit) -> list[feed.Message]:
        """What the feed says of the next commit."""
        messages, self._told_us = self._feed.fold(commit, self._told_us)
        return messages

    def fold(self, commit: Commit) -> None:
        """The next commit through all other folds."""
        self._moment.commit = commit.number
        handlers = self._handlers
        for _, happened in commit.events:
            for handle in handlers.get(type(happened), ()):
                handle(happened)

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what was folded; inside a transaction."""
        self._feed.write(driver)
        for fold in self._folds:
            fold.write(driver)


def cursor(connection: Connection) -> tuple[int, str]:
    """Number and hash of the last commit folded."""
    row = connection.execute(select(CURSOR)).one()
    return row.commit, row.hash


def batches(commits: Iterable[Commit]) -> Iterator[list[Commit]]:
    """Commits in groups for one transaction each: at most MOST_EVENTS events, one commit at least."""
    batch: list[Commit] = []
    events = 0
    for commit in commits:
        if batch and events + len(commit.events) > MOST_EVENTS:
            yield batch
            batch, events = [], 0
        batch.append(commit)
        events += len(commit.events) + 1  # an empty commit is work too
    if batch:
        yield batch


def rebuild(commits: Iterable[Commit], path: Path | None = None) -> Store:
    """A fresh store, folded from all commits; what was at `path` is replaced. In memory if `path` is None.

    Raises StoreError if the commits do not follow each other from the first, or `path` is no store.
    """
    if path is not None:
        Store(path).close()  # refuses to replace a file that is no store
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            name.unlink(missing_ok=True)
    store = Store(path)
    try:
        for batch in batches(commits):
            store.apply(batch)
    except BaseException:
        store.close()
        raise
    return store


def digest(store: Store) -> str:
    """SHA-256 over all rows of all tables in the order of their keys; how the store was filled excepted.

    Equal for any two stores of the same commits. O(store) time, O(1) memory.
    """
    whole = hashlib.sha256()
    with store.transaction() as connection:
        for table in sorted(METADATA.tables.values(), key=lambda table: table.name):
            if table is PROGRESS:
                continue
            whole.update(dumps([table.name, [column.name for column in table.columns]]))
            for row in connection.execute(select(table).order_by(*table.primary_key.columns)):
                whole.update(dumps([v.decode() if isinstance(v, bytes) else v for v in row]))
    return whole.hexdigest()


def _connect(path: Path | None, forced: bool) -> Connection:
    """Open the file. Raises StoreError."""
    engine = create_engine(
        "sqlite://" if path is None else f"sqlite:///{path}",
        json_serializer=lambda value: dumps(value).decode(),
        json_deserializer=loads,
    )

    # The driver's own transactions begin too late for a consistent read; SQLAlchemy's begin here.
    @event.listens_for(engine, "connect")
    def settle(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if forced else 'OFF'}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():  # everybody's statements: SQLite's own files beside it take its mode
                path.touch(mode=0o600)
        connection = engine.connect()
    except (OSError, DatabaseError) as error:
        engine.dispose()
        cannot_open = isinstance(error, OSError | OperationalError)
        advice = "" if cannot_open else "; delete it, it is rebuilt from the log"
        raise StoreError(f"{path}: {_reason(error)}{advice}") from error
    try:
        with connection.begin():
            application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
            filled = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
        if application != APPLICATION and filled:
            raise StoreError(f"{path}: another program's database; give the store a file of its own")
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA journal_mode = WAL")
    except DatabaseError as error:
        connection.close()
        engine.dispose()
        raise StoreError(f"{path}: {_reason(error)}; delete it, it is rebuilt from the log") from error
    except StoreError:
        connection.close()
        engine.dispose()
        raise
    return connection


def _reason(error: Exception) -> str:
    """The innermost reason in a few words."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(getattr(error, "orig", None) or error)
