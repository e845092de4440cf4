"""Loads a market, or a server alone, from several client processes, and says what came of it.

`Run.rate` is of the steady middle of a run: the first `WARM` of it is left out, and its end is where the
first client had nothing left to send.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

from bench.log_client import Job, line
from console import server
from console.children import TETHER, environment, module
from console.keyring import Keyring
from console.market import Market
from events.client import Client
from events.keys import Key
from events.log import UnreachableError, connect, make_streams
from events.wire import loads
from exchange.lease import holder

POWER, CRASH = "power-loss", "process-crash"
DURABILITIES = (POWER, CRASH)
WARM = 0.15  # of a run
HEAD_S = 0.3  # from the word to begin to the beginning
PATIENCE_S = 240.0
WATCH_S = 0.1
SETTLE_S, IDLE = 1.0, 0.25  # looked at for so long, a process that uses less of a core has nothing to do
TICKS = os.sysconf("SC_CLK_TCK")
LINE_BYTES = 64 * 1024 * 1024
PLENTY = 10**12  # micro-credits


class TooFewError(Exception):
    """The clients had sent all their messages too early to tell a rate: give them more."""


@dataclass
class Run:
    """What a run of clients came to. Rates are in messages."""

    rate: float
    seconds: float  # of the steady middle
    heard: int  # in all
    waits: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)  # µs of each process, for each message


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, with all its threads."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def at(samples: Sequence[tuple[float, int]], instant: float) -> float:
    """How many answers had been heard at an instant."""
    place = bisect_right(samples, instant, key=lambda sample: sample[0])
    if place == 0:
        return 0.0
    if place == len(samples):
        return samples[-1][1]
    (before, low), (after, high) = samples[place - 1], samples[place]
    return low + (high - low) * (instant - before) / (after - before)


async def drive(
    job: Job, keys: Sequence[Key], processes: Mapping[str, int] | None = None, *, steady: bool = True
) -> Run:
    """Do the job in as many processes as there are keys; `processes` are others whose CPU time is wanted.

    Raises RuntimeError where a client process fails or an order is refused, TooFewError (`steady`).
    """
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(replace(job, seed=key.seed))) for key in keys]
        async with asyncio.timeout(PATIENCE_S):
            for client in clients:
                await _line(client)
        begin = time.monotonic() + HEAD_S
        for client in clients:
            assert client.stdin is not None
            client.stdin.write(f"{begin!r}\n".encode())
        pids = dict(processes or {}) | {f"client {n}": client.pid for n, client in enumerate(clients, 1)}
        marks: list[tuple[float, dict[str, float]]] = []
        watched = asyncio.create_task(_watch(pids, marks))
        stack.callback(watched.cancel)
        async with asyncio.timeout(PATIENCE_S):
            results = [loads(await _line(client)) for client in clients]
        if any(result["refused"] for result in results):
            raise RuntimeError(f"orders were refused: {[result['refused'] for result in results]}")
        samples = [result["samples"] for result in results]
        start = begin + WARM * job.seconds
        end = min(begin + job.seconds, *(each[-1][0] for each in samples))
        if steady and end < start + (1 - WARM) / 2 * job.seconds:
            raise TooFewError(f"{end - begin:.1f} s instead of {job.seconds:g} s")
        watched.cancel()
        used = _used(marks, samples, start, end)
    heard = sum(at(each, end) - at(each, start) for each in samples)
    whole = sum(each[-1][1] for each in samples)
    waits = sorted(wait for result in results for wait in result["waits"])
    return Run(heard / (end - start), end - start, whole, waits, used)


async def _watch(pids: Mapping[str, int], marks: list[tuple[float, dict[str, float]]]) -> None:
    """Note the CPU times of the processes, again and again."""
    while True:
        marks.append((time.monotonic(), {name: cpu_seconds(pid) for name, pid in pids.items()}))
        await asyncio.sleep(WATCH_S)


def _used(
    marks: Sequence[tuple[float, dict[str, float]]],
    samples: Sequence[Sequence[tuple[float, int]]],
    start: float,
    end: float,
) -> dict[str, float]:
    """µs of CPU of each process for each message, between two instants; nothing where that was too short."""
    inside = [mark for mark in marks if start <= mark[0] <= end]
    if len(inside) < 2:
        return {}
    (begun, first), (ended, last) = inside[0], inside[-1]
    messages = sum(at(each, ended) - at(each, begun) for each in samples)
    return {name: (last[name] - first[name]) / messages * 1e6 for name in first}


@contextlib.asynccontextmanager
async def _client(job: Job) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client process, which is gone at the end, and told its job."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(TETHER), str(os.getpid())),
        *module("bench.log_client"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
        env=environment(),
    )
    try:
        assert process.stdin is not None
        process.stdin.write(line(job))
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    """The next line that a client process says."""
    assert process.stdout is not None
    text = await process.stdout.readline()
    if not text:
        raise RuntimeError("a client process failed; it said why above")
    return text


@contextlib.asynccontextmanager
async def market(folder: Path, name: str) -> AsyncIterator[Market]:
    """A running market at a durability."""
    async with Market(folder, durability=name) as running:
        yield running


async def processes(running: Market) -> dict[str, int]:
    """The market's processes by what they do."""
    nc = await connect(running.server, running.keys.exchange, name="bench")
    try:
        leader = await holder(nc)
    finally:
        await nc.close()
    roles = {child.name: "exchange" if child.name == leader else "standby" for child in running.exchanges}
    return {roles.get(name, name): child.pid for name, child in running.children.items()}


