"""What a seller allows: when his machine is for sale, on which CPUs, how politely, how much of his line."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from seller_node.bandwidth import Bandwidth
from seller_node.hours import Hours, clock
from seller_node.idleness import Idleness
from seller_node.profile import BadOfferError, cpu_numbers
from seller_node.watching import Watching

LEAST_LOAD = 0.25  # CPUs that others may use on an idle machine; and of a large one ...
LEAST_SHARE = 0.1  # ... so much of all


class Priority(StrEnum):
    """Of strangers' programs, beside everything else that runs here."""

    IDLE = "idle"
    LOW = "low"
    NORMAL = "normal"


NICE = {Priority.IDLE: 19, Priority.LOW: 10, Priority.NORMAL: 0}


@dataclass(frozen=True)
class Policy:
    """The options of `run`. `when_idle_s` is after how many seconds without use the machine is for sale, 0:
    used or not. `cpus` are numbers of CPUs, never none."""

    priority: Priority
    cpus: tuple[int, ...]
    bandwidth: Bandwidth
    hours: Hours | None = None
    when_idle_s: float = 0.0


def parse_cpus(text: str) -> tuple[int, ...]:
    """Read `2,3` or `0-3,8`. Raises BadOfferError where it is no list, or names a CPU that is not there."""
    has = cpu_numbers()
    numbers: set[int] = set()
    for word in text.split(","):
        found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", word.strip())
        if found is None:
            raise BadOfferError(f"{text[:40]!r}: must be CPU numbers, as 2,3 or 0-3,8")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise BadOfferError(f"{word.strip()!r}: from the lower number to the higher")
        numbers |= set(range(first, last + 1))
    if unknown := sorted(numbers - set(has)):
        there = ",".join(map(str, has))
        raise BadOfferError(f"this process may not use CPU {unknown[0]}; it may use {there}")
    return tuple(sorted(numbers))


@dataclass(frozen=True)
class Verdict:
    """Whether the machine is for sale now, and why not."""

    sells: bool
    why: str = ""


ALWAYS = Verdict(True)


class Gate:
    """Says whether the machine is for sale now.

    `ended` gives the CPU time (s) of programs that have ended here, and their number.
    """

    def __init__(self, policy: Policy, ended: Callable[[], tuple[float, int]]) -> None:
        """Raises BadOfferError where this machine's use cannot be watched."""
        self._hours, self._ended = policy.hours, ended
        self._watching = self._idleness = None
        if policy.when_idle_s:
            self._watching = Watching()
            most = max(LEAST_LOAD, LEAST_SHARE * len(cpu_numbers()))
            self._idleness = Idleness(policy.when_idle_s, most, time.monotonic())

    @property
    def is_always_open(self) -> bool:
        """Whether there is nothing to look at."""
        return self._hours is None and self._idleness is None

    def look(self) -> Verdict:
        """The verdict of now. Blocks for some ms."""
        now = time.time()
        if self._idleness and self._watching:
            used = self._watching.others_s(*self._ended())
            self._idleness.look(time.monotonic(), used, self._watching.touched())
        if self._hours and not self._hours.are_open(now):
            opens = self._hours.next_change(now)
            again = f"; again at {clock(opens, now)}" if opens else ""
            return Verdict(False, f"these are not its hours, {self._hours.text}{again}")
        if self._idleness and not self._idleness.is_idle:
            needed = f"{self._idleness.needed_s / 60:g}"
            why = self._idleness.why or "it is not known yet to be idle"
            return Verdict(False, f"{why}; for sale after {needed} idle minutes")
        return ALWAYS

    def close(self) -> None:
        """Look no more."""
        if self._watching:
            self._watching.close()
