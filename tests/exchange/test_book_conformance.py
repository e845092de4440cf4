"""The field's conformance list: short sequences on an empty book, each with a bid and an ask as aggressor.

Each is played at every level: told what is, asked with arrays of requests, and asked by single calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest

from exchange import book_records as r
from exchange.book import (
    ASK,
    BID,
    PRICE_MAX,
    BadBookValue,
    Book,
    BookError,
    DuplicateOrder,
    FinishedOrder,
    Match,
    Screen,
    UnknownOrder,
    make_book,
    order_id,
)

BUYER, SELLER = 0, 1
MIDDLE = 1000
Fill = tuple[int, int, int, int]  # resting order, aggressor, price, slots
ERRORS: dict[int, type[BookError]] = {
    r.UNKNOWN: UnknownOrder,
    r.FINISHED: FinishedOrder,
    r.DUPLICATE: DuplicateOrder,
    r.BAD_VALUE: BadBookValue,
}


class Market(ABC):
    """Slots are sold once. Prices are seen from an aggressor that buys.

    With an ask as aggressor they are mirrored at MIDDLE (or `mirror`), so a sequence reads the same.
    """

    def __init__(self, book: Book, aggressor: int, mirror: int = 2 * MIDDLE) -> None:
        self.book, self.aggressor, self.mirror = book, aggressor, mirror
        self.checks = True
        book.set_account(BUYER, True, 2**63 - 1)
        book.set_machine(0, SELLER, [0] * 16, 0, True)

    @abstractmethod
    def _add(self, side: int, order: int, price: int, slots: int, ioc: bool) -> list[Match]:
        """Add an order; return what matched."""

    @abstractmethod
    def _amend(self, order: int, price: int, slots: int) -> list[Match]:
        """Give an order another price or size, where not -1."""

    @abstractmethod
    def cancel(self, order: int) -> None:
        """End an order."""

    def shown(self, price: int) -> int:
        return price if self.aggressor == BID else self.mirror - price

    def fills(self, matches: list[Match]) -> list[Fill]:
        if self.checks:
            self.book._check()
        pairs = [(ask, bid) if self.aggressor == BID else (bid, ask) for bid, ask, _, _ in matches]
        return [
            (*pair, self.shown(price), slots)
            for pair, (_, _, price, slots) in zip(pairs, matches, strict=True)
        ]

    def rest(self, order: int, price: int, slots: int = 1) -> None:
        """Add an order of the passive side, which must not match."""
        assert self._add(1 - self.aggressor, order, self.shown(price), slots, False) == []

    def hit(self, order: int, price: int, slots: int = 1, ioc: bool = False) -> list[Fill]:
        """Add an order of the aggressor's side, and match."""
        return self.fills(self._add(self.aggressor, order, self.shown(price), slots, ioc))

    def amend(self, order: int, price: int) -> list[Fill]:
        """Another limit makes a new arrival (R9)."""
        return self.fills(self._amend(order, self.shown(price), -1))

    def shrink(self, order: int, slots: int) -> None:
        """A smaller size keeps the place (R9)."""
        assert self._amend(order, -1, slots) == []

    def resting(self) -> list[tuple[int, int]]:
        """Depth of the passive side."""
        return [(self.shown(price), slots) for price, slots in self.book.depth(1 - self.aggressor)]

    def best(self) -> int | None:
        price = self.book.best(1 - self.aggressor)
        return None if price is None else self.shown(price)


class Told(Market):
    """Plays the engine, which takes the slots and says so."""

    def __init__(self, book: Book, aggressor: int, mirror: int = 2 * MIDDLE) -> None:
        super().__init__(book, aggressor, mirror)
        self.place = 0
        self.open: dict[int, int] = {}

    def _add(self, side: int, order: int, price: int, slots: int, ioc: bool) -> list[Match]:
        self.place += 1
        if side == BID:
            self.book.add_bid(order, BUYER, price, slots, self.place, Screen())
        else:
            self.book.add_ask(order, 0, price, slots, self.place)
        self.open[order] = slots
        matches = self.match(order)
        if ioc and order in self.open:
            self.cancel(order)
        return matches

    def _amend(self, order: int, price: int, slots: int) -> list[Match]:
        self.place += 1
        if slots != -1:
            self.book.set_open(order, slots)
            self.open[order] = slots
        else:
            self.book.reprice(order, price, self.place)
        return self.match(order)

    def cancel(self, order: int) -> None:
        self.book.remove(order)
        del self.open[order]

    def match(self, arriving: int) -> list[Match]:
        matches = []
        while (found := self.book.next_match(arriving)) is not None:
            matches.append(found)
            for order in found[:2]:
                self.open[order] -= found[3]
                if self.open[order]:
                    self.book.set_open(order, self.open[order])
                else:
                    self.cancel(order)
        self.book.settled()
        return matches


