"""Runs the kernels in the jail, a copy on each CPU at once. The time of each right answer makes the score."""

import asyncio
import hashlib
import math
import random
import re
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from seccomp.benchmark.answers import answer
from seccomp.program import InputClosedError, Limits, Program, Runtime

OPERATIONS = {  # of one piece of work, as docs/benchmark.md counts them
    "mips": {"sieve": 1_257_753, "mix": 262_144},
    "mflops": {"matrix": 524_288, "lu": 172_704, "triad": 8_388_608},
}
KERNELS = {name: work for kernels in OPERATIONS.values() for name, work in kernels.items()}
REPETITIONS = 5  # that count; one more before them warms up
QUESTIONS = len(KERNELS) * (REPETITIONS + 1)
SECONDS = 2.0  # for all of it, about
MEMORY_MB = 64
MOST_PIECES = 4096  # in one question: kernels.c
MOST_CHECKED = 8  # copies; of each, one piece of each kernel
PATIENCE_S = 60.0  # for one answer

_PROGRAMS = {"native": "kernels.elf", "wasm": "kernels.wasm"}
_LINE = re.compile(rb"[0-9a-f]{16}(?: [0-9a-f]{16})*\n")


class BenchmarkError(Exception):
    """The benchmark has no result; the text is one line: which kernel, on which CPU, and why."""


@dataclass(frozen=True)
class Score:
    """What a program gets from a CPU while all `copies` work, in millions of operations a second.

    `mips` and `mflops` are the slowest copy's, `kernels` the slowest copy's of each kernel. `cpu_percent` is
    how much of its CPU a copy had while it worked, the least of all copies: below 95 the machine was busy.
    """

    runtime: str
    copies: int
    mips: int
    mflops: int
    kernels: dict[str, int]
    cpu_percent: int


@dataclass
class _Copy:
    """One running copy. `pieces` is all that it answered: (kernel, seed, piece, answer)."""

    program: Program
    cpu: int
    pieces: list[tuple[str, int, int, int]] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # for one piece, of each repetition
    worked_s: float = 0.0
    cpu_s: float = 0.0  # known when it has ended

    async def ask(self, kernel: str, seed: int, count: int) -> float:
        """Have so many pieces done; returns the seconds that it took. Raises BenchmarkError."""
        size = 17 * count
        line = bytearray()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.program.write(f"{kernel} {seed} {count}\n".encode())
                while len(line) < size and (data := await self.program.read_stdout(size - len(line))):
                    line += data
        except TimeoutError:
            raise self.error(kernel, f"no answer in {PATIENCE_S:g} s") from None
        except InputClosedError as error:
            raise self.error(kernel, str(error)) from None
        seconds = time.perf_counter() - began
        if len(line) != size or not _LINE.fullmatch(line):
            raise self.error(kernel, f"{bytes(line[:40])!r} is no answer for {count} pieces of work")
        for piece, word in enumerate(line.split()):
            self.pieces.append((kernel, seed, piece, int(word, 16)))
        self.worked_s += seconds
        return seconds

    async def end(self) -> None:
        """It ends when it is asked no more, and has said no more. Raises BenchmarkError."""
        await self.program.close_stdin()
        try:
            async with asyncio.timeout(PATIENCE_S):
                more = await self.program.read_stdout(40)
                end = await self.program.wait()
        except TimeoutError:
            raise self.error("benchmark", "it does not end") from None
        if more or end.status != 0:
            raise self.error("benchmark", f"it said {more!r} unasked" if more else end.why)
        self.cpu_s = end.cpu_us / 1e6

    def check(self, dice: random.Random) -> None:
        """Compare one piece of each kernel. Raises BenchmarkError."""
        for kernel in KERNELS:
            _, seed, piece, said = dice.choice([done for done in self.pieces if done[0] == kernel])
            right = answer(kernel, seed, piece)
            if said != right:
                raise self.error(kernel, f"piece {piece} of seed {seed}: {said:016x} is not {right:016x}")

    def rate(self, kernel: str) -> float:
        """Millions of operations a second: by the median of the repetitions."""
        return KERNELS[kernel] / statistics.median(self.seconds[kernel]) / 1e6

    def score(self, unit: str) -> float:
        """The geometric mean over a unit's kernels."""
        return statistics.geometric_mean([self.rate(kernel) for kernel in OPERATIONS[unit]])

    def error(self, kernel: str, why: str) -> BenchmarkError:
        """The error that names this copy."""
        return BenchmarkError(f"{kernel} on CPU {self.cpu}: {why}")


