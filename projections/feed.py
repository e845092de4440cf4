"""The feed: what each account should know, numbered without gaps, kept so that a gap can be filled."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Index, Integer, Table, Text, select
from sqlalchemy.dialects.sqlite import insert

from events import subjects
from events.records import ClockMoved
from events.wire import dumps, loads
from projections.tables import METADATA, Moment, chunks

EVERYBODY = "market"  # whose messages go to `feed.market`; an account's key begins with U
MESSAGE_BYTES = 128 * 1024  # of events in one message; a commit that says more to an account takes several

FEEDS = Table(
    "feeds",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("last", Integer, nullable=False),
)

MESSAGES = Table(
    "feed_messages",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("commit", Integer, nullable=False),
    Column("now_us", Integer, nullable=False),
    Column("events", Text, nullable=False),  # a JSON list
    Index("feed_by_commit", "commit"),
)


def fold(connection: Connection, commit: int, moments: Sequence[Moment]) -> None:
    """Fold one commit's events: a message for every account that they name, and one for everybody."""
    told: dict[str, list[bytes]] = defaultdict(list)
    for _, event in moments:
        if isinstance(event, ClockMoved):
            continue
        data = dumps(event.wire())
        for account in dict.fromkeys(event.accounts() or (EVERYBODY,)):
            told[account].append(data)
    last: dict[str, int] = dict.fromkeys(told, 0)
    for keys in chunks(told):
        for row in connection.execute(select(FEEDS).where(FEEDS.c.account.in_(keys))):
            last[row.account] = row.last
    now_us = moments[-1][0] if moments else 0
    rows: list[dict[str, Any]] = []
    for account, events in told.items():
        for part in _parts(events):
            last[account] += 1
            text = (b"[" + b",".join(part) + b"]").decode()
            rows.append(
                {"account": account, "n": last[account], "commit": commit, "now_us": now_us, "events": text}
            )
    if rows:
        connection.execute(MESSAGES.insert(), rows)
        counted = insert(FEEDS)
        connection.execute(
            counted.on_conflict_do_update(index_elements=["account"], set_={"last": counted.excluded.last}),
            [{"account": account, "last": n} for account, n in last.items()],
        )


def _parts(events: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The events in parts of at most MESSAGE_BYTES, one event at least."""
    start, size = 0, 0
    for position, data in enumerate(events):
        if position > start and size + len(data) > MESSAGE_BYTES:
            yield events[start:position]
            start, size = position, 0
        size += len(data)
    yield events[start:]


def last_number(connection: Connection, account: str) -> int:
    """The number of the account's last message, 0 if there is none."""
    return int(connection.execute(select(FEEDS.c.last).where(FEEDS.c.account == account)).scalar() or 0)


def message_rows(
    connection: Connection, account: str, *, since: int, most: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(n, message) with numbers > `since`, in order; `most` + 1 of them."""
    wanted = select(MESSAGES).where(MESSAGES.c.account == account, MESSAGES.c.n > since)
    for row in connection.execute(wanted.order_by(MESSAGES.c.n).limit(most + 1)):
        yield row.n, {"n": row.n, "commit": row.commit, "now_us": row.now_us, "events": loads(row.events)}


def to_publish(connection: Connection, after: int) -> list[tuple[str, bytes]]:
    """(subject, message) of all commits > `after`, each account's in order."""
    wanted = select(MESSAGES).where(MESSAGES.c.commit > after)
    return [
        (
            subjects.FEED_MARKET if row.account == EVERYBODY else subjects.feed(row.account),
            f'{{"n":{row.n},"commit":{row.commit},"now_us":{row.now_us},"events":{row.events}}}'.encode(),
        )
        for row in connection.execute(wanted.order_by(MESSAGES.c.commit, MESSAGES.c.account, MESSAGES.c.n))
    ]
