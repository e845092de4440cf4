"""What the twin does when it is asked: each request by the market's rules, and matching around it (R5-R11).

Every request but RETURN is done between two rounds of matching: the first matches what calls and RETURNs
before it made possible, the second what the request itself did.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, SupportsIndex

from exchange import book_records as r
from exchange.book import (
    ID_LIMIT,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    NO_BOUND,
    NUMBERS,
    PRICE_MAX,
    BadBookValue,
    BookError,
    DuplicateOrder,
    FinishedOrder,
    Match,
    OrderRefused,
    Quote,
    Results,
    Screen,
    UnknownOrder,
    UnsettledBook,
)
from exchange.twin_orders import Ask, Bid, Machine, Order

if TYPE_CHECKING:
    from exchange.book_twin import Book

FIELDS: Final = [name for name, _ in r.REQUEST_FIELDS]
OF_ASKS: Final = (r.STANDING, r.ONCE, r.IOC, r.FOK, r.STANDING | r.POST_ONLY, r.ONCE | r.POST_ONLY)
OF_BIDS: Final = (*OF_ASKS, r.MARKET)
FITS: Final = {"<i8": (INT64_MIN, INT64_MAX), "<i4": (INT32_MIN, INT32_MAX), "u1": (0, 255)}
AT_ONCE: Final = (r.IOC, r.FOK, r.MARKET)  # what does not match at once is gone
Row = tuple[int, ...]


class Request(NamedTuple):
    """A REQUEST record."""

    order: int = -1
    other: int = -1
    price: int = -1
    spend: int = NO_BOUND
    expires: int = 0
    size: int = -1
    owner: int = -1
    screen: int = 0
    kind: int = r.SETTLE
    terms: int = r.STANDING
    pad: int = 0


class Rows:
    """The twin's results; see `exchange.book.Results`."""

    def __init__(self) -> None:
        self.filled: list[Row] = []

    def __len__(self) -> int:
        return len(self.filled)

    def rows(self) -> list[Row]:
        """Return the records as tuples."""
        return list(self.filled)


class _Refused(Exception):  # noqa: N818 - the market's word
    def __init__(self, code: int, field: str = "") -> None:
        self.code, self.field = code, FIELDS.index(field) if field else -1


