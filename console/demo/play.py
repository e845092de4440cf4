"""The whole demonstration from beginning to end, and how it ends."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import uvloop

from buyer.job import BadJobError
from console.data_directory import MarketError
from console.demo.picture import PictureError, prepare
from console.demo.proofs import print_statements, prove_log
from console.demo.scenes import SCENES
from console.demo.seller import SellerEndedError
from console.demo.show import Show
from console.demo.stage import DemoError, Stage, clear
from console.server import BadPlaceError
from events.client import NoAnswerError, QueryError, RefusedError
from events.records import PartyLost

DATA = Path("var/demo")
LONGEST_S = 240.0  # then something hangs
CLEANING_S = 12  # a clean-up that takes longer is cut short; children die with us
EXPECTED = (
    BadJobError, BadPlaceError, DemoError, MarketError, NoAnswerError, PictureError, QueryError, RefusedError,
    SellerEndedError,
)  # fmt: skip


async def perform(data: Path, show: Show) -> list[str]:
    """All scenes and proofs; returns the commands to try next. Raises EXPECTED, and others for faults."""
    live = asyncio.create_task(show.live(), name="live")
    try:
        clear(data)
        show.scene("Setting the stage", "R13, R33")
        show.say("cutting the photograph into strips, dithering them here for the check")
        work = await asyncio.to_thread(prepare, data / "dither")
        show.say("starting a log server, the exchange and the projections on this machine")
        async with Stage(data, show, work) as stage:
            show.say(f"the market is open at {stage.market.server}, its data in {data}")
            for scene in SCENES:
                await scene(stage)
            await print_statements(stage)
            lost = stage.chronicle.of(PartyLost)[0].commit
        counted = await prove_log(data, show)
    finally:
        live.cancel()
    show.line(f"\nAll agree: {counted}; statements, projections, audit and both pictures.", "bold green")
    return [
        f"{command('exchange', 'console')} audit --data {data} --json",
        f"{command('exchange', 'console')} replay --data {data} --until {lost}",
        "make test",
    ]


def command(name: str, package: str) -> str:
    """How to type one of our commands here."""
    beside = Path(sys.executable).with_name(name)
    if not beside.exists():
        return f"{os.path.relpath(sys.executable)} -m {package}"
    return os.path.relpath(beside)


async def until_signal(data: Path, show: Show) -> list[str] | None:
    """`perform`, ended by Ctrl-C at any moment; None then."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            signal.alarm(CLEANING_S)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    try:
        async with asyncio.timeout(LONGEST_S):
            return await perform(data, show)
    except BaseException as error:
        if interrupted:
            return None
        if not isinstance(error, TimeoutError):
            raise
        raise DemoError(f"{show.doing}: not done after {LONGEST_S:g} s in all") from error


@contextlib.contextmanager
def faults(data: Path) -> Iterator[None]:
    """What nobody expected is one line as well, and the rest of it goes to a log."""
    try:
        yield
    except EXPECTED:
        raise
    except Exception as error:
        with contextlib.suppress(OSError):
            (data / "logs").mkdir(parents=True, exist_ok=True)
            (data / "logs/demonstration.log").write_text(traceback.format_exc())
        raise DemoError(f"{type(error).__name__}: {error}") from error


def main() -> int:
    """Exit status 0 if every claim holds, 1 if not, 130 after Ctrl-C."""
    began = time.monotonic()
    show = Show()
    try:
        with show, faults(DATA), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            following = runner.run(until_signal(DATA, show))
    except EXPECTED as error:
        print(f"make demo failed: {error}; logs: {DATA}/logs", file=sys.stderr)
        return 1
    if following is None:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    show.line(f"It took {time.monotonic() - began:.0f} s. Try next:")
    for line in following:
        show.line(f"    {line}")
    return 0
