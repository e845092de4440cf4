"""What a book does when it is asked, rule by rule, on the compiled book and on its twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exchange import book_records as r
from exchange.book import (
    ASK,
    BID,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    NO_BOUND,
    NUMBER_MAX,
    PLACE_MAX,
    PRICE_MAX,
    BadBookValue,
    Book,
    BookError,
    DuplicateOrder,
    FinishedOrder,
    OrderRefused,
    Quote,
    Screen,
    UnknownOrder,
    UnsettledBook,
    make_book,
    order_id,
)
from exchange.book_records import FOK, IOC, MARKET, ONCE, POST_ONLY, STANDING, request
from exchange.twin_orders import PLAIN
from tests.exchange.book_lockstep import CODES

Said = tuple[Any, ...]


@pytest.fixture(params=["compiled", "twin"])
def book(request: pytest.FixtureRequest) -> Book:
    """Buyers 0 and 1 with a million; machines 0..3 of sellers 10..13, all alike."""
    book = make_book(twin=request.param == "twin")
    for account in (0, 1):
        book.set_account(account, True, 1_000_000)
    for machine in range(4):
        book.set_machine(machine, 10 + machine, [5] * 16, 0b111, True)
    return book


def do(book: Book, *requests: bytes) -> list[Said]:
    """Apply, and check; the results in words, without what says nothing."""
    said: list[Said] = []
    for order, other, price, slots, at, what, code in book.apply(b"".join(requests)).rows():
        assert 0 <= at < len(requests)
        if what == r.MATCH:
            said.append((order, other, price, slots))
        elif what == r.RESTS:
            assert (other, code) == (-1, 0)
            said.append(("rests", order, price, slots))
        elif what in (r.GONE, r.EXPIRED):
            assert (other, price, code) == (-1, -1, 0)
            said.append(("gone" if what == r.GONE else "expired", order, slots))
        else:
            assert (what, price, slots) == (r.REFUSED, -1, 0)
            field = [r.REQUEST_FIELDS[other][0]] if code == r.BAD_VALUE else []
            assert field or other == -1
            said.append(("refused", order, CODES[code], *field))
    book._check()
    return said


def bid(order: int, price: int = 100, size: int = 1, by: int = 0, **fields: int) -> bytes:
    return request(r.BID, order, price=price, size=size, owner=by, **fields)


def ask(order: int, price: int = 100, size: int = 1, by: int = 0, **fields: int) -> bytes:
    return request(r.ASK, order, price=price, size=size, owner=by, **fields)


def amend(order: int, price: int = -1, size: int = -1, screen: int = -1) -> bytes:
    return request(r.AMEND, order, price=price, size=size, screen=screen)


def cancel(order: int) -> bytes:
    return request(r.CANCEL, order)


def give_back(bid: int, ask: int, size: int = 1) -> bytes:
    return request(r.RETURN, bid, other=ask, size=size)


SETTLE = request(r.SETTLE)


def least(attribute: int, minimum: int) -> Screen:
    return Screen(tuple(minimum if at == attribute else INT32_MIN for at in range(16)))


# ---- what becomes of slots


def test_the_slots_of_standing_orders_run_and_come_back(book: Book) -> None:
    """R8, R10: at their own place; and R14, to their last partner first."""
    assert do(book, bid(1, size=3), ask(2, size=2)) == [
        *(("rests", 1, 100, 3), (1, 2, 100, 2), ("rests", 2, 100, 0)),
    ]
    assert do(book, ask(3, size=2), bid(4, size=2)) == [
        *((1, 3, 100, 1), ("rests", 3, 100, 1), (4, 3, 100, 1), ("rests", 4, 100, 1)),
    ]
    assert do(book, give_back(1, 2)) == []
    assert do(book, SETTLE) == [(1, 2, 100, 1)]
    assert do(book, give_back(1, 2, 2), give_back(1, 3), give_back(4, 3), SETTLE) == [
        *((1, 2, 100, 2), (1, 3, 100, 1), (4, 3, 100, 1)),
    ]
    assert book.depth(BID) == [(100, 1)] and book.depth(ASK) == []


def test_what_came_back_is_matched_together_and_before_the_next_request(book: Book) -> None:
    """R14: a better price is better than the last partner, of one price the last partner is first."""
    assert do(book, bid(1, 110), bid(2, 100), ask(11, 100), ask(12, 90))[2:] == [
        *((1, 11, 110, 1), ("rests", 11, 100, 0), (2, 12, 100, 1), ("rests", 12, 90, 0)),
    ]
    assert do(book, give_back(1, 11), give_back(2, 12), cancel(99)) == [
        *((1, 12, 90, 1), (2, 11, 100, 1), ("refused", 99, "UNKNOWN")),
    ]
    do(book, amend(12, 100))  # 11 is the earlier one now
    for _ in range(2):
        assert do(book, give_back(2, 11), give_back(1, 12), SETTLE) == [(1, 12, 100, 1), (2, 11, 100, 1)]
    assert do(book, give_back(2, 11), SETTLE, give_back(1, 12), SETTLE) == [(2, 11, 100, 1), (1, 12, 100, 1)]


def test_partners_are_forgotten_when_what_came_back_is_settled(book: Book) -> None:
    """R14."""
    do(book, ask(11, by=0), ask(12, by=1), ready(0, 0))
    assert do(book, bid(1), ready(0, 1)) == [(1, 12, 100, 1), ("rests", 1, 100, 0)]
    assert do(book, give_back(1, 12), SETTLE) == [(1, 12, 100, 1)]
    assert do(book, account(0, 500, 0), give_back(1, 12), SETTLE) == []
    assert do(book, account(0, 500, 1)) == [(1, 11, 100, 1)]


@pytest.mark.parametrize("first", ["bid", "ask"])
def test_slots_that_are_sold_once_are_gone_and_the_order_with_the_last(book: Book, first: str) -> None:
    """R8: its id is finished then, and those of the other side come back without it."""
    ours, theirs = (bid, ask) if first == "bid" else (ask, bid)

    def pair(one: int, other: int) -> tuple[int, int]:
        return (one, other) if first == "bid" else (other, one)

    assert do(book, ours(1, size=3, terms=ONCE), theirs(2, size=2)) == [
        *(("rests", 1, 100, 3), (*pair(1, 2), 100, 2), ("rests", 2, 100, 0)),
    ]
    assert do(book, theirs(3, size=2, terms=ONCE)) == [(*pair(1, 3), 100, 1), ("rests", 3, 100, 1)]
    assert do(book, cancel(1), ours(1), theirs(3)) == [
        *(("refused", 1, "FINISHED"), ("refused", 1, "FINISHED"), ("refused", 3, "DUPLICATE")),
    ]
    again = order_id(1, 1)
    assert do(book, ours(again, terms=ONCE)) == [(*pair(again, 3), 100, 1), ("gone", again, 0)]
    assert len(book) == 1
    assert do(book, give_back(*pair(1, 2), 2), ours(9, terms=ONCE)) == [
        *((*pair(9, 2), 100, 1), ("gone", 9, 0)),
    ]


@pytest.mark.parametrize("first", ["bid", "ask"])
def test_an_amend_may_sell_the_last_slot_of_an_order(book: Book, first: str) -> None:
    ours, theirs = (bid, ask) if first == "bid" else (ask, bid)
    crossing, resting = (90, 100) if first == "bid" else (110, 100)
    do(book, ours(1, crossing, 3, terms=ONCE), theirs(2, resting, 5))
    pair = (1, 2) if first == "bid" else (2, 1)
    assert do(book, amend(1, resting)) == [(*pair, 100, 3), ("gone", 1, 0)]
    assert len(book) == 1


@pytest.mark.parametrize("first", ["bid", "ask"])
def test_of_an_ioc_nothing_stays(book: Book, first: str) -> None:
    """R8."""
    ours, theirs = (bid, ask) if first == "bid" else (ask, bid)
    pair = (2, 1) if first == "bid" else (1, 2)
    assert do(book, theirs(1, size=2), ours(2, size=5, terms=IOC), theirs(3)) == [
        *(("rests", 1, 100, 2), (*pair, 100, 2), ("gone", 2, 3), ("rests", 3, 100, 1)),
    ]
    assert do(book, ours(2), ours(4, size=1, terms=IOC)) == [
        *(("refused", 2, "FINISHED"), ((4, 3) if first == "bid" else (3, 4)) + (100, 1), ("gone", 4, 0)),
    ]
    assert do(book, give_back(*pair, 2), ours(5, terms=IOC, expires=1), request(r.EXPIRE, price=9))[1:] == [
        ("gone", 5, 0),
    ]


def test_an_ioc_of_somebody_who_is_not_there_is_gone(book: Book) -> None:
    do(book, ask(1), account(0, 1000, 0), ready(1, 0))
    assert do(book, bid(2, size=3, terms=IOC), bid(3), ask(4, by=1, terms=IOC)) == [
        *(("gone", 2, 3), ("rests", 3, 100, 1), ("gone", 4, 1)),
    ]
    assert do(book, account(0, 1000, 1)) == [(3, 1, 100, 1)]


def test_a_fok_bid_is_all_or_nothing_funds_included(book: Book) -> None:
    """R8."""
    do(book, ask(1, 90, 2), ask(2, 100, 2, by=1))
    assert do(book, bid(3, size=5, terms=FOK), bid(3, 99, size=3, terms=FOK)) == [
        *(("refused", 3, "NOT_WHOLE"), ("refused", 3, "NOT_WHOLE")),
    ]
    assert do(book, bid(3, size=3, terms=FOK, spend=279), account(0, 279, 1), bid(3, size=3, terms=FOK)) == [
        *(("refused", 3, "NOT_WHOLE"), ("refused", 3, "NOT_WHOLE")),
    ]
    assert do(book, account(0, 280, 0), bid(3, size=1, terms=FOK), account(0, 280, 1)) == [
        ("refused", 3, "NOT_WHOLE"),
    ]
    assert do(book, bid(3, size=3, terms=FOK, spend=280)) == [(3, 1, 90, 2), (3, 2, 100, 1), ("gone", 3, 0)]
    assert do(book, bid(3), bid(4, 1)) == [("refused", 3, "FINISHED"), ("refused", 4, "UNFUNDED")]


def test_a_fok_ask_is_all_or_nothing_funds_included(book: Book) -> None:
    """R8: two bids of one account share its money."""
    do(book, account(0, 350, 1), bid(1, 110, 2), bid(2, 100, 2), bid(3, 90, 2, by=1))
    assert do(book, ask(9, 90, 6, terms=FOK), ask(9, 91, 4, terms=FOK)) == [
        *(("refused", 9, "NOT_WHOLE"), ("refused", 9, "NOT_WHOLE")),
    ]
    assert do(book, ready(0, 0), ask(9, 90, 1, terms=FOK), ready(0, 1)) == [("refused", 9, "NOT_WHOLE")]
    assert do(book, ask(9, 90, 5, terms=FOK)) == [
        *((1, 9, 110, 2), (2, 9, 100, 1), (3, 9, 90, 2), ("gone", 9, 0)),
    ]


def test_a_market_bid_has_no_limit_but_a_most_to_spend(book: Book) -> None:
    """R8: no hour is begun that it cannot pay, and nothing that is dearer is looked at then."""
    do(book, ask(1, 10, 2), ask(2, 20, 3, by=1), ask(3, 30, 4, by=2), ask(4, 15, 1, by=3))
    do(book, ready(3, 0), account(0, 100, 1))
    assert do(book, bid(9, -5, 9, terms=MARKET, spend=100)) == [
        *((9, 1, 10, 2), (9, 2, 20, 3), ("gone", 9, 4)),
    ]
    assert do(book, bid(10, 21, 1), bid(10, 20, 1)) == [("refused", 10, "UNFUNDED"), ("rests", 10, 20, 1)]
    assert do(book, bid(11, INT64_MAX, 2, by=1, terms=MARKET, spend=500)) == [(11, 3, 30, 2), ("gone", 11, 0)]
    assert do(book, bid(12, 0, 2, by=1, terms=MARKET, spend=29)) == [("gone", 12, 2)]
    assert do(book, account(1, 900, 0), bid(13, 0, 2, by=1, terms=MARKET, spend=900)) == [("gone", 13, 2)]
    for order in (9, 11, 12, 13):
        assert do(book, cancel(order), bid(order)) == [("refused", order, "FINISHED")] * 2


@pytest.mark.parametrize("spend", [0, NO_BOUND, 101])
def test_a_market_bid_must_have_what_it_may_spend(book: Book, spend: int) -> None:
    """R8, R11: and must say it."""
    do(book, ask(1, 0, 5), account(0, 100, 1))
    refused = ("BAD_VALUE", "spend") if spend == NO_BOUND else ("UNFUNDED",)
    assert do(book, bid(9, terms=MARKET, spend=spend)) == [("refused", 9, *refused)]
    assert do(book, bid(9, size=5, terms=MARKET, spend=100)) == [(9, 1, 0, 5), ("gone", 9, 0)]


@pytest.mark.parametrize("terms", [POST_ONLY, POST_ONLY | ONCE])
def test_post_only_never_matches_on_arrival(book: Book, terms: int) -> None:
    """R8: but whom it could not meet now does not count."""
    fine = book.keep_screen(Screen(flags=1 << 9))
    do(book, ask(1, 100), bid(2, 90))
    assert do(book, bid(3, 100, terms=terms), ask(4, 90, terms=terms)) == [
        *(("refused", 3, "WOULD_MATCH"), ("refused", 4, "WOULD_MATCH")),
    ]
    assert do(book, bid(3, 99, terms=terms), ask(4, 100, terms=terms, by=1)) == [
        *(("rests", 3, 99, 1), ("rests", 4, 100, 1)),
    ]
    assert do(book, bid(5, 100, terms=terms, screen=fine)) == [("rests", 5, 100, 1)]
    assert do(book, account(1, 1000, 0), bid(6, 100, by=1, terms=terms)) == [("rests", 6, 100, 1)]
    assert do(book, ready(3, 0), ask(7, 90, by=3, terms=terms)) == [("rests", 7, 90, 1)]
    assert do(book, ready(3, 1)) == [(3, 7, 90, 1)]  # later it is an order like any other
    assert do(book, account(1, 1000, 1)) == [(6, 1, 100, 1)]


# ---- price and time


def test_on_arrival_the_resting_orders_price_counts(book: Book) -> None:
    """R7: an amend that makes an order a new arrival is one."""
    assert do(book, ask(1, 90), bid(2, 100))[1:] == [(2, 1, 90, 1), ("rests", 2, 100, 0)]
    assert do(book, bid(3, 100), ask(4, 90))[1:] == [(3, 4, 100, 1), ("rests", 4, 90, 0)]
    assert do(book, ask(5, 110), bid(6, 100), amend(6, 120))[2:] == [(6, 5, 110, 1), ("rests", 6, 120, 0)]
    assert do(book, ask(7, 110), bid(8, 100), amend(7, 50))[2:] == [(8, 7, 100, 1), ("rests", 7, 50, 0)]
    assert do(book, give_back(8, 7), SETTLE) == [(8, 7, 50, 1)]


BASE = Screen(least(0, 3).minimums, 1, frozenset({10, 11}), frozenset({12}))
KEEPS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"size": 5}, True),
    ({"size": 4}, True),
    ({"size": 1}, True),
    ({"size": 6}, False),
    ({"price": 100}, True),
    ({"price": 100, "size": 5}, True),
    ({"screen": BASE}, True),
    ({"screen": BASE._replace(minimums=least(0, 5).minimums)}, True),
    ({"screen": BASE._replace(minimums=(3, 4, *least(0, 3).minimums[2:]))}, True),
    ({"screen": BASE._replace(minimums=least(0, 2).minimums)}, False),
    ({"screen": BASE._replace(minimums=least(1, 3).minimums)}, False),
    ({"screen": BASE._replace(flags=0b11)}, True),
    ({"screen": BASE._replace(flags=0b10)}, False),
    ({"screen": BASE._replace(flags=0)}, False),
    ({"screen": BASE._replace(only=frozenset({10}))}, True),
    ({"screen": BASE._replace(only=frozenset({10, 11, 13}))}, False),
    ({"screen": BASE._replace(only=frozenset())}, False),
    ({"screen": BASE._replace(blocked=frozenset({12, 13}))}, True),
    ({"screen": BASE._replace(blocked=frozenset({13}))}, False),
    ({"screen": BASE._replace(blocked=frozenset())}, False),
    ({"screen": PLAIN}, False),
    ({"screen": BASE._replace(flags=0b11, blocked=frozenset())}, False),
    ({"screen": BASE._replace(flags=0b11), "size": 4, "price": 100}, True),
    ({"screen": BASE._replace(flags=0), "size": 4}, False),
    ({"screen": BASE._replace(flags=0b11), "size": 6}, False),
]


@pytest.mark.parametrize(("change", "keeps"), KEEPS)
def test_what_keeps_a_bids_place_and_what_makes_it_a_new_arrival(
    book: Book, change: dict[str, Any], keeps: bool
) -> None:
    """R9."""
    base = book.keep_screen(BASE)
    do(book, *(bid(order, size=5, screen=base, by=order - 1) for order in (1, 2)))
    fields = dict(change)
    if "screen" in fields:
        fields["screen"] = book.keep_screen(fields["screen"])
    assert do(book, amend(1, **fields)) == [("rests", 1, 100, fields.get("size", 5))]
    assert do(book, ask(9, terms=IOC))[0] == ((1 if keeps else 2), 9, 100, 1)


@pytest.mark.parametrize(("change", "keeps"), [case for case in KEEPS if "screen" not in case[0]])
def test_what_keeps_an_asks_place_and_what_makes_it_a_new_arrival(
    book: Book, change: dict[str, int], keeps: bool
) -> None:
    """R9."""
    do(book, ask(1, size=5), ask(2, size=5, by=1))
    assert do(book, amend(1, **change)) == [("rests", 1, 100, change.get("size", 5))]
    assert do(book, bid(9, terms=IOC))[0] == (9, (1 if keeps else 2), 100, 1)


@pytest.mark.parametrize("side", [bid, ask])
@pytest.mark.parametrize("step", [-1, 1])
def test_another_limit_loses_the_place_even_if_it_is_taken_back(book: Book, side: Any, step: int) -> None:
    """R9."""
    do(book, side(1), side(2), amend(1, 100 + step))
    theirs = ask if side is bid else bid
    better = 1 if (step > 0) == (side is bid) else 2
    probe = theirs(8, 90 if side is bid else 110, terms=IOC)
    assert better in do(book, probe)[0][:2]
    do(book, cancel(3 - better), side(11), side(12), amend(11, 100 + step), amend(11, 100))
    do(book, cancel(better))
    assert 12 in do(book, theirs(9, terms=IOC))[0][:2]


def test_an_amend_that_cannot_be_paid_is_refused(book: Book) -> None:
    """R11: where it would make the bid a new arrival; less may always be asked."""
    wide, narrow = 0, book.keep_screen(Screen(flags=1))
    do(book, bid(1, 100, 5, screen=narrow), bid(2, 100, 5, spend=100), account(0, 99, 1))
    assert (
        do(book, amend(1, size=6), amend(1, 101), amend(1, screen=wide)) == [("refused", 1, "UNFUNDED")] * 3
    )
    assert do(book, amend(1, 99), amend(1, size=4), amend(1, 100)) == [
        *(("rests", 1, 99, 5), ("rests", 1, 99, 4), ("refused", 1, "UNFUNDED")),
    ]
    assert do(book, account(0, 500, 1), amend(2, 101), amend(2, size=4), amend(2, 100, 5)) == [
        *(("refused", 2, "UNFUNDED"), ("rests", 2, 100, 4), ("rests", 2, 100, 5)),
    ]
    assert book.depth(BID) == [(100, 5), (99, 4)]


def test_shrinking_below_what_is_running_ends_nothing(book: Book) -> None:
    """R9: the contracts that end first are not renewed."""
    do(book, bid(1, size=4), ask(2, size=3))
    assert do(book, amend(1, size=2), give_back(1, 2), SETTLE) == [("rests", 1, 100, 0)]
    assert do(book, give_back(1, 2), SETTLE) == [(1, 2, 100, 1)]
    assert do(book, amend(1, size=3), amend(2, size=1), give_back(1, 2, 2), SETTLE) == [
        *((1, 2, 100, 1), ("rests", 1, 100, 0), ("rests", 2, 100, 0)),
    ]
    assert do(book, give_back(1, 2), SETTLE) == [(1, 2, 100, 1)]


@pytest.mark.parametrize("end", [cancel, lambda order: amend(order, size=0)])
def test_what_is_running_when_an_order_ends_comes_back_to_nobody(book: Book, end: Any) -> None:
    """R9."""
    do(book, bid(1, size=3), ask(2, size=5), ask(3, size=1))
    assert do(book, end(2), end(2), end(99)) == [
        *(("gone", 2, 2), ("refused", 2, "FINISHED"), ("refused", 99, "UNKNOWN")),
    ]
    assert do(book, give_back(1, 2, 3), SETTLE) == [(1, 3, 100, 1)]
    assert do(book, end(1), give_back(1, 3), give_back(1, 2, 7), SETTLE) == [("gone", 1, 2)]
    assert book.depth(ASK) == [(100, 1)] and book.depth(BID) == []


# ---- money


def test_matches_take_money_and_bids_sleep_without(book: Book) -> None:
    """R11."""
    do(book, account(0, 250, 1), ask(11, 90, 9))
    assert do(book, bid(1, size=9), bid(2, 70)) == [
        *((1, 11, 90, 2), ("rests", 1, 100, 7), ("rests", 2, 70, 1)),
    ]
    assert book.depth(BID) == [(70, 1)]
    assert do(book, bid(3, 71), account(0, 71, 1), account(0, 100, 1)) == [
        *(("refused", 3, "UNFUNDED"), (1, 11, 90, 1)),
    ]
    assert do(book, bid(3, 11), bid(3, 10)) == [("refused", 3, "UNFUNDED"), ("rests", 3, 10, 1)]


def test_a_bid_never_spends_more_than_it_may(book: Book) -> None:
    """R3: over all its matches; the engine may allow it more."""
    do(book, ask(11, 60, 9))
    assert do(book, bid(1, size=9, spend=99), bid(1, size=9, spend=250)) == [
        *(("refused", 1, "UNFUNDED"), (1, 11, 60, 3), ("rests", 1, 100, 6)),
    ]
    assert book.depth(BID) == []
    assert do(book, give_back(1, 11, 3), SETTLE) == []
    book.set_spend(1, 160)
    assert do(book, SETTLE) == [(1, 11, 60, 2)]
    assert do(book, amend(1, 40), amend(1, 41)) == [("rests", 1, 40, 7), ("refused", 1, "UNFUNDED")]


def test_prices_and_money_at_their_limits(book: Book) -> None:
    do(book, account(0, INT64_MAX, 1), ask(11, PRICE_MAX, INT32_MAX))
    assert do(book, bid(1, PRICE_MAX, INT32_MAX, spend=INT64_MAX - 1)) == [
        *((1, 11, PRICE_MAX, 1), ("rests", 1, PRICE_MAX, INT32_MAX - 1)),
    ]
    assert do(book, bid(2, PRICE_MAX), bid(2, PRICE_MAX - 1)) == [
        *(("refused", 2, "UNFUNDED"), ("rests", 2, PRICE_MAX - 1, 1)),
    ]
    assert do(book, account(0, INT64_MIN, 1), bid(3, 0)) == [("refused", 3, "UNFUNDED")]
    assert do(book, account(0, 0, 1), ask(12, 0, INT32_MAX), bid(3, 0, INT32_MAX)) == [
        *(("rests", 12, 0, INT32_MAX), (3, 12, 0, INT32_MAX), ("rests", 3, 0, 0)),
    ]
    book.set_open(3, INT32_MAX)  # an order has no more slots than that in all
    assert book.depth(BID) == [] and len(book) == 5
    assert do(book, give_back(3, 12, INT32_MAX), SETTLE) == [(3, 12, 0, INT32_MAX)]


# ---- others


def account(owner: int, free: int, present: int) -> bytes:
    return request(r.ACCOUNT, owner=owner, price=free, size=present)


def ready(machine: int, is_ready: int) -> bytes:
    return request(r.READY, owner=machine, size=is_ready)


def number(machine: int, attribute: int, value: int) -> bytes:
    return request(r.NUMBER, owner=machine, other=attribute, price=value)


def test_who_comes_gets_money_or_becomes_better_is_matched(book: Book) -> None:
    """R5, R6, R11, R27: at the ask's price."""
    good = book.keep_screen(least(2, 6))
    do(book, ready(0, 0), account(0, 10, 0), account(1, 1000, 0))
    do(book, ask(11, 90), bid(1, 100, by=1, screen=good))
    assert do(book, ready(0, 1), account(1, 1000, 1), number(0, 2, 5)) == []
    assert do(book, number(0, 2, 6)) == [(1, 11, 90, 1)]
    assert do(book, ask(12, 90), account(2, 0, 1), bid(2, 0, by=2), account(2, 90, 1), amend(2, 95)) == [
        *(("rests", 12, 90, 1), ("rests", 2, 0, 1), ("refused", 2, "UNFUNDED")),
    ]
    assert do(book, account(2, 100, 1), amend(2, 95), account(7, 0, 0), bid(7, 0, by=7)) == [
        *((2, 12, 90, 1), ("rests", 2, 95, 0), ("rests", 7, 0, 1)),
    ]


