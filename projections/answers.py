"""Answers: what was said to each numbered request (R12)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Integer, Table, Text, select
from sqlalchemy.dialects.sqlite import insert

from events.records import Answered
from events.wire import dumps, loads
from projections.tables import METADATA, Moment

ANSWERS = Table(
    "answers",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("session", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("event", Text, nullable=False),
)


def fold(connection: Connection, _commit: int, moments: Sequence[Moment]) -> None:
    """Fold one commit's events. The first answer to a number is the answer: what comes later under the
    same number repeats it, or refuses other content. Session 0 with number 0 is nobody's request."""
    rows = [
        {
            "account": event.account,
            "session": event.session,
            "number": event.number,
            "event": dumps(event.wire()).decode(),
        }
        for _, event in moments
        if isinstance(event, Answered) and (event.session or event.number)
    ]
    if rows:
        connection.execute(insert(ANSWERS).on_conflict_do_nothing(), rows)


def answer(connection: Connection, account: str, session: int, number: int) -> dict[str, Any] | None:
    """The `answered` event as on the wire, or None."""
    columns = ANSWERS.c
    wanted = select(columns.event).where(
        columns.account == account, columns.session == session, columns.number == number
    )
    event = connection.execute(wanted).scalar()
    return None if event is None else dict(loads(event))
