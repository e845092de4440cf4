"""Damaged files under a stopped market's log: is it named, or is nothing lost?

A market is played once and stopped, in order and by SIGKILL; each damage strikes a copy of it. Then
`exchange audit` reads the copy, and `exchange up` starts on it. Where that is refused, what the refusal says
is done, and then nothing may be lost.
"""

import asyncio
import json
import random
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.data_directory import ARCHIVE
from console.market import Market
from console.session import EXPECTED
from events.archive import Archive
from events.client import Client
from events.log import CommitReader, last_sequence
from events.source import archive_at
from events.subjects import JOURNAL
from tests.soak.result import Result
from tests.soak.rig import Rig
from tests.soak.town import Town

STORE, RESTORED = "nats/jetstream", "-restored"
UP_S, COMMAND_S = 90.0, 90.0  # bounds for hanging
WAYS = ("bit", "bit", "cut", "cut", "zeros", "gone")
WORDS = {"bit": "a bit flipped", "cut": "cut off", "zeros": "512 bytes zeroed", "gone": "missing"}
ENDED = {"clean": "an orderly end", "killed": "SIGKILL"}
Said = list[tuple[int, dict[str, Any]]]


class SilentError(AssertionError):
    """A damage that nobody named, and that changed what was said."""


@dataclass(frozen=True)
class Damage:
    """What happened to which file."""

    file: str
    way: str
    at: int

    def __str__(self) -> str:
        return f"{self.file}: {self.way} at {self.at}"


async def play(directory: Path, dice: random.Random) -> Said:
    """A market that has been: <directory>/clean and <directory>/killed; returns what it said."""
    rig = Rig(directory / "clean")
    try:
        await rig.start()
        async with Town(rig, dice) as town:
            await town.answered(200)
            await town.prove()
            for program in rig.programs.values():
                await program.stop()
            said = await _said(town.operator)
            rig.nats.signal(signal.SIGKILL)
            await rig.nats.ended()
        shutil.copytree(rig.directory, directory / "killed")
        await rig.start_server()
        await rig.nats.stop()
        await command("archive", str(directory / "archive"), "--data", str(rig.directory))
        return said
    finally:
        await rig.end()


async def _said(client: Client, archive: Archive | None = None) -> Said:
    """Every event of JOURNAL, with the request that it answers."""
    end = await last_sequence(client.nc, JOURNAL, archive)
    said: Said = []
    async with CommitReader(client.nc, archive=archive) as reader:
        while reader.sequence < end:
            for commit in await reader.next_batch():
                said += [(sequence, event.wire()) for sequence, event in commit.events]
    return said


def strike(data: Path, dice: random.Random) -> Damage:
    """Damage one file of the server's store."""
    files = sorted(file for file in (data / STORE).rglob("*") if file.is_file() and file.stat().st_size)
    blocks = [file for file in files if file.suffix == ".blk"]
    file = dice.choice(blocks if dice.random() < 0.6 else files)
    way, size = dice.choice(WAYS), file.stat().st_size
    at = dice.randrange(size)
    content = bytearray(file.read_bytes())
    match way:
        case "bit":
            content[at] ^= 1 << dice.randrange(8)
        case "cut":
            del content[at:]
        case "zeros":
            content[at : at + 512] = bytes(len(content[at : at + 512]))
    if way == "gone":
        file.unlink()
    else:
        file.write_bytes(content)
    return Damage(str(file.relative_to(data / STORE)), way, at)


def forget(data: Path) -> None:
    """The projections' store is gone, and with it what they had read."""
    for file in data.glob("projections.sqlite*"):
        file.unlink()


async def look(data: Path) -> str:
    """What `exchange audit` says: "" where all agree."""
    status, said = await command("audit", "--data", str(data))
    found = said.get("first_disagreement")
    if status == 0:
        return ""
    if found:
        return f"{found['stream']} {found['sequence']}: {found['what']}"
    return str(said["error"] if "error" in said else said["projections"]["what"])


