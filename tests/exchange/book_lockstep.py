"""Drives several books in lockstep: every call goes to all, every answer and every error must be the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from exchange.book import ASK, BID, Book, BookError, Match, Screen, make_book

PLAIN = Screen()


@dataclass
class Standing:
    side: int
    owner: int
    price: int
    place: int
    open: int
    screen: Screen = PLAIN


@dataclass
class AllPairs:
    """The oracle: looks at every pair each time, remembers nothing of what was touched."""

    orders: dict[int, Standing] = field(default_factory=dict)
    accounts: dict[int, tuple[bool, int]] = field(default_factory=dict)
    machines: dict[int, tuple[int, tuple[int, ...], int, bool]] = field(default_factory=dict)
    partners: dict[tuple[int, int], int] = field(default_factory=dict)

    def awake(self, order: int) -> bool:
        o = self.orders[order]
        if o.side == ASK:
            return o.open > 0 and self.machines[o.owner][3]
        present, free = self.accounts[o.owner]
        return o.open > 0 and present and free >= o.price

    def eligible(self, bid: int, ask: int) -> bool:
        b, a = self.orders[bid], self.orders[ask]
        seller, numbers, flags, _ = self.machines[a.owner]
        s = b.screen
        return (
            b.price >= a.price
            and seller != b.owner
            and (seller in s.only if s.only else True)
            and seller not in s.blocked
            and s.flags & flags == s.flags
            and not any(n < least for n, least in zip(numbers, s.minimums, strict=True))
        )

    def next_match(self, arriving: int, partners_only: bool) -> Match | None:
        pairs = []
        bids = [i for i, o in self.orders.items() if o.side == BID and self.awake(i)]
        asks = [i for i, o in self.orders.items() if o.side == ASK and self.awake(i)]
        for bid in bids:
            for ask in asks:
                had = self.partners.get((bid, ask), 0)
                if self.eligible(bid, ask) and (had or not partners_only):
                    b, a = self.orders[bid], self.orders[ask]
                    pairs.append((-b.price, b.place, a.price, not had, a.place, bid, ask))
        if not pairs:
            return None
        bid, ask = min(pairs)[-2:]
        b, a = self.orders[bid], self.orders[ask]
        price = b.price if arriving == ask else a.price
        slots, free = 0, self.accounts[b.owner][1]
        most = min(b.open, a.open, self.partners.get((bid, ask)) or a.open)
        if price == 0 or free - b.price >= price * most:
            return bid, ask, price, most
        while slots < most and free >= b.price:  # one by one, as the rule says (R11)
            slots, free = slots + 1, free - price
        return bid, ask, price, slots

    def depth(self, side: int) -> list[tuple[int, int]]:
        levels: Counter[int] = Counter()
        for i, o in self.orders.items():
            if o.side == side and self.awake(i):
                levels[o.price] += o.open
        return sorted(levels.items(), reverse=side == BID)


class Lockstep:
    """The compiled book and its twin side by side, and the oracle with them while `oracle` is set."""

    def __init__(self, oracle: bool = True) -> None:
        self.books: list[Book] = [make_book(), make_book(twin=True)]
        self.truth = AllPairs()
        self.oracle = oracle
        self.seen: Counter[str] = Counter()

    def call(self, name: str, *args: Any) -> Any:
        """Call all; return the one answer, or the error's type where all raised it."""
        answers = []
        for book in self.books:
            try:
                answers.append(getattr(book, name)(*args))
            except BookError as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1], f"{name}{args}: {answers}"
        failed = isinstance(answers[0], tuple) and isinstance(answers[0][0], type)
        self.seen[answers[0][0].__name__ if failed else name] += 1
        if not failed:
            self._record(name, args)
        return answers[0]

    def _record(self, name: str, args: Any) -> None:
        t = self.truth
        match name, args:
            case "set_account", (account, present, free):
                t.accounts[account] = (present, free)
            case "set_machine", (machine, account, numbers, flags, ready):
                t.machines[machine] = (account, tuple(numbers), flags, ready)
            case "add_bid", (order, account, price, slots, place, screen):
                t.orders[order] = Standing(BID, account, price, place, slots, screen)
            case "add_ask", (order, machine, price, slots, place):
                t.orders[order] = Standing(ASK, machine, price, place, slots)
            case "reprice", (order, price, place):
                t.orders[order].price, t.orders[order].place = price, place
            case "rescreen", (order, screen):
                t.orders[order].screen = screen
            case "set_open", (order, slots):
                t.orders[order].open = slots
            case "remove", (order,):
                del t.orders[order]
                t.partners = {pair: n for pair, n in t.partners.items() if order not in pair}
            case "add_partner", (bid, ask, slots):
                t.partners[bid, ask] = max(0, t.partners.get((bid, ask), 0) + slots)
            case "clear_partners", ():
                t.partners.clear()

    def match(self, arriving: int = -1, partners_only: bool = False) -> Match | None:
        """Ask for the next match, as the engine does, and fold the answer."""
        found: Match | None = self.call("next_match", arriving, partners_only)
        if self.oracle:
            assert found == self.truth.next_match(arriving, partners_only)
        if found is None:
            return None
        bid, ask, price, slots = found
        b, a = self.truth.orders[bid], self.truth.orders[ask]
        present, free = self.truth.accounts[b.owner]
        partners = self.truth.partners.get((bid, ask), 0)
        assert 0 < slots <= min(b.open, a.open) and free - price * (slots - 1) >= b.price
        self._count(bid, ask, price, slots, partners, arriving)
        self.call("set_open", bid, b.open - slots)
        self.call("set_open", ask, a.open - slots)
        self.call("set_account", b.owner, present, free - price * slots)
        if partners:
            self.call("add_partner", bid, ask, -slots)
        return found

    def _count(self, bid: int, ask: int, price: int, slots: int, partners: int, arriving: int) -> None:
        b, a = self.truth.orders[bid], self.truth.orders[ask]
        self.seen["match"] += 1
        self.seen["match of partners"] += partners > 0
        self.seen["match of some of the slots had"] += partners > slots
        self.seen["match at the resting bid's price"] += arriving == ask and price > a.price
        self.seen["match that money limits"] += slots < min(b.open, a.open, partners or a.open)
        self.seen["match through a screen"] += b.screen != PLAIN
        self.seen["match past a cheaper ask"] += self.oracle and any(
            o.side == ASK and o.price < a.price and self.truth.awake(i) for i, o in self.truth.orders.items()
        )

    def match_all(self, arriving: int = -1) -> list[Match]:
        """Match until nothing is left, then settle."""
        found: list[Match] = []
        while (one := self.match(arriving)) is not None:
            found.append(one)
            assert len(found) < 100_000
        self.call("settled")
        return found

    def check(self) -> None:
        """Verify the invariants of all, and what they show."""
        for book in self.books:
            book._check()
        for side in (BID, ASK):
            depth = self.call("depth", side)
            assert depth == self.truth.depth(side)
            assert self.call("best", side) == (depth[0][0] if depth else None)
        assert {len(book) for book in self.books} == {len(self.truth.orders)}
