"""The benchmark of a machine, again and again: how far its scores lie from each other."""

from __future__ import annotations

import os
from statistics import median

from bench.jail_runtimes import runtime_at
from bench.log_findings import Findings, say, spread
from seccomp import JailError
from seccomp.benchmark import Score, measure

TIMES = 10
CPUS = sorted(os.sched_getaffinity(0))


async def scores() -> Findings:
    found = Findings()
    rows = []
    for kind in ("native", "wasm"):
        try:
            runtime = runtime_at("A", kind)
        except JailError as error:
            say(f"left out: scores, {kind}: {error}")
            continue
        try:
            runs: list[Score] = [await measure(runtime, CPUS) for _ in range(TIMES)]
        finally:
            await runtime.close()
        for unit in ("mips", "mflops"):
            values = [getattr(score, unit) for score in runs]
            farthest = max(abs(value / median(values) - 1) for value in values) * 100
            found.figures[f"{unit} from their median, {kind}"] = (farthest, "%")
            rows.append([f"{unit}, {kind}", spread(values), f"{farthest:.1f}%"])
            say(f"{unit}, {kind}: {rows[-1][1]}")
        had = min(score.cpu_percent for score in runs)
        found.figures[f"CPU that the benchmark had, {kind}"] = (had, "%")
    head = ("", f"{TIMES} runs on {len(CPUS)} CPUs at once", "farthest from the median")
    found.table("The benchmark of a machine", head, rows)
    return found
