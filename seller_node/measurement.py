"""What this machine was measured to do for a program, kept for the next run; what of it is offered (R24)."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from events.requests import INT32
from events.wire import dumps, loads
from seccomp import Runtime
from seccomp.benchmark import SECONDS, BenchmarkError, Score, measurable, measure, program_of
from seller_node.lines import many
from seller_node.place import PlaceTakenError
from seller_node.policy import NICE as NICE_OF
from seller_node.policy import Priority
from seller_node.profile import BadOfferError, Profile, cpu_numbers

FILE = "benchmark.json"
NICE = NICE_OF[Priority.LOW]  # whatever programs get later: what the CPUs can do is asked
QUIET_PERCENT = 95  # of a CPU; who had less was not alone


@dataclass(frozen=True)
class Measuring:
    """How to measure and what to offer: for so many `seconds`, `anew` whatever is kept in `directory`; so
    many `mips` and `mflops` (None: all that were measured). `cpus` are those that programs get, () for all.
    """

    directory: Path
    seconds: float = SECONDS
    anew: bool = False
    mips: int | None = None
    mflops: int | None = None
    cpus: tuple[int, ...] = ()

    async def score(
        self, profile: Profile, runtimes: Iterable[Runtime], say: Callable[[str], None], *, keep: bool
    ) -> Score:
        """The score that is kept, or else a new one, to `keep`. `say` takes the lines of the live log.

        Raises BenchmarkError, JailError; PlaceTakenError where it cannot be kept.
        """
        found = measurable(runtimes)
        if not found:
            raise BenchmarkError("no runtime works here that the benchmark is there for")
        runtime, cpus = found[0], self.cpus or cpu_numbers()
        about = _about(runtime, profile, cpus, self.seconds)
        if not self.anew and (kept := _kept(self.directory / FILE, about)):
            say(f"measured before: {described(kept)}")
            return kept
        say(f"measuring {many(profile.cpus, 'CPU')}, for about {self.seconds:g} s ...")
        copies = [cpus[number % len(cpus)] for number in range(profile.cpus)]
        score = await measure(runtime, copies, seconds=self.seconds, nice=NICE)
        say(f"measured: {described(score)}")
        if score.cpu_percent < QUIET_PERCENT and profile.cpus <= len(cpus):
            say("this machine is busy: measure again when it is quiet (--measure)")
        if keep:
            _keep(self.directory / FILE, about, score)
        return score

    def offer(self, profile: Profile, score: Score) -> Profile:
        """The profile with what is offered of a score. Raises BadOfferError."""
        return replace(
            profile,
            mips=_at_most("--mips", self.mips, score.mips),
            mflops=_at_most("--mflops", self.mflops, score.mflops),
        )


def described(score: Score) -> str:
    """A score for a person."""
    return (
        f"{score.mips} mips and {score.mflops} mflops a CPU; {score.copies} at once in {score.runtime}, "
        f"with {score.cpu_percent}% of a CPU each"
    )


def _about(runtime: Runtime, profile: Profile, cpus: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """What the score depends on: where any of it has changed, it counts no more."""
    return {
        "cpu": _cpu_model(),
        "kernel": os.uname().release,
        "cpus": list(cpus),
        "copies": profile.cpus,
        "jail": profile.jail,
        "nice": NICE,
        "runtime": runtime.tag,
        "program": hashlib.sha256(program_of(runtime)).hexdigest(),
        "seconds": seconds,
    }


def _kept(path: Path, about: dict[str, Any]) -> Score | None:
    """The score in a file, if it is one, and about just this."""
    try:
        found = loads(path.read_bytes())
        return msgspec.convert(found["score"], Score) if found["about"] == about else None
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError):
        return None


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", cpuinfo.read_text(), re.MULTILINE)
    return found[1] if found else ""


def _keep(path: Path, about: dict[str, Any], score: Score) -> None:
    draft = path.with_suffix(".new")
    try:
        draft.write_bytes(dumps({"about": about, "score": asdict(score)}) + b"\n")
        draft.replace(path)
    except OSError as error:
        raise PlaceTakenError(
            f"{path.parent}: {error.strerror}; give --state a directory to write in"
        ) from error


def _at_most(option: str, asked: int | None, measured: int) -> int:
    if asked is not None and asked > measured:
        raise BadOfferError(f"{option} {asked}: {measured} were measured; offer these, or less (R24)")
    return min(measured if asked is None else asked, INT32)
