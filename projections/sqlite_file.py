"""A SQLite file of the market as it was at a moment, with every trade, charge and statement line up to it.

Made for people to query, and written once, under another name (`drafts.draft_of`) until it is whole.
"""

import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any

from events.commit import Packed
from events.records import Event
from events.wire import dumps
from exchange.state import State
from projections import as_of, ledger
from projections.drafts import discard, draft_of
from projections.ledger import CHARGES, LINES, TRADES, Columns, Row

BATCH = 20_000  # rows of one table in memory
AS_OF: Columns = {"commit": int, "now_us": int, "tick_us": int, "digest": str}
ACCOUNTS: Columns = {
    "account": str, "name": str, "free": int, "held": int, "reputation": int, "suspended": int,
}  # fmt: skip
MACHINES: Columns = {
    "account": str, "name": str, "machine": str, "cpus": int, "numbers": str, "flags": str, "ready": int,
}  # fmt: skip
ORDERS: Columns = {
    "order": int, "account": str, "side": str, "price": int, "size": int, "running": int, "machine": str,
    "minimums": str, "flags": str, "only": str, "blocked": str, "expires_us": int,
}  # fmt: skip
CONTRACTS: Columns = {
    "contract": int, "bid": int, "ask": int, "buyer": str, "seller": str, "machine": str, "price": int,
    "hour": int, "until_us": int, "sent": int, "started": int,
}  # fmt: skip
TABLES: dict[str, Columns] = {
    "as_of": AS_OF, "accounts": ACCOUNTS, "machines": MACHINES, "orders": ORDERS, "contracts": CONTRACTS,
    "trades": TRADES, "charges": CHARGES, "statement_lines": LINES,
}  # fmt: skip
INDEXES = (
    "CREATE UNIQUE INDEX lines_by_account ON statement_lines (account, line)",
    "CREATE INDEX trades_by_contract ON trades (contract, hour)",
    "CREATE INDEX charges_by_contract ON charges (contract, hour)",
)
TYPES = {int: "INTEGER", str: "TEXT"}


class FileTakenError(Exception):
    """Something is there already; the text is one line that says what to do."""


class SqliteFile:
    """Call it with every event, then `finish`. What is not finished leaves no file. O(BATCH) memory.

    Raises FileTakenError, OSError, sqlite3.Error (a full disk).
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise FileTakenError(f"{path}: is there already; remove it, or give another file")
        self.path, self._partial = path, draft_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._partial.touch(mode=0o600)  # it has everybody's statements
        self._connection = sqlite3.connect(self._partial, isolation_level=None, cached_statements=16)
        self._rows: dict[str, list[Row]] = {name: [] for name in TABLES}
        self._clock, self._statements = ledger.Clock(), ledger.Statements()
        # Nobody reads it before it is whole, and a half one is thrown away: no journal is needed.
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        for name, columns in TABLES.items():
            defined = ", ".join(f'"{column}" {TYPES[kind]} NOT NULL' for column, kind in columns.items())
            self._connection.execute(f"CREATE TABLE {name} ({defined})")

    def __enter__(self) -> "SqliteFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        discard(self._partial)

    def __call__(self, commit: Packed, request: int, event: Event, state: State) -> None:
        """The next event."""
        when = self._clock.when(commit, request, state)
        trade = ledger.trade(when, event, state)
        if trade is not None:
            self._add("trades", trade)
        charge = ledger.charge(when, event)
        if charge is not None:
            self._add("charges", charge)
        for line in self._statements.lines(when, event, state):
            self._add("statement_lines", line)

    def finish(self, state: State, commit: int) -> None:
        """Write the state as of the end, and put the file in its place."""
        self._add("as_of", (commit, state.now_us, self._clock.tick_us, state.digest.take()))
        for name, rows in (
            ("accounts", as_of.account_rows(state)),
            ("machines", as_of.machine_rows(state)),
            ("orders", as_of.order_rows(state)),
            ("contracts", as_of.contract_rows(state)),
        ):
            for row in rows:
                self._add(name, tuple(_plain(row[column]) for column in TABLES[name]))
        for name in TABLES:
            self._write(name)
        for index in INDEXES:
            self._connection.execute(index)
        self._connection.close()
        with self._partial.open("rb") as file:
            os.fsync(file.fileno())
        os.link(self._partial, self.path)  # never over another file

    def _add(self, table: str, row: Row) -> None:
        rows = self._rows[table]
        rows.append(row)
        if len(rows) >= BATCH:
            self._write(table)

    def _write(self, table: str) -> None:
        rows = self._rows[table]
        marks = ", ".join("?" * len(TABLES[table]))
        self._connection.execute("BEGIN")
        self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our names
        self._connection.execute("COMMIT")
        rows.clear()


def _plain(value: Any) -> Any:
    """Lists and objects as JSON."""
    return dumps(value).decode() if isinstance(value, dict | list | tuple) else value
