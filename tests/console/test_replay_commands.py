"""`exchange replay`, `diff` and `export`: on a running market, on its data at rest, and on its archive."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from msgspec.structs import replace

from bench.log_made import make
from console.data_directory import closing, log_of
from console.history_tables import said
from console.market import Market
from console.moments import parse_moment, spoken
from events.archive import Archive
from events.archiving import copy
from events.cli import Json, application
from events.client import Client
from events.commit import FIRST, Assembler, decode, encode, parts
from events.keys import Key
from events.log import connect
from events.records import ClockMoved
from events.source import ServerLog
from events.subjects import CLIENT
from events.wire import Stored, sha256
from exchange.state import State
from projections.replay import Until
from tests.console.test_commands import asked, exchange

ROOT = Path(__file__).resolve().parents[2]


async def trade(market: Market) -> dict[str, Any]:
    """Ann rents a CPU of Sam's; returns what the market said by then."""
    ann, sam = Key.make(), Key.make()
    async with contextlib.AsyncExitStack() as stack:

        async def enter(key: Key, name: str) -> Client:
            return await stack.enter_async_context(
                await Client.connect(market.server, key, name=name, patience=10)
            )

        operator = await enter(market.operator_key, "operator")
        for key, name in ((ann, "ann"), (sam, "sam")):
            await operator.request("account", account=key.public, name=name)
        await operator.request("deposit", account=ann.public, amount=5_000_000, reference="invoice 7")
        buyer, seller = await enter(ann, "ann"), await enter(sam, "sam")
        await seller.request("machine", machine="m", cpus=2, numbers={"memory_mb": 512}, flags=[])
        await seller.request("ask", machine="m", price=1000, size=2)
        await buyer.request("bid", price=1500, size=1)
        async with asyncio.timeout(30):
            while not (await buyer.query("contracts"))["result"]:
                await buyer.heartbeat(CLIENT)
                await seller.heartbeat("m")
                await asyncio.sleep(0.05)
        await operator.request("freeze", reason="to look")  # nothing happens any more
        await buyer.query("contracts")
        for _ in range(100):  # the notary and the writer may still say something
            said = {what: await operator.query(what) for what in ("status", "accounts", "book", "machines")}
            said["statement"] = await operator.query("statement", account=ann.public)
            if len({answer["commit"] for answer in said.values()}) == 1:
                return said | {"ann": ann.public}
        raise AssertionError("the market does not come to rest")


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The data of a market that has ended, and what it said at its end."""
    data = tmp_path_factory.mktemp("rest") / "market"

    async def run() -> dict[str, Any]:
        async with Market(data, hour_s=10, lost_after_s=1) as market:
            said = await trade(market)
            until = str(said["status"]["commit"])
            said["live"] = await asyncio.to_thread(asked, "replay", "--data", data, "--until", until)
            return said

    return data, asyncio.run(run())


@pytest.fixture(scope="module")
def archive(at_rest: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of all of it."""
    path = tmp_path_factory.mktemp("archive")

    async def run() -> None:
        async with (
            log_of(at_rest[0]) as (address, key),
            closing(await connect(address, key, name="test")) as nc,
        ):
            await copy(ServerLog(nc), Archive(path))

    asyncio.run(run())
    return path


def same_market(then: dict[str, Any], said: dict[str, Any]) -> None:
    """What the live market said by its queries."""
    assert then["commit"] == said["status"]["commit"]
    assert then["accounts"] == said["accounts"]["result"]
    assert then["book"] == said["book"]["result"]
    assert then["status"] == said["status"]["result"]
    machines = [{**row, "asks": None} for row in then["machines"]]
    assert machines == [{**row, "asks": None} for row in said["machines"]["result"]]
    assert [row["price"] for row in then["contracts"]] == [1000]


def test_replay_says_what_the_live_market_said_wherever_it_reads(
    at_rest: tuple[Path, dict[str, Any]], archive: Path
) -> None:
    data, said = at_rest
    same_market(said["live"], said)
    before = {file: file.stat().st_size for file in sorted((data / "nats").rglob("*")) if file.is_file()}
    for where in (("--data", data), ("--archive", archive), ("--archive", archive, "--data", data)):
        then = asked("replay", *where, "--until", str(said["status"]["commit"]), "--statement", "ann")
        same_market(then, said)
        assert then["statement"] == said["statement"]["result"]
        shown = exchange("replay", *where, "--statement", said["ann"])
        for text in (
            "as of: commit",
            "statement of ann",
            "invoice 7",
            "contracts",
            "the sum over all of them is 0",
        ):
            assert text in shown
    assert {file: file.stat().st_size for file in before} == before
    assert "no account" in asked("replay", "--data", data, "--statement", "nobody", status=1)["error"]
    assert "there is no archive" in asked("replay", "--archive", data, status=1)["error"]


