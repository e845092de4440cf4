"""What the projections make of the log in a second: commits decoded, told to the feed, folded and stored.

The limit beside it is what SQLite takes to insert the rows that came out of it, with nothing else done.
Seconds are those of the processor, which in a market is shared with all others.
"""

import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from events.commit import decode
from exchange.batch import Batcher
from exchange.engine import Engine
from projections.store import Store, batches
from tests.market.play import HOUR_US, Play

TRADERS = 20
ORDERS = 10_000
IN_ONE = 500  # orders in a request of many
TOGETHER = 100  # requests in one commit
CONTRACTS = 1000
ROUNDS = 3


def _traders(play: Play) -> list[str]:
    names = [f"b{n}" for n in range(TRADERS)]
    for name in names:
        play.account(name, 1_000_000)
    return names


def _sellers(play: Play, cpus: int) -> None:
    for n in range(TRADERS):
        play.machine(f"s{n}", "m", cpus)
        play.order(f"s{n}", "ask", 20_000 + n, cpus, machine="m")


def resting() -> tuple[Play, int]:
    """One bid a request, of twenty accounts in turn, that rests; and how many there are."""
    play, dice = Play(), random.Random(7)
    names = _traders(play)
    for n in range(ORDERS):
        play.order(names[n % TRADERS], "bid", 19_000 + dice.randrange(100), 1)
    return play, ORDERS


def in_bulk() -> tuple[Play, int]:
    """The same in requests of 500."""
    play, dice = Play(), random.Random(7)
    names = _traders(play)
    for n in range(ORDERS // IN_ONE):
        bids = [{"kind": "bid", "price": 19_000 + dice.randrange(100), "size": 1} for _ in range(IN_ONE)]
        play.ask(names[n % TRADERS], "orders", orders=bids)
    return play, ORDERS


def matched() -> tuple[Play, int]:
    """Bids that match at once, each cancelled by the next request: two of its account's requests an order."""
    play = Play()
    _sellers(play, ORDERS // TRADERS)
    names = _traders(play)
    for n in range(ORDERS // 2):
        order = play.order(names[n % TRADERS], "bid", 20_100, 1)
        play.ask(names[n % TRADERS], "amend", order=order, size=0)
    return play, ORDERS


def hours_end() -> tuple[Play, int]:
    """A thousand contracts, charged and renewed twice; and how many times that was done."""
    play = Play()
    _sellers(play, CONTRACTS // TRADERS)
    for name in _traders(play):
        play.order(name, "bid", 20_100, CONTRACTS // TRADERS)
    play.wait(2 * HOUR_US)
    return play, 2 * CONTRACTS


def bodies(play: Play) -> list[bytes]:
    """The log's commits, a hundred requests in each."""
    batcher, made = Batcher(Engine()), []
    for start in range(0, len(play.requests), TOGETHER):
        done = batcher.decide(play.requests[start : start + TOGETHER])
        if done is not None:
            made.append(done[1])
    return made


def _follow(log: Sequence[bytes], path: Path) -> tuple[float, int]:
    """Seconds to take the log in, as the service does, and how many transactions it took."""
    with Store(path) as store:
        store.leave_checkpoints()
        begun, transactions = time.process_time(), 0
        for batch in batches(map(decode, log)):
            store.apply(batch)
            transactions += 1
        return time.process_time() - begun, transactions


def _insert(made: Path, path: Path, transactions: int) -> float:
    """Seconds to insert the rows of a store into tables and indexes like its own, in so many transactions."""
    with closing(sqlite3.connect(made)) as store, closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0"):
            raw.execute(f"PRAGMA {pragma}")
        work: list[tuple[str, list[tuple[object, ...]], int]] = []
        for kind, name, sql in store.execute("SELECT type, name, sql FROM sqlite_master WHERE sql != ''"):
            raw.execute(sql)
            if kind == "table":
                rows = store.execute(f'SELECT * FROM "{name}"').fetchall()
                marks = ", ".join("?" * len(rows[0])) if rows else ""
                work.append((f'INSERT INTO "{name}" VALUES ({marks})', rows, -(-len(rows) // transactions)))
        begun = time.process_time()
        for turn in range(transactions):
            raw.execute("BEGIN")
            for statement, rows, share in work:
                if part := rows[turn * share : (turn + 1) * share]:
                    raw.executemany(statement, part)
            raw.execute("COMMIT")
        return time.process_time() - begun


def _best(work: Callable[[Path], float]) -> float:
    """The best of some rounds, each in a directory of its own."""
    times = []
    for _ in range(ROUNDS):
        with TemporaryDirectory() as directory:
            times.append(work(Path(directory)))
    return min(times)


def projection_rates() -> dict[str, tuple[float, str]]:
    """Figures by name: (value, unit). Some seconds."""
    figures: dict[str, tuple[float, str]] = {}
    for name, what, flow in (
        ("bulk orders", "orders/s", in_bulk),
        ("single orders", "orders/s", resting),
        ("orders matched and cancelled", "requests/s", matched),
        ("hours charged and renewed", "contracts/s", hours_end),
    ):
        play, count = flow()
        log = bodies(play)
        seconds = _best(lambda directory, log=log: _follow(log, directory / "s")[0])  # type: ignore[misc]
        with TemporaryDirectory() as directory:
            made = Path(directory) / "s"
            _, transactions = _follow(log, made)
            raw = _best(lambda place, made=made, n=transactions: _insert(made, place / "raw", n))  # type: ignore[misc]
        figures[f"projected: {name}"] = (count / seconds, what)
        figures[f"SQLite alone, rows of {name}"] = (count / raw, what)
        figures[f"projected over SQLite alone: {name}"] = (seconds / raw, "times")
    return figures


if __name__ == "__main__":
    for name, (value, unit) in projection_rates().items():
        print(f"{name:56} {value:12,.2f} {unit}")
