"""The path of the README as its three kinds of people type it: every command a process, default places."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.seccomp.processes import alive, descendants
from tests.system.conftest import walked

ROOT = Path(__file__).resolve().parent.parent.parent
BRIEFLY = ("--benchmark-seconds", "0.1")
ROOMS = {"exchange": "console", "seller_node": "seller_node", "buyer": "buyer"}
FUNCTION = """
def shout(data):
    return data.upper()
"""


class Terminal:
    """A person's shell: an empty directory to stand in, an empty home, no settings."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "here"
        for place in (self.directory, directory / "home"):
            place.mkdir()
        settings = {name: value for name, value in os.environ.items() if not name.startswith("COREHOUR_")}
        paths = {"HOME": str(directory / "home"), "PYTHONPATH": str(ROOT)}
        self._environment = settings | paths | {"PYTHONUNBUFFERED": "1"}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *words: str | Path) -> "subprocess.Popen[str]":
        """A command that goes on running."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", ROOMS[str(words[0])], *map(str, words[1:])],
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def type(self, *words: str | Path, given: str = "", status: int = 0) -> str:
        """A command to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", ROOMS[str(words[0])], *map(str, words[1:])],
            cwd=self.directory,
            env=self._environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stderr if status and not done.stdout else done.stdout

    def asked(self, *words: str | Path, status: int = 0) -> Any:
        """The one JSON value that a command prints; what follows `--` is the program's own."""
        end = words.index("--") if "--" in words else len(words)
        return json.loads(self.type(*words[:end], "--json", *words[end:], status=status))

    def refused(self, *words: str | Path, status: int = 1) -> str:
        """The one line of a command that fails."""
        (text,) = self.type(*words, status=status).splitlines()
        assert text.startswith("error: ")
        return text

    def close(self) -> None:
        """End what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.communicate()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait for it; the bound is there so that a failure does not hang."""
    deadline = time.monotonic() + 60
    while not (value := true()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.2)
    return value


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    assert select.select([process.stdout], [], [], 60)[0], "it says nothing"
    return process.stdout.readline()


def seed_of(name: str) -> tuple[str, str]:
    return "--creds", f"var/market/accounts/{name}.nk"


def open_market(terminal: Terminal) -> "subprocess.Popen[str]":
    """`exchange up` with a short hour, and the README's two accounts."""
    up = terminal.start("exchange", "up", "--hour", "10", "--lost-after", "1", "--json")
    said = json.loads(line(up))
    assert said["pid"] == up.pid and said["server"].startswith("nats://127.0.0.1:")
    added = terminal.asked("exchange", "account", "add", "sam")
    assert added["creds"] == seed_of("sam")[1]
    assert (terminal.directory / added["creds"]).stat().st_mode & 0o777 == 0o600
    assert terminal.asked("exchange", "account", "add", "bea", "--deposit", "10")["deposited"] == 10_000_000
    return up


def offer(terminal: Terminal) -> "subprocess.Popen[str]":
    """`seller_node run`, until its machine is ready."""
    checked = terminal.asked("seller_node", "check", "--cpus", "1", "--memory", "256", *BRIEFLY)
    assert checked["refusal"] == "" and "native/x86_64-linux" in checked["runtimes"]
    assert checked["offer"]["numbers"]["mips"] > 0 < checked["offer"]["numbers"]["mflops"]
    node = terminal.start(
        *("seller_node", "run", "--price", "0.02", "--name", "m1", "--cpus", "2", "--allow-more-cpus"),
        *("--memory", "512", *BRIEFLY, *seed_of("sam"), "--json"),
    )
    until(lambda: any(m["ready"] for m in terminal.asked("exchange", "machines")), "the machine is ready")
    return node


def test_three_people_and_a_market(terminal: Terminal, walk: Path) -> None:
    up = open_market(terminal)
    assert "10.000000" in terminal.type("exchange", "account", "list")
    terminal.asked("exchange", "deposit", "bea", "1.5")
    assert sum(row["free"] + row["held"] for row in terminal.asked("exchange", "account", "list")) == 0
    node = offer(terminal)
    run_jobs(terminal, walk)
    trade(terminal)
    look(terminal)
    money = stop_selling(terminal, node)
    assert terminal.asked("exchange", "audit")["ok"] is True
    end_with_ctrl_c(up)
    # It all is still there, at the same address, and agrees; also when nothing runs.
    assert terminal.asked("exchange", "audit")["ok"] is True
    server = json.loads((terminal.directory / "var/market/address.json").read_text())["server"]
    again = terminal.start("exchange", "up", "--json")
    assert json.loads(line(again))["server"] == server
    assert terminal.asked("seller_node", "statement", *seed_of("sam"))["closing"] == money
    end_with_ctrl_c(again)


