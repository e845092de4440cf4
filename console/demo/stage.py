"""The market with its people: a data directory of its own, an operator, a buyer, three sellers."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from buyer.executor import run_job
from buyer.job import Job, Result, Unit
from console.data_directory import lock
from console.demo.chronicle import Chronicle
from console.demo.picture import Work
from console.demo.seller import Seller
from console.demo.show import Show, ranges
from console.market import Market
from events.client import Client
from events.keys import Key
from events.profile import Screen, parse_screen
from events.records import Event, PartyBack, PartyLost
from events.requests import CREDIT
from events.subjects import CLIENT
from seller_node.profile import cpu_flags

HOUR_S, LOST_AFTER_S = 10, 1  # the shortest hour in which a party is lost after a second (R13)
CPUS = 4  # that the bid asks for
MAX_PRICE = 50_000  # of the bid, in micro-credits
DEPOSIT = 10 * CREDIT
MARKER = "demonstration"  # the file by which `make demo` knows a directory as its own
STOP_S = 4.0  # for what is cancelled at the end
SOON_S = 15.0  # what should come at once comes within this, on a slow machine too
T = TypeVar("T")


class DemoError(Exception):
    """A scene's claim does not hold, or its condition did not come; the text is one line."""


def clear(data: Path) -> None:
    """An empty directory for this demonstration; that of an earlier one is removed, and nothing else.

    Raises DemoError, MarketError if a demonstration runs there.
    """
    try:
        if data.is_symlink() or (data.exists() and not data.is_dir()):
            raise DemoError(f"{data} is not a directory; move it away")
        if data.exists() and any(data.iterdir()):
            if not (data / MARKER).is_file():
                raise DemoError(f"{data} was not made by a demonstration; move it away, it is not removed")
            with lock(data):
                shutil.rmtree(data)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / MARKER).write_text("Made by `make demo`, which removes all of this when it runs again.\n")
    except OSError as error:
        raise DemoError(f"{error.filename}: {error.strerror}") from error


def choose_screen() -> tuple[Screen, str]:
    """The buyer's screen, with a flag that this CPU has; and a word where it is not avx2."""
    flags = cpu_flags()
    flag = next(flag for flag in ("avx2", "avx", "sse4_2", "x86_64") if flag in flags)
    word = "" if flag == "avx2" else f"this CPU has no avx2: the screen asks for {flag} instead"
    return parse_screen(f"memory_mb>=512 {flag}"), word