async def command(*words: str) -> tuple[int, dict[str, Any]]:
    """An `exchange` command: its exit status, and what it says. Raises SilentError where it hangs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console", *words, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_S):
            said, error = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise SilentError(f"exchange {words[0]} does not end") from None
    assert b"Traceback" not in error and process.returncode is not None, error.decode()
    return process.returncode, json.loads(said)


async def repair(data: Path, base: Path, refused: str, expected: Said) -> str:
    """Do what the refusal says; all must stand again. Returns what was done."""
    if "exchange recompute" in refused:
        done = await command("recompute", "--data", str(data))
        how = "JOURNAL recomputed"
    elif "delete the store" in refused:
        forget(data)
        done, how = (0, {}), "the projections' store deleted"
    else:
        fresh = data.with_name(f"{data.name}{RESTORED}")
        words = ("--archive", str(base / "archive"), "--data", str(fresh), "--keys", str(data / "keys"))
        done = await command("restore", *words)
        data, how = fresh, "restored from the archive"
    assert done[0] == 0, done
    refused, stands = await start(data, expected)
    if refused or not stands:
        raise SilentError(f"{how}: {refused or 'other events stand'}")
    return how


async def start(data: Path, expected: Said) -> tuple[str, bool]:
    """Start the market on it: what refused, "" where it works; and whether all that was said stands."""
    try:
        async with asyncio.timeout(UP_S), Market(data) as market:
            asking = asyncio.create_task(_ask(market))
            failing = asyncio.create_task(market.failure())
            try:
                await asyncio.wait({asking, failing}, return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    failing.result()
                said = await asking
            finally:
                for task in (asking, failing):
                    task.cancel()
                await asyncio.gather(asking, failing, return_exceptions=True)
    except EXPECTED as error:
        if isinstance(error, TimeoutError):
            raise SilentError("the market does not start, and does not say why") from None
        return str(error), False
    last = expected[-1][0]
    return "", [row for row in said if row[0] <= last] == expected


async def _ask(market: Market) -> Said:
    """Have something done; then all that the market ever said."""
    async with await Client.connect(market.server, market.operator_key, name="test") as operator:
        account = market.operator_key.public
        await operator.request("deposit", account=account, amount=1, reference="x", timeout=30)
        return await _said(operator, archive_at(market.data / ARCHIVE))


async def trial(base: Path, expected: Said, directory: Path, dice: random.Random, result: Result) -> None:
    """One damage. Raises SilentError where it is silent."""
    ended = dice.choice(("clean", "killed"))
    shutil.copytree(base / ended, directory)
    damage = strike(directory, dice)
    if dice.random() < 0.5:
        forget(directory)
    named = await look(directory)
    refused, stands = await start(directory, expected)
    after = "" if refused else await look(directory)
    if refused:
        outcome = f"refused at the start; {await repair(directory, base, refused, expected)}, nothing lost"
    elif named and after:
        outcome = "named by the audit" + ("" if stands else ", other events stand now")
    elif stands:
        outcome = "mended by itself" if named else "nothing lost"
    else:
        outcome = "SILENT"
    kind = damage.file.rpartition("/")[2]
    kind = "block" if kind.endswith(".blk") else kind
    result.faults[f"{kind}, {WORDS[damage.way]}, after {ENDED[ended]}: {outcome}"] += 1
    result.details.append(f"{damage}: audit: {named or 'agrees'}; up: {refused or 'works'}; {outcome}")
    if outcome == "SILENT":
        raise SilentError(
            f"{damage}: {named or 'the audit agreed'}; the market started, and other events stand"
        )


async def damage(directory: Path, dice: random.Random, times: int) -> Result:
    """Truncated, bit-flipped, zeroed and missing files of the server's store."""
    result = Result()
    expected = await play(directory, dice)
    for number in range(times):
        await trial(directory, expected, directory / str(number), dice, result)
        for name in (str(number), f"{number}{RESTORED}"):
            shutil.rmtree(directory / name, ignore_errors=True)
    return result
