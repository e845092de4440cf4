"""The command `exchange`, as its operator types it."""

import ast
import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from console import server
from console.commands import app
from console.main import main
from console.market import Market
from console.server import executable
from events import subjects
from events.cli import read_address
from events.commit import Assembler
from events.keys import Key
from events.log import append, connect, make_streams, read
from events.wire import loads

ROOT = Path(__file__).resolve().parent.parent.parent


def exchange(*arguments: str | Path, status: int = 0) -> str:
    """Run a command in this process; returns its standard output, or its error's line."""
    umask = os.umask(0o022)
    try:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        os.umask(umask)  # `up` narrows it, and would do so for all tests after
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def asked(*arguments: str | Path, status: int = 0) -> Any:
    return json.loads(exchange(*arguments, "--json", status=status))


def test_a_morning_of_an_operator(market: Market) -> None:
    data = ("--data", market.data)
    added = asked("account", "add", "ann", "--deposit", "12.5", *data)
    seed = Path(added["creds"])
    assert added == {
        "account": Key.load(seed).public, "name": "ann", "creds": str(seed), "deposited": 12_500_000,
    }  # fmt: skip
    assert seed.stat().st_mode & 0o777 == 0o600
    assert "is open already (R2)" in asked("account", "add", "ann", *data, status=1)["error"]
    assert "name" in asked("account", "add", "No Name", *data, status=1)["error"]
    assert not (market.data / "accounts/No Name.nk").exists()
    own = market.data / "elsewhere.nk"
    assert "bob is U" in exchange("account", "add", "bob", "--creds", own, *data)

    assert asked("deposit", "bob", "3", "--reference", "invoice 7", *data)["amount"] == 3_000_000
    assert asked("deposit", Key.load(own).public, "0.000001", *data)["reference"] == "by hand"
    assert "no account has the name" in asked("deposit", "carl", "3", *data, status=1)["error"]
    exchange("deposit", "bob", "three", *data, status=2)
    rows = {row["name"]: row["free"] for row in asked("account", "list", *data)}
    assert rows["ann"] == 12_500_000 and rows["bob"] == 3_000_001 and sum(rows.values()) == 0
    assert "the sum over all of them is 0.000000" in exchange("account", "list", *data)

    statement = asked("statement", "bob", *data)
    assert [line["text"] for line in statement["lines"]] == ["invoice 7", "by hand"]
    assert (statement["opening"]["free"], statement["closing"]["free"]) == (0, 3_000_001)
    shown = exchange("statement", "bob", *data)
    assert "invoice 7" in shown and "3.000001" in shown and Key.load(own).public in shown

    assert asked("freeze", "--reason", "a look", *data) == {"done": "freeze", "reason": "a look"}
    status = asked("status", *data)
    assert status["frozen"] == "a look" and status["terms"]["hour_us"] == 10_000_000
    assert "R22" in asked("freeze", *data, status=1)["error"]
    for command in ("unfreeze", "halt", "resume", "abort", "resume"):
        exchange(command, *data)
    assert "hour" in exchange("status", *data)
    assert {"bids", "asks", "commit"} == set(asked("book", *data))
    assert "bids: none" in exchange("book", *data)
    assert asked("machines", *data) == [] and "machines: none" in exchange("machines", *data)

    result = asked("audit", *data)
    assert result["ok"] is True and result["first_disagreement"] is None
    assert result["requests"] > 10 and result["events"] > 10 and result["commits"] > 5
    assert "all agree" in exchange("audit", *data)
    assert "checked:" in exchange("audit", "--server", market.server, *data)

    first = asked("deposit", "ann", "1", *data) and asked("status", *data)["commit"]
    asked("deposit", "ann", "1", *data)
    then = {row["name"]: row["free"] for row in asked("replay", "--until", str(first), *data)["accounts"]}
    assert then == rows | {"ann": 13_500_000, "bank": rows["bank"] - 1_000_000}
    assert "13.500000" in exchange("replay", "--until", str(first), *data)
    last = asked("status", *data)["commit"]
    assert asked("replay", "--until", str(last), *data)["commit"] == last
    assert "there is no commit" in asked("replay", "--until", "1000000", *data, status=1)["error"]


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COREHOUR_CREDS", raising=False)
    data = ("--data", tmp_path)
    for command in ("status", "book"):
        said = asked(command, *data, status=1)["error"]
        assert said.startswith(f"no market at {tmp_path}: start one with `exchange up`")
    Key.make().save(tmp_path / "keys/exchange.nk")
    assert "give --data of the market, or --creds" in asked("status", *data, status=1)["error"]
    Key.make().save(tmp_path / "keys/operator.nk")
    assert "exchange up" in asked("status", *data, status=1)["error"]
    nowhere = ("--server", f"nats://127.0.0.1:{server.free_port('127.0.0.1')}")
    assert exchange("status", *nowhere, *data, status=1).startswith(
        "error: no server answers at nats://127.0"
    )
    assert "no market's log here" in asked("audit", *data, status=1)["error"]


