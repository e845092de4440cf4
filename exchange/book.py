"""The price-time book of CPU hours: what every book offers, its errors, and which one to take.

A bid meets the best ask whose machine passes its screen (R5, R6). A book can be used at two levels:

- *told*: an engine that keeps the orders' story elsewhere tells the book what is (`add_bid`, `set_open` ...),
  asks `next_match`, folds the answer, and asks again until it is None. The book changes nothing by itself.
- *asked*: `apply` takes an array of requests (`exchange.book_records`), does each by the market's rules
  (R5-R11), matches, and says in an array of results what was done. `bid`, `ask`, `amend` and `cancel` are the
  same for one request. Here the book takes slots and free money itself.

Units: prices and money in micro-credits, per CPU hour where a price; sizes and open in slots (CPUs); expiry
in market time, in whatever unit the caller counts. Accounts, machines and orders are named by integers:

- accounts and machines are dense: non-negative, below ID_LIMIT, an array entry for each up to the highest;
- an order's id is `order_id(number, index)`: an index that is dense and may be taken again when its order is
  gone, and a number that is higher each time that the index is taken. So an order that is gone stays gone:
  its id names nobody ever after (R12). Small ids (number 0) do where no index is taken twice.

`place` is an order's place in time (R5), smaller is earlier, unique in its side, at most PLACE_MAX.
Arguments are checked from left to right; a call that raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Final, NamedTuple, Protocol, SupportsIndex

from exchange.book_records import INT32_MAX, INT64_MAX, NO_BOUND, PRICE_MAX, STANDING, Buffer

BID: Final = 0
ASK: Final = 1
NUMBERS: Final = 16  # numeric attributes of a machine, int32 each
FLAGS: Final = 512  # flags of a machine, one Python int used as a bit set
INDEX_BITS: Final = 28
ID_LIMIT: Final = 1 << INDEX_BITS  # accounts, machines, screens and orders' indices are below it
NUMBER_MAX: Final = (1 << (63 - INDEX_BITS)) - 1  # of an order
INT32_MIN: Final = -(2**31)
INT64_MIN: Final = -(2**63)
PLACE_MAX: Final = 2**62  # so that there is always a next one
FLAGS_MAX: Final = 2**FLAGS - 1
NOBODY: Final = -1  # in a quote: no account in particular

Match = tuple[int, int, int, int]  # bid, ask, execution price, slots


def order_id(number: int, index: int) -> int:
    """The id of the order that is the `number`-th to take `index`; numbers need not be consecutive."""
    return number << INDEX_BITS | index


def number_of(order: int) -> int:
    """The number in an order's id."""
    return order >> INDEX_BITS


def index_of(order: int) -> int:
    """The index in an order's id."""
    return order & (ID_LIMIT - 1)


class BookError(Exception):
    """What a book refuses; the book is as it was before."""


class UnknownOrder(BookError, LookupError):  # noqa: N818 - the market's word
    """No order ever had this id (R12); `args` has it."""

    def __str__(self) -> str:
        return f"order {self.args[0]} is not in the book: it was never added"


class FinishedOrder(BookError, LookupError):  # noqa: N818 - the market's word
    """The order with this id is gone: filled, cancelled, expired or removed (R12); `args` has it."""

    def __str__(self) -> str:
        return f"order {self.args[0]} is finished: its index had an order of this number or a higher one"


class DuplicateOrder(BookError, ValueError):  # noqa: N818 - the market's word
    """The index of this id is taken by an order that is in the book; `args` has it."""

    def __str__(self) -> str:
        return f"order {self.args[0]} is in the book already, or another that has its index"


class OrderRefused(BookError, ValueError):  # noqa: N818 - the market's word
    """The market's rules refuse this order; `code` is UNFUNDED, NOT_WHOLE, WOULD_MATCH or NO_MEMORY."""

    def __init__(self, code: int, says: str) -> None:
        super().__init__(code, says)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[1])


class UnsettledBook(BookError):  # noqa: N818 - the market's word
    """Something waits to be matched, and a single call could not say what: SETTLE first, by `apply`."""

    def __str__(self) -> str:
        return "orders wait to be matched: apply a SETTLE request first, whose results say which"


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

    def is_within(self, other: Screen) -> bool:
        """Whether this screen is as narrow as `other` or narrower, part by part (R9)."""
        return (
            all(mine >= its for mine, its in zip(self.minimums, other.minimums, strict=True))
            and other.flags & ~self.flags == 0
            and (not other.only or (bool(self.only) and self.only <= other.only))
            and other.blocked <= self.blocked
        )


class Quote(NamedTuple):
    """What could be had at once: `slots` for `cost` in all per hour, none dearer than `worst`; or zeros."""

    slots: int
    cost: int
    worst: int