def test_own_orders_never_meet_when_asked(book: Book) -> None:
    """R6."""
    book.set_machine(0, 0, [5] * 16, 0, True)
    assert do(book, ask(11, 90), bid(1), ask(12, 95, by=1), bid(2, by=1)) == [
        *(("rests", 11, 90, 1), ("rests", 1, 100, 1), (1, 12, 100, 1), ("rests", 12, 95, 0)),
        *((2, 11, 90, 1), ("rests", 2, 100, 0)),
    ]


def test_orders_expire_the_earliest_first(book: Book) -> None:
    """R8: then the lowest id; 0 is never."""
    do(
        book,
        bid(3, 90, 2, expires=5),
        bid(1, 91, expires=5),
        ask(7, expires=4),
        ask(8),
        bid(9, 92, expires=6),
    )
    do(book, ask(order_id(1, 2), 101, expires=5), bid(12, 93, expires=INT64_MAX), bid(20, 101, 2))
    assert do(book, request(r.EXPIRE, price=3), request(r.EXPIRE, price=-1)) == []
    assert do(book, request(r.EXPIRE, price=5)) == [
        *(("expired", 7, 0), ("expired", 1, 1), ("expired", 3, 2), ("expired", order_id(1, 2), 1)),
    ]
    assert do(book, cancel(7), cancel(9), request(r.EXPIRE, price=6)) == [
        *(("refused", 7, "FINISHED"), ("gone", 9, 1)),
    ]
    assert do(book, request(r.EXPIRE, price=INT64_MAX - 1), request(r.EXPIRE, price=INT64_MAX)) == [
        ("expired", 12, 1),
    ]
    assert len(book) == 2


