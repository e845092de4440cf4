"""The compiled book's own state: stored once, used again, and checked so that what is broken is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exchange import _book
from exchange.book import ASK, BID, PRICE_MAX, Book, Screen, order_id
from exchange.book_check import check_state
from exchange.twin_orders import PLAIN


def bid(
    book: Book, order: int, price: int = 100, slots: int = 1, screen: Screen = PLAIN, by: int = 0
) -> None:
    book.add_bid(order, by, price, slots, order, screen)


def ask(book: Book, order: int, machine: int = 0, price: int = 100, slots: int = 1) -> None:
    book.add_ask(order, machine, price, slots, order)


def test_equal_screens_are_stored_once_and_forgotten_with_their_last_bid() -> None:
    book = _book.Book()
    book.set_account(0, True, 1000)
    for order in range(50):
        book.add_bid(order, 0, 1, 1, order, Screen(flags=1 << order % 2))
    assert holders(book) == {Screen(flags=1): 25, Screen(flags=2): 25}
    for order in range(0, 50, 2):
        book.remove(order)
    book.rescreen(1, Screen(only=frozenset({5})))
    assert holders(book) == {Screen(only=frozenset({5})): 1, Screen(flags=2): 24}
    book._check()


def holders(book: _book.Book) -> dict[Screen, int]:
    """How many bids and keeps each screen has, but the one that asks nothing."""
    state: dict[str, Any] = book._state()
    tags = state["sides"][BID]["tags"]
    return {screen: tags[at]["holders"] for screen, at in state["interned"].items() if at}


def test_what_is_gone_is_used_again() -> None:
    """Indices, screens, kinds, partner entries, runs: many come and go, few are kept."""
    book = _book.Book()
    book.set_account(0, True, 1000)
    for turn in range(1000):
        book.set_machine(0, 1, [turn] * 16, turn, True)
        for index in range(5):
            bid_id, ask_id = order_id(turn, index), order_id(turn, index + 5)
            book.add_bid(bid_id, 0, turn + 1, 1, 2 * turn, Screen(flags=turn % 700))
            book.add_ask(ask_id, 0, turn + 2, 1, 2 * turn + 1)
            book.add_partner(bid_id, ask_id, 1)
        for index in range(10):
            book.remove(order_id(turn, index))
    state: dict[str, Any] = book._state()
    assert len(state["orders"]) == 10 and len(state["partners"]) == 6
    assert len(state["screens"]) <= 8
    assert len(state["sides"][ASK]["tags"]) <= 3
    book._check()


def test_empty_runs_do_not_pile_up() -> None:
    """Prices that nobody comes back to are forgotten, on both sides and whatever is best."""
    book = _book.Book()
    book.set_account(0, True, PRICE_MAX)
    book.set_machine(0, 1, [0] * 16, 0, True)
    book.add_bid(order_id(0, 0), 0, 10**9, 1, 0, PLAIN)
    book.add_ask(order_id(0, 1), 0, 10**9 + 1, 1, 1)
    for turn in range(1, 20_000):
        book.add_bid(order_id(turn, 2), 0, 10**9 - turn, 1, turn + 1, PLAIN)
        book.remove(order_id(turn, 2))
        book.add_ask(order_id(turn, 2 + 1), 0, 10**9 + turn, 1, turn + 1)
        book.remove(order_id(turn, 2 + 1))
        book.settled()
    state: dict[str, Any] = book._state()
    assert state["count_runs"] < 2000
    assert book.depth(BID) == [(10**9, 1)] and book.depth(ASK) == [(10**9 + 1, 1)]
    book._check()


def first_run(state: Any, side: int) -> Any:
    """The run of the first tag of a side that has one."""
    tags = state["sides"][side]["tags"].values()
    return state["runs"][next(tag["ranked"][-1]["id"] for tag in tags if tag["ranked"])]


# Slots 2, 3, 4 are bid 1, ask 2, bid 3.
BREAKS: list[tuple[str, Callable[[Any], object]]] = [
    ("count is 9", lambda s: s.update(count=9)),
    ("live is 0", lambda s: s["orders"][2].update(live=0)),
    ("slots differ", lambda s: s["orders"][2].update(id=7)),
    ("is empty and in use", lambda s: (s["orders"][2].update(there=1), s.update(count=2))),
    ("size and running", lambda s: s["orders"][2].update(running=-1)),
    ("place behind the last", lambda s: s.update(last_place=0)),
    ("sold once", lambda s: s["orders"][3].update(traits=3, running=1, size=2)),
    ("list of owner", lambda s: s["links"][2].update(owner_before=3)),
    ("KeyError", lambda s: s["orders"][2].update(owner=5)),
    ("without an owner", lambda s: s["accounts"][0].update(orders=0)),
    ("bounds", lambda s: s["accounts"][0].update(awake=99)),
    ("left something", lambda s: s["accounts"][0].update(taken=1)),
    ("open slots, not", lambda s: first_run(s, BID).update(open=5)),
    ("newest", lambda s: first_run(s, BID).update(newest=0)),
    ("before slot", lambda s: s["links"][4].update(before=3)),
    ("last is", lambda s: first_run(s, ASK).update(last=1)),
    ("runs that are listed", lambda s: s.update(listed=9)),
    ("table of runs", lambda s: s["table"].pop()),
    ("runs, not", lambda s: s.update(count_runs=9)),
    ("runs that are empty", lambda s: s.update(empty=1)),
    ("strays", lambda s: s["sides"][BID]["tags"][0].update(strays=1)),
    ("top of tag", lambda s: s["sides"][BID]["tags"][0].update(top=1)),
    ("place of the top", lambda s: s["sides"][BID]["tags"][0].update(top_place=9)),
    ("best of side 0", lambda s: s["sides"][BID]["best"].clear()),
    ("touched of side 0", lambda s: s["touched"][BID].append(dict(s["touched"][BID][0]))),
    ("who is in it", lambda s: s["touched"][BID].pop()),
    ("holders", lambda s: s["sides"][BID]["tags"][0].update(holders=9)),
    ("interned", lambda s: s["interned"].clear()),
    ("row of screen", lambda s: s["demands"][0].update(row=(0,) * 32)),
    ("columns of screen", lambda s: s["demands"][0].update(named=1)),
    ("accounts of screen", lambda s: s["demands"][0].update(accounts=([4], []))),
    ("columns of blocks", lambda s: s["sides"][BID]["named"].__setitem__(0, 1)),
    ("machines of kinds", lambda s: s["machines"][0].update(kind=2)),
    ("kinds that are the same", lambda s: s.update(kinds=2)),
    ("words are remembered", lambda s: s.update(words=7)),
    ("partner", lambda s: s["partners_of"].update({2: 0})),
    ("renewals", lambda s: s["renewals"].clear()),
    ("expiry", lambda s: s["orders"][2].update(expires=5)),
]


@pytest.mark.parametrize(("says", "broken"), BREAKS)
def test_the_check_finds_what_is_broken_and_shows_the_state(
    says: str, broken: Callable[[Any], object]
) -> None:
    book = _book.Book()
    book.set_account(0, True, 1000)
    book.set_machine(0, 1, [0] * 16, 0, True)
    bid(book, 1)
    ask(book, 2)
    bid(book, 3)
    book.add_partner(1, 2, 1)
    state = book._state()
    check_state(state)
    broken(state)
    with pytest.raises(AssertionError, match=r"(?s).+\norders: ") as caught:
        check_state(state)
    assert says in str(caught.value).splitlines()[0]