def test_a_seed_that_is_given_is_used_instead_of_the_operators(
    at_rest: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    data, given = tmp_path / "market", tmp_path / "given.nk"
    shutil.copytree(at_rest[0], data)
    (data / "keys/operator.nk").rename(given)
    for command in ("replay", "audit", "check"):
        assert "keys/operator.nk" in asked(command, "--data", data, status=1)["error"]
        asked(command, "--data", data, "--creds", given)


def test_moments(at_rest: tuple[Path, dict[str, Any]], archive: Path) -> None:
    """A commit, a time in UTC or elsewhere, and market time."""
    where = ("--archive", archive)
    end = asked("replay", *where)
    time_of = datetime.fromtimestamp(end["tick_us"] / 1e6, UTC)
    assert abs(time_of - datetime.now(UTC)) < timedelta(minutes=10)
    later, before = time_of + timedelta(hours=1), time_of - timedelta(milliseconds=1)
    assert asked("replay", *where, "--until", later.isoformat())["commit"] == end["commit"]
    assert asked("replay", *where, "--until", f"{later:%Y-%m-%dT%H:%M:%S}")["commit"] == end["commit"]
    there = before.astimezone(timezone(timedelta(hours=5, minutes=30)))
    earlier = asked("replay", *where, "--until", there.isoformat())
    assert earlier["commit"] < end["commit"] and earlier["tick_us"] < end["tick_us"]
    assert asked("replay", *where, "--until", before.isoformat()) == earlier
    assert asked("replay", *where, "--until", "+100000s")["commit"] == end["commit"]
    assert asked("replay", *where, "--until", "+0s")["status"]["now_us"] == 0
    assert "begins later" in asked("replay", *where, "--until", "2020-01-01", status=1)["error"]
    for wrong in ("0", "yesterday", "+5", "-3", "2026-13-01"):
        assert "--until" in asked("replay", *where, f"--until={wrong}", status=2)["error"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("17", Until("commit", 17)),
        ("+3600s", Until("market", 3_600_000_000)),
        ("+0.25s", Until("market", 250_000)),
        ("1970-01-01T00:00:01", Until("time", 1_000_000)),
        ("1970-01-01T01:00:00.5+01:00", Until("time", 500_000)),
        ("1970-01-02", Until("time", 86_400_000_000)),
        ("1970-01-01T00:00:00Z", Until("time", 0)),
    ],
)
def test_a_moment_as_it_is_typed(text: str, moment: Until) -> None:
    assert parse_moment(text) == moment


def test_a_moment_that_is_none() -> None:
    for text in ("", "0", "1.5", "+s", "+-3s", "10:00", "²"):
        with pytest.raises(typer.BadParameter):
            parse_moment(text)
    assert (spoken(0), spoken(1_000_000)) == ("-", "1970-01-01T00:00:01+00:00")
    assert spoken(2**62) == "4611686018427387904 µs after 1970"  # a falsified log may say so