def test_an_exchange_with_a_wrong_key_is_told_which_file_and_what_to_do(
    market: Market, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.nk"
    Key.make().save(stranger)
    for path, why in (
        (stranger, "does not know this key"),
        (market.data / "keys/operator.nk", "does not admit this key as an exchange"),
        (market.data / "keys/projections.nk", "does not admit this key as an exchange"),
    ):
        said = exchange("serve", "--data", market.data, "--creds", path, status=1)
        assert said == (
            f"error: {path}: {market.server} {why}; give the exchange's seed file, keys/exchange.nk of the "
            "market's data, with --creds\n"
        )


def test_data_that_was_typed_wins_over_the_environment(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"nats://127.0.0.1:{server.free_port('127.0.0.1')}"
    monkeypatch.setenv("COREHOUR_SERVER", nowhere)
    assert asked("status", "--data", market.data)["frozen"] == ""
    typed = asked("status", "--data", market.data, "--server", nowhere, status=1)
    assert f"no server answers at {nowhere}" in typed["error"]
    monkeypatch.chdir(market.data)
    monkeypatch.setenv("COREHOUR_CREDS", str(market.data / "keys/operator.nk"))
    assert f"no server answers at {nowhere}" in asked("status", status=1)["error"]


def test_up_that_refuses_makes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "market"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (["--hour", "10"], ["--lost-after", "1000"], ["--port", port], ["--host", "0.0.0.0"]):
            asked("up", "--data", data, *words, status=1)
            assert not data.exists(), words


def test_up_refuses_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ("--data", tmp_path)
    assert "is no loopback address" in asked("up", "--host", "0.0.0.0", *data, status=1)["error"]
    assert "give at most 1 s (R13)" in asked("up", "--hour", "10", *data, status=1)["error"]
    exchange("up", "--hour", "soon", *data, status=2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port: {port} is taken" in asked("up", "--port", str(port), *data, status=1)["error"]
    (tmp_path / "file").write_text("")
    assert "give another --data" in asked("up", "--data", tmp_path / "file/market", status=1)["error"]
    monkeypatch.setattr(server, "LEAST_FREE", 2**80)
    assert "disk full" in asked("up", *data, status=1)["error"]


def test_an_old_python_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == "error: Python 3.9 is too old; corehour needs 3.11 or later"
    for name in ("__init__.py", "__main__.py", "main.py"):  # an old Python gets as far as that line
        ast.parse((ROOT / "console" / name).read_text(), feature_version=(3, 7))


@pytest.fixture
def up(tmp_path: Path) -> "Iterator[tuple[subprocess.Popen[str], list[int]]]":
    """`exchange up` as a process of its own, ready; and its children's processes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "console", "up", "--json", "--data", str(tmp_path / "market")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], 60)[0], "it did not start"
        address = json.loads(process.stdout.readline())
        assert address["server"] == read_address(tmp_path / "market/address.json")
        yield (
            process,
            [
                int(pid)
                for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            ],
        )
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_up_leaves_nothing_behind_however_it_ends(
    up: "tuple[subprocess.Popen[str], list[int]]", number: signal.Signals, status: int
) -> None:
    process, pids = up
    assert len(pids) == 5, "server, exchange, standby, notary, projections"
    process.send_signal(number)
    assert process.wait(30) == status
    deadline = time.monotonic() + 30
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline, "a child outlived it"
        time.sleep(0.02)


def test_nobody_but_its_owner_reads_anything_of_a_market(
    up: "tuple[subprocess.Popen[str], list[int]]", tmp_path: Path
) -> None:
    """Not even where the directory itself is opened to others later."""
    data = tmp_path / "market"
    modes = {}
    for directory, _, names in os.walk(data):
        for place in (directory, *(os.path.join(directory, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):  # a draft that was put in place
                modes[os.path.basename(place)] = os.stat(place).st_mode & 0o777
    assert {"market", "users.conf", "projections.sqlite", "lock", "nats-server.log"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def _lives(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_audit_names_the_commit_that_was_edited(tmp_path: Path) -> None:
    """A copy of a real log in which one deposit was made larger: exit status 1, and the sequence."""
    data = tmp_path / "market"

    async def trade() -> None:
        async with Market(data, hour_s=10, lost_after_s=1) as market:
            nc = await connect(market.server, market.operator_key, name="test")
            await nc.close()
            await asyncio.to_thread(exchange, "account", "add", "ann", "--deposit", "12.5", "--data", data)

    asyncio.run(trade())
    assert asked("audit", "--data", data)["ok"] is True
    sequence = asyncio.run(_edit(data, b'"amount":12500000', b'"amount":92500000'))
    found = asked("audit", "--data", data, status=1)
    assert found["ok"] is False
    assert (found["first_disagreement"]["stream"], found["first_disagreement"]["sequence"]) == (
        "JOURNAL",
        sequence,
    )
    assert f"JOURNAL sequence {sequence}" in exchange("audit", "--data", data, status=1)


async def _edit(data: Path, old: bytes, new: bytes) -> int:
    """Write JOURNAL anew with the first `old` replaced, as only the owner of the disk can; its sequence."""
    port = server.free_port("127.0.0.1")
    process = _unguarded(data, port)
    try:
        nc = await connect(f"nats://127.0.0.1:{port}", Key.make(), name="forger", patience=20)
        last = (await nc.jetstream().stream_info(subjects.JOURNAL)).state.last_seq
        journal = [stored.data async for stored in read(nc, subjects.JOURNAL, 1, last)]
        await nc.jetstream().delete_stream(subjects.JOURNAL)
        await make_streams(nc)
        edited = 0
        for sequence, message in enumerate(journal, 1):
            if not edited and old in message:
                edited, message = sequence, message.replace(old, new, 1)
                assert loads(Assembler().add(message) or b""), "still a commit"
            await append(nc, subjects.JOURNAL, subjects.COMMIT, message, sequence - 1)
        await nc.close()
        assert edited
        return edited
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _unguarded(data: Path, port: int) -> "subprocess.Popen[bytes]":
    """A server on the log of a market, where anybody may do anything."""
    return subprocess.Popen(
        [executable(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(data / "nats")],
        stderr=subprocess.DEVNULL,
    )
