"""Bad input in short: every decoder, a few hundred inputs each; and the runner of the long runs."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.requests import KINDS, check, decode_body
from tests.soak import fuzz, fuzz_worker
from tests.soak.decoders import WORDS, Target, assert_known, assert_line, joined
from tests.soak.decoders.requests import NAMES, body_seeds
from tests.soak.mutation import MOST_INPUT, altered

TARGETS = fuzz_worker.targets()
DEEP = b"[" * 1020 + b"]" * 1020

# What was a fault once.
FAULTS = [
    ("end", b'{"why":' + DEEP + b"}"),
    ("end", b'{"status":null,"signal":null,"cpu_us":0,"memory_kb":0,"why":' + DEEP + b"}"),
    ("commit", b'{"commit":"\xff"}'),
    ("commit", b'{"commit":1,"rules":' + DEEP + b"}"),
    (
        "commit",
        b'{"commit":1,"previous":"","rules":%d,"first":1,"last":1,"requests":"","digest":"","events":[]}'
        % 10**4000,
    ),
    ("event", DEEP),
    ("feed", b'\0{"n":1,"commit":1,"now_us":1,"events":[7]}'),
    ("feed", b'\0{"n":1,"commit":1,"now_us":1,"events":null}'),
    ("feed", b'\0{"n":[],"commit":1,"now_us":1,"events":[]}'),
    ("feed", b'\0{"n":1,"commit":1,"now_us":1,"events":[{"kind":"answered","session":7,"number":[]}]}'),
    ("reply", b"{"),
    ("reply", b"[]"),
    ("reply", b'{"error":' + DEEP + b"}"),
    ("pulse", b'{"frozen":1}'),
    ("pulse", b"[]"),
    ("parts", joined([bytes((0, 0, 0, 1, 0, 0, 0, 3)), bytes((0, 0, 0, 2, 0, 0, 0, 2))])),
    ("address", DEEP),
    ("lease", b'{"holder":' + DEEP + b"}"),
    ("offer", joined([b"list", b"{"])),
    ("offer", joined([b"list", b'{"by":"x","snapshots":[["../outside",4]]}', b"data"])),
    ("snapshot", b'\x01{"commit":' + DEEP + b"}"),
    ("rows", b'[["' + b"a" * 3000 + b'"],[]]'),
]


@pytest.mark.parametrize("name", TARGETS)
def test_bad_input(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    check = target.make()
    for seed in seeds:
        check(seed)
    whole = st.builds(altered, st.sampled_from(seeds), st.randoms(use_true_random=False), st.just(WORDS))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(whole | st.binary(max_size=100))
    def holds(data: bytes) -> None:
        (target.make() if target.fresh else check)(data)

    if not target.fresh:
        holds()
    dice = random.Random(name)
    for _ in range(200):
        check(altered(dice.choice(seeds), dice, WORDS))


@pytest.mark.parametrize(
    ("name", "data"), FAULTS, ids=[f"{name}-{at}" for at, (name, _) in enumerate(FAULTS)]
)
def test_what_was_a_fault_once(name: str, data: bytes) -> None:
    TARGETS[name].make()(data)


def test_mutations_reach_every_kind_of_refusal() -> None:
    dice, seeds = random.Random(1), body_seeds()
    codes: Counter[str] = Counter()
    for _ in range(4000):
        data = altered(dice.choice(seeds), dice, WORDS)
        assert len(data) <= MOST_INPUT
        body = decode_body(data[1:])
        codes[
            "none" if body is None else check(KINDS[NAMES[data[0] % len(NAMES)]], body).rpartition("/")[2]
        ] += 1
    assert all(codes[reason] > 50 for reason in ("", "none", "missing", "form", "unknown")), codes


def test_the_oracles_can_say_no() -> None:
    assert_known("R5/price/form")
    for code in ("R5/price/odd", "R6/price/form", "R9/order/unheard-of"):
        with pytest.raises(AssertionError):
            assert_known(code)
    for text in ("", "two\nlines", "a" * 3000):
        with pytest.raises(AssertionError):
            assert_line(text)


# -- the runner


def failing(data: bytes) -> None:
    assert b"bad" not in data
    while data == b"hang":
        pass


@pytest.fixture
def runner(tmp_path: Path) -> Any:
    def make(fresh: int) -> fuzz_worker.Runner:
        target = Target("failing", lambda: failing, lambda: [b"good"], 1, fresh)
        return fuzz_worker.Runner(target, fuzz_worker.Ledger(tmp_path / "ledger"), tmp_path / "fault")

    return make


def test_a_fault_is_kept_with_what_came_before_it(runner: Any, tmp_path: Path) -> None:
    for fresh, trail in ((0, [b"bad"]), (3, [b"3", b"4", b"bad"])):
        run = runner(fresh)
        for number in range(5):
            run(b"%d" % number)
        with pytest.raises(AssertionError):
            run(b"bad")
        done, kept = fuzz_worker.read_ledger(tmp_path / "ledger")
        assert (done, fuzz_worker.inputs_of(kept)) == (5, trail)
        assert "AssertionError" in (tmp_path / "fault").read_text()


def test_an_input_that_takes_too_long_is_a_fault(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_worker, "HANG_S", 0.05)
    with pytest.raises(fuzz_worker.HangError):
        runner(0)(b"hang")
    assert fuzz_worker.read_ledger(tmp_path / "ledger")[0] == 0


def test_what_is_done_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz, "LOG", tmp_path / "fuzz.jsonl")
    monkeypatch.setattr(fuzz, "FAULTS", tmp_path / "fuzz")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(fuzz, "BY_HYPOTHESIS", 1.0)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--target", "credits", "--inputs", "50"])
    assert fuzz.main() == 0
    assert "0 of 50 inputs were done before" in capsys.readouterr().out
    assert fuzz.main() == 0
    said = capsys.readouterr().out
    assert "50 of 50 inputs were done before" in said and "| credits | 0 | 50 |" in said
    rows = [json.loads(line) for line in (tmp_path / "fuzz.jsonl").read_text().splitlines()]
    assert [(row["engine"], row["inputs"], row["fault"]) for row in rows] == [
        ("hypothesis", 5, ""),
        ("hypothesis", 45, ""),
    ]
