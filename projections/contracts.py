"""Contracts: who rents which machine, at what price, until when, and what was paid for it (R13, R14)."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    bindparam,
    func,
    select,
    text,
)

from events.records import (
    ContractEnded,
    ContractOpened,
    ContractRenewed,
    Event,
    HourCharged,
    ProgramSent,
    ProgramStarted,
)
from events.wire import dumps
from projections.accounts import ACCOUNTS, Balances, place_of
from projections.tables import METADATA, Handler, insert_of, ordered, rows, text_of

CONTRACTS = Table(
    "contracts",
    METADATA,
    Column("contract", Integer, primary_key=True),
    Column("bid", Integer, nullable=False),
    Column("ask", Integer, nullable=False),
    Column("buyer", Integer, nullable=False),  # place among the accounts
    Column("seller", Integer, nullable=False),
    Column("machine", Text, nullable=False),
    Column("price", Integer, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("until_us", Integer, nullable=False),
    Column("sent", Boolean, nullable=False),
    Column("started", Boolean, nullable=False),
    Column("ended", Text, nullable=False),  # the reason, "" while it runs
    Column("paid", Integer, nullable=False),
    # Each is in two of these, those of its buyer and of its seller.
    Index("contracts_running_by_buyer", "buyer", "contract", sqlite_where=text("ended = ''")),
    Index("contracts_running_by_seller", "seller", "contract", sqlite_where=text("ended = ''")),
    Index("contracts_ended_by_buyer", "buyer", "contract", sqlite_where=text("ended != ''")),
    Index("contracts_ended_by_seller", "seller", "contract", sqlite_where=text("ended != ''")),
)

RUNNING, ENDED = text("ended = ''"), text("ended != ''")
_PRICE, _PAID = (CONTRACTS.c.keys().index(name) for name in ("price", "paid"))
_OPENED = insert_of(CONTRACTS)
_ONE = CONTRACTS.update().where(CONTRACTS.c.contract == bindparam("key"))
_RENEWED = text_of(
    _ONE.values(price=bindparam("p"), hour=bindparam("h"), until_us=bindparam("u")), "p", "h", "u", "key"
)
_CHARGED = text_of(_ONE.values(paid=CONTRACTS.c.paid + bindparam("amount")), "amount", "key")
_SENT = text_of(_ONE.values(sent=bindparam("yes")), "yes", "key")
_STARTED = text_of(_ONE.values(started=bindparam("yes")), "yes", "key")
_ENDED = text_of(_ONE.values(ended=bindparam("why")), "why", "key")
_ORDERS = "SELECT bid, ask FROM contracts WHERE contract IN (SELECT value FROM json_each(?))"


class Fold:
    """Contracts; nothing stays in memory between transactions."""

    def __init__(self, accounts: Balances) -> None:
        self._accounts = accounts
        self._opened: dict[int, list[Any]] = {}  # rows
        self._renewed: dict[int, tuple[int, int, int, int]] = {}
        self._charged: dict[int, int] = {}
        self._sent: list[int] = []
        self._started: list[int] = []
        self._ended: dict[int, str] = {}

    def handlers(self) -> Mapping[type[Event], Handler]:
        """What to call for which events."""
        return {
            ContractOpened: self._on_opened,
            ContractRenewed: self._on_renewed,
            HourCharged: self._on_charged,
            ProgramSent: self._on_sent,
            ProgramStarted: self._on_started,
            ContractEnded: self._on_ended,
        }

    def _on_opened(self, event: ContractOpened) -> None:
        buyer, seller = self._accounts[event.buyer].place, self._accounts[event.seller].place
        self._opened[event.contract] = [
            event.contract, event.bid, event.ask, buyer, seller, event.machine, event.price, 1,
            event.until_us, False, False, "", 0,
        ]  # fmt: skip

    def _on_renewed(self, event: ContractRenewed) -> None:
        row = self._opened.get(event.contract)
        if row is None:
            self._renewed[event.contract] = (event.price, event.hour, event.until_us, event.contract)
        else:
            row[_PRICE : _PRICE + 3] = (event.price, event.hour, event.until_us)

    def _on_charged(self, event: HourCharged) -> None:
        row = self._opened.get(event.contract)
        if row is None:
            self._charged[event.contract] = self._charged.get(event.contract, 0) + event.amount
        else:
            row[_PAID] += event.amount

    def _on_sent(self, event: ProgramSent) -> None:
        self._sent.append(event.contract)

    def _on_started(self, event: ProgramStarted) -> None:
        self._started.append(event.contract)

    def _on_ended(self, event: ContractEnded) -> None:
        self._ended[event.contract] = event.reason

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what was folded."""
        driver.executemany(_OPENED, self._opened.values())
        driver.executemany(_RENEWED, self._renewed.values())
        driver.executemany(_CHARGED, [(amount, contract) for contract, amount in self._charged.items()])
        driver.executemany(_SENT, [(True, contract) for contract in self._sent])
        driver.executemany(_STARTED, [(True, contract) for contract in self._started])
        driver.executemany(_ENDED, [(reason, contract) for contract, reason in self._ended.items()])
        for done in (self._opened, self._renewed, self._charged, self._sent, self._started, self._ended):
            done.clear()


def orders_of(driver: sqlite3.Connection, contracts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The bid and the ask of each contract."""
    if contracts:
        yield from driver.execute(_ORDERS, (dumps(contracts).decode(),))


def contract_rows(
    connection: Connection, *, account: str = "", every: bool = False, after: int = 0, most: int = -1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(contract, row) of running contracts (`every`: ended too), one party's or all; `most` + 1 of them."""
    buyer, seller = ACCOUNTS.alias(), ACCOUNTS.alias()
    columns: dict[str, ColumnElement[Any]] = {column.name: column for column in CONTRACTS.columns}
    columns |= {"buyer": buyer.c.account.label("buyer"), "seller": seller.c.account.label("seller")}
    wanted = select(*columns.values()).where(CONTRACTS.c.contract > after)
    wanted = wanted.join(buyer, buyer.c.place == CONTRACTS.c.buyer)
    wanted = wanted.join(seller, seller.c.place == CONTRACTS.c.seller)
    parts = [wanted.where(RUNNING), *([wanted.where(ENDED)] if every else [])]
    if account:
        sides = (CONTRACTS.c.buyer, CONTRACTS.c.seller)
        parts = [part.where(side == place_of(account)) for part in parts for side in sides]
    for row in rows(connection, ordered(parts, "contract", most)):
        yield row["contract"], row


def contracts_running(connection: Connection) -> int:
    """How many contracts run."""
    return int(connection.execute(select(func.count()).select_from(CONTRACTS).where(RUNNING)).scalar_one())
