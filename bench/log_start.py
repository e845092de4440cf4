"""A market with a million resting orders: how long it takes to start, and to fail over.

Start: from starting the exchange's process, beside a server that runs, to its first commit: it has read the
newest snapshot, folded the commits behind it, taken the lease, and decided. Failover: from SIGKILL of the
exchange that writes to the first commit of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

from nats.aio.client import Client as Nats

from bench.log_client import Job
from bench.log_findings import Findings, say, spread
from bench.log_load import CRASH, drive, market, processes, traders
from bench.tables import number
from console import server
from console.children import TETHER, environment, module
from console.data_directory import SNAPSHOTS, start_server, url
from console.keyring import Keyring, place
from console.market import Market
from events.log import connect, last_sequence
from events.subjects import JOURNAL
from exchange import snapshot
from exchange.standby import EVERY_EVENTS

ORDERS, TOGETHER, CLIENTS = 1_000_000, 500, 2
WINDOW = 12
ROUNDS = 3
PATIENCE_S = 240.0
LOOK_S = 0.005


async def start(folder: Path) -> Findings:
    """All of it."""
    found, data = Findings(), folder / "million"
    async with market(data, CRASH) as running:
        keys = await traders(running, CLIENTS)
        messages = ORDERS // TOGETHER // CLIENTS
        job = Job(running.server, "", "closed", messages, PATIENCE_S, WINDOW, orders=TOGETHER)
        run = await drive(job, keys, steady=False)
        assert run.heard * TOGETHER == ORDERS
        say(f"{ORDERS:,} orders rest")
        await _snapshot(data)
        overs = [await _fail_over(running, data) for _ in range(ROUNDS)]
    say(f"failover: {spread(overs)} s")
    starts = [await _start(data) for _ in range(ROUNDS)]
    size = snapshot.kept(data / SNAPSHOTS)[0].stat().st_size
    say(f"start: {spread(starts)} s, from a snapshot of {size / 1e6:.0f} MB")
    found.figures["start with a million resting orders and a snapshot"] = (median(starts), "s")
    found.figures["failover of the exchange, a million resting orders"] = (median(overs), "s")
    found.table(
        "Start and failover, a million resting orders",
        ("", "s: median (least to most)"),
        [
            (f"start, from a snapshot of {number(size / 1e6)} MB", spread(starts)),
            ("SIGKILL of the exchange to the other's first commit", spread(overs)),
        ],
    )
    return found


async def _snapshot(data: Path) -> None:
    """Wait for a snapshot that has most of the orders."""
    rows: dict[str, int] = {}
    async with asyncio.timeout(PATIENCE_S):
        while max(rows.values(), default=0) < ORDERS - EVERY_EVENTS * 5 // 4:
            await asyncio.sleep(0.5)
            for path in snapshot.kept(data / SNAPSHOTS):
                if path.name not in rows:
                    rows[path.name] = snapshot.count_in(path)


async def _fail_over(running: Market, data: Path) -> float:
    """Seconds from killing the writer to the other's first commit; then both stand again."""
    roles = await processes(running)
    logs = {child.name: data / f"logs/{child.name}.log" for child in running.exchanges}
    folded = {name: log.read_text().count("folded") for name, log in logs.items()}
    nc = await connect(running.server, running.keys.exchange, name="bench")
    try:
        before = await last_sequence(nc, JOURNAL)
        os.kill(roles["exchange"], signal.SIGKILL)
        took = await _next_commit(nc, before)
        async with asyncio.timeout(PATIENCE_S):  # the one that was killed stands by again
            while all(log.read_text().count("folded") == folded[name] for name, log in logs.items()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        await nc.close()
    return took


async def _next_commit(nc: Nats, before: int) -> float:
    """Seconds until JOURNAL is longer than it was."""
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while await last_sequence(nc, JOURNAL) == before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_S)
    return time.monotonic() - begun


async def _start(data: Path) -> float:
    """Seconds from starting the exchange on this data to its first commit."""
    keys = Keyring.load(data)
    async with _server(data) as address:
        nc = await connect(address, keys.exchange, name="bench", patience=PATIENCE_S)
        try:
            before = await last_sequence(nc, JOURNAL)
            words = ("--server", address, "--creds", place(data, "exchange"), "--snapshots", data / SNAPSHOTS)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(TETHER), str(os.getpid())),
                *module("exchange.service", *map(str, words)),
                env=environment(),
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                return await _next_commit(nc, before)
            finally:
                process.terminate()
                await process.wait()
        finally:
            await nc.close()


@contextlib.asynccontextmanager
async def _server(data: Path) -> AsyncIterator[str]:
    """The address of a server on this data, and nothing else of the market."""
    port = server.free_port("127.0.0.1")
    users = (data / server.USERS).read_text("utf-8")
    child = start_server(data, "127.0.0.1", port, users, lambda line: None)
    keeper = asyncio.create_task(child.keep())
    try:
        yield url("127.0.0.1", port)
    finally:
        await child.stop()
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
