"""What a replay writes: a SQLite file and Parquet tables, whole or not at all, and they add up."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from bench.log_made import make
from events import records as r
from events.commit import Commit, Packed
from exchange.state import State
from projections import accounts, contracts, parquet, sqlite_file
from projections.ledger import STATEMENT
from projections.parquet import ParquetFiles
from projections.replay import END, Replay, Until
from projections.sqlite_file import FileTakenError, SqliteFile
from projections.store import rebuild
from tests.projections.history import Market
from tests.projections.logs import archive_of, log_of

ROOT = Path(__file__).resolve().parents[2]
STEPS = 400
EVENTS = 200_000


@pytest.fixture(scope="module")
def commits() -> list[Commit]:
    return list(Market(2).commits(STEPS))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches and row groups."""
    monkeypatch.setattr(sqlite_file, "BATCH", 7)
    monkeypatch.setattr(parquet, "GROUP", 50)


def written(path: Path, commits: list[Commit], until: Until = END) -> Replay:
    with SqliteFile(path) as file:
        replay = Replay(log_of(commits), each=file)
        file.finish(replay.run(until), replay.number)
    return replay


def exported(path: Path, commits: list[Commit], until: Until = END) -> tuple[Replay, dict[str, int]]:
    with ParquetFiles(path) as files:
        replay = Replay(log_of(commits), each=files)
        return replay, files.finish(replay.run(until), replay.number)


@pytest.mark.usefixtures("small")
def test_a_sqlite_file_has_the_rows_of_the_projections(tmp_path: Path, commits: list[Commit]) -> None:
    path = tmp_path / "deep" / "then.sqlite"
    replay = written(path, commits)
    assert path.stat().st_mode & 0o777 == 0o600 and [path] == list(path.parent.iterdir())
    asked = sqlite3.connect(path)
    asked.row_factory = sqlite3.Row
    assert asked.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    (about,) = asked.execute("SELECT * FROM as_of")
    assert (about["commit"], about["digest"]) == (len(commits), commits[-1].digest)
    names = ", ".join(f'"{name}"' for name in STATEMENT)
    lines = 0
    with rebuild(commits) as store, store.transaction() as connection:
        rows = {row["account"]: row for _, row in accounts.account_rows(connection)}
        assert {row["account"]: dict(row) for row in asked.execute("SELECT * FROM accounts")} == rows
        for key in rows:
            last = accounts.line_at(connection, key, len(commits))
            expected = [
                {name: row[name] for name in STATEMENT}
                for _, row in accounts.statement_lines(connection, key, 0, last, last)
            ]
            found = asked.execute(
                f"SELECT {names} FROM statement_lines WHERE account = ? ORDER BY line", [key]
            )
            assert [dict(row) for row in found] == expected
            lines += len(expected)
        paid = {number: row["paid"] for number, row in contracts.contract_rows(connection, every=True)}
    assert lines > 100
    charged = "SELECT contract, sum(amount) FROM charges WHERE event = 'hour_charged' GROUP BY contract"
    assert dict(list(map(tuple, asked.execute(charged)))) == {
        n: amount for n, amount in paid.items() if amount
    }
    held = "SELECT buyer, sum(price) FROM contracts GROUP BY buyer"
    for key, price in asked.execute(held):
        assert rows[key]["held"] == price
    for table in ("machines", "orders", "contracts", "trades"):
        assert asked.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > 0, table
    numbers = asked.execute("SELECT numbers ->> 'memory_mb' FROM machines").fetchone()[0]
    assert isinstance(numbers, int)
    asked.close()
    assert replay.state.total() == 0


