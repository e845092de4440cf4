"""The book: plain flow beside a C ladder and the peers, five shapes of flow, screens, the hard case, memory.

What is measured stands in bench/book_*.py; here it is run. Every figure that has a goal stands in goals.toml.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import book_calls, book_hard, book_memory, book_screened
from bench.book_flow import Flow, make_flow, shapes
from bench.book_peers import (
    answering_ladder,
    best,
    book,
    check_book,
    ladder,
    time_light_matching_engine,
    time_limit_order_book,
)

pytestmark = pytest.mark.timeout(1800)
Figures = dict[str, tuple[float, str]]
ROOT = Path(__file__).parent.parent
OPERATIONS = 500_000
SHAPED = 200_000
ROUNDS = 9  # the best of them counts
TWIN, LIGHT = 20_000, 10_000  # operations that the slow ones are given
BATCHES = 300  # of 64 requests


def measure(benchmark: Any, figures: Callable[[], Figures]) -> None:
    benchmark.extra_info["figures"] = benchmark.pedantic(figures, rounds=1)


@pytest.fixture(scope="module", params=[1_000, 200_000], ids=["1000", "200000"])
def flow(request: pytest.FixtureRequest) -> Flow:
    made = make_flow(request.param, OPERATIONS)
    assert all(0.9 * made.resting <= left <= 1.1 * made.resting for left in made.left_after.tolist())
    return made


def test_plain_flow(benchmark: Any, flow: Flow) -> None:
    check_book(flow)
    check_book(flow, twin=True, most=TWIN // 4)

    def figures() -> Figures:
        players = {
            "C ladder": ladder(flow),
            "C ladder with the book's records": answering_ladder(flow),
            "book": book(flow),
        }
        ns = {name: taken / OPERATIONS * 1e9 for name, taken in best(players, ROUNDS).items()}
        ns["limit-order-book"] = (
            min(time_limit_order_book(flow, OPERATIONS) for _ in range(3)) / OPERATIONS * 1e9
        )
        ns["plain-Python twin"] = min(book(flow, twin=True, most=TWIN)() for _ in range(3)) / TWIN * 1e9
        ns["lightmatchingengine"] = time_light_matching_engine(flow, LIGHT) / LIGHT * 1e9
        found: Figures = {f"{name}, {flow.name}": (value, "ns") for name, value in ns.items()}
        for limit in list(players)[:2]:
            found[f"book over the {limit}, {flow.name}"] = (ns["book"] / ns[limit], "times")
        return found

    measure(benchmark, figures)


def test_single_calls(benchmark: Any, flow: Flow) -> None:
    measure(benchmark, lambda: book_calls.figures_of(flow))


def test_five_shapes(benchmark: Any) -> None:
    flows = shapes(20_000, SHAPED)
    for flow in flows.values():
        check_book(flow)

    def figures() -> Figures:
        rounds = {name: book(flow) for name, flow in flows.items()}
        ns = {name: taken / SHAPED * 1e9 for name, taken in best(rounds, ROUNDS).items()}
        found: Figures = {f"shape of flow: {name}": (time, "ns") for name, time in ns.items()}
        return found | {"shapes of flow, worst over best": (max(ns.values()) / min(ns.values()), "times")}

    measure(benchmark, figures)


def test_screened_flow(benchmark: Any) -> None:
    def figures() -> Figures:
        small, _ = book_screened.matching(book_screened.make_market(10_000, 1_000), BATCHES)
        market = book_screened.make_market(1_000_000, 100_000)
        found = book_screened.figures_of(market, BATCHES) | book_screened.queries(market, BATCHES)
        found["screened match, 1% pass, 10,000 asks"] = (small.median, "µs")
        big = found["screened match, 1% pass"][0]
        found["screened match, a million asks over 10,000"] = (big / small.median, "times")
        return found

    measure(benchmark, figures)


def test_screened_flow_better_costs_more(benchmark: Any) -> None:
    """The same where the price of an ask grows with what its machine can do."""
    market = book_screened.make_market(1_000_000, 100_000, correlated=True)
    measure(benchmark, lambda: book_screened.figures_of(market, BATCHES, of=", better costs more"))


def test_distinct_machines(benchmark: Any) -> None:
    market, screens = book_hard.make_market()
    measure(benchmark, lambda: book_hard.figures_of(market, screens, BATCHES))


def test_memory(benchmark: Any) -> None:
    names = {
        "plain": "memory of an order, a million plain ones",
        "screened": "memory of an order, a million asks of 10,000 kinds",
        "hard": "memory of an order, 100,000 distinct machines",
    }
    measure(benchmark, lambda: {name: (book_memory.measure(what), "bytes") for what, name in names.items()})


def test_nothing_grows(benchmark: Any) -> None:
    def figures() -> Figures:
        found: Figures = {}
        for name, options in (
            ("growth over 20 million orders", ["20_000_000", "--json"]),
            ("growth over a million new kinds, 100,000 new screens", ["--churn"]),
        ):
            command = [sys.executable, "-m", "bench.book_billion", *options]
            done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
            found[name] = (json.loads(done.stdout), "MB")
        return found

    measure(benchmark, figures)
