"""Events: what happened. Each is a small record; its wire form is a JSON object with its kind and members.

Every event names the accounts that it concerns, so that balances, statements and the feed follow from
events alone. Money is in micro-credits, instants and spans in µs of market time.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from events.terminal import one_line

BANK = "bank"  # the other side of deposits; its balance is minus the money in the market
FEES = "fees"  # what the operator earned

Movement = tuple[str, str, str, str, int]  # from account, its purse, to account, its purse, amount


def _kind(name: str) -> str:
    """A record's kind on the wire: `MarketOpened` is `market_opened`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Event(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, tag_field="kind", tag=_kind):
    """What happened. `kind` is its name on the wire; `PARTIES` are the members that name accounts."""

    kind: ClassVar[str] = ""
    PARTIES: ClassVar[tuple[str, ...]] = ()

    def wire(self) -> dict[str, Any]:
        """The event as a JSON object, its kind first."""
        wire: dict[str, Any] = msgspec.to_builtins(self)
        return wire

    def accounts(self) -> tuple[str, ...]:
        """The accounts that it concerns; empty where it concerns everybody."""
        return tuple([getattr(self, name) for name in self.PARTIES])

    def movements(self) -> Sequence[Movement]:
        """What it moves; purses are free and held."""
        return ()


class MarketOpened(Event, frozen=True):
    """The log's first event: the market's terms."""

    operator: str
    exchange: str
    hour_us: int
    lost_after_us: int
    fee_ppm: int


class EpochOpened(Event, frozen=True):
    """A writer began (R20)."""

    epoch: int


class ClockMoved(Event, frozen=True):
    """Market time is `now_us`; the tick that moved it was stored at `tick_us` (µs since 1970). Stands
    before the first event at a new instant; ticks that change nothing leave none."""

    now_us: int
    tick_us: int


class AccountOpened(Event, frozen=True):
    """An account may act."""

    PARTIES = ("account",)
    account: str
    name: str


class Deposited(Event, frozen=True):
    """Money entered (R2)."""

    PARTIES = ("account",)
    account: str
    amount: int
    reference: str

    def movements(self) -> Sequence[Movement]:
        """From the bank to the account's free money."""
        return ((BANK, "free", self.account, "free", self.amount),)


class MachineStated(Event, frozen=True):
    """A seller said what a machine has (R24)."""

    PARTIES = ("account",)
    account: str
    machine: str
    cpus: int
    numbers: dict[str, int]
    flags: list[str]


class PartyBack(Event, frozen=True):
    """A party is heard: a machine's name, or `client` (R6, R19)."""

    PARTIES = ("account",)
    account: str
    party: str


class PartyLost(Event, frozen=True):
    """A party was silent for the lost-after time, or a machine left (R16, R19)."""

    PARTIES = ("account",)
    account: str
    party: str


class BidPlaced(Event, frozen=True):
    """A bid stands in the book at its place in time (R5). `expires_us` is 0 for never."""

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


class AskPlaced(Event, frozen=True):
    """An ask stands in the book at its place in time (R5). `expires_us` is 0 for never."""

    PARTIES = ("account",)
    order: int
    account: str
    machine: str
    price: int
    size: int
    expires_us: int


class BidAmended(Event, frozen=True):
    """A bid's new terms; `place` is its place in time, a new one where it is a new arrival (R9)."""

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


class AskAmended(Event, frozen=True):
    """An ask's new terms; `place` as in a bid's."""

    PARTIES = ("account",)
    order: int
    account: str
    price: int
    size: int
    place: int


class OrderClosed(Event, frozen=True):
    """An order buys or sells nothing more; contracts that run go on to their hour's end (R9)."""

    PARTIES = ("account",)
    order: int
    account: str
    reason: str  # "cancelled", "expired", "suspended"


class ContractOpened(Event, frozen=True):
    """One CPU of a match, for its first hour; the price is held (R3, R13)."""

    PARTIES = ("buyer", "seller")
    contract: int
    bid: int
    ask: int
    buyer: str
    seller: str
    machine: str
    price: int
    until_us: int

    def movements(self) -> Sequence[Movement]:
        """The hold (R3)."""
        return ((self.buyer, "free", self.buyer, "held", self.price),)


class ContractRenewed(Event, frozen=True):
    """The pair found each other again: the next hour begins, its price is held (R14)."""

    PARTIES = ("buyer", "seller")
    contract: int
    hour: int
    buyer: str
    seller: str
    price: int
    until_us: int

    def movements(self) -> Sequence[Movement]:
        """The hold (R3)."""
        return ((self.buyer, "free", self.buyer, "held", self.price),)


