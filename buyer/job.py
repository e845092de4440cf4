"""A job: one program, many units of work, and what became of them."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from events.cli import credits
from events.profile import Screen
from events.wire import dumps, sha256

CHUNK = 1 << 20  # bytes of an input in memory at once
MAX_OUTPUT = 1024  # MiB that a unit may write, unless told otherwise
HIDDEN = ".buyer"  # where, in the output directory, a job keeps its journal and what is unfinished


class BadJobError(Exception):
    """A job that cannot be run as it is; the text names the option and what to do."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One run of the program: its input is bytes or a file, its results are named after it."""

    name: str
    input: bytes | Path

    def sha256(self) -> str:
        """Hash of the input. Raises OSError. O(its size)."""
        if isinstance(self.input, bytes):
            return sha256(self.input)
        with self.input.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Job:
    """What is to be run, and at what price.

    `arguments` are all of argv, the program's name first; for Python, the function and its encoding.
    `max_price` is in micro-credits per CPU hour; `max_cost` bounds all that is charged and held, None for
    no bound. Results go to `output`: `<unit>` and, if not empty, `<unit>.err`. With `settle`, the job ends
    only when its last contract has: then every hour is charged, and voted on. A seller that sends more than
    `max_output` MiB of output and errors for a unit is at fault: it is the buyer's disk.

    Raises BadJobError where names of units collide or no unit is given.
    """

    program: bytes
    runtime: str
    arguments: list[str]
    units: list[Unit]
    cpus: int
    max_price: int
    output: Path
    max_cost: int | None = None
    screen: Screen = field(default_factory=Screen)
    resume: bool = False
    settle: bool = False
    max_output: int = MAX_OUTPUT

    def __post_init__(self) -> None:
        if not self.units:
            raise BadJobError("--input: no file matches")
        if self.cpus < 1:
            raise BadJobError("--cpus: at least 1")
        if self.max_output < 1:
            raise BadJobError("--max-output: at least 1 MiB")
        names: set[str] = set()
        for unit in self.units:
            if unit.name in names:
                raise BadJobError(f"--input: two files are called {unit.name!r}; their results would collide")
            if unit.name in ("", ".", "..", HIDDEN) or "/" in unit.name:
                raise BadJobError(f"--input: {unit.name!r} cannot be the name of a result")
            names.add(unit.name)
        for name in sorted(names):
            if f"{name}.err" in names:
                raise BadJobError(
                    f"--input: {name}.err is the name of an input and of the errors of {name!r}; rename it"
                )

    def demands(self) -> Screen:
        """The screen of its bid: with the runtime among the flags, so that who has it not is not matched."""
        flags = tuple(sorted({*self.screen.flags, self.runtime}))
        return Screen(self.screen.minimums, flags, self.screen.only, self.screen.blocked)

    def most_slots(self) -> int:
        """The largest size that its bid will have."""
        return min(self.cpus, len(self.units))

    def identity(self) -> dict[str, Any]:
        """What must be the same for a journal to be continued: program, runtime, arguments, inputs.

        Reads every input. Raises BadJobError where one cannot be read.
        """
        try:
            inputs = [[unit.name, unit.sha256()] for unit in sorted(self.units, key=lambda unit: unit.name)]
        except OSError as error:
            raise BadJobError(f"--input: {error.filename}: {error.strerror}") from error
        return {
            "program": sha256(self.program),
            "runtime": self.runtime,
            "arguments": self.arguments,
            "inputs": sha256(dumps(inputs)),
            "units": len(inputs),
        }


@dataclass(frozen=True, slots=True)
class Ended:
    """How a unit ended. `status` is the program's exit status; `signal` what killed it, else 0.

    `why` is empty where the program ended by itself; `contract` is where it ran; CPU time in µs.
    """

    status: int
    signal: int = 0
    why: str = ""
    contract: int = 0
    cpu_us: int = 0
    memory_kb: int = 0

    @property
    def is_good(self) -> bool:
        """Whether the program ended with status 0."""
        return self.status == 0 and self.signal == 0


@dataclass
class Result:
    """What a job came to. Money in micro-credits: `charged` is paid, `held` will be charged at hours' ends.

    `unfinished` names units without a result, and `reason` says why there are any. `other_bids` of the
    account are open still: order, price, size, running contracts.
    """

    units: dict[str, Ended]
    unfinished: list[str]
    reason: str = ""
    bids: list[int] = field(default_factory=list)
    contracts: int = 0
    lost: int = 0
    charged: int = 0
    held: int = 0
    running: int = 0
    interrupted: bool = False
    other_bids: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every unit ended with status 0."""
        return not self.unfinished and all(ended.is_good for ended in self.units.values())

    def owed(self) -> str:
        """One sentence on what is still to be paid (R17)."""
        if not self.running:
            return "nothing is owed any more"
        hours = (
            "contract runs to its hour's end" if self.running == 1 else "contracts run to their hours' end"
        )
        return f"{self.running} {hours}: {credits(self.held)} is held and will be charged; nothing more"

    def wire(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "ok": self.is_good,
            "reason": self.reason,
            "units": {name: asdict(ended) for name, ended in self.units.items()},
            "unfinished": self.unfinished,
            "bids": self.bids,
            "contracts": self.contracts,
            "lost": self.lost,
            "charged": self.charged,
            "held": self.held,
            "running": self.running,
            "interrupted": self.interrupted,
            "other_bids": self.other_bids,
        }
