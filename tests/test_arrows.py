"""The arrows between the rooms, as docs/architecture.md draws them, held against every import."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDS = ("state", "recovery")  # of the exchange: what rebuilds from events, and all that it imports
PURE = ("engine", "state", "book_twin", "admission")  # what decides
IMPURE = {
    "asyncio", "datetime", "io", "multiprocessing", "nats", "os", "pathlib", "random", "secrets", "select",
    "selectors", "signal", "socket", "subprocess", "tempfile", "threading", "time", "uuid", "uvloop",
}  # fmt: skip
CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)


class Arrow(NamedTuple):
    """A module of ours and a module that it imports."""

    file: Path
    target: str


class Allowed(NamedTuple):
    """What a room may import: rooms, and rooms of which only the folds."""

    rooms: frozenset[str]
    folds_of: frozenset[str]


def rooms_in(page: str) -> dict[str, Allowed]:
    """The table of rooms in the architecture's page."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line[:3] == "| `"
    ]
    rows = [(re.findall(r"`(\w+)/`", row[0]), row[2]) for row in cells if "/`" in row[0]]
    everyone = frozenset(room for rooms, _ in rows for room in rooms)
    table = {}
    for rooms, may in rows:
        folds = frozenset(re.findall(r"the folds of `(\w+)`", may))
        named = everyone if may == "all" else frozenset(re.findall(r"`(\w+)`", may)) - folds
        assert may in ("all", "nothing of ours") or named | folds, f"cannot read {may!r}"
        for room in rooms:
            table[room] = Allowed(named | {room}, folds)
    return table


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, as dotted names; `from a import b` is a.b."""
    text = file.read_text("utf-8")
    if file.suffix in (".pyx", ".pxd"):
        for match in CYTHON_IMPORT.finditer(text):
            yield match[1] or match[2]
        return
    for node in ast.walk(ast.parse(text, str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports between rooms are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(folder: Path) -> Iterator[Path]:
    for suffix in ("py", "pyi", "pyx", "pxd"):
        yield from sorted(folder.rglob(f"*.{suffix}"))


def wrong_arrows(root: Path, table: dict[str, Allowed]) -> list[Arrow]:
    """Every import that goes against the table."""
    wrong = []
    for room, allowed in table.items():
        for file in sources(root / room):
            for target in imports(file):
                where, _, rest = target.partition(".")
                if where not in table or where in allowed.rooms:
                    continue
                if where in allowed.folds_of and rest.partition(".")[0] in reach(root / where, FOLDS):
                    continue
                wrong.append(Arrow(file.relative_to(root), target))
    return wrong


def reach(room: Path, begin: tuple[str, ...]) -> set[str]:
    """The modules of a room that these import, and those, and so on; themselves included."""
    found: set[str] = set()
    waiting = list(begin)
    while waiting:
        name = waiting.pop()
        files = [
            room / f"{name}.{suffix}"
            for suffix in ("py", "pyx", "pxd")
            if (room / f"{name}.{suffix}").exists()
        ]
        if not files or name in found:
            continue
        found.add(name)
        for file in files:
            for target in imports(file):
                if target.startswith(f"{room.name}."):
                    waiting.append(target.split(".")[1])
    return found


def impurities(room: Path, begin: tuple[str, ...]) -> list[Arrow]:
    """Imports of what does I/O, knows a clock or chance, in what decides."""
    return [
        Arrow(file, target)
        for name in sorted(reach(room, begin))
        for file in sources(room)
        if file.stem == name
        for target in imports(file)
        if target.partition(".")[0] in IMPURE
    ]


TABLE = rooms_in((ROOT / "docs/architecture.md").read_text("utf-8"))


def test_the_page_names_every_room() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(TABLE) == packages
    assert TABLE["events"] == Allowed(frozenset({"events"}), frozenset())
    assert TABLE["projections"].folds_of == {"exchange"}
    assert TABLE["console"].rooms == set(TABLE)


def test_no_import_goes_against_the_arrows() -> None:
    assert wrong_arrows(ROOT, TABLE) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("events/x.py", "import exchange.engine"),
        ("events/x.py", "def f() -> None:\n    from links.frames import Frame"),
        ("exchange/_book.pyx", "from projections.store cimport Store"),
        ("projections/x.py", "from exchange.engine import Engine"),
        ("projections/x.py", "from exchange import service"),
        ("projections/x.py", "import exchange"),
        ("links/x.py", "import seccomp"),
        ("seccomp/x.py", "from events.keys import Key"),
        ("seller_node/x.py", "from exchange.state import State"),
        ("buyer/x.py", "import seller_node.main as m"),
        ("exchange/x.py", "from console import market"),
        ("exchange/x.py", "if True:\n    import tests.conftest"),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path: Path, file: str, line: str) -> None:
    for room in TABLE:
        (tmp_path / room).mkdir()
        (tmp_path / room / "fine.py").write_text(f"import json\nimport {room}.other\n")
    (tmp_path / "exchange/state.py").write_text("")
    (tmp_path / "projections/fold.py").write_text("from exchange.state import State\n")
    assert wrong_arrows(tmp_path, TABLE) == []
    (tmp_path / file).write_text(line + "\n")
    assert [arrow.file for arrow in wrong_arrows(tmp_path, TABLE)] == [Path(file)]


def test_what_decides_knows_no_clock_no_chance_and_no_world() -> None:
    assert impurities(ROOT / "exchange", PURE) == []
    assert {"engine", "state", "book", "book_twin", "handlers"} <= reach(ROOT / "exchange", PURE)


@pytest.mark.parametrize(
    "line", ["import time", "from os import path", "import nats.aio.client", "import random"]
)
def test_a_clock_in_what_decides_is_found(tmp_path: Path, line: str) -> None:
    room = tmp_path / "exchange"
    room.mkdir()
    (room / "engine.py").write_text("from exchange import handlers\nimport hashlib\n")
    (room / "handlers.py").write_text("from exchange.hour import advance\n")
    (room / "hour.py").write_text(line)
    (room / "service.py").write_text("import asyncio")  # not reached
    assert [arrow.file.name for arrow in impurities(room, PURE)] == ["hour.py"]
