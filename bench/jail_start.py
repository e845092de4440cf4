"""Until a program's first byte: bare, in bubblewrap, in the jail; and what a thousand starts leave."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median

from bench.jail_runtimes import runtime_at
from bench.log_findings import Findings, at_share, say
from bench.tables import number
from seccomp import JailError, Limits, Runtime
from tests.seccomp.processes import descendants
from tests.seccomp.toolchains import MissingToolError, bubblewrap, compiled

SOURCE = Path(__file__).parent / "jail_start.c"
FUNCTION = b"def f(data):\n    return b'x'\n"
ROUNDS, COLD_ROUNDS, WARM_UP = 200, 30, 10
STARTS, FIRST = 1000, 300  # what is counted, and what fills caches before
MANY = 1 << 20
LIMITS = Limits(memory_mb=64)


Way = Callable[[], Awaitable[int]]  # starts once, to the end; returns the ns to the first byte


def spawn(command: list[str]) -> int:
    """A start without any of ours: posix_spawn, in an empty environment."""
    reader, writer = os.pipe()
    begun = time.perf_counter_ns()
    pid = os.posix_spawn(command[0], command, {}, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    os.close(writer)
    said = os.read(reader, 1)
    took = time.perf_counter_ns() - begun
    os.close(reader)
    assert os.waitpid(pid, 0)[1] == 0 and said == b"x", command
    return took


def spawned(command: list[str]) -> Way:
    async def start() -> int:
        return spawn(command)

    return start


def jailed(runtime: Runtime, program: Callable[[], bytes], arguments: list[str]) -> Way:
    """A start in the jail, by the library."""

    async def start() -> int:
        text = program()
        begun = time.perf_counter_ns()
        running = await runtime.start(text, arguments, LIMITS)
        await running.close_stdin()
        said = await running.read_stdout(1)
        took = time.perf_counter_ns() - begun
        assert said == b"x" and (await running.wait()).status == 0
        running.close()
        return took

    return start


def another(module: bytes) -> bytes:
    """The same module, as nobody has compiled it yet: with a section that means nothing."""
    return module + bytes([0, 10, 1, ord("x")]) + os.urandom(8)


def wrapped(program: Path) -> list[str]:
    """As much apart as bubblewrap makes it: every namespace, an empty root, no capabilities, dies with us."""
    apart = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    return [bubblewrap(), *apart, "--ro-bind", str(program), "/program", "/program"]


def in_jail(kind: str, level: str, opened: list[Runtime]) -> Way:
    """A start of `kind`: native, python, warm wasm or cold wasm."""
    runtime = runtime_at(level, kind.split()[-1])
    opened.append(runtime)
    if kind == "native":
        text = compiled("glibc", SOURCE).read_bytes()
        return jailed(runtime, lambda: text, ["x"])
    if kind == "python":
        return jailed(runtime, lambda: FUNCTION, ["f", "bytes"])
    module = compiled("wasm", SOURCE).read_bytes()
    return jailed(runtime, (lambda: another(module)) if kind == "cold wasm" else (lambda: module), ["x"])


def all_ways(opened: list[Runtime]) -> dict[str, Way]:
    """Every way that can be had here, by name; the others are said. What is to be closed goes to `opened`."""
    program = compiled("glibc", SOURCE)
    makers: dict[str, Callable[[], Way]] = {
        "bare start": lambda: spawned([str(program)]),
        "bubblewrap start": lambda: spawned(wrapped(program)),
    }
    for kind, levels in (("native", "AB"), ("python", "AB"), ("warm wasm", "AC"), ("cold wasm", "A")):
        for level in levels:
            makers[f"{kind} start, level {level}"] = partial(in_jail, kind, level, opened)
    ways = {}
    for name, make in makers.items():
        try:
            ways[name] = make()
        except (MissingToolError, JailError) as error:
            say(f"left out: {name}: {error}")
    return ways


async def start() -> Findings:
    """All ways take turns, so that all have the same machine."""
    found = Findings()
    opened: list[Runtime] = []
    taken: dict[str, list[int]] = {}
    try:
        ways = all_ways(opened)
        for turn in range(-WARM_UP, ROUNDS):
            for name, way in ways.items():
                if "cold" in name and not 0 <= turn < COLD_ROUNDS:
                    continue
                took = await way()
                if turn >= 0:
                    taken.setdefault(name, []).append(took)
    finally:
        for runtime in opened:
            await runtime.close()
    bare, bubblewraps = median(taken["bare start"]), median(taken.get("bubblewrap start", [0]))
    rows = []
    for name, values in taken.items():
        middle = median(values)
        found.figures[name] = (middle / 1e6, "ms")
        over = number(middle / bubblewraps) if bubblewraps else ""
        spread = [at_share(sorted(values), share) / 1e6 for share in (0, 0.5, 0.9)]
        rows.append([name, *map(number, spread), number(middle / bare), over])
    if bubblewraps and "native start, level A" in taken:
        found.figures["native start, over bubblewrap"] = (
            median(taken["native start, level A"]) / bubblewraps,
            "times",
        )
    head = ("", "least, ms", "median, ms", "nine of ten within, ms", "over bare", "over bubblewrap")
    found.table("From the start to the first byte", head, rows)
    say(f"starts: {', '.join(f'{row[0]} {row[2]} ms' for row in rows)}")
    return found


def held(pids: set[int]) -> tuple[int, int]:
    """Of these processes: open descriptors, and KiB of memory."""
    descriptors = memory = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        memory += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        descriptors += len(os.listdir(f"/proc/{pid}/fd"))
    return descriptors, memory


def settled(most: int) -> set[int]:
    """This process and all below it, once there are no more than `most` of them, or after a while."""
    deadline = time.monotonic() + 10
    while len(found := descendants(os.getpid())) > most and time.monotonic() < deadline:
        time.sleep(0.05)
    gc.collect()
    return found | {os.getpid()}


async def leaks() -> Findings:
    """Start a thousand, one after another, and count what is there afterwards that was not there before."""
    found = Findings()
    rows = []
    for kind in ("native", "python", "warm wasm"):
        opened: list[Runtime] = []
        try:
            way = in_jail(kind, "A", opened)
            for _ in range(FIRST):
                await way()
            await asyncio.sleep(1)
            before = settled(MANY)
            descriptors, memory = held(before)
            for _ in range(STARTS):
                await way()
            after = settled(len(before) - 1)
            more, grown = held(after)
        except (MissingToolError, JailError) as error:
            say(f"left out: a thousand starts, {kind}: {error}")
            continue
        finally:
            for runtime in opened:
                await runtime.close()
        left = max(0, len(after) - len(before)) + max(0, more - descriptors)
        found.figures[f"left by 1,000 starts, {kind}"] = (left, "processes and descriptors")
        found.figures[f"memory grown by 1,000 starts, {kind}"] = (grown - memory, "KiB")
        rows.append(
            [kind, str(len(before)), str(len(after)), str(descriptors), str(more), f"{grown - memory:+}"]
        )
    head = ("", "processes before", "after", "descriptors before", "after", "memory, KiB")
    found.table("What 1,000 starts in a row leave, in the node and all below it", head, rows)
    say(f"a thousand starts each: {rows}")
    return found
