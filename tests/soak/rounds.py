"""One round of each kind of fault: a market lives, the fault strikes again and again, all is proved.

Each is `async (directory, dice, times) -> Result`; it raises where something does not hold.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from events.source import ServerLog
from exchange.audit import audit
from exchange.lease import TTL_S
from tests.soak.damage import damage
from tests.soak.result import Result
from tests.soak.rig import Program, Rig, UnexpectedEndError, until
from tests.soak.town import Town
from tests.soak.wire import jumping

KILLED = -signal.SIGKILL
UNREACHED_S = 12.0  # a step that is not reached within this: the process is killed as it stands
# Steps of a process: to the end of its start, and as many as it makes in some seconds of service.
STEPS = {"exchange": (150, 2000), "projections": (60, 800)}


Round = Callable[[Path, random.Random, int], Awaitable[Result]]


@asynccontextmanager
async def lived_in(rig: Rig, dice: random.Random, result: Result) -> AsyncIterator[Town]:
    """A market with its people; after the faults all is proved."""
    try:
        await rig.start()
        async with Town(rig, dice) as town:
            await town.answered(10)
            yield town
            await town.answered(5)
            result.market = await town.prove()
            for program in rig.programs.values():
                await keep(program, result)
            rig.nats.check_alive()
    finally:
        await rig.end()


def durability(dice: random.Random) -> str:
    """Mostly the fast one."""
    return dice.choice(("process-crash", "process-crash", "power-loss"))


def choose(dice: random.Random, process: str) -> int:
    """A step to die at: half of them while the process starts, the others while it serves."""
    start, most = STEPS[process]
    return dice.randint(1, start) if dice.random() < 0.5 else dice.randint(start, most)


async def kill_at_steps(
    program: Program, process: str, town: Town, times: int, result: Result, dice: random.Random
) -> None:
    """A service dies at chosen steps, each time soon after it was started again; then it is left to live."""
    died = program.faults / f"{process}.died"
    await program.kill()
    for _ in range(times):
        (program.faults / f"{process}.steps").write_text(str(choose(dice, process)))
        before = len(died.read_text().splitlines()) if died.exists() else 0
        program.start()
        status = await program.ended(UNREACHED_S)
        town.check()
        if status is None:
            await program.kill()
            result.faults["killed as it stood"] += 1
        elif status == KILLED:
            rows = [json.loads(line) for line in died.read_text().splitlines()[before:]]
            assert len(rows) == 1, rows
            result.faults["killed at a step"] += 1
            result.points[point(rows[0]["at"])] += 1
        else:
            await check_end(program, result)
    program.start()


def point(awaits: list[str]) -> str:
    """What tells one await from another: our innermost line, and the library's."""
    ours = [line for line in awaits if line.split("/")[0] in ("events", "exchange", "projections")]
    return " > ".join(dict.fromkeys([*ours[-1:], *awaits[-1:]]))


