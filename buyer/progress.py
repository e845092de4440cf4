"""Shows how a job goes: one line that lives on a terminal, plain lines elsewhere, silence for --json."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from buyer.job import Job
from buyer.other_bids import named
from events.cli import counted, credits

Say = Callable[[dict[str, Any]], str]


def _plain(text: str) -> Say:
    return lambda facts: text.format(**facts)


def _done(facts: dict[str, Any]) -> str:
    how = f"exit status {facts['status']}"
    if facts["signal"] or facts["why"]:
        how = facts["why"] or f"signal {facts['signal']}"
    return f"unit {facts['unit']}: {how} ({facts['done']} of {facts['of']})"


def _resized(facts: dict[str, Any]) -> str:
    why = "--max-cost allows no more" if facts["limited"] else "no more is needed"
    return f"bid {facts['order']} now buys {counted(facts['size'], 'CPU')}: {why}"


def _drought(facts: dict[str, Any]) -> str:
    if facts["free"] < facts["price"]:
        free, price = credits(facts["free"]), credits(facts["price"])
        return f"no contract: {free} free does not cover one hour at {price} (R11); a deposit wakes the bid"
    if facts["cpus"]:
        cpus = counted(facts["cpus"], "CPU")
        return f"no contract yet, but {cpus} would pass: is the market frozen or halted?"
    machines = counted(facts["machines"], "machine")
    return f"no contract yet: of {machines} none is ready, free, within the price and passes the screen"


LINES: dict[str, Say] = {
    "bid_placed": lambda f: (
        f"bid {f['order']}: {counted(f['size'], 'CPU')} at {credits(f['price'])} or less an hour; "
        f"at most {credits(f['hourly'])} an hour"
    ),
    "bid_taken_over": lambda f: f"bid {f['order']} of the earlier run goes on, {counted(f['size'], 'CPU')}",
    "bid_resized": _resized,
    "other_bids": lambda f: "\n".join(named(f["bids"])),
    "drought": _drought,
    "bid_refused": _plain("the market refuses: {why}"),
    "bid_cancelled": _plain("bid {order} cancelled"),
    "contract_opened": lambda f: (
        f"contract {f['contract']} on {f['machine']} at {credits(f['price'])} an hour"
    ),
    "contract_taken_over": _plain("contract {contract} on {machine} goes on: its hour is paid"),
    "contract_renewed": lambda f: f"contract {f['contract']}: hour {f['hour']} at {credits(f['price'])}",
    "contract_ended": _plain("contract {contract} on {machine} ended: {reason}"),
    "hour_charged": lambda f: (
        f"contract {f['contract']}: {credits(f['amount'])} charged, {credits(f['charged'])} in all"
    ),
    "hold_returned": lambda f: f"contract {f['contract']}: {credits(f['amount'])} came back: {f['reason']}",
    "unit_done": _done,
    "unit_lost": _plain("unit {unit} lost with contract {contract} ({why}); it is sent again"),
    "unit_crashed": _plain("unit {unit} crashed, {times} of at most {most} times: {why}"),
    "fault": _plain("contract {contract}: the seller is at fault: {why}"),
    "voted": lambda f: (
        f"voted contract {f['contract']} hour {f['hour']} {'good' if f['good'] else 'erratic'}"
    ),
    "vote_refused": _plain("vote on contract {contract} hour {hour} refused: {why}"),
    "frozen": _plain("the market is frozen: {reason}"),
    "unfrozen": _plain("the market goes on: {reason}"),
    "halted": _plain("the market is halted, only renewals match: {reason}"),
    "resumed": _plain("the halt is over: {reason}"),
    "away": _plain("the exchange is away; contracts go on, and so do we (R20)"),
    "back": _plain("the exchange is back"),
    "unheard": _plain("the market did not hear this client: nothing is renewed until it does (R17)"),
    "heard": _plain("the market hears this client"),
}
QUIET = {"hour_charged", "contract_renewed", "voted"}  # on a terminal, the line shows them


class Shown:
    """Use as `report` of run_job, within `with`. Writes to standard error; on a terminal one live line."""

    def __init__(self, job: Job, *, silent: bool) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=silent)
        self._live = self._console.is_terminal and not silent
        self._running: set[str] = set()
        self._contracts: set[int] = set()
        self._unheard = False
        self._facts = {"lost": 0, "charged": 0}
        self._progress = Progress(
            TextColumn("units"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
            transient=True,
        )
        self._task = self._progress.add_task("", total=len(job.units))

    def __enter__(self) -> "Shown":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: str, **facts: Any) -> None:
        """One event of a job."""
        self._count(event, facts)
        if event == "heard" and not self._unheard:
            return  # the market hears a client for the first time: no news
        self._unheard = event == "unheard" or (self._unheard and event != "heard")
        dull = event in QUIET or (event == "unit_done" and not facts["status"] and not facts["why"])
        if event in LINES and not (self._live and dull):
            self._console.print(LINES[event](facts), markup=False)
        if self._live:
            lost = f", {self._facts['lost']} lost" if self._facts["lost"] else ""
            self._progress.update(
                self._task,
                description=f"{len(self._running)} running{lost}, "
                f"{counted(len(self._contracts), 'contract')}, {credits(self._facts['charged'])} charged",
            )

    def say(self, line: str) -> None:
        """One line more."""
        self._console.print(line, markup=False)

    def _count(self, event: str, facts: dict[str, Any]) -> None:
        if event == "unit_started":
            self._running.add(facts["unit"])
        elif event in ("unit_done", "unit_lost", "unit_crashed"):
            self._running.discard(facts["unit"])
        if event == "unit_done":
            self._progress.update(self._task, completed=facts["done"])
        elif event == "unit_lost":
            self._facts["lost"] += 1
        elif event in ("contract_opened", "contract_taken_over"):
            self._contracts.add(facts["contract"])
        elif event == "contract_ended":
            self._contracts.discard(facts["contract"])
        elif event == "hour_charged":
            self._facts["charged"] = facts["charged"]
