"""The command `seller_node` in a real market: real server, exchange and projections, a real jail."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from console.market import Market
from events.client import Client
from events.keys import Key
from events.log import NotAdmittedError
from events.pages import whole
from links.endpoint import Endpoint
from links.frames import PROGRAM
from links.link import Link
from seccomp import JailError, probe
from seller_node.bandwidth import Bandwidth
from seller_node.node import Node
from seller_node.offering import find_offering
from seller_node.policy import Policy, Priority
from seller_node.profile import cpu_numbers
from seller_node.tasks import end_tasks
from seller_node.trial import MODULE
from tests.seccomp.processes import alive
from tests.seller_node.programs import program
from tests.seller_node.stage import give, jailed, outcome, start, start_frame, started, until

PRICE = 20_000
BRIEFLY = ("--benchmark-seconds", "0.1")


@pytest.fixture(autouse=True)
def _jail() -> None:
    missing = probe().missing()
    if missing:
        pytest.skip(f"no program can be run here: {missing}")


class Trading:
    """One test's operator and buyer, and the seller's command."""

    def __init__(self, market: Market, directory: Path) -> None:
        self.market, self.directory = market, directory
        self.seller, self.creds = Key.make(), directory / "seller.nk"
        self.seller.save(self.creds)
        self.operator: Client
        self.buyer: Client
        self.endpoint: Endpoint
        self.events: list[dict[str, Any]] = []
        self.nodes: list[tuple[Process, list[str]]] = []

    def command(self, name: str, *words: str, login: bool = True) -> list[str]:
        place = ["--state", str(self.directory / "state")] if name in ("run", "stop", "status") else []
        login_words = ["--server", self.market.server, "--creds", str(self.creds)] if login else []
        return [sys.executable, "-m", "seller_node", name, *place, *login_words, *words]

    async def run_node(self, *words: str) -> tuple[Process, list[str]]:
        """Start a node and wait until it offers its machine; returns it with the lines that it prints."""
        options = ("--price", "0.02", "--name", "m1", "--memory", "512", *BRIEFLY, *words)
        process = await asyncio.create_subprocess_exec(
            *self.command("run", *options), stdout=PIPE, stderr=PIPE
        )
        lines: list[str] = []
        self.nodes.append((process, lines))

        async def read(stream: asyncio.StreamReader | None) -> None:
            assert stream
            while line := await stream.readline():
                lines.append(line.decode().strip())

        self._readers += [asyncio.create_task(read(s)) for s in (process.stdout, process.stderr)]
        await self.said(lines, "CPUs at 0.020000", process)
        return process, lines

    async def said(self, lines: list[str], words: str, process: Process | None = None) -> None:
        await until(lambda: any(words in line for line in lines) or bool(process and process.returncode))
        assert any(words in line for line in lines), lines

    async def ask(self, name: str, *words: str, login: bool = True) -> tuple[int | None, str, str]:
        command = self.command(name, *words, login=login)
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    def of_kind(self, kind: str, **members: Any) -> list[dict[str, Any]]:
        wanted = members | {"kind": kind}
        return [event for event in self.events if wanted.items() <= event.items()]

    async def happened(self, kind: str, count: int = 1, **members: Any) -> list[dict[str, Any]]:
        await until(lambda: len(self.of_kind(kind, **members)) >= count)
        return self.of_kind(kind, **members)

    async def dial(self, contract: int) -> Link:
        return await self.endpoint.dial(self.seller.public, contract)

    async def echo(self, contract: int, run: int = 1) -> Link:
        """A link with a program that waits for its input."""
        link = await self.dial(contract)
        await start(link, run, program("echo"), ["echo"])
        await started(link, run)
        return link

    async def begin(self, stack: list[Callable[[], Coroutine[Any, Any, Any]]]) -> None:
        self._readers: list[asyncio.Task[None]] = []
        self.operator = await Client.connect(self.market.server, self.market.operator_key, name="operator")
        stack.append(self.operator.close)
        key = Key.make()
        await self.operator.request("account", account=self.seller.public, name="seller")
        await self.operator.request("account", account=key.public, name="buyer")
        await self.operator.request("deposit", account=key.public, amount=10**6, reference="test")
        self.buyer = await admitted(self.market.server, key)
        stack.append(self.buyer.close)
        await (await admitted(self.market.server, self.seller)).close()
        self.endpoint = Endpoint(self.buyer)
        await self.endpoint.start()

        async def be_present() -> None:
            while True:
                await self.buyer.heartbeat("client")
                await asyncio.sleep(0.2)

        async def follow() -> None:
            async for message in self.buyer.feed(0, 0):
                self.events += message.events

        self._readers += [asyncio.create_task(be_present()), asyncio.create_task(follow())]

    async def end(self) -> None:
        for process, _ in self.nodes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await end_tasks(*self._readers)
        for link in list(self.endpoint._links.values()):
            link.abort("the test is over")
        await self.endpoint.close()


async def admitted(server: str, key: Key) -> Client:
    """The server learns of a new account from the log, a moment after it was opened."""
    for _ in range(100):
        try:
            return await Client.connect(server, key, name="test")
        except NotAdmittedError:
            await asyncio.sleep(0.1)
    raise AssertionError("never admitted")


@asynccontextmanager
async def trading(market: Market, directory: Path) -> AsyncIterator[Trading]:
    on, stack = Trading(market, directory), list[Callable[[], Coroutine[Any, Any, Any]]]()
    async with asyncio.timeout(120):
        try:
            await on.begin(stack)
            yield on
        finally:
            await on.end()
            for close in reversed(stack):
                await close()


def play(market: Market, directory: Path, test: Callable[[Trading], Coroutine[Any, Any, None]]) -> None:
    async def scene() -> None:
        async with trading(market, directory) as on:
            await test(on)

    asyncio.run(scene())


def test_the_life_of_a_node(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        process, lines = await on.run_node("--cpus", "2", "--allow-more-cpus")
        assert any("DEMONSTRATION" in line for line in lines)
        code, _, errors = await on.ask("run", "--price", "0.02")
        assert (code, len(errors.splitlines())) == (1, 1)
        assert "runs with this state already" in errors
        await on.said(lines, "it is ready")
        await on.buyer.request("bid", price=PRICE, size=2, flags=["native/x86_64-linux"])
        first, second = [event["contract"] for event in await on.happened("contract_opened", 2)]
        link = await on.echo(first)
        await on.happened("program_started", contract=first)
        await until(lambda: set(jailed(process.pid).values()) == {"S"})
        # A freeze stops it (R22).
        await on.operator.request("freeze", reason="test")
        await until(lambda: set(jailed(process.pid).values()) == {"T"})
        await give(link, 1, b"held")
        await on.operator.request("unfreeze", reason="test over")
        assert (await outcome(link, 1))["output"] == b"held"
        code, text, _ = await on.ask("status", "--json")
        status = json.loads(text)
        assert code == 0
        assert status["node"]["pid"] == process.pid
        assert [(m["machine"], m["cpus"], m["ready"]) for m in status["machines"]] == [("m1", 2, True)]
        assert {contract["contract"] for contract in status["contracts"]} == {first, second}
        assert [ask["size"] for ask in status["asks"]] == [2]
        # The hour ends: one buyer was there, and on the other contract nobody ever (R26).
        voted = await on.happened("voted", 2, account=on.seller.public, hour=1)
        assert {(event["contract"], event["good"]) for event in voted} == {(first, True), (second, False)}
        await on.happened("contract_renewed", 2)
        # It stops at the hour's end; until then the link goes on.
        await start(link, 2, program("spin"), ["spin"])
        await started(link, 2)
        code, text, _ = await on.ask("stop", "--json", login=False)
        assert (code, json.loads(text)["stopping"]["machine"]) == (0, "m1")
        await on.said(lines, "stopping at the hour's end: 2 contracts for")
        assert await asyncio.wait_for(process.wait(), 30) == 0
        ended = await on.happened("contract_ended", 2)
        assert {event["reason"] for event in ended} == {"not renewed"}
        assert (await outcome(link, 2))["signal"] == 9  # it did not want to finish
        assert await link.receive() is None
        earned = sum(event["amount"] - event["fee"] for event in on.of_kind("hour_charged"))
        assert len(on.of_kind("hour_charged")) == 4
        voted = await on.happened("voted", 2, account=on.seller.public, hour=2)
        assert {(event["contract"], event["good"]) for event in voted} == {(first, True), (second, False)}
        assert earned == 4 * (PRICE - PRICE // 100)
        await on.said(lines, "2 contracts, 4 hours charged (0 not paid), 0.079200 earned; 2 runs,")
        code, text, _ = await on.ask("statement", "--json")
        assert json.loads(text)["closing"] == {"free": earned, "held": 0}
        code, text, _ = await on.ask("statement")
        assert (code, "closing: 0.079200 free" in text) == (0, True)
        for what, arguments in (("contracts", {"all": True}), ("statement", {})):
            at_once = (await on.buyer.query(what, **arguments))["result"]
            assert (await whole(on.buyer, what, most=1, **arguments))["result"] == at_once
        code, text, _ = await on.ask("status")
        assert (code, "none runs here" in text, "ask" in text) == (0, True, False)
        code, _, errors = await on.ask("stop", login=False)
        assert (code, len(errors.splitlines())) == (1, 1)

    play(market, tmp_path, test)


def test_a_node_that_was_killed_takes_its_contracts_up_again(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        process, _ = await on.run_node("--cpus", "1")
        await on.buyer.request("bid", price=PRICE, size=1)
        contract = (await on.happened("contract_opened"))[0]["contract"]
        link = await on.echo(contract)
        await on.happened("program_started", contract=contract)
        await on.operator.request("freeze", reason="nobody is lost in it")
        programs = set(jailed(process.pid))
        assert len(programs) == 1
        process.kill()
        await process.wait()
        await until(lambda: not any(alive(pid) for pid in programs))
        process, lines = await on.run_node("--cpus", "1")
        await on.said(lines, "taking up 1 contract;")
        assert await link.receive() is None
        assert link.closed == "the peer knows it no more"
        link = await on.dial(contract)
        await start(link, 1, program("echo"), ["echo"])
        await give(link, 1, b"again")
        await link.drained()
        assert jailed(process.pid) == {}
        await on.operator.request("unfreeze", reason="test over")
        assert (await outcome(link, 1))["output"] == b"again"
        asks = json.loads((await on.ask("status", "--json"))[1])["asks"]
        assert [(ask["size"], ask["running"]) for ask in asks] == [(1, 1)]
        # It leaves: the hour is not paid (R16).
        await start(link, 2, program("spin"), ["spin"])
        await started(link, 2)
        process.terminate()
        assert await process.wait() == 0
        assert [event["reason"] for event in await on.happened("contract_ended")] == ["left"]
        await on.said(lines, "1 contract broken, 0.020000 credits")
        await on.said(lines, "(1 not paid)")
        assert not on.of_kind("hour_charged")
        assert json.loads((await on.ask("status", "--json"))[1])["asks"] == []

    play(market, tmp_path, test)


def test_a_machine_that_was_lost_comes_back_by_its_heartbeat(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        process, lines = await on.run_node("--cpus", "1")
        await on.buyer.request("bid", price=PRICE, size=1)
        first = (await on.happened("contract_opened"))[0]["contract"]
        await on.echo(first)
        before = set(jailed(process.pid))
        process.send_signal(signal.SIGSTOP)
        await on.happened("contract_ended", contract=first, reason="lost")
        process.send_signal(signal.SIGCONT)
        opened = await on.happened("contract_opened", 2)
        await until(lambda: before.isdisjoint(jailed(process.pid)))
        link = await on.echo(opened[1]["contract"])
        await give(link, 1, b"works")
        assert (await outcome(link, 1))["output"] == b"works"
        # Ctrl-C, and again.
        process.send_signal(signal.SIGINT)
        await on.said(lines, "stopping at the hour's end: 1 contract for")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        await on.said(lines, "leaving now: 1 contract broken")
        await on.happened("contract_ended", reason="left")
        process, lines = await on.run_node("--cpus", "1")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130

    play(market, tmp_path, test)


def test_without_an_exchange_programs_stand_still_until_it_is_heard(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seller_node.node.SILENCE_S", 3.0)  # ten minutes are long for a test

    async def test(on: Trading) -> None:
        report, lines = probe(), list[str]()
        client = await Client.connect(market.server, on.seller, name="seller_node")
        policy = Policy(Priority.LOW, cpu_numbers(), Bandwidth())
        trying = find_offering(report, policy, "m1", 1, 256, False).tried()
        offered, jails = await trying.__aenter__()
        node = Node(client, offered, PRICE, jails, policy, lines.append)
        running = asyncio.create_task(node.run())
        exchanges = [child.pid for child in market.exchanges]
        assert all(exchanges)
        try:
            await on.buyer.request("bid", price=PRICE, size=1)
            link = await on.echo((await on.happened("contract_opened"))[0]["contract"])
            for exchange in exchanges:
                os.kill(exchange, signal.SIGSTOP)
            await on.said(lines, "no exchange for ten minutes")
            await until(lambda: set(jailed().values()) == {"T"})
            await give(link, 1, b"held")
            for exchange in exchanges:
                os.kill(exchange, signal.SIGCONT)
            await on.said(lines, "heard again")
            assert (await outcome(link, 1))["output"] == b"held"
        finally:
            for exchange in exchanges:
                with contextlib.suppress(ProcessLookupError):  # one that found the lease with the other
                    os.kill(exchange, signal.SIGCONT)
            node.leave()
            await running
            await trying.__aexit__(None, None, None)
            await client.close()
        assert jailed() == {}

    play(market, tmp_path, test)


def test_what_cannot_be_is_one_line(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        cpus = len(os.sched_getaffinity(0))
        stranger = tmp_path / "stranger.nk"
        Key.make().save(stranger)
        for words, reason in (
            (["--cpus", str(cpus + 1)], "R24"),
            (["--memory", "99999999"], "R24"),
            (["--name", "client"], "--name"),
            (["--creds", str(tmp_path / "none.nk")], "seed"),
            (["--creds", str(stranger)], "does not know the account"),
            (["--server", "nats://127.0.0.1:1"], "no server answers"),
        ):
            code, out, errors = await on.ask("run", "--price", "0.02", *words)
            assert (code, out) == (1, ""), errors
            assert len(errors.splitlines()) == 1, errors
            assert re.search(reason, errors), errors
        code, out, errors = await on.ask("run", "--price", "0.02", "--json", "--name", "client")
        assert (code, errors) == (1, "")
        assert "--name" in json.loads(out)["error"]
        assert (await on.ask("run", "--price", "-1"))[0] == 2
        last = str(max(os.sched_getaffinity(0)))
        allowed = ("--on-cpus", last, "--when-idle", "10", "--bandwidth", "1MB/2MB", "--hours", "22:00-07:00")
        code, out, _ = await on.ask("check", *BRIEFLY, *allowed, "--json", login=False)
        found = json.loads(out)
        assert (code, found["offer"]["cpus"]) == (0, 1)
        assert isinstance(found["policy"].pop("people_seen_by"), list)
        assert found["policy"] == {
            "priority": "idle", "cpus": [int(last)], "up": 1_000_000, "down": 2_000_000,
            "hours": "22:00-07:00", "when_idle_s": 600,
        }  # fmt: skip
        code, out, _ = await on.ask("check", "--cpus", str(cpus + 1), login=False)
        assert code == 1
        assert "run would refuse" in out

    play(market, tmp_path, test)


def test_a_node_that_is_told_to_stop_while_it_starts_ends_in_order(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        held = tmp_path / "state/node.json"
        options = ("--price", "0.02", "--name", "m1", "--memory", "512")
        for number, status in ((signal.SIGUSR1, 0), (signal.SIGTERM, 0), (signal.SIGINT, 130)):
            process = await asyncio.create_subprocess_exec(
                *on.command("run", *options), stdout=PIPE, stderr=PIPE
            )
            on.nodes.append((process, []))
            while not held.exists():
                assert process.returncode is None
                await asyncio.sleep(0.001)
            process.send_signal(number)
            out, errors = await asyncio.wait_for(process.communicate(), 30)
            assert (process.returncode, errors) == (status, b""), (number, out)
            assert b"nothing is offered yet" in out and b"ended after" in out
            assert not held.exists() and jailed(process.pid) == {}
        assert (await on.operator.query("machines"))["result"] == []

    play(market, tmp_path, test)


def test_a_machine_that_another_node_runs_is_not_taken_over(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        process, lines = await on.run_node("--cpus", "1")
        await on.said(lines, "it is ready")
        asks = (await on.operator.query("orders", account=on.seller.public))["result"]
        other = ("--name", "m1", "--memory", "512", "--cpus", "1", "--state", str(tmp_path / "other"))
        code, out, errors = await on.ask("run", "--price", "0.05", *other)
        assert (code, len(errors.splitlines())) == (1, 1)
        assert "another seller_node of this account runs it" in errors and "waiting" in out
        assert (await on.operator.query("orders", account=on.seller.public))["result"] == asks
        # One that was killed falls silent, and is taken up from another place then.
        process.kill()
        await process.wait()
        _, lines = await on.run_node("--cpus", "1", "--state", str(tmp_path / "other"))
        await on.said(lines, f"(ask {asks[0]['order']})")

    play(market, tmp_path, test)


def test_at_level_c_wasm_alone_is_sold(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        _, lines = await on.run_node("--cpus", "1", "--at-most", "C")
        await on.said(lines, "mflops each, jail 1 ")
        rows = (await on.operator.query("machines"))["result"]
        tags = [flag for flag in rows[0]["flags"] if "/" in flag]
        assert (rows[0]["numbers"]["jail"], tags) == (1, ["wasm/wasi-p1"])
        await on.buyer.request("bid", price=PRICE, size=1, flags=["native/x86_64-linux"])
        await on.buyer.request("bid", price=PRICE, size=1, flags=["wasm/wasi-p1"])
        (opened,) = await on.happened("contract_opened")
        assert opened["bid"] == 3  # the first was passed over
        link = await on.dial(opened["contract"])
        await link.send(start_frame(1, MODULE, ["trial"], "wasm/wasi-p1"))
        await link.send_bytes(PROGRAM, 1, MODULE)
        assert (await outcome(link, 1))["status"] == 0
        await start(link, 2, program("echo"), ["echo"])
        assert (
            "'native/x86_64-linux' is not offered here; there is wasm/wasi-p1"
            in (await outcome(link, 2))["why"]
        )

    play(market, tmp_path, test)


def test_level_c_without_wasm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seccomp.is_installed", lambda: False)
    policy = Policy(Priority.LOW, cpu_numbers(), Bandwidth())
    with pytest.raises(JailError, match=r"level C of the jail wasm alone .*install the package wasmtime"):
        find_offering(probe("C"), policy, "m1", 1, 256, False)


def test_packages_are_matched_before_anything_is_paid(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        await on.run_node("--cpus", "1")
        (row,) = (await on.operator.query("machines"))["result"]
        (numpy,) = [flag for flag in row["flags"] if flag.startswith("numpy/")]
        python = next(flag for flag in row["flags"] if flag.startswith("python/"))
        await on.buyer.request("bid", price=PRICE, size=1, flags=[python, "numpy/1.7"])
        right = (await on.buyer.request("bid", price=PRICE, size=1, flags=[python, numpy])).order
        assert [event["bid"] for event in await on.happened("contract_opened")] == [right]

    play(market, tmp_path, test)


def test_status_says_what_it_can(market: Market, tmp_path: Path) -> None:
    async def test(on: Trading) -> None:
        code, out, _ = await on.ask("status")
        assert (code, "offers nothing" in out) == (0, True)
        process, _ = await on.run_node("--cpus", "1")
        none = ("--creds", str(tmp_path / "none.nk"))
        code, out, errors = await on.ask("status", *none, login=False)
        assert (code, out) == (1, f"node: machine m1, pid {process.pid}; for sale\n")
        assert "no seed file" in errors and len(errors.splitlines()) == 1
        code, out, errors = await on.ask("status", "--json", *none, login=False)
        assert (code, errors, json.loads(out)["node"]["pid"]) == (1, "", process.pid)
        assert "no seed file" in json.loads(out)["error"]

    play(market, tmp_path, test)


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/x"])
def test_check_refuses_a_state_that_run_could_not_have(place: str) -> None:
    command = [sys.executable, "-m", "seller_node", "check", *BRIEFLY, "--json", "--state", place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    refusal = json.loads(done.stdout)["refusal"]
    assert done.returncode == 1
    assert refusal == "/dev/null: no directory; give --state a directory to write in"
