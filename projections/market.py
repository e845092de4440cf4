"""The market itself: its terms, the writer's epoch, the clock, and whether it is frozen or halted."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Integer, Table, Text, select

from events.records import ClockMoved, EpochOpened, Frozen, Halted, MarketOpened, Resumed, Unfrozen
from projections.tables import METADATA, Moment

TERMS = ("operator", "exchange", "hour_us", "lost_after_us", "fee_ppm")

MARKET = Table(
    "market",
    METADATA,
    Column("operator", Text, primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("hour_us", Integer, nullable=False),
    Column("lost_after_us", Integer, nullable=False),
    Column("fee_ppm", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("now_us", Integer, nullable=False),
    Column("frozen", Text, nullable=False),  # the reason, "" while time goes on (R22)
    Column("halted", Text, nullable=False),  # the reason, "" while everything matches (R21)
)


def fold(connection: Connection, _commit: int, moments: Sequence[Moment]) -> None:
    """Fold one commit's events."""
    changes: dict[str, int | str] = {}
    for now_us, event in moments:
        match event:
            case MarketOpened():
                terms = {name: getattr(event, name) for name in TERMS}
                row = terms | {"epoch": 0, "now_us": now_us, "frozen": "", "halted": ""}
                connection.execute(MARKET.insert(), row)
            case EpochOpened():
                changes["epoch"] = event.epoch
            case ClockMoved():
                changes["now_us"] = event.now_us
            case Frozen():
                changes["frozen"] = event.reason
            case Unfrozen():
                changes["frozen"] = ""
            case Halted():
                changes["halted"] = event.reason
            case Resumed():
                changes["halted"] = ""
    if changes:
        connection.execute(MARKET.update(), changes)


def now_us(connection: Connection) -> int:
    """Market time after the last commit, in µs; 0 before the market was opened."""
    return int(connection.execute(select(MARKET.c.now_us)).scalar() or 0)


def operator(connection: Connection) -> str:
    """The operator's key; "" before the market was opened."""
    return str(connection.execute(select(MARKET.c.operator)).scalar() or "")


def status(connection: Connection) -> dict[str, Any]:
    """Clock, freeze, halt, epoch and terms; `terms` is None before the market was opened."""
    row = connection.execute(select(MARKET)).mappings().one_or_none()
    if row is None:
        return {"now_us": 0, "frozen": "", "halted": "", "epoch": 0, "terms": None}
    return {name: row[name] for name in ("now_us", "frozen", "halted", "epoch")} | {
        "terms": {name: row[name] for name in TERMS}
    }
