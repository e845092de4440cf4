"""The rules one by one, on the compiled book and its twin: what a book is told, matches, and shows.

What it does when it is asked: test_book_asked.py.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange import _book
from exchange import book_records as r
from exchange import book_twin as twin
from exchange.book import (
    ASK,
    BID,
    ID_LIMIT,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    NOBODY,
    NUMBER_MAX,
    PLACE_MAX,
    PRICE_MAX,
    BadBookValue,
    Book,
    DuplicateOrder,
    FinishedOrder,
    Quote,
    Screen,
    UnknownOrder,
    make_book,
    order_id,
)
from exchange.book_records import request
from exchange.twin_orders import PLAIN

ROOT = Path(__file__).parents[2]
NONE = (INT32_MIN,) * 16


@pytest.fixture(params=["compiled", "twin"])
def book(request: pytest.FixtureRequest) -> Book:
    """Buyers 0 and 1 with money; machines 0..3 of sellers 10..13, all alike."""
    book = make_book(twin=request.param == "twin")
    for account in (0, 1):
        book.set_account(account, True, 1_000_000)
    for machine in range(4):
        book.set_machine(machine, 10 + machine, [5] * 16, 0b111, True)
    return book


def bid(
    book: Book, order: int, price: int = 100, slots: int = 1, screen: Screen = PLAIN, by: int = 0
) -> None:
    book.add_bid(order, by, price, slots, order, screen)


def ask(book: Book, order: int, machine: int = 0, price: int = 100, slots: int = 1) -> None:
    book.add_ask(order, machine, price, slots, order)


def least(attribute: int, minimum: int) -> Screen:
    return Screen(minimums=(*NONE[:attribute], minimum, *NONE[attribute + 1 :]))


SCREENS = [
    (PLAIN, True),
    (least(0, 5), True),
    (least(15, 5), True),
    (least(0, 6), False),
    (least(15, 6), False),
    (least(7, INT32_MAX), False),
    (Screen(flags=0b101), True),
    (Screen(flags=0b1000), False),
    (Screen(flags=1 << 511), False),
    (Screen(only=frozenset({3, 10, 77})), True),
    (Screen(only=frozenset({3, 11, 77})), False),
    (Screen(blocked=frozenset({3, 11})), True),
    (Screen(blocked=frozenset({3, 10, 11})), False),
    (Screen(only=frozenset({10}), blocked=frozenset({10})), False),
]


@pytest.mark.parametrize(("screen", "passes"), SCREENS)
def test_a_screen_decides_who_may_meet(book: Book, screen: Screen, passes: bool) -> None:
    """R6, from both sides, and whatever is shown of it."""
    bid(book, 1, screen=screen)
    ask(book, 2)
    assert book.next_match() == ((1, 2, 100, 1) if passes else None)
    book.settled()
    bid(book, 3, 101, screen=screen)
    assert book.next_match() == ((3, 2, 100, 1) if passes else None)
    assert book.quote_bid(0, 100, 5, screen) == (Quote(1, 100, 100) if passes else Quote(0, 0, 0))
    assert book.quote_ask(0, 100, 5) == (Quote(2, 201, 100) if passes else Quote(0, 0, 0))
    assert book.depth_for(screen) == ([(100, 1)] if passes else [])


@pytest.mark.parametrize("flag", [0, 63, 64, 300, 511])
@pytest.mark.parametrize("number", [INT32_MIN, -1, 0, INT32_MAX])
def test_flags_and_numbers_at_their_limits(book: Book, flag: int, number: int) -> None:
    bid(book, 1, screen=Screen((number,) * 16, 1 << flag))
    book.set_machine(0, 10, [number] * 16, (1 << 512) - 1 - (1 << flag), True)
    ask(book, 2)
    assert book.next_match() is None
    book.settled()
    book.set_machine(0, 10, [number] * 16, 1 << flag, True)
    assert book.next_match() == (1, 2, 100, 1)
    if number > INT32_MIN:
        book.set_machine(0, 10, [number] * 15 + [number - 1], 1 << flag, True)
        assert book.next_match() is None


def test_own_orders_never_meet(book: Book) -> None:
    """R6: passed over, whoever is behind them is served."""
    book.set_machine(0, 0, [5] * 16, 0, True)
    ask(book, 1, 0, price=90)
    ask(book, 2, 1, price=100)
    bid(book, 3)
    assert book.next_match() == (3, 2, 100, 1)
    assert book.quote_bid(0, 100, 9, PLAIN) == Quote(1, 100, 100)
    assert book.quote_bid(NOBODY, 100, 9, PLAIN) == Quote(2, 190, 100)
    assert book.quote_ask(0, 0, 9) == Quote(0, 0, 0)
    book.remove(2)
    assert book.next_match() is None
    book.settled()
    bid(book, 4, by=1)
    assert book.next_match() == (4, 1, 90, 1)


def test_price_then_time_on_both_sides(book: Book) -> None:
    """R5."""
    for order, price in ((1, 100), (2, 101), (3, 101)):
        bid(book, order, price)
    for order, price in ((11, 95), (12, 94), (13, 94)):
        ask(book, order, price=price)
    matches = []
    while (found := book.next_match()) is not None:
        matches.append(found[:3])
        book.set_open(found[0], 0)
        book.set_open(found[1], 0)
    assert matches == [(2, 12, 94), (3, 13, 94), (1, 11, 95)]


def test_place_is_what_counts_as_time_not_the_id_nor_the_call(book: Book) -> None:
    """R5."""
    for order, place in ((5, -3), (1, 7), (9, INT64_MIN), (3, PLACE_MAX), (order_id(2, 7), 8)):
        book.add_ask(order, 0, 100, 1, place)
    bid(book, 20, slots=9)
    came = []
    while (found := book.next_match()) is not None:
        came.append(found[1])
        book.remove(found[1])
    assert came == [9, 5, 1, order_id(2, 7), 3]


def test_the_price_is_the_asks_but_the_resting_bids_where_the_ask_arrives(book: Book) -> None:
    """R7."""
    bid(book, 1, 100)
    book.settled()
    ask(book, 2, price=90)
    assert book.next_match() == (1, 2, 90, 1)
    assert book.next_match(arriving=1) == (1, 2, 90, 1)
    assert book.next_match(arriving=2) == (1, 2, 100, 1)
    assert book.next_match(arriving=order_id(1, 2)) == (1, 2, 90, 1)
    assert book.next_match(arriving=INT64_MAX) == (1, 2, 90, 1)


def test_absent_buyers_and_machines_that_are_not_ready_are_passed_over(book: Book) -> None:
    """R6: and they keep their place."""
    bid(book, 1, by=1)
    bid(book, 2)
    ask(book, 11, 0)
    ask(book, 12, 1)
    book.set_account(1, False, 1_000_000)
    book.set_ready(0, False)
    assert book.next_match() == (2, 12, 100, 1)
    assert book.depth(BID) == [(100, 1)] and book.depth(ASK) == [(100, 1)]
    book.set_account(1, True, 1_000_000)
    book.set_ready(0, True)
    assert book.next_match() == (1, 11, 100, 1)
    book.set_machine(0, 10, [5] * 16, 0b111, False)
    assert book.next_match() == (1, 12, 100, 1)


def test_a_bid_sleeps_without_money_and_wakes_with_it(book: Book) -> None:
    """R11."""
    book.set_account(0, True, 99)
    bid(book, 1, 100)
    bid(book, 2, 99)
    ask(book, 11, price=50)
    assert book.next_match() == (2, 11, 50, 1)
    assert book.depth(BID) == [(99, 1)]
    book.remove(2)
    assert book.next_match() is None and book.best(BID) is None
    book.settled()
    book.set_account(0, True, 100)
    assert book.next_match() == (1, 11, 50, 1)
    book.set_account(0, True, INT64_MIN)
    assert book.next_match() is None


def test_a_bid_sleeps_when_it_has_spent_what_it_may(book: Book) -> None:
    """R3: at its limit, whatever the ask wants."""
    book.add_bid(1, 0, 100, 1, 1, PLAIN, 99)
    book.add_bid(2, 0, 90, 1, 2, PLAIN, 90)
    ask(book, 11, price=50)
    assert book.next_match() == (2, 11, 50, 1)
    book.set_spend(2, 89)
    assert book.next_match() is None and book.best(BID) is None
    book.settled()
    book.set_spend(1, 100)
    assert book.next_match() == (1, 11, 50, 1)
    book.reprice(1, 101, 1)
    assert book.next_match() is None
    book.set_spend(1, INT64_MAX)
    assert book.next_match() == (1, 11, 50, 1)
    book._check()


FREE_PRICE_SLOTS = [
    (100, 60, 1),
    (159, 60, 1),
    (160, 60, 2),
    (219, 60, 2),
    (220, 60, 3),
    (100, 0, 50),
    (INT64_MAX, 1, 50),
]


@pytest.mark.parametrize("what", ["free", "spend"])
@pytest.mark.parametrize(("money", "price", "slots"), FREE_PRICE_SLOTS)
def test_money_limits_the_slots(book: Book, what: str, money: int, price: int, slots: int) -> None:
    """R3, R11: one by one, the bid funded at its limit before each; what costs nothing is not limited."""
    book.set_account(0, True, money if what == "free" else INT64_MAX)
    book.add_bid(1, 0, 100, 50, 1, PLAIN, money if what == "spend" else INT64_MAX)
    ask(book, 2, price=price, slots=60)
    assert book.next_match() == (1, 2, price, slots)
    spend = money if what == "spend" else INT64_MAX
    assert book.quote_bid(0, 100, 50, PLAIN, spend) == Quote(slots, slots * price, price)


def test_a_returned_slot_comes_back_at_its_own_place(book: Book) -> None:
    """R10."""
    ask(book, 1)
    ask(book, 2)
    book.set_open(1, 0)
    bid(book, 3)
    assert book.next_match() == (3, 2, 100, 1)
    book.set_open(1, 1)
    assert book.next_match() == (3, 1, 100, 1)


def test_last_partners_come_first_among_asks_of_one_price(book: Book) -> None:
    """R14: of one price only, while slots are left, and no more slots than they had."""
    for order in (11, 12, 13):
        ask(book, order, slots=5)
    ask(book, 10, price=101, slots=5)
    bid(book, 1, 101, slots=5)
    for partner, slots in ((10, 5), (13, 2), (12, 1)):
        book.add_partner(1, partner, slots)
    assert book.next_match() == (1, 12, 100, 1)
    book.add_partner(1, 12, -1)
    assert book.next_match() == (1, 13, 100, 2)
    book.add_partner(1, 13, -INT32_MAX)
    assert book.next_match() == (1, 11, 100, 5)
    ask(book, 9, price=99)
    assert book.next_match() == (1, 9, 99, 1)


def test_partner_counts_never_fall_below_none_nor_run_over(book: Book) -> None:
    bid(book, 1, slots=INT32_MAX)
    ask(book, 2, slots=INT32_MAX)
    ask(book, 3, slots=INT32_MAX)
    book.add_partner(1, 3, -5)
    assert book.next_match() == (1, 2, 100, 10_000)
    for _ in range(3):
        book.add_partner(1, 3, INT32_MAX)
    assert book.next_match() == (1, 3, 100, 10_000)
    for _ in range(3):
        book.add_partner(1, 3, -INT32_MAX)
    assert book.next_match() == (1, 2, 100, 10_000)


@pytest.mark.parametrize("gone", [1, 3])
def test_an_order_that_is_removed_takes_its_partners_along(book: Book, gone: int) -> None:
    bid(book, 1)
    ask(book, 2)
    ask(book, 3)
    book.add_partner(1, 3, 1)
    book.remove(gone)
    again = order_id(1, gone)
    if gone == 1:
        book.add_bid(again, 0, 100, 1, 1, PLAIN)
    else:
        book.add_ask(again, 0, 100, 1, 3)
    assert book.next_match() == (again if gone == 1 else 1, 2, 100, 1)
    book._check()


def test_while_halted_only_partners_meet_and_the_others_wait(book: Book) -> None:
    """R21: and who waited meets when the halt ends."""
    bid(book, 1, 102)
    bid(book, 2, 101)
    ask(book, 11, 0, price=100)
    ask(book, 12, 1, price=100)
    assert book.next_match(partners_only=True) is None
    book.add_partner(2, 12, 3)
    assert book.next_match(partners_only=True) == (2, 12, 100, 1)
    book.clear_partners()
    assert book.next_match(partners_only=True) is None
    assert book.next_match() == (1, 11, 100, 1)


def test_a_query_changes_nothing(book: Book) -> None:
    bid(book, 1)
    ask(book, 2)
    assert [book.next_match() for _ in range(3)] == [(1, 2, 100, 1)] * 3
    assert book.depth(BID) == book.depth(ASK) == [(100, 1)]
    for _ in range(3):
        assert book.quote_bid(1, 100, 5, Screen(flags=1)) == Quote(1, 100, 100)
        assert book.quote_ask(3, 100, 5) == Quote(1, 100, 100)
        assert book.depth_for(Screen(flags=2)) == [(100, 1)]
    assert book.next_match() == (1, 2, 100, 1)
    book._check()


CHANGES = [
    "reprice",
    "rescreen",
    "open",
    "ready",
    "set_ready",
    "profile",
    "number",
    "seller",
    "present",
    "free",
]


@pytest.mark.parametrize("change", [*CHANGES, "spend"])
def test_whatever_may_make_a_pair_match_is_looked_at(book: Book, change: str) -> None:
    """Each starts from a settled book, with one thing missing."""
    screen = Screen(flags=1 << 9) if change in ("rescreen", "profile") else PLAIN
    screen = least(7, 6) if change == "number" else screen
    book.set_machine(0, 0 if change == "seller" else 10, [5] * 16, 1, change not in ("ready", "set_ready"))
    book.set_account(0, change != "present", 99 if change == "free" else 1000)
    book.add_bid(1, 0, 100, 0 if change == "open" else 1, 1, screen, 99 if change == "spend" else 1000)
    ask(book, 2, price=101 if change == "reprice" else 100)
    assert book.next_match() is None
    book.settled()
    if change == "reprice":
        book.reprice(2, 100, 2)
    elif change == "rescreen":
        book.rescreen(1, PLAIN)
    elif change == "open":
        book.set_open(1, 1)
    elif change == "spend":
        book.set_spend(1, 100)
    elif change in ("present", "free"):
        book.set_account(0, True, 1000)
    elif change == "set_ready":
        book.set_ready(0, True)
    elif change == "number":
        book.set_number(0, 7, 6)
    else:
        book.set_machine(0, 10, [5] * 16, 1 << 9, True)
    assert book.next_match() == (1, 2, 100, 1)
    book._check()


def test_machines_of_one_profile_are_told_apart(book: Book) -> None:
    """R27: another number of one of them is not the others'."""
    for order, machine in ((11, 0), (12, 1), (13, 2)):
        ask(book, order, machine)
    book.set_number(0, 3, 4)
    book.set_number(2, 3, 9)
    bid(book, 1, screen=least(3, 5))
    assert book.next_match() == (1, 12, 100, 1)
    book.remove(12)
    assert book.next_match() == (1, 13, 100, 1)
    book.set_number(2, 3, 4)
    assert book.next_match() is None
    book.settled()
    book.set_number(0, 3, 5)
    assert book.next_match() == (1, 11, 100, 1)


