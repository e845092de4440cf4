"""Flows of plain orders, without screens: 60% adds around a middle, 30% cancels, 10% that cross.

A flow is made once, by a simulation in plain Python that also says what must be filled, and is then played by
the book, the C ladder, and the peers. The same seed makes the same flow. The number of resting orders is held
near its target by the size of the crossing orders, and both sides alike by whom they hit.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exchange.book import ASK, BID, INDEX_BITS, NO_BOUND, NUMBERS, Book, Results
from exchange.book_records import ACCOUNT as SET_ACCOUNT
from exchange.book_records import CANCEL, MATCH, ONCE, REQUEST_FIELDS, request

Array = npt.NDArray[Any]
Fill = tuple[int, int, int, int]  # index of the bid, index of the ask, price, slots
Middle = Callable[[float], float]  # of the part of the flow that is done, in 0..1

OP: Final = np.dtype([("id", "<u4"), ("price", "<u4"), ("size", "<i4"), ("kind", "<u4")])  # the ladder's
LADDER_CANCEL: Final = 2
HIGHEST: Final = 2**15 - 1  # price
START: Final = 10_000
SPREAD: Final = 50  # the average distance of an add from the middle
WIDE: Final = 1_000  # the same where the middle swings
SIZES: Final = 10  # of adds: 1..SIZES
DEEP: Final = 1_000
PARTIES: Final = 100  # accounts that bid, and machines that ask
BATCH: Final = 1024
STIFF: Final = 10  # how hard the number of resting orders is held


@dataclass(frozen=True)
class Flow:
    """`filling` makes the book, `ops` are what is measured; `numbers` tell who had the same id before."""

    name: str
    resting: int
    ids: int
    filling: Array
    ops: Array
    numbers: Array  # of both, one after the other
    fills: list[Fill]  # of ops
    fills_after: Array  # how many fills there were after each of ops
    left_after: Array  # how many orders rested
    left: list[tuple[int, int]]  # those that rest in the end: number, id

    def head(self, count: int) -> Array:
        """The filling and the first `count` operations."""
        return np.concatenate((self.filling, self.ops[:count]))


class _Order:
    __slots__ = ("id", "kind", "place", "price", "size")

    def __init__(self, id_: int, kind: int, price: int, size: int, place: int) -> None:
        self.id, self.kind, self.price, self.size, self.place = id_, kind, price, size, place


class _Maker:
    """The simulation: a book as simple as can be, and the operations so far."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.levels: tuple[dict[int, deque[_Order]], ...] = ({}, {})
        self.prices: tuple[list[int], ...] = ([], [])  # heaps, the best first: of bids negative
        self.live: list[_Order] = []
        self.counts = [0, 0]
        self.free: list[int] = []
        self.taken: list[int] = []  # id -> how often it was taken
        self.rows: list[tuple[int, int, int, int]] = []
        self.numbers: list[int] = []
        self.fills: list[Fill] = []

    def best(self, kind: int) -> int | None:
        prices, levels = self.prices[kind], self.levels[kind]
        while prices:
            price = abs(prices[0])
            orders = levels[price]
            while orders and not orders[0].size:
                orders.popleft()
            if orders:
                return price
            del levels[price]
            heappop(prices)
        return None

    def gone(self, order: _Order) -> None:
        last = self.live.pop()
        if last is not order:
            self.live[order.place], last.place = last, order.place
        order.size = 0
        self.counts[order.kind] -= 1
        self.free.append(order.id)

    def cancel(self) -> None:
        order = self.random.choice(self.live)
        self.rows.append((order.id, 0, 0, LADDER_CANCEL))
        self.numbers.append(self.taken[order.id])
        self.gone(order)

    def add(self, kind: int, price: int, size: int) -> None:
        price = min(max(price, 1), HIGHEST)
        if self.free:
            id_ = self.free.pop()
            self.taken[id_] += 1
        else:
            id_ = len(self.taken)
            self.taken.append(0)
        self.rows.append((id_, price, size, kind))
        self.numbers.append(self.taken[id_])
        while size and (best := self.best(1 - kind)) is not None:
            if best > price if kind == BID else best < price:
                break
            other = self.levels[1 - kind][best][0]
            slots = min(size, other.size)
            self.fills.append((id_, other.id, best, slots) if kind == BID else (other.id, id_, best, slots))
            size -= slots
            other.size -= slots
            if not other.size:
                self.gone(other)
        if not size:
            self.free.append(id_)
            return
        order = _Order(id_, kind, price, size, len(self.live))
        self.live.append(order)
        self.counts[kind] += 1
        if price not in self.levels[kind]:
            self.levels[kind][price] = deque()
            heappush(self.prices[kind], -price if kind == BID else price)
        self.levels[kind][price].append(order)

    def add_around(self, middle: int, spread: int) -> None:
        away = 1 + int(self.random.expovariate(1 / spread))
        if self.random.random() < 0.5:
            self.add(BID, middle - away, self.random.randint(1, SIZES))
        else:
            self.add(ASK, middle + away, self.random.randint(1, SIZES))

    def cross(self, middle: int, size: int) -> None:
        """An order that meets the side that has more, up to DEEP behind its best."""
        kind = ASK if self.random.random() * len(self.live) < self.counts[BID] else BID
        best = self.best(1 - kind)
        price = middle if best is None else best
        self.add(kind, price + DEEP if kind == BID else price - DEEP, size)


