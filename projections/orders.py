"""Orders: bids and asks with what runs of them, and the depth of the book (R5, R11)."""

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    func,
    select,
    text,
)

from events.records import (
    AskAmended,
    AskPlaced,
    BidAmended,
    BidPlaced,
    ContractEnded,
    ContractOpened,
    Event,
    OrderClosed,
)
from events.subjects import CLIENT
from events.wire import dumps, loads
from projections.accounts import ACCOUNTS, Balances, place_of
from projections.contracts import orders_of
from projections.machines import PRESENCE
from projections.tables import METADATA, Handler, insert_of, ordered, rows, text_of

ORDERS = Table(
    "orders",
    METADATA,
    Column("order", Integer, primary_key=True),
    Column("account", Integer, nullable=False),  # place among the accounts
    Column("side", Text, nullable=False),  # "bid" or "ask"
    Column("price", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("running", Integer, nullable=False),  # contracts of it that run
    Column("machine", Text, nullable=False),  # an ask's; "" for a bid
    Column("screen", Text, nullable=False),  # a bid's: JSON, the members of SCREEN in a row; "" asks nothing
    Column("expires_us", Integer, nullable=False),
    Column("closed", Text, nullable=False),  # the reason, "" while it is open
    CheckConstraint("running >= 0", "contracts_end_once"),
    Index("orders_open", "account", "order", sqlite_where=text("closed = ''")),  # each is in one of these
    Index("orders_closed", "account", "order", sqlite_where=text("closed != ''")),
)

OPEN, CLOSED = text("closed = ''"), text("closed != ''")
SCREEN = ("minimums", "flags", "only", "blocked")
NO_SCREEN = b"[{},[],[],[]]"

_PLACED = insert_of(ORDERS)
_ONE = ORDERS.update().where(ORDERS.c.order == bindparam("key"))
_AMENDED = text_of(
    _ONE.values(price=bindparam("p"), size=bindparam("s"), screen=bindparam("w")), "p", "s", "w", "key"
)
_CLOSED = text_of(_ONE.values(closed=bindparam("why")), "why", "key")
_RUNNING = text_of(_ONE.values(running=ORDERS.c.running + bindparam("change")), "change", "key")
_PRICE, _SIZE, _IS_RUNNING, _SCREEN, _WHY = (
    ORDERS.c.keys().index(name) for name in ("price", "size", "running", "screen", "closed")
)


class Fold:
    """Orders; nothing stays in memory between transactions.

    `running` counts contracts that were opened and have not ended. A renewal changes nothing: at an hour's
    end the slot returns to the book for the time of a match only, and nobody can look in between.
    """

    def __init__(self, accounts: Balances) -> None:
        self._accounts = accounts
        self._placed: dict[int, list[Any]] = {}  # rows
        self._amended: dict[int, tuple[int, int, str, int]] = {}
        self._closed: dict[int, str] = {}
        self._running: dict[int, int] = {}  # changes
        self._ended: list[int] = []  # contracts

    def handlers(self) -> Mapping[type[Event], Handler]:
        """What to call for which events."""
        return {
            BidPlaced: self._on_bid_placed,
            AskPlaced: self._on_ask_placed,
            BidAmended: self._on_bid_amended,
            AskAmended: self._on_ask_amended,
            OrderClosed: self._on_closed,
            ContractOpened: self._on_opened,
            ContractEnded: self._on_ended,
        }

    def _on_bid_placed(self, event: BidPlaced) -> None:
        self._placed[event.order] = [
            event.order, self._accounts[event.account].place, "bid", event.price, event.size, 0, "",
            _screen(event), event.expires_us, "",
        ]  # fmt: skip

    def _on_ask_placed(self, event: AskPlaced) -> None:
        self._placed[event.order] = [
            event.order, self._accounts[event.account].place, "ask", event.price, event.size, 0,
            event.machine, "", event.expires_us, "",
        ]  # fmt: skip

    def _on_bid_amended(self, event: BidAmended) -> None:
        self._amend(event.order, event.price, event.size, _screen(event))

    def _on_ask_amended(self, event: AskAmended) -> None:
        self._amend(event.order, event.price, event.size, "")

    def _amend(self, order: int, price: int, size: int, screen: str) -> None:
        row = self._placed.get(order)
        if row is None:
            self._amended[order] = (price, size, screen, order)
        else:
            row[_PRICE], row[_SIZE], row[_SCREEN] = price, size, screen

    def _on_closed(self, event: OrderClosed) -> None:
        row = self._placed.get(event.order)
        if row is None:
            self._closed[event.order] = event.reason
        else:
            row[_WHY] = event.reason

    def _on_opened(self, event: ContractOpened) -> None:
        self._run(event.bid, 1)
        self._run(event.ask, 1)

    def _on_ended(self, event: ContractEnded) -> None:
        self._ended.append(event.contract)

    def _run(self, order: int, change: int) -> None:
        row = self._placed.get(order)
        if row is None:
            self._running[order] = self._running.get(order, 0) + change
        else:
            row[_IS_RUNNING] += change

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what was folded; contracts before, for these know which orders those were of that ended."""
        for orders in orders_of(driver, self._ended):
            for order in orders:
                self._run(order, -1)
        driver.executemany(_PLACED, self._placed.values())
        driver.executemany(_AMENDED, self._amended.values())
        driver.executemany(_CLOSED, [(reason, order) for order, reason in self._closed.items()])
        driver.executemany(_RUNNING, [(change, order) for order, change in self._running.items() if change])
        for done in (self._placed, self._amended, self._closed, self._running, self._ended):
            done.clear()


def _screen(event: BidPlaced | BidAmended) -> str:
    """A bid's screen as it is stored."""
    if not (event.minimums or event.flags or event.only or event.blocked):
        return ""
    return dumps([event.minimums, event.flags, event.only, event.blocked]).decode()


def order_rows(
    connection: Connection, account: str, *, every: bool = False, after: int = 0, most: int = -1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(order, row) of an account's open orders (`every`: closed too); `most` + 1 of them."""
    of_his = select(ORDERS).where(ORDERS.c.account == place_of(account), ORDERS.c.order > after)
    wanted = ordered([of_his.where(OPEN), *([of_his.where(CLOSED)] if every else [])], "order", most)
    for row in rows(connection, wanted):
        del row["account"]
        row |= zip(SCREEN, loads(row.pop("screen").encode() or NO_SCREEN), strict=True)
        yield row["order"], row


def open_asks(connection: Connection, account: str, machine: str) -> list[dict[str, Any]]:
    """The open asks of one machine: [{"order", "price", "size", "running"}]."""
    wanted = select(ORDERS.c.order, ORDERS.c.price, ORDERS.c.size, ORDERS.c.running)
    wanted = wanted.where(ORDERS.c.account == place_of(account), ORDERS.c.machine == machine, OPEN)
    return list(rows(connection, wanted.order_by(ORDERS.c.order)))


def orders_counted(connection: Connection) -> int:
    """How many orders are open."""
    return int(connection.execute(select(func.count()).select_from(ORDERS).where(OPEN)).scalar_one())


def depth(connection: Connection, side: str, most: int = -1) -> list[list[int]]:
    """[price, open slots, orders], best price first, `most` levels at most (-1: all): what is alive (R11).

    A bid counts while its account's free money is at least one CPU hour at its limit and its client is
    present; an ask while its machine is ready.
    """
    columns = ORDERS.c
    slots, orders = func.sum(columns.size - columns.running), func.count()
    wanted: Select[Any] = select(columns.price, slots, orders)
    wanted = wanted.join(ACCOUNTS, ACCOUNTS.c.place == columns.account).join(
        PRESENCE,
        (PRESENCE.c.account == ACCOUNTS.c.account)
        & (PRESENCE.c.party == (CLIENT if side == "bid" else columns.machine))
        & PRESENCE.c.present,
    )
    if side == "bid":
        wanted = wanted.where(ACCOUNTS.c.free >= columns.price)
    wanted = wanted.where(columns.side == side, OPEN, columns.size > columns.running).group_by(columns.price)
    best = columns.price.desc() if side == "bid" else columns.price
    return [list(row) for row in connection.execute(wanted.order_by(best).limit(most))]
