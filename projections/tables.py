"""What every projection shares: the tables' metadata, and the moment at which an event happened."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, MetaData, Select

from events.records import Event

METADATA = MetaData()
Moment = tuple[int, Event]  # market time in µs, and what happened then
MOST_VARIABLES = 1000  # values in one statement; SQLite takes 32,766

T = TypeVar("T")


def chunks(values: Iterable[T]) -> Iterator[Sequence[T]]:
    """Parts of `values` that fit into one statement."""
    iterator = iter(values)
    while chunk := tuple(islice(iterator, MOST_VARIABLES)):
        yield chunk


def rows(connection: Connection, wanted: Select[Any]) -> Iterator[dict[str, Any]]:
    """The rows as dicts by column name; plain str, which SQLAlchemy's own names are not always."""
    result = connection.execute(wanted)
    columns = result.keys()
    names = [str.__str__(name) for name in columns]
    for row in result:
        yield dict(zip(names, row, strict=True))
