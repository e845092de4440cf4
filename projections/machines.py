"""Machines and presence: what sellers offer, and who is heard (R6, R19)."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Connection, Integer, Table, Text, UniqueConstraint, func, select
from sqlalchemy.dialects.sqlite import insert

from events.records import MachineStated, PartyBack, PartyLost
from projections.accounts import ACCOUNTS
from projections.tables import METADATA, Moment

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


def fold(connection: Connection, _commit: int, moments: Sequence[Moment]) -> None:
    """Fold one commit's events."""
    for _, event in moments:
        match event:
            case MachineStated():
                said = {"cpus": event.cpus, "numbers": event.numbers, "flags": event.flags}
                stated = insert(MACHINES).values(account=event.account, machine=event.machine, **said)
                connection.execute(
                    stated.on_conflict_do_update(index_elements=["account", "machine"], set_=said)
                )
            case PartyBack() | PartyLost():
                present = isinstance(event, PartyBack)
                heard = insert(PRESENCE).values(account=event.account, party=event.party, present=present)
                connection.execute(
                    heard.on_conflict_do_update(
                        index_elements=["account", "party"], set_={"present": present}
                    )
                )


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
