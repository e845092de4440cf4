"""Steady compute in the jail beside the same program without it: sieve and matrix product."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.jail_runtimes import runtime_at
from bench.log_findings import Findings, say, spread
from bench.tables import number
from seccomp import JailError, Limits, Runtime
from seccomp.launcher import zygote_environment
from tests.seccomp.toolchains import MissingToolError, compiled, environment

SOURCE = Path(__file__).parent / "jail_compute.c"
FUNCTION = (Path(__file__).parent / "jail_compute_function.py").read_bytes()
KERNELS = ("sieve", "matrix")
PAIRS, ROUNDS = 20, 5  # runs of each of two, and rounds in a run
CPU = max(os.sched_getaffinity(0))  # both run on one
LIMITS = Limits(memory_mb=256, cpus=(CPU,))

Way = Callable[[str], Awaitable[bytes]]  # runs a kernel, and returns what it said


@dataclass(frozen=True)
class Pair:
    """Two ways to run the same kernel: `limit` is what `ours` is measured against."""

    name: str
    ours: Way
    limit: Way


def bare(command: list[str], env: dict[str, str]) -> Way:
    """Without a jail; the kernel and the number of rounds as arguments."""

    async def run(kernel: str) -> bytes:
        pinned = ["taskset", "-c", str(CPU), *command, kernel, str(ROUNDS)]
        process = await asyncio.create_subprocess_exec(
            *pinned, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=env
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, pinned
        return said

    return run


def jailed(runtime: Runtime, program: bytes) -> Way:
    """In the jail: a function gets kernel and rounds as its input, others as arguments."""

    async def run(kernel: str) -> bytes:
        function = runtime.tag.startswith("python/")
        words = ["compute", "json"] if function else ["compute", kernel, str(ROUNDS)]
        running = await runtime.start(program, words, LIMITS)
        if function:
            await running.write(json.dumps([kernel, ROUNDS]).encode())
        await running.close_stdin()
        said = b""
        while piece := await running.read_stdout(1 << 16):
            said += piece
        ended = await running.wait()
        running.close()
        assert ended.status == 0, ended
        return said

    return run


def native(opened: list[Runtime]) -> Pair:
    program = compiled("glibc", SOURCE)
    opened.append(runtime_at("A", "native"))
    return Pair("native over bare", jailed(opened[-1], program.read_bytes()), bare([str(program)], {}))


def python(opened: list[Runtime]) -> Pair:
    """Beside the same interpreter, with what is in its zygote's environment."""
    opened.append(runtime_at("A", "python"))
    end = "\nimport json, sys\nprint(json.dumps(compute(sys.argv[1], int(sys.argv[2]))))\n"
    command = [sys.executable, "-I", "-X", "utf8", "-c", FUNCTION.decode() + end]
    return Pair("python over bare", jailed(opened[-1], FUNCTION), bare(command, zygote_environment()))


def wasm(opened: list[Runtime]) -> Pair:
    """Both compiled by clang -O2, the module with SIMD, machine code as for every x86_64."""
    module, program = compiled("wasm", SOURCE), compiled("clang", SOURCE)
    opened.append(runtime_at("A", "wasm"))
    return Pair(
        "wasm over native", jailed(opened[-1], module.read_bytes()), bare([str(program)], environment())
    )


async def side_by_side(pair: Pair, kernel: str) -> list[tuple[float, float]]:
    """ms of a round, ours and the limit's, by pairs of runs; who goes first alternates."""
    found = []
    answers = set()
    for turn in range(-1, PAIRS):
        order = (pair.ours, pair.limit) if turn % 2 else (pair.limit, pair.ours)
        said = {way: json.loads(await way(kernel)) for way in order}
        answers |= {one["answer"] for one in said.values()}
        if turn >= 0:  # the first run of each compiles, or brings files into memory
            ours, limit = (median(said[way]["ns"]) / 1e6 for way in (pair.ours, pair.limit))
            found.append((ours, limit))
    assert len(answers) == 1, f"{pair.name}, {kernel}: the answers differ: {answers}"
    return found


async def compute() -> Findings:
    found = Findings()
    rows = []
    for make in (native, python, wasm):
        opened: list[Runtime] = []
        try:
            pair = make(opened)
            for kernel in KERNELS:
                times = await side_by_side(pair, kernel)
                ratio = median(limit / ours for ours, limit in times)
                found.figures[f"{pair.name}, {kernel}"] = (ratio, "times")
                ours, limit = zip(*times, strict=True)
                rows.append([f"{pair.name}, {kernel}", spread(ours), spread(limit), number(ratio)])
                say(f"{pair.name}, {kernel}: {ratio:.3f} of the speed, {rows[-1][1]} and {rows[-1][2]} ms")
        except (MissingToolError, JailError) as error:
            say(f"left out: {make.__name__}: {error}")
        finally:
            for runtime in opened:
                await runtime.close()
    head = ("", "in the jail, ms a round", "without, ms a round", "speed over speed")
    found.table("Steady compute", head, rows)
    return found
