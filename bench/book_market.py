"""A market full of asks with screens, played through `Book.apply`, beside a model that says what must come.

Every ask has one slot, so every match takes an ask out of what can be matched. Bids arrive as IOC, with
prices above all asks unless said otherwise. A slot that was taken comes back by RETURN, at its old place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import numpy as np

from bench.book_flow import BATCH, batches
from bench.book_sellers import REPUTATION, Array, Demand, Sellers
from exchange.book import NO_BOUND, Book, make_book, order_id
from exchange.book_records import (
    ACCOUNT,
    ASK,
    BID,
    CANCEL,
    IOC,
    MATCH,
    NUMBER,
    ONCE,
    READY,
    REFUSED,
    REQUEST_FIELDS,
    RETURN,
    SETTLE,
    STANDING,
    request,
)

BUYERS: Final = 1_000  # accounts
SELLERS: Final = 5_000  # accounts, after the buyers'
LOWEST: Final = 10_000  # price of an ask
HIGHEST: Final = 30_000
OVER: Final = 40_000  # a price that every ask is below
WORKING: Final = 4_096  # indices of orders that come and go, taken in turn
DTYPE: Final = np.dtype(REQUEST_FIELDS)
SETTLED: Final = request(SETTLE)
WHAT: Final = 5  # in a row of results
Row = tuple[int, ...]


def blank(count: int, kind: int) -> Array:
    """Requests that say nothing but their kind yet."""
    records = np.zeros(count, dtype=DTYPE)
    records["kind"], records["spend"] = kind, NO_BOUND
    return records


def prices(sellers: Sellers, machine_of: Array, correlated: bool, dice: np.random.Generator) -> Array:
    """Of asks: any within bounds, or four fifths by how good the machine is."""
    at = dice.random(len(machine_of))
    if correlated:
        order = np.argsort(np.argsort(sellers.quality)) / len(sellers.quality)
        at = 0.8 * order[sellers.base[machine_of]] + 0.2 * at
    return (LOWEST + at * (HIGHEST - LOWEST)).astype("<i8")


class Market:
    """The book, and beside it who is open: `first` finds by brute force what a bid must meet."""

    def __init__(
        self,
        sellers: Sellers,
        asks: int,
        demands: Sequence[Demand],
        busy: float = 0.9,
        bids: int = 0,
        correlated: bool = False,
        seed: int = 1,
        book: Book | None = None,
    ) -> None:
        self.sellers, self.demands, self.random = sellers, list(demands), Random(seed)
        dice, machines = np.random.default_rng(seed), len(sellers.base)
        self.machine_of = np.concatenate(
            (np.arange(min(machines, asks)), dice.integers(0, machines, max(0, asks - machines)))
        ).astype("<i4")
        dice.shuffle(self.machine_of)
        self.price = prices(sellers, self.machine_of, correlated, dice)
        self.base_of = sellers.base[self.machine_of]
        order = np.argsort(self.base_of, kind="stable")
        ends = np.searchsorted(self.base_of[order], np.arange(len(sellers.numbers)), side="right")
        self.by_base = np.split(order, ends[:-1])
        self.open = np.zeros(asks, dtype=bool)
        self.taken_by: dict[int, int] = {}  # busy ask -> the bid that has it
        self.asks, self.standing = asks, bids
        self.bid_screen = dice.integers(0, len(self.demands), bids)
        self.bid_limit = self._limits(dice) if bids else np.zeros(0, dtype="<i8")
        self.bid_open = np.ones(bids, dtype=bool)
        self.worked = 0  # orders that came and went
        self.book = make_book() if book is None else book
        self.results: Any = None
        self.handles: list[int] = []
        self._fill(dice, busy)

    # ---- making it

    def _limits(self, dice: np.random.Generator) -> Array:
        """Of resting bids: below every ask that passes; anywhere, where none passes."""
        cheapest = np.full(len(self.sellers.numbers), HIGHEST)
        np.minimum.at(cheapest, self.sellers.base[self.machine_of], self.price)
        bounds = [cheapest[self.sellers.bases_passing(demand)] for demand in self.demands]
        least = np.array([bound.min() if len(bound) else HIGHEST for bound in bounds])
        limits = least[self.bid_screen] - 1 - dice.exponential(1_000, self.standing)
        return np.maximum(limits, 1).astype("<i8")

    def _fill(self, dice: np.random.Generator, busy: float) -> None:
        """The busy asks first: a bid takes them all, before the others are there."""
        for account in range(BUYERS):
            self.book.apply(request(ACCOUNT, owner=account, price=2**60, size=1))
        for machine in range(len(self.sellers.base)):
            numbers, flags = self.sellers.profile(machine)
            self.book.set_machine(machine, BUYERS + machine % SELLERS, numbers, flags, True)
        self.handles = [self.book.keep_screen(demand.screen()) for demand in self.demands]
        order = dice.permutation(self.asks)
        self.place = np.zeros(self.asks, dtype="<i8")
        self.place[order] = np.arange(self.asks)
        count = int(busy * self.asks)
        for start in range(0, count, BATCH):
            self._rest(chosen := order[start : min(start + BATCH, count)])
            taker = blank(1, BID)
            taker["order"], taker["price"], taker["terms"] = self.new_id(), OVER, IOC
            taker["size"] = len(chosen)
            self.play(taker)
        assert len(self.taken_by) == count
        for start in range(count, self.asks, BATCH):
            self._rest(order[start : start + BATCH])
        bids = blank(self.standing, BID)
        bids["order"] = self.asks + np.arange(self.standing)
        bids["owner"], bids["price"] = np.arange(self.standing) % BUYERS, self.bid_limit
        bids["size"], bids["terms"] = 1, STANDING
        bids["screen"] = np.array(self.handles)[self.bid_screen] if self.standing else 0
        for batch in batches(bids):
            self.results = self.book.apply(batch, self.results)
            assert not any(row[WHAT] in (MATCH, REFUSED) for row in self.results.rows())
        assert len(self.book) == self.asks + self.standing

    def _rest(self, chosen: Array) -> None:
        asks = blank(len(chosen), ASK)
        asks["order"], asks["owner"], asks["price"] = chosen, self.machine_of[chosen], self.price[chosen]
        asks["size"], asks["terms"] = 1, STANDING
        self.play(asks)
        self.open[chosen] = True

    # ---- playing it

    def new_id(self) -> int:
        """The next id of an order that comes and goes."""
        self.worked += 1
        index = self.asks + self.standing + self.worked % WORKING
        return order_id(self.worked // WORKING, index)

    def time(self, data: bytes) -> tuple[float, list[Row]]:
        """Seconds that the book took, and what it said."""
        begun = time.perf_counter()
        self.results = self.book.apply(data, self.results)
        taken = time.perf_counter() - begun
        rows = self.results.rows()
        assert not any(row[WHAT] == REFUSED for row in rows), next(r for r in rows if r[WHAT] == REFUSED)
        for row in rows:
            if row[WHAT] == MATCH:
                self._matched(row[0], row[1])
        return taken, rows

    def play(self, records: Array) -> float:
        """Seconds that the book took."""
        return self.time(records.tobytes())[0]

    def _matched(self, bid: int, ask: int) -> None:
        if ask < self.asks:
            assert self.open[ask]
            self.open[ask], self.taken_by[ask] = False, bid
        if self.asks <= bid < self.asks + self.standing:
            assert self.bid_open[bid - self.asks]
            self.bid_open[bid - self.asks] = False

    def bids(self, screens: Sequence[int], limits: Sequence[int] | None = None) -> bytes:
        """IOC bids, by the positions of their screens."""
        records = blank(len(screens), BID)
        records["order"] = [self.new_id() for _ in screens]
        records["owner"] = [self.random.randrange(BUYERS) for _ in screens]
        records["screen"] = [self.handles[screen] for screen in screens]
        records["price"] = OVER if limits is None else limits
        records["size"], records["terms"] = 1, IOC
        return records.tobytes()

    def asks_of(self, machines: Sequence[int], price: int) -> tuple[list[int], bytes]:
        """Asks that are sold once, and their ids."""
        records, ids = blank(len(machines), ASK), [self.new_id() for _ in machines]
        records["order"], records["owner"], records["price"] = ids, machines, price
        records["size"], records["terms"] = 1, ONCE
        return ids, records.tobytes()

    def cancels(self, ids: Sequence[int]) -> bytes:
        records = blank(len(ids), CANCEL)
        records["order"] = ids
        return records.tobytes()

    def returns(self, pairs: Sequence[tuple[int, int]]) -> bytes:
        """Slots that come back, as (bid, ask), and the matching after them."""
        records = blank(len(pairs), RETURN)
        records["order"], records["other"] = [bid for bid, _ in pairs], [ask for _, ask in pairs]
        records["size"] = 1
        for bid, ask in pairs:
            if ask < self.asks:
                del self.taken_by[ask]
                self.open[ask] = True
            if self.asks <= bid < self.asks + self.standing:
                self.bid_open[bid - self.asks] = True
        return records.tobytes() + SETTLED

    def others(self, taken: Sequence[int]) -> list[tuple[int, int]]:
        """Busy asks as pairs with the bids that have them: for each of `taken` one of its base, at random."""
        asks = set[int]()
        for ask in taken:
            alike = self.by_base[self.base_of[ask]]
            for _ in range(20):
                other = int(alike[self.random.randrange(len(alike))])
                if other in self.taken_by and other not in asks:
                    break
            else:
                other = ask
            asks.add(other)
        return [(self.taken_by[ask], ask) for ask in asks]

    def readies(self, machines: Sequence[int], ready: bool) -> bytes:
        records = blank(len(machines), READY)
        records["owner"], records["size"] = machines, ready
        return records.tobytes()

    def reputations(self, machines: Sequence[int], values: Sequence[int]) -> bytes:
        """NUMBER requests: distinct machines get another reputation."""
        records = blank(len(machines), NUMBER)
        records["owner"], records["other"], records["price"] = machines, REPUTATION, values
        self.sellers.reputation[np.array(machines)] = values
        return records.tobytes()

    # ---- what must come

    def first(self, demand: Demand, limit: int = OVER) -> int | None:
        """The ask that a bid must meet: the cheapest open one that passes, of these the earliest."""
        passing = self.sellers.passing(demand)[self.machine_of]
        found = np.flatnonzero(passing & self.open & (self.price <= limit))
        if not len(found):
            return None
        best = np.lexsort((self.place[found], self.price[found]))[0]
        return int(found[best])

    def first_bid(self, machine: int, price: int) -> int | None:
        """The resting bid that an ask must meet: the highest open one whose screen it passes."""
        base, reputation = self.sellers.base[machine], self.sellers.reputation[machine]
        passes = np.array(
            [
                demand.reputation() <= reputation
                and all(self.sellers.numbers[base, a] >= v for a, v in demand.numbers if a != REPUTATION)
                and all(self.sellers.flags[base, flag] for flag in demand.flags)
                for demand in self.demands
            ]
        )
        found = np.flatnonzero(passes[self.bid_screen] & self.bid_open & (self.bid_limit >= price))
        if not len(found):
            return None
        return int(self.asks + found[np.lexsort((found, -self.bid_limit[found]))[0]])

    def try_some(self, screens: Sequence[int], limits: Sequence[int] | None = None) -> None:
        """Bids one by one; each must meet what brute force finds, and what it took comes back."""
        for at, screen in enumerate(screens):
            limit = OVER if limits is None else limits[at]
            wanted = self.first(self.demands[screen], limit)
            _, rows = self.time(self.bids([screen], [limit]))
            found = [row[1] for row in rows if row[WHAT] == MATCH]
            assert found == ([] if wanted is None else [wanted]), (self.demands[screen], wanted, rows)
            self.time(self.returns([(self.taken_by[ask], ask) for ask in found]))
