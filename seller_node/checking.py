"""The command `check`: what the jail can do here, what would be offered, and when."""

import contextlib
import time
from dataclasses import asdict
from typing import Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table

import seccomp
from events import cli
from events.cli import Json
from seccomp.benchmark import SECONDS, BenchmarkError, Score
from seller_node.hours import clock
from seller_node.lines import many
from seller_node.measurement import Measuring, described
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
    Seconds,
    State,
    WhenIdle,
    policy_of,
)  # fmt: skip
from seller_node.place import DEFAULT, Place, PlaceTakenError
from seller_node.policy import Policy
from seller_node.profile import BadOfferError, Profile
from seller_node.watching import Watching


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
    benchmark_seconds: Seconds = SECONDS,
    state: State = DEFAULT,
    as_json: Json = False,
) -> None:
    """Say which layers of the jail work here and why others do not, what would be offered, and when.

    The CPUs are measured for it, if they were not before with this --state.

    Exit status 1 if `run` would refuse.
    """
    with cli.edge(as_json, seccomp.JailError):
        report = seccomp.probe(at_most=at_most)
        tags = [runtime.tag for runtime in seccomp.runtimes(report)]
    policy = policy_of(priority, on_cpus, bandwidth, hours, when_idle)
    profile: Profile | None = None
    score: Score | None = None
    refusal = ""
    people: list[str] = []
    try:
        Place(state.expanduser()).check()
        measuring = Measuring(state.expanduser(), benchmark_seconds, cpus=policy.cpus)
        offering = find_offering(report, policy, name, cpus, memory, False)
        profile, score = uvloop.run(_tried(offering, measuring))
        if policy.when_idle_s:
            with contextlib.closing(Watching()) as watching:
                people = watching.sources()
    except (BadOfferError, BenchmarkError, PlaceTakenError, seccomp.JailError) as error:
        refusal = str(error)
    if as_json:
        layers = [{"name": layer.name, "works": layer.works, "why": layer.why} for layer in report.layers]
        about: dict[str, Any] = {"level": report.level, "layers": layers, "runtimes": tags}
        about |= {"offer": profile and profile.body(), "benchmark": score and asdict(score)}
        cli.show(about | {"refusal": refusal} | _policy_wire(policy, people))
    else:
        _show(report, tags, profile, score, refusal)
        for line in [] if refusal else _policy_lines(policy, people):
            print(line)
    if refusal:
        raise typer.Exit(1)


def _show(
    report: seccomp.Report, tags: list[str], profile: Profile | None, score: Score | None, refusal: str
) -> None:
    console = Console(highlight=False)
    table = Table("layer", "works", "what it does, or why not", box=None)
    for layer in report.layers:
        table.add_row(layer.name, "yes" if layer.works else "no", layer.why)
    console.print(table)
    packages = [flag for flag in profile.flags if "/" in flag and flag not in tags] if profile else []
    runs = ", ".join(tags + packages) or "none"
    console.print(f"level: {report.level or 'none'}; runtimes: {runs}", markup=False, soft_wrap=True)
    if profile and score and not refusal:
        console.print(f"measured: {described(score)}", markup=False, soft_wrap=True)
        console.print(
            f"would offer: machine {profile.machine}, {many(profile.cpus, 'CPU')}, "
            f"{profile.memory_mb} MiB each, {profile.mips} mips, {profile.mflops} mflops",
            markup=False,
            soft_wrap=True,
        )
    else:
        console.print(f"run would refuse: {refusal}", markup=False, soft_wrap=True)


async def _tried(offering: Offering, measuring: Measuring) -> tuple[Profile, Score]:
    """Run a program in each runtime, and the benchmark. Raises JailError, BenchmarkError, BadOfferError."""
    async with offering.tried() as (profile, jails):
        score = await measuring.score(profile, jails.runtimes.values(), lambda _: None, keep=False)
        return measuring.offer(profile, score), score


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