# ---- what is shown


def test_depth_adds_up_by_price_best_first(book: Book) -> None:
    for order, price, slots in ((1, 90, 2), (2, 95, 3), (3, 90, 4), (4, 94, 0)):
        bid(book, order, price, slots)
        ask(book, 10 + order, price=price + 100, slots=slots)
    assert book.depth(BID) == [(95, 3), (90, 6)] and book.best(BID) == 95
    assert book.depth(ASK) == [(190, 6), (195, 3)] and book.best(ASK) == 190
    assert book.depth(BID, 1) == [(95, 3)] and book.depth(ASK, most=1) == [(190, 6)]
    assert book.depth(BID, 0) == [] and book.depth(ASK, 2) == book.depth(ASK)
    assert len(book) == 8


def test_depth_adds_up_more_than_one_order_may_have(book: Book) -> None:
    for order in range(3):
        ask(book, order, slots=INT32_MAX)
    assert book.depth(ASK) == book.depth_for(PLAIN) == [(100, 3 * INT32_MAX)]


def test_depth_for_a_screen_shows_what_passes_it_only(book: Book) -> None:
    book.set_number(1, 0, 9)
    for order, machine, price in ((1, 0, 90), (2, 1, 91), (3, 0, 91), (4, 1, 95), (5, 1, 91)):
        ask(book, order, machine, price, slots=2)
    assert book.depth_for(PLAIN) == [(90, 2), (91, 6), (95, 2)]
    assert book.depth_for(least(0, 9)) == [(91, 4), (95, 2)]
    assert book.depth_for(least(0, 9), 94) == [(91, 4)] and book.depth_for(least(0, 9), 90) == []
    assert book.depth_for(least(0, 9), most=1) == [(91, 4)] and book.depth_for(PLAIN, 95, 0) == []
    assert book.depth_for(Screen(blocked=frozenset({11}))) == [(90, 2), (91, 2)]
    book.set_ready(1, False)
    assert book.depth_for(least(0, 9)) == []


