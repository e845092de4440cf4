"""The commands that only look: check, status, statement."""

import contextlib
import time
from pathlib import Path
from typing import Any

import nats.errors
import typer
import uvloop
from rich.console import Console
from rich.table import Table

import seccomp
from events import cli
from events.cli import Creds, Json, Server, credits
from events.client import BadRequestError, Client, NoAnswerError, QueryError, RefusedError
from events.keys import BadKeyError
from events.log import NotAdmittedError, UnreachableError
from events.pages import whole
from seller_node.hours import clock
from seller_node.offering import Offering, find_offering
from seller_node.options import (
    AtMost,
    BandwidthOf,
    Cpus,
    HoursOf,
    Level,
    Memory,
    Name,
    OnCpus,
    PriorityOf,
    State,
    WhenIdle,
    policy_of,
)
from seller_node.place import DEFAULT, Place, PlaceTakenError
from seller_node.policy import Policy
from seller_node.profile import BadOfferError, Profile
from seller_node.silence import MachineTakenError
from seller_node.watching import Watching

MARKET_ERRORS = (
    BadOfferError,
    BadRequestError,
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


def check(
    cpus: Cpus = None,
    on_cpus: OnCpus = None,
    memory: Memory = None,
    priority: PriorityOf = None,
    bandwidth: BandwidthOf = None,
    hours: HoursOf = None,
    when_idle: WhenIdle = None,
    name: Name = "",
    at_most: AtMost = Level.A,
    as_json: Json = False,
) -> None:
    """Say which layers of the jail work here and why others do not, what would be offered, and when.

    Exit status 1 if `run` would refuse.
    """
    with cli.edge(as_json, seccomp.JailError):
        report = seccomp.probe(at_most=at_most)
        tags = [runtime.tag for runtime in seccomp.runtimes(report)]
    policy = policy_of(priority, on_cpus, bandwidth, hours, when_idle)
    profile: Profile | None = None
    refusal = ""
    people: list[str] = []
    try:
        profile = uvloop.run(_tried(find_offering(report, policy, name, cpus, memory, False)))
        if policy.when_idle_s:
            with contextlib.closing(Watching()) as watching:
                people = watching.sources()
    except (BadOfferError, seccomp.JailError) as error:
        refusal = str(error)
    if as_json:
        layers = [{"name": layer.name, "works": layer.works, "why": layer.why} for layer in report.layers]
        about: dict[str, Any] = {"level": report.level, "layers": layers, "runtimes": tags}
        cli.show(
            about | {"offer": profile and profile.body(), "refusal": refusal} | _policy_wire(policy, people)
        )
    else:
        _show_check(report, tags, profile, refusal)
        for line in [] if refusal else _policy_lines(policy, people):
            print(line)
    if refusal:
        raise typer.Exit(1)


def _show_check(report: seccomp.Report, tags: list[str], profile: Profile | None, refusal: str) -> None:
    console = Console(highlight=False)
    table = Table("layer", "works", "what it does, or why not", box=None)
    for layer in report.layers:
        table.add_row(layer.name, "yes" if layer.works else "no", layer.why)
    console.print(table)
    packages = [flag for flag in profile.flags if "/" in flag and flag not in tags] if profile else []
    runs = ", ".join(tags + packages) or "none"
    console.print(f"level: {report.level or 'none'}; runtimes: {runs}", markup=False, soft_wrap=True)
    if profile and not refusal:
        console.print(
            f"would offer: machine {profile.machine}, {profile.cpus} CPUs, {profile.memory_mb} MiB each",
            markup=False,
        )
    else:
        console.print(f"run would refuse: {refusal}", markup=False, soft_wrap=True)


async def _tried(offering: Offering) -> Profile:
    async with offering.tried() as (profile, _):
        return profile


def _policy_wire(policy: Policy, people: list[str]) -> dict[str, Any]:
    return {
        "policy": {
            "priority": policy.priority,
            "cpus": policy.cpus,
            "up": policy.bandwidth.up,
            "down": policy.bandwidth.down,
            "hours": policy.hours and policy.hours.text,
            "when_idle_s": policy.when_idle_s,
            "people_seen_by": people,
        }
    }


def _policy_lines(policy: Policy, people: list[str]) -> list[str]:
    now = time.time()
    line, hours = policy.bandwidth, policy.hours
    rates = f"{line.up / 1000:g} kB/s up, {line.down / 1000:g} kB/s down" if line.up else "no limit"
    found = [
        f"programs: priority {policy.priority}, on CPUs {','.join(map(str, policy.cpus))}; bandwidth: {rates}"
    ]
    if hours:
        change = hours.next_change(now)
        until = (
            f"{'until' if hours.are_open(now) else 'again at'} {clock(change, now)}" if change else "always"
        )
        found.append(f"hours: {hours.text}; now {'open' if hours.are_open(now) else 'closed'}, {until}")
    if policy.when_idle_s:
        seen = f"people are seen by {', '.join(people)}" if people else "people cannot be seen here"
        minutes = f"{policy.when_idle_s / 60:g}"
        found.append(f"for sale after {minutes} idle minutes; {seen}, other programs by their CPU time")
        if "keyboard and mouse" not in people:
            found.append("to see keyboard and mouse too, let this user read /dev/input (often: group input)")
    return found


def status(state: State = DEFAULT, server: Server = "", creds: Creds = None, as_json: Json = False) -> None:
    """Say whether the node runs here, what it does, and what the market knows of this account's machines."""
    node = Place(state.expanduser()).holder()
    if not as_json:
        does = f"; {node['does']}" if node and node.get("does") else ""
        print(f"node: machine {node['machine']}, pid {node['pid']}{does}" if node else "node: none runs here")
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


async def _asked(server: str, creds: Path | None, *queries: str) -> list[Any]:
    """The account's key, and the answers to queries."""
    key = cli.resolve_creds(creds)
    async with await Client.connect(cli.resolve_server(server), key, name=NAME) as client:
        return [key.public, *[(await whole(client, what))["result"] for what in queries]]
