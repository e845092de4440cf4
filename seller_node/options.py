"""The options of `run` and `check`, and what they mean."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from events.cli import parse_credits
from seller_node.bandwidth import Bandwidth, parse_bandwidth
from seller_node.hours import Hours, parse_hours
from seller_node.policy import Policy, Priority, parse_cpus
from seller_node.profile import BadOfferError, cpu_numbers

T = TypeVar("T")
MOST_IDLE_MIN = 24 * 60.0


class Level(StrEnum):
    """The jail's levels that programs are run at."""

    A = "A"
    B = "B"
    C = "C"


def _reader(read: Callable[[str], T]) -> Callable[[Any], T]:
    """The same for typer, which makes a usage error of what was typed wrongly."""

    def parse(text: Any) -> T:
        try:
            return read(text)
        except BadOfferError as error:
            raise typer.BadParameter(str(error)) from error

    parse.__name__ = read.__name__
    return parse


State = Annotated[
    Path,
    typer.Option(
        "--state", metavar="DIR", help="Where the node keeps its lock and benchmark.json; one node each."
    ),
]
AtMost = Annotated[
    Level,
    typer.Option(
        "--at-most",
        help="The most layers of the jail: B without namespaces, C without Landlock too: wasm alone runs.",
    ),
]
Name = Annotated[str, typer.Option("--name", metavar="MACHINE", help="The machine's name; else the host's.")]
Price = Annotated[
    int, typer.Option("--price", metavar="CREDITS", parser=parse_credits, help="The least for one CPU hour.")
]
Cpus = Annotated[int | None, typer.Option("--cpus", metavar="N", min=1, help="How many CPUs; else all.")]
OnCpus = Annotated[
    Any,
    typer.Option(
        "--on-cpus", metavar="LIST", parser=_reader(parse_cpus), help="Which CPUs, by number: 2,3 or 0-3,8."
    ),
]
Memory = Annotated[
    int | None,
    typer.Option("--memory", metavar="MIB", min=1, help="For all CPUs together; else 3/4 of what is free."),
]
PriorityOf = Annotated[
    Priority | None,
    typer.Option(
        "--priority",
        help="Of programs beside yours: idle (only what nobody else wants), low (nice 10) or normal.",
        show_default="low; idle with --when-idle",
    ),
]
BandwidthOf = Annotated[
    Any,
    typer.Option(
        "--bandwidth",
        metavar="UP[/DOWN]",
        parser=_reader(parse_bandwidth),
        help="The most that all programs together send and receive, a second: 500kB, 10Mbit/50Mbit.",
        show_default="no limit",
    ),
]
HoursOf = Annotated[
    Any,
    typer.Option(
        "--hours",
        metavar="HOURS",
        parser=_reader(parse_hours),
        help="Sell at these hours only, local time: 22:00-07:00, or mon-fri 20:00-08:00, "
        "sat-sun 00:00-24:00; what runs then goes on to the end of its paid hour.",
        show_default="always",
    ),
]
WhenIdle = Annotated[
    float | None,
    typer.Option(
        "--when-idle",
        metavar="MINUTES",
        min=0.05,
        max=MOST_IDLE_MIN,
        help="Sell only after nobody used the machine for so long; when somebody is back, sell nothing new.",
        show_default="used or not",
    ),
]
Mips = Annotated[
    int | None, typer.Option("--mips", metavar="N", min=0, help="Offer so many; else all that were measured.")
]
Mflops = Annotated[int | None, typer.Option("--mflops", metavar="N", min=0, help="The same of these.")]
Measure = Annotated[
    bool, typer.Option("--measure", help="Measure the CPUs anew, also where nothing has changed.")
]
Seconds = Annotated[
    float,
    typer.Option(
        "--benchmark-seconds",
        metavar="S",
        min=0.05,
        max=600,
        help="Measure the CPUs for so long; less is less exact, for tests and demonstrations.",
    ),
]
MoreCpus = Annotated[
    bool,
    typer.Option("--allow-more-cpus", hidden=True, help="Offer more CPUs than there are: a demonstration."),
]


def policy_of(
    priority: Priority | None,
    on_cpus: tuple[int, ...] | None,
    bandwidth: Bandwidth | None,
    hours: Hours | None,
    when_idle: float | None,
) -> Policy:
    """The policy that the options describe."""
    return Policy(
        priority=priority or (Priority.LOW if when_idle is None else Priority.IDLE),
        cpus=on_cpus or cpu_numbers(),
        bandwidth=bandwidth or Bandwidth(),
        hours=hours,
        when_idle_s=(when_idle or 0.0) * 60,
    )
