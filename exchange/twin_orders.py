"""What stands in the twin's book: accounts, machines, bids, asks, and each side's order of service."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import ge

from sortedcontainers import SortedDict

from exchange.book import ID_LIMIT, NO_BOUND, Screen

PLAIN = Screen()


@dataclass(slots=True, eq=False)
class Account:
    """A buyer's presence and free money."""

    present: bool
    free: int
    bids: SortedDict = field(default_factory=SortedDict)  # (price, index) -> Bid


@dataclass(slots=True, eq=False)
class Machine:
    """What a seller's asks offer."""

    seller: int
    numbers: tuple[int, ...]
    flags: int
    ready: bool
    asks: dict[int, Ask] = field(default_factory=dict)  # index -> Ask

    def passes(self, screen: Screen) -> bool:
        """Tell whether the machine and its seller are what a bid demands (R6)."""
        return (
            not screen.flags & ~self.flags
            and (screen.minimums == PLAIN.minimums or all(map(ge, self.numbers, screen.minimums)))
            and (not screen.only or self.seller in screen.only)
            and self.seller not in screen.blocked
        )


@dataclass(slots=True, eq=False, kw_only=True)
class Order:
    """What bids and asks have in common."""

    id: int
    price: int
    place: int
    size: int
    running: int = 0  # slots in contracts, which come back (R10)
    once: bool = False  # its slots do not come back (R8): a match takes them off its size
    expires: int = 0  # 0: never

    @property
    def index(self) -> int:
        """The part of the id that may be taken again."""
        return self.id & (ID_LIMIT - 1)

    @property
    def open(self) -> int:
        """Slots free to be matched: none where fewer are wanted now than are running (R9)."""
        return max(0, self.size - self.running)


@dataclass(slots=True, eq=False, kw_only=True)
class Bid(Order):
    """An order to buy."""

    buyer: int
    account: Account
    screen: Screen = PLAIN
    spend: int = NO_BOUND

    @property
    def key(self) -> tuple[int, int, int]:
        """What sorts the best first: price, then time (R5)."""
        return -self.price, self.place, self.index

    @property
    def is_live(self) -> bool:
        """Whether it could be matched (R3, R6, R11)."""
        account = self.account
        return self.size > self.running and account.present and account.free >= self.price <= self.spend


@dataclass(slots=True, eq=False, kw_only=True)
class Ask(Order):
    """An order to sell."""

    machine: Machine

    @property
    def key(self) -> tuple[int, int, int]:
        """What sorts the best first: price, then time (R5)."""
        return self.price, self.place, self.index

    @property
    def is_live(self) -> bool:
        """Whether it could be matched (R6)."""
        return self.size > self.running and self.machine.ready


class Side:
    """The live orders of one side, and the touched ones among them, both by `key`."""

    def __init__(self) -> None:
        self.live = SortedDict()
        self.touched = SortedDict()

    def refresh(self, order: Bid | Ask, touch: bool = False) -> None:
        """Put an order where it belongs; one that wakes up is touched."""
        key = order.key
        if not order.is_live:
            self.leave(order)
        elif touch or key not in self.live:
            self.live[key] = self.touched[key] = order

    def leave(self, order: Bid | Ask) -> None:
        """Take an order out, before its key changes or because it is not live."""
        if self.live.pop(order.key, None) is not None:
            self.touched.pop(order.key, None)
