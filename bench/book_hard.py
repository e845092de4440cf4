"""The hard case: 100,000 asks of 100,000 distinct machines, and reputations that move all day.

Screens are either 1,000 that are kept, each passed by 1% of the machines, or such as the book has never seen.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from bench.book_market import OVER, Market
from bench.book_screened import SIZE, Figures, Times, together
from bench.book_sellers import Demand, Screens, all_distinct
from exchange.book import Book, Screen
from exchange.book_records import MATCH

MACHINES = 100_000
KEPT = 1_000  # screens
TOGETHER = 16  # new screens made beforehand, so that their making does not disturb the caches


def make_market(book: Book | None = None) -> tuple[Market, Screens]:
    """All asks are open; no bids rest."""
    sellers = all_distinct(MACHINES)
    screens = Screens(sellers)
    return Market(sellers, MACHINES, [screens.share(0.01) for _ in range(KEPT)], busy=0.0, book=book), screens


def reputations_move(market: Market, count: int) -> float:
    """Seconds for `count` machines that become a little better or worse."""
    machines = market.random.sample(range(len(market.sellers.base)), count)
    before = market.sellers.reputation[machines].tolist()
    values = [max(0, value + market.random.randint(-20_000, 20_000)) for value in before]
    return market.time(market.reputations(machines, values))[0]


def matching(market: Market, batches: int) -> tuple[Times, Times, Times]:
    """As many reputations move as bids match as slots come back; screens in rotation."""
    bids, numbers, returns = Times(), Times(), Times()
    for turn in range(batches):
        numbers.add(reputations_move(market, SIZE), SIZE)
        screens = [(turn * SIZE + at) % len(market.demands) for at in range(SIZE)]
        seconds, rows = market.time(market.bids(screens))
        taken = [(row[0], row[1]) for row in rows if row[5] == MATCH]
        assert len(taken) == SIZE
        bids.add(seconds, SIZE)
        returns.add(market.time(market.returns(taken))[0], SIZE)
    market.try_some(market.random.sample(range(len(market.demands)), 30))
    return bids, numbers, returns


def never_seen(market: Market, make: Callable[[], Demand], count: int) -> tuple[Times, Times]:
    """One by one: keep a new screen and bid with it; and, with another, ask for a quote."""
    bids, quotes = Times(), Times()
    for _ in range(count // TOGETHER):
        reputations_move(market, SIZE)
        new = [(demand.screen(), market.first(demand)) for demand in (make() for _ in range(2 * TOGETHER))]
        for screen, wanted in new[:TOGETHER]:
            bids.add(bid_with(market, screen, wanted), 1)
        for screen, wanted in new[TOGETHER:]:
            begun = perf_counter()
            quote = market.book.quote_bid(0, OVER, 1, screen)
            quotes.add(perf_counter() - begun, 1)
            assert quote.slots == (wanted is not None)
            assert wanted is None or quote.cost == market.price[wanted]
    return bids, quotes


def bid_with(market: Market, screen: Screen, wanted: int | None) -> float:
    """Seconds for a bid with a screen never seen before, its keeping included."""
    market.handles.append(-1)
    begun = perf_counter()
    market.handles[-1] = market.book.keep_screen(screen)
    kept = perf_counter() - begun
    seconds, rows = market.time(market.bids([len(market.handles) - 1]))
    taken = [(row[0], row[1]) for row in rows if row[5] == MATCH]
    assert [ask for _, ask in taken] == ([] if wanted is None else [wanted])
    if taken:
        market.time(market.returns(taken))
    market.book.drop_screen(market.handles.pop())
    return kept + seconds


def figures_of(market: Market, screens: Screens, batches: int) -> Figures:
    bids, numbers, returns = matching(market, batches)
    one, quote_one = never_seen(market, screens.single, batches)
    none, quote_none = never_seen(market, screens.none, batches)
    many, _ = never_seen(market, lambda: screens.share(0.01), batches // 2)
    return together(
        bids.figures("distinct machines: match, 1% pass"),
        numbers.figures("distinct machines: reputation moves"),
        returns.figures("distinct machines: slot that comes back"),
        one.figures("distinct machines: new screen, one passes"),
        none.figures("distinct machines: new screen, none passes"),
        many.figures("distinct machines: new screen, 1% pass"),
        quote_one.figures("distinct machines: quote for a new screen, one passes"),
        quote_none.figures("distinct machines: quote for a new screen, none passes"),
    )
