"""A market whose processes can be killed, stopped, cut off and starved of disk, one by one.

Not console.market.Market: that one starts again what dies and gives up on what dies often, and here the
harness decides who lives.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from console import admission, server
from console.children import TETHER, environment, module
from console.data_directory import url
from console.keyring import Keyring, place
from events import subjects
from events.keys import Key
from events.log import connect, last_sequence, make_streams
from events.requests import encode
from tests.soak.wire import Clock, Wire

WAIT_S = 60.0  # a bound for hanging
ACCOUNTS = ("ann", "bob", "carl", "dora", "emil", "fay")
HOUR_US, LOST_AFTER_US, FEE_PPM = 4_000_000, 400_000, 10_000
SNAPSHOT_EVERY = 400  # events: so that a standby writes some within a round


class UnexpectedEndError(AssertionError):
    """A process ended that nobody killed."""


class Program:
    """One program that dies with us; its output goes to `log`."""

    def __init__(self, name: str, command: list[str], log: Path, faults: Path | None = None) -> None:
        self.name, self.log, self.faults = name, log, faults or log.parent
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        """The process; 0 where none runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def start(self) -> None:
        """Start it."""
        assert not self.pid, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment() | {"COREHOUR_FAULTS": str(self.faults)},
            )
        self.starts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, seconds: float = WAIT_S) -> int | None:
        """Its exit status, minus a signal's number; None if it still runs after so long."""
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.01)
        return self._process.returncode

    async def kill(self) -> None:
        """Kill it by SIGKILL, unless it is dead."""
        if self.pid:
            self.signal(signal.SIGKILL)
        if self._process is not None:
            await self.ended()

    async def stop(self) -> int | None:
        """End it in order; returns its exit status."""
        if self.pid:
            self.signal(signal.SIGTERM)
        return await self.ended(20)

    def check_alive(self) -> None:
        """Raises UnexpectedEndError where it is dead."""
        if not self.pid:
            status = self._process.returncode if self._process else "never started"
            raise UnexpectedEndError(f"{self.name} ended by itself ({status}): {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-1500:].strip() if self.log.exists() else ""


class Rig:
    """One market in a directory: nats-server, exchange, projections, and a wire before the exchange."""

    def __init__(
        self,
        directory: Path,
        *,
        durability: str = "process-crash",
        clock: Clock | None = None,
        inside: list[str] | None = None,
    ) -> None:
        """`inside` is what the server's command is started by, as where it has a disk of its own."""
        self.directory = directory
        for path in (directory, directory / "snapshots", directory / "logs"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keys = Keyring.load_or_make(directory)
        self.accounts = {name: Key.make() for name in ACCOUNTS}
        self.port = server.free_port("127.0.0.1")
        self.durability, self._clock, self._inside = durability, clock, inside or []
        self.wire = Wire(self.port, clock)
        self.nats = self._server()
        self.programs: dict[str, Program] = {}

    @property
    def url(self) -> str:
        """Where clients log in: at the server itself, or where the clock is false, at the wire."""
        return url("127.0.0.1", self.wire.port if self._clock else self.port)

    def _server(self) -> Program:
        users = admission.users(self.keys, [key.public for key in self.accounts.values()])
        server.write(self.directory / server.USERS, users)
        text = server.config(self.directory, "127.0.0.1", self.port, durability=self.durability)
        server.write(self.directory / "nats.conf", text)
        command = [*self._inside, server.executable(), "--config", str(self.directory / "nats.conf")]
        return Program("nats-server", command, self.directory / "logs/nats-server.start.log")

    def service(self, name: str, called: str = "") -> Program:
        """A service of ours, which is reached by `called`; it finds its faults in a directory of its own."""
        called = called or name
        through_wire = name == "exchange" or self._clock is not None
        key = "exchange" if name == "notary" else name
        words = ["--server", url("127.0.0.1", self.wire.port if through_wire else self.port)]
        words += ["--creds", str(place(self.directory, key))]
        module_name = f"exchange.{name}" if name == "notary" else f"{name}.service"
        if name == "exchange":
            words += ["--name", called, "--snapshots", str(self.directory / "snapshots")]
            words += ["--snapshot-every", str(SNAPSHOT_EVERY)]
        elif name == "projections":
            words += ["--store", str(self.directory / "projections.sqlite")]
        faults = self.directory / "faults" / called
        faults.mkdir(parents=True, exist_ok=True)
        log = self.directory / f"logs/{called}.log"
        return Program(called, module(module_name, *words), log, faults)

    async def start(self) -> None:
        """Everything, and the market opened."""
        await self.wire.listen()
        await self.start_server()
        nc = await connect(self.url, self.keys.exchange, name="rig", patience=WAIT_S)
        try:
            await make_streams(nc)
        finally:
            await nc.close()
        if not await self.last(subjects.INTAKE):
            await self._open()
        for name in ("exchange", "notary", "projections"):
            self.programs[name] = self.service(name)
            self.programs[name].start()

    async def start_server(self) -> None:
        """Start nats-server and wait until it takes connections."""
        self.nats.start()
        deadline = time.monotonic() + WAIT_S
        while True:
            self.nats.check_alive()
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            assert time.monotonic() < deadline, "nats-server does not listen"
            await asyncio.sleep(0.02)

    async def _open(self) -> None:
        """The first request of the log."""
        terms = {"hour_us": HOUR_US, "lost_after_us": LOST_AFTER_US, "fee_ppm": FEE_PPM}
        body = {"session": time.time_ns() // 1000, "number": 1, "exchange": self.keys.exchange.public}
        nc = await connect(self.url, self.keys.operator, name="rig")
        try:
            subject = subjects.intake(self.keys.operator.public, "open")
            await nc.publish(subject, encode(self.keys.operator, subject, body | terms))
            await nc.flush()
        finally:
            await nc.close()
        deadline = time.monotonic() + WAIT_S
        while not await self.last(subjects.INTAKE):
            assert time.monotonic() < deadline, "the log did not take the first request"

    async def last(self, stream: str) -> int:
        """A stream's last sequence, as the server says."""
        nc = await connect(self.url, self.keys.operator, name="rig", patience=WAIT_S)
        try:
            return await last_sequence(nc, stream)
        finally:
            await nc.close()

    async def end(self) -> None:
        """Everything ends, however it stands."""
        for program in (*self.programs.values(), self.nats):
            with contextlib.suppress(ProcessLookupError):
                await program.kill()
        await self.wire.close()


async def until(true: Callable[[], object], what: str, seconds: float = WAIT_S) -> None:
    """Wait for it; the bound is there so that a failure does not hang."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.02)