async def exchange_kill(directory: Path, dice: random.Random, times: int) -> Result:
    """SIGKILL of the exchange, at any await of any of its coroutines; of two of them in every other round."""
    result, rig = Result(), Rig(directory, durability=durability(dice))
    async with lived_in(rig, dice, result) as town:
        names = ["exchange"]
        if dice.random() < 0.5:
            names.append("standby")
            rig.programs["standby"] = rig.service("exchange", "standby")
        shares = [times - times // 2, times // 2] if len(names) == 2 else [times]
        await asyncio.gather(
            *(
                kill_at_steps(
                    rig.programs[name], "exchange", town, share, result, random.Random(dice.randrange(2**32))
                )
                for name, share in zip(names, shares, strict=True)
            )
        )
    return result


async def projections_kill(directory: Path, dice: random.Random, times: int) -> Result:
    """SIGKILL of the projections, at any await, and around the commit of their store."""
    result, rig = Result(), Rig(directory, durability=durability(dice))
    async with lived_in(rig, dice, result) as town:
        named = times // 5
        await kill_at_steps(rig.programs["projections"], "projections", town, times - named, result, dice)
        program = rig.programs["projections"]
        for _ in range(named):
            how = dice.choice(("projections.before-commit", "projections.after-commit"))
            (program.faults / how).touch()
            status = await program.ended()
            assert status == KILLED, f"{how}: {status}"
            result.faults["killed around a commit"] += 1
            result.points[how] += 1
            program.start()
    return result


async def server_kill(directory: Path, dice: random.Random, times: int) -> Result:
    """SIGKILL of nats-server while all work; exchange and projections live on, and find it again."""
    result, rig = Result(), Rig(directory, durability=durability(dice))
    async with lived_in(rig, dice, result) as town:
        for _ in range(times):
            await asyncio.sleep(dice.uniform(0, 1.5))
            await rig.nats.kill()
            result.faults[f"killed, {rig.durability}"] += 1
            await asyncio.sleep(dice.choice((0, dice.uniform(0, 2))))
            await rig.start_server()
            if dice.random() < 0.7:
                await town.answered()
            for program in rig.programs.values():
                await keep(program, result)
    return result


async def lost_tail(directory: Path, dice: random.Random, times: int) -> Result:
    """The server dies and has lost the end of INTAKE: what was answered is not there any more.

    The exchange stops, and does not start again, even where new requests stand in the place of the lost.
    """
    result = Result()
    for number in range(times):
        rig = Rig(directory / str(number))
        try:
            await rig.start()
            async with Town(rig, dice) as town:
                await town.answered(60)
                before = await rig.last("INTAKE")
                await rig.nats.kill()
                block = rig.directory / "nats/jetstream/$G/streams/INTAKE/msgs/1.blk"
                os.truncate(block, block.stat().st_size - dice.randrange(4000, 12000))
                await rig.start_server()
                exchange = rig.programs["exchange"]
                assert await exchange.ended(30) == 1, "the exchange goes on"
                for _ in range(3):
                    town.check()
                    exchange.start()
                    assert await exchange.ended(30) == 1, "the exchange starts"
                    words = exchange.last_words().splitlines()[-1]
                    assert words.startswith("exchange: INTAKE"), words
                    result.notes[re.sub(r"\d+", "N", words)] += 1
                    deadline = time.monotonic() + 30
                    while await rig.last("INTAKE") <= before:  # clients ask again, into the place of the lost
                        assert time.monotonic() < deadline
                        await asyncio.sleep(0.1)
                audited = await audit(ServerLog(town.operator.nc))
                assert audited.first_disagreement is not None
                result.faults["INTAKE cut off under a market: refused, named by the audit"] += 1
        finally:
            await rig.end()
    return result


async def keep(program: Program, result: Result) -> None:
    """A service that had a reason to end is started again, as `exchange up` does."""
    if not program.pid:
        await check_end(program, result)
        program.start()


async def check_end(program: Program, result: Result) -> None:
    """It may have ended by itself where the server was gone, or where another exchange had the lease; then it
    said so in one line. Raises UnexpectedEndError.
    """
    status, lines = await program.ended(), program.last_words().splitlines()
    words = lines[-1] if lines else ""
    if status != 1 or not words.startswith(("exchange: ", "error: ")):
        raise UnexpectedEndError(f"{program.name} ended with {status}: {program.last_words()}")
    result.notes[f"{program.name} ended and was started again: " + re.sub(r"\d+", "N", words)] += 1


async def pause(directory: Path, dice: random.Random, times: int) -> Result:
    """SIGSTOP of the exchange that leads, past its lease or not, and SIGCONT; another stands by, or none."""
    result, rig = Result(), Rig(directory, durability=durability(dice))
    async with lived_in(rig, dice, result) as town:
        for number in range(times):
            await asyncio.sleep(dice.uniform(0, 1))
            first = rig.programs["exchange"]
            if dice.random() < 0.4:
                first.signal(signal.SIGSTOP)
                await asyncio.sleep(dice.choice((dice.uniform(0.1, TTL_S), dice.uniform(TTL_S, 3 * TTL_S))))
                first.signal(signal.SIGCONT)
                result.faults["stopped and continued, alone"] += 1
                await town.answered(after="a pause")
                first.check_alive()
                continue
            second = rig.service("exchange", f"exchange-{number + 2}")
            second.start()
            await until(partial(_has_said, second, "folded"), "it stands by")
            first.signal(signal.SIGSTOP)
            rig.programs["exchange"] = second
            try:
                await until(partial(_has_said, second, "leads"), "it leads")
                await town.answered(dice.randrange(1, 20), after="the leader stopped")
                second.check_alive()
                first.signal(signal.SIGCONT)
                assert await first.ended(20) == 1, f"the old exchange goes on: {first.last_words()}"
                words = first.last_words().splitlines()[-1]
                assert words.startswith("exchange: "), words
                result.notes[re.sub(r"\d+", "N", words)] += 1
            finally:
                await first.kill()
            result.faults["stopped past its lease, replaced, and continued"] += 1
            await town.answered(after="a take-over")
    return result


def _has_said(program: Program, word: str) -> bool:
    return word in program.log.read_text()


async def cut(directory: Path, dice: random.Random, times: int) -> Result:
    """The connection between exchange and server breaks in every way that a wire has."""
    result, rig = Result(), Rig(directory, durability=durability(dice))
    async with lived_in(rig, dice, result) as town:
        wire = rig.wire
        for _ in range(times):
            await asyncio.sleep(dice.uniform(0, 0.7))
            match dice.choice(("cut", "tear", "refuse", "stall", "deafen", "half towards", "half from")):
                case "cut" as how:
                    wire.cut()
                case "tear" as how:
                    wire.tear(dice.randrange(1, 3000))
                case "refuse" as how:
                    await wire.refuse(dice.uniform(0, 3))
                case "stall" as how:
                    await wire.stall(dice.uniform(0.1, 4))
                case "deafen" as how:
                    await wire.deafen(dice.uniform(0.01, 1))
                case how:
                    wire.half_close(towards_server=how == "half towards")
            result.faults[WAYS[how]] += 1
            await keep(rig.programs["exchange"], result)
            await town.answered(after=WAYS[how])
            await keep(rig.programs["exchange"], result)
    return result


WAYS = {
    "cut": "reset",
    "tear": "reset inside a message",
    "refuse": "reset, and refused for up to 3 s",
    "stall": "silent for up to 4 s",
    "deafen": "answers lost, then reset",
    "half towards": "closed towards the server",
    "half from": "closed towards the exchange",
}


async def clock(directory: Path, dice: random.Random, times: int) -> Result:
    """Stored times that jump: forwards, backwards, to 1970, to the last there is; and kills meanwhile."""
    result, rig = Result(), Rig(directory, durability=durability(dice), clock=jumping(dice.randrange(2**32)))
    async with lived_in(rig, dice, result) as town:
        for _ in range(times):
            before = await rig.last("INTAKE")
            await town.answered(dice.randrange(20, 60))
            if dice.random() < 0.3:
                await kill_at_steps(rig.programs["exchange"], "exchange", town, 1, result, dice)
            result.faults["jumps of the clock"] += (await rig.last("INTAKE")) // 25 - before // 25
    return result


async def disk_full(directory: Path, dice: random.Random, times: int) -> Result:
    """The server's disk is full, for a while."""
    result = Result()
    async with small_disk(directory) as disk:
        rig = Rig(directory, durability=durability(dice), inside=disk.enter)
        async with lived_in(rig, dice, result) as town:
            for _ in range(times):
                await asyncio.sleep(dice.uniform(0, 1))
                disk.fill(dice.choice((0, 1, 4, 20)) * 4096)
                await asyncio.sleep(dice.uniform(0.5, 3))
                for program in rig.programs.values():
                    await keep(program, result)
                disk.free()
                result.faults["full"] += 1
                await rig.nats.kill()
                await rig.start_server()
                await town.answered()
    return result


class Disk:
    """A disk of a few MiB under the server's store, in a mount namespace of its own."""

    def __init__(self, holder: Program, place: Path) -> None:
        self._holder, self._place = holder, place

    @property
    def enter(self) -> list[str]:
        """What a command is started by, to see this disk."""
        words = ["--user", "--preserve-credentials", "--mount", "--target", str(self._holder.pid)]
        return ["/usr/bin/nsenter", *words]

    @property
    def _seen(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{self._place}")

    def fill(self, left: int) -> None:
        """Nothing is left on it, or so many bytes."""
        with contextlib.suppress(OSError), (self._seen / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        if left:
            size = (self._seen / "ballast").stat().st_size
            with (self._seen / "ballast").open("r+b") as file:
                file.truncate(max(0, size - left))

    def free(self) -> None:
        """All is left on it."""
        (self._seen / "ballast").unlink()


@asynccontextmanager
async def small_disk(directory: Path) -> AsyncIterator[Disk]:
    """A small disk at <directory>/nats, for those who enter. Raises SkippedError where none may be had."""
    place = directory / "nats"
    place.mkdir(parents=True)
    script = f"mount -t tmpfs -o size=24m corehour {place} && echo ready && exec sleep infinity"
    command = ["/usr/bin/unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script]
    holder = Program("disk", command, directory / "disk.log")
    holder.start()
    try:
        await until(lambda: not holder.pid or holder.last_words() == "ready", "the disk is there")
        if not holder.pid:
            raise SkippedError(f"no mount namespace for us here: {holder.last_words()}")
        yield Disk(holder, place)
    finally:
        await holder.kill()


class SkippedError(Exception):
    """This machine does not let us try that; the text says why."""


ROUNDS: dict[str, tuple[Round, int]] = {  # by kind, and how many faults a round has
    "exchange-kill": (exchange_kill, 25),
    "projections-kill": (projections_kill, 25),
    "server-kill": (server_kill, 10),
    "lost-tail": (lost_tail, 2),
    "pause": (pause, 5),
    "cut": (cut, 12),
    "disk-full": (disk_full, 4),
    "clock": (clock, 10),
    "damage": (damage, 20),
}
