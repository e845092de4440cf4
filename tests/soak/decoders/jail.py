"""What a stranger gives to the jail: executables, arguments; and what a keeper reports of his program."""

import asyncio
import os
import random
import socket
import struct

from seccomp import Exit, JailError, Limits, Program, PythonRuntime, Report, _jail
from seccomp.launcher import Launcher
from seccomp.layers import Layer
from seccomp.native import find_fault
from tests.seccomp.hostile import executables
from tests.soak.decoders import Target, assert_line, loop

ALL = Report(tuple(Layer(name, True, "") for name in ("user", "namespaces", "landlock", "seccomp")), "A")
REPORT = struct.Struct("=iiiiqq")
MOST_PACKET = 64 * 1024


def check_executable(data: bytes) -> None:
    """It is refused in one line, or what the kernel will read of it lies in the file."""
    fault = find_fault(data)
    if fault:
        assert_line(fault)
        assert fault.isprintable()
    else:
        table, count = int.from_bytes(data[32:40], "little"), int.from_bytes(data[56:58], "little")
        assert data[:4] == b"\x7fELF" and count > 0
        assert table + count * executables.SEGMENT <= len(data)


def check_arguments(data: bytes) -> None:
    """Texts, cut at every zero byte: they are sent as they are, or refused in one line."""
    texts = [text.decode("utf-8", "surrogateescape") for text in data.split(b"\xff")]
    try:
        packet = Launcher("native", ALL).request(texts, Limits(64))
    except JailError as error:
        assert_line(str(error))
    else:
        assert len(packet) <= MOST_PACKET
        assert not any("\0" in text or "\udcff" >= letter >= "\udc80" for text in texts for letter in text)
    if not (len(texts) == 2 and texts[0].isidentifier() and texts[1] in ("bytes", "json")):
        try:
            loop().run_until_complete(PythonRuntime(ALL).start(b"", texts, Limits(64)))
        except JailError as error:
            assert_line(str(error))
        else:
            raise AssertionError("a Python function was started with these")


def check_reports(data: bytes) -> None:
    """A keeper's reports, and commands that cross them, in an order of the bytes: it ends rightly."""
    loop().run_until_complete(_reports(data))


async def _reports(data: bytes) -> None:
    dice = random.Random(data)
    pipes = [os.pipe() for _ in range(3)]
    ours, keepers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = Program(
        pipes[0][1], pipes[1][0], pipes[2][0], ours, Limits(16, wall_s=dice.choice((None, 60.0)))
    )
    ended: tuple[int, int, int, int] | None = None
    failed = killed = False
    for letter in data[:40]:
        if letter % 8 == 0 and ended is None and not failed:
            keepers.send(REPORT.pack(ord("S"), 0, 0, 0, 0, 0))
        elif letter % 8 == 1 and ended is None and not failed:
            value = dice.choice((dice.randrange(256) << 8, dice.randrange(1, 65)))
            ended = value, dice.randrange(4), dice.randrange(1 << 40), dice.randrange(1 << 30)
            keepers.send(REPORT.pack(ord("E"), 0, value, ended[1], ended[2], ended[3]))
        elif letter % 8 == 2 and ended is None and not failed:
            failed = True
            keepers.send(
                REPORT.pack(ord("F"), dice.randrange(1, len(_jail.STEPS)), dice.randrange(1, 133), 0, 0, 0)
            )
        elif letter % 8 == 3:
            await asyncio.sleep(0)
        else:
            (program.freeze, program.resume, program.quit, program.kill)[letter % 4]()
            killed = killed or letter % 4 == 3
    keepers.close()
    async with asyncio.timeout(30):
        end = await program.wait()
    program.close()
    for fd in (pipes[0][0], pipes[1][1], pipes[2][1]):
        os.close(fd)
    _check_end(end, ended, failed, killed)


def _check_end(end: Exit, ended: tuple[int, int, int, int] | None, failed: bool, killed: bool) -> None:
    assert_line(end.why)
    if ended is None:
        assert (end.status, end.signal, end.cpu_us) == (None, None, 0)
        if failed:
            assert end.why == "never started"
        else:
            assert end.why == ("killed by its keeper" if killed else "its keeper was lost")
        return
    code = os.waitstatus_to_exitcode(ended[0])
    assert (end.status, end.signal) == ((code, None) if code >= 0 else (None, -code))
    assert (end.cpu_us, end.memory_kb) == ended[2:]


TARGETS = [
    Target(
        "executable",
        lambda: check_executable,
        lambda: [deed.program for deed in executables.deeds() if len(deed.program) < 5000],
        100,
        json=False,
    ),
    Target(
        "arguments",
        lambda: check_arguments,
        lambda: [b"f\xffbytes", b"x", b"", b"a\xff\xc3\xa9\xff\x00"],
        40,
        json=False,
    ),
    Target(
        "reports",
        lambda: check_reports,
        lambda: [bytes(range(40)), b"\x00\x01", b"\x00\x07\x01", b"\x02"],
        10,
        json=False,
    ),
]
