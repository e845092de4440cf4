"""What the state does not keep: every movement of money, trade and charge, as rows while a log is replayed.

Money is in micro-credits, instants are in µs. `tick_us` is the stored time of the tick that moved the clock
last, since 1970: the wall-clock time of the event; 0 before the first tick.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from events.commit import Packed
from events.records import (
    BANK,
    FEES,
    ContractOpened,
    ContractRenewed,
    Deposited,
    Event,
    HoldReturned,
    HourCharged,
)
from exchange.state import State

Columns = dict[str, type]
Row = tuple[Any, ...]

WHEN: Columns = {"commit": int, "request": int, "now_us": int, "tick_us": int}
TRADES: Columns = WHEN | {
    "event": str, "contract": int, "hour": int, "bid": int, "ask": int, "buyer": str, "seller": str,
    "machine": str, "price": int, "until_us": int,
}  # fmt: skip
CHARGES: Columns = WHEN | {
    "event": str, "contract": int, "hour": int, "buyer": str, "seller": str, "amount": int, "fee": int,
    "reason": str,
}  # fmt: skip
LINES: Columns = {
    "account": str, "line": int, "commit": int, "now_us": int, "tick_us": int, "event": str, "contract": int,
    "hour": int, "counterparty": str, "text": str, "free": int, "held": int, "free_after": int,
    "held_after": int,
}  # fmt: skip
STATEMENT = ("line", "commit", "now_us", "event", "contract", "hour", "counterparty", "text", "free", "held")


def trade(when: Row, event: Event, state: State) -> Row | None:
    """The row of an hour that was agreed on: opened or renewed, at which price, whose orders; else None."""
    if type(event) is ContractOpened:
        hour = 1
    elif type(event) is ContractRenewed:
        hour = event.hour
    else:
        return None
    contract = state.contracts[event.contract]
    return (
        *when, event.kind, contract.number, hour, contract.bid, contract.ask, event.buyer, event.seller,
        contract.machine, event.price, event.until_us,
    )  # fmt: skip


def charge(when: Row, event: Event) -> Row | None:
    """The row of an hour that was paid for, or whose hold went back; else None."""
    if type(event) is HourCharged:
        fee, reason = event.fee, ""
    elif type(event) is HoldReturned:
        fee, reason = 0, event.reason
    else:
        return None
    return (
        *when, event.kind, event.contract, event.hour, event.buyer, event.seller, event.amount, fee, reason,
    )  # fmt: skip


class Clock:
    """The time of each event: the state's, but a new writer's first events are of the tick before them."""

    def __init__(self) -> None:
        self.tick_us = 0

    def when(self, commit: Packed, request: int, state: State) -> Row:
        """Commit, request, market time, wall-clock time."""
        if state.tick_us:
            self.tick_us = state.tick_us
        return (commit.number, request, state.now_us, self.tick_us)


class Statements:
    """Numbers the lines of statements (R2). O(accounts) memory."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = defaultdict(int)

    def lines(self, when: Row, event: Event, state: State) -> Iterator[Row]:
        """A line for every account whose money the event moved, with the balance after it."""
        for account, (free, held) in changes(event).items():
            self._lines[account] += 1
            yield (
                account, self._lines[account], when[0], when[2], when[3], event.kind,
                getattr(event, "contract", 0),
                getattr(event, "hour", 1 if type(event) is ContractOpened else 0),
                counterparty(event, account), text(event), free, held, *balance(state, account),
            )  # fmt: skip


class Statement:
    """One account's statement, collected while a log is replayed; as long as the statement is."""

    def __init__(self, who: str) -> None:
        self.who = who
        self._key = ""
        self._clock, self._statements = Clock(), Statements()
        self._lines: list[Row] = []

    def __call__(self, commit: Packed, request: int, event: Event, state: State) -> None:
        """The next event."""
        if not self._key:
            self._key = key_of(self.who, state)
        for row in self._statements.lines(self._clock.when(commit, request, state), event, state):
            if row[0] == self._key:
                self._lines.append(row)

    def result(self, state: State) -> dict[str, Any] | None:
        """As the query `statement` answers; None where no such account was open. Asserts that it adds up."""
        if not self._key:
            return None
        lines = [dict(zip(LINES, row, strict=True)) for row in self._lines]
        free, held = balance(state, self._key)
        assert (free, held) == tuple(sum(line[purse] for line in lines) for purse in ("free", "held"))
        return {
            "account": self._key,
            "name": self._key if self._key in (BANK, FEES) else state.accounts[self._key].name,
            "lines": [{name: line[name] for name in STATEMENT} for line in lines],
            "opening": {"free": 0, "held": 0},
            "closing": {"free": free, "held": held},
        }


def key_of(who: str, state: State) -> str:
    """The key of an account given by name or key; "" where none is open."""
    return who if who in state.accounts or who in (BANK, FEES) else state.names.get(who, "")


def changes(event: Event) -> dict[str, list[int]]:
    """What an event changes: [free, held] by account; the sum is zero (R1)."""
    changed: dict[str, list[int]] = {}
    for source, source_purse, target, target_purse, amount in event.movements():
        changed.setdefault(source, [0, 0])[source_purse == "held"] -= amount
        changed.setdefault(target, [0, 0])[target_purse == "held"] += amount
    return changed


def counterparty(event: Event, account: str) -> str:
    """The other account of an event that moves money; the bank's and the fees' is whose money it was."""
    if isinstance(event, Deposited):
        return event.account if account == BANK else BANK
    buyer, seller = event.accounts()
    return seller if account == buyer else buyer


def text(event: Event) -> str:
    """What a line says besides its numbers: the deposit's reference, the return's reason, the machine."""
    for name in ("reference", "reason", "machine"):
        said = getattr(event, name, "")
        if said:
            return str(said)
    return ""


def balance(state: State, account: str) -> tuple[int, int]:
    """(free, held) of an account, the bank or the fees."""
    if account == BANK:
        return state.bank, 0
    if account == FEES:
        return state.fees, 0
    found = state.accounts[account]
    return found.free, found.held