class HourCharged(Event, frozen=True):
    """An hour was delivered: the hold becomes the charge; the fee is the operator's (R4, R14)."""

    PARTIES = ("buyer", "seller")
    contract: int
    hour: int
    buyer: str
    seller: str
    amount: int
    fee: int

    def movements(self) -> Sequence[Movement]:
        """To the seller, less the fee."""
        paid = (self.buyer, "held", self.seller, "free", self.amount - self.fee)
        return (paid, (self.buyer, "held", FEES, "free", self.fee)) if self.fee else (paid,)


class HoldReturned(Event, frozen=True):
    """An hour was not delivered: the whole hold went back to the buyer (R16, R21)."""

    PARTIES = ("buyer", "seller")
    contract: int
    hour: int
    buyer: str
    seller: str
    amount: int
    reason: str  # "lost", "left", "not started", "aborted"

    def movements(self) -> Sequence[Movement]:
        """Back to the buyer's free money."""
        return ((self.buyer, "held", self.buyer, "free", self.amount),)


class ContractEnded(Event, frozen=True):
    """A contract is over; its program is to be stopped."""

    PARTIES = ("buyer", "seller")
    contract: int
    buyer: str
    seller: str
    reason: str  # "not renewed", or as in HoldReturned


class ProgramSent(Event, frozen=True):
    """The program reached the seller, says the buyer; its start must be confirmed by then (R16)."""

    PARTIES = ("buyer", "seller")
    contract: int
    buyer: str
    seller: str
    confirm_by_us: int


class ProgramStarted(Event, frozen=True):
    """The seller confirmed the start (R16)."""

    PARTIES = ("buyer", "seller")
    contract: int
    buyer: str
    seller: str


class Voted(Event, frozen=True):
    """One side's vote on one hour: by `account` about `about`; `weight` in micro-credits (R16, R26)."""

    PARTIES = ("account", "about")
    contract: int
    hour: int
    account: str
    about: str
    good: bool
    weight: int
    reputation: int  # of `about` after the vote, in parts per million


class Frozen(Event, frozen=True):
    """Market time stands (R22). `missing`: [account, machine] where the market froze itself (R19)."""

    reason: str
    missing: list[list[str]]


class Unfrozen(Event, frozen=True):
    """Market time goes on (R22)."""

    reason: str


class Halted(Event, frozen=True):
    """Only renewals match (R21)."""

    reason: str


class Resumed(Event, frozen=True):
    """A halt ended (R21)."""

    reason: str


class Answered(Event, frozen=True):
    """The answer to a request (R12). `code` is "" where it was done, else `rule/member/reason`.

    `order` is the order it is about (0: none); `matched` lists [contract, price] opened for it at once;
    `rests` is how many slots stay in the book; `hourly` is the most that the order can cost per hour,
    in micro-credits. `content` is the start of the SHA-256 of the request's kind and content.
    """

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


Answer = tuple[str, int, list[list[int]] | None, int, int]  # code, order, matched, rests, hourly


class OrdersAnswered(Event, frozen=True):
    """The answers to a request of many orders, one each in their order (R12).

    An answer is [code, order, matched, rests, hourly], each as in `Answered`.
    """

    PARTIES = ("account",)
    account: str
    session: int
    number: int
    content: str
    answers: list[Answer]


class RulesChanged(Event, frozen=True):
    """From the next request on the market decides by this version of the rules (R34)."""

    version: int


class AccountSuspended(Event, frozen=True):
    """The request at this place in INTAKE is not signed by the account that it names (R35): its orders are
    closed, what it asks is refused."""

    PARTIES = ("account",)
    account: str
    request: int


class AccountReinstated(Event, frozen=True):
    """A suspended account may act again (R35)."""

    PARTIES = ("account",)
    account: str
    reason: str


class SignaturesChecked(Event, frozen=True):
    """The signatures of all requests up to this place in INTAKE are checked (R35)."""

    through: int


EVENTS: dict[str, type[Event]] = {_kind(record.__name__): record for record in Event.__subclasses__()}
MEMBERS: dict[str, tuple[str, ...]] = {kind: record.__struct_fields__ for kind, record in EVENTS.items()}
for _name, _record in EVENTS.items():
    _record.kind = _name

if TYPE_CHECKING:
    AnyEvent = Event
else:
    from typing import Union

    AnyEvent = Union[tuple(EVENTS.values())]  # noqa: UP007 - of what the table has


class BadRecordError(Exception):
    """Bytes of the log that are no record of this version; the text says where."""


def event_of(wire: Any) -> Event:
    """The event of a JSON object. Raises BadRecordError."""
    try:
        event: Event = msgspec.convert(wire, EVENTS[wire["kind"]])
        return event
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        kind = wire.get("kind") if isinstance(wire, dict) else None
        named = f"{kind}: " if isinstance(kind, str) else ""
        raise BadRecordError(one_line(f"not an event of this version: {named}{error}")) from error