async def settled(pids: Mapping[str, int]) -> float:
    """Wait until all these processes have next to nothing to do; returns how many seconds that took."""
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            await asyncio.sleep(SETTLE_S)
            if all(cpu_seconds(pid) - before[name] < IDLE * SETTLE_S for name, pid in pids.items()):
                return time.monotonic() - begun - SETTLE_S


async def traders(running: Market, count: int) -> list[Key]:
    """Accounts with plenty of money."""
    keys = [Key.make() for _ in range(count)]
    async with await Client.connect(running.server, running.operator_key, name="operator") as operator:
        for n, key in enumerate(keys):
            await operator.request("account", account=key.public, name=f"bench{n}")
            await operator.request("deposit", account=key.public, amount=PLENTY, reference="bench")
    for key in keys:
        async with await Client.connect(running.server, key, name="trader", patience=10):
            pass
    return keys


@contextlib.asynccontextmanager
async def alone(folder: Path, name: str, count: int) -> AsyncIterator[tuple[str, list[Key], int]]:
    """A server with the market's own configuration and users and nothing behind it: address, traders, pid.

    Its stream INTAKE is the market's, but it acknowledges where that is asked for.
    """
    keys, market_keys = [Key.make() for _ in range(count)], Keyring.load_or_make(folder)
    users = [server.exchange(market_keys.exchange.public), *(server.trader(key.public) for key in keys)]
    port = server.free_port("127.0.0.1")
    (folder / "logs").mkdir()
    (folder / server.USERS).write_text(server.users(users))
    (folder / "nats.conf").write_text(server.config(folder, "127.0.0.1", port, durability=name))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(TETHER), str(os.getpid())),
        *(server.executable(), "--config", str(folder / "nats.conf")),
    )
    address = f"nats://127.0.0.1:{port}"
    try:
        nc = await connect(address, market_keys.exchange, name="probe", patience=15)
        try:
            with mock.patch("events.log.StreamConfig", _acknowledging):
                await make_streams(nc)
        finally:
            await nc.close()
        yield address, keys, process.pid
    except UnreachableError as error:
        raise RuntimeError(f"the server alone does not start: {error}") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _acknowledging(**options: object) -> object:
    from nats.js.api import StreamConfig

    return StreamConfig(**(options | {"no_ack": False}))  # type: ignore[arg-type]
