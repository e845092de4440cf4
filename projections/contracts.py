"""Contracts: who rents which machine, at what price, until when, and what was paid for it (R13, R14)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    bindparam,
    func,
    or_,
    select,
    text,
)

from events.records import (
    ContractEnded,
    ContractOpened,
    ContractRenewed,
    HourCharged,
    ProgramSent,
    ProgramStarted,
)
from projections.tables import METADATA, Moment, chunks, rows

CONTRACTS = Table(
    "contracts",
    METADATA,
    Column("contract", Integer, primary_key=True),
    Column("bid", Integer, nullable=False),
    Column("ask", Integer, nullable=False),
    Column("buyer", Text, nullable=False),
    Column("seller", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("price", Integer, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("until_us", Integer, nullable=False),
    Column("sent", Boolean, nullable=False),
    Column("started", Boolean, nullable=False),
    Column("ended", Text, nullable=False),  # the reason, "" while it runs
    Column("paid", Integer, nullable=False),
    Index("contracts_by_buyer", "buyer", "contract"),
    Index("contracts_by_seller", "seller", "contract"),
    Index("contracts_running_by_buyer", "buyer", "contract", sqlite_where=text("ended = ''")),
    Index("contracts_running_by_seller", "seller", "contract", sqlite_where=text("ended = ''")),
)

_ONE = CONTRACTS.update().where(CONTRACTS.c.contract == bindparam("key"))
_UPDATES = {
    "contract_renewed": _ONE.values(hour=bindparam("h"), price=bindparam("p"), until_us=bindparam("u")),
    "hour_charged": _ONE.values(paid=CONTRACTS.c.paid + bindparam("amount")),
    "program_sent": _ONE.values(sent=True),
    "program_started": _ONE.values(started=True),
    "contract_ended": _ONE.values(ended=bindparam("reason")),
}


def fold(connection: Connection, _commit: int, moments: Sequence[Moment]) -> None:
    """Fold one commit's events."""
    opened: list[dict[str, Any]] = []
    updates: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, event in moments:
        match event:
            case ContractOpened():
                row = {name: getattr(event, name) for name in ("contract", "bid", "ask", "buyer", "seller")}
                row |= {"machine": event.machine, "price": event.price, "until_us": event.until_us}
                opened.append(row | {"hour": 1, "sent": False, "started": False, "ended": "", "paid": 0})
            case ContractRenewed():
                terms = {"h": event.hour, "p": event.price, "u": event.until_us}
                updates[event.kind].append({"key": event.contract} | terms)
            case HourCharged():
                updates[event.kind].append({"key": event.contract, "amount": event.amount})
            case ContractEnded():
                updates[event.kind].append({"key": event.contract, "reason": event.reason})
            case ProgramSent() | ProgramStarted():
                updates[event.kind].append({"key": event.contract})
    if opened:
        connection.execute(CONTRACTS.insert(), opened)
    for kind, changes in updates.items():
        connection.execute(_UPDATES[kind], changes)


def orders_of(connection: Connection, contracts: Sequence[int]) -> Iterator[int]:
    """The bid and the ask of each contract."""
    for keys in chunks(contracts):
        wanted = select(CONTRACTS.c.bid, CONTRACTS.c.ask).where(CONTRACTS.c.contract.in_(keys))
        for row in connection.execute(wanted):
            yield from row


def contract_rows(
    connection: Connection, *, account: str = "", every: bool = False, after: int = 0, most: int = -1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(contract, row) of running contracts (`every`: ended too), one party's or all; `most` + 1 of them."""
    wanted = select(CONTRACTS).where(CONTRACTS.c.contract > after).order_by(CONTRACTS.c.contract)
    if account:
        wanted = wanted.where(or_(CONTRACTS.c.buyer == account, CONTRACTS.c.seller == account))
    if not every:
        wanted = wanted.where(text("ended = ''"))
    if most >= 0:
        wanted = wanted.limit(most + 1)
    for row in rows(connection, wanted):
        yield row["contract"], row


def contracts_running(connection: Connection) -> int:
    """How many contracts run."""
    return int(
        connection.execute(select(func.count()).select_from(CONTRACTS).where(text("ended = ''"))).scalar_one()
    )
