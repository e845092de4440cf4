"""The table in docs/reliability.md, of the rounds that were done."""

import platform
import re
from collections import Counter
from pathlib import Path
from typing import Any

from tests.soak import book

DOCUMENT = book.ROOT / "docs/reliability.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
Row = dict[str, Any]
MARKET = ("requests", "commits", "answers", "contracts", "charged")


def report(rows: list[Row], document: Path = DOCUMENT) -> str:
    """Put the table between its marks, and return it. All rounds count, of whatever version of the program;
    one that failed counts as failed until the same seed has gone well.
    """
    lines = [_machine(rows), "", "| what was done | how often | rounds | failed |", "|---|---|---|---|"]
    market: Counter[str] = Counter()
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [row for row in rows if row["kind"] == kind]
        done = [row for row in of_kind if "failed" not in row]
        failed = sum("failed" in row for row in {row["seed"]: row for row in of_kind}.values())
        faults: Counter[str] = Counter()
        for row in done:
            for name, count in row["faults"].items():
                faults[name.rpartition(": ")[2]] += count  # what it came to; what was struck is in the rows
            market.update(row["market"])
        total = f"| **{kind}** | {faults.total():,} | {len(done)} | {failed} |"
        lines += [total, *(f"| {name} | {count:,} | | |" for name, count in faults.most_common())]
        points: dict[str, set[str]] = {}  # by version, since a line that moved is no other await
        for row in done:
            points.setdefault(row["version"], set()).update(row["points"])
        most = max(map(len, points.values()), default=0)
        if most:
            lines.append(f"| different awaits at which it died | {most} | | |")
    if market.total():
        told = ", ".join(f"{market[name]:,} {name}" for name in MARKET)
        lines += ["", f"Meanwhile: {told.replace('charged', 'hours charged')}."]
    table = "\n".join(lines)
    text = document.read_text("utf-8")
    marked = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    assert marked.search(text), f"{document} has no place for the table"
    document.write_text(marked.sub(lambda _: f"{BEGIN}\n{table}\n{END}", text), "utf-8")
    return table


def _machine(rows: list[Row]) -> str:
    """Where and when."""
    days = sorted({row["day"] for row in rows})
    hours = sum(row.get("seconds", 0) for row in rows) / 3600
    versions = len({row["version"] for row in rows})
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return (
        f"Measured {' to '.join(days[:1] + days[1:][-1:])} on {cores} cores ({model and model.group(1)}), "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}; "
        f"{hours:.1f} hours of rounds, "
        f"{versions} versions of the program and of the rounds."
    )
