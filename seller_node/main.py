"""The command `seller_node`: run, check, status, statement, stop."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import nats.errors
import typer
import uvloop
from rich.console import Console
from rich.table import Table

import seccomp
from events import cli
from events.cli import Creds, Json, Server, credits, parse_credits
from events.client import BadRequestError, Client, NoAnswerError, QueryError, RefusedError
from events.keys import BadKeyError, Key
from events.log import NotAdmittedError, UnreachableError
from events.pages import whole
from seccomp.benchmark import SECONDS, BenchmarkError, Score
from seller_node.lines import many
from seller_node.measurement import Measuring, described
from seller_node.node import Node, Tally, first_to_end
from seller_node.place import DEFAULT, Place, PlaceTakenError
from seller_node.profile import BadOfferError, Profile, offer
from seller_node.silence import MachineTakenError, await_silence
from seller_node.trial import try_all

MARKET_ERRORS = (
    BadOfferError,
    BadRequestError,
    BenchmarkError,
    MachineTakenError,
    NoAnswerError,
    NotAdmittedError,
    PlaceTakenError,
    QueryError,
    RefusedError,
    UnreachableError,
    nats.errors.Error,
    seccomp.JailError,
)
NAME = "seller_node"
app = cli.application("Sell this machine's CPU hours: programs of strangers run in a jail, paid by the hour.")


class Level(StrEnum):
    """The jail's levels that programs are run at."""

    A = "A"
    B = "B"
    C = "C"


State = Annotated[
    Path, typer.Option("--state", metavar="DIR", help="Where this node keeps its lock; one node each.")
]
AtMost = Annotated[
    Level,
    typer.Option("--at-most", help="The most layers of the jail: B without namespaces, C runs wasm alone."),
]
Name = Annotated[str, typer.Option("--name", metavar="MACHINE", help="The machine's name; else the host's.")]
Cpus = Annotated[int | None, typer.Option("--cpus", metavar="N", min=1, help="How many CPUs; else all.")]
Memory = Annotated[
    int | None,
    typer.Option("--memory", metavar="MIB", min=1, help="For all CPUs together; else 3/4 of what is free."),
]
MoreCpus = Annotated[
    bool,
    typer.Option("--allow-more-cpus", hidden=True, help="Offer more CPUs than there are: a demonstration."),
]
Seconds = Annotated[
    float,
    typer.Option(
        "--benchmark-seconds", metavar="S", min=0.05, max=600,
        help="Measure the CPUs for so long; less is less exact, for tests and demonstrations.",
    ),
]  # fmt: skip


@app.command()
def run(
    price: Annotated[
        int,
        typer.Option("--price", metavar="CREDITS", parser=parse_credits, help="The least for one CPU hour."),
    ],
    cpus: Cpus = None,
    memory: Memory = None,
    name: Name = "",
    at_most: AtMost = Level.A,
    allow_more_cpus: MoreCpus = False,
    mips: Annotated[
        int | None,
        typer.Option("--mips", metavar="N", min=0, help="Offer so many; else all that were measured."),
    ] = None,
    mflops: Annotated[
        int | None,
        typer.Option("--mflops", metavar="N", min=0, help="The same of these."),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure the CPUs anew, also where nothing has changed."),
    ] = False,
    benchmark_seconds: Seconds = SECONDS,
    state: State = DEFAULT,
    server: Server = "",
    creds: Creds = None,
    as_json: Json = False,
) -> None:
    """Offer this machine and run what is matched, until Ctrl-C.

    The first Ctrl-C sells nothing more and waits for the running hours' end; the second leaves at once.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    with cli.edge(as_json, *MARKET_ERRORS):
        profile, report = _offer(at_most, name, cpus, memory, allow_more_cpus)
        url, key = cli.resolve_server(server), cli.resolve_creds(creds)
        place = Place(state.expanduser())
        if allow_more_cpus:
            _say(
                "a DEMONSTRATION: this node may offer more CPUs than this machine has (against R24)", as_json
            )
        _allow_files()
        began = time.monotonic()
        try:
            measuring = Measuring(place.directory, benchmark_seconds, measure, mips, mflops)
            tally, interrupted = uvloop.run(_run(place, url, key, profile, measuring, price, report, as_json))
        finally:
            place.release()
        _sum_up(tally, time.monotonic() - began, as_json)
    if interrupted:
        raise typer.Exit(130)


def _allow_files() -> None:
    """Every program takes five descriptors of ours: use all that the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _offer(
    at_most: Level, name: str, cpus: int | None, memory: int | None, more_cpus: bool
) -> tuple[Profile, seccomp.Report]:
    """What this machine would offer. Raises BadOfferError, JailError if it must not run anything."""
    report = seccomp.probe(at_most=at_most)
    tags = [runtime.tag for runtime in seccomp.runtimes(report)]
    if not tags:
        raise seccomp.JailError(f"this machine cannot hold a stranger's program: {report.missing()}")
    profile = offer(
        machine=name, cpus=cpus, memory=memory, more_cpus=more_cpus, level=report.level, tags=tags
    )
    return profile, report


