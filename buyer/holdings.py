"""What a job has bought: its contracts and what they cost, folded from events; no I/O.

A buyer's promise of `max_cost` is kept here: `affordable` says how large the bid may be.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass
class Contract:
    """A running contract. `price` (micro-credits) is held for its hour, which ends at `until_us`.

    `used`: a run was on it in this hour. `fault`: what its seller did wrong in this hour, or "".
    `sent`: the market was told that the program arrived (R16).
    """

    contract: int
    bid: int
    seller: str
    machine: str
    price: int
    hour: int
    until_us: int
    sent: bool = False
    used: bool = False
    fault: str = ""


class Vote(NamedTuple):
    """A vote that is due on a charged hour (R26)."""

    contract: int
    hour: int
    good: bool
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """What an event meant: its kind, the contract, and, for a charge, the vote that is due."""

    kind: str
    contract: Contract
    amount: int = 0
    reason: str = ""
    vote: Vote | None = None


class Holdings:
    """The contracts of a job's bids. `running` by number; `charged` in micro-credits; `seen` counts all."""

    def __init__(self, max_price: int, max_cost: int | None) -> None:
        self.max_price, self.max_cost = max_price, max_cost
        self.bids: set[int] = set()
        self.running: dict[int, Contract] = {}
        self.charged = 0
        self.seen = 0

    @property
    def held(self) -> int:
        """What is held for the hours that run."""
        return sum(contract.price for contract in self.running.values())

    def take_over(self, rows: Iterable[dict[str, Any]]) -> None:
        """Begin with what the query `contracts` (all) says of this job's bids."""
        for row in rows:
            if row["bid"] not in self.bids:
                continue
            self.seen += 1
            self.charged += row["paid"]
            if not row["ended"]:
                self.running[row["contract"]] = contract_of(row, row["hour"], sent=bool(row["sent"]))

    def fold(self, event: dict[str, Any]) -> Change | None:
        """Take in an event of the feed; None if it is not about a contract of this job. O(1)."""
        kind, number = event["kind"], event.get("contract", 0)
        if kind == "contract_opened":
            if event["bid"] not in self.bids or number in self.running:
                return None
            contract = contract_of(event, hour=1)
            self.running[number] = contract
            self.seen += 1
            return Change(kind, contract, contract.price)
        if number not in self.running:
            return None
        contract = self.running[number]
        if kind == "contract_renewed":
            contract.hour, contract.until_us = event["hour"], event["until_us"]
            contract.price = event["price"]
            return Change(kind, contract, contract.price)
        if kind == "hour_charged":
            self.charged += event["amount"]
            vote = None
            if contract.used or contract.fault:
                vote = Vote(number, event["hour"], not contract.fault, contract.fault)
            contract.used, contract.fault, contract.price = False, "", 0
            return Change(kind, contract, event["amount"], vote=vote)
        if kind == "hold_returned":
            contract.price = 0
            return Change(kind, contract, event["amount"], event["reason"])
        if kind == "contract_ended":
            del self.running[number]
            return Change(kind, contract, reason=event["reason"])
        return None

    def affordable(self, now_us: int, soon_us: int) -> int | None:
        """The largest size of the bid that keeps the promise of `max_cost`; None for no bound.

        Until the bid can be made smaller, each of its slots may cost one hour at its limit: a contract
        that runs may break, and its slot open another at once. Only an hour that ends within `soon_us` of
        `now_us` may be charged besides; the others' next hours are decided later.
        """
        if self.max_cost is None:
            return None
        soon = sum(c.price for c in self.running.values() if c.until_us - now_us <= soon_us)
        return max(0, self.max_cost - self.charged - soon) // max(1, self.max_price)


def contract_of(wire: dict[str, Any], hour: int, *, sent: bool = False) -> Contract:
    """The contract in an event `contract_opened` or in a row of the query `contracts`."""
    return Contract(
        wire["contract"],
        wire["bid"],
        wire["seller"],
        wire["machine"],
        wire["price"],
        hour,
        wire["until_us"],
        sent,
    )
