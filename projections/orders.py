"""Orders: bids and asks with what runs of them, and the depth of the book (R5, R11)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
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
    OrderClosed,
)
from events.subjects import CLIENT
from projections.accounts import ACCOUNTS
from projections.contracts import orders_of
from projections.machines import PRESENCE
from projections.tables import METADATA, Moment, rows

ORDERS = Table(
    "orders",
    METADATA,
    Column("order", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("side", Text, nullable=False),  # "bid" or "ask"
    Column("price", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("running", Integer, nullable=False),  # contracts of it that run
    Column("machine", Text, nullable=False),  # an ask's; "" for a bid
    Column("minimums", JSON, nullable=False),
    Column("flags", JSON, nullable=False),
    Column("only", JSON, nullable=False),
    Column("blocked", JSON, nullable=False),
    Column("expires_us", Integer, nullable=False),
    Column("closed", Text, nullable=False),  # the reason, "" while it is open
    CheckConstraint("running >= 0", "contracts_end_once"),
    Index("orders_open", "side", "price", sqlite_where=text("closed = ''")),
    Index("orders_open_by_account", "account", "closed", "order"),
    Index("orders_by_account", "account", "order"),
)

OPEN = text("closed = ''")
SCREEN = ("minimums", "flags", "only", "blocked")
NO_SCREEN: dict[str, Any] = {"minimums": {}, "flags": [], "only": [], "blocked": []}

_ONE = ORDERS.update().where(ORDERS.c.order == bindparam("key"))
_UPDATES = {
    "bid_amended": _ONE.values(
        **{name: bindparam(f"new_{name}", type_=ORDERS.c[name].type) for name in ("price", "size", *SCREEN)}
    ),
    "ask_amended": _ONE.values(price=bindparam("new_price"), size=bindparam("new_size")),
    "order_closed": _ONE.values(closed=bindparam("reason")),
    "running": _ONE.values(running=ORDERS.c.running + bindparam("change")),
}


def fold(connection: Connection, _commit: int, moments: Sequence[Moment]) -> None:
    """Fold one commit's events. The contracts of the commit were folded before.

    `running` counts contracts that were opened and have not ended. A renewal changes nothing: at an hour's
    end the slot returns to the book for the time of a match only, and nobody can look in between.
    """
    placed: list[dict[str, Any]] = []
    updates: dict[str, list[dict[str, Any]]] = defaultdict(list)
    running: Counter[int] = Counter()
    ended: list[int] = []
    for _, event in moments:
        match event:
            case BidPlaced() | AskPlaced():
                placed.append(_row(event))
            case BidAmended():
                new = {f"new_{name}": getattr(event, name) for name in ("price", "size", *SCREEN)}
                updates[event.kind].append({"key": event.order} | new)
            case AskAmended():
                new = {"new_price": event.price, "new_size": event.size}
                updates[event.kind].append({"key": event.order} | new)
            case OrderClosed():
                updates[event.kind].append({"key": event.order, "reason": event.reason})
            case ContractOpened():
                running.update((event.bid, event.ask))
            case ContractEnded():
                ended.append(event.contract)
    running.subtract(orders_of(connection, ended))
    if placed:
        connection.execute(ORDERS.insert(), placed)
    updates["running"] = [{"key": order, "change": change} for order, change in running.items() if change]
    for name, changes in updates.items():
        if changes:
            connection.execute(_UPDATES[name], changes)


def _row(event: BidPlaced | AskPlaced) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in ("order", "account", "price", "size", "expires_us")}
    if isinstance(event, BidPlaced):
        row |= {"side": "bid", "machine": ""} | {name: getattr(event, name) for name in SCREEN}
    else:
        row |= {"side": "ask", "machine": event.machine} | NO_SCREEN
    return row | {"running": 0, "closed": ""}


def order_rows(
    connection: Connection, account: str, *, every: bool = False, after: int = 0, most: int = -1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(order, row) of an account's open orders (`every`: closed too); `most` + 1 of them."""
    wanted = select(ORDERS).where(ORDERS.c.account == account, ORDERS.c.order > after)
    if not every:
        wanted = wanted.where(OPEN)
    if most >= 0:
        wanted = wanted.limit(most + 1)
    for row in rows(connection, wanted.order_by(ORDERS.c.order)):
        del row["account"]
        yield row["order"], row


def open_asks(connection: Connection, account: str, machine: str) -> list[dict[str, Any]]:
    """The open asks of one machine: [{"order", "price", "size", "running"}]."""
    wanted = select(ORDERS.c.order, ORDERS.c.price, ORDERS.c.size, ORDERS.c.running)
    wanted = wanted.where(ORDERS.c.account == account, ORDERS.c.machine == machine, OPEN)
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
    wanted: Select[Any] = select(columns.price, slots, orders).join(
        PRESENCE,
        (PRESENCE.c.account == columns.account)
        & (PRESENCE.c.party == (CLIENT if side == "bid" else columns.machine))
        & PRESENCE.c.present,
    )
    if side == "bid":
        funded = (ACCOUNTS.c.account == columns.account) & (ACCOUNTS.c.free >= columns.price)
        wanted = wanted.join(ACCOUNTS, funded)
    wanted = wanted.where(columns.side == side, OPEN, columns.size > columns.running).group_by(columns.price)
    best = columns.price.desc() if side == "bid" else columns.price
    return [list(row) for row in connection.execute(wanted.order_by(best).limit(most))]
