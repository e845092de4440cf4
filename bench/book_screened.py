"""The screened flow: a million asks of 10,000 kinds of machine, 1,000 screens, 100,000 resting bids.

Every figure is the median of batches of SIZE requests of the same kind, in µs for one request; p99 is that of
the batches. Between the timed batches the market goes on: what was taken comes back later, at random.
"""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import Final

import numpy as np

from bench.book_market import OVER, Market
from bench.book_sellers import LEVELS, RARE, Screens, few_kinds
from exchange.book import Book
from exchange.book_records import GONE, MATCH, RESTS

SIZE: Final = 64
AWAY: Final = 16  # machines that go away with each batch
SHARE, SINGLE, NONE = range(700), range(700, 850), range(850, 1000)  # positions of screens
Figures = dict[str, tuple[float, str]]


class Times:
    """Batches of one kind."""

    def __init__(self) -> None:
        self.each: list[float] = []

    def add(self, seconds: float, count: int) -> None:
        self.each.append(seconds / count * 1e6)

    @property
    def median(self) -> float:
        return statistics.median(self.each)

    def figures(self, name: str) -> Figures:
        p99 = sorted(self.each)[int(0.99 * len(self.each))]
        return {name: (self.median, "µs"), f"{name}, p99": (p99, "µs")}


