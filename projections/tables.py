"""What every projection shares: the tables' metadata, their SQL as text, and the moment of an event.

Tables are defined once, with SQLAlchemy, and queries are written with it. What is written for every event
is the same statement again and again: its text is made once, and handed to the driver with many rows.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Executable,
    MetaData,
    Select,
    Table,
    bindparam,
    text,
    union_all,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import ClauseElement

from events.records import Event

METADATA = MetaData()

T = TypeVar("T")
_DIALECT = sqlite.dialect(paramstyle="qmark")


@dataclass(slots=True)
class Moment:
    """The commit that is being folded, and market time in µs; all folds look at the same."""

    commit: int
    now_us: int


Handler = Callable[[Any], None]


class Fold(Protocol):
    """One projection: what it remembers between transactions, and what is to be written in the next.

    Each event goes to the handlers of its kind, in the order of the log. `write` brings the tables up to
    what was folded since the last time, with each row once, however often it changed.
    """

    def handlers(self) -> Mapping[type[Event], Handler]:
        """What to call for which events."""

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what changed; inside a transaction."""


def chunks(values: Iterable[T], most: int) -> Iterator[Sequence[T]]:
    """The values, at most `most` at once."""
    iterator = iter(values)
    while chunk := tuple(islice(iterator, most)):
        yield chunk


def text_of(statement: ClauseElement, *names: str) -> str:
    """The statement as SQL text for the driver, its values being those of `names`, in that order."""
    compiled: Any = statement.compile(dialect=_DIALECT)
    assert tuple(compiled.positiontup) == names, compiled.positiontup
    return str(compiled)


def insert_of(table: Table, given: str = "") -> str:
    """SQL text that inserts a row of all columns in the table's order, but one that SQLite gives itself."""
    names = [column.name for column in table.columns if column.name != given]
    return text_of(table.insert().values({name: bindparam(name) for name in names}), *names)


def upsert_of(table: Table, key: Sequence[str], changed: Sequence[str], given: str = "") -> str:
    """As `insert_of`; where a row with this key is there, its columns `changed` become the new row's."""
    values = ", ".join(f"{name} = excluded.{name}" for name in changed)
    return f"{insert_of(table, given)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {values}"


def ordered(parts: Sequence[Select[Any]], key: str, most: int) -> CompoundSelect[Any]:
    """The rows of all parts in the order of `key`, `most` + 1 of them; -1: all. Parts that an index gives in
    this order are merged, and none is read further than it must."""
    whole = union_all(*parts).order_by(text(f'"{key}"'))
    return whole if most < 0 else whole.limit(most + 1)


def rows(connection: Connection, wanted: Executable) -> Iterator[dict[str, Any]]:
    """The rows as dicts by column name; plain str, which SQLAlchemy's own names are not always."""
    result = connection.execute(wanted)
    columns = result.keys()
    names = [str.__str__(name) for name in columns]
    for row in result:
        yield dict(zip(names, row, strict=True))
