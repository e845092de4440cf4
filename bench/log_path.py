"""The path of an order, from publishing its request to its own event on the own feed, at one durability.

The limit stands beside it in the same run: the same client processes publish the same signed bytes with the
same library, to a server with the market's configuration and users, with nothing behind it. Both are up all
the while and take turns, and each ratio is of a run of the market over the probes before and behind it.
Requests are signed beforehand: a client's signing is not what is measured.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench.log_client import Job
from bench.log_findings import Findings, at_share, say, spread
from bench.log_load import Run, TooFewError, alone, drive, market, processes, settled, traders
from bench.tables import number
from events.keys import Key

CLIENTS = (2, 3, 4)  # client processes that are tried; the probe's best is taken for the market too
ROUNDS = 3
MARKET_S, PROBE_S, TRIAL_S = 12.0, 4.0, 1.5
LATENCY_S, BULK_S = 6.0, 6.0
WINDOW = 1000  # unanswered single orders of each client
BULK, BULK_WINDOW = 500, 12  # orders in a message; unanswered messages of each client
MOST_RATE = 30_000  # orders/s that the first look at the market is prepared for
MORE = 1.5  # messages that are signed, over those expected
LEAST_RATE = 10_000  # orders/s that are signed for at least: a disk may be slow at one time, fast at another
TRIES = 4
BLIND = 100  # each so many-th message is acknowledged, where "none" is meant
ACKS, ASYNC, NONE = (
    "acknowledgements, counted",
    "acknowledgements, publish_async",
    "hardly any acknowledgement",
)
PROBES = {ACKS: ("acks", 1), ASYNC: ("async", 1), NONE: ("acks", BLIND)}


@dataclass
class Both:
    """A market and a server alone, of one durability, and who trades at them."""

    name: str
    address: str
    keys: Sequence[Key]
    processes: dict[str, int]
    alone: str
    alone_keys: Sequence[Key]
    alone_pid: int
    clients: int = 0
    rates: dict[str, list[float]] = field(default_factory=dict)

    async def probe(self, way: str, seconds: float, clients: int | None = None) -> Run:
        """The server alone."""
        how, every = PROBES[way]
        job = Job(self.alone, "", how, WINDOW, seconds, WINDOW, every=every)
        return await drive(job, self.alone_keys[: clients or self.clients], {"nats-server": self.alone_pid})

    async def load(self, job: Job) -> Run:
        """The market; `job.messages` and `job.rate` are those of all clients together."""
        for _ in range(TRIES):
            each = replace(job, messages=int(job.messages / self.clients), rate=job.rate / self.clients)
            try:
                return await drive(each, self.keys[: self.clients], self.processes)
            except TooFewError:
                job = replace(job, messages=job.messages * 2)
        raise RuntimeError(f"{job.messages} messages are too few for {job.seconds:g} s")

    def single(self, rate: float, seconds: float) -> Job:
        """As many single orders as the market takes, expected at `rate`."""
        messages = int(max(rate * MORE, LEAST_RATE) * seconds)
        return Job(self.address, "", "closed", messages, seconds, WINDOW)

    def bulk(self, rate: float, seconds: float) -> Job:
        """As many orders as it takes, BULK in a message."""
        messages = int(max(rate * MORE, 2 * LEAST_RATE) * seconds) // BULK
        return Job(self.address, "", "closed", messages, seconds, BULK_WINDOW, orders=BULK)

    def open(self, rate: float, seconds: float) -> Job:
        """Single orders on a schedule."""
        return Job(self.address, "", "open", int(rate * seconds), seconds, rate=rate)


async def path(folder: Path, name: str) -> Findings:
    """Everything about the path of an order at durability `name`."""
    most = max(CLIENTS)
    async with (
        alone(folder / "alone", name, most) as (address, alone_keys, pid),
        market(folder / "market", name) as running,
    ):
        keys = await traders(running, most)
        both = Both(name, running.server, keys, await processes(running), address, alone_keys, pid)
        found = await _clients(both)
        found.merge(await _single(both))
        late = await settled(both.processes)
        found.figures[f"notary and standby catch up with {ROUNDS} runs of single orders, {name}"] = (
            late,
            "s",
        )
        found.merge(await _latency(both, found.figures[f"single orders, {name}"][0] / 2))
        await settled(both.processes)
        found.merge(await _bulk(both))
        return found


async def _clients(both: Both) -> Findings:
    """How many client processes get the most out of the server alone."""
    found, rates = Findings(), {}
    for clients in CLIENTS:
        rates[clients] = (await both.probe(ACKS, TRIAL_S, clients)).rate
    both.clients = max(rates, key=lambda clients: rates[clients])
    say(f"{both.name}: {both.clients} client processes, {number(rates[both.clients])} messages/s alone")
    found.figures[f"client processes, {both.name}"] = (both.clients, "processes")
    return found


async def _single(both: Both) -> Findings:
    """Single orders beside the probes."""
    found, name = Findings(), both.name
    expected = (await both.load(both.single(MOST_RATE, TRIAL_S))).rate
    runs: list[Run] = []
    probes = {way: [(await both.probe(way, PROBE_S)).rate] for way in PROBES}
    for turn in range(ROUNDS):
        runs.append(await both.load(both.single(max(expected, *(run.rate for run in runs), 0), MARKET_S)))
        for way, rates in probes.items():
            rates.append((await both.probe(way, PROBE_S)).rate)
        say(f"{name}: round {turn + 1} of {ROUNDS}: {number(runs[-1].rate)} orders/s")
    market_rates = [run.rate for run in runs]
    found.figures[f"single orders, {name}"] = (median(market_rates), "orders/s")
    rows = [("the market, orders/s", spread(market_rates), "")]
    best = [
        max((rates[turn] + rates[turn + 1]) / 2 for rates in (probes[ACKS], probes[ASYNC]))
        for turn in range(ROUNDS)
    ]
    found.figures[f"single orders over nats-py alone, {name}"] = (
        median(rate / limit for rate, limit in zip(market_rates, best, strict=True)),
        "times",
    )
    for way, rates in probes.items():
        limits = [(before + behind) / 2 for before, behind in itertools.pairwise(rates)]
        ratios = [rate / limit for rate, limit in zip(market_rates, limits, strict=True)]
        found.figures[f"single orders over nats-py alone, {way}, {name}"] = (median(ratios), "times")
        found.figures[f"nats-py alone, {way}, {name}"] = (median(rates), "messages/s")
        rows.append((f"nats-py alone, {way}, messages/s", spread(rates), spread(ratios)))
    found.table(f"Single orders, {name}", ("", "rate: median (least to most)", "market over it"), rows)
    found.table(f"CPU for each single order, {name}", ("process", "µs"), _cpu(runs))
    return found


async def _latency(both: Both, rate: float) -> Findings:
    """From when a request was due to its own event, at a rate that the market can do."""
    found, halves, tails = Findings(), [], []
    for _ in range(ROUNDS):
        waits = (await both.load(both.open(rate, LATENCY_S))).waits
        halves.append(at_share(waits, 0.5) * 1e3)
        tails.append(at_share(waits, 0.99) * 1e3)
    say(f"{both.name}: p99 {spread(tails)} ms at {number(rate)} orders/s")
    found.figures[f"publish to own event at half the maximum, median, {both.name}"] = (median(halves), "ms")
    found.figures[f"publish to own event at half the maximum, p99, {both.name}"] = (median(tails), "ms")
    return found


async def _bulk(both: Both) -> Findings:
    """Orders, BULK in each message."""
    found, name, expected = Findings(), both.name, 0.0
    runs: list[Run] = []
    for turn in range(ROUNDS + 1):
        run = await both.load(both.bulk(expected or MOST_RATE * 4, TRIAL_S * 2 if turn == 0 else BULK_S))
        expected = max(expected, run.rate * BULK)
        runs += [run] if turn else []
    rates = [run.rate * BULK for run in runs]
    say(f"{name}: {spread(rates)} orders/s in messages of {BULK}")
    found.figures[f"bulk orders, {name}"] = (median(rates), "orders/s")
    found.table(f"CPU for each order of {BULK} in a message, {name}", ("process", "µs"), _cpu(runs, BULK))
    return found


def _cpu(runs: Sequence[Run], orders: int = 1) -> list[tuple[str, str]]:
    """CPU time for each order, by process; that of the clients together."""
    used: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        clients = sum(each for name, each in run.cpu.items() if name.startswith("client"))
        for name, each in run.cpu.items():
            if not name.startswith("client"):
                used[name].append(each / orders)
        used["clients"].append(clients / orders)
        used["all"].append(sum(run.cpu.values()) / orders)
    return [(name, number(median(each))) for name, each in used.items() if each]
