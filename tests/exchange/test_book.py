"""The rules of matching, one by one, on the compiled book and on its twin."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from exchange import _book
from exchange.book import (
    ASK,
    BID,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    PRICE_MAX,
    BadBookValue,
    Book,
    Screen,
    make_book,
)
from exchange.book_check import check_state
from tests.exchange.book_lockstep import PLAIN

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


@pytest.mark.parametrize(
    ("screen", "passes"),
    [
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
    ],
)
def test_a_screen_decides_who_may_meet(book: Book, screen: Screen, passes: bool) -> None:
    """R6, from both sides."""
    bid(book, 1, screen=screen)
    ask(book, 2)
    assert book.next_match() == ((1, 2, 100, 1) if passes else None)
    book.settled()
    bid(book, 3, 101, screen=screen)
    assert book.next_match() == ((3, 2, 100, 1) if passes else None)


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


def test_the_price_is_the_asks_but_the_resting_bids_where_the_ask_arrives(book: Book) -> None:
    """R7."""
    bid(book, 1, 100)
    book.settled()
    ask(book, 2, price=90)
    assert book.next_match() == (1, 2, 90, 1)
    assert book.next_match(arriving=1) == (1, 2, 90, 1)
    assert book.next_match(arriving=2) == (1, 2, 100, 1)


def test_absent_buyers_and_machines_that_are_not_ready_are_passed_over(book: Book) -> None:
    """R6: and they keep their place."""
    bid(book, 1, by=1)
    bid(book, 2)
    ask(book, 11, 0)
    ask(book, 12, 1)
    book.set_account(1, False, 1_000_000)
    book.set_machine(0, 10, [5] * 16, 0, False)
    assert book.next_match() == (2, 12, 100, 1)
    assert book.depth(BID) == [(100, 1)] and book.depth(ASK) == [(100, 1)]
    book.set_account(1, True, 1_000_000)
    book.set_machine(0, 10, [5] * 16, 0, True)
    assert book.next_match() == (1, 11, 100, 1)


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


@pytest.mark.parametrize(
    ("free", "price", "slots"),
    [(100, 60, 1), (159, 60, 1), (160, 60, 2), (219, 60, 2), (220, 60, 3), (100, 0, 50), (INT64_MAX, 1, 50)],
)
def test_money_limits_the_slots(book: Book, free: int, price: int, slots: int) -> None:
    """R11: one by one, the bid funded at its limit before each; what costs nothing is not limited."""
    book.set_account(0, True, free)
    bid(book, 1, 100, slots=50)
    ask(book, 2, price=price, slots=60)
    assert book.next_match() == (1, 2, price, slots)


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


def test_partner_counts_never_fall_below_none(book: Book) -> None:
    bid(book, 1)
    ask(book, 2)
    ask(book, 3)
    book.add_partner(1, 3, -5)
    assert book.next_match() == (1, 2, 100, 1)
    book.add_partner(1, 3, 1)
    assert book.next_match() == (1, 3, 100, 1)


@pytest.mark.parametrize("gone", [1, 3])
def test_an_order_that_is_removed_takes_its_partners_along(book: Book, gone: int) -> None:
    bid(book, 1)
    ask(book, 2)
    ask(book, 3)
    book.add_partner(1, 3, 1)
    book.remove(gone)
    (bid if gone == 1 else ask)(book, gone)
    assert book.next_match() == (1, 2, 100, 1)
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


@pytest.mark.parametrize(
    "change", ["reprice", "rescreen", "open", "ready", "profile", "seller", "present", "free"]
)
def test_whatever_may_make_a_pair_match_is_looked_at(book: Book, change: str) -> None:
    """Each starts from a settled book, with one thing missing."""
    screen = Screen(flags=1 << 9) if change in ("rescreen", "profile") else PLAIN
    book.set_machine(0, 0 if change == "seller" else 10, [5] * 16, 1, change != "ready")
    book.set_account(0, change != "present", 99 if change == "free" else 1000)
    bid(book, 1, 100, 0 if change == "open" else 1, screen)
    ask(book, 2, price=101 if change == "reprice" else 100)
    assert book.next_match() is None
    book.settled()
    if change == "reprice":
        book.reprice(2, 100, 2)
    elif change == "rescreen":
        book.rescreen(1, PLAIN)
    elif change == "open":
        book.set_open(1, 1)
    elif change in ("present", "free"):
        book.set_account(0, True, 1000)
    else:
        book.set_machine(0, 10, [5] * 16, 1 << 9, True)
    assert book.next_match() == (1, 2, 100, 1)
    book._check()


def test_depth_adds_up_by_price_best_first(book: Book) -> None:
    for order, price, slots in ((1, 90, 2), (2, 95, 3), (3, 90, 4), (4, 94, 0)):
        bid(book, order, price, slots)
        ask(book, 10 + order, price=price + 100, slots=slots)
    assert book.depth(BID) == [(95, 3), (90, 6)] and book.best(BID) == 95
    assert book.depth(ASK) == [(190, 6), (195, 3)] and book.best(ASK) == 190
    assert len(book) == 8


def test_what_is_out_of_range_is_refused_and_named(book: Book) -> None:
    bid(book, 1)
    ask(book, 2)
    for field, call in (
        ("order", lambda: bid(book, 2**28)),
        ("price", lambda: bid(book, 5, PRICE_MAX + 1)),
        ("price", lambda: book.reprice(1, -1, 0)),
        ("open", lambda: book.set_open(1, 2**31)),
        ("open", lambda: ask(book, 5, slots=-1)),
        ("place", lambda: book.reprice(1, 1, 2**63)),
        ("account 7 ", lambda: bid(book, 5, by=7)),
        ("machine 7 ", lambda: ask(book, 5, 7)),
        ("free", lambda: book.set_account(0, True, 2**63)),
        ("numbers", lambda: book.set_machine(0, 10, [0] * 17, 0, True)),
        ("numbers", lambda: book.set_machine(0, 10, [2**31] + [0] * 15, 0, True)),
        ("flags", lambda: book.set_machine(0, 10, [0] * 16, -1, True)),
        ("screen.minimums", lambda: book.rescreen(1, Screen(minimums=()))),
        ("screen.flags", lambda: book.rescreen(1, Screen(flags=1 << 512))),
        ("screen.only", lambda: book.rescreen(1, Screen(only=frozenset({-1})))),
        ("screen.blocked", lambda: book.rescreen(1, Screen(blocked=frozenset({2**28})))),
        ("order 2 is an ask", lambda: book.rescreen(2, PLAIN)),
        ("bid is 2", lambda: book.add_partner(2, 2, 1)),
        ("ask is 1", lambda: book.add_partner(1, 1, 1)),
        ("slots", lambda: book.add_partner(1, 2, 2**31)),
        ("side", lambda: book.depth(2)),
        ("side", lambda: book.best(-1)),
        ("arriving", lambda: book.next_match(-2)),
    ):
        with pytest.raises(BadBookValue, match=f"^{field}"):
            call()
    with pytest.raises(TypeError):
        book.set_open(1, 1.0)  # type: ignore[arg-type]
    book._check()
    assert book.next_match() == (1, 2, 100, 1)


def test_the_highest_ids_work(book: Book) -> None:
    high = 2**28 - 1
    book.set_account(2**16, True, 1000)
    book.add_bid(high, 2**16, 100, 1, 0, PLAIN)
    ask(book, 1)
    assert book.next_match() == (high, 1, 100, 1)


def test_equal_screens_are_stored_once_and_forgotten_with_their_last_bid() -> None:
    book = _book.Book()
    book.set_account(0, True, 1000)
    for order in range(50):
        book.add_bid(order, 0, 1, 1, order, Screen(flags=1 << order % 2))
    assert book._state()["bids_of_screens"] == [0, 25, 25]
    for order in range(0, 50, 2):
        book.remove(order)
    book.rescreen(1, Screen(only=frozenset({5})))
    assert book._state()["bids_of_screens"] == [0, 1, 24]
    book._check()


def test_adding_and_removing_uses_the_same_slots_again() -> None:
    book = _book.Book()
    book.set_account(0, True, 1000)
    book.set_machine(0, 1, [0] * 16, 0, True)
    for turn in range(1000):
        for order in range(5):
            book.add_bid(order, 0, 1, 1, turn, Screen(flags=turn % 7))
            book.add_ask(order + 5, 0, 2, 1, turn)
            book.add_partner(order, order + 5, 1)
        for order in range(10):
            book.remove(order)
    state = book._state()
    assert len(state["orders"]) == 11 and len(state["partners"]) == 6  # type: ignore[arg-type]
    assert len(state["screens"]) <= 8  # type: ignore[arg-type]


BREAKS = [
    ("count", lambda s: s.update(count=9)),
    ("live", lambda s: s["orders"][1].update(live=0)),
    ("touched", lambda s: s["orders"][1].update(touched=0)),
    ("slots differ", lambda s: s["slots"].update({1: 2})),
    ("list of owner", lambda s: s["orders"][2].update(owner_before=1)),
    ("KeyError", lambda s: s["orders"][1].update(owner=5)),
    ("without an owner", lambda s: s["accounts"][0].update(orders=0)),
    ("bounds", lambda s: s["accounts"][0].update(lowest=101)),
    ("bids", lambda s: s["bids_of_screens"].__setitem__(1, 9)),
    ("interned", lambda s: s["interned"].clear()),
    ("partner", lambda s: s["orders"][1].update(partners=0)),
    ("list before", lambda s: s["orders"][1]["links"][0].update(before=2)),
    ("live tree", lambda s: s["live"][0].update(root=0)),
    ("touched list", lambda s: s["touched"][1].update(first=0)),
    ("cursor", lambda s: (s["orders"][3].update(live=0, id=-1), s.update(cursor=3))),
]


@pytest.mark.parametrize(("says", "broken"), BREAKS)
def test_the_check_finds_what_is_broken_and_shows_the_state(says: str, broken: object) -> None:
    book = _book.Book()
    book.set_account(0, True, 1000)
    book.set_machine(0, 1, [0] * 16, 0, True)
    bid(book, 1)
    ask(book, 2)
    bid(book, 3)
    book.add_partner(1, 2, 1)
    state = book._state()
    check_state(state)
    broken(state)  # type: ignore[operator]
    with pytest.raises(AssertionError, match=r"(?s).+\norders: ") as caught:
        check_state(state)
    assert says in str(caught.value).splitlines()[0] or says == "cursor"


def test_the_twins_check_can_fail() -> None:
    book = make_book(twin=True)
    book.set_account(0, True, 1000)
    bid(book, 1)
    book._check()
    book._orders[1].open = 0  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="live of side 0"):
        book._check()


PEEK = """
from exchange._book cimport Book, Pair

def first(Book book):
    cdef Pair pair
    cdef bint found
    with nogil:
        found = book.find(&pair)
    return (book.orders[pair.bid].id, book.orders[pair.ask].id) if found else None
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
        ["cc", "-shared", "-fPIC", "-O0", f"-I{include}", "peek.c", "-o", "peek.so"],
        [python, "-c", USE],
    ):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