def test_a_quote_of_a_bid_walks_the_asks(book: Book) -> None:
    """R5, R6, R11: best first, up to a size and a price, for its account's money and what it may spend."""
    for order, price, slots in ((1, 10, 2), (2, 20, 3), (3, 30, 4)):
        ask(book, order, 0, price, slots)
    assert book.quote_bid(0, 30, 9, PLAIN) == Quote(9, 200, 30)
    assert book.quote_bid(0, 30, 4, PLAIN) == Quote(4, 60, 20)
    assert book.quote_bid(0, 29, 9, PLAIN) == Quote(5, 80, 20)
    assert book.quote_bid(0, 9, 9, PLAIN) == book.quote_bid(0, 30, 0, PLAIN) == Quote(0, 0, 0)
    assert book.quote_bid(0, 30, 9, PLAIN, spend=60) == Quote(3, 40, 20)  # 20 are left: not one hour at 30
    assert book.quote_bid(0, 20, 9, PLAIN, spend=60) == Quote(4, 60, 20)
    assert book.quote_bid(0, 30, 9, PLAIN, spend=29) == Quote(0, 0, 0)
    book.set_account(0, True, 49)
    assert book.quote_bid(0, 30, 9, PLAIN) == Quote(2, 20, 10)
    book.set_account(0, False, 50)
    assert book.quote_bid(0, 30, 9, PLAIN) == Quote(3, 40, 20)  # it is not asked who is there
    assert book.quote_bid(NOBODY, 30, 9, PLAIN) == Quote(9, 200, 30)
    assert book.quote_bid(NOBODY, 30, 9, PLAIN, spend=60) == Quote(3, 40, 20)


