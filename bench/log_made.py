"""A large log for measuring what reads logs: requests, signed and decided by the engine, kept as an archive.

A market of SELLERS and BUYERS trades for many short hours: most contracts are renewed hour by hour, around
them orders come, are amended, cancelled and matched. The same seed gives the same bytes.

`python -m bench.log_made DIRECTORY EVENTS` makes one; `python -m bench.log_made DIRECTORY` replays it.
"""

import functools
import random
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from events import records as r
from events import subjects
from events.archive import Archive, Writer
from events.commit import RULES, parts
from events.keys import Key
from events.requests import encode
from events.wire import Stored
from exchange.batch import Batcher
from exchange.engine import Engine
from projections.journal import ArchiveJournal
from projections.replay import Replay
from tests.market import play

SELLERS, MACHINES, CPUS = 20, 10, 10  # machines of each seller, CPUs of each machine
BUYERS = 10
RUNNING = SELLERS * MACHINES * CPUS * 3 // 4  # contracts that the standing bids keep going
SINGLE, MANY, TOGETHER = 40, 4, 25  # between two ticks: requests of one order, of many, orders in each
MOST_RESTING = 4000 // BUYERS  # bids of one buyer
GROUP = 256  # requests in one commit at most, as the exchange's
HOUR_US, TICK_NS = 60_000_000, 5_000_000_000
PRICE = 20_000
FUNDS = 10**14
SESSION = 1


@functools.cache
def key_of(name: str) -> Key:
    return play.key_of(name)


