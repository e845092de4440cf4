"""Long runs of bad input for the jail, with real starts: `python -m tests.soak.jail`, or `make soak`.

A seed is a round: a node's runtimes, some hundred starts with things changed, and after each round the proof
that the node still starts honest programs, and that nothing is left. What is changed:

- executables and wasm modules: their bytes, their headers;
- what a start is asked with: arguments, limits, source texts;
- what is told to a keeper while its program runs: commands in any order, and letters that are none.

Each start must end with one clear line, or run to an end that fits together. Rounds that are done are kept in
var/soak/jail.jsonl, so a run that was stopped goes on where it was, and starts anew when what it tests has
changed. A failure says the command that has it again.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import seccomp
from seccomp import Exit, InputClosedError, JailError, Limits, Program, Runtime
from tests.seccomp.hostile import executables, play, pythons, wasms
from tests.soak import book
from tests.soak.done import keep, rows

LOG = book.ROOT / "var/soak/jail.jsonl"
TESTED = ("seccomp/*.[ch]", "seccomp/*.py", "tests/soak/jail.py", "tests/seccomp/hostile/*")
SEEDS, STARTS = 100, 300
AT_ONCE = 4
LIFE_S = (0.01, 0.1, 0.5)  # what runs longer is killed
HANG_S = 60.0
KINDS = {"A": ("native", "python", "wasm"), "B": ("native", "python", "wasm"), "C": ("wasm",)}
ODD = (0, 1, 2, 3, 4, 7, 8, 56, 63, 64, 4095, 4096, 65535, 1 << 31, (1 << 32) - 1, 1 << 47, (1 << 63) - 1,
       1 << 63, (1 << 64) - 4096, (1 << 64) - 1, 0x400000, 0xFFFFFFFFFF600000)  # fmt: skip
WASM = (
    "(module)",
    '(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))',
    """(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
       (memory (export "memory") 1) (data (i32.const 0) "\\08\\00\\00\\00\\03\\00\\00\\00hi\\n")
       (table 4 funcref) (elem (i32.const 0) $f) (func $f (param i32) (result i32) (local.get 0))
       (func (export "_start") (local i32)
         (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
         (drop (call_indirect (param i32) (result i32) (memory.grow (i32.const 3)) (i32.const 0)))
         (block (br_if 0 (i32.eqz (local.tee 0 (i32.load (i32.const 4))))))))""",
)


def changed(data: bytes, dice: random.Random, heads: tuple[int, ...] = (64, 120, 400)) -> bytes:
    """A binary with one to four things changed; more often in its first bytes, of which there are so many."""
    new = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        if not new:
            break
        most = min(len(new), dice.choice((*heads, len(new))))
        at = dice.randrange(most)
        what = dice.randrange(6)
        if what == 0:
            new[at] ^= 1 << dice.randrange(8)
        elif what == 1:
            size = dice.choice((1, 2, 4, 8))
            at -= at % size
            new[at : at + size] = (dice.choice(ODD) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        elif what == 2:
            del new[at:]
        elif what == 3:
            new[at:at] = dice.randbytes(dice.randint(1, 20))
        elif what == 4:
            new[at : at + dice.randint(1, 20)] = new[dice.randrange(len(new)) :][: dice.randint(1, 20)]
        else:
            new[at : at + 8] = dice.randbytes(8)
    return bytes(new)


def text_of(dice: random.Random) -> str:
    """A word that one may not expect in a start."""
    return dice.choice(("f", "bytes", "json", "", "x" * 70_000, "\0", "\ud800", "\u2028\u202e", "class",
                        "-", "\n", "\uff46", "--help", "9", "a" * dice.randrange(300)))  # fmt: skip


OPERATIONS = {
    "i32": ("add", "sub", "mul", "div_s", "rem_u", "and", "xor", "shl", "shr_s", "rotl"),
    "i64": ("add", "sub", "mul", "div_u", "rem_s", "or", "xor", "shl", "shr_u", "rotr"),
    "f64": ("add", "sub", "mul", "div", "min", "max", "copysign"),
    "f32": ("add", "sub", "mul", "div", "min", "max", "copysign"),
}
CASTS = {
    "i32": ("i32.wrap_i64", "i64"), "i64": ("i64.trunc_sat_f64_s", "f64"), "f64": ("f64.promote_f32", "f32"),
    "f32": ("f32.convert_i32_u", "i32"),
}  # fmt: skip


def expression(dice: random.Random, kind: str, depth: int) -> str:
    """An expression of a kind of number that is well typed, whatever it comes to."""
    below = depth - 1
    what = dice.randrange(9) if depth else 0
    if what == 0:
        number = dice.choice(ODD) if kind[0] == "i" else dice.choice((0, 1, -1, 0.1, 1e30))
        return f"({kind}.const {number % (1 << int(kind[1:])) if kind[0] == 'i' else number})"
    if what == 1:
        return f"(local.get ${kind})"
    if what == 2:
        return f"(local.tee ${kind} {expression(dice, kind, below)})"
    if what == 3:
        address = expression(dice, "i32", below)
        mask = f"(i32.and (i32.const {dice.choice((0xFFF8, 0xFFF8, 0xFFF8, 0x3FFFF))}) {address})"
        return f"({kind}.load offset={dice.choice((0, 0, 8, 4294967295))} {mask})"
    if what == 4:
        one, other, test = (expression(dice, of, below) for of in (kind, kind, "i32"))
        return f"(select {one} {other} {test})"
    if what == 5:
        one, other, test = (expression(dice, of, below) for of in (kind, kind, "i32"))
        return f"(if (result {kind}) {test} (then {one}) (else {other}))"
    if what == 6:
        cast, source = CASTS[kind]
        return f"({cast} {expression(dice, source, below)})"
    if what == 7:
        start = f"(i32.store (i32.and (i32.const 0xFFF8) {expression(dice, 'i32', below)}) (i32.const 7))"
        value, test = expression(dice, kind, below), expression(dice, "i32", below)
        return f"(block (result {kind}) {start} (br_if 0 {value} {test}))"
    operation = dice.choice(OPERATIONS[kind])
    return f"({kind}.{operation} {expression(dice, kind, below)} {expression(dice, kind, below)})"


def wasm_of(dice: random.Random) -> str:
    """The text of a module that is made up, with some functions of arithmetic, memory and branches."""
    locals_ = "".join(f"(local ${kind} {kind})" for kind in OPERATIONS)
    bodies = [expression(dice, "i64", dice.randrange(1, 7)) for _ in range(dice.randrange(1, 5))]
    functions = "".join(f"(func $f{at} (result i64) {locals_} {body})" for at, body in enumerate(bodies))
    calls = "".join(f"(drop (call $f{at}))" for at in range(len(bodies)))
    return f'(module (memory (export "memory") 1 4) {functions} (func (export "_start") {calls}))'


class Round:
    """One seed at one level."""

    def __init__(self, seed: int, level: str, native: bytes, modules: list[bytes]) -> None:
        self.dice = random.Random(f"{seed}/{level}")
        self.level = level
        self.native, self.modules = native, modules
        self.came_to: Counter[str] = Counter()

    async def go(self, starts: int) -> None:
        """Do so many starts. Raises what did not hold."""
        before = play.open_descriptors()
        runtimes = {one.tag.partition("/")[0]: one for one in seccomp.runtimes(seccomp.probe(self.level))}
        kinds = [kind for kind in KINDS[self.level] if kind in runtimes]
        cases = [self._case(kind) for kind in self.dice.choices(kinds, k=starts)]
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(kind: str, program: bytes, arguments: list[str], commands: bytes) -> None:
            async with turn:
                async with asyncio.timeout(HANG_S):
                    end = await self._start(runtimes[kind], program, arguments, commands)
                self.came_to[f"{kind}: {end}"] += 1

        await asyncio.gather(*(one(*case) for case in cases))
        for kind in kinds:
            if kind in play.HONEST:
                await play.honest(runtimes[kind], kind, self.native)
        for runtime in runtimes.values():
            await runtime.close()
        left = await play.leftovers(0)
        assert not left, left
        assert play.open_descriptors() <= before, f"{play.open_descriptors() - before} descriptors are left"

    def _case(self, kind: str) -> tuple[str, bytes, list[str], bytes]:
        """A kind, a program, its arguments, and what its keeper is told."""
        dice = self.dice
        commands = bytes(dice.choice(b"FCQFCQFCQKZ\0\xff") for _ in range(dice.randrange(12)))
        if kind == "python":
            program = dice.choice(pythons.deeds()).program
            if dice.random() < 0.7:
                program = changed(program, dice)
            arguments = (
                ["f", "bytes"] if dice.random() < 0.8 else [text_of(dice) for _ in range(dice.randrange(4))]
            )
        else:
            good = self.module() if kind == "wasm" else self.executable()
            heads = () if kind == "wasm" else (64, 120, 400)
            program = changed(good, dice, heads) if dice.random() < 0.7 else good
            arguments = [text_of(dice) for _ in range(dice.randrange(4))] if dice.random() < 0.3 else ["x"]
        return kind, program, arguments, commands

    def executable(self) -> bytes:
        """One to be changed."""
        dice = self.dice
        if dice.random() < 0.2:
            return self.native
        if dice.random() < 0.5:
            return executables.elf()
        return dice.choice(executables.deeds()).program

    def module(self) -> bytes:
        """One to be changed: a small one, or one that is made up."""
        if self.dice.random() < 0.3:
            return self.dice.choice(self.modules)
        return wasms.assembled(wasm_of(self.dice).encode())

    def limits(self) -> Limits:
        """Some that make sense, if not much."""
        dice = self.dice
        return Limits(
            dice.choice((1, 8, 64, 64, 64, 64)), nice=dice.choice((0, 39)), threads=dice.choice((1, 4, 64)),
            cpu_s=dice.choice((None, 1)), wall_s=dice.choice((None, None, None, 0.001, 1.0)),
            idle=dice.random() < 0.1,
        )  # fmt: skip

    async def _start(self, runtime: Runtime, program: bytes, arguments: list[str], commands: bytes) -> str:
        try:
            running = await runtime.start(program, arguments, self.limits())
        except JailError as error:
            check_line(str(error))
            return "not started"
        try:
            end = await self._live(running, commands)
        finally:
            running.close()
        check_end(end)
        if runtime.tag.startswith("wasm"):
            assert end.signal in (None, 9), f"a module crashed its host: {end}"
        return "killed" if end.signal else f"exit {end.status}" if end.status in (0, 1) else "exit"

    async def _live(self, running: Program, commands: bytes) -> Exit:
        """Feed it, tell its keeper what it is to be told, read, and kill it in the end."""

        async def feed() -> None:
            try:
                await running.write(bytes(100))
                await running.close_stdin()
            except InputClosedError:
                pass

        async def drain(read: Callable[[int], Awaitable[bytes]]) -> None:
            while await read(1 << 16):
                pass

        tasks = [
            asyncio.ensure_future(one)
            for one in (feed(), drain(running.read_stdout), drain(running.read_stderr))
        ]
        for letter in commands:
            running._command(bytes([letter]))
        await asyncio.wait(tasks, timeout=self.dice.choice(LIFE_S))
        running.kill()
        end = await running.wait()
        await asyncio.wait_for(asyncio.gather(*tasks), HANG_S)
        return end


def check_line(text: str) -> None:
    """A refusal is one line that a person can read to its end."""
    assert 0 < len(text) < 2000 and "\n" not in text, text


def check_end(end: Exit) -> None:
    """How it ended must fit together."""
    assert (end.status is None) != (end.signal is None), end
    assert end.why and "\n" not in end.why and "lost" not in end.why, end
    assert 0 <= end.cpu_us < 60_000_000 and 0 < end.memory_kb < 1 << 21, end
    assert end.bytes_in <= 100 and end.bytes_out >= 0, end
    if end.status is not None:
        assert end.why == f"exited with {end.status}", end


def modules() -> list[bytes]:
    """wasm modules to be changed; none where there is no wasmtime."""
    try:
        import wasmtime
    except ImportError:
        return []
    return [bytes(wasmtime.wat2wasm(text)) for text in WASM]


def compiled(folder: Path) -> bytes:
    """The hostile suite's executable."""
    sources = sorted((book.ROOT / "tests/seccomp/hostile").glob("*.c"))
    subprocess.run(["cc", "-O1", "-w", "-static", "-o", folder / "deeds", *sources], check=True)
    return (folder / "deeds").read_bytes()


def failed(seed: int, options: argparse.Namespace) -> None:
    """Say how to have it again."""
    whole = traceback.format_exc()
    LOG.with_name(f"failed-jail-{seed}.txt").write_text(whole)
    short = "\n".join(line[:500] for line in whole.splitlines())
    print(
        f"failed\n{short[-6000:]}\nagain: python -m tests.soak.jail --starts {options.starts} --seed {seed}",
        flush=True,
    )


def run(options: argparse.Namespace) -> bool:
    """Do the seeds that are not done; tell whether all went well."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    tested = book.digest(
        sorted(file for pattern in TESTED for file in book.ROOT.glob(pattern) if file.is_file())
    )
    done = {row["seed"] for row in rows(LOG) if (row["version"], row["starts"]) == (tested, options.starts)}
    with tempfile.TemporaryDirectory() as name:
        native, wasm = compiled(Path(name)), modules()
    total: Counter[str] = Counter()
    for seed in [options.seed] if options.seed is not None else range(options.seeds):
        if seed in done and options.seed is None:
            continue
        began = time.monotonic()
        came_to: Counter[str] = Counter()
        try:
            for level in KINDS:
                if seccomp.probe(level).level == level:
                    one = Round(seed, level, native, wasm)
                    if level != "C" or wasm:
                        asyncio.run(one.go(options.starts))
                        came_to.update({f"{level} {what}": count for what, count in one.came_to.items()})
        except Exception:
            failed(seed, options)
            return False
        total.update(came_to)
        seconds = round(time.monotonic() - began, 1)
        row = {
            "seed": seed,
            "version": tested,
            "starts": options.starts,
            "seconds": seconds,
            "day": time.strftime("%F"),
        }
        keep(LOG, row | {"came_to": came_to})
        print(f"seed {seed}: {came_to.total()} starts in {seconds:g} s", flush=True)
    print("\n".join(f"{count:8} {what}" for what, count in sorted(total.items())))
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.jail", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many rounds")
    parser.add_argument("--seed", type=int, help="this one alone, done before or not")
    parser.add_argument("--starts", type=int, default=STARTS, help="of each round, at each level")
    try:
        return 0 if run(parser.parse_args()) else 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
        return 130


if __name__ == "__main__":
    sys.exit(main())