def test_a_quote_for_nothing_costs_nothing(book: Book) -> None:
    ask(book, 1, 0, price=0, slots=INT32_MAX)
    ask(book, 2, 0, price=5)
    book.set_account(0, True, 0)
    assert book.quote_bid(0, 0, INT32_MAX, PLAIN) == Quote(INT32_MAX, 0, 0)
    book.set_account(0, True, -1)
    assert book.quote_bid(0, 0, INT32_MAX, PLAIN) == Quote(0, 0, 0)


def test_a_quote_of_an_ask_walks_the_bids(book: Book) -> None:
    """R5, R6, R11: each bid pays its own limit, from an account that another may have emptied before."""
    book.set_account(0, True, 100)
    bid(book, 1, 40, slots=2)
    book.add_bid(2, 1, 30, 9, 2, PLAIN, spend=65)
    bid(book, 3, 20, slots=9)
    bid(book, 4, 10, slots=9, screen=Screen(flags=1 << 9))
    assert book.quote_ask(0, 0, 99) == Quote(5, 160, 20)
    assert book.quote_ask(0, 0, 4) == Quote(4, 140, 30)
    assert book.quote_ask(0, 21, 99) == Quote(4, 140, 30)
    assert book.quote_ask(0, 41, 99) == book.quote_ask(0, 0, 0) == Quote(0, 0, 0)
    book.set_account(0, True, 119)  # after 80 there are 39: one at 20, and none of the 19 at 10
    book.rescreen(4, PLAIN)
    assert book.quote_ask(0, 0, 99) == Quote(6, 170, 10)
    book.set_ready(0, False)
    assert book.quote_ask(0, 30, 99) == Quote(4, 140, 30)  # it need not be ready
    book.set_account(1, False, 1000)
    assert book.quote_ask(0, 30, 99) == Quote(2, 80, 40)


