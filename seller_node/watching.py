"""What can be seen of a machine's use: the CPU time of others, and when people last touched it.

Nothing that anybody typed is ever read: of a keyboard's device it is asked only whether there is something
to read, and then it is closed.
"""

import contextlib
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from seller_node.profile import BadOfferError

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
LOGIND_S = 15.0  # between questions to logind, each of which is a process
START_S = 0.002  # what the kernel needs for a program's start and end, and puts down to nobody who stays
ROOT = Path("/")


class Watching:
    """Looks at this machine. `root` is where proc, dev and run are. Raises BadOfferError where it cannot."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        if not (root / f"proc/self/task/{os.getpid()}/children").exists():
            raise BadOfferError(
                "--when-idle: this kernel does not tell whose a process is (CONFIG_PROC_CHILDREN), so that "
                "the machine's own use cannot be told from what is sold; use --hours"
            )
        self._own_s = 0.0
        self._interrupts = self._count_interrupts()
        self._devices: dict[str, int] = {}
        self._touched: float | None = None  # by the clock that never jumps, as is all that we tell
        self._logind = shutil.which("loginctl") if (root / "run/systemd/seats").is_dir() else None
        if self._logind:
            self._logind_sees_somebody()  # or it cannot be asked
        self._asked = float("-inf")
        self._open_devices()

    def sources(self) -> list[str]:
        """By what people can be seen here."""
        found = ["terminals"] if any(self._terminals()) else []
        if self._devices:
            found.append("keyboard and mouse")
        elif self._interrupts is not None:
            found.append("the keyboard's interrupts")
        if self._logind and not self._devices:
            found.append("logind")
        return found

    def others_s(self, programs_s: float, starts: int) -> float:
        """CPU time that others than this process and what runs below it have used, in seconds.

        `programs_s` is that of programs that have ended, `starts` their number. It rises, but for what is
        measured late: the average over some samples can be relied on. O(processes below).
        """
        words = _first_line(self._root / "proc/stat").split()
        user, nice, system, _, _, hard, soft = (int(word) for word in words[1:8])
        own = self._living_s() + programs_s + starts * START_S
        self._own_s = max(self._own_s, own)  # one that has just ended may not have been told of yet
        return (user + nice + system + hard + soft) * TICK_S - self._own_s

    def touched(self) -> float | None:
        """When somebody was last at a terminal, keyboard or mouse (time.monotonic()); None: never seen."""
        now = time.monotonic()
        moments = [] if self._touched is None else [self._touched]
        moments += [now - max(0.0, time.time() - at) for at in self._terminals()]
        interrupts = self._count_interrupts()
        if self._has_input() or interrupts != self._interrupts:
            moments.append(now)
        self._interrupts = interrupts
        if self._logind and not self._devices and now - self._asked >= LOGIND_S:
            self._asked = now
            if self._logind_sees_somebody():
                moments.append(now)
        self._touched = max(moments, default=None)
        return self._touched

    def close(self) -> None:
        """Let go of the devices."""
        for fd in self._devices.values():
            os.close(fd)
        self._devices.clear()

    def _living_s(self) -> float:
        """CPU time of this process and all below it that live."""
        total, waiting = 0.0, [str(os.getpid())]
        while waiting:
            place = self._root / "proc" / waiting.pop()
            fields = _first_line(place / "stat").rpartition(")")[2].split()
            if fields:  # it has not just ended
                total += (int(fields[11]) + int(fields[12])) * TICK_S
                for children in place.glob("task/*/children"):
                    waiting += _first_line(children).split()
        return total

    def _terminals(self) -> Iterator[float]:
        """When each terminal was last read from, by the clock on the wall."""
        for pattern in ("dev/tty[0-9]*", "dev/pts/[0-9]*"):
            for place in self._root.glob(pattern):
                with contextlib.suppress(OSError):
                    yield place.stat().st_atime

    def _count_interrupts(self) -> int | None:
        """Of a keyboard or mouse that has its own (PS/2, and in most notebooks); None: there is none."""
        with contextlib.suppress(OSError), (self._root / "proc/interrupts").open() as lines:
            found = [line for line in lines if "i8042" in line]
            return sum(int(word) for line in found for word in line.split()[1:] if word.isdigit()) or None
        return None

    def _open_devices(self) -> None:
        """Open, of all keyboards and mice, those that this user may."""
        try:
            text = (self._root / "proc/bus/input/devices").read_text(errors="replace")
        except OSError:
            return
        for handlers in re.findall(r"^H: Handlers=(.*)$", text, re.MULTILINE):
            event = re.search(r"\bevent[0-9]+\b", handlers)
            if event and event[0] not in self._devices and re.search(r"\b(kbd|mouse[0-9]+)\b", handlers):
                with contextlib.suppress(OSError):
                    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                    self._devices[event[0]] = os.open(self._root / "dev/input" / event[0], flags)

    def _has_input(self) -> bool:
        """Whether a keyboard or mouse was used since this was last asked. It is opened anew each time: so
        what was typed is dropped unread."""
        poll = select.poll()
        for fd in self._devices.values():
            poll.register(fd, select.POLLIN)
        ready = poll.poll(0) if self._devices else []
        self.close()
        self._open_devices()
        return any(what & select.POLLIN for _, what in ready)

    def _logind_sees_somebody(self) -> bool:
        """Whether a session is in use: on a desktop, as far as that tells logind. False if it cannot say."""
        assert self._logind
        command = [self._logind, "show-session", "--property=IdleHint", "--value"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5, check=True
            )
        except (OSError, subprocess.SubprocessError):
            self._logind = None
            return False
        return done.stdout.strip() == "no"


def _first_line(path: Path) -> str:
    """Of a file in /proc; "" where the process has just ended."""
    try:
        with path.open(errors="replace") as file:
            return file.readline()
    except OSError:
        return ""