def test_a_sqlite_file(at_rest: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    data, said = at_rest
    path = tmp_path / "then.sqlite"
    written = asked("replay", "--data", data, "--sqlite", path)
    assert written["sqlite"] == str(path) and written["commit"] >= said["status"]["commit"]
    asking = sqlite3.connect(path)
    lines = asking.execute("SELECT free, held, text FROM statement_lines WHERE account = ?", [said["ann"]])
    assert lines.fetchall() == [(5_000_000, 0, "invoice 7"), (-1000, 1000, "m")]
    assert asking.execute("SELECT price, machine FROM trades").fetchall() == [(1000, "m")]
    asking.close()
    assert "is there already" in asked("replay", "--data", data, "--sqlite", path, status=1)["error"]
    assert "as of commit" in exchange("replay", "--data", data, "--sqlite", tmp_path / "other.sqlite")


def test_what_changed_between_two_moments(at_rest: tuple[Path, dict[str, Any]], archive: Path) -> None:
    data, said = at_rest
    last = said["status"]["commit"]
    found = asked("diff", "1", str(last), "--data", data)
    assert found["money"]["deposited"] == {"events": 1, "amount": 5_000_000}
    assert found["money"]["contract_opened"] == {"events": 1, "amount": 1000}
    rows = {row["name"]: row for row in found["accounts"]}
    assert (
        rows["ann"]["free"] == [0, 4_999_000] and rows["ann"]["held"] == [0, 1000] and rows["ann"]["is_new"]
    )
    assert rows["bank"]["free"] == [0, -5_000_000] and "held" not in rows["bank"]
    assert [row["side"] for row in found["orders"]["placed"]] == ["ask", "bid"]
    assert [row["machine"] for row in found["machines"]["stated"]] == ["m"]
    assert len(found["contracts"]["opened"]) == 1 and found["contracts"]["ended"] == []
    assert found["events"]["account_opened"] == 2
    assert asked("diff", "1", str(last), "--archive", archive) == found
    shown = exchange("diff", "1", str(last), "--archive", archive)
    for text in ("from: commit 1", f"to: commit {last}", "accounts changed", "ann (new)", "orders placed"):
        assert text in shown
    nothing = asked("diff", str(last), str(last), "--archive", archive)
    assert nothing["events"] == {} and nothing["accounts"] == []
    assert "before commit" in asked("diff", str(last), "1", "--archive", archive, status=1)["error"]
    assert "give a commit" in asked("diff", "1", "then", "--archive", archive, status=2)["error"]


def test_where_two_logs_differ(at_rest: tuple[Path, dict[str, Any]], archive: Path, tmp_path: Path) -> None:
    assert asked("diff", at_rest[0], archive)["same"] is True
    assert "byte for byte" in exchange("diff", archive, at_rest[0])
    longer, shorter, other = tmp_path / "longer", tmp_path / "shorter", tmp_path / "other"
    make(longer, 20_000, 1)
    make(shorter, 8000, 1)
    make(other, 3000, 2)
    found = asked("diff", longer, other, status=1)
    assert (found["same"], found["commits"]) == (False, 0)
    a, b = found["event"]["a"], found["event"]["b"]
    assert a["event"]["kind"] == b["event"]["kind"] == "machine_stated" and a["event"] != b["event"]
    assert a["request"] == b["request"]
    found = asked("diff", longer, shorter, status=1)
    assert found["commits"] > 0 and found["event"]["b"] is None and found["event"]["a"] is not None
    shown = exchange("diff", shorter, longer, status=1)
    assert "are the same, byte for byte" in shown and "first event that differs, a: no event" in shown
    shown = exchange("diff", longer, other, status=1)
    assert "machine_stated: account U" in shown and "a: number 1, previous 0000" in shown
    assert not re.search(r"None|True|False|['{}()]|\[\]", shown), shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("price", 1_500_000, "1.500000"),
        ("only", [], "none"),
        ("flags", ["a", "b"], "a b"),
        ("minimums", {"memory_mb": 512, "reputation": 500_000}, "memory_mb=512 reputation=50.0 %"),
        ("expires_us", 0, "never"),
        ("until_us", 1_500_000, "1.500 s"),
        ("matched", None, "-"),
        ("answers", [["", 7, None, 0, 0]], '[["",7,null,0,0]]'),
        ("started", True, "yes"),
        ("machine", "", "-"),
        ("size", 3, "3"),
    ],
)
def test_a_member_as_a_person_reads_it(name: str, value: object, shown: str) -> None:
    assert said(name, value) == shown


def test_parquet(at_rest: tuple[Path, dict[str, Any]], archive: Path, tmp_path: Path) -> None:
    data, said = at_rest
    done = asked("export", "--data", data, "--parquet", tmp_path / "tables")
    assert done["commit"] >= said["status"]["commit"] and done["rows"]["trades"] == 1
    query = f"SELECT sum(price) FROM '{tmp_path}/tables/trades.parquet'"
    assert duckdb.execute(query).fetchall() == [(1000,)]
    assert "1 trades" in exchange("export", "--archive", archive, "--parquet", tmp_path / "again")
    again = asked("export", "--archive", archive, "--parquet", tmp_path / "tables", status=1)
    assert "is there already" in again["error"]
    part = asked("export", "--archive", archive, "--parquet", tmp_path / "part", "--until", "1")
    assert part["rows"]["trades"] == 0 and part["commit"] == 1


