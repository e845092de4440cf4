"""The field's conformance list: short sequences on an empty book, each with a bid and an ask as aggressor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from exchange.book import ASK, BID, PRICE_MAX, Book, DuplicateOrder, Screen, UnknownOrder, make_book

BUYER, SELLER = 0, 1
MIDDLE = 1000
Fill = tuple[int, int, int, int]  # resting order, aggressor, price, slots


@dataclass
class Market:
    """Plays the engine with consumed slots. Prices are seen from an aggressor that buys.

    With an ask as aggressor they are mirrored at MIDDLE (or `mirror`), so a sequence reads the same.
    """

    book: Book
    aggressor: int
    mirror: int = 2 * MIDDLE
    place: int = 0
    checks: bool = True
    open: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.book.set_account(BUYER, True, 2**63 - 1)
        self.book.set_machine(0, SELLER, [0] * 16, 0, True)

    def shown(self, price: int) -> int:
        return price if self.aggressor == BID else self.mirror - price

    def _add(self, side: int, order: int, price: int, slots: int) -> None:
        self.place += 1
        if side == BID:
            self.book.add_bid(order, BUYER, self.shown(price), slots, self.place, Screen())
        else:
            self.book.add_ask(order, 0, self.shown(price), slots, self.place)
        self.open[order] = slots

    def rest(self, order: int, price: int, slots: int = 1) -> None:
        """Add an order of the passive side, which must not match."""
        self._add(1 - self.aggressor, order, price, slots)
        assert self.match(order) == []

    def hit(self, order: int, price: int, slots: int = 1, ioc: bool = False) -> list[Fill]:
        """Add an order of the aggressor's side, and match."""
        self._add(self.aggressor, order, price, slots)
        fills = self.match(order)
        if ioc and order in self.open:
            self.cancel(order)
        return fills

    def amend(self, order: int, price: int) -> list[Fill]:
        """Another limit makes a new arrival (R9)."""
        self.place += 1
        self.book.reprice(order, self.shown(price), self.place)
        return self.match(order)

    def shrink(self, order: int, slots: int) -> None:
        """A smaller size keeps the place (R9)."""
        self.book.set_open(order, slots)
        self.open[order] = slots
        assert self.match(order) == []

    def cancel(self, order: int) -> None:
        self.book.remove(order)
        del self.open[order]

    def match(self, arriving: int) -> list[Fill]:
        fills: list[Fill] = []
        while (found := self.book.next_match(arriving)) is not None:
            bid, ask, price, slots = found
            for order in (bid, ask):
                self.open[order] -= slots
                if self.open[order]:
                    self.book.set_open(order, self.open[order])
                else:
                    self.cancel(order)
            pair = (ask, bid) if self.aggressor == BID else (bid, ask)
            fills.append((*pair, self.shown(price), slots))
        self.book.settled()
        if self.checks:
            self.book._check()
        return fills

    def resting(self) -> list[tuple[int, int]]:
        """Depth of the passive side."""
        return [(self.shown(price), slots) for price, slots in self.book.depth(1 - self.aggressor)]

    def best(self) -> int | None:
        price = self.book.best(1 - self.aggressor)
        return None if price is None else self.shown(price)


@pytest.fixture(params=["bid aggressor", "ask aggressor"])
def side(request: pytest.FixtureRequest) -> int:
    return BID if request.param == "bid aggressor" else ASK


@pytest.fixture(params=["compiled", "twin"])
def market(request: pytest.FixtureRequest, side: int) -> Market:
    return Market(make_book(twin=request.param == "twin"), side)


@pytest.mark.parametrize("gone", [[0], [4], [9], [1, 3, 4, 8], [0, 9], list(range(9))])
def test_cancel_head_middle_tail_scattered_then_sweep(market: Market, gone: list[int]) -> None:
    for order in range(10):
        market.rest(order, 1000)
    for order in gone:
        market.cancel(order)
    left = [order for order in range(10) if order not in gone]
    assert market.resting() == [(1000, len(left))]
    assert market.hit(99, 1000, 10) == [(order, 99, 1000, 1) for order in left]
    assert market.resting() == []