class Stage:
    """A running market and its people; `async with` opens it and leaves no process behind.

    `until` waits for anything, and fails at once when a part of the stage does.
    """

    def __init__(self, data: Path, show: Show, work: Work) -> None:
        self.data, self.show, self.work = data, show, work
        self.chronicle = Chronicle()
        self.screen, self.screen_word = choose_screen()
        self.buyer_key = Key.make()
        self.sellers = {
            seller.name: seller
            for seller in (
                Seller("cheap", 20_000, CPUS, CPUS * 512, data),
                Seller("dear", 30_000, CPUS, CPUS * 512, data),
                Seller("small", 10_000, 1, 256, data),
            )
        }
        self.operator: Client
        self.buyer: Client
        self.native: asyncio.Task[Result]
        self._guards: list[asyncio.Task[Any]] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Stage":
        try:
            market = Market(self.data, hour_s=HOUR_S, lost_after_s=LOST_AFTER_S, say=self.show.say)
            self.market = await self._stack.enter_async_context(market)
            self._stack.push_async_callback(self._dismiss)
            self.guard(market.failure(), "market")
            self.operator = await self._connect(market.operator_key, "operator")
            self.guard(self.chronicle.follow(self.operator.nc), "chronicle")
            self.show.clock = self._clock
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.show.clock = lambda: ""
        await self._stack.aclose()

    async def _dismiss(self) -> None:
        """End the sellers and what we run ourselves."""
        await asyncio.gather(*(seller.stop() for seller in self.sellers.values()), return_exceptions=True)
        for task in self._guards:
            task.cancel()
        if self._guards:
            ended, _ = await asyncio.wait(self._guards, timeout=STOP_S)
            await asyncio.gather(*ended, return_exceptions=True)  # what failed was told, or came of ending

    async def _connect(self, key: Key, name: str) -> Client:
        return await self._stack.enter_async_context(await Client.connect(self.market.server, key, name=name))

    async def bring_buyer(self) -> None:
        """The buyer's client connects; its account is open."""
        self.buyer_key.save(self.data / "accounts/buyer.nk")
        self.buyer = await self._connect(self.buyer_key, "buyer")
        self.guard(self._be_present(), "presence")
        present = lambda: [s for s in self.chronicle.of(PartyBack) if s.event.party == CLIENT]  # noqa: E731
        await self.until("the buyer's presence", SOON_S, present)

    async def _be_present(self) -> None:
        """The buyer's client is there between its jobs too (R6)."""
        while True:
            await self.buyer.heartbeat(CLIENT)
            await asyncio.sleep(LOST_AFTER_S / 4)

    def guard(self, work: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
        """Run this beside the scenes; its failure is theirs."""
        task = asyncio.create_task(work, name=name)
        self._guards.append(task)
        return task

    def _clock(self) -> str:
        pulse = self.operator.pulse
        if pulse is None:
            return ""
        return f"market time {pulse['now'] / 1e6:.1f} s{' (stands)' if pulse['frozen'] else ''}"

    async def until(self, what: str, seconds: float, found: Callable[[], T]) -> T:
        """Wait until `found` gives something true, and return it.

        Raises DemoError when `what` did not come within `seconds`, and whatever ended a part of the stage.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while not (value := found()):
            for task in self._guards:
                if task.done():
                    task.result()
            for seller in self.sellers.values():
                seller.check()
            if asyncio.get_running_loop().time() > deadline:
                raise self._failure(f"{what} did not come within {seconds:g} s")
            await asyncio.sleep(0.03)
        return value

    def check(self, holds: bool, claim: str) -> None:
        """Say a claim that holds. Raises DemoError for one that does not."""
        if not holds:
            raise self._failure(f"this does not hold: {claim}")
        self.show.proved(claim)

    def _failure(self, why: str) -> DemoError:
        """The error of a scene; it says where a machine that is too busy explains it."""
        lost = [said.event.party for said in self.chronicle.of(PartyLost)]
        unexpected = set(lost) - ({"cheap"} if lost.count("cheap") == 1 else set())
        if unexpected:
            why += (
                f" (is this machine very busy? {', '.join(sorted(unexpected))} fell silent for "
                f"{LOST_AFTER_S} s without being killed)"
            )
        return DemoError(f"{self.show.doing}: {why}")

    def name(self, account: str) -> str:
        """An account's name on this stage."""
        names = {seller.key.public: seller.name for seller in self.sellers.values()}
        return (names | {self.buyer_key.public: "buyer"}).get(account, account[:8])

    def start_job(
        self, name: str, program: bytes, runtime: str, arguments: list[str], *, settle: bool
    ) -> "asyncio.Task[Result]":
        """The buyer's client runs a job on all strips; results go to <data>/<name>."""
        units = [Unit(f"strip-{n:02}.pgm", strip) for n, strip in enumerate(self.work.strips)]
        job = Job(
            program=program, runtime=runtime, arguments=arguments, units=units, cpus=CPUS,
            max_price=MAX_PRICE, max_cost=2 * CREDIT, output=self.data / name, screen=self.screen,
            settle=settle,
        )  # fmt: skip
        self.show.done, self.show.of = 0, len(units)
        return self.guard(run_job(self.buyer, job, self._report), name)

    def _report(self, event: str, **facts: Any) -> None:
        """What the buyer's client says of a job."""
        with (self.data / "logs/buyer.log").open("a") as log:
            print(f"{time.strftime('%H:%M:%S')} {event}", *(f"{k}={v}" for k, v in facts.items()), file=log)
        if event == "unit_done":
            self.show.done = facts["done"]

    def results(self, name: str) -> list[bytes]:
        """What a job wrote, strip by strip."""
        return [(self.data / name / f"strip-{n:02}.pgm").read_bytes() for n in range(len(self.work.strips))]

    def tell(self, events: list[Event]) -> None:
        """Print events as they stand in the log, one line a kind."""
        kinds: dict[str, list[Event]] = {}
        for event in events:
            kinds.setdefault(event.kind, []).append(event)
        for kind, same in kinds.items():
            members = {
                k: v
                for k, v in same[0].wire().items()
                if k in ("party", "reason", "machine", "price", "amount")
            }
            about = "".join(f" {name} {value}" for name, value in members.items())
            contracts = [getattr(event, "contract", 0) for event in same]
            self.show.say(f"    {kind} x{len(same)}{about} {ranges(contracts)}".rstrip())