def test_what_the_calls_made_possible_is_matched_first(book: Book) -> None:
    """The first request that is no RETURN tells it; after a freeze, for one."""
    book.add_bid(1, 0, 110, 1, 1, PLAIN)
    book.add_ask(2, 0, 100, 1, 2)
    assert do(book, give_back(1, 2), cancel(9)) == [
        *(("refused", 1, "BAD_VALUE", "size"), (1, 2, 100, 1), ("refused", 9, "UNKNOWN")),
    ]
    book.set_open(1, 2)
    assert do(book, ask(3, 105)) == [(1, 3, 110, 1), ("rests", 3, 105, 0)]
    assert do(book, cancel(1)) == [("gone", 1, 1)]


def test_while_halted_slots_come_back_and_only_partners_meet(book: Book) -> None:
    """R21: the RETURNs do not match; the engine asks for partners, and tells what it did."""
    do(book, ask(11), ask(12, by=1), bid(1), bid(2))
    assert do(book, give_back(1, 11)) == []
    book.add_ask(10, 2, 50, 1, -5)
    assert book.next_match(partners_only=True) == (1, 11, 100, 1)
    assert do(book, SETTLE) == [(1, 10, 50, 1)]


# ---- refusals


def test_the_fields_of_a_bid_are_checked_one_by_one(book: Book) -> None:
    kept = book.keep_screen(Screen(flags=1))
    dropped = book.keep_screen(Screen(flags=2))
    book.drop_screen(dropped)
    fine: dict[str, Any] = {
        "order": 5, "owner": 1, "price": PRICE_MAX, "spend": PRICE_MAX, "expires": INT64_MAX,
        "size": INT32_MAX, "screen": kept, "terms": POST_ONLY | ONCE,
    }  # fmt: skip
    wrong: dict[str, list[int]] = {
        "order": [-1, INT64_MIN],
        "owner": [-1, 2, 10, INT32_MIN, INT32_MAX],
        "price": [-1, PRICE_MAX + 1, INT64_MIN, INT64_MAX],
        "spend": [-1, INT64_MIN],
        "expires": [-1, INT64_MIN],
        "size": [0, -1, INT32_MIN],
        "screen": [-1, dropped, 999, INT32_MIN, INT32_MAX],
        "terms": [5, 6, 7, IOC | POST_ONLY, FOK | POST_ONLY, MARKET | POST_ONLY, 16, 255],
    }
    fields = {name: values[0] for name, values in wrong.items()}
    for name, values in wrong.items():
        for value in values:
            order = fields["order"] if name != "order" else value
            assert do(book, request(r.BID, **fields | {name: value})) == [
                ("refused", order, "BAD_VALUE", name),
            ]
        fields[name] = fine[name]
    assert do(book, request(r.BID, **fields)) == [("refused", 5, "UNFUNDED")]
    assert do(book, account(1, PRICE_MAX, 1), request(r.BID, **fields)) == [
        ("rests", 5, PRICE_MAX, INT32_MAX)
    ]
    fields["order"] = -1
    assert do(book, request(r.BID, **fields | {"order": 5})) == [("refused", 5, "DUPLICATE")]


