"""The oracle of small books: looks at all pairs each time, and remembers nothing of what was touched.

It shares no code with the books. What would happen is found out by trying it on a copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace

from exchange import book_records as r
from exchange.book import ASK, BID, NO_BOUND, NOBODY, Match, Quote, Screen
from exchange.matcher_twin import Request
from exchange.twin_orders import PLAIN

TRIED = -7  # the order that is tried on a copy
POSITIONS = {name: at for at, (name, _) in enumerate(r.REQUEST_FIELDS)}
Said = tuple[int, int, int, int, int, int]  # what, order, other, price, slots, code


@dataclass
class Standing:
    side: int
    owner: int
    price: int
    place: int
    size: int
    running: int = 0
    screen: Screen = PLAIN
    spend: int = NO_BOUND
    expires: int = 0
    once: bool = False

    @property
    def open(self) -> int:
        return max(0, self.size - self.running)


@dataclass
class AllPairs:
    """A book without any check of arguments: it is told and asked only what the books accepted."""

    orders: dict[int, Standing] = field(default_factory=dict)
    accounts: dict[int, tuple[bool, int]] = field(default_factory=dict)
    machines: dict[int, tuple[int, tuple[int, ...], int, bool]] = field(default_factory=dict)
    partners: Counter[tuple[int, int]] = field(default_factory=Counter)
    used: set[int] = field(default_factory=set)
    screens: dict[int, Screen] = field(default_factory=lambda: {0: PLAIN})
    last: int = 0

    # ---- told

    def set_account(self, account: int, present: bool, free: int) -> None:
        self.accounts[account] = (present, free)

    def set_machine(
        self, machine: int, account: int, numbers: tuple[int, ...], flags: int, ready: bool
    ) -> None:
        self.machines[machine] = (account, tuple(numbers), flags, ready)

    def set_ready(self, machine: int, ready: bool) -> None:
        self.machines[machine] = (*self.machines[machine][:3], ready)

    def set_number(self, machine: int, attribute: int, value: int) -> None:
        account, numbers, flags, ready = self.machines[machine]
        changed = tuple(value if at == attribute else number for at, number in enumerate(numbers))
        self.machines[machine] = (account, changed, flags, ready)

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
        self.add(order, Standing(BID, account, price, place, open, screen=screen, spend=spend))

    def add_ask(self, order: int, machine: int, price: int, open: int, place: int) -> None:
        self.add(order, Standing(ASK, machine, price, place, open))

    def add(self, order: int, standing: Standing) -> None:
        self.orders[order] = standing
        self.used.add(order)
        self.last = max(self.last, standing.place)

    def reprice(self, order: int, price: int, place: int) -> None:
        self.orders[order].price, self.orders[order].place = price, place
        self.last = max(self.last, place)

    def rescreen(self, order: int, screen: Screen) -> None:
        self.orders[order].screen = screen

    def set_open(self, order: int, open: int) -> None:
        self.orders[order].size = min(self.orders[order].running + open, 2**31 - 1)

    def set_spend(self, order: int, spend: int) -> None:
        self.orders[order].spend = spend

    def remove(self, order: int) -> None:
        del self.orders[order]
        for pair in [pair for pair in self.partners if order in pair]:
            del self.partners[pair]

    def add_partner(self, bid: int, ask: int, slots: int) -> None:
        self.partners[bid, ask] = max(0, self.partners[bid, ask] + slots)

    def clear_partners(self) -> None:
        self.partners.clear()

    def settled(self) -> None:
        """It never looks at what was touched."""

    # ---- matching

    def awake(self, order: int) -> bool:
        o = self.orders[order]
        if o.side == ASK:
            return o.open > 0 and self.machines[o.owner][3]
        present, free = self.accounts[o.owner]
        return o.open > 0 and present and free >= o.price and o.spend >= o.price

    def eligible(self, bid: int, ask: int) -> bool:
        b, a = self.orders[bid], self.orders[ask]
        return b.price >= a.price and self.machines[a.owner][0] != b.owner and self.admits(b.screen, a.owner)

    def admits(self, s: Screen, machine: int) -> bool:
        seller, numbers, flags, _ = self.machines[machine]
        return (
            (seller in s.only if s.only else True)
            and seller not in s.blocked
            and s.flags & flags == s.flags
            and not any(n < least for n, least in zip(numbers, s.minimums, strict=True))
        )

    def next_match(self, arriving: int = -1, partners_only: bool = False) -> Match | None:
        pairs = []
        bids = [i for i, o in self.orders.items() if o.side == BID and self.awake(i)]
        asks = [i for i, o in self.orders.items() if o.side == ASK and self.awake(i)]
        for bid in bids:
            for ask in asks:
                had = self.partners.get((bid, ask), 0)
                if (had or not partners_only) and self.eligible(bid, ask):
                    b, a = self.orders[bid], self.orders[ask]
                    pairs.append((-b.price, b.place, a.price, not had, a.place, bid, ask))
        if not pairs:
            return None
        bid, ask = min(pairs)[-2:]
        price = self.orders[bid].price if arriving == ask else self.orders[ask].price
        return bid, ask, price, self.slots(bid, ask, price)

    def slots(self, bid: int, ask: int, price: int) -> int:
        """One by one, as the rule says (R3, R11)."""
        b, a = self.orders[bid], self.orders[ask]
        most = min(b.open, a.open, self.partners.get((bid, ask), 0) or a.open)
        slots, money = 0, min(self.accounts[b.owner][1], b.spend)
        if price == 0 or money - b.price >= price * most:
            return most
        while slots < most and money >= b.price:
            slots, money = slots + 1, money - price
        return slots

    # ---- asked

    def do(self, q: Request) -> list[Said]:
        """Do a request: all of its results."""
        said = [] if q.kind == r.RETURN else self.match_all()
        doing: dict[int, Callable[[Request], list[Said]]] = {
            r.BID: self.place,
            r.ASK: self.place,
            r.AMEND: self.amend,
            r.CANCEL: self.cancel,
            r.RETURN: self.give_back,
            r.SETTLE: lambda q: [],
            r.ACCOUNT: self.account,
            r.READY: self.ready,
            r.NUMBER: self.number,
            r.EXPIRE: self.expire,
        }
        if q.kind not in doing:
            return said + self.bad(q, "kind")
        return said + doing[q.kind](q)

    def match_all(self, arriving: int = -1) -> list[Said]:
        said = []
        while (found := self.next_match(arriving)) is not None:
            bid, ask, price, slots = found
            said.append((r.MATCH, bid, ask, price, slots, 0))
            present, free = self.accounts[self.orders[bid].owner]
            self.accounts[self.orders[bid].owner] = (present, free - price * slots)
            self.orders[bid].spend -= 0 if self.orders[bid].spend == NO_BOUND else price * slots
            self.partners[bid, ask] = max(0, self.partners[bid, ask] - slots)
            for order in (bid, ask):
                o = self.orders[order]
                o.running, o.size = (o.running, o.size - slots) if o.once else (o.running + slots, o.size)
                if o.once and o.size == 0:
                    self.remove(order)
        self.partners.clear()
        return said

    def refused(self, q: Request, code: int) -> list[Said]:
        return [(r.REFUSED, q.order, -1, -1, 0, code)]

    def bad(self, q: Request, name: str) -> list[Said]:
        return [(r.REFUSED, q.order, POSITIONS[name], -1, 0, r.BAD_VALUE)]

    def absent(self, order: int) -> int:
        """UNKNOWN or FINISHED, 0 of an order that is in the book."""
        if order in self.orders:
            return 0
        later = [o for o in self.used if order % 2**28 == o % 2**28 and o >= order >= 0]
        return r.FINISHED if later else r.UNKNOWN

    def place(self, q: Request) -> list[Said]:
        market = q.terms == r.MARKET
        if not 0 <= q.order < 2**63:
            return self.bad(q, "order")
        if q.order % 2**28 in {o % 2**28 for o in self.orders}:
            return self.refused(q, r.DUPLICATE)
        if self.absent(q.order) == r.FINISHED:
            return self.refused(q, r.FINISHED)
        if q.owner not in (self.accounts if q.kind == r.BID else self.machines):
            return self.bad(q, "owner")
        if not 0 <= q.price <= 2**62 and not (market and q.kind == r.BID):
            return self.bad(q, "price")
        if q.kind == r.BID and (q.spend < 0 or (market and q.spend == NO_BOUND)):
            return self.bad(q, "spend")
        if q.expires < 0:
            return self.bad(q, "expires")
        if q.size < 1:
            return self.bad(q, "size")
        if q.kind == r.BID and q.screen not in self.screens:
            return self.bad(q, "screen")
        if q.terms not in {0, 1, 2, 3, 8, 9} | ({4} if q.kind == r.BID else set()):
            return self.bad(q, "terms")
        here, free = self.accounts[q.owner] if q.kind == r.BID else (self.machines[q.owner][3], 0)
        if q.kind == r.BID and market and (q.spend == 0 or free < q.spend):
            return self.refused(q, r.UNFUNDED)
        if q.kind == r.BID and not market and (free < q.price or q.spend < q.price):
            return self.refused(q, r.UNFUNDED)
        side, screen = (BID, self.screens[q.screen]) if q.kind == r.BID else (ASK, PLAIN)
        spend = q.spend if q.kind == r.BID else NO_BOUND
        new = Standing(side, q.owner, q.price, self.last + 1, q.size, 0, screen, spend, q.expires)
        new.once = q.terms not in (r.STANDING, r.STANDING | r.POST_ONLY)
        if market:
            new.price, new.size = self.walk(new)
        if q.terms & r.POST_ONLY and here and self.try_it(new).slots:
            return self.refused(q, r.WOULD_MATCH)
        if q.terms == r.FOK and not (here and self.try_it(new).slots == q.size):
            return self.refused(q, r.NOT_WHOLE)
        self.add(q.order, new)
        said = self.match_all(q.order)
        matched = sum(s[4] for s in said if s[0] == r.MATCH and q.order in s[1:3])
        if q.terms in (r.IOC, r.FOK, r.MARKET):
            if q.order in self.orders:
                self.remove(q.order)
            return [*said, (r.GONE, q.order, -1, -1, q.size - matched, 0)]
        return said + self.final(q.order)

    def final(self, order: int) -> list[Said]:
        if order not in self.orders:
            return [(r.GONE, order, -1, -1, 0, 0)]
        return [(r.RESTS, order, -1, self.orders[order].price, self.orders[order].open, 0)]

    def walk(self, bid: Standing) -> tuple[int, int]:
        """(worst price, slots) that a market bid gets for its money, ask by ask."""
        money, slots, worst = bid.spend, 0, 0
        asks = [(o.price, o.place, i) for i, o in self.orders.items() if o.side == ASK and self.awake(i)]
        for price, _, ask in sorted(asks):
            if self.machines[self.orders[ask].owner][0] == bid.owner:
                continue
            if not self.admits(bid.screen, self.orders[ask].owner):
                continue
            n = min(self.orders[ask].open, bid.size - slots, money // price if price else 2**31)
            slots, money, worst = slots + n, money - n * price, price if n else worst
            if n < self.orders[ask].open:
                break
        return worst, slots

    def try_it(self, new: Standing, free: int | None = None) -> Quote:
        """What an order would get if it came now and was ready, on a copy without the rivals on its side."""
        trial = AllPairs(last=self.last, accounts=dict(self.accounts), machines=dict(self.machines))
        trial.orders = {i: copy(o) for i, o in self.orders.items() if o.side != new.side and self.awake(i)}
        if new.side == ASK:
            trial.set_ready(new.owner, True)
        else:
            trial.accounts[new.owner] = (True, self.accounts[new.owner][1] if free is None else free)
        trial.orders[TRIED] = replace(new, once=True)
        matches = [(price, n) for _, _, _, price, n, _ in trial.match_all(TRIED)]
        prices = [price for price, _ in matches] or [0]
        worst = max(prices) if new.side == BID else min(prices)
        return Quote(sum(n for _, n in matches), sum(price * n for price, n in matches), worst)

    def amend(self, q: Request) -> list[Said]:
        if code := self.absent(q.order):
            return self.refused(q, code)
        o = self.orders[q.order]
        if not -1 <= q.price <= 2**62:
            return self.bad(q, "price")
        if q.size < -1:
            return self.bad(q, "size")
        if o.side == ASK and q.screen >= 0:
            return self.refused(q, r.WRONG_SIDE)
        if q.screen != -1 and q.screen not in self.screens:
            return self.bad(q, "screen")
        if q.size == 0:
            return self.cancel(q)
        new = replace(o, size=o.size if q.size < 0 else q.size, price=o.price if q.price < 0 else q.price)
        new.screen = self.screens[q.screen] if q.screen >= 0 else o.screen
        arrives = new.size > o.size or new.price != o.price or is_wider(new.screen, o.screen)
        if arrives and o.side == BID and new.price > min(self.accounts[o.owner][1], o.spend):
            return self.refused(q, r.UNFUNDED)
        if arrives:
            new.place = self.last = self.last + 1
        self.orders[q.order] = new
        return self.match_all(q.order if arrives else -1) + self.final(q.order)

    def cancel(self, q: Request) -> list[Said]:
        if code := self.absent(q.order):
            return self.refused(q, code)
        slots = self.orders[q.order].open
        self.remove(q.order)
        return [(r.GONE, q.order, -1, -1, slots, 0)]

    def give_back(self, q: Request) -> list[Said]:
        if r.UNKNOWN in (self.absent(q.order), self.absent(q.other)):
            return self.refused(q, r.UNKNOWN)
        bid, ask = self.orders.get(q.order), self.orders.get(q.other)
        if (bid and bid.side != BID) or (ask and ask.side != ASK):
            return self.refused(q, r.WRONG_SIDE)
        bid, ask = (None if order and order.once else order for order in (bid, ask))
        if q.size < 1 or (bid and bid.running < q.size) or (ask and ask.running < q.size):
            return self.bad(q, "size")
        for order in (bid, ask):
            if order:
                order.running -= q.size
        if bid and ask:
            self.add_partner(q.order, q.other, q.size)
        return []

    def account(self, q: Request) -> list[Said]:
        if not 0 <= q.owner < 2**28:
            return self.bad(q, "owner")
        if q.size not in (0, 1):
            return self.bad(q, "size")
        self.accounts[q.owner] = (q.size == 1, q.price)
        return self.match_all()

    def ready(self, q: Request) -> list[Said]:
        if q.owner not in self.machines:
            return self.bad(q, "owner")
        if q.size not in (0, 1):
            return self.bad(q, "size")
        self.set_ready(q.owner, q.size == 1)
        return self.match_all()

    def number(self, q: Request) -> list[Said]:
        if q.owner not in self.machines:
            return self.bad(q, "owner")
        if not 0 <= q.other < 16:
            return self.bad(q, "other")
        if not -(2**31) <= q.price < 2**31:
            return self.bad(q, "price")
        self.set_number(q.owner, q.other, q.price)
        return self.match_all()

    def expire(self, q: Request) -> list[Said]:
        gone = sorted((o.expires, i, o.open) for i, o in self.orders.items() if 0 < o.expires <= q.price)
        for _, order, _ in gone:
            self.remove(order)
        return [(r.EXPIRED, order, -1, -1, slots, 0) for _, order, slots in gone]

    # ---- what is there

    def quote_bid(self, account: int, price: int, size: int, screen: Screen, spend: int = NO_BOUND) -> Quote:
        new = Standing(BID, account, price, self.last + 1, size, screen=screen, spend=spend)
        if account == NOBODY and spend == NO_BOUND:
            new.spend = 1 << 128
        return self.try_it(new, 1 << 128 if account == NOBODY else None)

    def quote_ask(self, machine: int, price: int, size: int) -> Quote:
        return self.try_it(Standing(ASK, machine, price, self.last + 1, size))

    def depth(self, side: int, most: int = 2**31) -> list[tuple[int, int]]:
        levels: Counter[int] = Counter()
        for i, o in self.orders.items():
            if o.side == side and self.awake(i):
                levels[o.price] += o.open
        return sorted(levels.items(), reverse=side == BID)[:most]

    def depth_for(self, screen: Screen, price: int = 2**62, most: int = 2**31) -> list[tuple[int, int]]:
        levels: Counter[int] = Counter()
        for i, o in self.orders.items():
            if o.side == ASK and self.awake(i) and o.price <= price and self.admits(screen, o.owner):
                levels[o.price] += o.open
        return sorted(levels.items())[:most]

    def best(self, side: int) -> int | None:
        levels = self.depth(side)
        return levels[0][0] if levels else None

    def __len__(self) -> int:
        return len(self.orders)


def is_wider(new: Screen, old: Screen) -> bool:
    """Whether any part of a screen admits what its part in the old one did not (R9)."""
    return (
        any(n < o for n, o in zip(new.minimums, old.minimums, strict=True))
        or bool(old.flags & ~new.flags)
        or bool(old.only and (not new.only or new.only - old.only))
        or bool(old.blocked - new.blocked)
    )