def test_exact_fill_at_a_boundary(market: Market) -> None:
    market.rest(1, 1000, 3)
    market.rest(2, 1001, 2)
    assert market.hit(3, 1001, 3) == [(1, 3, 1000, 3)]
    assert market.best() == 1001
    assert market.hit(4, 1001, 2) == [(2, 4, 1001, 2)]
    assert len(market.book) == 0


def test_the_remainder_becomes_the_best_price(market: Market) -> None:
    market.rest(1, 1000, 2)
    assert market.hit(2, 1005, 5) == [(1, 2, 1000, 2)]
    assert market.best() is None
    assert [(market.shown(p), n) for p, n in market.book.depth(market.aggressor)] == [(1005, 3)]
    market.rest(3, 1006)
    assert market.hit(4, 1006) == [(3, 4, 1006, 1)]


def test_amend_into_the_cross_trades_at_the_makers_price(market: Market) -> None:
    market.rest(1, 1010)
    assert market.hit(2, 1000) == []
    assert market.amend(2, 1020) == [(1, 2, 1010, 1)]


def test_a_maker_amended_into_the_cross_trades_at_the_price_of_the_one_that_rests(market: Market) -> None:
    market.rest(1, 1010)
    assert market.hit(2, 1000) == []
    assert market.amend(1, 990) == [(1, 2, 1000, 1)]


def test_amend_leaves_its_neighbour_alone(market: Market) -> None:
    for order in (1, 2, 3):
        market.rest(order, 1000)
    assert market.amend(2, 1001) == []
    assert market.resting() == [(1000, 2), (1001, 1)]
    assert market.amend(2, 1000) == []
    assert market.hit(9, 1000, 3) == [(1, 9, 1000, 1), (3, 9, 1000, 1), (2, 9, 1000, 1)]


def test_partial_fill_then_cancel(market: Market) -> None:
    market.rest(1, 1000, 5)
    market.rest(2, 1000, 5)
    assert market.hit(3, 1000, 2) == [(1, 3, 1000, 2)]
    assert market.resting() == [(1000, 8)]
    market.cancel(1)
    assert market.hit(4, 1000, 6) == [(2, 4, 1000, 5)]


def test_partial_fill_then_amend(market: Market) -> None:
    market.rest(1, 1000, 5)
    market.rest(2, 1000, 5)
    assert market.hit(3, 1000, 2) == [(1, 3, 1000, 2)]
    market.shrink(1, 1)
    assert market.hit(4, 1000, 2) == [(1, 4, 1000, 1), (2, 4, 1000, 1)]
    assert market.amend(2, 999) == []
    assert market.hit(5, 999, 9) == [(2, 5, 999, 4)]


def test_cancel_or_amend_after_a_full_fill_is_refused(market: Market) -> None:
    market.rest(1, 1000)
    market.rest(2, 1000)
    assert market.hit(3, 1000) == [(1, 3, 1000, 1)]
    for dead in (1, 3):
        with pytest.raises(UnknownOrder, match=f"order {dead} "):
            market.book.remove(dead)
        with pytest.raises(UnknownOrder):
            market.book.reprice(dead, 1, 1)
        with pytest.raises(UnknownOrder):
            market.book.set_open(dead, 1)
    assert market.resting() == [(1000, 1)]


def test_ids_are_reused_after_cancel_and_after_fill(market: Market) -> None:
    market.rest(1, 1000)
    with pytest.raises(DuplicateOrder):
        market.rest(1, 1001)
    market.cancel(1)
    market.rest(2, 1000)
    market.rest(1, 1000)
    assert market.hit(3, 1000, 1) == [(2, 3, 1000, 1)]
    market.rest(2, 999)
    assert market.hit(3, 1000, 2) == [(2, 3, 999, 1), (1, 3, 1000, 1)]


