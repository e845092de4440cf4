"""The command `seller_node`: run, check, status, statement, stop."""

import logging
import os
import signal
import time
from dataclasses import asdict

import typer
import uvloop

import seccomp
from events import cli
from events.cli import Creds, Json, Server, credits
from seccomp.benchmark import SECONDS
from seller_node.checking import check
from seller_node.life import Life, allow_files, say_to
from seller_node.lines import many
from seller_node.looking import MARKET_ERRORS, statement, status
from seller_node.measurement import Measuring
from seller_node.node import Tally
from seller_node.offering import find_offering
from seller_node.options import (
    AtMost,
    BandwidthOf,
    Cpus,
    HoursOf,
    Level,
    Measure,
    Memory,
    Mflops,
    Mips,
    MoreCpus,
    Name,
    OnCpus,
    Price,
    PriorityOf,
    Seconds,
    State,
    WhenIdle,
    policy_of,
)
from seller_node.place import DEFAULT, Place

app = cli.application("Sell this machine's CPU hours: programs of strangers run in a jail, paid by the hour.")


@app.command()
def run(
    price: Price,
    cpus: Cpus = None,
    on_cpus: OnCpus = None,
    memory: Memory = None,
    priority: PriorityOf = None,
    bandwidth: BandwidthOf = None,
    hours: HoursOf = None,
    when_idle: WhenIdle = None,
    name: Name = "",
    at_most: AtMost = Level.A,
    allow_more_cpus: MoreCpus = False,
    mips: Mips = None,
    mflops: Mflops = None,
    measure: Measure = False,
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
    say = say_to(as_json)
    with cli.edge(as_json, *MARKET_ERRORS):
        policy = policy_of(priority, on_cpus, bandwidth, hours, when_idle)
        report = seccomp.probe(at_most=at_most)
        offering = find_offering(report, policy, name, cpus, memory, allow_more_cpus)
        url, key = cli.resolve_server(server), cli.resolve_creds(creds)
        place = Place(state.expanduser())
        if allow_more_cpus:
            say("a DEMONSTRATION: this node may offer more CPUs than this machine has (against R24)")
        allow_files()
        began = time.monotonic()
        try:
            measuring = Measuring(place.directory, benchmark_seconds, measure, mips, mflops, policy.cpus)
            tally, interrupted = uvloop.run(Life(place, url, key, offering, measuring, price, say).live())
        finally:
            place.release()
        seconds = time.monotonic() - began
        if as_json:
            cli.show({"seconds": round(seconds, 3), **asdict(tally)})
        else:
            say(_sum_up(tally, seconds))
    if interrupted:
        raise typer.Exit(130)


def _sum_up(tally: Tally, seconds: float) -> str:
    return (
        f"ended after {seconds:.0f} s: {many(tally.contracts, 'contract')}, "
        f"{many(tally.hours, 'hour')} charged ({tally.lost_hours} not paid), "
        f"{credits(tally.earned)} earned; {many(tally.runs, 'run')}, "
        f"{tally.cpu_us / 1e6:.1f} s of CPU"
    )


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


for command in (check, status, statement):
    app.command()(command)
