"""Adds a billion orders, all of which are filled or cancelled, and shows that the book does not grow.

`python -m bench.book_billion [ORDERS]` takes minutes, says how far it is, and keeps its result in
results/book_billion.json. With `--json` it only prints the growth, in MB; with `--churn` that over new kinds
and screens that come and go.
"""

from __future__ import annotations

import datetime
import json
import sys
from time import perf_counter

import numpy as np

from bench.book_flow import BATCH, Array, make_flow, prepare, requests
from bench.book_market import WHAT, Market, blank
from bench.book_memory import anonymous
from bench.book_sellers import REPUTATION, Demand, all_distinct
from bench.run import RESULTS, machine
from exchange.book import INDEX_BITS, make_book, order_id
from exchange.book_records import CANCEL, MATCH

RESTING, OPERATIONS = 20_000, 1_000_000
TRIAL = 3  # rounds before the first look: every page that a round needs is there then


def one_round() -> tuple[Array, int, int]:
    """Requests that fill a book and leave it empty, how many orders these are, how far their ids move on."""
    flow = make_flow(RESTING, OPERATIONS)
    records = requests(flow.head(len(flow.ops)), flow.numbers)
    rest = blank(len(flow.left), CANCEL)
    rest["order"] = [order_id(*order) for order in flow.left]
    orders = int(np.count_nonzero(records["kind"] != CANCEL))
    return np.concatenate((records, rest)), orders, int(flow.numbers.max()) + 1


def run(orders: int, talks: bool) -> tuple[float, float, int]:
    """Growth in MB, ns for each request, and how many orders there were."""
    records, each, ahead = one_round()
    book, results = make_book(), None
    prepare(book)
    slices = batches_of(records)
    rounds = TRIAL + -(-orders // each)
    begun, before = perf_counter(), 0
    for turn in range(rounds):
        for batch in slices:
            results = book.apply(batch, results)
        assert len(book) == 0
        records["order"] += ahead << INDEX_BITS
        if turn == TRIAL - 1:
            begun, before = perf_counter(), anonymous()
        elif talks and turn % 20 == 0:
            done = (turn - TRIAL + 1) * each
            print(f"{done:,} orders, {perf_counter() - begun:.0f} s, {growth(before):+.2f} MB", flush=True)
    count = (rounds - TRIAL) * each
    return growth(before), (perf_counter() - begun) / (rounds - TRIAL) / len(records) * 1e9, count


def churn(rounds: int = 100) -> float:
    """Growth in MB while a thousand machines become 10,000 new kinds and a thousand new screens come and go,
    `rounds` times; the first tenth is not looked at.
    """
    sellers = all_distinct(1_000)
    market, dice = Market(sellers, 1_000, [Demand(((0, 1),))], busy=0.0), np.random.default_rng(2)
    before = 0
    for turn in range(rounds):
        if turn == rounds // 10:
            before = anonymous()
        for _ in range(10):
            market.time(market.reputations(range(1_000), dice.integers(0, 2**31 - 1, 1_000).tolist()))
        for low in dice.integers(0, 2**31 - 1, 1_000).tolist():
            demand = Demand(((REPUTATION, low),))
            market.handles[0] = market.book.keep_screen(demand.screen())
            _, rows = market.time(market.bids([0]))
            market.time(market.returns([(row[0], row[1]) for row in rows if row[WHAT] == MATCH]))
            market.book.drop_screen(market.handles[0])
    return growth(before)


def batches_of(records: Array) -> list[memoryview]:
    """Slices of the array itself, not of a copy."""
    data, step = memoryview(records.view(np.uint8).data), BATCH * records.itemsize
    return [data[start : start + step] for start in range(0, len(data), step)]


def growth(before: int) -> float:
    return (anonymous() - before) / 1e6


def main() -> None:
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:] if not word.startswith("-")]
    quiet = "--json" in sys.argv
    if "--churn" in sys.argv:
        print(json.dumps(churn()))
        return
    grown, ns, count = run(numbers[0] if numbers else 1_000_000_000, not quiet)
    if quiet:
        print(json.dumps(grown))
        return
    figures = {
        "growth over a billion orders": {"value": round(grown, 4), "unit": "MB", "suite": "book"},
        "a billion orders, each request": {"value": round(ns, 1), "unit": "ns", "suite": "book"},
    }
    result = {
        "suite": "book_billion",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "orders": count,
        "figures": figures,
    }
    print(f"{count:,} orders came and went; the process grew by {grown:.2f} MB; {ns:.0f} ns a request")
    if count >= 1_000_000_000:
        (RESULTS / "book_billion.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
