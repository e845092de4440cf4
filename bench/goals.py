"""The figures asked for, beside the last results: `python -m bench.goals`.

Prints each goal of goals.toml as met, not met or not measured, and writes results/goals.json: a list of
`suite`, `name`, `unit`, `goal`, `value` (null where not measured), `met` (null likewise).
"""

import json
import sys
import tomllib
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.run import HERE, RESULTS


def judged() -> list[dict[str, Any]]:
    """Every goal with its last value."""
    goals = tomllib.loads((HERE / "goals.toml").read_text())["goal"]
    results = {
        path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json") if path.stem != "goals"
    }
    figures = {
        (figure.get("suite", suite), name): figure
        for suite, result in results.items()
        for name, figure in result["figures"].items()
    }
    rows = []
    for goal in goals:
        figure = figures.get((goal["suite"], goal["name"]))
        value = figure["value"] if figure else None
        if figure and figure["unit"] != goal["unit"]:
            raise SystemExit(
                f"goals.toml: {goal['name']} is in {goal['unit']}, its result in {figure['unit']}"
            )
        met = None if value is None else (value <= goal["most"] if "most" in goal else value >= goal["least"])
        wanted = f"at most {goal['most']}" if "most" in goal else f"at least {goal['least']}"
        rows.append(
            {
                "suite": goal["suite"],
                "name": goal["name"],
                "unit": goal["unit"],
                "goal": wanted,
                "against": goal.get("against", ""),
                "value": value,
                "met": met,
            }
        )
    return rows


def main() -> int:
    """Always exit status 0: a goal is not a test."""
    rows = judged()
    table = Table("suite", "figure", "goal", "value", "unit", "compared with", "")
    for row in rows:
        word = {None: "not measured", True: "[green]met[/]", False: "[red]not met[/]"}[row["met"]]
        value = "" if row["value"] is None else f"{row['value']:g}"
        table.add_row(row["suite"], row["name"], row["goal"], value, row["unit"], row["against"], word)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    RESULTS.mkdir(exist_ok=True)
    kept = [{k: v for k, v in row.items() if k != "against"} for row in rows]
    (RESULTS / "goals.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