def make_market(asks: int, bids: int, correlated: bool = False, book: Book | None = None) -> Market:
    """700 screens that 1% of the machines pass, 150 that one passes, 150 that none passes."""
    sellers = few_kinds(asks // 2)
    screens = Screens(sellers)
    demands = [screens.share(0.01) for _ in SHARE]
    demands += [screens.single() for _ in SINGLE]
    demands += [screens.none() for _ in NONE]
    return Market(sellers, asks, demands, bids=bids, correlated=correlated, book=book)


def matching(market: Market, batches: int) -> tuple[Times, Times]:
    """Bids that 1% of the machines pass; and as many slots, of like machines, that come back.

    Between them some machines go away, and are back after a while.
    """
    bids, returns, away = Times(), Times(), list[list[int]]()
    for _ in range(batches):
        away.append(market.random.sample(range(len(market.sellers.base)), AWAY))
        market.time(market.readies(away[-1], False))
        if len(away) > 10:
            market.time(market.readies(away.pop(0), True))
        screens = market.random.sample(SHARE, SIZE)
        seconds, rows = market.time(market.bids(screens))
        taken = [row[1] for row in rows if row[5] == MATCH]
        assert len(taken) >= 0.9 * SIZE, len(taken)
        bids.add(seconds, SIZE)
        back = market.returns(market.others(taken))
        returns.add(market.time(back)[0], len(taken))
    for machines in away:
        market.time(market.readies(machines, True))
    market.try_some(market.random.sample(SHARE, 30))
    return bids, returns


def single(market: Market, batches: int) -> tuple[Times, Times]:
    """Bids that one machine passes; and once more, while its asks are taken."""
    bids, busy = Times(), Times()
    for _ in range(batches):
        screens = market.random.sample(SINGLE, SIZE)
        seconds, rows = market.time(market.bids(screens))
        taken = [(row[0], row[1]) for row in rows if row[5] == MATCH]
        if len(taken) > 0.9 * SIZE:
            bids.add(seconds, SIZE)
        while rows and any(row[5] == MATCH for row in rows):  # until all of these machines are taken
            _, rows = market.time(market.bids(screens))
            taken += [(row[0], row[1]) for row in rows if row[5] == MATCH]
        seconds, rows = market.time(market.bids(screens))
        assert [row[5] for row in rows] == [GONE] * SIZE
        busy.add(seconds, SIZE)
        market.time(market.returns(taken))
    market.try_some(market.random.sample(SINGLE, 10))
    return bids, busy


def open_all_rare(market: Market) -> None:
    """Every ask of a machine that is the only one of its base is open."""
    rare = market.machine_of >= len(market.sellers.base) - RARE
    busy: list[int] = np.flatnonzero(rare & ~market.open).tolist()
    market.time(market.returns([(market.taken_by[ask], ask) for ask in busy]))


def nothing(market: Market, batches: int) -> tuple[Times, Times]:
    """Bids whose screen no machine passes; and bids that would pay just too little for the best that pass."""
    none, dear = Times(), Times()
    for _ in range(batches):
        seconds, rows = market.time(market.bids([market.random.choice(NONE) for _ in range(SIZE)]))
        assert [row[5] for row in rows] == [GONE] * SIZE
        none.add(seconds, SIZE)
    limits = {}
    for screen in market.random.sample(SHARE, 2 * SIZE):
        best = market.first(market.demands[screen])
        assert best is not None
        limits[screen] = int(market.price[best]) - 1
    for _ in range(batches):
        screens = market.random.sample(list(limits), SIZE)
        seconds, rows = market.time(market.bids(screens, [limits[screen] for screen in screens]))
        assert [row[5] for row in rows] == [GONE] * SIZE
        dear.add(seconds, SIZE)
    return none, dear


def profiles(market: Market, batches: int) -> tuple[Times, Times, Times]:
    """NUMBER and READY of machines with an open ask: to a known kind, to a new one, away and back."""
    known, new, ready = Times(), Times(), Times()
    sellers = market.sellers
    usual = market.machine_of < len(sellers.base) - RARE
    openers = np.unique(market.machine_of[np.flatnonzero(market.open & usual)]).tolist()
    for turn in range(batches):
        machines = market.random.sample(openers, SIZE)
        before = sellers.reputation[machines].tolist()
        unknown = [value // 100 * 100 + 1 + (turn + at) % 99 for at, value in enumerate(before)]
        new.add(market.time(market.reputations(machines, unknown))[0], SIZE)
        others = [100 * ((value // 100 + market.random.randint(1, LEVELS - 1)) % LEVELS) for value in before]
        known.add(market.time(market.reputations(machines, others))[0], SIZE)
        known.add(market.time(market.reputations(machines, before))[0], SIZE)
        ready.add(market.time(market.readies(machines, False))[0], SIZE)
        ready.add(market.time(market.readies(machines, True))[0], SIZE)
    return known, new, ready


def accepts(market: Market) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """By machine: how many of the resting bids' screens it passes."""
    count = np.zeros(len(market.sellers.base), dtype="<i4")
    for position in np.unique(market.bid_screen).tolist():
        count += market.sellers.passing(market.demands[position])
    return count


def incoming(market: Market, batches: int) -> tuple[Times, Times]:
    """Asks below all resting bids: of machines that pass 1 to 20 of the screens, and of such as pass none."""
    few, none = Times(), Times()
    count = accepts(market)
    fitting = np.flatnonzero((count >= 1) & (count <= 20)).tolist()
    poor = np.flatnonzero(count == 0).tolist()
    for _ in range(batches):
        ids, data = market.asks_of(market.random.sample(fitting, SIZE), 1)
        seconds, rows = market.time(data)
        taken = [(row[0], row[1]) for row in rows if row[5] == MATCH]
        assert len(taken) >= 0.9 * SIZE
        few.add(seconds, SIZE)
        unsold = sorted({*ids} - {ask for _, ask in taken})
        market.time(market.cancels(unsold) + market.returns(taken))
        ids, data = market.asks_of(market.random.sample(poor, SIZE), 1)
        seconds, rows = market.time(data)
        assert [row[5] for row in rows] == [RESTS] * SIZE
        none.add(seconds, SIZE)
        market.time(market.cancels(ids))
    for machine in market.random.sample(fitting, 20):
        wanted = market.first_bid(machine, 1)
        (id_,), data = market.asks_of([machine], 1)
        _, rows = market.time(data)
        taken = [(row[0], row[1]) for row in rows if row[5] == MATCH]
        assert taken == ([] if wanted is None else [(wanted, id_)])
        market.time(market.returns(taken) if taken else market.cancels([id_]))
    return few, none


def together(*parts: Figures) -> Figures:
    return {name: value for part in parts for name, value in part.items()}


def figures_of(market: Market, batches: int, of: str = "") -> Figures:
    """All figures of one market; `of` says which, behind their names."""
    open_all_rare(market)
    bids, returns = matching(market, batches)
    alone, busy = single(market, batches // 2)
    none, dear = nothing(market, batches)
    known, new, ready = profiles(market, batches)
    few, nobody = incoming(market, batches)
    market.try_some(market.random.sample(SHARE, 10))
    return together(
        bids.figures(f"screened match, 1% pass{of}"),
        returns.figures(f"slot that comes back{of}"),
        alone.figures(f"screened match, a single machine passes{of}"),
        busy.figures(f"the machine that passes is busy{of}"),
        none.figures(f"no machine passes{of}"),
        dear.figures(f"all that pass are too dear{of}"),
        known.figures(f"profile change, to a known kind{of}"),
        new.figures(f"profile change, to a new kind{of}"),
        ready.figures(f"machine that goes or is back{of}"),
        few.figures(f"incoming ask, few of 1,000 screens accept{of}"),
        nobody.figures(f"incoming ask, no screen accepts{of}"),
    )


def queries(market: Market, count: int) -> Figures:
    """What a market page and a buyer ask, one by one."""
    quotes, depths = Times(), Times()
    for screen in market.random.sample(SHARE, count):
        asked = market.demands[screen].screen()
        begun = perf_counter()
        quote = market.book.quote_bid(0, OVER, 100, asked)
        quotes.add(perf_counter() - begun, 1)
        begun = perf_counter()
        depth = market.book.depth_for(asked, OVER, 10)
        depths.add(perf_counter() - begun, 1)
        assert quote.slots == 100 and len(depth) == 10
    return together(
        quotes.figures("quote of 100 slots, 1% pass"),
        depths.figures("depth for a screen, 10 levels, 1% pass"),
    )
