"""What was chosen for the log, beside what else could have been: loops of asyncio, sizes of a group.

All variants of a comparison are up at once and take turns, each with the same load.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from bench.log_client import Job
from bench.log_findings import Findings, say, spread
from bench.log_load import CRASH, POWER, drive, market, traders
from bench.log_path import MORE, WINDOW
from bench.log_variant import CHOICE
from console import market as console_market
from console.children import module
from events.wire import dumps
from exchange.writer import GROUP

CLIENTS, ROUNDS, SECONDS = 2, 3, 4.0
GROUPS = (1, 16, 64, 256, 1024)
MOST_RATE = 12_000  # orders/s that the first round is prepared for


async def choices(folder: Path) -> Findings:
    """All comparisons."""
    found = Findings()
    loops: dict[str, dict[str, Any]] = {"uvloop": {}, "asyncio": {"loop": "asyncio"}}
    rates = await _compare(folder / "loops", CRASH, loops)
    found.table(
        f"Event loops of services and clients; single orders, {CRASH}",
        ("loop", "orders/s: median (least to most)"),
        [(name, spread(each)) for name, each in rates.items()],
    )
    found.figures["single orders, uvloop over asyncio"] = (
        median(rates["uvloop"]) / median(rates["asyncio"]),
        "times",
    )
    groups = {f"{size:,}": {"exchange.writer.GROUP": size} for size in sorted({*GROUPS, GROUP})}
    both = [await _compare(folder / name, name, groups) for name in (POWER, CRASH)]
    found.table(
        "Requests in one commit at most; single orders/s",
        ("group", POWER, CRASH),
        [
            (f"{name}{' (chosen)' if name == f'{GROUP:,}' else ''}", *(spread(each[name]) for each in both))
            for name in groups
        ],
    )
    return found


async def _compare(
    folder: Path, durability: str, variants: Mapping[str, dict[str, Any]]
) -> dict[str, list[float]]:
    """Orders/s of each variant, in rounds."""
    rates: dict[str, list[float]] = {name: [] for name in variants}
    async with contextlib.AsyncExitStack() as stack:
        markets = {}
        for name, choice in variants.items():
            with chosen(choice):
                running = await stack.enter_async_context(market(folder / name.replace(",", ""), durability))
            markets[name] = running, await traders(running, CLIENTS)
        for turn in range(ROUNDS + 1):
            for name, (running, keys) in markets.items():
                seconds = SECONDS if turn else SECONDS / 2
                count = int(max(rates[name], default=MOST_RATE) * seconds * MORE / CLIENTS)
                loop = str(variants[name].get("loop", "uvloop"))
                run = await drive(Job(running.server, "", "closed", count, seconds, WINDOW, loop=loop), keys)
                rates[name].append(run.rate)
    for each in rates.values():
        del each[0]  # the look that told how many to sign
    say(f"{durability}: " + "; ".join(f"{name} {spread(each)}" for name, each in rates.items()))
    return rates


@contextlib.contextmanager
def chosen(choice: dict[str, Any]) -> Iterator[None]:
    """Services that are started within are variants."""

    def variant(name: str, *arguments: str) -> list[str]:
        return module("bench.log_variant", name, *arguments)

    with (
        mock.patch.dict("os.environ", {CHOICE: dumps(choice).decode()}),
        mock.patch.object(console_market, "module", variant),
    ):
        yield
