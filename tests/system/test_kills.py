"""Whatever is killed, whenever: nothing acknowledged is lost, no hour charged twice, money sums to zero.

The exchange that leads, projections, a seller's node and a buyer are killed with SIGKILL, each KILLS times at
moments that the seed chooses, while contracts run; some of the two services just before and just after a
commit.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client as Nats

from console.children import Child, module
from console.data_directory import closing
from console.market import Market
from events.client import Client, NoAnswerError
from events.keys import Key
from events.log import connect
from exchange.lease import holder
from tests.seccomp.processes import alive, command_line, descendants
from tests.seller_node.stage import jailed
from tests.system import proof
from tests.system.jobs import Jobs
from tests.system.traders import Recorder, Trader, enter, trading

KILLS = 12
EARLY = 0.25  # of the kills hit a service that may still be recovering
LATEST_S = 3.5  # after a service works again, it is killed within this
WHILE_S = 15  # for work to be seen, before a node or buyer is killed without
WHOLE_S = 480  # a bound for hanging
NOW = "now"  # a kill at any moment; the others are points of events.faults
EXCHANGE = ["exchange.before-append"] * 7 + ["exchange.after-append"] * 7 + [NOW] * 6
PROJECTIONS = ["projections.before-commit"] * 6 + ["projections.after-commit"] * 6 + [NOW] * 8


class Town:
    """The market, who lives there, and the one who kills."""

    def __init__(self, market: Market, directory: Path, faults: Path, seed: int) -> None:
        self.market, self.directory, self.faults = market, directory, faults
        self._dice = random.Random(seed)
        self.operator: Recorder
        self.exchange: Nats
        self.traders: list[Trader] = []
        self.nodes: list[Child] = []
        self.jobs: Jobs
        self.at_work = 0  # kills of a node while a program ran on it
        self.in_work = 0  # kills of a buyer whose attempt had results

    def dice(self) -> random.Random:
        """Dice of one's own, so that who throws when does not matter."""
        return random.Random(self._dice.randrange(2**32))

    async def settle(self, stack: AsyncExitStack, walk: Path) -> None:
        """Open accounts, start two nodes and a buyer's jobs."""
        self.operator = await stack.enter_async_context(
            await Recorder.connect(self.market.server, self.market.operator_key, name="test")
        )
        self.exchange = await stack.enter_async_context(
            closing(await connect(self.market.server, self.market.keys.exchange, name="test"))
        )
        keys = {name: Key.make() for name in ("buyer", "ann", "bob", "carl", "node-1", "node-2")}
        for name, key in keys.items():
            key.save(self.directory / f"{name}.nk")
            await self.operator.request("account", account=key.public, name=name)
            if not name.startswith("node"):
                await self.operator.request(
                    "deposit", account=key.public, amount=100_000_000, reference="test"
                )
        for name in ("ann", "bob", "carl"):
            client = await stack.enter_async_context(await enter(self.market.server, keys[name]))
            self.traders.append(Trader(client, self.dice()))
        for name in ("node-1", "node-2"):
            await (await enter(self.market.server, keys[name])).close()
            self.nodes.append(self._node(name))
            keeper = asyncio.create_task(self.nodes[-1].keep())
            stack.push_async_callback(asyncio.gather, keeper)
            stack.push_async_callback(self.nodes[-1].stop)
        await (await enter(self.market.server, keys["buyer"])).close()
        words = ["--server", self.market.server, "--creds", str(self.directory / "buyer.nk")]
        self.jobs = Jobs(self.directory, walk, words, self.dice())

    def _node(self, name: str) -> Child:
        command = module(
            *("seller_node", "run", "--price", "0.02", "--name", name, "--cpus", "4", "--allow-more-cpus"),
            *(
                "--creds",
                str(self.directory / f"{name}.nk"),
                "--state",
                str(self.directory / f"{name}.state"),
            ),
            *("--memory", "512", "--benchmark-seconds", "0.1", "--server", self.market.server),
        )
        return Child(name, command, self.directory / f"{name}.log", print)

    async def kill_service(
        self, name: str, how: str, is_back: Callable[[], object], dice: random.Random
    ) -> None:
        """Kill a service that works, or, now and then, one that begins."""
        children = self.market.exchanges if name == "exchange" else [self.market.children[name]]
        if dice.random() < EARLY:
            await asyncio.sleep(dice.uniform(0, 1.5))
        else:
            await until(is_back, f"{name} is back")
            await asyncio.sleep(dice.uniform(0.2, LATEST_S))
        child = await self._leader() if name == "exchange" else children[0]
        await until(lambda: child.pid != 0, f"{name} is started")
        starts = sum(child.starts for child in children)
        if how == NOW:
            os.kill(child.pid, signal.SIGKILL)
        else:
            (self.faults / how).touch()  # whoever leads gets there
        await until(lambda: sum(child.starts for child in children) > starts, f"{name} dies: {how}")

    async def _leader(self) -> Child:
        """Which exchange has the lease, or will have it."""
        while True:
            with suppress(nats.errors.Error):
                name = await holder(self.exchange)
                if name:
                    return self.market.children[name]
            await asyncio.sleep(0.05)

    async def kill_exchange(self) -> None:
        dice, operator = self.dice(), self.operator
        for how in dice.sample(EXCHANGE, KILLS):
            epoch = operator.pulse["epoch"] if operator.pulse else 0
            died = any(child.starts > 1 for child in self.market.exchanges)

            def is_back(before: int = epoch) -> bool:
                return bool(operator.pulse and operator.pulse["epoch"] > before)

            await self.kill_service("exchange", how, is_back if died else lambda: True, dice)

    async def kill_projections(self) -> None:
        dice = self.dice()
        for how in dice.sample(PROJECTIONS, KILLS):
            heard: list[int] = []

            async def hear(_: object, into: list[int] = heard) -> None:
                into.append(1)

            listening = await self.operator.nc.subscribe("pulse.feed", cb=hear)
            await self.kill_service("projections", how, heard.__len__, dice)
            await listening.unsubscribe()

    async def kill_nodes(self) -> None:
        """One of the two at a time; within a second nothing of what ran on it is left."""
        dice = self.dice()
        for number in range(KILLS):
            await self._kill_node(self.nodes[number % 2], dice.uniform(0, 1))

    async def _kill_node(self, node: Child, moment: float) -> None:
        await until(lambda: node.pid != 0 and bool(jailed(node.pid)), "a program runs", give_up=False)
        await asyncio.sleep(moment)
        await until(lambda: node.pid != 0, "the node is started")
        self.at_work += bool(jailed(node.pid))
        left, starts = descendants(node.pid), node.starts
        os.kill(node.pid, signal.SIGKILL)
        await until(lambda: not any(map(alive, left)), "all that the node had started is gone")
        await until(lambda: node.starts > starts, "the node is started again")

    async def kill_buyer(self) -> None:
        dice = self.dice()
        for _ in range(KILLS):
            await self._kill_buyer(dice.uniform(0, 1))

    async def _kill_buyer(self, moment: float) -> None:
        jobs = self.jobs
        before = jobs.done, jobs.outputs()
        await until(lambda: (jobs.done, jobs.outputs()) != before, "it has a result", give_up=False)
        self.in_work += (jobs.done, jobs.outputs()) != before
        await asyncio.sleep(moment)
        killed, attempts = False, jobs.attempts
        while not killed:
            process, attempts = jobs.process, jobs.attempts
            if process and process.returncode is None:
                process.kill()
                killed = await process.wait() == -signal.SIGKILL
            await asyncio.sleep(0.05)
        await until(lambda: jobs.attempts > attempts, "the buyer is started again")

    async def operate(self, enough: asyncio.Event) -> None:
        """What an operator does meanwhile."""
        dice = self.dice()
        while not enough.is_set():
            account = dice.choice(self.traders).client.account
            await self.operator.ask(
                "deposit", account=account, amount=dice.randrange(1, 10**6), reference="x"
            )
            if dice.random() < 0.1:
                await self.operator.ask("freeze", reason="test")
                await self.operator.ask("unfreeze", reason="test")
            await asyncio.sleep(dice.uniform(0, 2))


