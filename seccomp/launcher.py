"""The node's side of a zygote: starts it when it is needed, hands it programs, starts it again if it died.

A zygote (`zygote.py`) is a small process that does nothing but fork keepers. Programs are forked from there
and not from the node, whose memory may be large and holds secrets.
"""

import asyncio
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from seccomp.cgroups import Group, find_place
from seccomp.layers import Report, mask
from seccomp.program import JailError, Limits, Program, ZygoteLostError, wake

# The modules of this package without its __init__, which would bring asyncio along.
BOOT = (
    "import sys, types; package = types.ModuleType('seccomp'); package.__path__ = [sys.argv[1]]; "
    "sys.modules['seccomp'] = package; from seccomp.zygote import main; main(sys.argv[2:])"
)
P = TypeVar("P", bound=Program)
_LARGE = 1 << 20  # bytes of a program, to be copied beside the event loop
MOST_ARGUMENTS = 64 * 1024  # bytes, all together


def zygote_command(kind: str, *rest: str) -> list[str]:
    """Return the command line of a zygote: `kind` is one of its kinds, or probe."""
    # Without its site-packages it is small; only Python programs want them, for numpy.
    lean = [] if kind == "python" else ["-S"]
    return [sys.executable, "-I", "-X", "utf8", *lean, "-c", BOOT, str(Path(__file__).parent), kind, *rest]


