"""Events, trades and charges of a log as Parquet tables, which DuckDB and pandas open.

A directory of `events.parquet`, `trades.parquet`, `charges.parquet`, written under another name
(`drafts.draft_of`) until all of it is whole. Money is in micro-credits and market time in µs, both as
64-bit integers; `tick` is a timestamp. Needs pyarrow, of the extra `export`.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from events.commit import Packed
from events.records import Event
from exchange.state import State
from projections import ledger
from projections.drafts import discard, draft_of
from projections.ledger import CHARGES, TRADES, Columns, Row
from projections.sqlite_file import FileTakenError

GROUP = 20_000  # rows in one row group, and in memory
EVENTS: Columns = ledger.WHEN | {"place": int, "event": str, "accounts": list, "json": str}
TABLES: dict[str, Columns] = {"events": EVENTS, "trades": TRADES, "charges": CHARGES}
FEW = ("event", "reason", "machine", "account", "buyer", "seller")  # columns in which values repeat
TYPES: dict[type, pa.DataType] = {int: pa.int64(), str: pa.string(), list: pa.list_(pa.string())}


_JSON = msgspec.json.Encoder()


class ParquetFiles:
    """Call it with every event, then `finish`. What is not finished leaves nothing. O(GROUP) memory.

    Raises FileTakenError, OSError (a full disk).
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileTakenError(f"{path}: something is there already; remove it, or give another directory")
        self.path, self._partial = path, draft_of(path)
        self._partial.mkdir(mode=0o700, parents=True)
        self._tables = {name: _Table(self._partial, name, columns) for name, columns in TABLES.items()}
        self._clock = ledger.Clock()
        self._commit = self._place = 0

    def __enter__(self) -> "ParquetFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for table in self._tables.values():
            table.close()
        discard(self._partial)

    def __call__(self, commit: Packed, request: int, event: Event, state: State) -> None:
        """The next event."""
        when = self._clock.when(commit, request, state)
        self._place = self._place + 1 if commit.number == self._commit else 1
        self._commit = commit.number
        said = _JSON.encode(event).decode()
        self._tables["events"].add((*when, self._place, event.kind, list(event.accounts()), said))
        trade = ledger.trade(when, event, state)
        if trade is not None:
            self._tables["trades"].add(trade)
        charge = ledger.charge(when, event)
        if charge is not None:
            self._tables["charges"].add(charge)

    def finish(self, state: State, commit: int) -> dict[str, int]:
        """Write what is left and put the directory in its place; returns the number of rows of each table.

        Each file says as of which commit it is, and the state's digest then: `commit` and `digest`.
        """
        about = {"commit": str(commit), "digest": state.digest.take()}
        for table in self._tables.values():
            table.finish(about)
        for place in (*self._partial.iterdir(), self._partial):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.rename(self._partial, self.path)
        return {name: table.rows for name, table in self._tables.items()}


class _Table:
    """One file that is being written."""

    def __init__(self, directory: Path, name: str, columns: Columns) -> None:
        fields = [
            pa.field("tick", pa.timestamp("us", tz="UTC"))
            if column == "tick_us"
            else pa.field(column, TYPES[kind], nullable=False)
            for column, kind in columns.items()
        ]
        self.rows = 0
        self._schema = pa.schema(fields)
        self._waiting: list[Row] = []
        few = [column for column in columns if column in FEW]
        self._writer = pq.ParquetWriter(
            directory / f"{name}.parquet", self._schema, compression="zstd", use_dictionary=few
        )

    def add(self, row: Row) -> None:
        self._waiting.append(row)
        if len(self._waiting) >= GROUP:
            self._write()

    def finish(self, about: dict[str, str]) -> None:
        self._write()
        self._writer.add_key_value_metadata(about)
        self.close()

    def close(self) -> None:
        self._writer.close()

    def _write(self) -> None:
        """One row group."""
        if not self._waiting:
            return
        arrays = [
            pa.array(_timestamps(values) if field.name == "tick" else values, field.type)
            for field, values in zip(self._schema, zip(*self._waiting, strict=True), strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.rows += len(self._waiting)
        self._waiting.clear()


def _timestamps(values: tuple[Any, ...]) -> list[int | None]:
    """Before the first tick there is none."""
    return [value or None for value in values]
