"""What the log's benchmarks found: figures by name, and tables to show; and the word how far they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.tables import number

BEGAN = time.monotonic()


@dataclass
class Findings:
    """Figures with their units, and tables: title, head, rows of texts."""

    figures: dict[str, tuple[float, str]] = field(default_factory=dict)
    tables: list[dict[str, Any]] = field(default_factory=list)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Keep a table for docs/performance.md."""
        self.tables.append({"title": title, "head": list(head), "rows": [list(row) for row in rows]})

    def merge(self, other: Findings) -> None:
        """Take what another found too."""
        self.figures |= other.figures
        self.tables += other.tables


def at_share(values: Sequence[float], share: float) -> float:
    """The value below which so much of them lies; `values` are sorted."""
    return values[min(len(values) - 1, int(len(values) * share))]


def spread(values: Sequence[float]) -> str:
    """Median, least and most of rounds, as a text."""
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"


def say(text: str) -> None:
    """Where the suite is, on the terminal, whatever pytest captures."""
    print(f"   {time.monotonic() - BEGAN:5.0f} s  {text}", file=sys.__stderr__, flush=True)
