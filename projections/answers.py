"""Answers: what was said to each numbered request (R12). They stand in the feed; here is where."""

import sqlite3
from typing import Any

from sqlalchemy import Column, Connection, Integer, Table, select

from projections.tables import METADATA, insert_of

ANSWERS = Table(
    "answers",
    METADATA,
    Column("feed", Integer, primary_key=True, autoincrement=False),
    Column("session", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("n", Integer, nullable=False),  # the first message of the commit that answered
    sqlite_with_rowid=False,
)

_ANSWER = f"{insert_of(ANSWERS)} ON CONFLICT DO NOTHING"


class Answers:
    """Where the feed's messages answer what; nothing stays in memory between transactions."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []

    def fold(self, event: Any, feed: int, n: int) -> None:
        """An answer, in message `n` of a feed or a later one of the same commit. The first answer to a
        number is the answer: what comes later under the same number repeats it, or refuses other content.
        Session 0 with number 0 is nobody's request."""
        if event.session or event.number:
            self._rows.append((feed, event.session, event.number, n))

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what was folded."""
        driver.executemany(_ANSWER, self._rows)
        self._rows.clear()


def place(connection: Connection, feed: int, session: int, number: int) -> int | None:
    """The number of the feed's message from which on the answer is to be looked for, or None."""
    columns = ANSWERS.c
    wanted = select(columns.n).where(
        columns.feed == feed, columns.session == session, columns.number == number
    )
    found: int | None = connection.execute(wanted).scalar()
    return found