def test_the_fields_of_an_ask_are_checked_one_by_one(book: Book) -> None:
    fine = {
        "order": 5,
        "owner": 3,
        "price": PRICE_MAX,
        "expires": INT64_MAX,
        "size": INT32_MAX,
        "terms": ONCE,
    }
    wrong = {
        "order": [-1, INT64_MIN],
        "owner": [-1, 4, 10, INT32_MIN, INT32_MAX],
        "price": [-1, PRICE_MAX + 1, INT64_MIN],
        "expires": [-1, INT64_MIN],
        "size": [0, -1, INT32_MIN],
        "terms": [MARKET, 5, 6, 7, IOC | POST_ONLY, FOK | POST_ONLY, 12, 16, 255],
    }
    fields = {name: values[0] for name, values in wrong.items()} | {"screen": -1, "spend": -1}
    for name, values in wrong.items():
        for value in values:
            order = fields["order"] if name != "order" else value
            assert do(book, request(r.ASK, **fields | {name: value})) == [
                ("refused", order, "BAD_VALUE", name),
            ]
        fields[name] = fine[name]
    assert do(book, request(r.ASK, **fields)) == [("rests", 5, PRICE_MAX, INT32_MAX)]
    assert do(book, request(r.ASK, **fields | {"order": order_id(3, 5)})) == [
        ("refused", order_id(3, 5), "DUPLICATE"),
    ]