def test_an_id_comes_back_on_the_other_side(market: Market) -> None:
    market.rest(1, 1000)
    market.cancel(1)
    assert market.hit(1, 1000) == []
    market.rest(2, 1001)
    assert market.resting() == [(1001, 1)]


@pytest.mark.parametrize("order", [-1, 0, 7, 2**28, 2**31, 2**63, -(2**64)])
def test_ids_never_issued_are_refused(market: Market, order: int) -> None:
    market.rest(5, 1000)
    calls: list[Callable[[], None]] = [
        lambda: market.book.remove(order),
        lambda: market.book.reprice(order, 1, 1),
        lambda: market.book.set_open(order, 1),
        lambda: market.book.rescreen(order, Screen()),
        lambda: market.book.add_partner(order, 5, 1),
    ]
    for call in calls:
        with pytest.raises(UnknownOrder):
            call()
    assert market.resting() == [(1000, 1)]


def test_a_double_cancel_touches_no_living_order(market: Market) -> None:
    market.rest(1, 1000)
    market.cancel(1)
    market.rest(2, 1000)
    with pytest.raises(UnknownOrder):
        market.book.remove(1)
    assert market.hit(3, 1000) == [(2, 3, 1000, 1)]


def test_no_phantom_best_price_after_cancelling_the_top(market: Market) -> None:
    market.rest(1, 1000)
    market.rest(2, 1005)
    market.cancel(1)
    assert market.best() == 1005
    assert market.hit(3, 1004) == []
    assert market.hit(4, 1005) == [(2, 4, 1005, 1)]
    assert market.best() is None


def test_the_remainder_of_an_ioc_does_not_rest(market: Market) -> None:
    market.rest(1, 1000, 2)
    assert market.hit(2, 1000, 5, ioc=True) == [(1, 2, 1000, 2)]
    market.rest(3, 1000)
    assert market.resting() == [(1000, 1)]
    assert market.book.depth(market.aggressor) == []


def test_a_limit_stops_at_its_own_price(market: Market) -> None:
    for order in range(5):
        market.rest(order, 1000 + order)
    assert market.hit(9, 1002, 5) == [(0, 9, 1000, 1), (1, 9, 1001, 1), (2, 9, 1002, 1)]
    assert market.resting() == [(1003, 1), (1004, 1)]


def test_a_maker_keeps_its_front_place_between_calls(market: Market) -> None:
    market.rest(1, 1000, 3)
    market.rest(2, 1000, 3)
    for taker in (3, 4, 5):
        assert market.hit(taker, 1000) == [(1, taker, 1000, 1)]
    assert market.hit(6, 1000) == [(2, 6, 1000, 1)]


@pytest.mark.parametrize("twin", [False, True])
def test_prices_at_the_types_limit(twin: bool, side: int) -> None:
    market = Market(make_book(twin=twin), side, mirror=PRICE_MAX)
    market.rest(1, PRICE_MAX)
    market.rest(2, 0)
    market.rest(3, PRICE_MAX - 1)
    assert market.hit(9, 0) == [(2, 9, 0, 1)]
    assert market.hit(10, PRICE_MAX - 1) == [(3, 10, PRICE_MAX - 1, 1)]
    assert market.hit(11, PRICE_MAX) == [(1, 11, PRICE_MAX, 1)]


def test_a_sweep_of_5000_fills(market: Market) -> None:
    market.checks = False  # it would be ten thousand checks of thousands of orders
    for order in range(5000):
        market.rest(order, 1000 + order % 50)
    fills = market.hit(9999, 1049, 5000)
    wanted = sorted(range(5000), key=lambda order: (order % 50, order))
    assert fills == [(order, 9999, 1000 + order % 50, 1) for order in wanted]
    assert len(market.book) == 0
    market.book._check()