def measurable(runtimes: Iterable[Runtime]) -> list[Runtime]:
    """Those of the runtimes that the kernels are there for."""
    return [runtime for runtime in runtimes if _kind(runtime) in _PROGRAMS]


def program_of(runtime: Runtime) -> bytes:
    """The kernels as a program for this runtime. Raises BenchmarkError if they were not built."""
    path = Path(__file__).with_name(_PROGRAMS[_kind(runtime)])
    try:
        return path.read_bytes()
    except OSError as error:
        raise BenchmarkError(f"{path.name}: {error.strerror}; build it: make setup") from None


async def measure(
    runtime: Runtime,
    cpus: Sequence[int],
    *,
    program: bytes = b"",
    seconds: float = SECONDS,
    nice: int = 0,
    seed: bytes = b"",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Score:
    """Run the kernels in `runtime`, a copy for each of `cpus` (their numbers), all at once, for `seconds`.

    `program` else the kernels' own; `nice` as in Limits; `seed` else one that nobody can know before.
    `progress` is told how many questions of how many were asked. Raises BenchmarkError, JailError.
    """
    assert cpus and seconds > 0
    program, seed = program or program_of(runtime), seed or secrets.token_bytes(16)
    async with AsyncExitStack() as ours:
        copies = []
        for cpu in cpus:
            limits = Limits(memory_mb=MEMORY_MB, nice=nice, cpus=(cpu,))
            running = await runtime.start(program, ["kernels"], limits)
            ours.callback(running.close)
            copies.append(_Copy(running, cpu))
        share, done = seconds / QUESTIONS, 0
        for kernel in KERNELS:
            async for _ in _repeat(copies, kernel, share, seed):
                done += 1
                progress(done, QUESTIONS)
        await asyncio.gather(*(copy.end() for copy in copies))
    dice = random.SystemRandom()
    for copy in dice.sample(copies, min(len(copies), MOST_CHECKED)):
        await asyncio.to_thread(copy.check, dice)
    mips, mflops = (math.floor(min(copy.score(unit) for copy in copies)) for unit in OPERATIONS)
    slowest = {kernel: math.floor(min(copy.rate(kernel) for copy in copies)) for kernel in KERNELS}
    busy = math.floor(min(copy.cpu_s / copy.worked_s for copy in copies) * 100)
    return Score(runtime.tag, len(copies), mips, mflops, slowest, min(busy, 100))


async def _repeat(copies: list[_Copy], kernel: str, share: float, seed: bytes) -> AsyncIterator[None]:
    """All copies do the same amount of one kernel, each from its own seeds, again and again."""

    async def ask(repetition: int, count: int) -> float:
        """The seconds of one piece, of the slowest copy."""
        seeds = [_seed(seed, number, kernel, repetition) for number in range(len(copies))]
        asked = (copy.ask(kernel, own, count) for copy, own in zip(copies, seeds, strict=True))
        took = [seconds / count for seconds in await asyncio.gather(*asked)]
        if repetition > 0:
            for copy, seconds in zip(copies, took, strict=True):
                copy.seconds.setdefault(kernel, []).append(seconds)
        return max(took)

    piece = await ask(-1, 1)
    for repetition in range(REPETITIONS + 1):  # the first warms up
        piece = await ask(repetition, min(max(1, round(share / piece)), MOST_PIECES))
        yield


def _seed(seed: bytes, copy: int, kernel: str, repetition: int) -> int:
    """A seed for each question: copies cannot share their work."""
    digest = hashlib.sha256(seed + f" {copy} {kernel} {repetition}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def _kind(runtime: Runtime) -> str:
    return runtime.tag.partition("/")[0]