def test_the_fields_of_an_amend_are_checked_one_by_one(book: Book) -> None:
    kept = book.keep_screen(Screen(flags=1))
    do(book, bid(1), ask(2, 200))
    for order in (1, 2):
        for price in (-2, PRICE_MAX + 1, INT64_MIN):
            assert do(book, amend(order, price, -2, -2)) == [("refused", order, "BAD_VALUE", "price")]
        for size in (-2, INT32_MIN):
            assert do(book, amend(order, -1, size, -2)) == [("refused", order, "BAD_VALUE", "size")]
        for screen in (-2, INT32_MIN):
            assert do(book, amend(order, -1, 0, screen)) == [("refused", order, "BAD_VALUE", "screen")]
    assert do(book, amend(1, screen=999)) == [("refused", 1, "BAD_VALUE", "screen")]
    for screen in (999, 0, kept):
        assert do(book, amend(2, screen=screen)) == [("refused", 2, "WRONG_SIDE")]
    assert do(
        book, amend(3, -2), amend(order_id(1, 1), -2), amend(-1), amend(INT64_MIN), amend(INT64_MAX)
    ) == [
        *(("refused", order, "UNKNOWN") for order in (3, order_id(1, 1), -1, INT64_MIN, INT64_MAX)),
    ]
    assert do(book, cancel(1), amend(1, -2)) == [("gone", 1, 1), ("refused", 1, "FINISHED")]


