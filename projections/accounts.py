"""Accounts: balances, statements (R2) and reputation (R26), all from what events move and say.

The bank and the fees are accounts like the others, so that the sum over all of them is zero (R1).
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    Integer,
    ScalarSelect,
    Table,
    Text,
    bindparam,
    func,
    select,
)

from events.records import (
    BANK,
    FEES,
    AccountOpened,
    AccountReinstated,
    AccountSuspended,
    ContractOpened,
    ContractRenewed,
    Deposited,
    Event,
    HoldReturned,
    HourCharged,
    MarketOpened,
    Voted,
)
from projections.tables import METADATA, Handler, Moment, insert_of, rows, text_of

PRIOR = 500_000  # reputation before any vote: half good, in parts per million (R26)

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("place", Integer, primary_key=True),  # in the order in which they were opened
    Column("account", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("free", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("reputation", Integer, nullable=False),
    Column("lines", Integer, nullable=False),  # of its statement, so far
    Column(
        "suspended", Integer, nullable=False
    ),  # for this request, which it did not sign (R35); 0: it is not
    CheckConstraint(f"(free >= 0 OR account = '{BANK}') AND held >= 0", "nothing_is_owed"),
)

LINES = Table(
    "statement_lines",
    METADATA,
    Column("account", Integer, primary_key=True, autoincrement=False),  # its place
    Column("line", Integer, primary_key=True, autoincrement=False),  # rising by 1 within the account
    Column("commit", Integer, nullable=False),  # never falling within the account
    Column("now_us", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("contract", Integer, nullable=False),  # 0: none
    Column("hour", Integer, nullable=False),
    Column("counterparty", Integer, nullable=False),  # its place
    Column("text", Text, nullable=False),
    Column("free", Integer, nullable=False),  # change, in micro-credits
    Column("held", Integer, nullable=False),
    Column("free_after", Integer, nullable=False),
    Column("held_after", Integer, nullable=False),
)

LINE = ("line", "commit", "now_us", "event", "contract", "hour", "counterparty", "text", "free", "held")

_OPENED = insert_of(ACCOUNTS)
_CHANGED = text_of(
    ACCOUNTS.update()
    .where(ACCOUNTS.c.place == bindparam("key"))
    .values(
        free=bindparam("f"),
        held=bindparam("h"),
        reputation=bindparam("r"),
        lines=bindparam("l"),
        suspended=bindparam("s"),
    ),
    *("f", "h", "r", "l", "s", "key"),
)
_LINE = insert_of(LINES)


@dataclass(slots=True)
class Balance:
    """One account as it is now: its money, its reputation and the number of lines in its statement."""

    place: int
    account: str
    name: str
    free: int
    held: int
    reputation: int
    lines: int
    suspended: int
    stored: bool  # whether the store has a row of it


Balances = dict[str, Balance]  # by account


class Fold:
    """All accounts; O(accounts) memory between transactions."""

    def __init__(self, connection: Connection, moment: Moment) -> None:
        self.balances: Balances = {
            row.account: Balance(**row._mapping, stored=True) for row in connection.execute(select(ACCOUNTS))
        }
        self._moment = moment
        self._changed: dict[int, Balance] = {}
        self._lines: list[tuple[Any, ...]] = []

    def handlers(self) -> Mapping[type[Event], Handler]:
        """What to call for which events."""
        return {
            MarketOpened: self._on_market_opened,
            AccountOpened: lambda event: self._open(event.account, event.name),
            AccountSuspended: lambda event: self._suspend(event.account, event.request),
            AccountReinstated: lambda event: self._suspend(event.account, 0),
            Voted: self._on_voted,
            Deposited: self._on_deposited,
            ContractOpened: lambda event: self._move(event, 1, event.machine),
            ContractRenewed: lambda event: self._move(event, event.hour, ""),
            HourCharged: lambda event: self._move(event, event.hour, ""),
            HoldReturned: lambda event: self._move(event, event.hour, event.reason),
        }

    def _on_market_opened(self, _event: MarketOpened) -> None:
        self._open(BANK, BANK)
        self._open(FEES, FEES)

    def _open(self, account: str, name: str) -> None:
        balance = Balance(len(self.balances) + 1, account, name, 0, 0, PRIOR, 0, 0, False)
        self.balances[account] = self._changed[balance.place] = balance

    def _suspend(self, account: str, request: int) -> None:
        balance = self.balances[account]
        balance.suspended = request
        self._changed[balance.place] = balance

    def _on_voted(self, event: Voted) -> None:
        about = self.balances[event.about]
        about.reputation = event.reputation
        self._changed[about.place] = about

    def _on_deposited(self, event: Deposited) -> None:
        bank, account = self.balances[BANK], self.balances[event.account]
        parties = {BANK: account.place, event.account: bank.place}
        self._book(event, parties, account.place, 0, 0, event.reference)

    def _move(self, event: Any, hour: int, text: str) -> None:
        """Money between a buyer, a seller and the fees, whose lines name the buyer: it was his money."""
        buyer, seller = self.balances[event.buyer].place, self.balances[event.seller].place
        self._book(event, {event.buyer: seller}, buyer, event.contract, hour, text)

    def _book(
        self, event: Event, parties: dict[str, int], other: int, contract: int, hour: int, text: str
    ) -> None:
        """A line for every account that the event moves money of. Its counterparty is in `parties`, or
        else `other`. The sum of all changes is zero (R1)."""
        changes: dict[str, list[int]] = {}
        for source, source_purse, target, target_purse, amount in event.movements():
            change = changes.setdefault(source, [0, 0])
            change[source_purse == "held"] -= amount
            change = changes.setdefault(target, [0, 0])
            change[target_purse == "held"] += amount
        commit, now_us = self._moment.commit, self._moment.now_us
        for account, (free, held) in changes.items():
            balance = self.balances[account]
            balance.free += free
            balance.held += held
            balance.lines += 1
            self._changed[balance.place] = balance
            self._lines.append(
                (
                    balance.place, balance.lines, commit, now_us, event.kind, contract, hour,
                    parties.get(account, other), text, free, held, balance.free, balance.held,
                )
            )  # fmt: skip

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what was folded."""
        changed = self._changed.values()
        new, old = [b for b in changed if not b.stored], [b for b in changed if b.stored]
        driver.executemany(
            _OPENED,
            [(b.place, b.account, b.name, b.free, b.held, b.reputation, b.lines, b.suspended) for b in new],
        )
        driver.executemany(
            _CHANGED, [(b.free, b.held, b.reputation, b.lines, b.suspended, b.place) for b in old]
        )
        for balance in new:
            balance.stored = True
        driver.executemany(_LINE, self._lines)
        self._changed.clear()
        self._lines.clear()


