"""Bad input for every decoder of bytes from outside: `python -m tests.soak.fuzz`, or `make soak`.

Each decoder runs in a process of its own, under atheris (which looks for lines that no input has reached)
and under hypothesis (which changes valid messages). An input that takes more than a second is a fault, as
is one that needs more than 4 GiB. What is done is kept in var/soak/fuzz.jsonl, so a run that was stopped
goes on where it was, and starts anew when what it tests has changed. A fault is kept under var/soak/fuzz/,
with the command that has it again.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.book import digest
from tests.soak.done import keep, rows
from tests.soak.fuzz_worker import inputs_of, read_done, read_ledger, targets

ROOT = Path(__file__).resolve().parents[2]
LOG = ROOT / "var/soak/fuzz.jsonl"
FAULTS = ROOT / "var/soak/fuzz"
TESTED = (
    *(
        f"{room}/*.py"
        for room in ("events", "exchange", "projections", "links", "buyer", "seller_node", "seccomp")
    ),
    *("exchange/_*.px[di]", "exchange/_*.pyx", "tests/soak/decoders/*.py", "tests/soak/mutation.py"),
    *("tests/soak/fuzz_worker.py", "tests/market/*.py", "tests/projections/history.py"),
    "tests/seccomp/hostile/*.py",
)
INPUTS = 10_000_000
BY_HYPOTHESIS = 0.002  # of a decoder's inputs, and so many at most; it is slow, and makes faults small
MOST_BY_HYPOTHESIS = 1000
FIRST = 0.1  # of the inputs of each decoder come before the rest, so that a fault in any is seen soon
STALL_S = 120.0  # without one input done ...
START_S = 1200.0  # ... and before the first: a busy machine imports slowly


@dataclass
class Job:
    """One decoder under one engine, with so many inputs to do; `before` were done by earlier runs."""

    target: str
    engine: str
    inputs: int
    before: int
    seed: int
    sources: str
    done: int = 0
    begun: float = 0.0
    moved: float = 0.0
    fault: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.target}-{self.engine}"

    @property
    def ledger(self) -> Path:
        """Where it says what it does."""
        return FAULTS / f"{self.name}.ledger"

    def begin(self) -> None:
        """Start its process."""
        for kind in ("ledger", "fault"):
            (FAULTS / f"{self.name}.{kind}").unlink(missing_ok=True)
        self.begun = self.moved = time.monotonic()
        with (FAULTS / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "tests.soak.fuzz_worker", self.target, self.engine,
                    "--inputs", str(self.inputs - self.before), "--seed", str(self.seed + self.before),
                    "--directory", str(FAULTS),
                ],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def is_over(self) -> bool:
        """Whether its process has ended; one that does nothing any more is ended here."""
        assert self.process is not None
        done, now = read_done(self.ledger), time.monotonic()
        if done != self.done:
            self.done, self.moved = done, now
        if self.process.poll() is None:
            if now - self.moved < (STALL_S if done else START_S):
                return False
            self.process.kill()
            self.process.wait()
            self.fault = f"no input was done in {now - self.moved:.0f} s"
        self.done = read_done(self.ledger)
        fault = FAULTS / f"{self.name}.fault"
        if self.process.returncode and not self.fault:
            last = fault.read_text().strip().splitlines()[-1] if fault.exists() else ""
            self.fault = last or f"exit status {self.process.returncode}; see {FAULTS / self.name}.log"
        return True

    def end(self) -> None:
        """Keep what is done."""
        row = {
            "target": self.target, "engine": self.engine, "inputs": self.done, "fault": self.fault,
            "seconds": round(time.monotonic() - self.begun, 1), "sources": self.sources,
        }  # fmt: skip
        keep(LOG, row)
        if self.fault and self.ledger.exists():
            _, trail = read_ledger(self.ledger)
            name = FAULTS / f"failed-{self.name}-{int(time.time())}.bin"
            name.write_bytes(trail)
            print(
                f"{self.name}: {self.fault[:2000]}\nagain: {command()} --target {self.target} --input {name}",
                flush=True,
            )
        self.ledger.unlink(missing_ok=True)


def command() -> str:
    """How this program is started."""
    return "python -m tests.soak.fuzz"


def sources() -> str:
    """All that a run depends on, as one digest."""
    return digest(sorted(file for pattern in TESTED for file in ROOT.glob(pattern)))


def done_before(of: str) -> Counter[tuple[str, str]]:
    """Inputs done by (target, engine), of the same sources and without a fault."""
    done: Counter[tuple[str, str]] = Counter()
    for row in rows(LOG):
        if row["sources"] == of:
            done[row["target"], row["engine"]] += row["inputs"]
    return done


def jobs(options: argparse.Namespace, whole_inputs: int) -> list[Job]:
    """What is to be done so that so many inputs are."""
    found, of = targets(), sources()
    before = done_before(of)
    if options.target and options.target not in found:
        sys.exit(f"no target {options.target!r}; there are {', '.join(found)}")
    chosen = [found[options.target]] if options.target else list(found.values())
    whole = sum(target.share for target in chosen)
    made = []
    for at, target in enumerate(chosen):
        inputs = -(-whole_inputs * target.share // whole)
        slow = min(int(inputs * BY_HYPOTHESIS), MOST_BY_HYPOTHESIS)
        for engine, part in (("hypothesis", slow), ("atheris", inputs - slow)):
            made.append(Job(target.name, engine, part, before[target.name, engine], options.seed + at, of))
    return made


def run(options: argparse.Namespace) -> bool:
    """Do what is not done; tell whether all went well."""
    FAULTS.mkdir(parents=True, exist_ok=True)
    every = jobs(options, options.inputs)
    before = sum(min(job.before, job.inputs) for job in every)
    print(f"{before} of {options.inputs} inputs were done before", flush=True)
    good = [do(jobs(options, int(options.inputs * part)), options.jobs) for part in (FIRST, 1.0)]
    print(table(every))
    if not all(good):
        print("some failed: each is named above, with the command that has it again")
    return all(good)


def do(every: list[Job], most: int) -> bool:
    """Do these, at most so many at a time; tell whether all went well."""
    waiting = [job for job in every if job.before < job.inputs]
    working: list[Job] = []
    memory = Path("/dev/shm")
    room = tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)
    os.environ["TMPDIR"] = room.name  # of the decoders that read files
    said = time.monotonic()
    try:
        while waiting or working:
            while waiting and len(working) < most:
                working.append(waiting.pop(0))
                working[-1].begin()
            time.sleep(0.2)
            for job in [job for job in working if job.is_over()]:
                working.remove(job)
                job.end()
            if time.monotonic() - said > 10:
                said = time.monotonic()
                total = sum(min(job.before, job.inputs) + job.done for job in every)
                print(
                    f"{total} inputs; at work: {', '.join(job.name for job in working)}",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        for job in working:
            assert job.process is not None
            job.process.kill()
            job.process.wait()
            job.done, job.fault = read_done(job.ledger), ""
            job.end()
        room.cleanup()
    return not any(job.fault for job in every)


def table(every: list[Job]) -> str:
    """What was done, as a table."""
    done = done_before(every[0].sources)
    lines = ["| decoder | by atheris | by hypothesis |", "|---|---|---|"]
    for name in dict.fromkeys(job.target for job in every):
        lines.append(f"| {name} | {done[name, 'atheris']:,} | {done[name, 'hypothesis']:,} |")
    total = sum(done[job.target, job.engine] for job in every)
    return "\n".join([*lines, f"\n{total:,} inputs in all"])


def again(options: argparse.Namespace) -> bool:
    """The inputs of one file, the last of which failed."""
    check = targets()[options.target].make()
    for data in inputs_of(options.input.read_bytes()):
        check(data)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog=command(), description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="of all decoders together")
    parser.add_argument("--target", help="this decoder alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument(
        "--input", type=Path, help="inputs of a fault, kept under var/soak/fuzz/; with --target"
    )
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return 0 if (again if options.input else run)(options) else 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
        return 130


if __name__ == "__main__":
    sys.exit(main())
