"""What the demonstration prints: scenes, checked claims, progress. Plain lines where there is no terminal."""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from events.cli import credits

PLAIN_EVERY_S = 2.0


class Show:
    """Prints to standard output. On a terminal one line at the bottom lives; `with` shows it."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.began = time.monotonic()
        self.doing = "setting the stage"  # the scene
        self.done, self.of = 0, 0  # strips of the job that runs
        self.clock: Callable[[], str] = lambda: ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task(self.doing, total=None)

    def __enter__(self) -> "Show":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    async def live(self) -> None:
        """Keep the live line true, or print a line now and then, for ever."""
        said = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            text = f"{time.monotonic() - self.began:3.0f} s  {self.clock() or self.doing}"
            if self.console.is_terminal:
                whole = self.of or None
                self._progress.update(self._task, description=text, completed=self.done, total=whole)
            elif time.monotonic() - said >= PLAIN_EVERY_S:
                said = time.monotonic()
                strips = f", {self.done} of {self.of} strips" if self.of else ""
                self.line(f"    {text}{strips}")

    def line(self, text: str, style: str = "") -> None:
        """One line."""
        self.console.print(text, markup=False, style=style or None)

    def scene(self, title: str, rules: str) -> None:
        """A scene begins; `rules` are the rulebook's numbers."""
        self.doing = title
        self.line(f"\n{title} ({rules})", "bold")

    def say(self, text: str) -> None:
        """What is about to be seen, or was."""
        self.line(f"  {text}")

    def proved(self, text: str) -> None:
        """A claim that was checked against the log."""
        self.line(f"  ok  {text}", "green")

    def statement(self, statement: dict[str, Any]) -> None:
        """An account's statement (R2); lines of one commit and kind are shown together."""
        table = Table("time", "commit", "event", "contracts", "free", "held", box=None, padding=(0, 1))
        for name in ("free", "held"):
            table.columns[4 + (name == "held")].justify = "right"
        table.add_row("", "", "opening balance", "", *_purses(statement["opening"]))
        for (commit, event), group in groupby(statement["lines"], lambda row: (row["commit"], row["event"])):
            rows = list(group)
            sums = {purse: sum(row[purse] for row in rows) for purse in ("free", "held")}
            times = f" x{len(rows)}" if len(rows) > 1 else ""
            moment = f"{rows[0]['now_us'] / 1e6:.1f} s"
            about = ranges([row["contract"] for row in rows]) or rows[0]["text"]
            table.add_row(moment, str(commit), f"{event}{times}", about, *_purses(sums, sign=True))
        table.add_row("", "", "closing balance", "", *_purses(statement["closing"]))
        self.line(f"  Statement of {statement['name']}", "bold")
        self.console.print(table)


def _purses(purses: dict[str, int], *, sign: bool = False) -> list[str]:
    return [
        ("+" if sign and purses[name] > 0 else "") + credits(purses[name]) if purses[name] or not sign else ""
        for name in ("free", "held")
    ]


def ranges(numbers: Sequence[int]) -> str:
    """Contract numbers in short: 1-4, 7; those that are 0 are none."""
    found: list[list[int]] = []
    for number in sorted(set(numbers) - {0}):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{low}-{high}" if high > low else str(low) for low, high in found)
