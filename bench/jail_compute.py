"""Steady compute in the jail beside the same program without it: sieve and matrix product.

Native and wasm are the kernels of the benchmark (seccomp/benchmark/kernels.c), which answer questions: both
of a pair are alive, and asked in turns. A Python function is run anew for each round.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import seccomp
from bench.jail_runtimes import runtime_at
from bench.log_findings import Findings, say, spread
from bench.tables import number
from seccomp import JailError, Limits
from seccomp.launcher import zygote_environment

KERNELS = Path(seccomp.__file__).parent / "benchmark"
PIECES = {"sieve": 40, "matrix": 400}  # in one question: some 30 ms
FUNCTION = (Path(__file__).parent / "jail_compute_function.py").read_bytes()
PAIRS, FUNCTION_PAIRS, FUNCTION_ROUNDS = 60, 20, 5
CPU = max(os.sched_getaffinity(0))  # both run on one
LIMITS = Limits(memory_mb=256, cpus=(CPU,))
PINNED = ("taskset", "-c", str(CPU))

Way = Callable[
    [str, int], Awaitable[tuple[object, float]]
]  # a kernel and a seed: its answer and the ms it took


def asked(write: Callable[[bytes], Awaitable[None]], read: Callable[[], Awaitable[bytes]]) -> Way:
    """Asks a running program of the kernels."""

    async def ask(kernel: str, seed: int) -> tuple[object, float]:
        begun = time.perf_counter()
        await write(f"{kernel} {seed} {PIECES[kernel]}\n".encode())
        answer = b""
        while not answer.endswith(b"\n"):
            piece = await read()
            assert piece, f"{kernel} ended: {answer[:100]!r}"
            answer += piece
        return answer, (time.perf_counter() - begun) * 1e3

    return ask


async def kernels_in_jail(kind: str, file: str, stack: AsyncExitStack) -> Way:
    runtime = runtime_at("A", kind)
    stack.push_async_callback(runtime.close)
    running = await runtime.start((KERNELS / file).read_bytes(), ["kernels"], LIMITS)
    stack.callback(running.close)
    return asked(running.write, lambda: running.read_stdout(1 << 16))


async def kernels_without(stack: AsyncExitStack) -> Way:
    pipe = asyncio.subprocess.PIPE
    command = (*PINNED, KERNELS / "kernels.elf")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env={})
    stack.push_async_callback(process.wait)
    stack.callback(process.kill)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None

    async def write(data: bytes) -> None:
        stdin.write(data)
        await stdin.drain()

    return asked(write, lambda: stdout.read(1 << 16))


async def function_in_jail(stack: AsyncExitStack) -> Way:
    runtime = runtime_at("A", "python")
    stack.push_async_callback(runtime.close)

    async def run(kernel: str, seed: int) -> tuple[object, float]:
        running = await runtime.start(FUNCTION, ["compute", "json"], LIMITS)
        await running.write(json.dumps([kernel, seed, FUNCTION_ROUNDS]).encode())
        await running.close_stdin()
        said = b""
        while piece := await running.read_stdout(1 << 16):
            said += piece
        ended = await running.wait()
        running.close()
        assert ended.status == 0, ended
        return _told(said)

    return run


def function_without() -> Way:
    """The same interpreter, with the environment that the jail's has."""
    call = "\nimport json, sys\nprint(json.dumps(compute(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))\n"
    command = (*PINNED, sys.executable, "-I", "-X", "utf8", "-c", FUNCTION.decode() + call)

    async def run(kernel: str, seed: int) -> tuple[object, float]:
        process = await asyncio.create_subprocess_exec(
            *(*command, kernel, str(seed), str(FUNCTION_ROUNDS)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=zygote_environment(),
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, kernel
        return _told(said)

    return run


def _told(said: bytes) -> tuple[object, float]:
    """What a function returned, and the median of its rounds."""
    found = json.loads(said)
    return found["answer"], median(found["ns"]) / 1e6


async def side_by_side(ours: Way, limit: Way, kernel: str, pairs: int) -> list[tuple[float, float]]:
    """ms of both, pair by pair; who goes first alternates."""
    found = []
    for turn in range(-2, pairs):  # the first two bring memory and files in
        order = (ours, limit) if turn % 2 else (limit, ours)
        told = {way: await way(kernel, turn + 100) for way in order}
        assert told[ours][0] == told[limit][0], f"{kernel}: the answers differ"
        if turn >= 0:
            found.append((told[ours][1], told[limit][1]))
    return found


async def compute() -> Findings:
    """Every pair, each with the limit's speed as 1."""
    found = Findings()
    rows = []
    for name in ("native over bare", "python over bare", "wasm over native"):
        kind = name.split()[0]
        pairs = FUNCTION_PAIRS if kind == "python" else PAIRS
        try:
            async with AsyncExitStack() as stack:
                if kind == "python":
                    ours, limit = await function_in_jail(stack), function_without()
                else:
                    file = "kernels.elf" if kind == "native" else "kernels.wasm"
                    ours, limit = await kernels_in_jail(kind, file, stack), await kernels_without(stack)
                for kernel in PIECES:
                    times = await side_by_side(ours, limit, kernel, pairs)
                    ratio = median(theirs / own for own, theirs in times)
                    found.figures[f"{name}, {kernel}"] = (ratio, "times")
                    own, theirs = (spread(column) for column in zip(*times, strict=True))
                    rows.append([f"{name}, {kernel}", own, theirs, number(ratio)])
                    say(f"{name}, {kernel}: {ratio:.3f} of the speed; {own} ms beside {theirs} ms")
        except JailError as error:
            say(f"left out: {name}: {error}")
    head = ("", "in the jail, ms a round", "without, ms a round", "speed over speed")
    found.table("Steady compute", head, rows)
    return found
