"""What a buyer who leaves, or was killed, has still open, and what he is told of it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buyer.job import Ended, Result
from buyer.main import _summary
from tests.buyer.conftest import PATIENCE_S, Town, inputs, journal_lines

LEAVING = "leaving: the bid is being cancelled"


@contextlib.contextmanager
def no_exchange(town: Town) -> Iterator[None]:
    """Requests are taken in and not answered: the exchange and its standby stand still."""
    pids = [child.pid for child in town.market.exchanges]
    assert all(pids)
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def interrupt(buyer: "subprocess.Popen[str]") -> None:
    """Ctrl-C, and wait until it says that it is leaving."""
    buyer.send_signal(signal.SIGINT)
    assert buyer.stderr
    while LEAVING not in (line := buyer.stderr.readline()):
        assert line, "it ended without a word"


def asks(output: Path) -> bool:
    """Whether the job has asked for a bid and heard no answer."""
    journal = output / ".buyer/journal.jsonl"
    return journal.exists() and any("asking" in line for line in journal_lines(output)[-1:])


def test_ctrl_c_while_the_bid_is_asked_for_cancels_it_once_it_is_there(
    town: Town, program: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with no_exchange(town):
        buyer = town.start_buyer("run", "--max-price", "0.05", "--output", out, "--", program)
        town.wait(lambda: asks(out))
        interrupt(buyer)
    told, errors = buyer.communicate(timeout=PATIENCE_S)
    assert (buyer.returncode, told) == (130, "")
    assert "bid 1 cancelled" in errors
    assert "not answered" not in errors
    assert [row["closed"] for row in town.query("buyer", "orders", all=True)] == ["cancelled"]


def test_nobody_is_told_that_a_bid_is_cancelled_before_it_is(
    town: Town, program: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with no_exchange(town):
        buyer = town.start_buyer("run", "--max-price", "0.05", "--output", out, "--", program)
        town.wait(lambda: asks(out))
        interrupt(buyer)
        errors = buyer.communicate(timeout=PATIENCE_S)[1]
    assert buyer.returncode == 130
    assert "a bid was asked for and not answered within 10 s: it may stand, and buy" in errors
    assert "cancelled" not in errors


def test_no_directory_is_left_and_none_is_made_beside_the_output(
    town: Town, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    run = ("run", "--max-price", "0.05")
    with no_exchange(town):
        without = town.start_buyer(*run, "--", program)
        town.wait(lambda: any(asks(made) for made in temporary.glob("buyer-*")))
        interrupt(without)
        without.send_signal(signal.SIGINT)
        assert "left at once" in without.communicate(timeout=PATIENCE_S)[1]
        assert (without.returncode, list(temporary.iterdir())) == (130, [])
        beside = town.start_buyer(*run, "--output", out, "--", program)
        town.wait(lambda: asks(out))
        assert list(temporary.iterdir()) == []
        beside.kill()


def test_the_bid_of_a_killed_job_is_named_to_the_next(town: Town, program: Path, tmp_path: Path) -> None:
    """Its client's presence is the account's: the bid goes on buying (R6)."""
    town.seller("cheap", "0.02", 2)
    killed = town.start_buyer(
        *("run", "--max-price", "0.05", "--output", tmp_path / "killed"),
        *("--input", inputs(tmp_path / "long", {"a": "spin 60\n"}), "--", program),
    )
    town.wait(lambda: any(row["started"] for row in town.query("buyer", "contracts")))
    killed.kill()
    run = ("run", "--max-price", "0.05", "--output", tmp_path / "out")
    other = town.start_buyer(*run, "--", program, stdin=subprocess.PIPE)
    told, errors = other.communicate("what is read from standard input\n", timeout=PATIENCE_S)
    assert (other.returncode, told) == (0, ""), errors
    assert (tmp_path / "out/stdin").read_text() == "WHAT IS READ FROM STANDARD INPUT\n"
    first, *_, last = errors.splitlines()
    assert first == last, errors
    assert first.startswith("bid 2 of yours is open too, 1 CPU at 0.050000, 1 contract running")
    assert "`buyer run --resume --output DIR` goes on with it" in first
    assert "`buyer cancel 2` ends it" in first


def test_resume_is_named_only_where_it_can_work() -> None:
    result = Result({"a": Ended(0)}, ["b"], "interrupted")
    kept, lost = ("\n".join(_summary(result, kept)) for kept in (True, False))
    assert "1 unit unfinished: interrupted; the same with --resume goes on" in kept
    assert "--resume" not in lost
    assert "1 unit unfinished: interrupted; without --output, nothing is kept" in lost
