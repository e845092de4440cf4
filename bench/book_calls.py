"""Single calls from Python, beside empty `cpdef` calls that take the same arguments.

Both are called by the same loop in C (`itertools.starmap`), or, in the flow, by the same code without a loop,
so that no loop in Python is measured with them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import starmap
from time import perf_counter
from typing import Any

from bench.book_build import empty_calls
from bench.book_flow import LADDER_CANCEL, PARTIES, START, Flow, batches, order_ids, prepare, requests
from bench.book_peers import no_garbage
from exchange.book import BID, Book, make_book, order_id
from exchange.book_records import ONCE

ROUND = 1_000
WRITTEN = 100_000  # operations of the flow that are written out as code
Figures = dict[str, tuple[float, str]]
Args = tuple[Any, ...]


def seconds(function: Callable[..., Any], rows: Iterable[Args]) -> float:
    begun = perf_counter()
    deque(starmap(function, rows), maxlen=0)
    return perf_counter() - begun


def filled(flow: Flow) -> Book:
    book = make_book()
    prepare(book)
    for batch in batches(requests(flow.filling, flow.numbers[: len(flow.filling)])):
        book.apply(batch)
    return book


Code = Callable[[Callable[..., Any], Callable[..., Any], Callable[..., Any]], None]


def written_out(flow: Flow, count: int) -> list[Code]:
    """The first `count` operations as Python code, one call a line, in functions of ROUND lines."""
    ids = order_ids(flow.ops, flow.numbers[len(flow.filling) :]).tolist()
    lines = []
    for id_, (index, price, size, kind) in zip(ids[:count], flow.ops[:count].tolist(), strict=True):
        if kind == LADDER_CANCEL:
            lines.append(f" cancel({id_})")
        elif kind == BID:
            lines.append(f" bid({id_}, {index % PARTIES}, {price}, {size}, 0, {ONCE})")
        else:
            lines.append(f" ask({id_}, {index % PARTIES}, {price}, {size}, {ONCE})")
    made: list[Code] = []
    for start in range(0, count, ROUND):
        names: dict[str, Any] = {}
        exec("\n".join(["def run(bid, ask, cancel):", *lines[start : start + ROUND]]), names)
        made.append(names["run"])
    return made


def time_flow(target: Any, code: list[Code]) -> float:
    """Seconds for the flow's operations on a book, or on what has the same methods."""
    bid, ask, cancel = target.bid, target.ask, target.cancel
    with no_garbage():
        begun = perf_counter()
        for run in code:
            run(bid, ask, cancel)
        return perf_counter() - begun


def resting_and_cancelled(flow: Flow, rounds: int) -> tuple[list[float], ...]:
    """Seconds for ROUND asks that rest, and for cancelling them, of the book and of empty calls."""
    book, empty = filled(flow), empty_calls()
    asks, cancels, empty_asks, empty_cancels = list[float](), list[float](), list[float](), list[float]()
    for turn in range(1, rounds + 1):
        ids = [order_id(turn, flow.ids + at) for at in range(ROUND)]
        rows = [(id_, at % PARTIES, START + 1 + at % 200, 5, ONCE) for at, id_ in enumerate(ids)]
        asks.append(seconds(book.ask, rows))
        cancels.append(seconds(book.cancel, zip(ids, strict=True)))
        empty_asks.append(seconds(empty.ask, rows))
        empty_cancels.append(seconds(empty.cancel, zip(ids, strict=True)))
    return asks, cancels, empty_asks, empty_cancels


def figures_of(flow: Flow, rounds: int = 5) -> Figures:
    """The best of the rounds, each beside the best of the empty calls."""
    ask, cancel, empty_ask, empty_cancel = (min(times) for times in resting_and_cancelled(flow, 40 * rounds))
    whole = empty_whole = float("inf")
    code = written_out(flow, WRITTEN)
    for _ in range(rounds):
        whole = min(whole, time_flow(filled(flow), code))
        empty_whole = min(empty_whole, time_flow(empty_calls(), code))
    figures: Figures = {}
    for name, mine, empty, count in (
        ("single ask that rests", ask, empty_ask, ROUND),
        ("single cancel", cancel, empty_cancel, ROUND),
        ("single calls of the flow", whole, empty_whole, WRITTEN),
    ):
        figures[f"{name}, {flow.name}"] = (mine / count * 1e9, "ns")
        figures[f"{name}, {flow.name}, over an empty call"] = (mine / empty, "times")
    return figures
