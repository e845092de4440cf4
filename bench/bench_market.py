"""The market's own speed: deciding orders, folding events, admitting requests.

Figures: ns for each order or event. The limits beside them are what the same bytes cost with nothing done:
the book alone for deciding, parsing alone for replay, Ed25519 alone for admission.
"""

import random
import time
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from events.commit import RULES, decode, encode
from events.keys import is_signed, raw_key
from events.log import Stored
from events.requests import signed_bytes, split
from events.wire import loads
from exchange.admission import admit
from exchange.batch import Batcher
from exchange.book import Screen, make_book
from exchange.engine import Engine
from exchange.recovery import fold_commit
from exchange.state import State
from tests.market.play import Play

ORDERS = 10_000
SELLERS = 20


def orders(count: int = ORDERS) -> Play:
    """A market with sellers, and `count` bids and cancels around their prices, not decided yet."""
    dice = random.Random(7)
    play = Play()
    for n in range(SELLERS):
        play.machine(f"s{n}", "m", 100)
        play.order(f"s{n}", "ask", 20_000 + n, 100, machine="m")
    for n in range(SELLERS):
        play.account(f"b{n}", 1_000_000)
    for n in range(count):
        name = f"b{dice.randrange(SELLERS)}"
        play.numbers[name] = play.numbers.get(name, 0) + 1
        price = dice.choice((19_000, 19_990, 20_005)) if n % 10 else 20_050
        body = {"session": 1, "number": play.numbers[name], "price": price, "size": 1}
        play.requests.append(play.message(name, "bid", body))
    return play


@pytest.fixture(scope="module")
def play() -> Play:
    return orders()


def best(benchmark: BenchmarkFixture) -> float:
    """Seconds of the best round."""
    assert benchmark.stats is not None
    return float(benchmark.stats.stats.min)


def seconds(work: Callable[[], object]) -> float:
    """The best of three."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def test_decide(benchmark: BenchmarkFixture, play: Play) -> None:
    head, rest = play.requests[:-ORDERS], [admit(stored, RULES) for stored in play.requests[-ORDERS:]]

    def fresh() -> tuple[tuple[Engine], dict[str, object]]:
        engine = Engine()
        for stored in head:
            engine.decide(admit(stored, engine.state.rules))
        return (engine,), {}

    def work(engine: Engine) -> int:
        return sum(len(engine.decide(request)) for request in rest)

    assert benchmark.pedantic(work, setup=fresh, rounds=5) > ORDERS

    def book_alone() -> None:
        book = make_book()
        book.set_account(0, True, 2**60)
        for place, request in enumerate(rest):
            book.add_bid(place, 0, request.body["price"], 1, place, Screen())

    ns = best(benchmark) / ORDERS * 1e9
    benchmark.extra_info["figures"] = {
        "order decided": [ns / 1000, "µs"],
        "order decided, over adding it to the book alone": [
            ns / (seconds(book_alone) / ORDERS * 1e9),
            "times",
        ],
    }


def test_replay(benchmark: BenchmarkFixture, play: Play) -> None:
    batcher, bodies = Batcher(Engine()), []
    for start in range(0, len(play.requests), 100):
        done = batcher.decide(play.requests[start : start + 100])
        if done is not None:
            bodies.append(encode(done[0]))
    events = sum(len(decode(body).events) for body in bodies)

    def work() -> State:
        state = State()
        for body in bodies:
            fold_commit(state, decode(body))
        return state

    assert benchmark.pedantic(work, rounds=5).total() == 0
    whole = best(benchmark)
    parsing = seconds(lambda: [loads(body) for body in bodies])
    commits = [decode(body) for body in bodies]

    def folding() -> None:
        state = State()
        for commit in commits:
            for _, event in commit.events:
                state.fold(event)

    benchmark.extra_info["figures"] = {
        "event folded": [seconds(folding) / events * 1e6, "µs"],
        "events replayed": [events / whole, "events/s"],
        "event replayed, over parsing its JSON alone": [whole / parsing, "times"],
    }


def test_admission(benchmark: BenchmarkFixture, play: Play) -> None:
    messages = play.requests[-2000:]

    def checked(stored: Stored) -> bool:
        signature, content = split(stored.data) or ("", b"")
        raw = raw_key(stored.subject.split(".")[1]) or b""
        return is_signed(raw, signature, signed_bytes(stored.subject, content))

    def work() -> int:
        return sum(not admit(stored, RULES).refusal for stored in messages)

    assert benchmark.pedantic(work, rounds=5) == len(messages)
    alone = seconds(lambda: all(checked(stored) for stored in messages))
    benchmark.extra_info["figures"] = {
        "request admitted": [best(benchmark) / len(messages) * 1e6, "µs"],
        "request admitted, over its signature alone": [best(benchmark) / alone, "times"],
    }
