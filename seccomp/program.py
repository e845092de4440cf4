"""One jailed program as its node sees it: three streams, four commands, one end."""

import array
import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from seccomp import _jail

_REPORT = struct.Struct("=iiiiqq")  # struct report in _keeper.h
_MOST_AT_ONCE = 1 << 20


class JailError(Exception):
    """A program could not be started. The text is one line: which layer, why, and what to do."""


class ZygoteLostError(JailError):
    """The process that starts programs ended before this one ran."""


class InputClosedError(BrokenPipeError):
    """The program closed its standard input, or has ended: what is written now reaches nobody."""


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    `memory_mb` (MiB) bounds what a native program has in memory, its page tables included; it may set aside
    more address space than it uses. A Python function has it as address space, on top of what the interpreter
    has already. `threads` bounds those of a native program, its first included. `wall_s` (seconds) ends it so
    long after its start, and `warn_s` before that it gets SIGQUIT; neither counts in a freeze (R22). `cpu_s`
    (seconds) bounds the CPU time of all its threads. `nice` is added to the node's own niceness, `idle` lets
    it run only where nobody else wants to (SCHED_IDLE), `cpus` are the CPU numbers it may run on (empty: all
    that the node may). Raises ValueError where a value makes no sense.
    """

    memory_mb: int
    nice: int = 0
    cpus: tuple[int, ...] = ()
    threads: int = 64
    wall_s: float | None = None
    warn_s: float = 0
    cpu_s: int | None = None
    idle: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.memory_mb <= 1 << 24:
            raise ValueError(f"memory_mb is {self.memory_mb}: must be between 1 and {1 << 24}")
        if not 1 <= self.threads <= 1024:
            raise ValueError(f"threads is {self.threads}: must be between 1 and 1024")
        if self.wall_s is not None and not 0 < self.wall_s <= 1 << 30:
            raise ValueError(f"wall_s is {self.wall_s}: must be more than 0 and at most {1 << 30}")
        if self.warn_s and self.wall_s is None:
            raise ValueError(f"warn_s is {self.warn_s}: there is no wall_s that it would be before")
        if not 0 <= self.warn_s <= (self.wall_s or 0):
            raise ValueError(f"warn_s is {self.warn_s}: must be between 0 and wall_s, which is {self.wall_s}")
        if self.cpu_s is not None and not 1 <= self.cpu_s <= 1 << 30:
            raise ValueError(f"cpu_s is {self.cpu_s}: must be between 1 and {1 << 30}")
        if not 0 <= self.nice <= 39:
            raise ValueError(f"nice is {self.nice}: must be between 0 and 39")
        if any(not 0 <= cpu < 1024 for cpu in self.cpus):
            raise ValueError(f"cpus is {self.cpus}: must be numbers between 0 and 1023")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended.

    `status` or else `signal`; both are None, and CPU time and memory 0, if nobody could tell: its keeper was
    lost, or it was closed before its end. `cpu_us` is user and system time in microseconds, `memory_kb` the
    most resident memory in KiB (with the few MiB of the process that it was forked from, which the kernel
    counts too). `bytes_in` went to its stdin, `bytes_out` came from stdout and stderr, read or not. `why` is
    one line for people.
    """

    status: int | None
    signal: int | None
    cpu_us: int
    memory_kb: int
    bytes_in: int
    bytes_out: int
    why: str


class Cgroup(Protocol):
    """What a program's end asks its cgroup, if it has one (`cgroups.Group`)."""

    def memory_kb(self) -> int:
        """The most memory it had, in KiB; 0 if nobody knows."""

    def ran_out(self) -> bool:
        """Did the kernel kill it for its memory?"""

    def remove(self) -> None:
        """Remove it; it can be done twice."""


class Runtime(Protocol):
    """Starts programs of one kind; `tag` is how the market calls that kind (R29)."""

    @property
    def tag(self) -> str:
        """For example `native/x86_64-linux`."""

    async def start(self, program: bytes, arguments: list[str], limits: Limits) -> "Program":
        """Start one program; JailError if it cannot be, with nothing left behind."""

    async def close(self) -> None:
        """End the runtime, and with it every program that it started."""


