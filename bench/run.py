"""Runs the suites and keeps their results: `python -m bench.run [SUITE ...]`, all of them by default.

Each suite is `bench/bench_<suite>.py`; its result is `bench/results/<suite>.json`: the machine, the date,
every benchmark's times, and the figures that the benchmarks computed (`extra_info["figures"]`).
"""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def suites() -> list[str]:
    """The suites that there are."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return {
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": memory,
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
    }


def run(suite: str) -> bool:
    """Run one suite; returns whether all of its benchmarks passed."""
    print(f"-- {suite}", flush=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as raw:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys"]
        command += [
            str(HERE / f"bench_{suite}.py"),
            f"--benchmark-json={raw.name}",
            "--benchmark-columns=min,median",
        ]
        passed = subprocess.run(command, cwd=HERE.parent).returncode == 0
        text = Path(raw.name).read_text()
    if not text:
        return False
    found = json.loads(text)["benchmarks"]
    result: dict[str, Any] = {
        "suite": suite,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "figures": {
            name: {"value": round(value, 4), "unit": unit}
            for bench in found
            for name, (value, unit) in bench["extra_info"].get("figures", {}).items()
        },
        "benchmarks": [
            {
                "name": bench["name"],
                "min_s": bench["stats"]["min"],
                "median_s": bench["stats"]["median"],
                "rounds": bench["stats"]["rounds"],
                "extra": {k: v for k, v in bench["extra_info"].items() if k != "figures"},
            }
            for bench in found
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{suite}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for name, figure in result["figures"].items():
        print(f"   {name}: {figure['value']:g} {figure['unit']}")
    return passed


def main() -> int:
    """Exit status 0 if every suite passed, 1 if not, 2 for a suite that is not there."""
    wanted = sys.argv[1:] or suites()
    unknown = sorted(set(wanted) - set(suites()))
    if unknown:
        print(f"no suite {', '.join(unknown)}; there are {', '.join(suites())}", file=sys.stderr)
        return 2
    passed = [run(suite) for suite in wanted]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