class Run:
    """Does requests to a book, one after the other; `rows` is what was done."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.rows: list[Row] = []
        self.position = 0

    def do(self, request: Request) -> None:
        """Do one request, with the matching around it."""
        if request.kind != r.RETURN:
            self.match()
        try:
            DO.get(request.kind, Run.refuse)(self, request)
        except _Refused as why:
            self.say(r.REFUSED, request.order, why.field, code=why.code)
        self.position += 1

    def say(
        self, what: int, order: int, other: int = -1, price: int = -1, slots: int = 0, code: int = 0
    ) -> None:
        """Add a result."""
        self.rows.append((order, other, price, slots, self.position, what, code))

    # ---- matching

    def match(self, arriving: int = -1) -> None:
        """Match until nothing is left that can (R5), and forget who came back together (R14)."""
        book = self.book
        while (pair := book.first_pair()) is not None:
            bid, ask = pair
            _, _, price, slots = book.terms(bid, ask, arriving)
            self.say(r.MATCH, bid.id, ask.id, price, slots)
            if pair in book.partners:
                book.count_partners(bid, ask, -slots)
            if bid.spend != NO_BOUND:
                bid.spend -= price * slots
            self.take(bid, slots)
            self.take(ask, slots)
            book.set_free(bid.account, bid.account.free - price * slots)
        book.clear_partners()
        book.settled()

    def take(self, order: Bid | Ask, slots: int) -> None:
        """Take matched slots from an order: they run, or are gone, the last of them with the order (R8)."""
        if order.once:
            order.size -= slots
        else:
            order.running += slots
        if order.once and order.size == 0:
            self.book.end(order)
        else:
            self.book.refresh(order)

    # ---- checks

    def within(self, request: Request, field: str, low: int, high: int) -> int:
        """Return a field's value, which must be from `low` to `high`."""
        value: int = getattr(request, field)
        if not low <= value <= high:
            raise _Refused(r.BAD_VALUE, field)
        return value

    def find(self, order: int) -> Bid | Ask:
        """Return the order with this id, which must be in the book."""
        try:
            return self.book.find(order)
        except UnknownOrder:
            raise _Refused(r.UNKNOWN) from None
        except FinishedOrder:
            raise _Refused(r.FINISHED) from None

    def check_new(self, order: int) -> None:
        """Refuse an id that may not be taken."""
        try:
            self.book.check_new(order)
        except BadBookValue:
            raise _Refused(r.BAD_VALUE, "order") from None
        except DuplicateOrder:
            raise _Refused(r.DUPLICATE) from None
        except FinishedOrder:
            raise _Refused(r.FINISHED) from None

    def screen(self, handle: int) -> Screen:
        """Return the screen that is kept under a handle."""
        if handle not in self.book.screens:
            raise _Refused(r.BAD_VALUE, "screen")
        return self.book.screens[handle]

    def machine(self, request: Request) -> Machine:
        """Return the machine that the request names."""
        if request.owner not in self.book.machines:
            raise _Refused(r.BAD_VALUE, "owner")
        return self.book.machines[request.owner]

    def refuse(self, request: Request) -> NoReturn:
        """Refuse a kind that is none."""
        raise _Refused(r.BAD_VALUE, "kind")

    # ---- requests that say what became of an order

    def bid(self, request: Request) -> None:
        """Place a bid (R8, R11)."""
        buyer, limit, terms = request.owner, request.price, request.terms
        self.check_new(request.order)
        if buyer not in self.book.accounts:
            raise _Refused(r.BAD_VALUE, "owner")
        if terms != r.MARKET:
            self.within(request, "price", 0, PRICE_MAX)
        spend = self.within(request, "spend", 0, INT64_MAX - (terms == r.MARKET))
        expires = self.within(request, "expires", 0, INT64_MAX)
        size = self.within(request, "size", 1, INT32_MAX)
        screen = self.screen(request.screen)
        if terms not in OF_BIDS:
            raise _Refused(r.BAD_VALUE, "terms")
        account = self.book.accounts[buyer]
        if terms == r.MARKET and (spend == 0 or spend > account.free):
            raise _Refused(r.UNFUNDED)
        money = min(account.free, spend)
        if terms != r.MARKET and money < limit:
            raise _Refused(r.UNFUNDED)
        if terms in (r.FOK, r.MARKET) or terms & r.POST_ONLY:
            got = offer(self.book, buyer, None if terms == r.MARKET else limit, size, screen, money)
            self.check_terms(terms, got.slots if account.present else 0, size)
            if terms == r.MARKET:  # an ioc bid for just what is there
                size, limit = got.slots, got.worst
        bid = Bid(
            id=request.order, buyer=buyer, account=account, price=limit, size=size, place=0, screen=screen,
            spend=spend, expires=expires, once=terms & ~r.POST_ONLY != r.STANDING,
        )  # fmt: skip
        self.place(bid, request)

    def ask(self, request: Request) -> None:
        """Place an ask (R8)."""
        terms = request.terms
        self.check_new(request.order)
        machine = self.machine(request)
        price = self.within(request, "price", 0, PRICE_MAX)
        expires = self.within(request, "expires", 0, INT64_MAX)
        size = self.within(request, "size", 1, INT32_MAX)
        if terms not in OF_ASKS:
            raise _Refused(r.BAD_VALUE, "terms")
        if terms == r.FOK or terms & r.POST_ONLY:
            got = demand(self.book, machine, price, size)
            self.check_terms(terms, got.slots if machine.ready else 0, size)
        ask = Ask(
            id=request.order, machine=machine, price=price, size=size, place=0, expires=expires,
            once=terms & ~r.POST_ONLY != r.STANDING,
        )  # fmt: skip
        self.place(ask, request)

    def check_terms(self, terms: int, slots: int, size: int) -> None:
        """Refuse an order of which `slots` of `size` would match, where its terms say so (R8)."""
        if terms & r.POST_ONLY and slots > 0:
            raise _Refused(r.WOULD_MATCH)
        if terms == r.FOK and slots < size:
            raise _Refused(r.NOT_WHOLE)

    def place(self, order: Bid | Ask, request: Request) -> None:
        """Let an order arrive; of one that needs its answer now, drop what is left."""
        order.place = self.book.last_place + 1
        dropped = request.size - order.size
        self.book.enter(order)
        self.match(order.id)
        if request.terms in AT_ONCE:
            dropped += order.size
            if self.is_here(order):
                self.book.end(order)
            self.say(r.GONE, order.id, slots=dropped)
        else:
            self.say_what_is_left(order)

    def is_here(self, order: Order) -> bool:
        """Tell whether an order is in the book still."""
        return self.book.orders.get(order.index) is order

    def say_what_is_left(self, order: Order) -> None:
        """Say that an order rests, or that it was matched to its last slot."""
        if self.is_here(order):
            self.say(r.RESTS, order.id, price=order.price, slots=order.open)
        else:
            self.say(r.GONE, order.id)

    def amend(self, request: Request) -> None:
        """Give an order new terms; a better place is not among them (R9)."""
        order = self.find(request.order)
        price = self.within(request, "price", -1, PRICE_MAX)
        size = self.within(request, "size", -1, INT32_MAX)
        if isinstance(order, Ask) and request.screen >= 0:
            raise _Refused(r.WRONG_SIDE)
        screen = self.screen(request.screen) if request.screen != -1 else None
        if size == 0:
            return self.cancel(request)
        price = order.price if price == -1 else price
        size = order.size if size == -1 else size
        arrives = size > order.size or price != order.price
        if isinstance(order, Bid):
            screen = order.screen if screen is None else screen
            arrives = arrives or not screen.is_within(order.screen)
            if arrives and price > min(order.account.free, order.spend):
                raise _Refused(r.UNFUNDED)
        self.book.pull(order)
        order.size, order.price = size, price
        if isinstance(order, Bid) and screen is not None:
            order.screen = screen
        if arrives:
            order.place = self.book.last_place + 1
        self.book.put(order)
        self.match(order.id if arrives else -1)
        return self.say_what_is_left(order)

    def cancel(self, request: Request) -> None:
        """End an order; what is running comes back to nobody (R9)."""
        order = self.find(request.order)
        self.book.end(order)
        self.say(r.GONE, order.id, slots=order.open)

    def expire(self, request: Request) -> None:
        """End the orders whose time is over, the earliest first."""
        for _, order in list(self.book.expiries.irange(maximum=(request.price, INT64_MAX))):
            ended = self.find(order)
            self.book.end(ended)
            self.say(r.EXPIRED, order, slots=ended.open)

    # ---- requests that say nothing where all is well

    def give_back(self, request: Request) -> None:
        """Let slots return to their orders (R10), who are last partners now (R14).

        Slots of an order that is finished, or that sells or buys them once, return to nobody.
        """
        bid, ask = self.party(request.order), self.party(request.other)
        if isinstance(bid, Ask) or isinstance(ask, Bid):
            raise _Refused(r.WRONG_SIDE)
        size = self.within(request, "size", 1, INT32_MAX)
        here = [order for order in (bid, ask) if order is not None and not order.once]
        if any(order.running < size for order in here):
            raise _Refused(r.BAD_VALUE, "size")
        for order in here:
            order.running -= size
            self.book.refresh(order)
        if bid in here and ask in here:
            assert bid is not None and ask is not None
            self.book.count_partners(bid, ask, size)

    def party(self, order: int) -> Bid | Ask | None:
        """Return an order that had slots running, None where it is finished."""
        try:
            return self.find(order)
        except _Refused as why:
            if why.code == r.UNKNOWN:
                raise
            return None

    def settle(self, request: Request) -> None:
        """Do nothing between two rounds of matching."""

    def account(self, request: Request) -> None:
        """Set an account's money and presence (R6, R11)."""
        owner = self.within(request, "owner", 0, ID_LIMIT - 1)
        free = self.within(request, "price", INT64_MIN, INT64_MAX)
        self.book.set_account(owner, bool(self.within(request, "size", 0, 1)), free)
        self.match()

    def ready(self, request: Request) -> None:
        """Set whether a machine is ready (R6)."""
        self.machine(request)
        self.book.set_ready(request.owner, bool(self.within(request, "size", 0, 1)))
        self.match()

    def number(self, request: Request) -> None:
        """Set one number of a machine (R27)."""
        self.machine(request)
        attribute = self.within(request, "other", 0, NUMBERS - 1)
        self.book.set_number(request.owner, attribute, self.within(request, "price", INT32_MIN, INT32_MAX))
        self.match()


