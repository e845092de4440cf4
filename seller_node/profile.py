"""What this machine offers: what the operating system and cpuid say, or less, never more (R24)."""

import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from events.profile import FLAG, MOST_FLAGS, STATED_NUMBERS
from events.requests import NAME
from events.subjects import CLIENT

LEVELS = {"A": 3, "B": 2, "C": 1}  # of the jail, as the profile's number
LEAST_MEMORY = 16  # MiB for one program


class BadOfferError(Exception):
    """An offer that this machine cannot keep, or a name that cannot be; the text says which and what is."""


@dataclass(frozen=True)
class Profile:
    """What one machine offers. `memory_mb` is what each of its CPUs has, in MiB; `jail` is 3, 2 or 1; `mips`
    and `mflops` what each was measured to do (measurement.py), 0 until then.
    """

    machine: str
    cpus: int
    memory_mb: int
    jail: int
    flags: tuple[str, ...]
    mips: int = 0
    mflops: int = 0

    def body(self) -> dict[str, Any]:
        """The profile as members of a `machine` request."""
        numbers = {name: getattr(self, name) for name in STATED_NUMBERS}
        return {"machine": self.machine, "cpus": self.cpus, "numbers": numbers, "flags": list(self.flags)}


def offer(
    *,
    machine: str,
    cpus: int | None,
    memory: int | None,
    more_cpus: bool,
    level: str,
    tags: Iterable[str],
    on_cpus: tuple[int, ...] = (),
) -> Profile:
    """The profile of this machine. `memory` is for all CPUs together, in MiB; `on_cpus` are those that
    programs may use, where not all.

    `more_cpus` lets a demonstration offer more CPUs than there are. Raises BadOfferError.
    """
    has = len(on_cpus or cpu_numbers())
    cpus = has if cpus is None else cpus
    if cpus < 1 or (cpus > has and not more_cpus):
        whose = "--on-cpus names" if on_cpus and len(on_cpus) < len(cpu_numbers()) else "this machine has"
        raise BadOfferError(f"--cpus {cpus}: {whose} {has}; offer 1 to {has} (R24)")
    available, total = memory_mb()
    memory = available * 3 // 4 if memory is None else memory
    if memory > total:
        raise BadOfferError(f"--memory {memory}: this machine has {total} MiB; offer less (R24)")
    if memory < cpus * LEAST_MEMORY:
        raise BadOfferError(f"--memory {memory}: {cpus} CPUs need {LEAST_MEMORY} MiB each; offer more of it")
    flags = tuple(sorted(cpu_flags() | set(tags)))[:MOST_FLAGS]
    return Profile(machine_name(machine), cpus, memory // cpus, LEVELS[level], flags)


def machine_name(given: str) -> str:
    """The name given, else this host's, as the market writes names. Raises BadOfferError."""
    name = given or re.sub(r"[^a-z0-9_-]+", "-", socket.gethostname().lower()).strip("-_")[:32] or "machine"
    if not re.fullmatch(NAME, name) or name == CLIENT:
        raise BadOfferError(
            f"--name {name!r}: a machine's name has 1 to 32 of a-z, 0-9, - and _, begins with a letter or "
            f"digit, and is not {CLIENT!r}"
        )
    return name


def cpu_numbers() -> tuple[int, ...]:
    """The CPUs that this process may use, by number (`taskset` makes them fewer)."""
    return tuple(sorted(os.sched_getaffinity(0)))


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What cpuid says of the first CPU, as flags of a profile, with the architecture."""
    found = re.search(r"^flags\s*:\s*(.*)$", cpuinfo.read_text(), re.MULTILINE)
    words = found[1].split() if found else []
    return {"x86_64"} | {word for word in words if re.fullmatch(FLAG, word)}


def memory_mb(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """(available, total) in MiB: the machine's, or the control group's where that is less."""
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB$", (proc / "meminfo").read_text(), re.MULTILINE))
    available, total = int(fields["MemAvailable"]) // 1024, int(fields["MemTotal"]) // 1024
    for limit in _group_limits(proc, cgroups):
        available, total = min(available, limit), min(total, limit)
    return available, total


def _group_limits(proc: Path, cgroups: Path) -> Iterable[int]:
    """The memory limits in MiB of this process's control group and those above it (version 2)."""
    try:
        found = re.search(r"^0::(/.*)$", (proc / "self" / "cgroup").read_text(), re.MULTILINE)
    except OSError:
        return
    group = cgroups / (found[1] if found else "/").lstrip("/")
    for place in (group, *group.parents):
        try:
            text = (place / "memory.max").read_text().strip()
        except OSError:
            text = "max"
        if text.isdigit():
            yield int(text) >> 20
        if place == cgroups:
            return