def zygote_environment() -> dict[str, str]:
    """Return the environment of a zygote: nothing of the node's but where libraries lie."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"OPENBLAS_NUM_THREADS": "1", "TZ": "UTC"} | kept


class Launcher:
    """One zygote and the way to it. `kind` is native or python, or wasm, which alone may run at level C."""

    def __init__(self, kind: str, report: Report, *rest: str) -> None:
        """Remember which layers `report` found to work: all of them must work at every start. `rest` is what
        such a zygote wants to know besides."""
        if missing := report.missing("C" if kind == "wasm" else "B"):
            raise JailError(f"no {kind} programs here: {missing}")
        self._kind = kind
        self._rest = rest
        self._layers = mask(report)
        # A copy of a wasm template cannot begin in a group of its own, and to be moved would take it longer
        # than to start; nor does it need one: it makes no threads, and has no memory but by limits that hold.
        grouped = kind != "wasm" and any(layer.name == "cgroup" and layer.works for layer in report.layers)
        self._place = find_place() if grouped else None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._turn = asyncio.Lock()

    async def start(self, program: bytes, arguments: list[str], limits: Limits) -> Program:
        """Start `program` and wait until it runs. Raises JailError; then nothing is left."""
        request = self.request(arguments, limits)
        try:
            return await self._start_once(program, request, limits)
        except ZygoteLostError:  # it died since the last start; once is no reason to give up
            return await self._start_once(program, request, limits)

    async def _start_once(self, program: bytes, request: bytes, limits: Limits) -> Program:
        with open_program(Program, limits) as (running, theirs), ExitStack() as joined:
            if self._place is not None:
                running.group = group = Group(self._place, limits, self._threads(limits))
                joined.callback(group.close)
                theirs.append(group.join)
            await self.send(request, program, theirs, limits)
        try:
            await running.started()
        except BaseException:
            running.close()
            raise
        return running

    def _threads(self, limits: Limits) -> int:
        return limits.threads if self._kind == "native" else 1

    async def close(self) -> None:
        """End the zygote; its programs end with it."""
        async with self._turn:
            self._end_zygote()

    def request(self, arguments: list[str], limits: Limits) -> bytes:
        """Return what the zygote is to be told; JailError if the arguments are too long, or no text."""
        encode_arguments(arguments)
        request = {
            "layers": self._layers,
            "memory": limits.memory_mb << 20,
            "threads": self._threads(limits),
            "cpu_s": limits.cpu_s,
            "nice": limits.nice,
            "idle": limits.idle,
            "cpus": limits.cpus,
            "arguments": arguments,
        }
        packet = json.dumps(request).encode()
        if len(packet) > MOST_ARGUMENTS:
            raise JailError(f"arguments: {len(packet)} bytes, more than {MOST_ARGUMENTS}; send them as input")
        return packet

    async def send(self, packet: bytes, program: bytes, theirs: list[int], limits: Limits) -> None:
        """Hand `program` to the zygote, with the ends that `open_program` gave. Raises JailError.

        A zygote is nice as those were that it was started for; its programs may be nicer among themselves.
        """
        if len(program) > _LARGE:
            memfd = await asyncio.to_thread(_memory_file, program)
        else:
            memfd = _memory_file(program)
        try:
            async with self._turn:
                for _ in range(2):  # the first may be one that died, and was not seen to be dead
                    try:
                        await send_packet(self._running_zygote(limits), packet, [memfd, *theirs])
                        return
                    except (BrokenPipeError, ConnectionResetError):
                        self._end_zygote()
        finally:
            os.close(memfd)
        raise ZygoteLostError(f"the {self._kind} zygote ends as soon as it is started")

    def _running_zygote(self, limits: Limits) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self._end_zygote()
        if self._socket is None:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            nice = str(19 if limits.idle else limits.nice)
            with its:
                self._process = subprocess.Popen(
                    zygote_command(self._kind, str(its.fileno()), str(os.getpid()), nice, *self._rest),
                    env=zygote_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[its.fileno()],
                    cwd="/",
                    start_new_session=True,
                )
            ours.setblocking(False)
            self._socket = ours
        return self._socket

    def _end_zygote(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def open_program(kind: type[P], limits: Limits) -> Iterator[tuple[P, list[int]]]:
    """Yield a program, closed again if the body fails, and its own ends (stdin, stdout, stderr, control) for
    the body to hand over."""
    with ExitStack() as theirs:
        stdin, to_stdin = os.pipe2(os.O_CLOEXEC)
        from_stdout, stdout = os.pipe2(os.O_CLOEXEC)
        from_stderr, stderr = os.pipe2(os.O_CLOEXEC)
        for fd in (stdin, stdout, stderr):
            theirs.callback(os.close, fd)
        ours, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.enter_context(control)
        running = kind(to_stdin, from_stdout, from_stderr, ours, limits)
        try:
            yield running, [stdin, stdout, stderr, control.fileno()]
        except BaseException:
            running.close()
            raise


async def send_packet(sock: socket.socket, packet: bytes, fds: list[int]) -> None:
    """Send on a socket that does not block, with descriptors beside it. OSError if nobody reads there."""
    while True:
        try:
            socket.send_fds(sock, [packet], fds)
            return
        except BlockingIOError:
            await _writable(sock)


def encode_arguments(arguments: list[str]) -> bytes:
    """Return the arguments, each with a zero byte behind it. JailError if they are too long, or no text."""
    if any("\0" in argument for argument in arguments):
        raise JailError("arguments: a zero byte in one of them")
    if not all(_is_text(argument) for argument in arguments):
        raise JailError("arguments: half of a surrogate pair in one of them, which is no text")
    text = b"".join(argument.encode() + b"\0" for argument in arguments)
    if len(text) > MOST_ARGUMENTS:
        raise JailError(f"arguments: {len(text)} bytes, more than {MOST_ARGUMENTS}; send them as input")
    return text


def _memory_file(program: bytes) -> int:
    """Put `program` into a sealed file in memory. Nobody may read it by name: so the process that it becomes
    cannot be looked into, and leaves no core."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        memfd = os.memfd_create("program", flags | 0x10)  # MFD_EXEC, which older kernels do not know
    except OSError:
        memfd = os.memfd_create("program", flags)
    try:
        view = memoryview(program)
        while view:
            view = view[os.write(memfd, view) :]
        os.lseek(memfd, 0, os.SEEK_SET)
        os.fchmod(memfd, 0o111)
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except BaseException:
        os.close(memfd)
        raise
    return memfd


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock.fileno(), wake, future)
    try:
        await future
    finally:
        loop.remove_writer(sock.fileno())


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
