"""Tables of docs/performance.md, and numbers in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from bench.goals import judged
from bench.run import RESULTS

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


def chapter(suite: str, text: str, **words: object) -> str:
    """A suite's chapter: `text` with the machine, the date, the goals, the tables that it made, its other
    figures, and `words`. "" where the suite has no results of this form.
    """
    path = RESULTS / f"{suite}.json"
    result = json.loads(path.read_text()) if path.exists() else {"benchmarks": []}
    found = [made for bench in result["benchmarks"] for made in bench["extra"].get("tables", [])]
    if not found:
        return ""
    figures: Figures = result["figures"]
    goals = {goal["name"] for goal in judged() if goal["suite"] == suite}
    others = [
        (name, f"{number(figure['value'])} {figure['unit']}")
        for name, figure in figures.items()
        if name not in goals
    ]
    return text.format(
        **result["machine"],
        **words,
        date=result["date"],
        goals=goals_table({}, suite),
        tables="\n".join(f"### {made['title']}\n\n{table(made['head'], made['rows'])}" for made in found),
        others=table(("figure", "measured"), others),
    )