def test_a_quote_of_an_ask_may_be_dearer_than_one_account_is_rich(book: Book) -> None:
    for account in (0, 1):
        book.set_account(account, True, INT64_MAX)
        bid(book, account, PRICE_MAX, slots=1, by=account)
        bid(book, 2 + account, PRICE_MAX - 1, slots=1, by=account)
    assert book.quote_ask(0, 0, 9) == Quote(4, 4 * PRICE_MAX - 2, PRICE_MAX - 1)


# ---- screens by handle


def test_a_screen_has_one_handle_as_long_as_it_is_kept(book: Book) -> None:
    first = book.keep_screen(least(0, 1))
    second = book.keep_screen(least(0, 2))
    assert first > 0 and second > 0 and first != second  # 0 is the screen that asks nothing
    assert book.keep_screen(least(0, 1)) == first
    book.drop_screen(first)
    assert book.keep_screen(least(0, 1)) == first
    for handle in (first, second, first):
        book.drop_screen(handle)
    for handle in (first, second, 0, -1, 2**31, 2**70, -(2**70)):
        with pytest.raises(BadBookValue, match=rf"^handle is {handle}: no screen is kept under it$"):
            book.drop_screen(handle)
    with pytest.raises(BadBookValue, match=r"^screen.flags"):
        book.keep_screen(Screen(flags=-1))
    book._check()


