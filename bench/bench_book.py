"""The book's speed, compiled and twin: plain flow, and matches through screens.

`extra_info` holds `operations` in a round and `ns_per_operation`; an operation is one order's message with
the matching that follows it, called one by one from Python.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from exchange.book import INT32_MIN, NUMBERS, Book, Screen, make_book

MIDDLE = 10_000_000
PLAIN = Screen()
KINDS = 100
Call = tuple[str, tuple[Any, ...]]


class Flow:
    """60% adds around the middle, 30% cancels of live orders, 10% that cross; recorded to be played again."""

    def __init__(self, resting: int, operations: int) -> None:
        self.random, self.book = Random(7), make_book()
        self.live: list[int] = []
        self.ids, self.place, self.free_ids = 0, 0, list[int]()
        self.calls: list[Call] = []
        self.call("set_account", 0, True, 2**62)
        self.call("set_machine", 0, 1, [0] * NUMBERS, 0, True)
        while len(self.live) < resting:
            self.add(crossing=False)
        self.filled, self.calls = self.calls, []
        for _ in range(operations):
            dice = self.random.random()
            if dice < 0.3:
                at = self.random.randrange(len(self.live))
                self.live[at], self.live[-1] = self.live[-1], self.live[at]
                self.remove(self.live.pop())
            else:
                self.add(crossing=dice > 0.9)

    def call(self, name: str, *args: Any) -> Any:
        self.calls.append((name, args))
        return getattr(self.book, name)(*args)

    def remove(self, order: int) -> None:
        self.call("remove", order)
        self.free_ids.append(order)

    def add(self, crossing: bool) -> None:
        if self.free_ids:
            order = self.free_ids.pop()
        else:
            order, self.ids = self.ids, self.ids + 1
        self.place += 1
        away = -2 if crossing else 1 + int(self.random.expovariate(0.02))
        if self.random.random() < 0.5:
            self.call("add_bid", order, 0, MIDDLE - away, 1, self.place, PLAIN)
        else:
            self.call("add_ask", order, 0, MIDDLE + away, 1, self.place)
        self.live.append(order)
        while (found := self.call("next_match", order)) is not None:
            for matched in found[:2]:
                self.live.remove(matched)
                self.remove(matched)
        self.call("settled")


def play(book: Book, calls: list[Call]) -> None:
    for name, args in calls:
        getattr(book, name)(*args)


def report(benchmark: Any, operations: int, figure: str) -> None:
    benchmark.extra_info["operations"] = operations
    if benchmark.enabled:
        ns = round(benchmark.stats["min"] / operations * 1e9)
        benchmark.extra_info["ns_per_operation"] = ns
        benchmark.extra_info["figures"] = {figure: [ns, "ns"]}


@pytest.mark.parametrize("twin", [False, True], ids=["compiled", "twin"])
@pytest.mark.parametrize("resting", [1_000, 50_000])
def test_plain_flow(benchmark: Any, resting: int, twin: bool) -> None:
    operations = 20_000
    flow = Flow(resting, operations)

    def filled() -> tuple[tuple[Book, list[Call]], dict[str, Any]]:
        book = make_book(twin)
        play(book, flow.filled)
        return (book, flow.calls), {}

    benchmark.pedantic(play, setup=filled, rounds=3)
    report(benchmark, operations, f"plain flow, {resting:,} resting, {'twin' if twin else 'compiled'}")


def kind(number: int) -> list[int]:
    """The attributes of a kind of machine: no other kind has as much of both of the first two."""
    return [number, KINDS - number] + [1] * (NUMBERS - 2)


@pytest.mark.parametrize("twin", [False, True], ids=["compiled", "twin"])
def test_screened_match(benchmark: Any, twin: bool) -> None:
    """10,000 asks of 100 kinds of machine: a bid arrives that one kind passes, matches, and goes."""
    book, random = make_book(twin), Random(7)
    book.set_account(0, True, 2**62)
    for number in range(10_000):
        book.set_machine(number, 1, kind(number % KINDS), 1, True)
        book.add_ask(number, number, MIDDLE + random.randrange(1000), 1, number)
    screens = [Screen((*kind(k)[:2], *[INT32_MIN] * (NUMBERS - 2)), 1) for k in range(KINDS)]

    def matches() -> None:
        for turn, screen in enumerate(screens):
            book.add_bid(20_000, 0, MIDDLE + 1000, 1, turn, screen)
            found = book.next_match(20_000)
            assert found is not None and found[1] % KINDS == turn
            book.set_open(found[1], 0)
            book.remove(20_000)
            assert book.next_match() is None
            book.settled()
            book.set_open(found[1], 1)

    benchmark.pedantic(matches, rounds=3 if twin else 50)
    report(benchmark, KINDS, f"screened match, 10,000 asks of 100 kinds, {'twin' if twin else 'compiled'}")
