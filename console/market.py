"""One market on this machine: a data directory, and the five processes that serve it.

`async with Market(data, hour_s=10, lost_after_s=1) as market:` starts nats-server, exchange, its standby,
notary and projections, keeps them running, and ends them. On first start it makes the keys and the streams,
and opens the market. Processes die with ours, even where ours is killed.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

from nats.aio.client import Client as Nats

from console import admission, damage, server
from console.children import Child, module
from console.data_directory import (
    ARCHIVE,
    SERVER_S,
    SNAPSHOTS,
    MarketError,
    choose_address,
    choose_durability,
    closing,
    lock,
    prepare,
    start_server,
    url,
)
from console.keyring import NAMES, Keyring, place
from events import subjects
from events.archive import Archive
from events.cli import ADDRESS
from events.client import Client, NoAnswerError, QueryError
from events.keys import Key
from events.log import NotAdmittedError, UnreachableError, connect, last_sequence, make_streams
from events.requests import encode
from events.source import archive_at
from events.wire import dumps

DEFAULT_TERMS = {"hour_us": 3600 * 10**6, "lost_after_us": 30 * 10**6, "fee_ppm": 10_000}
LEAST_TERMS = {"hour_us": 1_000_000, "lost_after_us": 100_000}
EXCHANGES = ("exchange", "standby")  # alike; the one that has the lease writes
TENTH = 10  # lost-after is at most a tenth of the hour (R13)
READY_S = 600.0  # exchange and projections have read the log within this
SAY_EVERY_S = 5.0
DISK_S = 5.0  # how often the space left is looked at

Seconds = int | float | Decimal


class Market:
    """A running market. `server` is its address, `operator_key` its operator's; `children` by name.

    `hour_s`, `lost_after_s` and `fee_ppm` are terms: given at the first start, they stay for ever; later
    they may be left out. `durability` (one of server.DURABILITIES) left out is that of the last time,
    power-loss at first. `port` 0 is the port of the last time, else any that is free. `say` gets a line
    for whatever people should know.
    """

    def __init__(
        self,
        data: Path,
        *,
        hour_s: Seconds | None = None,
        lost_after_s: Seconds | None = None,
        fee_ppm: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        durability: str | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.data = Path(data).absolute()
        self.host, self.port = host, port
        self._given = {"hour_us": micro(hour_s), "lost_after_us": micro(lost_after_s), "fee_ppm": fee_ppm}
        self._given_durability = durability
        self.durability = ""
        self._say = say
        self._stack = contextlib.AsyncExitStack()
        self._failure: asyncio.Future[None] | None = None
        self._archive: Archive | None = None
        self._is_new = True
        self.server = ""
        self.children: dict[str, Child] = {}

    @property
    def operator_key(self) -> Key:
        """The key that may open accounts, deposit, freeze."""
        return self.keys.operator

    @property
    def exchanges(self) -> list[Child]:
        """The two of which one writes; which, the lease says (`exchange.lease.holder`)."""
        return [self.children[name] for name in EXCHANGES]

    async def __aenter__(self) -> "Market":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def start(self) -> None:
        """Start everything and wait until it answers.

        Raises MarketError, BadPlaceError, BadKeyError, ArchiveError, DamageError.
        """
        try:
            await self._start()
        except BaseException:
            await self.end()
            raise

    async def end(self) -> None:
        """End everything, in order."""
        await self._stack.aclose()

    async def failure(self) -> None:
        """Wait for ever, or raise MarketError when a child does not stay up."""
        assert self._failure is not None, "failure() is for a market that was started"
        await asyncio.shield(self._failure)

    async def _start(self) -> None:
        self._failure = asyncio.get_running_loop().create_future()
        self._stack.callback(_forget, self._failure)
        is_new = self._is_new = not (self.data / "nats").exists()
        if is_new:
            self._check_new()  # refuse before anything is made
        prepare(self.data)
        self._stack.enter_context(lock(self.data))
        self.keys = Keyring.load_or_make(self.data) if is_new else self._own_keys()
        self._archive = archive_at(self.data / ARCHIVE)
        self.host, self.port = choose_address(self.data, self.host, self.port)
        self.durability = choose_durability(self.data, self._given_durability, self._say)
        nats_server = start_server(self.data, self.host, self.port, self._users(), self._say)
        self._keep(nats_server)
        self.server = url(self.host, self.port)
        await self._unless_failed(self._open(nats_server))
        behind = () if self._archive is None else ("--archive", self._archive.path)
        for name in EXCHANGES:
            own = ("--name", name, "--snapshots", self.data / SNAPSHOTS)
            self._serve(name, "exchange.service", "exchange", *own, *behind)
        self._serve("notary", "exchange.notary", "exchange", *behind)
        self._serve(
            "projections",
            "projections.service",
            "projections",
            "--store",
            self.data / "projections.sqlite",
            *(("--unforced",) if self.durability == server.PROCESS_CRASH else ()),
            *behind,
        )
        self._task(self._admit(nats_server))
        self._task(self._watch_disk())
        await self._unless_failed(self._ready())
        address = {"server": self.server, "pid": os.getpid()}
        server.write(self.data / ADDRESS, dumps(address).decode() + "\n")

    def _serve(self, name: str, program: str, key: str, *arguments: str | Path) -> None:
        """Keep a service running, with this key of ours."""
        words = ("--server", self.server, "--creds", place(self.data, key), *arguments)
        log = self.data / f"logs/{name}.log"
        self._keep(Child(name, module(program, *map(str, words)), log, self._say))

    def _check_new(self) -> None:
        """Whether a market may be made here. Raises MarketError, BadPlaceError."""
        left = [name for name in ("projections.sqlite", ADDRESS, ARCHIVE) if (self.data / name).exists()]
        if left:
            raise MarketError(
                f"{self.data}: there was a market here ({left[0]}), but its log (nats/) is gone: put nats/ "
                "back, give another --data for a new market, or `exchange restore` this one from an archive"
            )
        self._terms()
        choose_address(self.data, self.host, self.port)

    def _own_keys(self) -> Keyring:
        """The keys of a market that has a log. Raises MarketError, BadKeyError."""
        for name in NAMES:
            if not place(self.data, name).exists():
                raise MarketError(
                    f"{place(self.data, name)} is missing, and a new key would not be this market's: put the "
                    "file back from a copy, or give another --data for a new market"
                )
        return Keyring.load(self.data)

    def _terms(self) -> dict[str, int]:
        """The terms of a new market: as given, defaults filled in. Raises MarketError (R13)."""
        terms = DEFAULT_TERMS | {name: value for name, value in self._given.items() if value is not None}
        hour, lost_after = terms["hour_us"], terms["lost_after_us"]
        for name, least in LEAST_TERMS.items():
            if terms[name] < least:
                raise MarketError(
                    f"{spoken(name, terms[name])} is too short; give at least {least / 1e6:g} s"
                )
        if lost_after * TENTH > hour:
            raise MarketError(
                f"{spoken('lost_after_us', lost_after)} is more than a tenth of the hour ({hour / 1e6:g} s); "
                f"give at most {hour / TENTH / 1e6:g} s (R13)"
            )
        return terms

    def _users(self) -> str:
        """The users to start with: those of the last time, until the log is read."""
        path = self.data / server.USERS
        before = path.read_text("utf-8") if path.exists() else ""
        return admission.users(self.keys, server.keys_in(before))

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside us until the end; its failure is the market's."""
        task = asyncio.create_task(work)

        def done(task: "asyncio.Task[None]") -> None:
            assert self._failure is not None
            if not task.cancelled() and task.exception() is not None and not self._failure.done():
                self._failure.set_exception(MarketError(f"{task.exception()}"))

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task.add_done_callback(done)
        self._stack.push_async_callback(end)

    def _keep(self, child: Child) -> None:
        self.children[child.name] = child
        self._task(child.keep())
        self._stack.push_async_callback(child.stop)

    async def _unless_failed(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this, unless a child fails before it is done."""
        assert self._failure is not None
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self._failure}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._failure.done():
            self._failure.result()
        await task

    async def _open(self, nats_server: Child) -> None:
        """Make the streams; open the market where nothing was ever asked of it."""
        try:
            nc = await connect(self.server, self.keys.exchange, name="exchange up", patience=SERVER_S)
        except (UnreachableError, NotAdmittedError) as error:
            raise MarketError(f"nats-server does not answer: {nats_server.last_words() or error}") from error
        async with closing(nc):
            if not self._is_new:
                await damage.look(nc, self.data, self._archive)
            await make_streams(nc, self._archive)
            if await last_sequence(nc, subjects.INTAKE, self._archive):
                return
            subject = subjects.intake(self.keys.operator.public, "open")
            body = {"session": time.time_ns() // 1000, "number": 1, "exchange": self.keys.exchange.public}
            request = encode(self.keys.operator, subject, body | self._terms())
            async with closing(
                await connect(self.server, self.keys.operator, name="exchange up")
            ) as operator:
                await operator.publish(subject, request)
                await operator.flush()
            await _arrived(nc)

    async def _admit(self, nats_server: Child) -> None:
        async with closing(await connect(self.server, self.keys.operator, name="admission")) as nc:
            await admission.follow(
                nc, self.keys, self.data / server.USERS, lambda: nats_server.pid, self._archive
            )

    async def _watch_disk(self) -> None:
        """Warn while there is time; stop before the log is cut off in the middle. Raises MarketError."""
        warned = False
        while True:
            free = server.free_bytes(self.data)
            if free < server.LEAST_FREE // 4:
                raise MarketError(
                    f"disk full: {free // 2**20} MiB left at {self.data}; free some, start again"
                )
            if free < server.LEAST_FREE and not warned:
                self._say(f"disk nearly full: {free // 2**20} MiB left at {self.data}")
            warned = free < server.LEAST_FREE
            await asyncio.sleep(DISK_S)

    async def _ready(self) -> None:
        """Wait until the exchange is heard and the projections have read what it had written by then."""
        began = said = time.monotonic()
        async with await Client.connect(self.server, self.keys.operator, name="exchange up") as client:
            while time.monotonic() - began < READY_S:
                with contextlib.suppress(NoAnswerError, QueryError):
                    answer = await client.query("status", timeout=1)
                    if (
                        client.pulse
                        and answer["commit"] >= client.pulse["commit"]
                        and answer["result"]["terms"]
                    ):
                        return self._compare(answer["result"]["terms"])
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    self._say("reading the log ...")
                await asyncio.sleep(0.05)
        raise MarketError(f"exchange and projections are not ready after {READY_S:g} s; see {self.data}/logs")

    def _compare(self, terms: dict[str, Any]) -> None:
        """Whether this is the market that was asked for. Raises MarketError."""
        if terms["operator"] != self.keys.operator.public:
            raise MarketError(
                f"{self.data}/keys/operator.nk is not the operator of this log ({terms['operator']})"
            )
        for name, value in self._given.items():
            if value is not None and value != terms[name]:
                raise MarketError(
                    f"{spoken(name, value)}: this market was opened with {spoken(name, terms[name])}, "
                    "and terms stay; leave the option out, or give another --data for a new market"
                )


def spoken(term: str, value: int) -> str:
    """A term with its value, as people say it: `hour 3600 s`, `fee 10000 ppm`."""
    if term == "fee_ppm":
        return f"fee {value} ppm"
    return f"{term.removesuffix('_us').replace('_', '-')} {value / 1e6:g} s"


def _forget(failure: "asyncio.Future[None]") -> None:
    """Nobody waits for it any more."""
    if not failure.cancel() and not failure.cancelled():
        failure.exception()


async def _arrived(nc: Nats) -> None:
    """Wait until INTAKE has its first request. Raises MarketError."""
    for _ in range(200):
        if await last_sequence(nc, subjects.INTAKE):
            return
        await asyncio.sleep(0.05)
    raise MarketError("the log did not take the request that opens the market; see nats-server's log")


def micro(seconds: Seconds | None) -> int | None:
    """Seconds in microseconds, exactly; None stays None."""
    return None if seconds is None else int(Decimal(str(seconds)) * 10**6)
