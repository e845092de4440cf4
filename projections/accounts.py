"""Accounts: balances, statements (R2) and reputation (R26), all from what events move and say.

The bank and the fees are accounts like the others, so that the sum over all of them is zero (R1).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    bindparam,
    func,
    select,
)

from events.records import BANK, FEES, AccountOpened, Deposited, Event, MarketOpened, Voted
from projections.tables import METADATA, Moment, chunks, rows

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
    CheckConstraint(f"(free >= 0 OR account = '{BANK}') AND held >= 0", "nothing_is_owed"),
)

LINES = Table(
    "statement_lines",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("line", Integer, primary_key=True),  # rising by 1 within the account
    Column("commit", Integer, nullable=False),
    Column("now_us", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("contract", Integer, nullable=False),  # 0: none
    Column("hour", Integer, nullable=False),
    Column("counterparty", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("free", Integer, nullable=False),  # change, in micro-credits
    Column("held", Integer, nullable=False),
    Column("free_after", Integer, nullable=False),
    Column("held_after", Integer, nullable=False),
    Index("statement_by_commit", "account", "commit", "line"),
)

LINE = ("line", "commit", "now_us", "event", "contract", "hour", "counterparty", "text", "free", "held")


@dataclass(slots=True)
class Balance:
    """One account's money and the number of lines in its statement."""

    free: int
    held: int
    lines: int


def fold(connection: Connection, commit: int, moments: Sequence[Moment]) -> None:
    """Fold one commit's events."""
    opened: list[dict[str, Any]] = []
    votes: list[dict[str, Any]] = []
    changes: list[tuple[int, Event, dict[str, list[int]]]] = []
    for now_us, event in moments:
        match event:
            case MarketOpened():
                opened += (_row(BANK, BANK), _row(FEES, FEES))
            case AccountOpened():
                opened.append(_row(event.account, event.name))
            case Voted():
                votes.append({"key": event.about, "reputation": event.reputation})
        moved = _changes(event)
        if moved:
            changes.append((now_us, event, moved))
    if opened:
        connection.execute(ACCOUNTS.insert(), opened)
    if votes:
        by_key = ACCOUNTS.c.account == bindparam("key")
        connection.execute(ACCOUNTS.update().where(by_key).values(reputation=bindparam("reputation")), votes)
    if changes:
        _book(connection, commit, changes)


def _row(account: str, name: str) -> dict[str, Any]:
    return {"account": account, "name": name, "free": 0, "held": 0, "reputation": PRIOR, "lines": 0}


def _changes(event: Event) -> dict[str, list[int]]:
    """What an event changes: [free, held] by account. The sum is zero (R1)."""
    changes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for source, source_purse, target, target_purse, amount in event.movements():
        changes[source][source_purse == "held"] -= amount
        changes[target][target_purse == "held"] += amount
    assert sum(free + held for free, held in changes.values()) == 0, event
    return changes


def _book(
    connection: Connection, commit: int, changes: Sequence[tuple[int, Event, dict[str, list[int]]]]
) -> None:
    """Write the statement lines and the balances after them."""
    balances: dict[str, Balance] = {}
    for keys in chunks({account for _, _, moved in changes for account in moved}):
        wanted = select(ACCOUNTS.c.account, ACCOUNTS.c.free, ACCOUNTS.c.held, ACCOUNTS.c.lines)
        for row in connection.execute(wanted.where(ACCOUNTS.c.account.in_(keys))):
            balances[row.account] = Balance(row.free, row.held, row.lines)
    lines: list[dict[str, Any]] = []
    for now_us, event, moved in changes:
        for account, (free, held) in moved.items():
            balance = balances[account]
            balance.free += free
            balance.held += held
            balance.lines += 1
            lines.append(
                {
                    "account": account,
                    "line": balance.lines,
                    "commit": commit,
                    "now_us": now_us,
                    "event": event.kind,
                    "contract": getattr(event, "contract", 0),
                    "hour": getattr(event, "hour", 1 if event.kind == "contract_opened" else 0),
                    "counterparty": _counterparty(event, account),
                    "text": _text(event),
                    "free": free,
                    "held": held,
                    "free_after": balance.free,
                    "held_after": balance.held,
                }
            )
    connection.execute(LINES.insert(), lines)
    update = ACCOUNTS.update().where(ACCOUNTS.c.account == bindparam("key"))
    connection.execute(
        update.values(free=bindparam("f"), held=bindparam("h"), lines=bindparam("l")),
        [{"key": key, "f": b.free, "h": b.held, "l": b.lines} for key, b in balances.items()],
    )


def _counterparty(event: Event, account: str) -> str:
    """The other account of an event that moves money; the bank's and the fees' is whose money it was."""
    if isinstance(event, Deposited):
        return event.account if account == BANK else BANK
    buyer, seller = event.accounts()
    return seller if account == buyer else buyer


def _text(event: Event) -> str:
    """What a line says besides its numbers: the deposit's reference, the return's reason, the machine."""
    for name in ("reference", "reason", "machine"):
        text = getattr(event, name, "")
        if text:
            return str(text)
    return ""


def account_row(connection: Connection, account: str) -> dict[str, Any] | None:
    """{"account", "name", "free", "held", "reputation"}, or None where there is no such account."""
    for _, row in account_rows(connection, account=account):
        return row
    return None


def account_rows(
    connection: Connection, *, account: str = "", after: int = 0, most: int = -1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, row) of all accounts (or the one), the bank and the fees first; `most` + 1 of them."""
    columns = ACCOUNTS.c
    wanted = select(
        columns.place, columns.account, columns.name, columns.free, columns.held, columns.reputation
    )
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
    """The account's last line as of a commit; 0 if there is none."""
    wanted = select(func.max(LINES.c.line)).where(LINES.c.account == account, LINES.c.commit <= commit)
    wanted = wanted.group_by(LINES.c.commit).order_by(LINES.c.commit.desc()).limit(1)
    return int(connection.execute(wanted).scalar() or 0)


def statement_lines(
    connection: Connection, account: str, after: int, last: int, most: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of the lines after < line <= last, in order; `most` + 1 of them.

    Rows have `free_after` and `held_after` besides what a statement shows.
    """
    wanted = select(LINES).where(LINES.c.account == account, LINES.c.line > after, LINES.c.line <= last)
    for row in rows(connection, wanted.order_by(LINES.c.line).limit(most + 1)):
        yield row["line"], row


def balance_after(connection: Connection, account: str, line: int) -> tuple[int, int]:
    """(free, held) after a line; line 0 is before the first."""
    wanted = select(LINES.c.free_after, LINES.c.held_after)
    row = connection.execute(wanted.where(LINES.c.account == account, LINES.c.line == line)).one_or_none()
    return (0, 0) if row is None else (row.free_after, row.held_after)


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