def test_keeping_the_screen_that_asks_nothing_is_no_exception(book: Book) -> None:
    handle = book.keep_screen(PLAIN)
    assert book.keep_screen(Screen()) == handle
    book.drop_screen(handle)
    book.drop_screen(handle)
    with pytest.raises(BadBookValue, match=r"^handle is 0"):
        book.drop_screen(0)
    bid(book, 1)
    ask(book, 2)
    assert book.next_match() == (1, 2, 100, 1)


def test_bids_keep_a_screen_that_is_dropped(book: Book) -> None:
    handle = book.keep_screen(Screen(flags=1 << 9))
    bid(book, 1, screen=Screen(flags=1 << 9))
    book.drop_screen(handle)
    ask(book, 2)
    assert book.next_match() is None
    book.settled()
    book.set_machine(0, 10, [5] * 16, 1 << 9, True)
    assert book.next_match() == (1, 2, 100, 1)
    book._check()


# ---- ids, limits, errors


def test_an_index_is_taken_again_and_an_id_never(book: Book) -> None:
    """R12."""
    names: list[Callable[[int], object]] = [
        lambda order: book.remove(order),
        lambda order: book.reprice(order, 1, 1),
        lambda order: book.rescreen(order, PLAIN),
        lambda order: book.set_open(order, 1),
        lambda order: book.set_spend(order, 1),
        lambda order: book.add_partner(order, 2, 1),
        lambda order: book.amend(order),
        lambda order: book.cancel(order),
    ]
    ask(book, 2, price=101)
    bid(book, order_id(5, 1))
    for number in (0, 4, 5, 6, NUMBER_MAX):
        with pytest.raises(DuplicateOrder, match=f"order {order_id(number, 1)} "):
            bid(book, order_id(number, 1))
    book.remove(order_id(5, 1))
    for number in (0, 4, 5):
        for name in names:
            with pytest.raises(FinishedOrder, match=f"order {order_id(number, 1)} "):
                name(order_id(number, 1))
        with pytest.raises(FinishedOrder):
            bid(book, order_id(number, 1))
        with pytest.raises(FinishedOrder):
            ask(book, order_id(number, 1))
    book.add_ask(order_id(NUMBER_MAX, 1), 0, 90, 1, 9)
    for number in (0, 5, 6, NUMBER_MAX - 1):
        for name in names:
            with pytest.raises(FinishedOrder, match=f"order {order_id(number, 1)} "):
                name(order_id(number, 1))
    assert book.depth(ASK) == [(90, 1), (101, 1)] and len(book) == 2
    book.remove(order_id(NUMBER_MAX, 1))
    with pytest.raises(FinishedOrder):
        bid(book, order_id(NUMBER_MAX, 1))
    book._check()


@pytest.mark.parametrize("order", [-1, -(2**28), 3, 2**28 + 1, 2**31, 2**62, 2**63, 2**64 + 1, -(2**70)])
def test_what_was_never_there_is_unknown(book: Book, order: int) -> None:
    bid(book, 1)
    ask(book, 2, price=101)
    calls: list[Callable[[], object]] = [
        lambda: book.remove(order),
        lambda: book.reprice(order, -1, 1),
        lambda: book.rescreen(order, PLAIN),
        lambda: book.set_open(order, -1),
        lambda: book.set_spend(order, -1),
        lambda: book.add_partner(order, 2, 1),
        lambda: book.add_partner(1, order, 2**40),
        lambda: book.amend(order, 5),
        lambda: book.cancel(order),
    ]
    for call in calls:
        with pytest.raises(UnknownOrder, match=f"^order {order} "):
            call()
    assert book.next_match() is None
    assert book.depth(BID) == [(100, 1)] and book.depth(ASK) == [(101, 1)]
    book._check()


