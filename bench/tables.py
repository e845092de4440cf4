"""Tables of docs/performance.md, and numbers in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.goals import judged

P99 = ", p99"
Figures = dict[str, dict[str, Any]]


def number(value: float) -> str:
    """Three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def p99_of(figures: Figures, name: str) -> str:
    """The p99 that was measured beside a figure, "" where none was."""
    found = figures.get(name + P99)
    return number(found["value"]) if found else ""


def goals_table(figures: Figures, suite: str) -> str:
    """What was asked of a suite, beside what was measured."""
    rows = []
    for goal in judged():
        if goal["suite"] != suite:
            continue
        value, limit = goal["value"], float(goal["goal"].split()[-1])
        rows.append(
            (
                goal["name"],
                f"{number(value)} {goal['unit']}" if value is not None else "not measured",
                p99_of(figures, goal["name"]),
                f"{goal['goal']} {goal['unit']}",
                f"{value / limit:.2f}" if value is not None and limit else "",
                goal["against"],
                {None: "", True: "met", False: "**not met**"}[goal["met"]],
            )
        )
    return table(("figure", "measured", "p99", "goal", "measured / goal", "compared with", ""), rows)
