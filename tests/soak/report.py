"""The table in docs/reliability.md, of the rounds that were done."""

import platform
import re
from collections import Counter
from pathlib import Path
from typing import Any

from tests.soak import book

DOCUMENT = book.ROOT / "docs/reliability.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
MARKET = ("requests", "commits", "answers", "contracts", "charged")


def report(rows: list[dict[str, Any]], document: Path = DOCUMENT) -> str:
    """Put the table between its marks, and return it. Of each kind those rounds count whose version is the
    newest.
    """
    newest = {row["kind"]: row["version"] for row in rows}
    counted = [row for row in rows if newest[row["kind"]] == row["version"]]
    lines = [_machine(counted), "", "| what was done | how often | rounds | failed |", "|---|---|---|---|"]
    market: Counter[str] = Counter()
    for kind in newest:
        done = {row["seed"]: row for row in counted if row["kind"] == kind}.values()
        faults: Counter[str] = Counter()
        points: set[str] = set()
        for row in done:
            faults.update(row["faults"])
            market.update(row["market"])
            points.update(row["points"])
        failed = sum(bool(row.get("failed")) for row in done)
        first = True
        for name, count in sorted(faults.items(), key=lambda item: -item[1]):
            rounds = (len(done), failed) if first else ("", "")
            lines.append(f"| {kind}: {name} | {count:,} | {rounds[0]} | {rounds[1]} |")
            first = False
        if points:
            lines.append(f"| {kind}: different awaits at which it died | {len(points)} | | |")
    if any(market.values()):
        told = ", ".join(f"{market[name]:,} {name}" for name in MARKET)
        lines += ["", f"Meanwhile: {told.replace('charged', 'hours charged')}."]
    table = "\n".join(lines)
    text = document.read_text("utf-8")
    marked = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    assert marked.search(text), f"{document} has no place for the table"
    document.write_text(marked.sub(lambda _: f"{BEGIN}\n{table}\n{END}", text), "utf-8")
    return table


def _machine(rows: list[dict[str, Any]]) -> str:
    """Where and when."""
    days = sorted({row["day"] for row in rows})
    hours = sum(row["seconds"] for row in rows) / 3600
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return (
        f"Measured {' to '.join(days[:1] + days[1:][-1:])} on {cores} cores ({model and model.group(1)}), "
        f"Linux {platform.release()}, Python {platform.python_version()}; {hours:.1f} hours of rounds."
    )