def checked(field: str, value: SupportsIndex, low: int, high: int) -> int:
    """Return `value` as an int within low..high; raise BadBookValue naming `field` where it is outside."""
    number = int.__pos__(index(value))  # TypeError where it is no integer; exactly an int in any case
    if not low <= number <= high:
        most = f"2**{FLAGS} - 1" if high == FLAGS_MAX else high
        raise BadBookValue(f"{field} is {number}: it must be from {low} to {most}")
    return number


def checked_numbers(field: str, numbers: Sequence[int]) -> tuple[int, ...]:
    """Return `numbers` as NUMBERS int32; raise BadBookValue naming `field` otherwise."""
    if len(numbers) != NUMBERS:
        raise BadBookValue(f"{field} has {len(numbers)} entries: it must have {NUMBERS}")
    return tuple(checked(f"{field}[{i}]", number, INT32_MIN, INT32_MAX) for i, number in enumerate(numbers))


def plain_screen(screen: Screen) -> Screen:
    """The same screen, of exact ints in a tuple and frozensets, so that equal screens are equal.

    TypeError where a part is no integer, or no collection of them.
    """
    minimums, flags, only, blocked = screen
    if only.__class__ is blocked.__class__ is frozenset and not (only or blocked):
        plain = minimums.__class__ is tuple and flags.__class__ is int and {*map(type, minimums)} <= {int}
        if plain and screen.__class__ is Screen:
            return screen
    return Screen(
        tuple(int.__pos__(index(number)) for number in minimums),
        int.__pos__(index(flags)),
        frozenset(int.__pos__(index(account)) for account in only),
        frozenset(int.__pos__(index(account)) for account in blocked),
    )


def check_screen(screen: Screen) -> None:
    """Raise BadBookValue where a part of `screen` is out of its range."""
    checked_numbers("screen.minimums", screen.minimums)
    checked("screen.flags", screen.flags, 0, FLAGS_MAX)
    for account in screen.only:
        checked("screen.only", account, 0, ID_LIMIT - 1)
    for account in screen.blocked:
        checked("screen.blocked", account, 0, ID_LIMIT - 1)


