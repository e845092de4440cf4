"""Control groups (v2), where somebody delegated some: memory and threads of a program, bounded once more.

A program gets a group of its own, made before it starts and removed at its end. The node itself moves into
one beside them, since a group that has groups may have no process of its own. CPU is not bounded here: nice,
SCHED_IDLE and chosen CPUs do that, and within a group with shares of its own they would mean less.
"""

import contextlib
import os
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from seccomp.program import JailError, Limits

CONTROLLERS = ("memory", "pids")
_SLACK = 16 << 20  # bytes that the kernel uses for a program and the keeper does not count
_NODE = "corehour-node"
_PROGRAM = re.compile(r"corehour-(\d+)-(\d+)-\d+")  # process id and start time of its node, and a number


@dataclass(frozen=True, slots=True)
class Place:
    """The group in which those of our programs are made; "" and why, where there can be none."""

    path: str
    why: str


@cache
def find_place() -> Place:
    """Make our own group fit to have groups for programs in it; moves this process, once. Never raises."""
    try:
        own = _own_group()
        if own is None:
            return Place("", "no cgroup v2 is mounted here")
        if own.name == _NODE:  # somebody before us in this process tree did all that
            own = own.parent
        missing = [name for name in CONTROLLERS if name not in _words(own / "cgroup.controllers")]
        if missing:
            return Place("", f"{own} has no controllers {', '.join(missing)}: {_remedy()}")
        _make_room(own)
        _sweep(own)
        return Place(str(own), "")
    except OSError as error:
        return Place("", f"{error.filename or 'a cgroup'}: {error.strerror}: {_remedy()}")


class Group:
    """The group of one program. `join` is a descriptor: who writes 0 to it is in the group."""

    _made = 0

    def __init__(self, place: Place, limits: Limits, threads: int) -> None:
        """Make it, with its bounds. Raises JailError; then there is none."""
        Group._made += 1
        pid = os.getpid()
        self._path = Path(place.path) / f"corehour-{pid}-{_start_time(pid)}-{Group._made}"
        self.join = -1
        try:
            self._path.mkdir()
            most = {
                "memory.max": (limits.memory_mb << 20) + _SLACK,
                "memory.swap.max": 0,
                "pids.max": threads,
            }
            for name, value in most.items():
                if (
                    name != "memory.swap.max" or (self._path / name).exists()
                ):  # not where the kernel swaps nothing
                    (self._path / name).write_text(str(value))
            self.join = os.open(self._path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self.remove()
            raise JailError(f"no cgroup for the program: {error.filename}: {error.strerror}") from error

    def memory_kb(self) -> int:
        """Return the most KiB that the program had, by the kernel's count of all it did; 0 if it has none."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._path / "memory.peak").read_text()) >> 10
        return 0

    def ran_out(self) -> bool:
        """Say whether the kernel killed the program for its memory."""
        with contextlib.suppress(OSError):
            return "oom_kill 0" not in (self._path / "memory.events").read_text()
        return False

    def close(self) -> None:
        """Let go of the descriptor, once the program is in the group."""
        if self.join >= 0:
            os.close(self.join)
            self.join = -1

    def remove(self) -> None:
        """Remove it, with all that is still in it. What cannot be removed now goes at the next start."""
        self.close()
        _remove(self._path)


def _remove(group: Path) -> None:
    for attempt in range(3):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # somebody is in there, or is just about to be gone
            with contextlib.suppress(OSError):
                (group / "cgroup.kill").write_text("1")
            time.sleep(0.001 * attempt)
        else:
            return


def _own_group() -> Path | None:
    """Return the directory of the group that this process is in."""
    with open("/proc/self/cgroup") as file:
        name = next((line[3:].strip() for line in file if line.startswith("0::")), None)
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup2 ") and name is not None:
                root, mounted = before.split()[3:5]
                inside = os.path.relpath(name, root)
                if not inside.startswith(".."):
                    return Path(mounted) / inside
    return None


def _make_room(own: Path) -> None:
    """Move this process, and it alone, one group down, and hand the controllers on to what is beside it."""
    enabled = _words(own / "cgroup.subtree_control")
    if all(name in enabled for name in CONTROLLERS):
        return
    others = {int(pid) for pid in _words(own / "cgroup.procs")} - {os.getpid()}
    if (own / "cgroup.type").exists():  # the root of all groups may have both processes and groups
        if others:
            raise OSError(0, f"{len(others)} other processes are in it", str(own))
        node = own / _NODE
        node.mkdir(exist_ok=True)
        (node / "cgroup.procs").write_text("0")
    (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))


def _sweep(own: Path) -> None:
    """Remove the groups of nodes that are gone."""
    for group in own.iterdir():
        name = _PROGRAM.fullmatch(group.name)
        if name and _start_time(int(name[1])) != int(name[2]):
            _remove(group)


def _start_time(pid: int) -> int:
    """When a process began, in the kernel's ticks; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(") ")[2].split()[19])
    except OSError:
        return 0


def _words(path: Path) -> list[str]:
    return path.read_text().split()


def _remedy() -> str:
    with open("/proc/self/cgroup") as file:
        if ":memory:" in file.read():
            return "version 1 has them: boot with cgroup_no_v1=all"
    return "run it in a group of its own, as systemd-run --user --scope -p Delegate=yes does"
