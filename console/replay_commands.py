"""The commands that look back: `exchange replay`, `exchange diff` and `exchange export`."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from orjson import JSONEncodeError

from console import history_tables
from console.moments import HELP, parse_moment
from console.progress import bar
from console.reading import Source, journal_of_path, reads_journal
from console.session import EXPECTED, stopping
from events.archive import ArchiveError
from events.cli import NowhereError, edge, fail, show
from events.records import BadRecordError
from projections import diff as differences
from projections.as_of import as_of
from projections.ledger import Statement
from projections.replay import END, Each, Replay, ReplayError, Until
from projections.sqlite_file import FileTakenError, SqliteFile

EXPECTED_HERE = (*EXPECTED, ArchiveError, FileTakenError, ReplayError, sqlite3.Error)
MISSING = "this needs pyarrow: pip install 'corehour[export]'"

Moment = Annotated[
    Until | None,
    typer.Option("--until", metavar="MOMENT", parser=parse_moment, help=HELP, show_default="the end"),
]


@reads_journal
def replay(
    source: Source,
    until: Moment = None,
    statement: Annotated[
        str, typer.Option("--statement", metavar="NAME|KEY", help="Show this account's statement too.")
    ] = "",
    sqlite: Annotated[
        Path | None,
        typer.Option("--sqlite", metavar="FILE", help="Write everything to a SQLite file instead."),
    ] = None,
) -> None:
    """Balances, book, machines and contracts as they were at a moment, folded from the first commit on."""
    with edge(source.as_json, *EXPECTED_HERE), narrow(), stopping(source.as_json, lambda: _left(sqlite)):
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(SqliteFile(sqlite)) if sqlite else None
            wanted = Statement(statement) if statement else None
            journal = stack.enter_context(source.journal())
            tell_bar = stack.enter_context(bar("replaying"))
            replayed = Replay(journal, tell_bar, both(file, wanted))
            state = replayed.run(until or END)
            then = as_of(state, replayed.number) | {"now_us": state.now_us, "tick_us": replayed.tick_us}
            if wanted is not None:
                found = wanted.result(state)
                if found is None:
                    raise NowhereError(f"no account has the name or key {statement!r} at that moment")
                then["statement"] = found
            if file is not None:
                file.finish(state, replayed.number)
        if sqlite:
            written = {"sqlite": str(sqlite), "commit": then["commit"], "events": replayed.events}
            show(written) if source.as_json else print(f"{sqlite}: the market as of commit {then['commit']}")
        else:
            show(then) if source.as_json else history_tables.replayed(then)


@reads_journal
def diff(
    source: Source,
    first: Annotated[str, typer.Argument(metavar="A", help="A moment, or a log: see --help.")],
    second: Annotated[str, typer.Argument(metavar="B", help="A later moment, or another log.")],
) -> None:
    """What changed between two moments (as --until of replay); or where two logs (directories) differ first.

    A log is a market's data directory or an archive. Exit status 1 where two logs differ.
    """
    with edge(source.as_json, *EXPECTED_HERE), narrow(), stopping(source.as_json, "nothing was compared"):
        if Path(first).is_dir() and Path(second).is_dir():
            with (
                journal_of_path(Path(first)) as ours,
                journal_of_path(Path(second)) as theirs,
                bar("comparing") as tell_bar,
            ):
                found = differences.logs(ours, theirs, tell_bar)
            show(found) if source.as_json else history_tables.differs(found)
            if not found["same"]:
                raise typer.Exit(1)
            return
        moments = parse_moment(first), parse_moment(second)
        with source.journal() as journal, bar("comparing") as tell_bar:
            found = differences.between(journal, *moments, tell_bar)
        show(found) if source.as_json else history_tables.changed(found)


@reads_journal
def export(
    source: Source,
    parquet: Annotated[
        Path, typer.Option("--parquet", metavar="DIR", help="A new directory for the tables.")
    ],
    until: Moment = None,
) -> None:
    """Events, trades and charges as Parquet tables that DuckDB and pandas open."""
    with edge(source.as_json, *EXPECTED_HERE), narrow(), stopping(source.as_json, lambda: _left(parquet)):
        try:
            from projections.parquet import ParquetFiles
        except ImportError:
            fail(MISSING, source.as_json)
        with (
            ParquetFiles(parquet) as files,
            source.journal() as journal,
            bar("exporting") as tell_bar,
        ):
            replayed = Replay(journal, tell_bar, files)
            state = replayed.run(until or END)
            rows = files.finish(state, replayed.number)
        done = {"parquet": str(parquet), "commit": replayed.number, "rows": rows}
        counted = ", ".join(f"{number} {name}" for name, number in rows.items())
        show(done) if source.as_json else print(f"{parquet}: {counted}, as of commit {replayed.number}")


def _left(path: Path | None) -> str:
    """What is there once it was stopped: all of it, or nothing."""
    whole = path is not None and (path.is_file() or (path.is_dir() and any(path.iterdir())))
    return f"{path} is whole" if whole else "nothing was written"


@contextlib.contextmanager
def narrow() -> Iterator[None]:
    """No market writes a number beyond 64 bits: who cannot store one raises BadRecordError."""
    try:
        yield
    except (OverflowError, JSONEncodeError) as error:
        if isinstance(error, JSONEncodeError) and "64-bit" not in str(error):
            raise
        raise BadRecordError(
            "the log has a number beyond 64 bits: it was falsified; `exchange audit` names the place"
        ) from error


def both(*each: Each | None) -> Each | None:
    """One call for all of those that are there."""
    there = [one for one in each if one is not None]
    if len(there) < 2:
        return there[0] if there else None

    def call(*arguments: Any) -> None:
        for one in there:
            one(*arguments)

    return call
