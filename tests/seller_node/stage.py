"""A seller's contract and its buyer over a plain server: real links, a real jail, no market."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client as Nats

from events.keys import Key
from events.wire import dumps, loads
from links.endpoint import Endpoint
from links.frames import ERRORS, EXIT, INPUT, INPUT_END, OUTPUT, PROGRAM, REFUSED, START, STARTED, Frame
from links.link import Link
from seccomp import Exit, probe, runtimes
from seller_node.contract import Contract
from seller_node.profile import cpu_numbers
from seller_node.run import Jails
from tests.seccomp.processes import command_line

CONTRACT = 3
NATIVE = "native/x86_64-linux"


class Party:
    """A connection with its endpoint."""

    def __init__(self) -> None:
        self.account, self.nc = Key.make().public, Nats()
        self.endpoint = Endpoint(self)


class Stage:
    """What a test acts on: the buyer's endpoint, the seller's contract, and what the contract did."""

    contract: Contract

    def __init__(self, memory_mb: int) -> None:
        self.buyer, self.seller = Party(), Party()
        report = probe()
        if report.missing():
            pytest.skip(f"no program can be run here: {report.missing()}")
        self.runtimes = runtimes(report)
        self.exits: list[Exit] = []
        self.confirmed: list[int] = []
        tags = {runtime.tag: runtime for runtime in self.runtimes}
        self.jails = Jails(tags, memory_mb, ran=self.exits.append)
        self.jails.thawed.set()

    async def dial(self) -> Link:
        return await self.buyer.endpoint.dial(self.seller.account, CONTRACT)

    async def _accept(self) -> None:
        while True:
            self.contract.take(await self.seller.endpoint.accept())


@asynccontextmanager
async def stage(server: str, memory_mb: int = 256) -> AsyncIterator[Stage]:
    """The stage; afterwards nothing may be left of what ran on it."""
    on = Stage(memory_mb)
    async with asyncio.timeout(60):
        for party in (on.buyer, on.seller):
            await party.nc.connect(server)
            await party.endpoint.start()
            await party.nc.flush()
        on.seller.endpoint.allow = lambda number, peer: number == CONTRACT and peer == on.buyer.account
        cpu = cpu_numbers()[0]
        on.contract = Contract(
            CONTRACT, on.buyer.account, 20_000, 0, cpu, on.jails, on.confirmed.append, started=False
        )
        accepting = asyncio.create_task(on._accept())
        try:
            yield on
            assert not accepting.done()
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            await on.contract.end("the test is over", at_once=True)
            for runtime in on.runtimes:
                await runtime.close()
            for party in (on.buyer, on.seller):
                for link in list(party.endpoint._links.values()):
                    link.abort("the test is over")
                await party.endpoint.close()
                await party.nc.close()
    await until(lambda: not jailed())


def start_frame(run: int, program: bytes, arguments: list[Any], runtime: str = NATIVE, **other: Any) -> Frame:
    wire = {"runtime": runtime, "arguments": arguments, "size": len(program)}
    wire["sha256"] = hashlib.sha256(program).hexdigest()
    return Frame(START, run, dumps(wire | other))


async def start(link: Link, run: int, program: bytes, arguments: list[str], *, send: bool = True) -> None:
    await link.send(start_frame(run, program, arguments))
    if send:
        await link.send_bytes(PROGRAM, run, program)


async def give(link: Link, run: int, data: bytes) -> None:
    await link.send_bytes(INPUT, run, data)
    await link.send(Frame(INPUT_END, run))


async def outcome(link: Link, run: int) -> dict[str, Any]:
    """All that the seller says about a run, up to its end."""
    told: dict[str, Any] = {"output": b"", "errors": b"", "started": False}
    while frame := await link.receive():
        assert frame.run == run
        if frame.kind == STARTED:
            told["started"] = True
        elif frame.kind in (OUTPUT, ERRORS):
            told["output" if frame.kind == OUTPUT else "errors"] += frame.payload
        else:
            assert frame.kind in (EXIT, REFUSED)
            told |= loads(frame.payload)
            return told
    return told | {"closed": link.closed}


async def started(link: Link, run: int) -> None:
    assert await link.receive() == Frame(STARTED, run)


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it does not come to hold"
        await asyncio.sleep(0.01)


def jailed(of: int | None = None) -> dict[int, str]:
    """The jailed programs under a process (else this one), by pid, with their state.

    A program's parent is its keeper, that one's a zygote, and that one's the node. Those of wasm's zygote are
    left out: no test here runs any but the trial, whose template stays.
    """
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1]), fields[0]
    found = {}
    for pid, (parent, state) in parents.items():
        line = [parent]
        while line[-1] in parents and len(line) < 3:
            line.append(parents[line[-1]][0])
        below = len(line) == 3 and line[2] == (of or os.getpid())
        if below and state != "Z" and b"\0wasm\0" not in command_line(line[1]):
            found[pid] = state
    return found
