"""`buyer run` on a real market: real server, exchange, projections, seller nodes, jailed programs."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from buyer.executor import run_job
from buyer.job import Job, Result, Unit
from buyer.journal import Journal
from buyer.main import app
from events.client import Client
from tests.buyer.conftest import PATIENCE_S, Town, inputs, journal_lines
from tests.seccomp.modules import ECHO


def test_every_input_becomes_a_result_and_money_agrees(town: Town, program: Path, tmp_path: Path) -> None:
    """And beside it, --max-cost is kept, and what is unfinished is said."""
    town.seller("small", "0.01", 1, memory_mb=100)
    town.seller("cheap", "0.02", 2)
    poor = town.start_buyer(
        *("run", "--max-price", "0.015", "--max-cost", "0.02", "--json", "--output", tmp_path / "poor"),
        *("--creds", town.account("poor", 100_000)),
        *("--input", inputs(tmp_path / "long", {"a": "spin 60\n"}), "--", program),
    )
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
    result = json.loads(poor.communicate(timeout=PATIENCE_S)[0])
    assert (poor.returncode, result["unfinished"]) == (1, ["a"])
    assert (result["charged"], result["held"], result["running"]) == (10_000, 0, 0)
    assert "--max-cost 0.020000 buys no further hour" in result["reason"]


def test_a_python_function_runs_on_standard_input_and_ctrl_c_says_what_is_owed(
    town: Town, program: Path, tmp_path: Path
) -> None:
    town.seller("cheap", "0.02", 2)
    source = tmp_path / "work.py"
    source.write_text("def add(*numbers):\n    print('adding')\n    return sum(numbers)\n")
    python = ("run", "--max-price", "0.05", "--python", f"{source}:add", "--encoding", "json")
    dry = town.start_buyer(*python, "--dry-run", "--json")
    plan = json.loads(dry.communicate(timeout=PATIENCE_S)[0])
    assert (dry.returncode, plan["size"], plan["hourly"]) == (0, 1, 50_000)
    assert [(offer["machine"], offer["price"]) for offer in plan["offers"]] == [("cheap", 20_000)]
    assert town.query("buyer", "orders", all=True) == []
    buyer = town.start_buyer(*python, stdin=subprocess.PIPE)
    told, errors = buyer.communicate("[1, 2, 39]", timeout=PATIENCE_S)
    assert (buyer.returncode, told) == (0, "42")
    assert errors.endswith("adding\n")
    assert "0.020000 is held and will be charged; nothing more" in errors
    other = town.start_buyer(*python, "--runtime", "python/3.2", "--dry-run", "--json")
    assert json.loads(other.communicate(timeout=PATIENCE_S)[0])["offers"] == []

    out = tmp_path / "out"
    endless = town.start_buyer(
        *("run", "--max-price", "0.04", "--cpus", "3", "--screen", "reputation>=1"),
        *("--input", inputs(tmp_path / "in", {"a": "spin 60\n"}), "--output", out, "--", program),
    )
    town.wait(lambda: any(row["started"] for row in town.query("buyer", "contracts") if row["bid"] == 3))
    endless.send_signal(signal.SIGINT)
    told, errors = endless.communicate(timeout=PATIENCE_S)
    assert (endless.returncode, told) == (130, "")
    assert "1 contract runs to its hour's end: 0.020000 is held and will be charged; nothing more" in errors
    assert [row["closed"] for row in town.query("buyer", "orders", all=True)] == ["cancelled"] * 2
    assert not list(out.glob("[!.]*"))


def test_a_wasm_module_runs_where_nothing_else_may(town: Town, program: Path, tmp_path: Path) -> None:
    town.seller("careful", "0.02", 1, at_most="C")
    module = tmp_path / "echo.wasm"
    module.write_bytes(ECHO)
    run = ("run", "--max-price", "0.05", "--screen", "jail>=1")
    native = town.start_buyer(*run, "--dry-run", "--json", "--", program)
    assert json.loads(native.communicate(timeout=PATIENCE_S)[0])["offers"] == []
    buyer = town.start_buyer(*run, "--", module, stdin=subprocess.PIPE)
    told, errors = buyer.communicate("to and fro", timeout=PATIENCE_S)
    assert (buyer.returncode, told) == (0, "to and fro"), errors


def test_orders_are_placed_resized_and_cancelled(town: Town) -> None:
    environment = {"COREHOUR_SERVER": town.market.server, "COREHOUR_CREDS": str(town.buyer)}

    def buyer(*arguments: str) -> Any:
        done = CliRunner(env=environment).invoke(app, [*arguments, "--json"])
        told = json.loads(done.stdout)
        assert done.exit_code == int("error" in told)
        return told

    placed = buyer("order", "--price", "0.01", "--size", "3", "--screen", "memory_mb>=64 avx2")
    assert (placed["matched"], placed["rests"], placed["hourly"]) == ([], 3, 30_000)
    number = str(placed["order"])
    assert buyer("resize", number, "2")["hourly"] == 20_000
    (row,) = buyer("orders")
    assert (row["size"], row["minimums"], row["flags"]) == (2, {"memory_mb": 64}, ["avx2"])
    assert buyer("cancel", number)["size"] == 0
    assert "R9" in buyer("cancel", number)["error"]
    assert (buyer("orders"), buyer("contracts")) == ([], [])
    assert [row["closed"] for row in buyer("orders", "--all")] == ["cancelled"]
    assert buyer("statement")["closing"] == {"free": 1_000_000, "held": 0}
    assert "R11" in buyer("order", "--price", "2", "--size", "1")["error"]


def test_units_of_a_lost_seller_are_sent_again(town: Town, program: Path, tmp_path: Path) -> None:
    lost = town.seller("lost", "0.02", 2)
    town.seller("other", "0.03", 2)
    out = tmp_path / "out"
    texts = {f"u{n}": "spin 2\n" for n in range(4)}
    buyer = town.start_buyer(
        *("run", "--max-price", "0.05", "--cpus", "4", "--json"),
        *("--input", inputs(tmp_path / "in", texts), "--output", out, "--", program),
    )
    town.wait(lambda: sum(row["started"] for row in town.query("lost", "contracts")) == 2)
    os.killpg(lost.pid, signal.SIGKILL)
    result = json.loads(buyer.communicate(timeout=PATIENCE_S)[0])
    assert (buyer.returncode, result["unfinished"]) == (0, [])
    assert result["lost"] == 2
    assert {(out / name).read_text() for name in texts} == {"SPIN 2\n"}
    ended = {row["contract"]: row["ended"] for row in town.query("lost", "contracts", all=True)}
    assert list(ended.values()) == ["lost", "lost"]
    assert {end["contract"] for end in result["units"].values()}.isdisjoint(ended)
    assert town.query("lost", "account")["free"] == 0


def test_a_seller_that_sends_without_end_is_at_fault_and_fills_no_disk(
    town: Town, program: Path, tmp_path: Path
) -> None:
    town.seller("cheap", "0.02", 1)
    out = tmp_path / "out"
    texts = {"a": "flood\n", "b": "fine\n"}
    buyer = town.start_buyer(
        *("run", "--max-price", "0.05", "--max-output", "1", "--settle", "--json"),
        *("--input", inputs(tmp_path / "in", texts), "--output", out, "--", program),
    )
    result = json.loads(buyer.communicate(timeout=PATIENCE_S)[0])
    assert (buyer.returncode, result["unfinished"], result["contracts"]) == (1, [], 1)
    assert (result["units"]["a"]["status"], result["units"]["b"]["status"]) == (1, 0)
    assert result["units"]["a"]["why"] == "more than 1 MiB of output; --max-output allows more"
    assert [path.name for path in out.glob("[!.]*")] == ["b"]
    assert [line["crash"] for line in journal_lines(out) if "crash" in line] == ["a"] * 3
    assert town.query("cheap", "account")["reputation"] < 500_000  # the buyer's vote: erratic


def test_a_killed_buyer_resumes_with_the_bid_and_the_hours_it_has(
    town: Town, program: Path, tmp_path: Path
) -> None:
    town.seller("cheap", "0.02", 2)
    out = tmp_path / "out"
    texts = {"a": "quick\n", "b": "quick too\n", "c": "spin 3\n", "d": "spin 3\n", "e": "late\n"}
    command = (
        *("run", "--max-price", "0.05", "--cpus", "2", "--json"),
        *("--input", inputs(tmp_path / "in", texts), "--output", out),
    )
    buyer = town.start_buyer(*command, "--", program)
    town.wait(lambda: (out / "b").exists())
    os.killpg(buyer.pid, signal.SIGKILL)
    buyer.communicate()
    assert not (out / "e").exists()
    refused = town.start_buyer(*command, "--", program)
    assert "--resume goes on with it" in json.loads(refused.communicate(timeout=PATIENCE_S)[0])["error"]
    resumed = town.start_buyer(*command, "--resume", "--", program)
    result = json.loads(resumed.communicate(timeout=PATIENCE_S)[0])
    assert (resumed.returncode, result["unfinished"]) == (0, [])
    assert {name: (out / name).read_text() for name in texts} == {n: t.upper() for n, t in texts.items()}
    assert len(result["bids"]) == 1
    assert result["contracts"] == 2
    assert result["charged"] + result["held"] == 2 * 20_000
    ends = [line["unit"] for line in journal_lines(out) if "unit" in line]
    assert sorted(ends) == sorted(texts)  # nothing ran twice to its end


def test_a_market_that_dies_by_pieces_and_a_freeze_lose_nothing(
    town: Town, program: Path, tmp_path: Path
) -> None:
    town.seller("cheap", "0.02", 1)
    out = tmp_path / "out"
    texts = dict.fromkeys("abcd", "spin 1\n")
    buyer = town.start_buyer(
        *("run", "--max-price", "0.05", "--json"),
        *("--input", inputs(tmp_path / "in", texts), "--output", out, "--", program),
    )
    for name, children in (("a", ("exchange", "standby")), ("b", ("projections",)), ("c", ("nats-server",))):
        town.wait((out / name).exists)
        pids = [town.market.children[child].pid for child in children]
        assert all(pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    town.wait((out / "d").exists)

    async def freeze(client: Client) -> None:
        await client.request("freeze", timeout=PATIENCE_S, reason="a test")
        await client.request("unfreeze", timeout=PATIENCE_S, reason="a test")

    town.act(town.market.operator_key, freeze)
    result = json.loads(buyer.communicate(timeout=PATIENCE_S)[0])
    assert (buyer.returncode, result["unfinished"], result["lost"]) == (0, [], 0)
    assert (result["contracts"], len(result["bids"])) == (1, 1)


def test_a_bid_whose_answer_was_never_heard_is_found_again(town: Town, program: Path, tmp_path: Path) -> None:
    """The client died between asking for the bid and noting it: it must not buy twice."""
    town.seller("cheap", "0.02", 1)
    job = Job(
        *(program.read_bytes(), "native/x86_64-linux", ["upper"], [Unit("a", b"found\n")]),
        *(1, 50_000, tmp_path / "out"),
        resume=True,
    )
    told: list[str] = []

    async def die(client: Client) -> int:
        journal = Journal(job)
        journal.note_asking(client.session, client.number + 1)
        journal.close()
        return (await client.request("bid", price=50_000, size=1, **job.demands().body())).order

    async def resume(client: Client) -> Result:
        return await run_job(client, job, lambda event, **facts: told.append(event))

    order = town.act(town.keys["buyer"], die)
    result: Result = town.act(town.keys["buyer"], resume)
    assert (result.is_good, result.bids, result.contracts) == (True, [order], 1)
    assert (tmp_path / "out/a").read_bytes() == b"FOUND\n"
    assert "bid_taken_over" in told
    assert "bid_placed" not in told
