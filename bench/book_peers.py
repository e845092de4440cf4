"""Who plays a flow: the C ladder, the book, its twin, and the peers from PyPI; each says how long it took.

Every function prepares a flow's operations in the form that the player takes; a round makes a book, fills it,
and returns the seconds that the operations took. Each is held to the right answer: the fills, or, of a peer
that does not tell them, the orders that rest in the end.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np
from lightmatchingengine.lightmatchingengine import LightMatchingEngine
from limit_order_book import LimitOrderBook

from bench import book_build
from bench.book_flow import (
    BATCH,
    LADDER_CANCEL,
    Array,
    Fill,
    Flow,
    batches,
    matches,
    order_ids,
    prepare,
    requests,
)
from exchange.book import BID, make_book
from exchange.book_records import RESULT_FIELDS

FILL = np.dtype([("bid", "<u4"), ("ask", "<u4"), ("price", "<u4"), ("size", "<i4")])

library = cache(book_build.ladder)


@contextmanager
def no_garbage() -> Iterator[None]:
    """What was prepared is no business of the garbage collector while the time runs."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


Round = Callable[[], float]


def slices(records: Array, first: int) -> list[tuple[int, int]]:
    """Address and length of every batch from `first` on."""
    return [
        (records.ctypes.data + at * records.itemsize, min(BATCH, len(records) - at))
        for at in range(first, len(records), BATCH)
    ]


def ladder(flow: Flow) -> Round:
    """The limit: in batches through ctypes. The fills are checked."""
    fills = np.zeros(len(flow.fills) + BATCH, dtype=FILL)
    filling, ops, room = slices(flow.filling, 0), slices(flow.ops, 0), fills.ctypes.data
    apply = library().ladder_apply

    def play() -> float:
        book = library().ladder_new(flow.ids)
        assert not any(apply(book, data, count, room) for data, count in filling)
        done, begun = 0, perf_counter()
        for data, count in ops:
            done += apply(book, data, count, room + done * FILL.itemsize)
        taken = perf_counter() - begun
        library().ladder_free(book)
        assert done == len(flow.fills) <= len(fills)
        return taken

    play()
    assert [tuple(fill) for fill in fills[: len(flow.fills)].tolist()] == flow.fills
    return play


def answering_ladder(flow: Flow) -> Round:
    """The ladder once more, but it takes the book's requests and gives its results, byte by byte."""
    records, first = requests(flow.head(len(flow.ops)), flow.numbers), len(flow.filling)
    results = np.zeros(64 * BATCH, dtype=np.dtype(RESULT_FIELDS))
    answer, room = library().ladder_answer, results.ctypes.data
    filling, ops = slices(records[:first], 0), slices(records, first)

    def play(check: Any = None) -> float:
        book = library().ladder_new(flow.ids)
        for data, count in filling:
            answer(book, data, count, room)
        begun = perf_counter()
        for data, count in ops:
            found = answer(book, data, count, room)
            if check:
                check(ctypes.string_at(data, count * records.itemsize), results[:found].tobytes())
        taken = perf_counter() - begun
        library().ladder_free(book)
        return taken

    def check(data: bytes, given: bytes) -> None:
        wanted: Any = ours.apply(data)
        assert given == bytes(memoryview(wanted))

    ours = make_book()
    prepare(ours)
    for batch in batches(records[:first]):
        ours.apply(batch)
    play(check)
    return play


def book(flow: Flow, twin: bool = False, most: int | None = None) -> Round:
    """In batches through `apply`, each asked to fill the same results."""
    count = len(flow.ops) if most is None else most
    records, first = requests(flow.head(count), flow.numbers[: len(flow.filling) + count]), len(flow.filling)
    filling, ops = batches(records[:first]), batches(records[first:])

    def play() -> float:
        book, results = make_book(twin), None
        prepare(book)
        for batch in filling:
            results = book.apply(batch, results)
        with no_garbage():
            begun = perf_counter()
            for batch in ops:
                book.apply(batch, results)
            return perf_counter() - begun

    return play


def best(rounds: dict[str, Round], times: int = 9) -> dict[str, float]:
    """The least seconds of each, three rounds in turn."""
    found = dict.fromkeys(rounds, float("inf"))
    for _ in range(times // 3):
        for name, play in rounds.items():
            found[name] = min(found[name], *(play() for _ in range(3)))
    return found


def check_book(flow: Flow, twin: bool = False, most: int | None = None) -> None:
    """The fills of the book are those of the flow."""
    count = len(flow.ops) if most is None else most
    records = requests(flow.head(count), flow.numbers[: len(flow.filling) + count])
    book, found = make_book(twin), list[Fill]()
    prepare(book)
    for batch in batches(records):
        found += matches(book.apply(batch))
    assert found == flow.fills[: flow.fills_after[count - 1]]
    assert len(book) == flow.left_after[count - 1]


Call = tuple[Callable[..., Any], tuple[Any, ...]]


def time_calls(calls: Sequence[Call]) -> float:
    """Seconds that the calls take, one by one."""
    with no_garbage():
        begun = perf_counter()
        for call, args in calls:
            call(*args)
        return perf_counter() - begun


def time_limit_order_book(flow: Flow, most: int) -> float:
    """`limit-order-book`: C++ behind ctypes, one call an operation. It does not say what was filled."""
    book = LimitOrderBook()
    rows = flow.head(most)
    ids = order_ids(rows, flow.numbers[: len(rows)]).tolist()
    calls: list[Call] = []
    for id_, (_, price, size, kind) in zip(ids, rows.tolist(), strict=True):
        if kind == LADDER_CANCEL:
            calls.append((book.cancel, (id_,)))
        else:
            calls.append((book.limit_buy if kind == BID else book.limit_sell, (id_, size, price)))
    time_calls(calls[: len(flow.filling)])
    taken = time_calls(calls[len(flow.filling) :])
    assert book.count() == flow.left_after[most - 1]
    return taken


def time_light_matching_engine(flow: Flow, most: int) -> float:
    """`lightmatchingengine`: plain Python, one call an operation. It gives the ids itself, from 1 on."""
    engine, rows = LightMatchingEngine(), flow.head(most)
    calls: list[Call] = []
    last, its_id = 0, dict[int, int]()
    for id_, price, size, kind in rows.tolist():
        if kind == LADDER_CANCEL:
            calls.append((engine.cancel_order, (its_id[id_], "")))
        else:
            last += 1
            its_id[id_] = last
            calls.append((engine.add_order, ("", price, size, 1 if kind == BID else 2)))
    time_calls(calls[: len(flow.filling)])
    taken = time_calls(calls[len(flow.filling) :])
    (book,) = engine.order_books.values()
    left = sum(len(at) for side in (book.bids, book.asks) for at in side.values())
    assert left == flow.left_after[most - 1]
    return taken