def test_the_fields_of_a_return_are_checked_one_by_one(book: Book) -> None:
    do(book, bid(1, size=2), ask(2, size=2), ask(3, 200), cancel(3), bid(4, 50, terms=ONCE), ask(5, 50))
    for order, other in ((9, 2), (-1, 2), (1, 9), (1, -1), (3, 9), (9, 3), (INT64_MAX, INT64_MIN)):
        assert do(book, give_back(order, other, -1)) == [("refused", order, "UNKNOWN")]
    for order, other in ((2, 1), (1, 1), (2, 2), (3, 1), (2, 3)):
        assert do(book, give_back(order, other, -1)) == [("refused", order, "WRONG_SIDE")]
    for size in (0, -1, INT32_MIN, 3, INT32_MAX):
        assert do(book, give_back(1, 2, size)) == [("refused", 1, "BAD_VALUE", "size")]
    assert do(book, give_back(1, 3, 3), give_back(3, 3, 0), give_back(4, 5, 2)) == [
        *(("refused", 1, "BAD_VALUE", "size"), ("refused", 3, "BAD_VALUE", "size")),
        ("refused", 4, "BAD_VALUE", "size"),
    ]
    assert do(book, give_back(3, 3, INT32_MAX), give_back(4, 5), give_back(1, 3), give_back(3, 2)) == []


def test_the_fields_of_the_others_are_checked_one_by_one(book: Book) -> None:
    for owner in (-1, 2**28, INT32_MIN, INT32_MAX):
        assert do(book, account(owner, 0, 2)) == [("refused", -1, "BAD_VALUE", "owner")]
    for owner in (-1, 4, 100, INT32_MIN, INT32_MAX):
        assert do(book, ready(owner, 2), number(owner, -1, 2**31)) == [
            *(("refused", -1, "BAD_VALUE", "owner"), ("refused", -1, "BAD_VALUE", "owner")),
        ]
    for size in (-1, 2, INT32_MIN, INT32_MAX):
        assert do(book, account(0, 0, size), ready(0, size)) == [("refused", -1, "BAD_VALUE", "size")] * 2
    for attribute in (-1, 16, 2**32, INT64_MIN):
        assert do(book, number(0, attribute, 2**31)) == [("refused", -1, "BAD_VALUE", "other")]
    for value in (INT32_MIN - 1, INT32_MAX + 1, INT64_MIN, INT64_MAX):
        assert do(book, number(0, 15, value)) == [("refused", -1, "BAD_VALUE", "price")]
    for kind in (10, 11, 255):
        assert do(book, request(kind, 7)) == [("refused", 7, "BAD_VALUE", "kind")]
    assert do(book, number(0, 15, INT32_MIN), number(0, 0, INT32_MAX), account(100, INT64_MIN, 0)) == []