@pytest.mark.usefixtures("small")
def test_parquet_tables_add_up_to_the_balances(tmp_path: Path, commits: list[Commit]) -> None:
    """Read by pyarrow and by DuckDB: every event, and every balance from trades, charges and deposits."""
    until = Until("commit", len(commits) * 3 // 4)
    replay, rows = exported(tmp_path / "tables", commits, until)
    events = [(commit, *pair) for commit in commits[: until.value] for pair in commit.events]
    table = pq.read_table(tmp_path / "tables/events.parquet")
    assert table.num_rows == len(events) == rows["events"]
    assert [
        (row["commit"], row["request"], row["event"], row["accounts"], json.loads(row["json"]))
        for row in table.to_pylist()
    ] == [(c.number, n, e.kind, list(e.accounts()), json.loads(json.dumps(e.wire()))) for c, n, e in events]
    assert pq.ParquetFile(tmp_path / "tables/events.parquet").num_row_groups > 5
    assert table.schema.metadata is None or b"pandas" not in table.schema.metadata
    about = pq.read_metadata(tmp_path / "tables/trades.parquet").metadata
    assert about[b"commit"] == b"%d" % until.value
    assert about[b"digest"].decode() == commits[until.value - 1].digest

    asked = duckdb.connect()
    for name in ("events", "trades", "charges"):
        asked.execute(f"CREATE VIEW {name} AS SELECT * FROM '{tmp_path}/tables/{name}.parquet'")
    for column in ("price", "contract", "now_us"):
        (kind,) = asked.execute(f"SELECT DISTINCT typeof({column}) FROM trades").fetchone() or ("",)
        assert kind == "BIGINT"
    state = replay.state
    free, held = balances(asked)
    assert sum(free.values()) > 0 and sum(held.values()) > 0
    for key, account in state.accounts.items():
        assert (free.get(key, 0), held.get(key, 0)) == (account.free, account.held)
    (fees,) = asked.execute("SELECT coalesce(sum(fee), 0) FROM charges").fetchone() or (0,)
    assert fees == state.fees > 0
    asked.close()


def balances(asked: duckdb.DuckDBPyConnection) -> tuple[dict[str, int], dict[str, int]]:
    """(free, held) by account, from the tables alone."""

    def sums(query: str) -> dict[str, int]:
        return {key: int(amount) for key, amount in asked.execute(query).fetchall()}

    deposits = (
        "SELECT json ->> 'account' a, (json ->> 'amount')::BIGINT m FROM events WHERE event = 'deposited'"
    )
    holds = "SELECT buyer a, price m FROM trades"
    settled = "SELECT buyer a, -amount m FROM charges"
    earned = "SELECT seller a, amount - fee m FROM charges WHERE event = 'hour_charged'"
    returned = "SELECT buyer a, amount m FROM charges WHERE event = 'hold_returned'"
    out = "SELECT buyer a, -price m FROM trades"
    parts = " UNION ALL ".join((deposits, earned, returned, out))
    return (
        sums(f"SELECT a, sum(m) FROM ({parts}) GROUP BY a"),
        sums(f"SELECT a, sum(m) FROM ({holds} UNION ALL {settled}) GROUP BY a"),
    )


def test_the_time_of_an_event_is_a_timestamp(tmp_path: Path, commits: list[Commit]) -> None:
    exported(tmp_path / "tables", commits)
    table = pq.read_table(tmp_path / "tables/events.parquet")
    ticks = table.column("tick").to_pylist()
    assert ticks[0] is None and str(table.schema.field("tick").type) == "timestamp[us, tz=UTC]"
    ends = [event.tick_us for commit in commits for _, event in commit.events if type(event) is r.ClockMoved]
    assert round(ticks[-1].timestamp() * 1e6) == ends[-1]


@pytest.mark.parametrize("kind", [SqliteFile, ParquetFiles])
def test_what_is_there_is_not_replaced_and_what_fails_leaves_nothing(
    tmp_path: Path, commits: list[Commit], kind: Callable[[Path], Any]
) -> None:
    path = tmp_path / "then"

    def stop(commit: Packed, request: int, event: r.Event, state: State) -> None:
        files(commit, request, event, state)
        if commit.number == len(commits) // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), kind(path) as files:
        Replay(log_of(commits), each=stop).run()
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    with pytest.raises(FileTakenError, match="is there already"):
        kind(path)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys
from pathlib import Path
from events.archive import Archive
from projections.journal import ArchiveJournal
from projections.{module} import {kind}
from projections.replay import Replay
archive, path, at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
with {kind}(path) as files:
    seen = 0
    def each(*event):
        global seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), 9)
        files(*event)
    replay = Replay(ArchiveJournal(Archive(archive)), each=each)
    files.finish(replay.run(), replay.number)
"""


@pytest.mark.parametrize(("module", "kind"), [("sqlite_file", "SqliteFile"), ("parquet", "ParquetFiles")])
def test_one_that_is_killed_leaves_nothing_that_looks_whole(
    tmp_path: Path, commits: list[Commit], module: str, kind: str
) -> None:
    archive_of(tmp_path / "archive", log_of(commits))
    path = tmp_path / "then"
    code = KILLED.format(module=module, kind=kind)
    whole = sum(len(commit.events) for commit in commits)

    def run(at: int) -> int:
        command = [sys.executable, "-c", code, str(tmp_path / "archive"), str(path), str(at)]
        return subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode

    others = [f"{path}.partial", f"{path}.1-abcdef.partial", f"{path}x.{2**22 + 1}-01234567.partial"]
    for other in others:
        Path(other).write_text("somebody's")
    for at in (1, whole // 2, whole):
        assert run(at) == -signal.SIGKILL
        (left,) = (there for there in tmp_path.glob("then.*.partial") if str(there) not in others)
        assert not path.exists()
    assert run(0) == 0
    assert path.exists() and not left.exists()
    assert all(Path(other).read_text() == "somebody's" for other in others)


MEMORY = """
import resource, sys
from pathlib import Path
from events.archive import Archive
from projections.journal import ArchiveJournal
from projections.parquet import ParquetFiles
from projections.replay import Replay
from projections.sqlite_file import SqliteFile
archive, path, how = (Path(word) for word in sys.argv[1:])
journal = ArchiveJournal(Archive(archive))
if str(how) == "replay":
    replay = Replay(journal)
    replay.run()
else:
    with (SqliteFile if str(how) == "sqlite" else ParquetFiles)(path) as files:
        replay = Replay(journal, each=files)
        files.finish(replay.run(), replay.number)
print(replay.events, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def two_logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A log that has reached the size that its market keeps, and one that is twice as long."""
    place = tmp_path_factory.mktemp("logs")
    make(place / "short", EVENTS)
    make(place / "long", 2 * EVENTS)
    return place / "short", place / "long"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["replay", "sqlite", "parquet"])
def test_memory_does_not_grow_with_the_log(tmp_path: Path, two_logs: tuple[Path, Path], how: str) -> None:
    peaks: list[int] = []
    for archive in two_logs:
        command = [sys.executable, "-c", MEMORY, str(archive), str(tmp_path / archive.name), how]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
        events, peak = map(int, done.stdout.split())
        assert events >= EVENTS * (1 + len(peaks))
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0], peaks
