"""A market with accounts, sellers that are real nodes, and programs to run on them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import seccomp
from console.market import Market
from events.client import Client, NoAnswerError
from events.keys import Key
from events.log import NotAdmittedError

PATIENCE_S = 60

# Upper-cases its input; what a line says first: the status to exit with, to write for ever, to crash, or to
# wait.
PROGRAM = r"""
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char line[65536];
    int status = 0;
    if (argc > 1) fprintf(stderr, "%s\n", argv[1]);
    while (fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "exit ", 5) == 0) status = atoi(line + 5);
        if (strncmp(line, "flood", 5) == 0) for (;;) if (puts(line) < 0) return 0;
        if (strncmp(line, "crash", 5) == 0) *(volatile int *)8 = 1;
        if (strncmp(line, "spin ", 5) == 0)
            for (time_t end = time(0) + atoi(line + 5); time(0) < end;) ;
        for (char *c = line; *c; c++) *c = toupper(*c);
        fputs(line, stdout);
    }
    return status;
}
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static executable, see PROGRAM."""
    path = tmp_path_factory.mktemp("program") / "upper"
    path.with_suffix(".c").write_text(PROGRAM)
    subprocess.run(["cc", "-static", "-O1", "-o", path, path.with_suffix(".c")], check=True)
    return path


class Town:
    """A market with people in it: `buyer` is an account's seed file; nodes are started by `seller`."""

    def __init__(self, market: Market, directory: Path) -> None:
        self.market, self.directory = market, directory
        self.processes: list[subprocess.Popen[str]] = []
        self.keys: dict[str, Key] = {}
        self.buyer = self.account("buyer", 1_000_000)

    def account(self, name: str, deposit: int = 0) -> Path:
        """Open an account; its seed file."""
        key, path = Key.make(), self.directory / f"{name}.nk"
        key.save(path)
        self.keys[name] = key

        async def admit(client: Client) -> None:
            await client.request("account", account=key.public, name=name)
            if deposit:
                await client.request("deposit", account=key.public, amount=deposit, reference="a test")

        self.act(self.market.operator_key, admit)
        self.wait(lambda: bool(self.query(name, "account")))  # the server lets it in a moment later
        return path

    def act(self, key: Key, action: Callable[[Client], Awaitable[Any]]) -> Any:
        """Do something as an account."""

        async def whole() -> Any:
            async with await Client.connect(self.market.server, key, name="test", patience=20) as client:
                return await action(client)

        return asyncio.run(whole())

    def query(self, who: str, what: str, **arguments: Any) -> Any:
        """Ask the query service as somebody."""

        async def ask(client: Client) -> Any:
            return (await client.query(what, **arguments))["result"]

        return self.act(self.keys[who], ask)

    def start(self, *command: str | Path, **options: Any) -> "subprocess.Popen[str]":
        """A process of ours, ended with the town."""
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, command)],
            env=os.environ
            | {"COREHOUR_SERVER": self.market.server, "COREHOUR_CREDS": str(self.directory / "buyer.nk")},
            text=True,
            start_new_session=True,
            **options,
        )
        self.processes.append(process)
        return process

    def seller(
        self, name: str, price: str, cpus: int, memory_mb: int = 256, at_most: str = "A"
    ) -> "subprocess.Popen[str]":
        """A node, once the market knows that it is ready."""
        creds = self.account(name)
        with (self.directory / f"{name}.log").open("w") as log:
            process = self.start(
                *("seller_node", "run", "--benchmark-seconds", "0.1"),
                *("--price", price, "--cpus", str(cpus), "--name", name),
                *("--memory", str(memory_mb * cpus), "--allow-more-cpus", "--creds", creds),
                *("--state", self.directory / f"{name}.state", "--at-most", at_most),
                stdout=log,
                stderr=log,
            )

        def is_ready() -> bool:
            assert process.poll() is None, (self.directory / f"{name}.log").read_text()
            rows = self.query(name, "machines")
            return any(row["machine"] == name and row["ready"] and row["asks"] for row in rows)

        self.wait(is_ready)
        return process

    def start_buyer(self, *arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
        """`buyer` with these arguments, running, as the account `buyer` unless --creds says another."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return self.start("buyer", *arguments, **pipes)

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if is_so():
                    return
            except (NoAnswerError, NotAdmittedError):
                pass
            time.sleep(0.05)
        raise AssertionError("it did not come about")

    def close(self) -> None:
        """End everybody."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()


@pytest.fixture
def town(market: Market, tmp_path: Path) -> Iterator[Town]:
    """A market with a buyer; skips where the jail cannot hold a program."""
    missing = seccomp.probe().missing()
    if missing:
        pytest.skip(f"no jail here: {missing}")
    town = Town(market, tmp_path)
    yield town
    town.close()


def inputs(directory: Path, texts: dict[str, str]) -> str:
    """Files with these texts; the pattern that finds them."""
    directory.mkdir()
    for name, text in texts.items():
        (directory / name).write_text(text)
    return f"{directory}/*"


def journal_lines(output: Path) -> list[dict[str, Any]]:
    """The lines of a job's journal."""
    return [json.loads(line) for line in (output / ".buyer/journal.jsonl").read_text().splitlines()]
