"""The market itself: its terms, its rules, the writer's epoch, the clock, whether it is frozen or halted."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Integer, Table, Text, select

from events.records import (
    ClockMoved,
    EpochOpened,
    Event,
    Frozen,
    Halted,
    MarketOpened,
    Resumed,
    RulesChanged,
    SignaturesChecked,
    Unfrozen,
)
from projections.tables import METADATA, Handler, Moment, upsert_of

TERMS = ("operator", "exchange", "hour_us", "lost_after_us", "fee_ppm")

START = {"now_us": 0, "frozen": "", "halted": "", "epoch": 0, "rules": 1, "checked": 0}

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
    Column("rules", Integer, nullable=False),  # the version by which it decides (R34)
    Column("checked", Integer, nullable=False),  # signatures of requests up to here are checked (R35)
)

_ROW = upsert_of(MARKET, ("operator",), tuple(START))


class Fold:
    """The market's one row."""

    def __init__(self, connection: Connection, moment: Moment) -> None:
        row = connection.execute(select(MARKET)).mappings().one_or_none()
        self.row: dict[str, Any] = dict(row or START)  # `now_us` as it was written last
        self._moment = moment
        self._changed = False

    def handlers(self) -> Mapping[type[Event], Handler]:
        """What to call for which events."""
        return {
            MarketOpened: self._on_opened,
            EpochOpened: lambda event: self._set("epoch", event.epoch),
            ClockMoved: self._on_clock_moved,
            Frozen: lambda event: self._set("frozen", event.reason),
            Unfrozen: lambda event: self._set("frozen", ""),
            Halted: lambda event: self._set("halted", event.reason),
            Resumed: lambda event: self._set("halted", ""),
            RulesChanged: lambda event: self._set("rules", event.version),
            SignaturesChecked: lambda event: self._set("checked", event.through),
        }

    def _set(self, name: str, value: int | str) -> None:
        self.row[name] = value
        self._changed = True

    def _on_opened(self, event: MarketOpened) -> None:
        for name in TERMS:
            self._set(name, getattr(event, name))

    def _on_clock_moved(self, event: ClockMoved) -> None:
        self._moment.now_us = event.now_us
        self._changed = True

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what was folded."""
        if self._changed and "operator" in self.row:
            self.row["now_us"] = self._moment.now_us
            driver.execute(_ROW, [self.row[column.name] for column in MARKET.columns])
            self._changed = False


def now_us(connection: Connection) -> int:
    """Market time after the last commit, in µs; 0 before the market was opened."""
    return int(connection.execute(select(MARKET.c.now_us)).scalar() or 0)


def operator(connection: Connection) -> str:
    """The operator's key; "" before the market was opened."""
    return str(connection.execute(select(MARKET.c.operator)).scalar() or "")


def status(connection: Connection) -> dict[str, Any]:
    """The market as it is now; `terms` is None before it was opened."""
    row = connection.execute(select(MARKET)).mappings().one_or_none()
    if row is None:
        return START | {"terms": None}
    return {name: row[name] for name in START} | {"terms": {name: row[name] for name in TERMS}}