def run_jobs(terminal: Terminal, walk: Path) -> None:
    """A native program on files, a Python function, and one run of standard input."""
    here, bea = terminal.directory, seed_of("bea")
    (here / "in").mkdir()
    for name, n in (("a", 1), ("b", 1_000_000), ("c", 7)):
        (here / "in" / name).write_text(f"5 {n}\n")
    job = ("buyer", "run", "--cpus", "2", "--max-price", "0.05", *bea)
    screened = ("--screen", "memory_mb>=128 mips>=1")
    native = (*job, "--max-cost", "1", *screened, "--input", "in/*", "--output", "out")
    planned = terminal.asked(*native, "--dry-run", "--", walk)
    assert planned and not (here / "out").exists()
    assert terminal.asked("buyer", "orders", "--all", *bea) == [], "a dry run sends nothing"
    result = terminal.asked(*native, "--", walk)
    assert result["ok"] and set(result["units"]) == {"a", "b", "c"} and len(result["bids"]) == 1
    outputs = {path.name: path.read_text() for path in (here / "out").iterdir() if path.is_file()}
    assert outputs == {name: f"{walked(5, n)}\n" for name, n in (("a", 1), ("b", 1_000_000), ("c", 7))}
    (here / "work.py").write_text(FUNCTION)
    shouted = terminal.asked(*job, "--python", "work.py:shout", "--input", "in/*", "--output", "shouted")
    assert shouted["ok"] and (here / "shouted/a").read_text() == "5 1\n".upper()
    assert terminal.type(*job, "--", walk, given="5 7") == f"{walked(5, 7)}\n"
    terminal.type(*job, "--", walk, given="no number", status=2)
    assert terminal.asked("buyer", "orders", *bea) == [], "every bid was cancelled"


def trade(terminal: Terminal) -> None:
    """A standing bid by hand."""
    bea = seed_of("bea")
    bid = ("buyer", "order", "--price", "0.001", "--size", "3", *bea)
    terminal.asked(*bid, "--dry-run")
    number = terminal.asked(*bid)["order"]
    (row,) = terminal.asked("buyer", "orders", *bea)
    assert (row["order"], row["price"], row["size"]) == (number, 1000, 3)
    assert terminal.asked("buyer", "resize", str(number), "2", *bea)["hourly"] == 2000
    assert terminal.asked("buyer", "cancel", str(number), *bea)["size"] == 0
    assert "R9" in terminal.asked("buyer", "cancel", str(number), *bea, status=1)["error"]
    assert terminal.asked("buyer", "orders", *bea) == []
    contracts = terminal.asked("buyer", "contracts", "--all", *bea)
    assert contracts and {contract["machine"] for contract in contracts} == {"m1"}
    for command in ("orders", "contracts", "statement"):
        terminal.type("buyer", command, *bea)
    assert terminal.asked("buyer", "statement", *bea)["lines"][0]["free"] == 10_000_000


def look(terminal: Terminal) -> None:
    """What an operator looks at, and a freeze."""
    for command in ("book", "status", "machines"):
        assert terminal.type("exchange", command)
        assert terminal.asked("exchange", command)
    terminal.asked("exchange", "freeze", "--reason", "a look")
    assert terminal.asked("exchange", "status")["frozen"] == "a look"
    terminal.asked("exchange", "unfreeze")
    status = terminal.asked("exchange", "status")
    assert status["frozen"] == ""
    then = terminal.asked("exchange", "replay", "--until", "5")
    assert then["commit"] == 5 and sum(row["free"] + row["held"] for row in then["accounts"]) == 0


def stop_selling(terminal: Terminal, node: "subprocess.Popen[str]") -> dict[str, int]:
    """The node ends at the hour's end; returns what the seller has then."""
    sam = seed_of("sam")
    assert terminal.asked("seller_node", "status", *sam)["node"]["pid"] == node.pid
    assert terminal.asked("seller_node", "stop")["stopping"]["machine"] == "m1"
    said, _ = node.communicate(timeout=60)
    tally = json.loads(said)
    assert node.returncode == 0 and tally["runs"] >= 8 and tally["hours"] > 0
    assert terminal.asked("seller_node", "status", *sam)["node"] is None
    statement = terminal.asked("seller_node", "statement", *sam)
    assert statement["closing"] == {"free": tally["earned"], "held": 0}
    assert "no seller_node runs" in terminal.refused("seller_node", "stop")
    closing: dict[str, int] = statement["closing"]
    return closing


def end_with_ctrl_c(up: "subprocess.Popen[str]") -> None:
    """Ctrl-C ends the market and its children."""
    children = descendants(up.pid)
    assert len(children) >= 3
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=60)
    assert up.returncode == 130
    assert not [pid for pid in children if alive(pid)]


def test_what_cannot_be_is_one_line(terminal: Terminal) -> None:
    without_market: list[tuple[str, ...]] = [
        ("exchange", "status"),
        ("exchange", "audit"),
        ("buyer", "orders"),
        ("seller_node", "run", "--price", "0.02", "--cpus", "1", "--memory", "64"),
    ]
    for words in without_market:
        assert terminal.refused(*words) == "error: " + terminal.asked(*words, status=1)["error"]
    up = open_market(terminal)
    assert "a market runs here already" in terminal.refused("exchange", "up")
    server = json.loads((terminal.directory / "var/market/address.json").read_text())["server"]
    port = server.rpartition(":")[2]
    assert f"port: {port} is taken" in terminal.refused("exchange", "up", "--data", "other", "--port", port)
    bea = seed_of("bea")
    wrong: list[tuple[tuple[str, ...], str]] = [
        (("buyer", "run", "--max-price", "0.05", *bea, "--", "./none"), "program"),
        (("buyer", "run", "--max-price", "cheap", *bea, "--", sys.executable), "--max-price"),
        (("buyer", "order", "--price", "0.05", "--size", "1", "--screen", "colour>=3", *bea), "--screen"),
    ]
    for words, name in wrong:
        assert terminal.refused(*words, status=2).startswith(f"error: {name}")
    refused = terminal.asked("buyer", "order", "--price", "11", "--size", "1", *bea, status=1)
    assert "R11" in refused["error"]
    end_with_ctrl_c(up)