def test_an_id_is_never_taken_again(book: Book) -> None:
    """R12: the index is, with a higher number; what is meant for the old order never touches the new one."""
    do(book, bid(1), cancel(1))
    new = order_id(4, 1)
    assert do(book, ask(new, 200, 3)) == [("rests", new, 200, 3)]
    old = (1, order_id(1, 1), order_id(3, 1))
    for order in old:
        assert (
            do(book, cancel(order), amend(order, 5), amend(order, size=0), give_back(order, order, 1))
            == [("refused", order, "FINISHED")] * 3
        )
        assert do(book, bid(order), ask(order)) == [("refused", order, "DUPLICATE")] * 2
    assert do(book, cancel(order_id(5, 1)), cancel(new), bid(order_id(5, 1)), bid(order_id(4, 1))) == [
        *(("refused", order_id(5, 1), "UNKNOWN"), ("gone", new, 3), ("rests", order_id(5, 1), 100, 1)),
        ("refused", new, "DUPLICATE"),
    ]
    assert do(book, cancel(order_id(5, 1)), bid(order_id(5, 1)), bid(order_id(NUMBER_MAX, 1)))[1:] == [
        *(("refused", order_id(5, 1), "FINISHED"), ("rests", order_id(NUMBER_MAX, 1), 100, 1)),
    ]


def test_a_refused_order_leaves_its_id_free(book: Book) -> None:
    assert do(book, bid(1, by=9), bid(1, size=2, terms=FOK), bid(1, 2_000_000), bid(1), ask(1)) == [
        *(("refused", 1, "BAD_VALUE", "owner"), ("refused", 1, "NOT_WHOLE"), ("refused", 1, "UNFUNDED")),
        *(("rests", 1, 100, 1), ("refused", 1, "DUPLICATE")),
    ]


def test_screens_are_named_by_handles_while_they_are_kept(book: Book) -> None:
    """R6."""
    handle = book.keep_screen(Screen(flags=1 << 9))
    assert do(book, ask(11), bid(1, screen=handle), bid(2, 99, screen=0)) == [
        *(("rests", 11, 100, 1), ("rests", 1, 100, 1), ("rests", 2, 99, 1)),
    ]
    book.drop_screen(handle)
    assert do(book, bid(3, screen=handle), amend(2, screen=handle)) == [
        *(("refused", 3, "BAD_VALUE", "screen"), ("refused", 2, "BAD_VALUE", "screen")),
    ]
    assert do(book, SETTLE) == []
    book.set_machine(0, 10, [5] * 16, 1 << 9, True)
    assert do(book, SETTLE) == [(1, 11, 100, 1)]


# ---- arrays


