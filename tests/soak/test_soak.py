"""The runner of long runs: what is done is not done again, and a failure says how to have it again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.soak import book as soak


class FakeFlow:
    """Runs nothing; the seed 3 fails, the seed 5 is interrupted."""

    ran: list[int]

    def __init__(self, seed: int, oracle: bool = False) -> None:
        self.seed, self.seen, self.matched = seed, Counter[str](), 0

    def run(self, ops: int) -> None:
        assert self.seed != 3, "three is wrong"
        if self.seed == 5:
            raise KeyboardInterrupt
        self.ran.append(self.seed)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    FakeFlow.ran = []
    monkeypatch.setattr(soak, "Flow", FakeFlow)
    monkeypatch.setattr(soak, "LOG", tmp_path / "soak/book.jsonl")
    monkeypatch.setattr(soak, "check_build", lambda sanitized: Path("book.so"))
    return tmp_path / "soak/book.jsonl"


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["soak", *arguments])
    return soak.main()


def test_seeds_that_are_done_are_not_done_again(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(monkeypatch, "--seeds", "3", "--ops", "10") == 0
    with log.open("a") as file:
        file.write('{"seed": 1, "op')
        file.write("\n")
    assert main(monkeypatch, "--seeds", "2", "--first", "1", "--ops", "10") == 0
    assert FakeFlow.ran == [0, 1, 2]
    assert main(monkeypatch, "--seeds", "2", "--ops", "11") == 0
    assert main(monkeypatch, "--seed", "1", "--ops", "10") == 0
    assert FakeFlow.ran == [0, 1, 2, 0, 1, 1]
    monkeypatch.setattr(soak, "digest", lambda files: "other sources")
    assert main(monkeypatch, "--seeds", "1", "--ops", "10") == 0
    assert FakeFlow.ran[-1] == 0
    rows = [json.loads(line) for line in log.read_text().splitlines() if "op" not in line[-4:]]
    assert {row["seed"] for row in rows} == {0, 1, 2} and rows[0]["build"] == "normal"


def test_a_failure_says_how_to_have_it_again(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "--seeds", "9", "--ops", "10") == 1
    said = capsys.readouterr().out
    assert "three is wrong" in said
    assert "again: python -m tests.soak.book --ops 10 --seed 3" in said
    assert "three is wrong" in (log.parent / "failed-3.txt").read_text()
    assert main(monkeypatch, "--seeds", "5", "--first", "4", "--ops", "10") == 130
    assert FakeFlow.ran == [0, 1, 2, 4]
    assert len(log.read_text().splitlines()) == 4


def test_the_digest_covers_what_is_tested() -> None:
    names = {str(file.relative_to(soak.ROOT)) for file in soak.sources()}
    assert {"exchange/_book.pyx", "exchange/book_twin.py", "exchange/matcher_twin.py"} <= names
    assert {"exchange/twin_orders.py", "exchange/book.py", "tests/exchange/book_flow.py"} <= names