def account_row(connection: Connection, account: str) -> dict[str, Any] | None:
    """{"account", "name", "free", "held", "reputation", "suspended"}, or None: there is no such account."""
    for _, row in account_rows(connection, account=account):
        return row
    return None


def account_rows(
    connection: Connection, *, account: str = "", after: int = 0, most: int = -1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, row) of all accounts (or the one), the bank and the fees first; `most` + 1 of them."""
    columns = ACCOUNTS.c
    wanted = select(*(column for column in columns if column is not columns.lines))
    wanted = wanted.where(columns.place > after).order_by(columns.place)
    if account:
        wanted = wanted.where(columns.account == account)
    if most >= 0:
        wanted = wanted.limit(most + 1)
    for row in rows(connection, wanted):
        yield row.pop("place"), row


def accounts_open(connection: Connection) -> int:
    """How many accounts are open; the bank and the fees do not count."""
    counted = select(func.count()).where(ACCOUNTS.c.account.not_in((BANK, FEES)))
    return int(connection.execute(counted).scalar_one())


def line_at(connection: Connection, account: str, commit: int) -> int:
    """The account's last line as of a commit; 0 if there is none. O(log lines) look-ups."""
    wanted = select(ACCOUNTS.c.place, ACCOUNTS.c.lines).where(ACCOUNTS.c.account == account)
    place, lines = connection.execute(wanted).one()
    of = select(LINES.c.commit).where(LINES.c.account == place, LINES.c.line == bindparam("l"))
    return bisect_right(
        range(1, lines + 1), commit, key=lambda line: connection.execute(of, {"l": line}).scalar_one()
    )


def statement_lines(
    connection: Connection, account: str, after: int, last: int, most: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of the lines after < line <= last, in order; `most` + 1 of them.

    Rows have `free_after` and `held_after` besides what a statement shows.
    """
    other = ACCOUNTS.alias()
    columns: dict[str, ColumnElement[Any]] = {
        column.name: column for column in LINES.columns if column.name != "account"
    }
    columns["counterparty"] = other.c.account.label("counterparty")
    wanted = select(*columns.values()).join(other, other.c.place == LINES.c.counterparty)
    wanted = wanted.where(LINES.c.account == place_of(account), LINES.c.line > after, LINES.c.line <= last)
    for row in rows(connection, wanted.order_by(LINES.c.line).limit(most + 1)):
        yield row["line"], row


def balance_after(connection: Connection, account: str, line: int) -> tuple[int, int]:
    """(free, held) after a line; line 0 is before the first."""
    wanted = select(LINES.c.free_after, LINES.c.held_after)
    wanted = wanted.where(LINES.c.account == place_of(account), LINES.c.line == line)
    row = connection.execute(wanted).one_or_none()
    return (0, 0) if row is None else (row.free_after, row.held_after)


def place_of(account: str) -> ScalarSelect[int]:
    """The place of an account, as a part of a query."""
    return select(ACCOUNTS.c.place).where(ACCOUNTS.c.account == account).scalar_subquery()


def statement(
    connection: Connection, account: str, lines: Sequence[dict[str, Any]], before: tuple[int, int]
) -> Any:
    """The statement made of consecutive lines, `before` being the balance before them (R2).

    opening + lines = closing, for free and for held money; that is asserted.
    """
    first, last = (lines[0], lines[-1]) if lines else (None, None)
    assert first is None or before == (
        first["free_after"] - first["free"],
        first["held_after"] - first["held"],
    )
    closing = before if last is None else (last["free_after"], last["held_after"])
    assert closing == tuple(
        start + sum(row[purse] for row in lines)
        for start, purse in zip(before, ("free", "held"), strict=True)
    ), f"the statement of {account} does not add up"
    found = account_row(connection, account)
    assert found is not None, account
    return {
        "account": account,
        "name": found["name"],
        "lines": [{name: row[name] for name in LINE} for row in lines],
        "opening": {"free": before[0], "held": before[1]},
        "closing": {"free": closing[0], "held": closing[1]},
    }