@pytest.mark.parametrize(
    "words", ["replay --json", "replay --sqlite NEW", "export --parquet NEW", "diff 1 9 --json"]
)
def test_a_number_beyond_64_bits_is_a_falsified_log(archive: Path, tmp_path: Path, words: str) -> None:
    """Whoever can make commits, digests and all, writes one into each movement of the clock."""
    falsified, state, before = tmp_path / "falsified", State(), FIRST
    messages: list[Stored] = []
    assembler = Assembler()
    for stored in Archive(archive).journal():
        body = assembler.add(stored.data)
        assert body is not None, "no commit is that large"
        commit = decode(body)
        events = tuple(
            (request, replace(event, now_us=2**70) if isinstance(event, ClockMoved) else event)
            for request, event in commit.events
        )
        for _, event in events:
            state.fold(event)
        body = encode(replace(commit, previous=before, events=events, digest=state.digest.take()))
        (part,) = parts(body)
        messages.append(stored._replace(data=part))
        before = sha256(body)
    Archive(falsified).append_journal(messages)
    line = words.replace("NEW", str(tmp_path / "new")).split()
    done = subprocess.run(
        [sys.executable, "-m", "console", *line, "--archive", str(falsified)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    told = done.stdout if "--json" in words else done.stderr
    assert done.returncode == 1 and "64 bits" in told and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == [falsified]


def test_without_pyarrow_it_says_how_to_get_it(archive: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from console.main import main; main()"
    words = ["export", "--archive", str(archive), "--parquet", str(tmp_path / "tables")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and "pip install 'corehour[export]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that is not worked through in a moment."""
    path = tmp_path_factory.mktemp("large") / "archive"
    make(path, 150_000)
    return path


@contextlib.contextmanager
def started(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """A command, ended with the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "console", *words], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("option", ["--parquet", "--sqlite"])
def test_ctrl_c_leaves_nothing_and_says_so(large: Path, tmp_path: Path, option: str) -> None:
    command = "export" if option == "--parquet" else "replay"
    target = tmp_path / "then"
    with started(command, "--archive", str(large), option, str(target)) as process:
        while not list(tmp_path.glob("then.*.partial")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert errors.startswith("error: stopped; ") and errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("audit", "--archive", "LARGE"), "not all was looked at"),
        (("archive", "LARGE", "--verify"), "not all was looked at"),
        (("diff", "1", "2026-01-01", "--archive", "LARGE"), "nothing was compared"),
    ],
)
def test_ctrl_c_is_one_line(large: Path, words: tuple[str, ...], said: str) -> None:
    """It comes when the command has opened the archive, and is at work."""
    with started(*(str(large) if word == "LARGE" else word for word in words)) as process:
        while not reads(process.pid, large) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (130, "", f"error: stopped; {said}\n")


def reads(pid: int, directory: Path) -> bool:
    """Whether a process has a file in a directory open."""
    with contextlib.suppress(OSError):
        return any(Path(os.readlink(file)).parent == directory for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_ctrl_c_in_any_other_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = application("Stops.")

    @stopped.command()
    def one(as_json: Json = False) -> None:
        raise KeyboardInterrupt

    @stopped.command()
    def other() -> None:
        pass

    for words, line in (
        (["one"], ("", "error: stopped\n")),
        (["one", "--json"], ('{"error":"stopped"}\n', "")),
    ):
        with pytest.raises(SystemExit) as ended:
            stopped(words)
        assert ended.value.code == 130 and capsys.readouterr() == line


def test_ctrl_c_while_reading_a_server_leaves_no_server_behind(
    at_rest: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Whenever it comes, the server started for reading is gone, and the data can be opened again."""
    data, _ = at_rest
    for pause in (0.3, 0.7, 1.0):
        with started("export", "--data", str(data), "--parquet", str(tmp_path / "tables")) as process:
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        assert process.returncode in (0, 130, -signal.SIGINT)
        assert not list(tmp_path.glob("*.partial"))
        for path in (tmp_path / "tables").glob("*"):
            path.unlink()
    assert asked("replay", "--data", data)["commit"] > 0


def test_progress_is_for_a_person_alone(archive: Path) -> None:
    with started("replay", "--archive", str(archive), "--json") as process:
        out, errors = process.communicate(timeout=60)
    assert errors == "" and json.loads(out)["commit"] > 0
