"""Events: what happened. Each is a small record; its wire form is a JSON object with its kind and members.

Every event names the accounts that it concerns, so that balances, statements and the feed follow from
events alone. Money is in micro-credits, instants and spans in µs of market time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar

BANK = "bank"  # the other side of deposits; its balance is minus the money in the market
FEES = "fees"  # what the operator earned


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. `kind` is its name on the wire; `PARTIES` are the members that name accounts."""

    kind: ClassVar[str] = ""
    PARTIES: ClassVar[tuple[str, ...]] = ()

    def wire(self) -> dict[str, Any]:
        """The event as a JSON object."""
        return {"kind": self.kind} | {name: getattr(self, name) for name in MEMBERS[self.kind]}

    def accounts(self) -> tuple[str, ...]:
        """The accounts that it concerns; empty where it concerns everybody."""
        return tuple(getattr(self, name) for name in self.PARTIES)

    def movements(self) -> Iterator[tuple[str, str, str, str, int]]:
        """What it moves: (from account, its purse, to account, its purse, amount); purses: free, held."""
        return iter(())


@dataclass(frozen=True, slots=True)
class MarketOpened(Event):
    """The log's first event: the market's terms."""

    kind = "market_opened"
    operator: str
    exchange: str
    hour_us: int
    lost_after_us: int
    fee_ppm: int


@dataclass(frozen=True, slots=True)
class EpochOpened(Event):
    """A writer began (R20)."""

    kind = "epoch_opened"
    epoch: int


@dataclass(frozen=True, slots=True)
class ClockMoved(Event):
    """Market time is `now_us`; the tick that moved it was stored at `tick_us` (µs since 1970). Stands
    before the first event at a new instant; ticks that change nothing leave none."""

    kind = "clock_moved"
    now_us: int
    tick_us: int


@dataclass(frozen=True, slots=True)
class AccountOpened(Event):
    """An account may act."""

    kind = "account_opened"
    PARTIES = ("account",)
    account: str
    name: str


@dataclass(frozen=True, slots=True)
class Deposited(Event):
    """Money entered (R2)."""

    kind = "deposited"
    PARTIES = ("account",)
    account: str
    amount: int
    reference: str

    def movements(self) -> Iterator[tuple[str, str, str, str, int]]:
        """From the bank to the account's free money."""
        yield BANK, "free", self.account, "free", self.amount


@dataclass(frozen=True, slots=True)
class MachineStated(Event):
    """A seller said what a machine has (R24)."""

    kind = "machine_stated"
    PARTIES = ("account",)
    account: str
    machine: str
    cpus: int
    numbers: dict[str, int]
    flags: list[str]


@dataclass(frozen=True, slots=True)
class PartyBack(Event):
    """A party is heard: a machine's name, or `client` (R6, R19)."""

    kind = "party_back"
    PARTIES = ("account",)
    account: str
    party: str


@dataclass(frozen=True, slots=True)
class PartyLost(Event):
    """A party was silent for the lost-after time, or a machine left (R16, R19)."""

    kind = "party_lost"
    PARTIES = ("account",)
    account: str
    party: str


@dataclass(frozen=True, slots=True)
class BidPlaced(Event):
    """A bid stands in the book at its place in time (R5). `expires_us` is 0 for never."""

    kind = "bid_placed"
    PARTIES = ("account",)
    order: int
    account: str
    price: int
    size: int
    minimums: dict[str, int]
    flags: list[str]
    only: list[str]
    blocked: list[str]
    expires_us: int


@dataclass(frozen=True, slots=True)
class AskPlaced(Event):
    """An ask stands in the book at its place in time (R5). `expires_us` is 0 for never."""

    kind = "ask_placed"
    PARTIES = ("account",)
    order: int
    account: str
    machine: str
    price: int
    size: int
    expires_us: int


@dataclass(frozen=True, slots=True)
class BidAmended(Event):
    """A bid's new terms; `place` is its place in time, a new one where it is a new arrival (R9)."""

    kind = "bid_amended"
    PARTIES = ("account",)
    order: int
    account: str
    price: int
    size: int
    minimums: dict[str, int]
    flags: list[str]
    only: list[str]
    blocked: list[str]
    place: int


@dataclass(frozen=True, slots=True)
class AskAmended(Event):
    """An ask's new terms; `place` as in a bid's."""

    kind = "ask_amended"
    PARTIES = ("account",)
    order: int
    account: str
    price: int
    size: int
    place: int


@dataclass(frozen=True, slots=True)
class OrderClosed(Event):
    """An order buys or sells nothing more; contracts that run go on to their hour's end (R9)."""

    kind = "order_closed"
    PARTIES = ("account",)
    order: int
    account: str
    reason: str  # "cancelled", "expired"