class Book(Protocol):
    """A price-time book with screens. Costs are the compiled book's.

    n is the number of orders that are *live*: open, and the bid's account present and funded, or the ask's
    machine ready. All others keep their place (R6, R10, R11) and cost matching nothing. k is the number of
    *kinds*: distinct profiles of machines with asks; s the number of distinct screens.
    """

    # ---- told: what is

    def set_account(self, account: int, present: bool, free: int) -> None:
        """Set whether a buyer's client is present (R6) and the account's free money (int64, R11).

        O(1) unless a bid of the account may wake or fall asleep by it, then O(bids of the account).
        """

    def set_machine(
        self, machine: int, account: int, numbers: Sequence[int], flags: int, ready: bool
    ) -> None:
        """Set a machine's seller, profile (R24, R27), and whether it is ready (R6).

        O(its asks * log n), and O(s) where the profile is one that no other machine has or had.
        """

    def set_ready(self, machine: int, ready: bool) -> None:
        """Set whether a machine that was set before is ready (R6). O(its asks * log n)."""

    def set_number(self, machine: int, attribute: int, value: int) -> None:
        """Set one number of a machine that was set before, such as its reputation (R27); as `set_machine`."""

    def keep_screen(self, screen: Screen) -> int:
        """Return a handle for `screen`, for requests until `drop_screen`; each keep wants its drop.

        Handles are not negative; 0 is the screen that asks nothing, which is always kept. As a file's number
        may, a handle that was dropped may be given again, for another screen.
        """

    def drop_screen(self, handle: int) -> None:
        """End one `keep_screen`. Bids that have the screen keep it. Raises BadBookValue for no handle."""

    def add_bid(
        self,
        order: int,
        account: int,
        price: int,
        open: int,
        place: int,
        screen: Screen,
        spend: int = NO_BOUND,
    ) -> None:
        """Add a bid of an account that was set before; `spend` is the most that it may still spend (R3).

        Raises DuplicateOrder, FinishedOrder, BadBookValue. O(log n), and O(k) where the screen is new.
        """

    def add_ask(self, order: int, machine: int, price: int, open: int, place: int) -> None:
        """Add an ask of a machine that was set before. Raises as `add_bid`. O(log n)."""

    def reprice(self, order: int, price: int, place: int) -> None:
        """Give an order another limit and place in time (R9).

        Raises UnknownOrder, FinishedOrder, BadBookValue, as all that follow. O(log n).
        """

    def rescreen(self, order: int, screen: Screen) -> None:
        """Give a bid another screen at its old place (R9). O(log n), and O(k) where the screen is new."""

    def set_open(self, order: int, open: int) -> None:
        """Set how many slots are free to be matched; 0 is busy (R10). O(log n)."""

    def set_spend(self, order: int, spend: int) -> None:
        """Set the most that a bid may still spend (R3); below its price it is not live. O(log n)."""

    def remove(self, order: int) -> None:
        """Take an order out, with what was known of its partners; it is finished. O(log n)."""

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
        what both have open, the partners had, and what bid and account can open one by one while the bid
        stays funded and within what it may spend (R3, R11). `partners_only`: only last partners (R21).
        """

    def settled(self) -> None:
        """Forget what was touched: the engine promises that `next_match()` over all pairs returns None.

        After `next_match(partners_only=True)`, or while nothing matches (halt, freeze), it must not be
        called: the pairs that wait would be forgotten.
        """

    # ---- asked: do this

    def apply(self, requests: Buffer, results: Results | None = None) -> Results:
        """Do the requests (REQUEST records, one after the other) and match after each (R5).

        Returns the results (RESULT records): `results` emptied and filled again, or new ones. Nothing is
        raised for a request that is refused: it has a REFUSED result, and changes nothing. Raises
        BadBookValue, having done nothing, where the buffer is no whole number of records.
        """

    def bid(
        self,
        order: int,
        account: int,
        price: int,
        size: int,
        screen: int = 0,
        terms: int = STANDING,
        spend: int = NO_BOUND,
        expires: int = 0,
    ) -> list[Match]:
        """Place a bid, as a BID request; `screen` is a handle, 0 for none. Returns its matches.

        Raises DuplicateOrder, FinishedOrder, BadBookValue, OrderRefused where the rules refuse it, and
        UnsettledBook while something else waits to be matched (told, or given back by RETURN).
        """

    def ask(
        self, order: int, machine: int, price: int, size: int, terms: int = STANDING, expires: int = 0
    ) -> list[Match]:
        """Place an ask, as an ASK request. Returns matches and raises as `bid`."""

    def amend(self, order: int, price: int = -1, size: int = -1, screen: int = -1) -> list[Match]:
        """Give an order new terms, as an AMEND request (R9); -1 leaves a term as it is. Raises as `bid`."""

    def cancel(self, order: int) -> int:
        """End an order; returns the slots that were still open. Raises UnknownOrder, FinishedOrder."""

    # ---- what is there

    def quote_bid(self, account: int, price: int, size: int, screen: Screen, spend: int = NO_BOUND) -> Quote:
        """What a bid would get if it came now: up to `size` slots at `price` or better (R6, R7, R11).

        NOBODY as account: the money of nobody counts, no seller is excluded. O((asks seen + k) * log n);
        what the screen's lists or its own account refuse is seen.
        """

    def quote_ask(self, machine: int, price: int, size: int) -> Quote:
        """What an ask of a machine would sell if it came now, at `price` or better.

        O((bids seen + s) * log n).
        """

    def depth(self, side: int, most: int = INT32_MAX) -> list[tuple[int, int]]:
        """Return (price, open slots), best first, of what is live on side BID or ASK (R11).

        `most` levels at most. O(r log n) for the r pairs of price and kind (or screen) at the levels shown.
        """

    def depth_for(
        self, screen: Screen, price: int = PRICE_MAX, most: int = INT32_MAX
    ) -> list[tuple[int, int]]:
        """Return (price, open slots), best first, of live asks that pass `screen` at `price` or better.

        `most` levels at most. O((asks shown + k) * log n).
        """

    def best(self, side: int) -> int | None:
        """Return the best price of what is live on side BID or ASK, or None. O(1)."""

    def __len__(self) -> int:
        """Return the number of orders, busy and sleeping ones included."""

    def _check(self) -> None:
        """Verify every invariant; raise AssertionError with the state where one is broken. O(orders)."""


class Results(Protocol):
    """A growing array of RESULT records.

    The compiled book's export their bytes, read-only, with a format that NumPy understands (PEP 3118):
    `memoryview(results)`. While somebody has a view of them, they can't be filled again (BufferError).
    """

    def __len__(self) -> int:
        """How many records."""

    def rows(self) -> list[tuple[int, ...]]:
        """The records as tuples (order, other, price, slots, request, what, code). O(records).

        Where the table of results says nothing of a field: other and price are -1, slots and code 0.
        """


def make_book(twin: bool = False) -> Book:
    """Return an empty book: the compiled one, or its plain-Python twin, which gives the same answers."""
    if twin:
        from exchange import book_twin

        return book_twin.Book()
    from exchange import _book

    return _book.Book()


__all__ = [
    "ASK", "BID", "FLAGS", "FLAGS_MAX", "ID_LIMIT", "INDEX_BITS", "INT32_MAX", "INT32_MIN", "INT64_MAX",
    "INT64_MIN", "NOBODY", "NO_BOUND", "NUMBERS", "NUMBER_MAX", "PLACE_MAX", "PRICE_MAX", "BadBookValue",
    "Book", "BookError", "DuplicateOrder", "FinishedOrder", "Match", "OrderRefused", "Quote", "Results",
    "Screen", "UnknownOrder", "UnsettledBook", "check_screen", "checked", "checked_numbers", "index_of",
    "make_book", "number_of", "order_id", "plain_screen",
]  # fmt: skip