async def _run(
    place: Place,
    url: str,
    key: Key,
    profile: Profile,
    measuring: Measuring,
    price: int,
    report: seccomp.Report,
    as_json: bool,
) -> tuple[Tally, bool]:
    """The node's life; returns what it did, and whether Ctrl-C ended it."""
    node: Node | None = None
    too_early = asyncio.Event()  # a signal came before there was a node
    interrupts = 0

    def say(text: str) -> None:
        _say(text, as_json)

    def stop() -> None:
        say(_farewell(node))
        node.stop() if node else too_early.set()

    def leave(told: str = "told to leave now") -> None:
        say(f"{told}: {node.cost_of_leaving() if node else 'nothing is offered yet'}")
        node.leave() if node else too_early.set()

    def interrupted() -> None:
        nonlocal interrupts
        interrupts += 1
        stop() if interrupts == 1 else leave("leaving now")

    async def live() -> None:
        nonlocal node
        async with contextlib.AsyncExitStack() as ours:
            client = await ours.enter_async_context(await Client.connect(url, key, name=NAME))
            runtimes = await ours.enter_async_context(_tried(report))
            score = await measuring.score(profile, runtimes.values(), say, keep=True)
            offered = measuring.offer(profile, score)
            if not place.is_own:
                await await_silence(client, profile.machine, say)
            if not too_early.is_set():
                place.offered()
                node = Node(client, offered, price, runtimes, say)
                await node.run()

    loop = asyncio.get_running_loop()
    for number, act in ((signal.SIGINT, interrupted), (signal.SIGTERM, leave), (signal.SIGUSR1, stop)):
        loop.add_signal_handler(number, act)
    place.hold({"machine": profile.machine, "account": key.public, "server": url})
    await first_to_end(live(), too_early.wait())
    return node.tally if node else Tally(), interrupts > 0


@contextlib.asynccontextmanager
async def _tried(report: seccomp.Report) -> AsyncIterator[dict[str, seccomp.Runtime]]:
    """The runtimes by tag, after a program of each kind has run. Raises JailError."""
    async with contextlib.AsyncExitStack() as ours:
        runtimes = seccomp.runtimes(report)
        for runtime in runtimes:
            ours.push_async_callback(runtime.close)
        await try_all(runtimes)
        yield {runtime.tag: runtime for runtime in runtimes}


async def _try(report: seccomp.Report, profile: Profile, measuring: Measuring) -> Score:
    """Run a program in each runtime, and the benchmark. Raises JailError, BenchmarkError."""
    async with _tried(report) as runtimes:
        return await measuring.score(profile, runtimes.values(), lambda _: None, keep=False)


def _farewell(node: Node | None) -> str:
    if node is None:
        return "stopping: nothing is offered yet"
    if not node.contracts:
        return "stopping: nothing runs"
    return (
        f"stopping at the hour's end: {many(len(node.contracts), 'contract')} for {node.longest():.0f} s of "
        f"market time at most; Ctrl-C (again) leaves now: {node.cost_of_leaving()}"
    )


def _say(text: str, as_json: bool) -> None:
    line = f"{time.strftime('%H:%M:%S')} {text}"
    with contextlib.suppress(BrokenPipeError):  # who reads the log may leave; the node goes on
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)


def _sum_up(tally: Tally, seconds: float, as_json: bool) -> None:
    if as_json:
        cli.show({"seconds": round(seconds, 3), **asdict(tally)})
        return
    _say(
        f"ended after {seconds:.0f} s: {many(tally.contracts, 'contract')}, "
        f"{many(tally.hours, 'hour')} charged ({tally.lost_hours} not paid), "
        f"{credits(tally.earned)} earned; {many(tally.runs, 'run')}, "
        f"{tally.cpu_us / 1e6:.1f} s of CPU",
        False,
    )


