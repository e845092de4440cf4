"""What /proc says about processes, for the tests that watch them."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path


def parents() -> dict[int, int]:
    """Every process of the machine and its parent."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := stat(int(name))):
            found[int(name)] = int(fields[1])
    return found


def descendants(pid: int) -> set[int]:
    """Children, children's children and so on; zombies too."""
    all_parents = parents()
    found = {pid}
    while more := {child for child, parent in all_parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def zygotes() -> set[int]:
    """Those of this process."""
    return {
        pid for pid, parent in parents().items() if parent == os.getpid() and b"zygote" in command_line(pid)
    }


def keepers(zygote: int) -> set[int]:
    """A zygote's, but for the one that waits for a request: that is still of its group."""
    return {pid for pid, parent in parents().items() if parent == zygote and stat(pid)[2:3] == [str(pid)]}


def at_rest(zygote: int) -> bool:
    """Whether we have nobody but a zygote, and it one keeper that waits."""
    return len(descendants(os.getpid())) == 2 and not keepers(zygote)


def named(argument: str) -> int:
    """The process among our descendants whose argv[0] is `argument`."""
    command = argument.encode() + b"\0"
    (pid,) = (pid for pid in descendants(os.getpid()) if command_line(pid).startswith(command))
    return pid


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def alive(pid: int) -> bool:
    return stat(pid)[:1] not in ([], ["Z"])


def state(pid: int) -> str:
    return stat(pid)[0]


def ticks(pid: int) -> int:
    """CPU time, user and system."""
    fields = stat(pid)
    return int(fields[11]) + int(fields[12])


def start_time(pid: int) -> tuple[int, int]:
    """What sorts processes by age."""
    return int(stat(pid)[19]), pid


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for it; the bound is there so that a failure does not hang."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


async def until_async(true: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(until, true, what)
