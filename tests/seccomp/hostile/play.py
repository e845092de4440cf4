"""Runs every hostile program in the jail, and says what was seen as JSON.

`python -m tests.seccomp.hostile.play FOLDER LEVEL...`: FOLDER holds the compiled program `deeds`, and anybody
may read it.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import seccomp
from seccomp import InputClosedError, JailError, Limits, Program, Runtime
from seccomp.cgroups import find_place
from tests.seccomp.hostile import wasms
from tests.seccomp.hostile.table import Deed, every

MEMORY_MB = {"native": 16, "python": 64, "wasm": 64}
THREADS = 4
AT_ONCE = 4
MOST_READ = 64 << 20  # more than any program here writes, but those that never stop
INPUT = b"12345678"
KEPT = 4000  # bytes of output that are told
HANG_S = 30.0


@dataclass
class Seen:
    """How a program ended. `error`: it was never started, and why."""

    stdout: str = ""
    stderr: str = ""
    status: int | None = None
    signal: int | None = None
    why: str = ""
    error: str = ""
    cpu_us: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    read: int = 0


@dataclass
class Played:
    """What was seen at one level, with runtimes of these kinds: of each program, of the honest ones beside
    and behind them (`HONEST`), and what was left."""

    uid: int
    level: str
    kinds: list[str] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    honest: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def mark(deed: Deed) -> str:
    """A name for what the program leaves, if it can."""
    return f"corehour-hostile-{os.getpid()}-{deed.name}"


async def play(runtime: Runtime, deed: Deed, native: bytes) -> Seen:
    """Run one in the jail, to its end or until it was long enough."""
    seen = Seen()
    program, arguments = deed.program, ["f", "bytes"]
    if deed.kind == "native":
        if not deed.name.startswith("elf_"):
            program = native
        arguments = ["deeds", deed.name, mark(deed)]
    if deed.kind == "wasm":
        program, arguments = wasms.assembled(program), ["module"]
    try:
        running = await runtime.start(program, arguments, Limits(MEMORY_MB[deed.kind], threads=THREADS))
    except JailError as error:
        seen.error = str(error)
        return seen
    try:
        async with asyncio.timeout(HANG_S):
            await (_harass if "keeper" in deed.outcome else _finish)(running, deed, seen)
            end = await running.wait()
    except TimeoutError:
        seen.why = f"still there after {HANG_S:g} s"
        return seen
    finally:
        running.close()
    seen.status, seen.signal, seen.why, seen.cpu_us = end.status, end.signal, end.why, end.cpu_us
    seen.bytes_in, seen.bytes_out = end.bytes_in, end.bytes_out
    return seen


async def _finish(running: Program, deed: Deed, seen: Seen) -> None:
    """Feed it a little, read all."""

    async def feed() -> None:
        if "endless_input" in deed.name:
            await _feed(running)
        with suppress(InputClosedError):
            await running.write(INPUT)
        await running.close_stdin()

    _, out, errors = await asyncio.gather(
        feed(), _read(running.read_stdout, seen, MOST_READ), _read(running.read_stderr, seen, MOST_READ)
    )
    seen.stdout, seen.stderr = out.decode(errors="replace"), errors.decode(errors="replace")


async def _harass(running: Program, deed: Deed, seen: Seen) -> None:
    """It has no end: feed it, read some, freeze and continue it, ask it to finish, kill it."""
    reader = running.read_stdout
    if deed.kind == "python":  # it is called when its input has ended
        reader = running.read_stderr
        await running.close_stdin()
    begun = b""
    while b"begun" not in begun:
        piece = await reader(100)
        if not piece:
            break
        seen.read += len(piece)
        begun += piece
    seen.stdout = begun.decode(errors="replace")
    if deed.kind != "python":
        feeding = asyncio.ensure_future(_feed(running))
        await asyncio.sleep(0)
    dice = random.Random(deed.name)
    for _ in range(dice.randrange(1, 30)):
        dice.choice((running.freeze, running.resume, running.quit))()
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    if "flood" in deed.name and deed.name != "flood_deaf":
        running.resume()
        of_errors = deed.name in ("flood_errors", "py_flood_errors")
        await _read(running.read_stderr if of_errors else running.read_stdout, seen, 1 << 20)
    running.kill()
    await running.wait()
    if deed.kind != "python":
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(running: Program) -> None:
    """Input without end."""
    try:
        while True:
            await running.write(bytes(1 << 16))
    except InputClosedError:
        pass


async def _read(read: Callable[[int], Awaitable[bytes]], seen: Seen, most: int) -> bytes:
    data, count = b"", 0
    while count < most and (piece := await read(1 << 16)):
        count += len(piece)
        data = (data + piece)[-KEPT:]
    seen.read += count
    return data


HONEST: dict[str, tuple[bytes, list[str], str]] = {  # program ("" is the compiled one), arguments, answer
    "native": (b"", ["deeds", "add_up"], "1056"),
    "python": (b"def f(d): return f'{sum(d)} {0.1 + 0.2}'", ["f", "bytes"], "1056 0.30000000000000004"),
    "wasm": (wasms.ECHO, ["module"], "this was it"),
}


async def play_level(level: str, native: bytes) -> Played:
    """Run all at a level, a few at once, beside an honest program of each kind that lives through it all."""
    report = seccomp.probe(at_most=level)
    played = Played(os.geteuid(), report.level)
    if report.level != level:
        return played
    before = open_descriptors()
    runtimes = {one.tag.partition("/")[0]: one for one in seccomp.runtimes(report)}
    played.kinds = list(runtimes)
    running = {kind: await _start_honest(runtimes[kind], kind, native) for kind in runtimes}
    deeds = [deed for deed in every() if deed.kind in runtimes and deed.at(level)]
    random.Random(level).shuffle(deeds)
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(deed: Deed) -> None:
        async with turn:
            played.seen[deed.name] = await play(runtimes[deed.kind], deed, native)

    await asyncio.gather(*map(one, deeds))
    for kind, program in running.items():
        played.honest[f"{kind}, beside them"] = await _honest_answer(program)
        played.honest[f"{kind}, behind them"] = await honest(runtimes[kind], kind, native)
    if "wasm" in runtimes:  # it keeps processes for the modules that it knows
        await runtimes.pop("wasm").close()
    played.left += await leftovers(2 * len(runtimes))
    for runtime in runtimes.values():
        await runtime.close()
    played.left += await leftovers(0)
    if any(layer.name == "cgroup" and layer.works for layer in report.layers):
        played.left += groups_left()
    if (after := open_descriptors()) > before:
        played.left.append(f"{after - before} descriptors")
    return played


async def _start_honest(runtime: Runtime, kind: str, native: bytes) -> Program:
    program, arguments, _ = HONEST[kind]
    program = wasms.assembled(program)
    return await runtime.start(program or native, arguments, Limits(MEMORY_MB[kind]))


async def honest(runtime: Runtime, kind: str, native: bytes) -> str:
    """Run an honest program; returns what it said and how it ended. AssertionError if that is wrong."""
    answer = await _honest_answer(await _start_honest(runtime, kind, native))
    assert answer.startswith(f"{HONEST[kind][2]}, exited with 0"), answer
    return answer


async def _honest_answer(program: Program) -> str:
    await program.write(b"this was it")
    await program.close_stdin()
    out = b""
    while piece := await program.read_stdout(1000):
        out += piece
    end = await program.wait()
    program.close()
    return f"{out.decode()}, {end.why}, {end.bytes_in} in, {end.bytes_out} out"


async def leftovers(starters: int, looks: int = 200) -> list[str]:
    """What is still there of programs that have ended, besides the processes that start them: a zygote and a
    keeper that waits, for each runtime."""
    for _ in range(looks):  # keepers and zombies take a moment
        if len(children := descendants(os.getpid())) <= starters:
            break
        await asyncio.sleep(0.01)
    left = [f"process {pid}: {stat}" for pid, stat in children.items()] if len(children) > starters else []
    marked = f"corehour-hostile-{os.getpid()}-"
    for folder in map(Path, ("/tmp", "/dev/shm", "/var/tmp", "/dev/mqueue")):
        left += [str(file) for file in folder.glob(f"{marked}*")]
    return left


def groups_left() -> list[str]:
    """Control groups of programs of this process that are still there."""
    return [str(group) for group in Path(find_place().path).glob(f"corehour-{os.getpid()}-*")]


def descendants(pid: int) -> dict[int, str]:
    """Children, their children and so on, with what /proc says of them."""
    stats: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stats[int(name)] = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
    parents = {one: int(text.rpartition(") ")[2].split()[1]) for one, text in stats.items()}
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return {one: stats[one] for one in found - {pid}}


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


def main() -> None:
    """Play at each level that is asked for."""
    folder = Path(sys.argv[1])
    native = (folder / "deeds").read_bytes()
    played = [asyncio.run(play_level(level, native)) for level in sys.argv[2:]]
    print(json.dumps([asdict(one) for one in played]))


if __name__ == "__main__":
    main()
