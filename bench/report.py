"""Writes docs/performance.md and its plot from the last results of the suites `book`, `log` and `jail`:
`python -m bench.report`. The parts of log and jail are `bench/report_log.py` and `bench/report_jail.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from bench.bench_book import LIGHT, OPERATIONS, TWIN
from bench.goals import judged
from bench.report_jail import jail_part
from bench.report_log import log_part
from bench.run import HERE, RESULTS
from bench.tables import P99, Figures, goals_table, number, p99_of, table

DOCS = HERE.parent / "docs"
PLAYERS = (
    "C ladder",
    "C ladder with the book's records",
    "book",
    "limit-order-book",
    "plain-Python twin",
    "lightmatchingengine",
)
DEPTHS = ("1,000 resting", "200,000 resting")

HEAD = """\
# How fast it is

Every figure here was measured, by `make bench-log`, `make bench-jail` and `make bench-book`; this page and
its plot are written by `python -m bench.report` from `bench/results/`. `make goals` prints what was asked.

- [The log](#the-log): the path of an order, replay, audit, start and failover.
- [The jail](#the-jail): starts, and compute, beside no jail.
- [The book](#the-book): matching alone.

"""

TEXT = """\
# The book

Measured by `make bench-book`, results in `bench/results/book.json` and `bench/results/book_billion.json`.

Machine: {cpu}, {cpus} cores, {memory_gib} GiB, Linux {kernel}, Python {python}. Date: {date}.

## What was asked

Where a p99 is given, the figure is a median: of batches of 64 requests of one kind, or, for a screen never
seen before and for quotes and depths, of single calls. Other times are the best of several rounds.

{goals}
## Plain flow

ns for each operation: 60% adds around a middle price, 30% cancels of random orders, 10% that cross. The C
ladders and the book play the same {operations:,} operations in batches of 1,024, with the same fills; so does
the twin, the first {twin:,} of them. One ladder takes operations of 16 bytes and says what was filled; the
other takes the book's requests and gives the book's results, byte by byte. The peers from PyPI take one call
for each operation, limit-order-book all of them, lightmatchingengine the first {light:,}.

![ns per operation, ladder, book, and peers](performance-book.svg)

{players}
## All other figures of the book

{others}
## How to repeat it

```
make bench-book                       # about five minutes; the machine must have nothing else to do
python -m bench.book_billion          # a billion orders that come and go
python -m bench.report                # this page again
make goals
```

- `bench/book_ladder.c` is the limit, `bench/book_flow.py` makes the flows, `bench/book_peers.py` plays them.
- `bench/book_sellers.py` makes machines and screens, `bench/book_market.py` the market that they are in, and
  finds by brute force what must match; `bench/book_screened.py` and `bench/book_hard.py` measure it.
- `bench/book_calls.py` measures single calls, `bench/book_memory.py` memory.
"""


def players_table(figures: Figures) -> str:
    rows = []
    for player in PLAYERS:
        cells = [player]
        for depth in DEPTHS:
            ns, ladder = figures[f"{player}, {depth}"]["value"], figures[f"{PLAYERS[0]}, {depth}"]["value"]
            cells += [number(ns), number(ns / ladder)]
        rows.append(cells)
    head = ("", *(cell for depth in DEPTHS for cell in (f"{depth}, ns", "over the ladder")))
    return table(head, rows)


def others_table(figures: Figures) -> str:
    shown = {goal["name"] for goal in judged()} | {
        f"{player}, {depth}" for player in PLAYERS for depth in DEPTHS
    }
    rows = [
        (name, f"{number(figure['value'])} {figure['unit']}", p99_of(figures, name))
        for name, figure in figures.items()
        if name not in shown and not name.endswith(P99)
    ]
    return table(("figure", "measured", "p99"), rows)


def plot(figures: Figures, path: Path) -> None:
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "corehour"
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    for place, (depth, colour) in enumerate(zip(DEPTHS, ("#7aa6c2", "#1f4e79"), strict=True)):
        values = [figures[f"{player}, {depth}"]["value"] for player in PLAYERS]
        bars = axes.barh(
            [at + 0.4 * place for at in range(len(PLAYERS))], values, 0.38, color=colour, label=depth
        )
        axes.bar_label(bars, [number(value) for value in values], padding=3, fontsize=8)
    axes.set_yticks([at + 0.2 for at in range(len(PLAYERS))], PLAYERS)
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 2)
    axes.set_xlabel("ns per operation")
    axes.invert_yaxis()
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    result = json.loads((RESULTS / "book.json").read_text())
    figures: Figures = dict(result["figures"])
    billion = RESULTS / "book_billion.json"
    if billion.exists():
        figures |= json.loads(billion.read_text())["figures"]
    plot(figures, DOCS / "performance-book.svg")
    text = TEXT.format(
        **result["machine"],
        operations=OPERATIONS,
        twin=TWIN,
        light=LIGHT,
        date=result["date"],
        goals=goals_table(figures, "book"),
        players=players_table(figures),
        others=others_table(figures),
    )
    (DOCS / "performance.md").write_text(HEAD + log_part() + jail_part() + text)


if __name__ == "__main__":
    main()