def make_flow(
    resting: int,
    operations: int,
    middle: Middle = lambda done: START,
    spread: int = SPREAD,
    crash: bool = False,
    seed: int = 7,
) -> Flow:
    """A flow of `operations` with about `resting` orders, `spread` from the middle on average.

    Where the book gets thin, because the middle moves faster than it fills, adds take the place of cancels.

    `crash`: while the middle falls, from 0.5 of the flow to 0.51, a third of the operations are sales of
    many times the usual size.
    """
    maker, dice = _Maker(seed), Random(seed + 1)
    while len(maker.live) < resting:
        maker.add_around(round(middle(0)), spread)
    filled, left_after, fills_after = len(maker.rows), list[int](), list[int]()
    assert not maker.fills
    for n in range(operations):
        done, chance = n / operations, dice.random()
        now, thin = round(middle(done)), len(maker.live) < 0.9 * resting
        if crash and 0.5 <= done < 0.51 and chance < 0.333:
            maker.add(ASK, now - SPREAD, 20 * SIZES)
        elif chance < (0.9 if thin else 0.6):
            maker.add_around(now, spread)
        elif chance < 0.9:
            maker.cancel()
        else:
            strength = min((len(maker.live) / resting) ** STIFF, 8)
            maker.cross(now, max(1, round(dice.uniform(0.5, 1.5) * 1.65 * SIZES * strength)))
        left_after.append(len(maker.live))
        fills_after.append(len(maker.fills))
    rows = np.array(maker.rows, dtype=OP)
    return Flow(
        name=f"{resting:,} resting",
        resting=resting,
        ids=len(maker.taken),
        filling=rows[:filled].copy(),
        ops=rows[filled:].copy(),
        numbers=np.array(maker.numbers, dtype="<i8"),
        fills=maker.fills,
        fills_after=np.array(fills_after),
        left_after=np.array(left_after),
        left=[(maker.taken[order.id], order.id) for order in maker.live],
    )


def swing(part: float) -> Middle:
    """One wave over the whole flow, `part` of the price up and down."""
    return lambda done: START * (1 + part * math.sin(2 * math.pi * done))


def wander(seed: int = 11) -> Middle:
    """A random walk: 1,000 steps, 5 on average each."""
    dice, steps = Random(seed), [float(START)]
    for _ in range(1000):
        steps.append(steps[-1] + dice.gauss(0, 6))
    return lambda done: steps[int(done * 1000)]


def fall(done: float) -> float:
    """Flash crash: within a hundredth of the flow the price loses half, and has it back a tenth later."""
    if done < 0.5:
        return START
    if done < 0.51:
        return START * (1 - 50 * (done - 0.5))
    return START * min(1.0, 0.5 + 5 * (done - 0.51))


def shapes(resting: int, operations: int) -> dict[str, Flow]:
    """The five shapes of flow."""
    return {
        "static price": make_flow(resting, operations),
        "normal": make_flow(resting, operations, wander()),
        "25% swings": make_flow(resting, operations, swing(0.25), WIDE),
        "40% swings": make_flow(resting, operations, swing(0.40), WIDE),
        "flash crash": make_flow(resting, operations, fall, crash=True),
    }


def order_ids(rows: Array, numbers: Array) -> Array:
    """The ids that a book takes: `exchange.book.order_id` of each row."""
    ids: Array = numbers << INDEX_BITS | rows["id"].astype("<i8")
    return ids


def requests(rows: Array, numbers: Array) -> Array:
    """The same operations for `Book.apply`."""
    made = np.zeros(len(rows), dtype=np.dtype(REQUEST_FIELDS))
    made["order"] = order_ids(rows, numbers)
    for field in ("price", "size", "kind"):
        made[field] = rows[field]
    made["owner"] = rows["id"] % PARTIES
    made["spend"], made["terms"], made["other"] = NO_BOUND, ONCE, -1
    made["kind"][rows["kind"] == LADDER_CANCEL] = CANCEL
    return made


def batches(records: Array, size: int = BATCH) -> list[memoryview]:
    """The records in slices of `size`, as bytes."""
    data, step = memoryview(records.tobytes()), size * records.itemsize
    return [data[start : start + step] for start in range(0, len(data), step)]


def prepare(book: Book) -> None:
    """The accounts and machines that the flow's orders belong to; nobody lacks money or sells to himself."""
    for party in range(PARTIES):
        book.apply(request(SET_ACCOUNT, owner=party, price=2**60, size=1))
        book.set_machine(party, PARTIES + party, [0] * NUMBERS, 0, True)


def matches(results: Results) -> list[Fill]:
    """The MATCH records, with indices for ids."""
    low = (1 << INDEX_BITS) - 1
    return [
        (bid & low, ask & low, price, slots)
        for bid, ask, price, slots, _, what, *_ in results.rows()
        if what == MATCH
    ]
