"""A seller on the stage: his account and his node, a process of its own."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from console.children import TETHER, environment, module
from events.cli import credits
from events.keys import Key

STOP_S = 4.0  # from SIGTERM to SIGKILL


class SellerEndedError(Exception):
    """A seller's node has ended and should not have; the text is one line with its last words."""


class Seller:
    """One seller and his node, a process of its own: `seller_node run`."""

    def __init__(self, name: str, price: int, cpus: int, memory_mb: int, data: Path) -> None:
        self.name, self.price, self.cpus, self.memory_mb = name, price, cpus, memory_mb
        self.key = Key.make()
        self._data = data
        self._creds = data / f"accounts/{name}.nk"
        self._log = data / f"logs/seller-{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.expected_to_end = False

    @property
    def pid(self) -> int:
        """The node's process."""
        assert self._process is not None
        return self._process.pid

    def start(self, server: str) -> None:
        """Start the node. It dies with us, however we end."""
        command = module(
            "seller_node", "run", "--price", credits(self.price), "--cpus", str(self.cpus),
            "--memory", str(self.memory_mb), "--name", self.name, "--allow-more-cpus",
            "--benchmark-seconds", "0.2", "--state", str(self._data / f"sellers/{self.name}"),
            "--server", server, "--creds", str(self._creds),
        )  # fmt: skip
        if not self._creds.exists():
            self.key.save(self._creds)
        self.expected_to_end = False
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment(),
            )

    def kill(self) -> None:
        """SIGKILL: the machine is gone from one moment to the next."""
        self.expected_to_end = True
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not heard."""
        self.expected_to_end = True
        if self._process is None:
            return
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Raises SellerEndedError if the node has ended and should not have."""
        if self._process is not None and not self.expected_to_end and self._process.poll() is not None:
            words = self._log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise SellerEndedError(
                f"seller_node of {self.name} ended with {self._process.returncode}: {words[-1]}"
            )


def programs_below(pids: list[int]) -> dict[int, tuple[str, int]]:
    """State and CPU ticks of every process below these, by its number, from /proc."""
    table: dict[int, tuple[int, str, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                table[int(entry.name)] = int(fields[1]), fields[0], int(fields[11]) + int(fields[12])
    below, more = set(pids), set(pids)
    while more:
        more = {pid for pid, (parent, _, _) in table.items() if parent in more and pid not in below}
        below |= more
    return {pid: table[pid][1:] for pid in below - set(pids) if pid in table}
