"""The feed: what each account should know, numbered without gaps, kept so that a gap can be filled.

Numbers and messages follow from the commits alone, whatever batches they come in. So a message may be
published before it is stored: who dies in between makes the same message again.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    select,
)

from events import subjects
from events.commit import Commit
from events.records import EVENTS, Answered, ClockMoved, Event, OrdersAnswered
from events.wire import loads
from projections.answers import Answers, place
from projections.tables import METADATA, insert_of, text_of

EVERYBODY = "market"  # whose messages go to `feed.market`; an account's key begins with U
MESSAGE_BYTES = 128 * 1024  # of events in one message; a commit that says more to an account takes several

FEEDS = Table(
    "feeds",
    METADATA,
    Column("feed", Integer, primary_key=True),  # in the order in which they were first told something
    Column("account", Text, nullable=False, unique=True),
    Column("last", Integer, nullable=False),
)

MESSAGES = Table(
    "feed_messages",
    METADATA,
    Column("place", Integer, primary_key=True),  # from 1, in the order of the commits
    Column("feed", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("commit", Integer, nullable=False),
    Column("message", LargeBinary, nullable=False),  # as it is published: JSON
    UniqueConstraint("feed", "n"),
)

_NEW = insert_of(FEEDS)
_ANSWERS: frozenset[type[Event]] = frozenset((Answered, OrdersAnswered))
_ANSWER_KINDS = frozenset(answer.kind for answer in _ANSWERS)
_ENCODER = msgspec.json.Encoder()
_LAST = text_of(
    FEEDS.update().where(FEEDS.c.feed == bindparam("key")).values(last=bindparam("now")), "now", "key"
)
_MESSAGE = insert_of(MESSAGES, "place")

Message = tuple[str, bytes]  # subject and data


@dataclass(slots=True)
class Feed:
    """One account's feed, or everybody's: its row, and what the present commit says to it."""

    number: int
    account: str
    subject: str
    last: int
    stored: bool  # whether the store has a row of it
    told: list[bytes]


class Fold:
    """All feeds; O(accounts) memory between transactions."""

    def __init__(self, connection: Connection) -> None:
        self.feeds = {
            row.account: Feed(row.feed, row.account, _subject(row.account), row.last, True, [])
            for row in connection.execute(select(FEEDS))
        }
        self._answers = Answers()
        self._messages: list[tuple[int, int, int, bytes]] = []
        self._changed: dict[int, Feed] = {}

    def fold(self, commit: Commit, now_us: int) -> tuple[list[Message], int]:
        """A message for every account that the commit's events name, and one for everybody; and market
        time after it, which was `now_us` before."""
        told: list[Feed] = []
        feeds, encode = self.feeds, _ENCODER.encode
        for _, event in commit.events:
            kind = type(event)
            if kind is ClockMoved:
                now_us = event.now_us  # type: ignore[attr-defined]  # of a clock_moved
                continue
            data = encode(event)
            for account in _ACCOUNTS[kind](event):
                feed = feeds.get(account) or self._new(account)
                if not feed.told:
                    told.append(feed)
                feed.told.append(data)
                if kind in _ANSWERS:
                    self._answers.fold(event, feed.number, feed.last + 1)
        messages: list[Message] = []
        for feed in told:
            small = sum(map(len, feed.told)) <= MESSAGE_BYTES
            for part in (feed.told,) if small else _parts(feed.told):
                feed.last += 1
                data = b'{"n":%d,"commit":%d,"now_us":%d,"events":[%b]}' % (
                    feed.last,
                    commit.number,
                    now_us,
                    b",".join(part),
                )
                messages.append((feed.subject, data))
                self._messages.append((feed.number, feed.last, commit.number, data))
            feed.told = []
            self._changed[feed.number] = feed
        return messages, now_us

    def _new(self, account: str) -> Feed:
        feed = Feed(len(self.feeds) + 1, account, _subject(account), 0, False, [])
        self.feeds[account] = feed
        return feed

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what was folded."""
        changed = self._changed.values()
        new, old = [feed for feed in changed if not feed.stored], [feed for feed in changed if feed.stored]
        driver.executemany(_NEW, [(feed.number, feed.account, feed.last) for feed in new])
        driver.executemany(_LAST, [(feed.last, feed.number) for feed in old])
        for feed in new:
            feed.stored = True
        driver.executemany(_MESSAGE, self._messages)
        self._messages.clear()
        self._changed.clear()
        self._answers.write(driver)


def _subject(account: str) -> str:
    return subjects.FEED_MARKET if account == EVERYBODY else subjects.feed(account)


def _accounts(parties: Sequence[str]) -> Callable[[Any], Sequence[str]]:
    """What gives the accounts that an event of a kind is told to, each once."""
    if not parties:
        return lambda event: (EVERYBODY,)
    get: Callable[[Any], Any] = attrgetter(*parties)
    if len(parties) == 1:
        return lambda event: (get(event),)
    return lambda event: tuple(dict.fromkeys(get(event)))


_ACCOUNTS: dict[type[Event], Callable[[Any], Sequence[str]]] = {
    kind: _accounts(kind.PARTIES) for kind in EVENTS.values()
}


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
    wanted = select(MESSAGES.c.n, MESSAGES.c.message).join(FEEDS, FEEDS.c.feed == MESSAGES.c.feed)
    wanted = wanted.where(FEEDS.c.account == account, MESSAGES.c.n > since)
    for row in connection.execute(wanted.order_by(MESSAGES.c.n).limit(most + 1)):
        yield row.n, loads(row.message)


def answer(connection: Connection, account: str, session: int, number: int) -> dict[str, Any] | None:
    """The first answer to a numbered request of the account, as on the wire, or None."""
    feed = connection.execute(select(FEEDS.c.feed).where(FEEDS.c.account == account)).scalar()
    n = None if feed is None else place(connection, feed, session, number)
    if n is None:
        return None
    wanted = select(MESSAGES.c.message).where(MESSAGES.c.feed == feed, MESSAGES.c.n >= n)
    for message in connection.execute(wanted.order_by(MESSAGES.c.n)).scalars():
        for event in loads(message)["events"]:
            if event["kind"] in _ANSWER_KINDS and (event["session"], event["number"]) == (session, number):
                return dict(event)
    raise AssertionError(f"message {n} of feed {feed} and those behind it do not answer {session}/{number}")


def to_publish(connection: Connection, after: int) -> Iterator[Message]:
    """The messages of all commits > `after`, in order. O(these), and O(log messages) look-ups."""
    last = connection.execute(select(func.max(MESSAGES.c.place))).scalar() or 0
    of = select(MESSAGES.c.commit).where(MESSAGES.c.place == bindparam("p"))
    before = bisect_right(
        range(1, last + 1), after, key=lambda place: connection.execute(of, {"p": place}).scalar_one()
    )
    wanted = select(FEEDS.c.account, MESSAGES.c.message).join(FEEDS, FEEDS.c.feed == MESSAGES.c.feed)
    for row in connection.execute(wanted.where(MESSAGES.c.place > before).order_by(MESSAGES.c.place)):
        yield _subject(row.account), row.message