async def until(true: Callable[[], object], what: str, *, give_up: bool = True) -> None:
    """Wait for it; the bound is there so that a failure does not hang. Or go on without it, after a while."""
    deadline = time.monotonic() + (60 if give_up else WHILE_S)
    while not true():
        if time.monotonic() > deadline:
            assert not give_up, f"waited in vain: {what}"
            return
        await asyncio.sleep(0.02)


async def kill_all(town: Town) -> None:
    """All are killed while all work; then work and requests end in order."""
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        operating = group.create_task(town.operate(enough))
        working = group.create_task(town.jobs.live())
        async with trading(town.traders):
            kills = [town.kill_exchange(), town.kill_projections(), town.kill_nodes(), town.kill_buyer()]
            tasks = [group.create_task(kill) for kill in kills]
            await asyncio.wait(tasks, return_when=asyncio.ALL_COMPLETED)
            town.jobs.enough.set()
            await working
        enough.set()
        await operating


async def prove(town: Town) -> None:
    """All that must hold, from the log and from what was heard."""
    operator, clients = town.operator, [trader.client for trader in town.traders]
    balances = await operator.query("accounts")
    log = await proof.read_log(operator.nc)
    after = proof.check_ledger(log)
    charged = proof.check_hours(log)
    answers = proof.check_answers(log, clients)
    proof.check_effects(log, [*clients, operator])
    proof.check_balances(after, balances)
    for client in clients:
        assert await proof.check_feed(log, client, client.account) >= len(client.told) > 0
        await proof.check_heard(log, client)
    await proof.check_feed(log, operator, "", "market_feed")
    assert charged > 0 and answers > 0 and town.jobs.done > 0
    assert min(town.at_work, town.in_work) >= KILLS // 4, (town.at_work, town.in_work)
    starts = {name: child.starts for name, child in town.market.children.items()}
    assert starts.pop("exchange") + starts.pop("standby") >= 2 + KILLS  # one more where a lease was lost
    assert starts == {"nats-server": 1, "notary": 1, "projections": 1 + KILLS}
    print(
        f"{len(log.requests)} requests, {len(log.commits)} commits, {charged} hours charged, "
        f"{answers} answers, {town.jobs.done} jobs in {town.jobs.attempts} attempts, "
        f"nodes killed at work {town.at_work}, buyers {town.in_work}"
    )


