"""Random but likely traffic for books in lockstep: told calls, arrays of requests and single calls, mixed.

All that happens follows from the seed and the style.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from exchange import book_records as r
from exchange.book import (
    ASK,
    BID,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    NO_BOUND,
    NOBODY,
    NUMBER_MAX,
    NUMBERS,
    PLACE_MAX,
    PRICE_MAX,
    Screen,
    order_id,
)
from exchange.matcher_twin import Request
from exchange.twin_orders import PLAIN, Ask, Bid
from tests.exchange.book_lockstep import NO_SLOT, Lockstep, request

MIDDLE = 50
BATCH = 60
WILD = {  # values of fields that are wrong, or wrong for most
    "order": (-1, INT64_MIN, 5, 2**40),
    "other": (-1, INT64_MIN, INT64_MAX, 16, 5),
    "price": (-2, -1, PRICE_MAX + 1, INT64_MIN, INT64_MAX, 2**31, PRICE_MAX, 0),
    "spend": (-1, INT64_MIN, 0, 1, NO_BOUND),
    "expires": (-1, INT64_MIN, INT64_MAX),
    "size": (0, -1, -2, INT32_MIN, INT32_MAX),
    "owner": (-1, INT32_MIN, INT32_MAX, 2**28, 10_000),
    "screen": (-1, -2, INT32_MIN, NO_SLOT),
    "kind": (*range(11), 255),
    "terms": (*range(17), 128, 255),
}


@dataclass(frozen=True)
class Style:
    """How a run looks."""

    name: str
    most: int  # orders at once
    accounts: int
    machines: int
    screens: int  # kept at once, all different
    width: int = 12  # of prices, around the middle
    asks: float = 0.5  # share of asks among new orders
    shared: float = 0.0  # share of orders in which one account buys or sells
    extremes: float = 0.01  # share of prices and sizes at their types' limits
    money: tuple[int, ...] = (20_000, 20_000, 100_000, 5000, 1000, INT64_MAX, 0, 200)


STYLES = (
    Style("usual", 150, 9, 14, 40),
    Style("small", 30, 3, 5, 8, width=6),
    Style("many screens", 700, 12, 20, 400, asks=0.3),
    Style("one trader", 150, 6, 12, 70, shared=0.7),
    Style("many kinds", 600, 20, 600, 90, width=20, asks=0.7),
    Style("poor", 120, 8, 12, 20, money=(0, 49, 50, 55, 60, 100, 200, 500, INT64_MIN, 1000)),
    Style("extremes", 120, 9, 14, 70, extremes=0.2, money=(INT64_MAX, PRICE_MAX, 20_000, INT64_MIN, 1)),
)


class Flow:
    """One run; `step` is what it drives."""

    def __init__(self, seed: int, style: Style | None = None, oracle: bool = False) -> None:
        self.random = Random(seed)
        self.style = style or STYLES[seed % len(STYLES)]
        self.step = Lockstep(oracle)
        self.seen: Counter[str] = self.step.seen
        self.state = "open"
        self.now = 1
        self.early = 0
        self.matched = 0  # by requests
        self.arrived = -1
        self.contracts: list[tuple[int, int, int]] = []  # bid, ask, slots: they come back by RETURN
        self.told: list[tuple[int, int, int]] = []  # the same, of those that come back by calls
        self.slots: list[int] = []
        self.ids: list[int] = []  # of the orders that are there
        self.screens: set[Screen] = {PLAIN}
        for account in range(self.style.accounts):
            self.step.call("set_account", account, True, 10_000)
        for machine in range(self.style.machines):
            self.set_machine(machine)
        while len(self.slots) < self.style.screens:
            self.keep_another()

    # ---- what is random

    def pick(self, *values: Any) -> Any:
        return values[int(self.random.random() * len(values))]

    def maybe(self, share: float) -> bool:
        return self.random.random() < share

    def price(self) -> int:
        if self.maybe(self.style.extremes):
            self.seen["extreme price"] += 1
            return int(self.pick(0, 1, PRICE_MAX, PRICE_MAX - 1))
        width = self.style.width
        return MIDDLE - width + int(self.random.random() * (2 * width + 1))

    def size(self) -> int:
        if self.maybe(self.style.extremes):
            return int(self.pick(INT32_MAX, INT32_MAX - 1, 1000))
        return int(self.pick(1, 1, 1, 2, 2, 3, 4, 10))

    def spend(self) -> int:
        return NO_BOUND if self.maybe(0.7) else int(self.pick(40, 60, 100, 150, 500, 5000, PRICE_MAX))

    def expires(self) -> int:
        return self.now + int(self.random.random() * 60) if self.maybe(0.3) else self.pick(0, 0, 0, INT64_MAX)

    def account(self) -> int:
        return 0 if self.maybe(self.style.shared) else self.random.randrange(self.style.accounts)

    def machine(self) -> int:
        return self.random.randrange(self.style.machines)

    def screen(self) -> Screen:
        minimums = [INT32_MIN] * NUMBERS
        for _ in range(int(self.pick(0, 1, 1, 2))):
            minimums[self.random.randrange(NUMBERS)] = self.pick(1, 1, 2, 2, 2, 3, INT32_MAX, 0)
        everybody = range(self.style.accounts + 2)
        most = min(len(everybody), 8)
        only = self.random.sample(everybody, self.random.randint(1, most)) if self.maybe(0.15) else []
        blocked = self.random.sample(everybody, self.pick(0, 0, 0, 1, 2))
        flags = self.pick(0, 0, 1, 1 << 70, 1 << 511, 1 | 1 << 511)
        return Screen(tuple(minimums), flags, frozenset(only), frozenset(blocked))

    def slot(self) -> int:
        return 0 if self.maybe(0.25) else int(self.pick(*self.slots))

    def order(self) -> int:
        """One that is there, or now and then one that is not, or no longer."""
        if not self.ids or self.maybe(0.03):
            index = self.random.randrange(3 * self.style.most)
            number = self.step.twin.numbers.get(index, 0)
            return int(self.pick(order_id(number, index), order_id(number + 1, index), -1, 2**40, INT64_MAX))
        return self.ids[int(self.random.random() * len(self.ids))]

    def new_order(self) -> int:
        """An id that may be taken, most of the time."""
        twin = self.step.twin
        index = self.random.randrange(3 * self.style.most)
        if index in twin.orders and self.maybe(0.8):
            index = self.random.randrange(3 * self.style.most)
        number = twin.numbers.get(index, -1)
        if self.maybe(0.01):
            return order_id(max(0, number), index)
        return order_id(min(NUMBER_MAX, number + int(self.pick(1, 1, 1, 2, 1000))), index)

    def place(self) -> int:
        if self.maybe(0.1):
            self.early += 1
            return -self.early
        return self.step.twin.last_place + int(self.pick(1, 1, 3))

    # ---- told

    def set_machine(self, machine: int) -> None:
        numbers = [2] * NUMBERS
        for _ in range(3):
            numbers[self.random.randrange(NUMBERS)] = self.pick(0, 1, 2, 3, 3, 4, INT32_MAX, INT32_MIN)
        flags = self.pick((1 << 512) - 1, (1 << 512) - 1, 1, 1 | 1 << 70, 0)
        account = 0 if self.maybe(self.style.shared) else machine % self.style.accounts
        self.step.call("set_machine", machine, account, numbers, flags, self.maybe(0.85))

    def keep_another(self) -> None:
        screen = self.screen()
        if screen in self.screens and not self.maybe(0.05):
            return
        self.screens.add(screen)
        self.slots.append(self.step.keep(screen))
        if len(self.slots) > self.style.screens:
            gone = self.slots.pop(self.random.randrange(len(self.slots)))
            self.step.drop(gone)
        if self.maybe(0.05):
            self.step.drop(NO_SLOT if PLAIN in self.step.twin.handles else int(self.pick(0, NO_SLOT)))

    def tell(self) -> None:
        """Make one change by a call, or several."""
        call, what = self.step.call, self.random.random()
        self.arrived = -1
        if what < 0.3:
            if len(self.ids) < self.style.most:
                self.add()
            else:
                call("remove", self.order())
        elif what < 0.36:
            call("remove", self.order())
        elif what < 0.46:
            self.arrived = self.order()
            call("reprice", self.arrived, self.price(), self.place())
        elif what < 0.50:
            call("rescreen", self.order(), self.screen())
        elif what < 0.58:
            call("set_open", self.order(), self.pick(0, 0, 1, 2, 5, INT32_MAX if self.maybe(0.1) else 3))
        elif what < 0.62:
            call("set_spend", self.order(), self.spend() if self.maybe(0.95) else self.pick(0, -1, 2**63))
        elif what < 0.74:
            call("set_account", self.account(), self.maybe(0.85), self.pick(*self.style.money))
        elif what < 0.80:
            self.set_machine(self.machine())
        elif what < 0.84:
            call("set_ready", self.machine(), self.maybe(0.8))
        elif what < 0.86:
            call("set_number", self.machine(), self.random.randrange(NUMBERS), self.pick(0, 1, 2, 3, 4))
        elif what < 0.88:
            call("add_partner", self.order(), self.order(), self.pick(-3, 1, 2, INT32_MAX))
        elif what < 0.90:
            self.keep_another()
        elif what < 0.92:
            self.tell_wrong()
        else:
            self.told_hour_ends()
        self.ids = [order.id for order in self.step.twin.orders.values()]

    def add(self) -> None:
        order, slots = self.new_order(), self.pick(0, self.size(), self.size(), self.size())
        if not self.maybe(self.style.asks):
            spend = [self.spend()] if self.maybe(0.3) else []
            screen = self.step.twin.screens[self.step.handle(self.slot(), -1)]
            self.step.call(
                "add_bid", order, self.account(), self.price(), slots, self.place(), screen, *spend
            )
        else:
            self.arrived = order
            self.step.call("add_ask", order, self.machine(), self.price(), slots, self.place())

    def tell_wrong(self) -> None:
        """Values outside their range: refused by all, with the same words."""
        free = order_id(NUMBER_MAX, 3 * self.style.most + 1)
        calls: tuple[tuple[Any, ...], ...] = (
            ("add_bid", 2**63, 0, 1, 1, 0, PLAIN),
            ("add_bid", free, 10_000, 1, 1, 0, PLAIN),
            ("add_bid", free, 0, PRICE_MAX + 1, 1, 0, PLAIN),
            ("add_bid", free, 0, 1, 1, 0, Screen(minimums=(0,))),
            ("add_bid", free, 0, 1, 1, 0, Screen(flags=1 << 512)),
            ("add_bid", free, 0, 1, 1, 0, PLAIN, -1),
            ("add_ask", free, 10_000, 1, 1, 0),
            ("add_ask", free, 0, 1, INT32_MAX + 1, 0),
            ("add_ask", free, 0, 1, 1, INT64_MAX + 1),
            ("add_ask", free, 0, 1, 1, PLACE_MAX + 1),
            ("set_machine", 0, 0, [0] * 15, 0, True),
            ("set_machine", 0, 0, [0] * 15 + [INT32_MAX + 1], 0, True),
            ("set_ready", 10_000, True),
            ("set_number", 0, 16, 0),
            ("set_number", 0, 0, INT32_MIN - 1),
            ("set_account", 0, True, INT64_MAX + 1),
            ("next_match", -2),
            ("depth", 2),
            ("depth", 0, -1),
            ("depth_for", PLAIN, -1),
            ("quote_bid", -2, 1, 1, PLAIN),
            ("quote_bid", 0, 1, -1, PLAIN),
            ("quote_ask", 10_000, 1, 1),
        )
        self.step.call(*self.pick(*calls))

    def told_hour_ends(self) -> None:
        """Some contracts' slots return together, and know their last partners (R14)."""
        orders = self.step.twin.orders
        self.random.shuffle(self.told)
        for bid, ask, slots in self.told[:15]:
            both = [orders.get(order % 2**28) for order in (bid, ask)]
            if any(order is None or order.id not in (bid, ask) for order in both):
                continue
            for order in both:
                assert order is not None
                self.step.call("set_open", order.id, min(INT32_MAX, order.open + slots))
            self.step.call("add_partner", bid, ask, slots)
            self.seen["hour's end"] += 1
        del self.told[:15]

    def match_told(self) -> None:
        """What an engine does after a call."""
        if self.state == "open":
            self.told += [(b, a, n) for b, a, _, n in self.step.match_all(self.arrived)]
            self.step.call("clear_partners")
        elif self.state == "halt":
            while (found := self.step.match(partners_only=True)) is not None:
                self.told.append((found[0], found[1], found[3]))
        del self.told[200:]

    # ---- asked

    def request(self) -> Request:
        what = self.random.random()
        if what < 0.40 and len(self.ids) < self.style.most:
            return self.new_request()
        if what < 0.55:
            return self.amendment()
        if what < 0.65:
            return request(r.CANCEL, self.order())
        if what < 0.82:
            return self.returning()
        if what < 0.90:
            free = int(self.pick(*self.style.money))
            return request(r.ACCOUNT, owner=self.account(), price=free, size=int(self.maybe(0.9)))
        if what < 0.94:
            return request(r.READY, owner=self.machine(), size=int(self.maybe(0.85)))
        if what < 0.97:
            number = self.random.randrange(NUMBERS)
            return request(r.NUMBER, other=number, owner=self.machine(), price=self.pick(0, 1, 2, 3, 4))
        if what < 0.98:
            self.now += 3
            return request(r.EXPIRE, price=self.now)
        return request(r.SETTLE)

    def new_request(self) -> Request:
        terms = self.pick(*[r.STANDING] * 9, r.ONCE, r.ONCE, r.IOC, r.FOK, r.MARKET, 8, 9)
        order, price, size, expires = self.new_order(), self.price(), self.size(), self.expires()
        if self.maybe(self.style.asks):
            if terms == r.MARKET:
                terms = r.IOC
            owner = self.machine()
            return request(r.ASK, order, owner=owner, price=price, size=size, terms=terms, expires=expires)
        spend = self.spend()
        if terms == r.MARKET:
            spend, price = self.pick(60, 100, 150, 500, 5000), -1
        return Request(
            order=order, kind=r.BID, owner=self.account(), price=price, size=size, terms=terms,
            expires=expires, screen=self.slot(), spend=spend,
        )  # fmt: skip

    def amendment(self) -> Request:
        order = self.order()
        found = self.step.twin.orders.get(order % 2**28)
        price = self.price() if self.maybe(0.3) else -1
        size, screen = -1, -1
        if self.maybe(0.6):
            size = self.pick(0, 1, 2, 3, 5, self.size()) if self.maybe(0.9) else INT32_MAX
        if self.maybe(0.3 if isinstance(found, Bid) else 0.05):
            screen = self.slot()
        return request(r.AMEND, order, price=price, size=size, screen=screen)

    def returning(self) -> Request:
        if not self.contracts:
            return request(r.SETTLE)
        at = int(self.random.random() * len(self.contracts))
        bid, ask, slots = self.contracts[at]
        size = slots if self.maybe(0.8) else self.random.randint(1, slots)
        if self.maybe(0.01):
            return request(r.RETURN, ask, other=bid, size=size)
        if size == slots:
            self.contracts[at] = self.contracts[-1]
            self.contracts.pop()
        else:
            self.contracts[at] = (bid, ask, slots - size)
        return request(r.RETURN, bid, other=ask, size=size)

    def spoil(self, q: Request) -> Request:
        """Give a request one value that is wrong, if the field is looked at."""
        name = self.pick(*WILD)
        if name == "kind" and q.order == INT64_MAX:
            return q  # a book with room for all indices is too slow to check
        if name == "order" and q.kind not in (r.BID, r.ASK) and self.maybe(0.3):
            return q._replace(order=INT64_MAX)
        return q._replace(**{name: self.pick(*WILD[name])})

    def batch(self, most: int) -> int:
        """Apply an array of requests; while nothing may match, only slots return. Returns how many."""
        requests = []
        if self.state != "open":
            requests = [q for _ in range(6) if (q := self.returning()).kind == r.RETURN]
        elif self.maybe(0.2):
            requests = [self.returning() for _ in range(self.random.randint(5, 40))]
        if self.state == "open":
            requests += [self.request() for _ in range(most)]
            for at in range(len(requests)):
                if self.maybe(0.02):
                    requests[at] = self.spoil(requests[at])
            if self.maybe(0.3):  # they wait until the next batch, or for a call
                requests += [self.returning() for _ in range(4)]
        rows = self.step.apply(requests)
        matches = [(order, other, slots) for order, other, _, slots, _, what, _ in rows if what == r.MATCH]
        self.contracts += matches
        self.matched += len(matches)
        while len(self.contracts) > 400:
            self.contracts.pop(self.random.randrange(len(self.contracts)))
        self.ids = [order.id for order in self.step.twin.orders.values()]
        return len(requests)

    def ask_one(self) -> None:
        """The same, one by one, some out of any type's range."""
        q = self.pick(self.new_request, self.new_request, self.amendment)()
        wild = self.maybe(0.1)
        if wild:
            q = self.spoil(q)
        matches: Any
        if q.kind == r.BID:
            matches = self.step.ask(
                "bid", q.order, q.owner, q.price, q.size if not wild else self.pick(q.size, 2**40),
                screen=q.screen, terms=q.terms, spend=q.spend, expires=q.expires,
            )  # fmt: skip
        elif q.kind == r.ASK:
            matches = self.step.ask(
                "ask", q.order, q.owner, q.price, q.size, terms=q.terms, expires=q.expires
            )
        elif q.kind == r.AMEND:
            price = self.pick(q.price, 2**70) if wild else q.price
            matches = self.step.ask("amend", q.order, price=price, size=q.size, screen=q.screen)
        else:
            self.step.ask("cancel", self.pick(q.order, 2**64) if wild else q.order)
            return
        if isinstance(matches, list):
            self.contracts += [(bid, ask, slots) for bid, ask, _, slots in matches]
        self.ids = [order.id for order in self.step.twin.orders.values()]

    # ---- all along

    def query(self) -> None:
        """Ask what is there."""
        call = self.step.call
        screen = PLAIN if self.maybe(0.3) else self.screen()
        buyer = self.pick(NOBODY, self.account(), self.account())
        size = self.pick(0, 1, 3, 10, INT32_MAX)
        price = PRICE_MAX if self.maybe(0.2) else self.price()
        call("quote_bid", buyer, price, size, screen, self.spend())
        call("quote_ask", self.machine(), self.pick(0, self.price(), self.price()), size)
        call("depth_for", screen, price, self.pick(0, 1, 3, INT32_MAX))
        call("best", self.pick(BID, ASK))

    def check(self) -> None:
        """Verify all, and count what sleeps."""
        self.step.check()
        for order in self.step.twin.orders.values():
            if order.open and not order.is_live:
                self.seen["ask that sleeps" if isinstance(order, Ask) else "bid that sleeps"] += 1
        kinds = {(m.numbers, m.flags) for m in self.step.twin.machines.values() if m.asks}
        bids = [o.screen for o in self.step.twin.orders.values() if isinstance(o, Bid)]
        for name, limits, count in (
            ("kinds", (64, 128, 200), len(kinds)),
            ("kept screens", (64, 300), len(self.slots)),
            ("screens of bids", (64, 128), len(set(bids))),
        ):
            for limit in limits:
                self.seen[f"more than {limit} {name}"] += count > limit

    def run(self, ops: int, checks: int = 30) -> None:
        """Do that many requests and calls; now and then nothing matches for a while, or only partners."""
        done = checked = 0
        while done < ops:
            self.state = self.pick("open", "open", "open", "open", "halt", "freeze")
            self.seen[self.state] += 1
            for _ in range(self.random.randint(1, 4)):
                done += self.batch(self.random.randint(1, BATCH))
                for _ in range(self.random.randint(0, 10)):
                    self.tell()
                    self.match_told()
                    done += 1
                if self.state == "open":
                    for _ in range(self.random.randint(0, 3)):
                        self.ask_one()
                        done += 1
                self.query()
            if done - checked > ops // checks:
                checked = done
                self.check()
        self.check()
