"""One start after another leaves nothing behind: no process, no descriptor, no memory, no control group.

Two hundred of each kind here; `python -m tests.seccomp.test_many_starts 1000` makes as many as one likes.
"""

import asyncio
import gc
import os
import sys
import tempfile
from pathlib import Path

import pytest

from seccomp import Limits, Runtime
from tests.seccomp.processes import at_rest, until_async, zygotes
from tests.seccomp.running import compile_static, finish, runtime_at

SOURCE = "#include <unistd.h>\nint main(int n, char **v) { write(1, v[1], 1); if (v[1][0] == 'w') pause(); }"
FUNCTION = b"def f(data):\n    return data\n"
KINDS = [("A", "native"), ("B", "native"), ("A", "python")]
WARM = 30  # starts until caches and pools are what they will be
MORE_KB = 2048  # what memory may differ by; a leak of 20 KB a start would be twice that


def status_of(pid: int, name: str) -> int:
    """A number of /proc/<pid>/status, which anybody may read; of the zygote nobody but root sees more."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


async def footprint(zygote: int) -> dict[str, int]:
    await until_async(lambda: at_rest(zygote), "keepers and programs to be gone")
    gc.collect()
    return {
        "descriptors of the node": len(os.listdir("/proc/self/fd")),
        "descriptors of the zygote": status_of(zygote, "FDSize"),  # the room for them, in steps of 64
        "memory of the node": status_of(os.getpid(), "RssAnon"),
        "memory of the zygote": status_of(zygote, "RssAnon"),
    }


async def start_many(runtime: Runtime, count: int, program: bytes, arguments: list[str]) -> None:
    """All the ways in which a program ends: by itself, killed, closed unread, and frozen."""
    for number in range(count):
        running = await runtime.start(program, arguments, Limits(64, wall_s=60))
        if number % 4 == 1:
            running.kill()
        elif number % 4 == 2:
            running.freeze()
            running.close()
            continue
        elif number % 4 == 3:
            running.close()
            continue
        await finish(running, b"w")


async def grown(level: str, kind: str, count: int, program: bytes, arguments: list[str]) -> dict[str, int]:
    """What is more after `count` starts than before, descriptors by number and memory in KiB."""
    async with runtime_at(level, kind) as runtime:
        await start_many(runtime, WARM, program, arguments)
        (zygote,) = zygotes()
        before = await footprint(zygote)
        await start_many(runtime, count, program, arguments)
        after = await footprint(zygote)
        return {name: after[name] - before[name] for name in before}


def try_kind(level: str, kind: str, count: int, folder: Path) -> dict[str, int]:
    if kind == "python":
        return asyncio.run(grown(level, kind, count, FUNCTION, ["f", "bytes"]))
    program = compile_static(SOURCE, folder / "start")
    return asyncio.run(grown(level, kind, count, program, ["start", "x"]))


def check(more: dict[str, int]) -> None:
    for name, value in more.items():
        assert value == 0 if name.startswith("descriptors") else value < MORE_KB, more


@pytest.mark.parametrize(("level", "kind"), KINDS)
def test_nothing_is_left_of_many_starts(tmp_path: Path, level: str, kind: str) -> None:
    check(try_kind(level, kind, 200, tmp_path))


if __name__ == "__main__":
    for level, kind in KINDS:
        with tempfile.TemporaryDirectory() as name:
            more = try_kind(level, kind, int(sys.argv[1]), Path(name))
            print(f"{sys.argv[1]} starts, {kind}, level {level}: {more}")
            check(more)
