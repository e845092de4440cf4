"""Machines and presence: what sellers offer, and who is heard (R6, R19)."""

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Connection, Integer, Table, Text, UniqueConstraint, func, select

from events.records import Event, MachineStated, PartyBack, PartyLost
from events.wire import dumps
from projections.accounts import ACCOUNTS
from projections.tables import METADATA, Handler, upsert_of

MACHINES = Table(
    "machines",
    METADATA,
    Column("place", Integer, primary_key=True),  # in the order in which they were first stated
    Column("account", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("numbers", JSON, nullable=False),
    Column("flags", JSON, nullable=False),
    UniqueConstraint("account", "machine"),
)

PRESENCE = Table(
    "presence",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("party", Text, primary_key=True),  # a machine's name, or `client`
    Column("present", Boolean, nullable=False),
)

READY = (  # a machine that was stated and is heard
    (PRESENCE.c.account == MACHINES.c.account) & (PRESENCE.c.party == MACHINES.c.machine) & PRESENCE.c.present
)


_STATED = upsert_of(MACHINES, ("account", "machine"), ("cpus", "numbers", "flags"), "place")
_HEARD = upsert_of(PRESENCE, ("account", "party"), ("present",))


class Fold:
    """Machines and presence; nothing stays in memory between transactions."""

    def __init__(self) -> None:
        self._stated: dict[tuple[str, str], MachineStated] = {}
        self._heard: dict[tuple[str, str], bool] = {}

    def handlers(self) -> Mapping[type[Event], Handler]:
        """What to call for which events."""
        return {MachineStated: self._on_stated, PartyBack: self._on_back, PartyLost: self._on_lost}

    def _on_stated(self, event: MachineStated) -> None:
        self._stated[event.account, event.machine] = event

    def _on_back(self, event: PartyBack) -> None:
        self._heard[event.account, event.party] = True

    def _on_lost(self, event: PartyLost) -> None:
        self._heard[event.account, event.party] = False

    def write(self, driver: sqlite3.Connection) -> None:
        """Write what was folded."""
        if self._stated:
            driver.executemany(
                _STATED,
                [
                    (*key, event.cpus, dumps(event.numbers).decode(), dumps(event.flags).decode())
                    for key, event in self._stated.items()
                ],
            )
            self._stated.clear()
        if self._heard:
            driver.executemany(_HEARD, [(*key, present) for key, present in self._heard.items()])
            self._heard.clear()


def machine_rows(
    connection: Connection, *, after: int = 0, most: int = -1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, row) of machines, with the seller's reputation among the numbers (R27); `most` + 1 of them."""
    wanted = (
        select(MACHINES, ACCOUNTS.c.name, ACCOUNTS.c.reputation, PRESENCE.c.present)
        .join(ACCOUNTS, ACCOUNTS.c.account == MACHINES.c.account)
        .outerjoin(PRESENCE, READY)
        .where(MACHINES.c.place > after)
        .order_by(MACHINES.c.place)
    )
    if most >= 0:
        wanted = wanted.limit(most + 1)
    for row in connection.execute(wanted):
        yield (
            row.place,
            {
                "account": row.account,
                "name": row.name,
                "machine": row.machine,
                "cpus": row.cpus,
                "numbers": row.numbers | {"reputation": row.reputation},
                "flags": row.flags,
                "ready": bool(row.present),
            },
        )


def machines_counted(connection: Connection) -> tuple[int, int]:
    """(machines, of these ready)."""
    stated = connection.execute(select(func.count()).select_from(MACHINES)).scalar_one()
    ready = connection.execute(select(func.count()).select_from(MACHINES.join(PRESENCE, READY))).scalar_one()
    return int(stated), int(ready)
