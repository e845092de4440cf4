"""Memory for each resting order, all in: orders, machines, kinds, screens, and every index.

A first process makes the requests and writes them to a folder; a second, fresh one reads them in slices and
fills a book: what its anonymous pages grow by is the book's and nothing else's.
`python -m bench.book_memory write plain|screened|hard FOLDER`, then `... read FOLDER`.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench import book_hard, book_screened
from bench.book_flow import BATCH, HIGHEST, SPREAD, START, prepare
from bench.book_market import DTYPE, blank
from exchange.book import Book, Screen, make_book
from exchange.book_records import ASK, BID, ONCE

ORDERS = 1_000_000
BIDS = 100_000  # beside a million asks


class Recorder:
    """A book that writes down what makes it."""

    def __init__(self, folder: Path) -> None:
        self.book, self.folder = make_book(), folder
        self.file: IO[bytes] = (folder / "requests").open("wb")
        self.machines: list[list[int]] = []
        self.screens: list[list[Any]] = []

    def apply(self, requests: bytes, results: Any = None) -> Any:
        self.file.write(requests)
        return self.book.apply(requests, results)

    def set_machine(self, machine: int, account: int, numbers: list[int], flags: int, ready: bool) -> None:
        assert machine == len(self.machines) and ready and flags < 2**63
        self.machines.append([account, flags, *numbers])
        self.book.set_machine(machine, account, numbers, flags, ready)

    def keep_screen(self, screen: Screen) -> int:
        self.screens.append([screen.minimums, screen.flags])
        return self.book.keep_screen(screen)

    def __len__(self) -> int:
        return len(self.book)

    def close(self) -> None:
        self.file.close()
        np.save(self.folder / "machines.npy", np.array(self.machines, dtype="<i8"))
        (self.folder / "rest.json").write_text(json.dumps({"orders": len(self), "screens": self.screens}))


def fill_plain(book: Book) -> None:
    """Bids and asks that do not meet, about as far from the middle as the plain flow's."""
    dice = np.random.default_rng(1)
    prepare(book)
    away = 1 + dice.exponential(SPREAD, ORDERS).astype("<i8")
    records = blank(ORDERS, ASK)
    bids = dice.random(ORDERS) < 0.5
    records["order"], records["kind"][bids] = np.arange(ORDERS), BID
    records["price"] = np.clip(START + np.where(bids, -away, away), 1, HIGHEST)
    records["owner"], records["size"] = np.arange(ORDERS) % 100, dice.integers(1, 10, ORDERS)
    records["terms"] = ONCE
    for start in range(0, ORDERS, BATCH):
        book.apply(records[start : start + BATCH].tobytes())


def write(what: str, folder: Path) -> None:
    recorder: Any = Recorder(folder)
    if what == "plain":
        fill_plain(recorder)
    elif what == "screened":
        book_screened.make_market(ORDERS, BIDS, book=recorder)
    else:
        book_hard.make_market(book=recorder)
    recorder.close()


def anonymous() -> int:
    """Bytes of this process's own resident pages."""
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def read(folder: Path) -> float:
    """Bytes for each resting order."""
    rest = json.loads((folder / "rest.json").read_text())
    machines = np.load(folder / "machines.npy", mmap_mode="r")
    screens = [Screen(tuple(minimums), flags) for minimums, flags in rest["screens"]]
    make_book()  # whatever the first one brings with it
    before = anonymous()
    book, results = make_book(), None
    for machine, row in enumerate(machines):
        account, flags, *numbers = row.tolist()
        book.set_machine(machine, account, numbers, flags, True)
    for screen in screens:
        book.keep_screen(screen)
    with (folder / "requests").open("rb") as file:
        while data := file.read(BATCH * DTYPE.itemsize):
            results = book.apply(data, results)
    assert len(book) == rest["orders"]
    return (anonymous() - before) / len(book)


def measure(what: str) -> float:
    """Bytes for each resting order of the `plain`, the `screened` or the `hard` book."""
    here, run = Path(__file__).parent.parent, [sys.executable, "-m", "bench.book_memory"]
    with tempfile.TemporaryDirectory(dir=here / "build") as folder:
        subprocess.run([*run, "write", what, folder], cwd=here, check=True)
        done = subprocess.run([*run, "read", folder], cwd=here, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], Path(sys.argv[3]))
    else:
        print(read(Path(sys.argv[2])))
