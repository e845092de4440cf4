"""Answers as tables for people; programs take --json."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from events.cli import credits
from events.terminal import visible

WIDTH = 150  # keys are never cut: a narrow terminal wraps the line

console = Console(highlight=False, soft_wrap=True)
console.width = max(console.width, WIDTH)
Row = dict[str, Any]


def progress_console() -> Console:
    """Where progress is shown: on standard error, and only to a person."""
    return Console(stderr=True, quiet=not sys.stderr.isatty())


def table(title: str, columns: str, rows: list[list[object]]) -> None:
    """Print a table; columns are words, those that end in `>` are set to the right.

    What others wrote is shown as it is: nothing in it speaks to the terminal, or means markup.
    """
    title = visible(title)
    shown = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for column in columns.split():
        right = column.endswith(">")
        shown.add_column(
            column.rstrip(">").replace("_", " "), justify="right" if right else "left", no_wrap=True
        )
    for row in rows:
        shown.add_row(*(Text(visible(str(cell))) for cell in row))
    console.print(shown if rows else f"{title}: none", markup=False)


def accounts(rows: list[Row]) -> None:
    """Balances, with the bank and the fees, and their sum, which is zero (R1)."""
    cells: list[list[object]] = [
        [row["name"], row["account"], credits(row["free"]), credits(row["held"]), share(row["reputation"])]
        for row in rows
    ]
    table("accounts", "name account free> held> reputation>", cells)
    total = sum(row["free"] + row["held"] for row in rows)
    console.print(f"the sum over all of them is {credits(total)}")


def book(sides: Row) -> None:
    """Depth: what is funded, present and ready (R11)."""
    for side in ("bids", "asks"):
        rows = [[credits(price), slots, orders] for price, slots, orders in sides[side]]
        table(side, "price> CPUs> orders>", rows)


def machines(rows: list[Row]) -> None:
    """Machines with their asks."""
    cells: list[list[object]] = []
    for row in rows:
        numbers = " ".join(f"{name}={value}" for name, value in row["numbers"].items())
        asks = " ".join(f"{ask['size']}@{credits(ask['price'])}" for ask in row.get("asks", ()))
        cells.append(
            [row["name"], row["machine"], row["cpus"], "yes" if row["ready"] else "no", asks or "-", numbers]
        )
    table("machines", "seller machine CPUs> ready asks numbers", cells)


def status(answer: Row) -> None:
    """The market as a whole."""
    terms = answer["terms"]
    rows: list[list[object]] = [
        ["market time", f"{answer['now_us'] / 1e6:.3f} s"],
        ["frozen", answer["frozen"] or "no"],
        ["halted", answer["halted"] or "no"],
        ["hour", seconds(terms["hour_us"])],
        ["lost after", seconds(terms["lost_after_us"])],
        ["fee", share(terms["fee_ppm"])],
        ["machines", f"{answer['machines']}, {answer['ready']} of them ready"],
        *([name, answer[name]] for name in ("accounts", "orders", "contracts", "epoch", "commit")),
        *([["durability", answer["durability"]]] if "durability" in answer else []),
    ]
    table("market", "what value", rows)


def statement(answer: Row) -> None:
    """Opening balance, every line, closing balance (R2)."""
    cells: list[list[object]] = [["", "opening balance", "", "", *_money(answer["opening"])]]
    for line in answer["lines"]:
        hour = f"{line['contract']}/{line['hour']}" if line["contract"] else ""
        about = " ".join(filter(None, (line["text"], line["counterparty"][:12])))
        cells.append([line["commit"], line["event"].replace("_", " "), hour, about, *_money(line)])
    cells.append(["", "closing balance", "", "", *_money(answer["closing"])])
    table(
        f"statement of {answer['name']} ({answer['account']})",
        "commit> event contract/hour about free> held>",
        cells,
    )


def seconds(micro: int) -> str:
    """Microseconds as seconds."""
    return f"{micro / 1e6:g} s"


def share(ppm: int) -> str:
    """Parts per million as per cent."""
    return f"{ppm / 10_000:.1f} %"


def _money(row: Row) -> list[str]:
    return [credits(row["free"]), credits(row["held"])]
