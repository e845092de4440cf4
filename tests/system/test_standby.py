"""Two exchanges on one log: whoever leads may die or sleep, and nobody notices more than a pause."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client as Nats

from console.children import Child, module
from console.data_directory import closing
from console.keyring import place
from console.market import Market
from events import subjects
from events.client import Client
from events.keys import Key
from events.log import connect, last_sequence
from exchange import snapshot
from exchange.lease import holder
from tests.system import proof

BOUND_S = 150  # for hanging only


class Two:
    """A market, its operator, and who leads."""

    def __init__(self, market: Market, operator: Client, nc: Nats, said: list[str]) -> None:
        self.market, self.operator, self.nc, self.said = market, operator, nc, said
        self.accounts = 0

    async def leader(self) -> Child:
        while True:
            with suppress(nats.errors.Error):
                name = await holder(self.nc)
                if name:
                    return self.market.children[name]
            await asyncio.sleep(0.05)

    async def other(self) -> Child:
        leader = await self.leader()
        return next(child for child in self.market.exchanges if child is not leader)

    async def epoch(self) -> int:
        epoch: int = (await self.operator.query("status"))["result"]["epoch"]
        return epoch

    async def work(self) -> None:
        """A request, answered: somebody leads."""
        self.accounts += 1
        await self.operator.request(
            "account", account=Key.make().public, name=f"a{self.accounts}", timeout=BOUND_S
        )

    async def audit(self) -> None:
        """The log agrees with itself, from its beginning to its end."""
        log = await proof.read_log(self.operator.nc)
        proof.check_ledger(log)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "console", "audit", "--data", str(self.market.data), "--json"),
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
        result = json.loads(told)
        assert (process.returncode, result["ok"]) == (0, True), result


@asynccontextmanager
async def two(data: Path) -> AsyncIterator[Two]:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        print(line)

    async with asyncio.timeout(BOUND_S), Market(data, hour_s=10, lost_after_s=1, say=say) as market:
        key = market.operator_key
        async with (
            await Client.connect(market.server, key, name="test") as operator,
            closing(await connect(market.server, market.keys.exchange, name="test")) as nc,
        ):
            yield Two(market, operator, nc, said)


async def until(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110 - a child does not tell
        await asyncio.sleep(0.02)


async def started(child: Child, starts: int) -> None:
    """Again, after so many starts."""
    await until(lambda: child.starts > starts)


def test_a_killed_leader_is_followed_by_the_other(tmp_path: Path) -> None:
    async def run() -> None:
        async with two(tmp_path) as it:
            for _ in range(3):
                await it.work()
                before, epoch = await it.leader(), await it.epoch()
                starts = before.starts
                killed = time.monotonic()
                os.kill(before.pid, signal.SIGKILL)
                await it.work()
                print(f"failover in {time.monotonic() - killed:.2f} s")
                while await it.epoch() == epoch:  # noqa: ASYNC110 - others may be answered before it
                    await asyncio.sleep(0.05)
                assert await it.epoch() == epoch + 1
                await started(before, starts)
            await it.audit()

    asyncio.run(run())


def test_a_leader_that_slept_past_its_lease_does_no_harm_and_stands_by(tmp_path: Path) -> None:
    async def run() -> None:
        async with two(tmp_path) as it:
            for _ in range(2):
                await it.work()
                sleeper = await it.leader()
                pid, starts = sleeper.pid, sleeper.starts
                os.kill(pid, signal.SIGSTOP)
                await it.work()
                assert await it.leader() is not sleeper
                os.kill(pid, signal.SIGCONT)
                await started(sleeper, starts)
                (line,) = (line for line in it.said if line.startswith(f"{sleeper.name} ended with 1"))
                assert "has the lease" in line or "another exchange writes" in line
                it.said.clear()
                await it.work()
            await it.audit()

    asyncio.run(run())


def test_a_leader_told_to_end_hands_over_at_once(tmp_path: Path) -> None:
    """It gives the lease back: the other need not wait until it runs out."""

    async def run() -> None:
        async with two(tmp_path) as it:
            await it.work()
            leader, other = await it.leader(), await it.other()
            os.kill(leader.pid, signal.SIGTERM)
            await until(lambda: any(f"{leader.name} ended with 0" in line for line in it.said))
            while await it.leader() is not other:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await it.work()
            await it.audit()

    asyncio.run(run())


def test_the_other_may_die_and_the_server_start_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with two(tmp_path) as it:
            await it.work()
            os.kill((await it.other()).pid, signal.SIGKILL)
            await it.work()
            os.kill(it.market.children["nats-server"].pid, signal.SIGKILL)
            await it.work()
            for child in it.market.exchanges:
                os.kill(child.pid, signal.SIGKILL)
            await it.work()
            await it.audit()

    asyncio.run(run())


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_snapshots_are_written_by_the_standby_and_begun_with(tmp_path: Path, damaged: bool) -> None:
    """A third exchange, as on another machine: it follows, writes snapshots, hands them out, and leads."""

    async def run() -> None:
        async with two(tmp_path / "market") as it:
            data, kept = it.market.data, tmp_path / "kept"
            words = ("--server", it.market.server, "--creds", str(place(data, "exchange")))
            third = Child(
                "third",
                module(
                    "exchange.service", *words, "--name", "third", "--snapshots", str(kept),
                    "--snapshot-every", "3",
                ),
                tmp_path / "third.log",
                print,
            )  # fmt: skip
            keeping = asyncio.create_task(third.keep())
            try:
                for _ in range(60):
                    await it.work()
                    if len(snapshot.kept(kept)) == snapshot.KEPT:
                        break
                    await asyncio.sleep(0.2)
                newest, *_ = snapshot.kept(kept)
                assert len(snapshot.kept(kept)) == snapshot.KEPT
                (listed, *_) = await command("snapshot", "list", "--data", str(data), "--json")
                got = await command("snapshot", "get", str(tmp_path / "got"), "--data", str(data), "--json")
                assert got["commit"] >= listed["commit"] >= snapshot.header(newest).commit
                assert snapshot.header(Path(got["path"])).commit == got["commit"]
                await third.stop()
                await keeping
                if damaged:
                    newest, *_ = snapshot.kept(kept)
                    content = newest.read_bytes()
                    newest.write_bytes(content[:-500] + bytes([content[-500] ^ 1]) + content[-499:])
                for child in it.market.exchanges:
                    await child.stop()
                before = (tmp_path / "third.log").stat().st_size
                third = Child("third", module("exchange.service", *words, "--snapshots", str(kept)),
                              tmp_path / "third.log", print)  # fmt: skip
                keeping = asyncio.create_task(third.keep())
                await it.work()
                told = (tmp_path / "third.log").read_bytes()[before:].decode()
                assert " restored " in told and " leads from commit " in told
                assert ("; the one before it is taken" in told) == damaged
                assert await last_sequence(it.nc, subjects.JOURNAL) > 0
                await it.audit()
            finally:
                await third.stop()
                await keeping

    asyncio.run(run())


async def command(*words: str) -> Any:
    """What `exchange ... --json` says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console", *words), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told
    return json.loads(told)
