"""What somebody did, or could do, to make the compiled book crash, lie, grow, or take its time."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from exchange import _book
from exchange import book_records as r
from exchange.book import (
    ASK,
    BID,
    NOBODY,
    PRICE_MAX,
    BadBookValue,
    Book,
    BookError,
    FinishedOrder,
    OrderRefused,
    Quote,
    Screen,
    UnknownOrder,
    UnsettledBook,
    make_book,
    order_id,
)
from exchange.book_records import request
from exchange.twin_orders import PLAIN


@pytest.fixture(params=["compiled", "twin"])
def book(request: pytest.FixtureRequest) -> Book:
    return told(make_book(twin=request.param == "twin"))


def as_any(thing: object) -> Any:
    return thing


def told(book: Book) -> Book:
    """A buyer with money, and two machines of two sellers."""
    book.set_account(0, True, 10**12)
    book.set_machine(0, 1, [0] * 16, 0, True)
    book.set_machine(1, 2, [0] * 16, 0, True)
    return book


class Calls:
    """An integer that does something when it is looked at."""

    def __init__(self, does: Callable[[], object], value: int) -> None:
        self.does: Callable[[], object] | None = does
        self.value = value

    def __index__(self) -> int:
        does, self.does = self.does, None
        if does is not None:
            does()
        return self.value


def test_arguments_that_call_back_find_the_book_as_it_is() -> None:
    book, anything = told(_book.Book()), as_any(Calls)
    book.add_ask(5, 0, 10, 1, 1)
    with pytest.raises(FinishedOrder):
        book.reprice(5, anything(lambda: book.remove(5), 20), 2)
    book.add_ask(6, 0, 10, 1, 1)

    def take_its_index() -> None:
        book.remove(6)
        book.add_ask(order_id(1, 6), 0, 10, 7, 3)

    with pytest.raises(FinishedOrder):
        book.set_open(6, anything(take_its_index, 9))
    assert book.depth(ASK) == [(10, 7)]
    with pytest.raises(BookError):
        book.add_bid(7, anything(lambda: book.add_bid(7, 0, 10, 1, 1, PLAIN), 0), 20, 1, 2, PLAIN)
    with pytest.raises(BadBookValue):
        book.add_ask(8, anything(lambda: None, 2**28 - 1), 10, 1, 1)
    book._check()


def test_screens_are_what_they_are_and_no_more(book: Book) -> None:
    """Parts of other types become what they should be; equal screens are one."""
    odd: Any = Screen(only=(1, 1))  # type: ignore[arg-type]
    first, second = book.keep_screen(Screen(only=frozenset({1}))), book.keep_screen(odd)
    assert first == second
    book.add_bid(1, 0, 10, 1, 1, odd)
    book.add_bid(2, 0, 10, 1, 2, Screen(only=frozenset({1})))
    book.drop_screen(first)
    book.drop_screen(second)
    book.remove(1)
    assert [row[5] for row in book.apply(request(r.CANCEL, 2)).rows()] == [r.GONE]
    for wrong in (Screen(minimums=(1.0,) * 16), Screen(flags=1.0), Screen(only=1)):  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            book.keep_screen(wrong)
    book._check()


def test_flags_are_read_from_plain_integers() -> None:
    class Flags(int):
        def to_bytes(self, *_: object, **__: object) -> bytes:
            return b""

    book = told(_book.Book())
    book.set_machine(2, 1, [0] * 16, Flags(1), True)
    book.add_ask(1, 2, 10, 1, 1)
    assert book.depth_for(Screen(flags=1)) == [(10, 1)] and book.depth_for(Screen(flags=2)) == []


def test_results_are_not_their_own_requests() -> None:
    book, results = told(_book.Book()), _book.Results()
    book.apply(b"".join(request(r.ASK, order, owner=0, price=9, size=1) for order in range(7)), results)
    with pytest.raises(BufferError):
        book.apply(results, results)
    assert len(results) == 7 and len(book) == 7


def test_buffers_of_other_things_are_refused() -> None:
    numpy = pytest.importorskip("numpy")
    book = told(_book.Book())
    dtype = numpy.dtype(r.REQUEST_FIELDS)
    asked = numpy.zeros(2, dtype)
    asked["kind"], asked["order"], asked["owner"], asked["size"] = r.ASK, [1, 2], 0, 1
    assert len(book.apply(asked)) == 2
    for wrong in (numpy.zeros(7), asked.astype(dtype.newbyteorder(">"))):
        with pytest.raises(BadBookValue, match=r"^requests has other items"):
            book.apply(wrong)
    odd = memoryview(b"." + request(r.CANCEL, 1) + request(r.CANCEL, 2))[1:]  # not on its boundary
    assert [row[5] for row in book.apply(odd).rows()] == [r.GONE, r.GONE]


def test_a_collection_amid_a_query_changes_no_answer() -> None:
    """Whatever a garbage collection has somebody do."""
    book = told(_book.Book())
    for order in range(3000):
        book.add_ask(order, order % 2, order + 1, 1, order)
    busy = False

    def meddle(phase: str, info: dict[str, int]) -> None:
        nonlocal busy
        if not busy:
            busy = True
            book.set_number(0, 0, 1 + len(book))
            book.depth(ASK, 3)
            busy = False

    gc.callbacks.append(meddle)
    threshold = gc.get_threshold()
    try:
        gc.set_threshold(1)
        assert book.depth(ASK) == [(price + 1, 1) for price in range(3000)]
        assert book.depth_for(PLAIN) == [(price + 1, 1) for price in range(3000)]
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(meddle)
    book._check()


def test_refused_orders_take_no_memory() -> None:
    book = told(_book.Book())
    for index in range(1, 20):
        assert book.apply(request(r.BID, index * 10**7, owner=77, price=1, size=1)).rows()[0][5] == r.REFUSED
    assert book.apply(request(r.READY, owner=2**27, size=1)).rows()[0][5] == r.REFUSED
    state = as_any(book)._state()
    assert not state["orders"]


def test_empty_runs_are_swept_whatever_is_best() -> None:
    """With many kinds of machine, too."""
    book = told(_book.Book())
    for kind in range(80):
        book.set_machine(kind, 1, [kind] * 16, 0, True)
        book.add_ask(kind, kind, 1, 1, kind)
    for turn in range(1, 20_000):
        order = order_id(turn, 100)
        book.apply(request(r.ASK, order, owner=turn % 80, price=10 + turn, size=1) + request(r.CANCEL, order))
    state = as_any(book)._state()
    assert state["count_runs"] < 1200
    book._check()


def test_many_asks_that_are_touched_together_do_not_look_again_and_again() -> None:
    """An hour's end: this would take minutes if each match had all asks look for another bid."""
    book = told(_book.Book())
    count = 20_000
    asked = []
    for kind in range(50):
        book.set_machine(kind, 1, [kind] * 16, 0, True)
    screens = [book.keep_screen(Screen(minimums=(least,) + (-5,) * 15)) for least in range(40)]
    for order in range(count):
        asked.append(request(r.ASK, order, owner=order % 50, price=10 + order % 7, size=1))
        asked.append(
            request(r.BID, count + order, owner=0, price=30 + order % 5, size=1, screen=screens[order % 40])
        )
    matched = [row for row in book.apply(b"".join(asked)).rows() if row[5] == r.MATCH]
    returned = b"".join(request(r.RETURN, row[0], other=row[1], size=1) for row in matched)
    book.apply(returned)
    again = [row for row in book.apply(request(r.SETTLE)).rows() if row[5] == r.MATCH]
    assert len(again) >= len(matched) > count // 2
    book.apply(returned[: len(returned) // 56 // 2 * 56])
    book._check()


def test_one_bid_with_many_partners_is_renewed_with_all() -> None:
    book = told(_book.Book())
    count = 5000
    for order in range(count):
        book.apply(request(r.ASK, order, owner=order % 2, price=10, size=1))
    matched = book.apply(request(r.BID, count, owner=0, price=10, size=count)).rows()[:-1]
    assert len(matched) == count
    for order in range(10):  # strangers, who came later
        book.apply(request(r.ASK, count + 1 + order, owner=1, price=10, size=1))
    for _ in range(2):
        book.apply(b"".join(request(r.RETURN, count, other=row[1], size=1) for row in matched))
        renewed = book.apply(request(r.SETTLE)).rows()
        assert {row[1] for row in renewed} == set(range(count))


def test_strangers_before_the_partners_do_not_hide_them(book: Book) -> None:
    """R14: among asks of one price a last partner comes first, wherever it stands."""
    for order in range(100):
        book.apply(request(r.ASK, order, owner=0, price=10, size=1))
    found = book.apply(request(r.BID, 200, owner=0, price=10, size=1)).rows()
    assert found[0][:2] == (200, 0)
    book.apply(request(r.AMEND, 0, price=11) + request(r.AMEND, 0, price=10))  # now it stands last
    book.apply(request(r.RETURN, 200, other=0, size=1))
    assert book.apply(request(r.SETTLE)).rows()[0][:2] == (200, 0)


def test_money_around_one_limit_wakes_and_lets_sleep_who_should(book: Book) -> None:
    for order, price in enumerate((2, 2, 50, 1000)):
        book.add_bid(order, 0, price, 1, order, PLAIN)
    for free, live in ((1, []), (2, [2]), (49, [2]), (50, [50, 2]), (999, [50, 2]), (10**4, [1000, 50, 2])):
        book.set_account(0, True, free)
        assert [price for price, _ in book.depth(BID)] == live
        book.set_account(0, True, 3)
        assert [price for price, _ in book.depth(BID)] == [2]
    book._check()


def test_nobodys_quote_knows_no_money(book: Book) -> None:
    for order in range(10):
        book.add_ask(order, 0, PRICE_MAX, 1, order)
    assert book.quote_bid(NOBODY, PRICE_MAX, 10, PLAIN) == Quote(10, 10 * PRICE_MAX, PRICE_MAX)
    assert book.quote_bid(NOBODY, PRICE_MAX, 10, PLAIN, PRICE_MAX) == Quote(1, PRICE_MAX, PRICE_MAX)
    book.set_account(0, True, -1)
    assert book.quote_bid(0, PRICE_MAX, 10, PLAIN) == Quote(0, 0, 0)


def test_errors_can_be_sent_to_another_process() -> None:
    errors = [UnknownOrder(7), OrderRefused(6, "no"), UnsettledBook(), BadBookValue("price is 7: no")]
    for error in errors:
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.args) == (type(error), str(error), error.args)


@pytest.mark.parametrize("seed", range(12))
def test_many_slots_that_return_together_meet_as_in_the_twin(seed: int) -> None:
    """More asks touched than are looked at one by one; buyers who sell, screens, lists, and little money."""
    dice = Random(seed)
    books = [_book.Book(), make_book(twin=True)]
    screens = [Screen()]
    for _ in range(6):
        minimums = tuple(dice.choice([-1, 0, 1, 2, 3]) if at < 2 else -9 for at in range(16))
        refused = frozenset(dice.sample(range(5), dice.choice([0, 0, 1, 2])))
        screens.append(Screen(minimums, dice.choice([0, 0, 1]), frozenset(), refused))
    handles = [[book.keep_screen(screen) for screen in screens] for book in books]
    for book in books:
        for account in range(5):
            book.set_account(account, True, 10**6 if account else 900)
    for machine in range(25):
        numbers, flags = [dice.randrange(4) for _ in range(16)], dice.choice([0, 1])
        for book in books:
            book.set_machine(machine, machine % 5, numbers, flags, True)
    contracts: list[tuple[int, int, int]] = []
    for turn in range(40):
        asked: list[tuple[dict[str, int], int]] = []  # a request's fields, and which screen
        for order in range(40):
            id_ = order_id(turn, order + 100 * (turn % 3))
            side = dice.choice([r.BID, r.ASK])
            fields = {"kind": side, "order": id_, "price": dice.randint(8, 14), "size": dice.randint(1, 3)}
            fields["owner"] = dice.randrange(5 if side == r.BID else 25)
            asked.append((fields, dice.randrange(len(screens)) if side == r.BID else 0))
        dice.shuffle(contracts)
        for bid, ask, slots in contracts[: dice.randint(0, len(contracts))]:
            asked.append(({"kind": r.RETURN, "order": bid, "other": ask, "size": slots}, 0))
        del contracts[: sum(fields["kind"] == r.RETURN for fields, _ in asked)]
        asked.append(({"kind": r.ACCOUNT, "owner": 0, "price": dice.choice([50, 900]), "size": 1}, 0))
        rows = []
        for at, book in enumerate(books):
            sent = [request(**fields, screen=handles[at][screen]) for fields, screen in asked]
            rows.append(book.apply(b"".join(sent)).rows())
        assert rows[0] == rows[1]
        contracts += [(row[0], row[1], row[3]) for row in rows[0] if row[5] == r.MATCH]
        books[0]._check()
    assert as_any(books[0])._state()["hungry_since"] > 0