DO: Final = {
    r.BID: Run.bid, r.ASK: Run.ask, r.AMEND: Run.amend, r.CANCEL: Run.cancel, r.EXPIRE: Run.expire,
    r.RETURN: Run.give_back, r.SETTLE: Run.settle, r.ACCOUNT: Run.account, r.READY: Run.ready,
    r.NUMBER: Run.number,
}  # fmt: skip


# ---- what a quote promises, and an order's terms ask


def offer(book: Book, buyer: int, price: int | None, size: int, screen: Screen, money: int) -> Quote:
    """Return what a bid would get with `money` (R6, R7, R11); without a price, all that it can pay."""
    slots = cost = worst = 0
    ask: Ask
    for ask in book.asks.live.values():
        limit = ask.price if price is None else price
        if slots == size or ask.price > limit or limit > money - cost:
            break
        if ask.machine.seller == buyer or not ask.machine.passes(screen):
            continue
        wanted = got = min(ask.open, size - slots)
        if ask.price > 0:
            got = min(got, 1 + (money - cost - limit) // ask.price)
        slots, cost, worst = slots + got, cost + got * ask.price, ask.price
        if got < wanted:
            break
    return Quote(slots, cost, worst)


def demand(book: Book, machine: Machine, price: int, size: int) -> Quote:
    """Return what an ask of a machine would sell (R6, R7, R11)."""
    slots = cost = worst = 0
    taken: dict[int, int] = {}  # buyer -> what this quote took of its money
    bid: Bid
    for bid in book.bids.live.values():
        if slots == size or bid.price < price:
            break
        if machine.seller == bid.buyer or not machine.passes(bid.screen):
            continue
        got = min(bid.open, size - slots)
        if bid.price > 0:
            money = min(bid.account.free - taken.get(bid.buyer, 0), bid.spend)
            got = min(got, money // bid.price)
        if got > 0:
            taken[bid.buyer] = taken.get(bid.buyer, 0) + got * bid.price
            slots, cost, worst = slots + got, cost + got * bid.price, bid.price
    return Quote(slots, cost, worst)


# ---- what the book's calls do


def apply(book: Book, requests: r.Buffer, results: Results | None) -> Rows:
    """Do an array of requests."""
    into = Rows() if results is None else results
    if not isinstance(into, Rows):
        raise TypeError(f"results are {type(into).__name__}: they must be what this book returned before")
    raw = memoryview(requests).tobytes()
    if len(raw) % r.REQUEST.size:
        raise BadBookValue(f"requests has {len(raw)} bytes: it must be records of {r.REQUEST.size}")
    run = Run(book)
    for fields in r.REQUEST.iter_unpack(raw):
        run.do(Request._make(fields))
    into.filled = run.rows
    return into


def one(book: Book, kind: int, order: int, **given: int) -> list[Row]:
    """Do a single request where nothing waits; raise where it is refused. `given` is in the call's order."""
    if kind in (r.AMEND, r.CANCEL) and not INT64_MIN <= index(order) <= INT64_MAX:
        raise UnknownOrder(order)
    fields = {"order": order, **given}
    request = Request(kind=kind, **{name: _fitting(kind, name, value) for name, value in fields.items()})
    if book.first_pair() is not None:
        raise UnsettledBook()
    run = Run(book)
    run.do(request)
    _, at, *_, what, code = run.rows[-1]
    if what == r.REFUSED:
        raise _error(request, at, code)
    return run.rows


def _fitting(kind: int, name: str, value: SupportsIndex) -> int:
    """Return a value that fits into its field."""
    number = index(value)
    low, high = FITS[dict(r.REQUEST_FIELDS)[name]]
    if not low <= number <= high:
        raise _bad(kind, name, number)
    return number


def _bad(kind: int, name: str, value: int) -> BadBookValue:
    owner = "account" if kind == r.BID else "machine"
    return BadBookValue(f"{owner if name == 'owner' else name} is {value}: out of its range")


def _error(request: Request, at: int, code: int) -> BookError:
    order = request.order
    if code == r.UNKNOWN:
        return UnknownOrder(order)
    if code == r.DUPLICATE:
        return DuplicateOrder(order)
    if code == r.FINISHED:
        return FinishedOrder(order)
    if code == r.BAD_VALUE:
        return BadBookValue(r.says_of(request.kind == r.BID, FIELDS[at], request[at]))
    if code == r.WRONG_SIDE:
        return BadBookValue(f"order {order}: {r.SAYS[code]}")
    return OrderRefused(code, f"order {order} is refused: {r.SAYS[code]}")


def matches(rows: list[Row]) -> list[Match]:
    """Return the matches among results."""
    return [(bid, ask, price, slots) for bid, ask, price, slots, _, what, _ in rows if what == r.MATCH]
