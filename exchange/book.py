"""The price-time book of CPU hours: what every book offers, its errors, and which one to take.

A bid meets the best ask whose machine passes its screen (R5, R6). The book holds the standing orders and
answers one question, `next_match`; it never decides money and never changes an order by itself. The engine
folds the answer (`set_open`, `set_account`, `add_partner`) and asks again until the answer is None.

Units: prices and free money in micro-credits, per CPU hour where a price; open in slots (CPUs). All ids are
dense non-negative integers below ID_LIMIT that the engine hands out: the compiled book keeps an array entry
for each id up to the highest. `place` is an order's place in time, smaller is earlier, unique in its side.
Arguments are checked from left to right; a call that raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Final, NamedTuple, Protocol

BID: Final = 0
ASK: Final = 1
NUMBERS: Final = 16  # numeric attributes of a machine, int32 each
FLAGS: Final = 512  # flags of a machine, one Python int used as a bit set
ID_LIMIT: Final = 2**28  # ids are below it
INT32_MIN: Final = -(2**31)
INT32_MAX: Final = 2**31 - 1
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
PRICE_MAX: Final = 2**62
FLAGS_MAX: Final = 2**FLAGS - 1

Match = tuple[int, int, int, int]


class BookError(Exception):
    """What a book refuses; the book is as it was before."""


class UnknownOrder(BookError, LookupError):  # noqa: N818 - the market's word
    """No order has this id: never added, or removed (R12)."""

    def __init__(self, order: object) -> None:
        super().__init__(f"order {order} is not in the book: it was never added, or it was removed")


class DuplicateOrder(BookError, ValueError):  # noqa: N818 - the market's word
    """An order with this id is in the book."""

    def __init__(self, order: int) -> None:
        super().__init__(f"order {order} is in the book already: remove it first, or take another id")


class BadBookValue(BookError, ValueError):  # noqa: N818 - the market's word
    """A value out of its range, or an order of the wrong side; the message names the field."""


class Screen(NamedTuple):
    """What a bid demands of a machine and of its seller (R6); equal screens are stored once.

    `minimums`: NUMBERS int32, INT32_MIN where nothing is asked. `flags`: bit set, all required.
    `only`: the accounts allowed as sellers, empty for everybody. `blocked`: those that are not.
    """

    minimums: tuple[int, ...] = (INT32_MIN,) * NUMBERS
    flags: int = 0
    only: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()


def checked(field: str, value: object, low: int, high: int) -> int:
    """Return `value` as an int within low..high; raise BadBookValue naming `field` where it is outside."""
    number = index(value)  # type: ignore[arg-type]  # TypeError where it is no integer
    if not low <= number <= high:
        raise BadBookValue(f"{field} is {number}: it must be from {low} to {high}")
    return number


def checked_numbers(field: str, numbers: Sequence[int]) -> tuple[int, ...]:
    """Return `numbers` as NUMBERS int32; raise BadBookValue naming `field` otherwise."""
    if len(numbers) != NUMBERS:
        raise BadBookValue(f"{field} has {len(numbers)} entries: it must have {NUMBERS}")
    return tuple(checked(f"{field}[{i}]", number, INT32_MIN, INT32_MAX) for i, number in enumerate(numbers))


def check_screen(screen: Screen) -> None:
    """Raise BadBookValue where a part of `screen` is out of its range."""
    checked_numbers("screen.minimums", screen.minimums)
    checked("screen.flags", screen.flags, 0, FLAGS_MAX)
    for account in screen.only:
        checked("screen.only", account, 0, ID_LIMIT - 1)
    for account in screen.blocked:
        checked("screen.blocked", account, 0, ID_LIMIT - 1)


class Book(Protocol):
    """A price-time book with screens. Costs are the compiled book's; n is the number of orders matchable now.

    An order is matchable when it is open and its bid's account is present and funded, or its ask's machine is
    ready. All others keep their place (R6, R10, R11) and cost matching nothing.
    """

    def set_account(self, account: int, present: bool, free: int) -> None:
        """Set whether a buyer's client is present (R6) and the account's free money (int64, R11).

        O(1) unless a bid of the account may wake or fall asleep by it, then O(bids of the account).
        """

    def set_machine(
        self, machine: int, account: int, numbers: Sequence[int], flags: int, ready: bool
    ) -> None:
        """Set a machine's seller, profile (R24, R27), and whether it is ready (R6). O(its asks)."""

    def add_bid(self, order: int, account: int, price: int, open: int, place: int, screen: Screen) -> None:
        """Add a bid of an account that was set before. Raises DuplicateOrder, BadBookValue. O(log n)."""

    def add_ask(self, order: int, machine: int, price: int, open: int, place: int) -> None:
        """Add an ask of a machine that was set before. Raises DuplicateOrder, BadBookValue. O(log n)."""

    def reprice(self, order: int, price: int, place: int) -> None:
        """Give an order another limit and place in time (R9). Raises UnknownOrder, BadBookValue. O(log n)."""

    def rescreen(self, order: int, screen: Screen) -> None:
        """Give a bid another screen at its old place (R9). Raises UnknownOrder, BadBookValue. O(log n)."""

    def set_open(self, order: int, open: int) -> None:
        """Set how many slots are free to be matched; 0 is busy (R10). Raises UnknownOrder, BadBookValue."""

    def remove(self, order: int) -> None:
        """Take an order out, with what was known of its partners. Raises UnknownOrder. O(log n)."""

    def add_partner(self, bid: int, ask: int, slots: int) -> None:
        """Add slots of this bid whose last partner was this ask (R14); less than none in sum is none.

        The engine adds them when slots return, and takes them off (`-slots`) with each match of partners.
        """

    def clear_partners(self) -> None:
        """Forget all partners: the slots that returned together have been settled (R14)."""

    def next_match(self, arriving: int = -1, partners_only: bool = False) -> Match | None:
        """Return the first match as (bid, ask, execution price, slots), or None; changes no order.

        Bids best first, each from the best eligible asks first, among asks of one price its last partners
        first (R5, R6, R14). The price is the ask's, but the bid's where `arriving` is the ask (R7). slots is
        what both have open, the partners had, and the bid's account can open one by one while it stays
        funded (R11). `partners_only`: only last partners (the market is halted, R21).
        """

    def settled(self) -> None:
        """Forget what was touched: the engine promises that `next_match()` over all pairs returns None.

        After `next_match(partners_only=True)`, or while nothing matches (halt, freeze), it must not be
        called: the pairs that wait would be forgotten.
        """

    def depth(self, side: int) -> list[tuple[int, int]]:
        """Return (price, open slots), best first, of what is matchable on side BID or ASK (R11). O(n)."""

    def best(self, side: int) -> int | None:
        """Return the best price of what is matchable on side BID or ASK, or None."""

    def __len__(self) -> int:
        """Return the number of orders, busy and sleeping ones included."""

    def _check(self) -> None:
        """Verify every invariant; raise AssertionError with the state where one is broken. O(orders)."""


def make_book(twin: bool = False) -> Book:
    """Return an empty book: the compiled one, or its plain-Python twin, which gives the same answers."""
    if twin:
        from exchange import book_twin

        return book_twin.Book()
    from exchange import _book

    return _book.Book()