class Program:
    """A running jailed program. Its runtime makes it; its standard streams are pipes, read only when asked.

    One task may write, one read stdout and one read stderr at the same time. Closing it kills the
    program. All methods belong to the event loop in which it was started.
    """

    def __init__(self, stdin: int, stdout: int, stderr: int, control: socket.socket, limits: Limits) -> None:
        """Take over the node's ends of the three pipes and of the keeper's socket."""
        self.group: Cgroup | None = None  # of its own, where there are any; removed at its end
        self._limits = limits
        self._deadlines: list[Deadline] = []
        self._loop = asyncio.get_running_loop()
        self._fds: dict[str, int] = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._control = control
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[Exit] = self._loop.create_future()
        self._killed = ""
        self.memory_kb = 0  # of its own as it started, if its keeper says so
        self._in = 0
        self._out = 0
        for fd in (stdin, stdout, stderr, control.fileno()):
            os.set_blocking(fd, False)
        self._loop.add_reader(control.fileno(), self._hear_keeper)

    async def started(self) -> None:
        """Wait until the program runs in its jail; raises JailError if it never will."""
        await asyncio.shield(self._started)

    async def write(self, data: bytes) -> None:
        """Write all of `data` to stdin, as fast as the program takes it; InputClosedError if it does not."""
        view = memoryview(data)
        while view:
            if "stdin" not in self._fds:
                raise InputClosedError("standard input is closed")
            try:
                count = os.write(self._fds["stdin"], view[:_MOST_AT_ONCE])
            except BlockingIOError:
                await self._ready("stdin", self._loop.add_writer, self._loop.remove_writer)
                continue
            except BrokenPipeError:
                await self.close_stdin()
                raise InputClosedError("the program closed its standard input") from None
            self._in += count
            view = view[count:]

    async def close_stdin(self) -> None:
        """End the program's standard input; it reads end of file. Doing it twice is fine."""
        self._close_fd("stdin")

    async def read_stdout(self, most: int) -> bytes:
        """Return up to `most` bytes of stdout, waiting for the first; b"" at its end."""
        return await self._read("stdout", most)

    async def read_stderr(self, most: int) -> bytes:
        """Return up to `most` bytes of stderr, waiting for the first; b"" at its end."""
        return await self._read("stderr", most)

    def freeze(self) -> None:
        """Stop the program; it uses no CPU until `resume`. It cannot notice but by the clock."""
        for deadline in self._deadlines:
            deadline.stop()
        self._command(b"F")

    def resume(self) -> None:
        """Continue after `freeze`; what was left of its time is left now."""
        self._command(b"C")
        for deadline in self._deadlines:
            deadline.go_on()

    def quit(self) -> None:
        """Send SIGQUIT: finish, please. A program without a handler for it goes on."""
        self._command(b"Q")

    def kill(self, why: str = "killed by its keeper") -> None:
        """End the program at once, frozen or not; `why` is what its end will say."""
        self._killed = self._killed or why
        self._command(b"K")

    def ended(self) -> bool:
        """Whether it is known to have ended."""
        return self._ended.done()

    async def wait(self) -> Exit:
        """Wait for the end. What the program wrote before can still be read afterwards."""
        return await asyncio.shield(self._ended)

    def close(self) -> None:
        """Kill the program if it runs, and let go of its streams, read or not. To learn how it ended, `kill`
        and `wait` before."""
        self._killed = self._killed or "killed by its keeper"
        for name in list(self._fds):
            self._close_fd(name)
        self._end(None, None, 0, 0, "killed by its keeper")

    def __del__(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._control.close()

    async def _ready(
        self,
        name: str,
        add: Callable[[int, Callable[[asyncio.Future[None]], None], asyncio.Future[None]], None],
        remove: Callable[[int], bool],
    ) -> None:
        """Wait until the stream can go on, or was closed here."""
        assert name not in self._waiting, f"two tasks use {name} at once"
        fd = self._fds[name]
        future = self._waiting[name] = self._loop.create_future()
        add(fd, wake, future)
        try:
            await future
        finally:
            del self._waiting[name]
            if name in self._fds:
                remove(fd)

    async def _read(self, name: str, most: int) -> bytes:
        assert most > 0
        while name in self._fds:
            try:
                data = os.read(self._fds[name], min(most, _MOST_AT_ONCE))
            except BlockingIOError:
                await self._ready(name, self._loop.add_reader, self._loop.remove_reader)
                continue
            if not data:
                self._close_fd(name)
            elif not self._ended.done():  # at the end, what was still unread was counted
                self._out += len(data)
            return data
        return b""

    def _close_fd(self, name: str) -> None:
        fd = self._fds.pop(name, None)
        if fd is None:
            return
        if name in self._waiting:
            (self._loop.remove_writer if name == "stdin" else self._loop.remove_reader)(fd)
            wake(self._waiting[name])
        os.close(fd)

    def _command(self, letter: bytes) -> None:
        if not self._ended.done():
            # if the keeper is gone, so is its program: the reader of reports sees that as well
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                try:
                    self._control.send(letter)
                except BlockingIOError:  # hundreds wait there; none may be lost, so the program is
                    self._killed = self._killed or "killed: its keeper does not listen"
                    self._control.shutdown(socket.SHUT_WR)

    def _hear_keeper(self) -> None:
        try:
            packet = self._control.recv(_REPORT.size)
        except (BlockingIOError, ConnectionResetError):
            return  # reset: it left a command of ours unread; once that is told, its last report can be read
        if not packet:
            if not self._started.done():
                self._fail(
                    ZygoteLostError("the process that starts programs ended; its standard error may say why")
                )
            self._end(None, None, 0, 0, self._killed or "its keeper was lost")
            return
        kind, step, value, reason, cpu_us, memory_kb = _REPORT.unpack(packet)
        if kind == ord("S"):
            self.memory_kb = memory_kb
            if not self._started.done():
                self._started.set_result(None)
                self._set_deadlines()
        elif kind == ord("F"):
            self._fail(JailError(f"the jail failed at {_jail.STEPS[step]}: {os.strerror(value)}"))
            self._end(None, None, 0, 0, "never started")
        else:
            assert kind == ord("E"), "a report that no keeper sends"
            status = os.waitstatus_to_exitcode(value)
            if status >= 0:
                self._end(status, None, cpu_us, memory_kb, f"exited with {status}")
            else:
                self._end(None, -status, cpu_us, memory_kb, self._name_signal(-status, reason))

    def _set_deadlines(self) -> None:
        wall, warn = self._limits.wall_s, self._limits.warn_s
        if wall is not None:
            why = f"killed at its wall limit of {wall:g} s"
            self._deadlines.append(Deadline(self._loop, wall, lambda: self.kill(why)))
            if warn:
                self._deadlines.append(Deadline(self._loop, wall - warn, self.quit))

    def _name_signal(self, number: int, reason: int) -> str:
        limits = self._limits
        if number == signal.SIGSYS:
            return "killed by seccomp (SIGSYS)"
        if reason == _jail.TOO_MUCH_MEMORY or (
            number == signal.SIGKILL and self.group is not None and self.group.ran_out()
        ):
            return f"killed at its memory limit of {limits.memory_mb} MiB"
        if reason == _jail.TOO_MANY_THREADS:
            return f"killed at its limit of {limits.threads} threads"
        if reason == _jail.TOO_MUCH_CPU:
            return f"killed at its CPU limit of {limits.cpu_s} s"
        if number == signal.SIGKILL and self._killed:
            return self._killed
        if number == signal.SIGKILL:
            return "killed by SIGKILL (its own, or for want of memory)"
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"

    def _fail(self, why: JailError) -> None:
        if not self._started.done():
            self._started.set_exception(why)
            self._started.exception()  # whoever waits gets it; nobody need

    def _end(self, status: int | None, number: int | None, cpu_us: int, memory_kb: int, why: str) -> None:
        """Record the end, once. The control socket goes with it, which ends the keeper if it is there."""
        if self._ended.done():
            return
        for deadline in self._deadlines:
            deadline.stop()
        self._deadlines.clear()
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        self._fail(JailError("it was closed before it ran"))
        if self.group is not None:
            memory_kb = self.group.memory_kb() or memory_kb
            self.group.remove()
        out = self._out + sum(_unread(self._fds[name]) for name in ("stdout", "stderr") if name in self._fds)
        self._ended.set_result(Exit(status, number, cpu_us, memory_kb, self._in, out, why))


class Deadline:
    """Calls `then` once, after so many seconds during which it was not stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, then: Callable[[], None]) -> None:
        """Begin to count."""
        self._loop, self._left, self._then = loop, seconds, then
        self._timer: asyncio.TimerHandle | None = None
        self.go_on()

    def stop(self) -> None:
        """Stand still; what is left is kept."""
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - self._loop.time())
            self._timer.cancel()
            self._timer = None

    def go_on(self) -> None:
        """Count what is left, if it stood still."""
        if self._timer is None and self._left >= 0:
            self._timer = self._loop.call_later(self._left, self._due)

    def _due(self) -> None:
        self._timer, self._left = None, -1.0
        self._then()


def wake(future: asyncio.Future[None]) -> None:
    """Complete `future`, if it is not done: for callbacks that may come twice."""
    if not future.done():
        future.set_result(None)


def _unread(fd: int) -> int:
    """Bytes that lie in a pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