class Applied(Market):
    """Asks with arrays of one request."""

    def _do(self, request: bytes) -> list[Match]:
        rows = self.book.apply(request).rows()
        order, *_, what, code = rows[-1]
        if what == r.REFUSED:
            raise ERRORS[code](order)
        return [(bid, ask, price, slots) for bid, ask, price, slots, _, what, _ in rows if what == r.MATCH]

    def _add(self, side: int, order: int, price: int, slots: int, ioc: bool) -> list[Match]:
        kind, owner = (r.BID, BUYER) if side == BID else (r.ASK, 0)
        terms = r.IOC if ioc else r.ONCE
        return self._do(r.request(kind, order, price=price, size=slots, owner=owner, terms=terms))

    def _amend(self, order: int, price: int, slots: int) -> list[Match]:
        return self._do(r.request(r.AMEND, order, price=price, size=slots, screen=-1))

    def cancel(self, order: int) -> None:
        self._do(r.request(r.CANCEL, order))


class Called(Market):
    """Asks by single calls."""

    def _add(self, side: int, order: int, price: int, slots: int, ioc: bool) -> list[Match]:
        terms = r.IOC if ioc else r.ONCE
        if side == BID:
            return self.book.bid(order, BUYER, price, slots, terms=terms)
        return self.book.ask(order, 0, price, slots, terms)

    def _amend(self, order: int, price: int, slots: int) -> list[Match]:
        return self.book.amend(order, price, slots)

    def cancel(self, order: int) -> None:
        self.book.cancel(order)


LEVELS: dict[str, type[Market]] = {"told": Told, "applied": Applied, "called": Called}


@pytest.fixture(params=["bid aggressor", "ask aggressor"])
def side(request: pytest.FixtureRequest) -> int:
    return BID if request.param == "bid aggressor" else ASK


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> type[Market]:
    return LEVELS[request.param]


@pytest.fixture(params=["compiled", "twin"])
def market(request: pytest.FixtureRequest, level: type[Market], side: int) -> Market:
    return level(make_book(twin=request.param == "twin"), side)


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
        with pytest.raises(FinishedOrder):
            market.cancel(dead)
        with pytest.raises(FinishedOrder):
            market.amend(dead, 1000)
        with pytest.raises(FinishedOrder):
            market.shrink(dead, 1)
        with pytest.raises(FinishedOrder, match=f"order {dead} "):
            market.book.remove(dead)
    assert market.resting() == [(1000, 1)]


def test_indices_are_reused_after_cancel_and_after_fill(market: Market) -> None:
    """With a higher number: the old id stays finished, and never touches the order that is there now."""
    market.rest(1, 1000)
    with pytest.raises(DuplicateOrder):
        market.rest(1, 1001)
    market.cancel(1)
    with pytest.raises(FinishedOrder):
        market.rest(1, 1001)
    market.rest(2, 1000)
    first = order_id(1, 1)
    market.rest(first, 1000)
    for call in (
        market.cancel,
        lambda order: market.shrink(order, 1),
        lambda order: market.amend(order, 900),
    ):
        with pytest.raises(FinishedOrder):
            call(1)
    assert market.hit(3, 1000, 1) == [(2, 3, 1000, 1)]
    second = order_id(7, 2)
    market.rest(second, 999)
    with pytest.raises(FinishedOrder):
        market.cancel(order_id(6, 2))
    again = order_id(1, 3)
    assert market.hit(again, 1000, 2) == [(second, again, 999, 1), (first, again, 1000, 1)]
    for done in (1, first, 2, second, 3, again):
        with pytest.raises(FinishedOrder):
            market.cancel(done)


def test_an_index_comes_back_on_the_other_side(market: Market) -> None:
    market.rest(1, 1000)
    market.cancel(1)
    assert market.hit(order_id(1, 1), 1000) == []
    market.rest(2, 1001)
    assert market.resting() == [(1001, 1)]
    market.cancel(order_id(1, 1))
    market.rest(order_id(2, 1), 999)
    assert market.resting() == [(999, 1), (1001, 1)]


NEVER = [-1, 0, 7, order_id(1, 5), 2**28, 2**31, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize("order", NEVER)
def test_ids_never_issued_are_refused(market: Market, order: int) -> None:
    market.rest(5, 1000)
    for call in (
        lambda: market.cancel(order),
        lambda: market.amend(order, 1000),
        lambda: market.shrink(order, 1),
        lambda: market.book.remove(order),
        lambda: market.book.reprice(order, 1, 1),
        lambda: market.book.set_open(order, 1),
        lambda: market.book.rescreen(order, Screen()),
        lambda: market.book.add_partner(order, 5, 1),
        lambda: market.book.cancel(order),
    ):
        with pytest.raises(UnknownOrder):
            call()
    assert market.resting() == [(1000, 1)]


def test_a_double_cancel_touches_no_living_order(market: Market) -> None:
    market.rest(1, 1000)
    market.cancel(1)
    market.rest(2, 1000)
    with pytest.raises(FinishedOrder):
        market.cancel(1)
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
def test_prices_at_the_types_limit(twin: bool, level: type[Market], side: int) -> None:
    market = level(make_book(twin=twin), side, mirror=PRICE_MAX)
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