@app.command()
def check(
    cpus: Cpus = None,
    memory: Memory = None,
    name: Name = "",
    at_most: AtMost = Level.A,
    benchmark_seconds: Seconds = SECONDS,
    state: State = DEFAULT,
    as_json: Json = False,
) -> None:
    """Say which layers of the jail work here and why others do not, and what would be offered.

    The CPUs are measured for it, if they were not before with this --state.

    Exit status 1 if `run` would refuse.
    """
    report = seccomp.probe(at_most=at_most)
    profile: Profile | None = None
    score: Score | None = None
    measuring = Measuring(state.expanduser(), benchmark_seconds)
    try:
        profile, _ = _offer(at_most, name, cpus, memory, False)
        score = uvloop.run(_try(report, profile, measuring))
        profile = measuring.offer(profile, score)
        refusal = ""
    except (BadOfferError, BenchmarkError, seccomp.JailError) as error:
        refusal = str(error)
    tags = [runtime.tag for runtime in seccomp.runtimes(report)]
    if as_json:
        layers = [{"name": layer.name, "works": layer.works, "why": layer.why} for layer in report.layers]
        offered = profile and profile.body()
        about = {"level": report.level, "layers": layers, "runtimes": tags, "offer": offered}
        cli.show(about | {"benchmark": score and asdict(score), "refusal": refusal})
    else:
        console = Console(highlight=False)
        table = Table("layer", "works", "what it does, or why not", box=None)
        for layer in report.layers:
            table.add_row(layer.name, "yes" if layer.works else "no", layer.why)
        console.print(table)
        console.print(f"level: {report.level or 'none'}; runtimes: {', '.join(tags) or 'none'}", markup=False)
        if profile and score:
            console.print(f"measured: {described(score)}", markup=False, soft_wrap=True)
            console.print(
                f"would offer: machine {profile.machine}, {profile.cpus} CPUs, {profile.memory_mb} MiB each, "
                f"{profile.mips} mips, {profile.mflops} mflops",
                markup=False,
                soft_wrap=True,
            )
        else:
            console.print(f"run would refuse: {refusal}", markup=False, soft_wrap=True)
    if refusal:
        raise typer.Exit(1)


@app.command()
def status(state: State = DEFAULT, server: Server = "", creds: Creds = None, as_json: Json = False) -> None:
    """Say whether the node runs here, and what the market knows of this account's machines."""
    node = Place(state.expanduser()).holder()
    if not as_json:
        print(f"node: machine {node['machine']}, pid {node['pid']}" if node else "node: none runs here")
    try:
        found = uvloop.run(_asked(server, creds, "machines", "orders", "contracts", "account"))
    except (cli.NowhereError, BadKeyError, *MARKET_ERRORS) as error:
        if not as_json:
            cli.fail(str(error))
        cli.show({"error": str(error), "node": node})
        raise typer.Exit(1) from None
    key, machines, orders, contracts, account = found
    machines = [machine for machine in machines if machine["account"] == key]
    asks = [order for order in orders if order["side"] == "ask"]
    sold = [contract for contract in contracts if contract["seller"] == key]
    if as_json:
        about = {"node": node, "account": account, "machines": machines, "asks": asks, "contracts": sold}
        cli.show(about)
        return
    print(f"account: {account['name']}, {credits(account['free'])} credits free")
    for machine in machines:
        ready = "ready" if machine["ready"] else "not heard"
        print(f"machine {machine['machine']}: {machine['cpus']} CPUs, {ready}")
    for ask in asks:
        sizes = f"{ask['running']} of {ask['size']} CPUs run"
        print(f"ask {ask['order']}: machine {ask['machine']}, {credits(ask['price'])} an hour, {sizes}")
    if not asks:
        print("offers nothing")
    for contract in sold:
        paid = f"hour {contract['hour']}, {credits(contract['paid'])} paid so far"
        print(f"contract {contract['contract']}: machine {contract['machine']}, {paid}")


@app.command()
def statement(server: Server = "", creds: Creds = None, as_json: Json = False) -> None:
    """Print the account's statement: opening balance, every line, closing balance (R2)."""
    with cli.edge(as_json, *MARKET_ERRORS):
        _, found = uvloop.run(_asked(server, creds, "statement"))
        if as_json:
            cli.show(found)
            return
        table = Table("commit", "event", "contract", "hour", "free", "held", box=None)
        for line in found["lines"]:
            words = [str(line[name] or "") for name in ("commit", "event", "contract", "hour")]
            table.add_row(*words, credits(line["free"]), credits(line["held"]))
        for what in ("opening", "closing"):
            print(f"{what}: {credits(found[what]['free'])} free, {credits(found[what]['held'])} held")
            if what == "opening":
                Console(highlight=False).print(table)


@app.command()
def stop(state: State = DEFAULT, as_json: Json = False) -> None:
    """Tell the node that runs here to sell nothing more, and to end when the running hours have ended."""
    node = Place(state.expanduser()).holder()
    if node is None:
        cli.fail(f"no seller_node runs with the state {state}", as_json)
    try:
        os.kill(node["pid"], signal.SIGUSR1)
    except ProcessLookupError:
        cli.fail(f"the seller_node with the state {state} has just ended", as_json)
    if as_json:
        cli.show({"stopping": node})
    else:
        print(f"machine {node['machine']} (pid {node['pid']}) ends when its running hours have ended")


async def _asked(server: str, creds: Path | None, *queries: str) -> list[Any]:
    """The account's key, and the answers to queries."""
    key = cli.resolve_creds(creds)
    async with await Client.connect(cli.resolve_server(server), key, name=NAME) as client:
        return [key.public, *[(await whole(client, what))["result"] for what in queries]]
