"""The log's speed: the path of an order beside the server alone, replay, audit, start and failover.

Everything runs through real servers and processes, side by side with its limit. The suite takes about a
quarter of an hour; where it is, it says on the terminal.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.log_choices import choices
from bench.log_findings import Findings, at_share, say
from bench.log_load import DURABILITIES, POWER, market, traders
from bench.log_path import path
from bench.log_proof import proof
from bench.log_start import start
from console.market import Market
from events import subjects
from events.client import Client
from events.log import connect

ONE_BY_ONE = 200
IDLE_S = 20

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory on the disk of this checkout: a directory in memory has no fsync."""
    place = Path.cwd() / "var"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as name:
        yield Path(name)


def keep(benchmark: BenchmarkFixture, found: Findings) -> None:
    """Hand over what was found."""
    benchmark.extra_info["figures"] = found.figures
    benchmark.extra_info["tables"] = found.tables


@pytest.mark.parametrize("durability", DURABILITIES)
def test_path(benchmark: BenchmarkFixture, folder: Path, durability: str) -> None:
    keep(benchmark, benchmark.pedantic(lambda: asyncio.run(path(folder, durability)), rounds=1))


async def quiet(folder: Path) -> Findings:
    """A market with nothing to do, and then with one order at a time."""
    found = Findings()
    async with market(folder / "quiet", POWER) as running:
        found.figures["an idle market writes"] = (await idle(running), "MB/day")
        (key,) = await traders(running, 1)
        async with await Client.connect(running.server, key, name="bench") as client:
            waits = []
            for _ in range(ONE_BY_ONE):
                begun = asyncio.get_running_loop().time()
                await client.request("bid", price=10, size=1)
                waits.append(asyncio.get_running_loop().time() - begun)
    for name, share in (("median", 0.5), ("p99", 0.99)):
        found.figures[f"one order at a time, {name}"] = (at_share(sorted(waits), share) * 1e3, "ms")
    say(f"an idle market writes {found.figures['an idle market writes'][0]:.2f} MB/day")
    return found


async def idle(running: Market) -> float:
    """MB a day that an idle market writes to its streams."""
    nc = await connect(running.server, running.operator_key, name="probe")
    js = nc.jetstream()

    async def size() -> int:
        return sum([(await js.stream_info(name)).state.bytes for name in (subjects.INTAKE, subjects.JOURNAL)])

    before = await size()
    await asyncio.sleep(IDLE_S)
    grown = await size() - before
    await nc.close()
    return grown * 86_400 / IDLE_S / 1e6


def test_quiet(benchmark: BenchmarkFixture, folder: Path) -> None:
    keep(benchmark, benchmark.pedantic(lambda: asyncio.run(quiet(folder)), rounds=1))


def test_start(benchmark: BenchmarkFixture, folder: Path) -> None:
    keep(benchmark, benchmark.pedantic(lambda: asyncio.run(start(folder)), rounds=1))


def test_proof(benchmark: BenchmarkFixture, folder: Path) -> None:
    keep(benchmark, benchmark.pedantic(lambda: proof(folder), rounds=1))


def test_choices(benchmark: BenchmarkFixture, folder: Path) -> None:
    keep(benchmark, benchmark.pedantic(lambda: asyncio.run(choices(folder)), rounds=1))
