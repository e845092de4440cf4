"""Balances, book and contracts as of any commit, folded from the first on (R34)."""

from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from events.commit import Commit
from projections.accounts import account_rows
from projections.contracts import contract_rows
from projections.machines import machine_rows
from projections.orders import depth
from projections.queries import status
from projections.store import Store, StoreError, rebuild


def replay(commits: Iterable[Commit], until: int) -> Store:
    """The store as it was after commit `until`, in memory. Raises StoreError, also if there is none yet."""
    store = rebuild(takewhile(lambda commit: commit.number <= until, commits))
    number, _ = store.cursor()
    if number != until:
        store.close()
        raise StoreError(f"the log ends at commit {number}; there is no commit {until} yet")
    return store


def as_of(commits: Iterable[Commit], until: int) -> dict[str, Any]:
    """{"commit", "status", "accounts", "book", "machines", "contracts"} after commit `until`.

    `accounts` has the bank and the fees too: free and held over all of them sum to zero (R1).
    """
    with replay(commits, until) as store, store.transaction() as connection:
        return {
            "commit": until,
            "status": status(connection),
            "accounts": [row for _, row in account_rows(connection)],
            "book": {f"{side}s": depth(connection, side) for side in ("bid", "ask")},
            "machines": [row for _, row in machine_rows(connection)],
            "contracts": [row for _, row in contract_rows(connection)],
        }