def test_arrays_of_requests_and_results(book: Book) -> None:
    requests = ask(11) + bid(1, size=2)
    results = book.apply(requests)
    assert len(results) == 3
    assert results.rows() == [
        (11, -1, 100, 1, 0, r.RESTS, 0),
        (1, 11, 100, 1, 1, r.MATCH, 0),
        (1, -1, 100, 1, 1, r.RESTS, 0),
    ]
    assert book.apply(bytearray(bid(2)), results) is results
    assert results.rows() == [(2, -1, 100, 1, 0, r.RESTS, 0)] and len(results) == 1
    assert book.apply(memoryview(b""), results) is results and len(results) == 0 and results.rows() == []
    with pytest.raises(BadBookValue, match=r"^requests has 55 bytes: it must be records of 56$"):
        book.apply(bid(3)[1:])
    with pytest.raises(BadBookValue):
        book.apply(bid(3) + bid(4)[1:])
    assert len(book) == 3
    for wrong in ("text", 5, None, [1]):
        with pytest.raises(TypeError):
            book.apply(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        book.apply(b"", b"")  # type: ignore[arg-type]


def test_arrays_of_numpy(book: Book) -> None:
    numpy = pytest.importorskip("numpy")
    requests = numpy.zeros(3, numpy.dtype(r.REQUEST_FIELDS))
    assert requests.itemsize == r.REQUEST.size == 56
    requests["kind"], requests["order"], requests["owner"] = r.BID, [5, 6, 7], [0, 1, 2]
    requests["price"], requests["size"], requests["spend"] = 100, 2, NO_BOUND
    assert book.apply(requests).rows() == [
        (5, -1, 100, 2, 0, r.RESTS, 0),
        (6, -1, 100, 2, 1, r.RESTS, 0),
        (7, 6, -1, 0, 2, r.REFUSED, r.BAD_VALUE),
    ]


def test_the_compiled_books_results_are_a_buffer() -> None:
    """PEP 3118, read-only; while somebody has a view they stay as they are."""
    from exchange import _book

    book = _book.Book()
    book.set_account(0, True, 1000)
    results = book.apply(bid(1) + bid(2, 2000))
    with memoryview(results) as view:
        assert (
            view.readonly
            and view.itemsize == r.RESULT.size == 40
            and view.shape == (2,)
            and view.nbytes == 80
        )
        assert list(r.RESULT.iter_unpack(view)) == [(*row, 0, 0) for row in results.rows()]
        before = bytes(view)
        with pytest.raises(BufferError):
            book.apply(bid(3), results)
        assert len(book) == 1 and bytes(view) == before
    numpy = pytest.importorskip("numpy")
    array = numpy.asarray(results)
    assert array.dtype == numpy.dtype(r.RESULT_FIELDS)
    assert array["what"].tolist() == [r.RESTS, r.REFUSED] and array["code"].tolist() == [0, r.UNFUNDED]
    with pytest.raises(BufferError):
        book.apply(bid(3), results)
    del array
    assert book.apply(bid(3), results) is results and len(book) == 2
    with memoryview(book.apply(b"")) as view:
        assert view.nbytes == 0


# ---- single calls


def test_single_calls_do_the_same(book: Book) -> None:
    assert book.ask(11, 0, 90, 5) == []
    assert book.bid(1, 0, 100, 2) == [(1, 11, 90, 2)]
    assert book.bid(2, 1, 100, 2, terms=IOC, spend=150) == [(2, 11, 90, 1)]
    assert book.bid(3, 0, 80, 4, expires=7) == []
    assert book.amend(3, 95, 3) == [(3, 11, 90, 2)]
    assert book.cancel(3) == 1 and book.cancel(11) == 0
    handle = book.keep_screen(Screen(flags=1 << 9))
    assert book.bid(4, 0, 100, 1, handle) == []
    assert book.ask(order_id(1, 11), 1, 100, 3, STANDING) == []
    assert book.amend(4, screen=0) == [(4, order_id(1, 11), 100, 1)]
    assert book.ask(12, 2, 80, 1, POST_ONLY, 5) == []
    assert do(book, request(r.EXPIRE, price=5)) == [("expired", 12, 1)]
    assert book.quote_bid(0, 100, 9, PLAIN) == Quote(2, 200, 100)


def test_no_single_call_while_something_waits_to_be_matched(book: Book) -> None:
    """It could not say what; nothing is changed, and SETTLE says it."""
    book.add_bid(1, 0, 100, 1, 1, PLAIN)
    book.add_ask(2, 0, 90, 1, 1)
    book.add_ask(3, 0, 95, 2, 2)
    calls: list[Callable[[], object]] = [
        lambda: book.bid(4, 1, 95, 1),
        lambda: book.ask(4, 0, 100, 1),
        lambda: book.amend(3, 96),
        lambda: book.cancel(3),
        lambda: book.cancel(99),
    ]
    for call in calls:
        with pytest.raises(UnsettledBook):
            call()
    assert do(book, SETTLE) == [(1, 2, 90, 1)]
    assert book.bid(4, 1, 95, 1) == [(4, 3, 95, 1)]
    assert do(book, give_back(1, 2)) == []
    for call in calls:
        with pytest.raises(BookError):
            call()
    assert do(book, SETTLE) == [(1, 2, 90, 1)]
    assert book.cancel(3) == 1
    book._check()


def test_an_order_arrives_after_all_that_the_book_was_told(book: Book) -> None:
    """R5: however late that was."""
    book.add_ask(1, 0, 100, 1, PLACE_MAX)
    book.add_ask(2, 0, 100, 1, INT64_MIN)
    do(book, ask(3), ask(4), amend(3, size=2))
    came = [said[1] for said in do(book, bid(9, size=9)) if len(said) == 4 and said[0] == 9]
    assert came == [2, 1, 4, 3]


def test_single_calls_raise_what_refuses_them(book: Book) -> None:
    do(book, ask(1, 100), bid(2, 50), bid(3, 50), cancel(3))
    refusals: list[tuple[str, int, Callable[[], object]]] = [
        ("cannot pay one hour", r.UNFUNDED, lambda: book.bid(9, 0, 1_000_001, 1)),
        ("all of it", r.NOT_WHOLE, lambda: book.bid(9, 0, 100, 2, terms=FOK)),
        ("match on arrival", r.WOULD_MATCH, lambda: book.ask(9, 0, 50, 1, POST_ONLY)),
        ("cannot pay one hour", r.UNFUNDED, lambda: book.amend(2, 1_000_001)),
    ]
    for says, code, call in refusals:
        with pytest.raises(OrderRefused, match=rf"^order [29] is refused: .*{says}") as caught:
            call()
        assert caught.value.code == code and str(caught.value).endswith(r.SAYS[code])
    errors: list[tuple[type[BookError], Callable[[], object]]] = [
        (DuplicateOrder, lambda: book.bid(2, 0, 1, 1)),
        (DuplicateOrder, lambda: book.ask(order_id(7, 1), 0, 1, 1)),
        (FinishedOrder, lambda: book.bid(3, 0, 1, 1)),
        (FinishedOrder, lambda: book.cancel(3)),
        (FinishedOrder, lambda: book.amend(3, 5)),
        (UnknownOrder, lambda: book.cancel(8)),
        (UnknownOrder, lambda: book.amend(2**63, 5)),
        (UnknownOrder, lambda: book.cancel(-(2**70))),
    ]
    for error, call in errors:
        with pytest.raises(error):
            call()
    with pytest.raises(BadBookValue, match=r"^order 1: the order is of the wrong side"):
        book.amend(1, screen=0)
    assert len(book) == 2
    book._check()


def test_single_calls_name_the_field_that_is_wrong(book: Book) -> None:
    do(book, ask(1, 100), bid(2, 50))
    calls: list[tuple[str, Callable[[], object]]] = [
        ("order is -1", lambda: book.bid(-1, 0, 1, 1)),
        (f"order is {2**63}", lambda: book.ask(2**63, 0, 1, 1)),
        ("account is 7", lambda: book.bid(9, 7, 1, 1)),
        ("machine is -1", lambda: book.ask(9, -1, 1, 1)),
        (f"account is {2**40}", lambda: book.bid(9, 2**40, 1, 1)),
        (f"machine is {-(2**40)}", lambda: book.ask(9, -(2**40), 1, 1)),
        ("price is -1", lambda: book.bid(9, 0, -1, 1)),
        (f"price is {2**70}", lambda: book.ask(9, 0, 2**70, 1)),
        ("size is 0", lambda: book.bid(9, 0, 1, 0)),
        (f"size is {2**31}", lambda: book.ask(9, 0, 1, 2**31)),
        ("screen is 77", lambda: book.bid(9, 0, 1, 1, 77)),
        ("screen is -1", lambda: book.bid(9, 0, 1, 1, -1)),
        ("terms is 7", lambda: book.bid(9, 0, 1, 1, terms=7)),
        ("terms is 260", lambda: book.bid(9, 0, 1, 1, terms=260)),
        ("terms is 4", lambda: book.ask(9, 0, 1, 1, terms=MARKET)),
        ("spend is -1", lambda: book.bid(9, 0, 1, 1, spend=-1)),
        ("expires is -1", lambda: book.ask(9, 0, 1, 1, expires=-1)),
        ("price is -2", lambda: book.amend(2, -2)),
        ("size is -2", lambda: book.amend(2, size=-2)),
        (f"size is {2**31}", lambda: book.amend(2, size=2**31)),
        ("screen is -2", lambda: book.amend(2, screen=-2)),
    ]
    for says, call in calls:
        with pytest.raises(
            BadBookValue, match=f"^{says}: (out of its range|it was never set|no screen is kept)"
        ):
            call()
    with pytest.raises(DuplicateOrder):
        book.bid(2, -1, -1, 0)
    with pytest.raises(TypeError):
        book.bid(9, 0, 1.0, 1)  # type: ignore[arg-type]
    assert len(book) == 2
