"""Runs programs in the jail, for the tests of this folder."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from seccomp import Exit, Limits, Program, Report, Runtime, probe, runtimes

LIMITS = Limits(memory_mb=64)


@dataclass(frozen=True)
class Outcome:
    stdout: bytes
    stderr: bytes
    exit: Exit


def compile_static(source: str, target: Path, *flags: str) -> bytes:
    """Compile C source; skips the test, with the reason, where that cannot be."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: cc is not there")
    source_file = target.with_suffix(".c")
    source_file.write_text(source)
    flags = flags or ("-static",)
    libraries = [flag for flag in flags if flag.startswith("-l")]
    options = [flag for flag in flags if flag not in libraries]
    command = ["cc", "-O1", "-w", *options, "-o", str(target), str(source_file), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target.read_bytes()


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may read; pytest's own are for one."""
    with tempfile.TemporaryDirectory(prefix="jail-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run_as_ordinary_user(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run outside of the jail; never as root, whose success could harm the machine."""
    user, groups = (65534, ()) if os.geteuid() == 0 else (None, None)
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        cwd="/",
        user=user,
        group=user,
        extra_groups=groups,
    )


_reports: dict[str, Report] = {}


def report_at(level: str) -> Report:
    """Probe once per level; skips the test where this machine does not reach it."""
    if level not in _reports:
        _reports[level] = probe(at_most=level)
    report = _reports[level]
    if report.level != level:
        pytest.skip(
            f"level {level} cannot be had here: {[layer for layer in report.layers if not layer.works]}"
        )
    return report


@asynccontextmanager
async def runtime_at(level: str, kind: str = "native") -> AsyncIterator[Runtime]:
    both = runtimes(report_at(level))
    runtime = next(one for one in both if one.tag.startswith(kind))
    try:
        yield runtime
    finally:
        for one in both:
            await one.close()


async def read_all(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    data = b""
    while piece := await read(1 << 16):
        data += piece
    return data


async def finish(program: Program, data: bytes = b"") -> Outcome:
    """Feed `data`, read everything, wait for the end."""

    async def feed() -> None:
        with suppress(BrokenPipeError):  # it may not want it all
            await program.write(data)
        await program.close_stdin()

    async with asyncio.timeout(60):
        _, stdout, stderr = await asyncio.gather(
            feed(), read_all(program.read_stdout), read_all(program.read_stderr)
        )
        outcome = Outcome(stdout, stderr, await program.wait())
    program.close()
    return outcome


async def run(
    runtime: Runtime, program: bytes, arguments: list[str], data: bytes = b"", limits: Limits = LIMITS
) -> Outcome:
    return await finish(await runtime.start(program, arguments, limits), data)


@contextmanager
def ready_node(script: str, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A node of its own that runs `script` and has said `ready`; killed at the end."""
    node = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert node.stdout is not None
        assert node.stdout.readline() == b"ready\n"
        yield node
    finally:
        node.kill()
        node.communicate()