@dataclass(frozen=True, slots=True)
class ContractOpened(Event):
    """One CPU of a match, for its first hour; the price is held (R3, R13)."""

    kind = "contract_opened"
    PARTIES = ("buyer", "seller")
    contract: int
    bid: int
    ask: int
    buyer: str
    seller: str
    machine: str
    price: int
    until_us: int

    def movements(self) -> Iterator[tuple[str, str, str, str, int]]:
        """The hold (R3)."""
        yield self.buyer, "free", self.buyer, "held", self.price


@dataclass(frozen=True, slots=True)
class ContractRenewed(Event):
    """The pair found each other again: the next hour begins, its price is held (R14)."""

    kind = "contract_renewed"
    PARTIES = ("buyer", "seller")
    contract: int
    hour: int
    buyer: str
    seller: str
    price: int
    until_us: int

    def movements(self) -> Iterator[tuple[str, str, str, str, int]]:
        """The hold (R3)."""
        yield self.buyer, "free", self.buyer, "held", self.price


@dataclass(frozen=True, slots=True)
class HourCharged(Event):
    """An hour was delivered: the hold becomes the charge; the fee is the operator's (R4, R14)."""

    kind = "hour_charged"
    PARTIES = ("buyer", "seller")
    contract: int
    hour: int
    buyer: str
    seller: str
    amount: int
    fee: int

    def movements(self) -> Iterator[tuple[str, str, str, str, int]]:
        """To the seller, less the fee."""
        yield self.buyer, "held", self.seller, "free", self.amount - self.fee
        if self.fee:
            yield self.buyer, "held", FEES, "free", self.fee


@dataclass(frozen=True, slots=True)
class HoldReturned(Event):
    """An hour was not delivered: the whole hold went back to the buyer (R16, R21)."""

    kind = "hold_returned"
    PARTIES = ("buyer", "seller")
    contract: int
    hour: int
    buyer: str
    seller: str
    amount: int
    reason: str  # "lost", "left", "not started", "aborted"

    def movements(self) -> Iterator[tuple[str, str, str, str, int]]:
        """Back to the buyer's free money."""
        yield self.buyer, "held", self.buyer, "free", self.amount


@dataclass(frozen=True, slots=True)
class ContractEnded(Event):
    """A contract is over; its program is to be stopped."""

    kind = "contract_ended"
    PARTIES = ("buyer", "seller")
    contract: int
    buyer: str
    seller: str
    reason: str  # "not renewed", or as in HoldReturned


@dataclass(frozen=True, slots=True)
class ProgramSent(Event):
    """The program reached the seller, says the buyer; its start must be confirmed by then (R16)."""

    kind = "program_sent"
    PARTIES = ("buyer", "seller")
    contract: int
    buyer: str
    seller: str
    confirm_by_us: int


@dataclass(frozen=True, slots=True)
class ProgramStarted(Event):
    """The seller confirmed the start (R16)."""

    kind = "program_started"
    PARTIES = ("buyer", "seller")
    contract: int
    buyer: str
    seller: str


@dataclass(frozen=True, slots=True)
class Voted(Event):
    """One side's vote on one hour: by `account` about `about`; `weight` in micro-credits (R16, R26)."""

    kind = "voted"
    PARTIES = ("account", "about")
    contract: int
    hour: int
    account: str
    about: str
    good: bool
    weight: int
    reputation: int  # of `about` after the vote, in parts per million


@dataclass(frozen=True, slots=True)
class Frozen(Event):
    """Market time stands (R22). `missing`: [account, machine] where the market froze itself (R19)."""

    kind = "frozen"
    reason: str
    missing: list[list[str]]


@dataclass(frozen=True, slots=True)
class Unfrozen(Event):
    """Market time goes on (R22)."""

    kind = "unfrozen"
    reason: str


@dataclass(frozen=True, slots=True)
class Halted(Event):
    """Only renewals match (R21)."""

    kind = "halted"
    reason: str


@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """A halt ended (R21)."""

    kind = "resumed"
    reason: str


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """The answer to a request (R12). `code` is "" where it was done, else `rule/member/reason`.

    `order` is the order it is about (0: none); `matched` lists [contract, price] opened for it at once;
    `rests` is how many slots stay in the book; `hourly` is the most that the order can cost per hour,
    in micro-credits. `content` is the start of the SHA-256 of the request's kind and content.
    """

    kind = "answered"
    PARTIES = ("account",)
    account: str
    session: int
    number: int
    content: str
    code: str
    order: int = 0
    matched: list[list[int]] | None = None
    rests: int = 0
    hourly: int = 0


EVENTS: dict[str, type[Event]] = {record.kind: record for record in Event.__subclasses__()}
MEMBERS: dict[str, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(record)) for kind, record in EVENTS.items()
}


class BadRecordError(Exception):
    """Bytes of the log that are no record of this version; the text says where."""


def event_of(wire: Any) -> Event:
    """The event of a JSON object. Raises BadRecordError."""
    try:
        return EVENTS[wire["kind"]](**{name: wire[name] for name in wire if name != "kind"})
    except (TypeError, KeyError) as error:
        raise BadRecordError(f"not an event of this version: {str(wire)[:200]}") from error