def test_what_is_out_of_range_is_refused_and_named(book: Book) -> None:
    bid(book, 1)
    ask(book, 2)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("order is -1:", lambda: book.add_bid(-1, 0, 1, 1, 0, PLAIN)),
        ("order is 9223372036854775808:", lambda: book.add_ask(2**63, 0, 1, 1, 0)),
        ("price", lambda: bid(book, 5, PRICE_MAX + 1)),
        ("price", lambda: book.reprice(1, -1, 0)),
        ("open", lambda: book.set_open(1, 2**31)),
        ("open", lambda: ask(book, 5, slots=-1)),
        ("place", lambda: book.reprice(1, 1, 2**62 + 1)),
        ("place", lambda: book.reprice(1, 1, 2**63)),
        ("place", lambda: book.add_ask(5, 0, 1, 1, -(2**63) - 1)),
        ("spend", lambda: book.add_bid(5, 0, 1, 1, 0, PLAIN, -1)),
        ("spend", lambda: book.add_bid(5, 0, 1, 1, 0, PLAIN, 2**63)),
        ("spend", lambda: book.set_spend(1, -1)),
        ("account is -1:", lambda: bid(book, 5, by=-1)),
        ("account is 268435456:", lambda: book.set_account(ID_LIMIT, True, 0)),
        ("account 7 was never set: call set_account first$", lambda: bid(book, 5, by=7)),
        ("account 7 was never set: call set_account first$", lambda: book.quote_bid(7, 1, 1, PLAIN)),
        ("account is -2:", lambda: book.quote_bid(-2, 1, 1, PLAIN)),
        ("machine 7 was never set: call set_machine first$", lambda: ask(book, 5, 7)),
        ("machine 7 was never set: call set_machine first$", lambda: book.set_ready(7, True)),
        ("machine 7 was never set: call set_machine first$", lambda: book.set_number(7, 0, 0)),
        ("machine 7 was never set: call set_machine first$", lambda: book.quote_ask(7, 0, 0)),
        ("machine 9999 was never set: call set_machine first$", lambda: book.set_ready(9999, True)),
        ("machine is -1:", lambda: book.set_ready(-1, True)),
        ("attribute is 16:", lambda: book.set_number(0, 16, 0)),
        ("attribute is -1:", lambda: book.set_number(0, -1, 0)),
        ("value", lambda: book.set_number(0, 15, 2**31)),
        ("free", lambda: book.set_account(0, True, 2**63)),
        ("numbers has 17", lambda: book.set_machine(0, 10, [0] * 17, 0, True)),
        (r"numbers\[0\]", lambda: book.set_machine(0, 10, [2**31] + [0] * 15, 0, True)),
        ("flags", lambda: book.set_machine(0, 10, [0] * 16, -1, True)),
        ("flags", lambda: book.set_machine(0, 10, [0] * 16, 1 << 512, True)),
        ("screen.minimums", lambda: book.rescreen(1, Screen(minimums=()))),
        ("screen.flags", lambda: book.rescreen(1, Screen(flags=1 << 512))),
        ("screen.only", lambda: book.rescreen(1, Screen(only=frozenset({-1})))),
        ("screen.blocked", lambda: book.rescreen(1, Screen(blocked=frozenset({2**28})))),
        ("screen.flags", lambda: book.quote_bid(0, 1, 1, Screen(flags=1 << 512))),
        ("screen.flags", lambda: book.depth_for(Screen(flags=-1))),
        ("order 2 is an ask: only a bid has a screen$", lambda: book.rescreen(2, PLAIN)),
        ("order 2 is an ask: only a bid has a most to spend$", lambda: book.set_spend(2, -1)),
        ("bid is 2: this order is an ask$", lambda: book.add_partner(2, 2, 1)),
        ("ask is 1: this order is a bid$", lambda: book.add_partner(1, 1, 1)),
        ("slots", lambda: book.add_partner(1, 2, 2**31)),
        ("price", lambda: book.quote_bid(0, -1, 1, PLAIN)),
        ("size", lambda: book.quote_bid(0, 1, -1, PLAIN)),
        ("spend", lambda: book.quote_bid(0, 1, 1, PLAIN, -1)),
        ("price", lambda: book.quote_ask(0, PRICE_MAX + 1, 1)),
        ("size", lambda: book.quote_ask(0, 1, 2**31)),
        ("price", lambda: book.depth_for(PLAIN, -1)),
        ("most", lambda: book.depth_for(PLAIN, 1, -1)),
        ("most", lambda: book.depth(BID, 2**31)),
        ("side", lambda: book.depth(2)),
        ("side", lambda: book.best(-1)),
        ("arriving", lambda: book.next_match(-2)),
        ("arriving", lambda: book.next_match(2**63)),
    ]
    for says, call in calls:
        with pytest.raises(BadBookValue, match=f"^{says}"):
            call()
    for wrong in (1.0, "1", None):
        with pytest.raises(TypeError):
            book.set_open(1, wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            book.remove(wrong)  # type: ignore[arg-type]
    book._check()
    assert book.next_match() == (1, 2, 100, 1)
    assert len(book) == 2


def test_arguments_are_checked_from_left_to_right(book: Book) -> None:
    bid(book, 1)
    with pytest.raises(DuplicateOrder):
        book.add_bid(1, -1, -1, -1, 2**63, Screen(flags=-1), -1)
    with pytest.raises(BadBookValue, match=r"^account"):
        book.add_bid(2, -1, -1, -1, 2**63, Screen(flags=-1), -1)
    with pytest.raises(BadBookValue, match=r"^price"):
        book.add_bid(2, 0, -1, -1, 2**63, Screen(flags=-1), -1)
    with pytest.raises(BadBookValue, match=r"^open"):
        book.add_bid(2, 0, 1, -1, 2**63, Screen(flags=-1), -1)
    with pytest.raises(BadBookValue, match=r"^place"):
        book.add_bid(2, 0, 1, 1, 2**63, Screen(flags=-1), -1)
    with pytest.raises(BadBookValue, match=r"^screen\.flags"):
        book.add_bid(2, 0, 1, 1, 0, Screen(flags=-1), -1)
    with pytest.raises(BadBookValue, match=r"^spend"):
        book.add_bid(2, 0, 1, 1, 0, PLAIN, -1)
    with pytest.raises(UnknownOrder):
        book.reprice(9, -1, 2**63)
    assert len(book) == 1


def test_the_highest_indices_work(book: Book) -> None:
    high = ID_LIMIT - 1
    book.set_account(2**16, True, 1000)
    book.add_bid(order_id(NUMBER_MAX, high), 2**16, 100, 1, 0, PLAIN)
    ask(book, 1)
    assert book.next_match() == (INT64_MAX, 1, 100, 1)
    book.remove(INT64_MAX)
    with pytest.raises(FinishedOrder):
        book.add_bid(high, 2**16, 100, 1, 0, PLAIN)


def test_the_twins_check_can_fail() -> None:
    book = twin.Book()
    book.set_account(0, True, 1000)
    bid(book, 1)
    book._check()
    book.orders[1].size = 0
    with pytest.raises(AssertionError, match=r"(?s)live Bids.*orders: "):
        book._check()


PEEK = """
from exchange._book cimport Book
from exchange._match cimport Pair, find

def first(Book book):
    cdef Pair pair
    cdef bint found
    with nogil:
        found = find(&book.core, &pair)
    return (book.core.orders[pair.bid].id, book.core.orders[pair.ask].id) if found else None
"""
USE = """
import peek
from exchange.book import Screen, make_book

book = make_book()
book.set_account(0, True, 1000)
book.set_machine(0, 1, [0] * 16, 0, True)
book.add_bid(7, 0, 100, 1, 1, Screen())
assert peek.first(book) is None
book.add_ask(8, 0, 100, 1, 2)
assert peek.first(book) == (7, 8)
"""


def test_another_extension_can_cimport_the_book(tmp_path: Path) -> None:
    """It reaches the structures and the C methods through `_book.pxd`, without Python's lock."""
    (tmp_path / "peek.pyx").write_text(PEEK)
    python, include = sys.executable, sysconfig.get_path("include")
    for command in (
        [python, "-m", "cython", "-3", "-Werror", "-I", str(ROOT), "peek.pyx"],
        ["cc", "-shared", "-fPIC", "-O0", f"-I{include}", f"-I{ROOT}/exchange", "peek.c", "-o", "peek.so"],
        [python, "-c", USE],
    ):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr


def test_c_code_can_use_the_book_by_its_capsule() -> None:
    """`__pyx_capi__` has the function that does an array of requests."""
    capsule = _book.__pyx_capi__["done"]  # type: ignore[attr-defined]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    arguments = ctypes.py_object, ctypes.c_char_p, ctypes.c_int64, ctypes.py_object
    done = ctypes.PYFUNCTYPE(ctypes.c_int, *arguments)(address)
    book, results = _book.Book(), _book.Results()
    book.set_account(0, True, 1000)
    book.set_machine(0, 1, [0] * 16, 0, True)
    asked = request(r.BID, 7, owner=0, price=100, size=1) + request(r.ASK, 8, owner=0, price=90, size=1)
    assert done(book, asked, 2, results) == 0
    assert [row[:4] for row in results.rows()] == [(7, -1, 100, 1), (7, 8, 100, 1), (8, -1, 90, 0)]


def test_the_book_without_wide_instructions_is_the_same_book() -> None:
    """COREHOUR_NARROW has it compare columns as every x86_64 can; with many kinds and screens."""
    program = (
        "from tests.exchange.book_flow import STYLES, Flow\nfor s in STYLES: Flow(5, s).run(1500, checks=5)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "COREHOUR_NARROW": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