class _Market:
    """Asks, decides, and writes; keeps of what happened only what it asks about again."""

    def __init__(self, writer: Writer, seed: int) -> None:
        self.events = 0
        self._writer, self._dice = writer, random.Random(seed)
        self._batcher = Batcher(Engine())
        self._pending: list[Stored] = []
        self._time_ns = 1_700_000_000 * 10**9
        self._numbers: dict[str, int] = {}
        self._resting: dict[str, deque[int]] = {f"b{n}": deque() for n in range(BUYERS)}  # bids to amend
        self._opened: deque[tuple[int, str, str]] = deque(maxlen=200)  # contracts: number, buyer, seller
        self._charged: deque[tuple[int, int, str]] = deque(maxlen=200)  # hours: contract, hour, buyer
        self._names: dict[str, str] = {}

    def open(self) -> None:
        """The market with its sellers' asks and the bids that keep most of them busy."""
        terms = {"hour_us": HOUR_US, "lost_after_us": HOUR_US // 10, "fee_ppm": 10_000}
        self._ask("operator", "open", exchange=key_of("exchange").public, **terms)
        self._own("epoch")
        for version in range(2, RULES + 1):
            self._own("rules", version=version)
        self._own("tick")
        sellers, buyers = [f"s{n}" for n in range(SELLERS)], [f"b{n}" for n in range(BUYERS)]
        for name in (*sellers, *buyers):
            key = key_of(name).public
            self._names[key] = name
            self._ask("operator", "account", account=key, name=name)
            self._ask("operator", "deposit", account=key, amount=FUNDS, reference="to begin with")
            self._own("back", parties=[[key, subjects.CLIENT]])
        for name in sellers:
            for machine in (f"m{n}" for n in range(MACHINES)):
                numbers = {"memory_mb": 1024 * self._dice.randrange(1, 9), "jail": 3}
                self._ask(name, "machine", machine=machine, cpus=CPUS, numbers=numbers, flags=["x86_64"])
                self._own("back", parties=[[key_of(name).public, machine]])
                self._ask(name, "ask", machine=machine, price=PRICE + self._dice.randrange(100), size=CPUS)
        for n in range(RUNNING // 10):
            self._ask(buyers[n % BUYERS], "bid", price=2 * PRICE, size=10)
        self.flush()
        for bids in self._resting.values():
            bids.clear()  # they stand to the end

    def step(self) -> None:
        """Traders' requests, and the tick behind them."""
        for _ in range(SINGLE):
            self._trade()
        for _ in range(MANY):
            buyer = self._buyer()
            orders = [self._order(buyer) for _ in range(TOGETHER)]
            self._ask(buyer, "orders", orders=[{"kind": kind, **body} for kind, body in orders])
        checked = self._writer.next(subjects.INTAKE) - 1
        self._send("exchange", "checked", {"through": checked})
        self._time_ns += TICK_NS
        self._own("tick")

    def flush(self) -> None:
        """Decide what was asked and write what happened."""
        done = self._batcher.decide(self._pending)
        self._pending.clear()
        if done is None:
            return
        commit, body = done
        for part in parts(body):
            sequence = self._writer.next(subjects.JOURNAL)
            self._writer.add(subjects.JOURNAL, Stored(sequence, self._time_ns, subjects.COMMIT, part))
        self.events += len(commit.events)
        for _, event in commit.events:
            if type(event) is r.BidPlaced:
                self._resting[self._names[event.account]].append(event.order)
            elif type(event) is r.ContractOpened:
                self._opened.append((event.contract, self._names[event.buyer], self._names[event.seller]))
            elif type(event) is r.HourCharged:
                self._charged.append((event.contract, event.hour, self._names[event.buyer]))

    def _trade(self) -> None:
        """One request of a trader's: an order, a word about a contract, or a vote."""
        chance = self._dice.random()
        if chance < 0.08 and self._opened:
            contract, buyer, seller = self._opened.popleft()
            self._ask(buyer, "sent", contract=contract)
            if self._dice.random() < 0.95:
                self._ask(seller, "started", contract=contract)
        elif chance < 0.12 and self._charged:
            contract, hour, buyer = self._charged.popleft()
            self._ask(buyer, "vote", contract=contract, hour=hour, good=self._dice.random() < 0.9)
        else:
            buyer = self._buyer()
            kind, body = self._order(buyer)
            self._ask(buyer, kind, **body)

    def _buyer(self) -> str:
        return f"b{self._dice.randrange(BUYERS)}"

    def _order(self, buyer: str) -> tuple[str, dict[str, Any]]:
        """A bid, one in five to be matched at once; or another price, or the end, of one that may rest."""
        dice, bids = self._dice, self._resting[buyer]
        chance = dice.random()
        if bids and (chance < 0.35 or len(bids) > MOST_RESTING):
            return "amend", {"order": bids.popleft(), "size": 0}
        if bids and chance < 0.45:
            return "amend", {
                "order": bids[dice.randrange(len(bids))],
                "price": PRICE - dice.randrange(1, 500),
            }
        price = PRICE + 200 if dice.random() < 0.2 else PRICE - dice.randrange(1, 500)
        screen = {"minimums": {"memory_mb": 2048}} if dice.random() < 0.3 else {}
        return "bid", {"price": price, "size": dice.randrange(1, 4), **screen}

    def _ask(self, who: str, kind: str, /, **body: Any) -> None:
        number = self._numbers[who] = self._numbers.get(who, 0) + 1
        self._send(who, kind, {"session": SESSION, "number": number, **body})

    def _own(self, kind: str, /, **body: Any) -> None:
        self._send("exchange", kind, {"epoch": 1, **body})

    def _send(self, name: str, kind: str, body: dict[str, Any]) -> None:
        key = key_of(name)
        subject = subjects.intake(key.public, kind)
        self._time_ns += 1000
        sequence = self._writer.next(subjects.INTAKE)
        stored = Stored(sequence, self._time_ns, subject, encode(key, subject, body))
        self._writer.add(subjects.INTAKE, stored)
        self._pending.append(stored)
        if len(self._pending) == GROUP:
            self.flush()


def make(path: Path, events: int, seed: int = 1) -> int:
    """Write an archive of at least so many events; returns how many. O(market) memory."""
    with Archive(path).writing() as writer:
        market = _Market(writer, seed)
        market.open()
        while market.events < events:
            market.step()
        market.flush()
    return market.events


def replay_rate(path: Path) -> float:
    """Events per second of a replay of an archive from its first event to its last."""
    begun = time.perf_counter()
    replay = Replay(ArchiveJournal(Archive(path)))
    replay.run()
    return replay.events / (time.perf_counter() - begun)


def replay_memory(path: Path) -> int:
    """The most memory, in bytes, that a process has had that replays an archive."""
    command, root = [sys.executable, "-c", _MEMORY, str(path)], Path(__file__).parent.parent
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=root)
    return int(done.stdout)


_MEMORY = """
import resource, sys
from pathlib import Path
from bench.log_made import replay_rate
replay_rate(Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    """Make a log, or replay one."""
    path = Path(sys.argv[1])
    begun = time.perf_counter()
    if len(sys.argv) > 2:
        events = make(path, int(sys.argv[2]))
        print(f"{events} events made in {time.perf_counter() - begun:.1f} s")
    else:
        print(f"{replay_rate(path):.0f} events/s, at most {replay_memory(path) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
