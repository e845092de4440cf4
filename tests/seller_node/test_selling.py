"""A node whose machine is not always for sale, in a real market: what runs goes on, nothing new is sold."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from console.market import Market
from events.client import Client
from seccomp import probe
from seller_node.bandwidth import Bandwidth
from seller_node.hours import parse_hours
from seller_node.node import Node
from seller_node.offering import find_offering
from seller_node.policy import ALWAYS, Gate, Policy, Priority, Verdict
from seller_node.profile import cpu_numbers
from tests.seller_node.programs import program
from tests.seller_node.stage import jailed, outcome, start, started, until
from tests.seller_node.test_node import BRIEFLY, PRICE, Trading, play

SHUT = Verdict(False, "somebody is here; for sale after 10 idle minutes")


@pytest.fixture(autouse=True)
def _jail() -> None:
    missing = probe().missing()
    if missing:
        pytest.skip(f"no program can be run here: {missing}")


class Selling:
    """A node in this process, whose gate a test opens and shuts."""

    def __init__(self) -> None:
        self.verdict, self.lines, self.does = SHUT, list[str](), list[str]()
        self.node: Node


@asynccontextmanager
async def selling(on: Trading, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Selling]:
    seller = Selling()
    monkeypatch.setattr("seller_node.selling.LOOK_S", 0.05)
    monkeypatch.setattr("seller_node.node.SHORTER", 3)  # a grace of more than a second, for slow machines
    monkeypatch.setattr(Gate, "look", lambda _: seller.verdict)
    policy = Policy(Priority.IDLE, cpu_numbers(), Bandwidth(), parse_hours("00:00-24:00"))
    client = await Client.connect(on.market.server, on.seller, name="seller_node")
    async with client, find_offering(probe(), policy, "m1", 2, 512, True).tried() as (profile, jails):
        seller.node = Node(client, profile, PRICE, jails, policy, seller.lines.append, seller.does.append)
        running = asyncio.create_task(seller.node.run())
        try:
            yield seller
        finally:
            seller.node.leave()
            await running


async def asks_of(on: Trading) -> list[tuple[int, int]]:
    rows = (await on.operator.query("orders", account=on.seller.public))["result"]
    return [(row["size"], row["running"]) for row in rows if row["side"] == "ask" and not row["closed"]]


async def until_asks(on: Trading, wanted: list[tuple[int, int]]) -> None:
    deadline = time.monotonic() + 30
    while (found := await asks_of(on)) != wanted:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


def test_what_runs_goes_on_and_is_told_to_finish_and_nothing_new_is_sold(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(on: Trading) -> None:
        async with selling(on, monkeypatch) as seller:
            # Shut: online, without an ask.
            await on.said(seller.lines, "the market hears this machine")
            assert await asks_of(on) == []
            assert [line for line in seller.lines if "sale" in line] == [f"not for sale: {SHUT.why}"]
            assert seller.does[-1] == f"not for sale: {SHUT.why}"
            seller.verdict = ALWAYS
            await until_asks(on, [(2, 0)])
            bid = (await on.buyer.request("bid", price=PRICE, size=1)).order
            first = (await on.happened("contract_opened"))[0]
            link = await on.dial(first["contract"])
            await start(link, 1, program("polite"), ["polite"])
            await started(link, 1)
            (pid,) = jailed()
            assert os.sched_getscheduler(pid) == os.SCHED_IDLE
            # Somebody comes back: nothing new is sold, and what runs stays.
            seller.verdict = SHUT
            await until_asks(on, [])
            await on.said(seller.lines, "what runs goes on to its hour's end (1 contract)")
            assert set(jailed()) == {pid}
            # He goes again: what is left of the machine is for sale, and all of it when the hour has ended.
            seller.verdict = ALWAYS
            await until_asks(on, [(1, 0)])
            await on.buyer.request("amend", order=bid, size=0)
            # A freeze moves the deadlines (R22): in it nobody is told anything.
            await until(lambda: seller.node._now_us() >= first["until_us"] - 4_500_000)
            await on.operator.request("freeze", reason="test")
            await until(lambda: jailed() == {pid: "T"})
            await asyncio.sleep(2)
            assert not any("told to finish" in line for line in seller.lines)
            await on.operator.request("unfreeze", reason="test over")
            told = await outcome(link, 1)
            assert (told["output"], told["status"]) == (b"ready, finished", 0)
            assert not on.of_kind("contract_ended")  # it was told before the end (R15)
            await on.said(seller.lines, "1 program told to finish: the hour ends in")
            ended = await on.happened("contract_ended")
            assert [event["reason"] for event in ended] == ["not renewed"]
            assert len(on.of_kind("hour_charged")) == 1
            await until_asks(on, [(2, 0)])
            assert seller.does[-1] == "for sale"
            # Shut and stopped: there is nothing to wait for.
            seller.verdict = SHUT
            await until_asks(on, [])
            seller.node.stop()
            await until(lambda: seller.node._over.is_set())

    play(market, tmp_path, test)


def test_the_command_says_when_it_is_not_for_sale(market: Market, tmp_path: Path) -> None:
    wall = time.localtime(time.time() + 7200)
    hours = f"{wall.tm_hour}:00-{wall.tm_hour}:30"

    async def test(on: Trading) -> None:
        process = await asyncio.create_subprocess_exec(
            *on.command(
                "run", "--price", "0.02", "--name", "m1", "--memory", "512", "--hours", hours, *BRIEFLY
            ),
            stdout=asyncio.subprocess.PIPE,
        )
        on.nodes.append((process, []))
        assert process.stdout
        while "for sale" not in (line := (await process.stdout.readline()).decode()):
            assert line
        assert f"not for sale: these are not its hours, {hours}; again at {wall.tm_hour:02}:00" in line
        code, text, _ = await on.ask("status")
        assert code == 0
        assert f"pid {process.pid}; not for sale: these are not its hours" in text
        assert "offers nothing" in text
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 130

    play(market, tmp_path, test)


def test_an_ask_that_is_refused_is_tried_again_and_told_once(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seller_node.selling.AGAIN_S", 0.05)

    async def test(on: Trading) -> None:
        async with selling(on, monkeypatch) as seller:
            await on.said(seller.lines, "the market hears this machine")
            client = await Client.connect(on.market.server, on.seller, name="another")
            async with client:  # who offers all of the machine besides
                other = (await client.request("ask", machine="m1", price=PRICE, size=2)).order
                seller.verdict = ALWAYS
                await on.said(seller.lines, "the ask is not as it should be yet: ")
                await asyncio.sleep(0.5)
                await client.request("amend", order=other, size=0)
                await on.said(seller.lines, "2 CPUs at 0.020000")
            assert sum("not as it should be" in line for line in seller.lines) == 1
            assert await asks_of(on) == [(2, 0)]

    play(market, tmp_path, test)