async def audit(market: Market) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console", "audit", "--data", str(market.data), "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    result = json.loads(said)
    assert (process.returncode, result["ok"], result["unanswered"]) == (0, True, 0), result


async def quiet(client: Client) -> None:
    """Wait until no contract and no order is left."""
    async with asyncio.timeout(60):
        while True:
            with suppress(NoAnswerError):
                found = (await client.query("status"))["result"]
                if not found["contracts"] and not found["orders"]:
                    return
            await asyncio.sleep(0.2)


def left_behind(directory: Path) -> list[bytes]:
    """Processes that name the test's directory."""
    pids = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return [line for pid in pids if os.fsencode(directory) in (line := command_line(pid)) and alive(pid)]


@pytest.mark.timeout(WHOLE_S + 60)
def test_everybody_is_killed_and_nothing_is_lost(
    tmp_path: Path, walk: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    monkeypatch.setenv("COREHOUR_FAULTS", str(faults))

    async def scene() -> None:
        async with asyncio.timeout(WHOLE_S):
            async with Market(tmp_path / "market", hour_s=10, lost_after_s=1, say=print) as market:
                town = Town(market, tmp_path, faults, seed)
                async with AsyncExitStack() as stack:
                    await town.settle(stack, walk)
                    await kill_all(town)
                    for node in town.nodes:
                        await node.stop()
                    await quiet(town.operator)
                    await prove(town)
                    await audit(market)

    try:
        asyncio.run(scene())
    finally:
        remaining = left_behind(tmp_path)
    assert not remaining
