"""`buyer run` on a real market: real server, exchange, projections, seller nodes, jailed programs."""

import json
import signal
from pathlib import Path

from tests.buyer.conftest import PATIENCE_S, Town, inputs


def test_every_input_becomes_a_result_and_money_agrees(town: Town, program: Path, tmp_path: Path) -> None:
    town.seller("cheap", "0.02", 2)
    out = tmp_path / "out"
    texts = {f"u{n}": f"unit {n}\n" for n in range(12)} | {"bad": "exit 3\n", "crash": "crash\n"}
    buyer = town.start_buyer(
        *("run", "--max-price", "0.05", "--cpus", "4", "--screen", "memory_mb>=128", "--json", "--settle"),
        *("--input", inputs(tmp_path / "in", texts), "--output", out, "--", program, "hello"),
    )
    told, errors = buyer.communicate(timeout=PATIENCE_S)
    result = json.loads(told)
    assert (buyer.returncode, errors) == (1, "")
    for name, text in texts.items():
        if name != "crash":
            assert (out / name).read_text() == text.upper()
            assert (out / f"{name}.err").read_text() == "hello\n"
    ends = {name: (end["status"], end["signal"]) for name, end in result["units"].items()}
    assert ends.pop("bad") == (3, 0)
    assert ends.pop("crash") == (0, signal.SIGSEGV)
    assert set(ends.values()) == {(0, 0)}
    assert (result["unfinished"], result["contracts"], result["held"]) == ([], 2, 0)
    assert result["charged"] == 2 * 20_000
    statement = town.query("buyer", "statement")
    assert statement["closing"] == {"free": 1_000_000 - result["charged"], "held": 0}
    assert [row["closed"] for row in town.query("buyer", "orders", all=True)] == ["cancelled"]
    assert town.query("buyer", "contracts") == []
    assert town.query("cheap", "account")["reputation"] > 500_000  # the buyer's votes: good
