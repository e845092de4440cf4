"""How long until a jailed program runs, beside the same program without a jail.

`bare` is fork and exec of the same static executable (posix_spawn). Each round waits for the first
byte that the program writes, so that all measure the same.
"""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from seccomp import Limits, Program, Report, Runtime, probe, runtimes

SOURCE = '#include <unistd.h>\nint main(void) { write(1, "x", 1); return 0; }'
FUNCTION = b"import os\ndef f(data):\n    return b'x'\n"


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    (folder / "start.c").write_text(SOURCE)
    subprocess.run(["cc", "-O2", "-static", "-o", folder / "start", folder / "start.c"], check=True)
    return folder / "start"


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def report_at(level: str) -> Report:
    report = probe(level)
    if report.level != level:
        pytest.skip(f"level {level} cannot be had here: {report.layers}")
    return report


async def until_first_byte(runtime: Runtime, program: bytes, arguments: list[str]) -> Program:
    running = await runtime.start(program, arguments, Limits(memory_mb=64))
    await running.close_stdin()
    assert await running.read_stdout(1) == b"x"
    return running


async def until_end(running: Program) -> None:
    assert (await running.wait()).status == 0
    running.close()


def report(benchmark: BenchmarkFixture, figure: str) -> None:
    if benchmark.stats is not None:
        benchmark.extra_info["figures"] = {figure: [benchmark.stats.stats.median * 1000, "ms"]}


def measure(
    benchmark: BenchmarkFixture,
    figure: str,
    loop: asyncio.AbstractEventLoop,
    runtime: Runtime,
    program: bytes,
    *arguments: str,
) -> None:
    """Time the start alone; the end belongs to no round."""
    started: list[Program] = []

    def end() -> None:
        while started:
            loop.run_until_complete(until_end(started.pop()))

    def start() -> None:
        started.append(loop.run_until_complete(until_first_byte(runtime, program, list(arguments))))

    start()  # the zygote's own start belongs to none either
    benchmark.pedantic(start, setup=end, rounds=200)
    end()
    report(benchmark, figure)
    loop.run_until_complete(runtime.close())


def test_start_bare(benchmark: BenchmarkFixture, executable: Path) -> None:
    pids: list[int] = []

    def end() -> None:
        while pids:
            os.waitpid(pids.pop(), 0)

    def start() -> None:
        reader, writer = os.pipe()
        pids.append(os.posix_spawn(executable, ["x"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)]))
        os.close(writer)
        assert os.read(reader, 1) == b"x"
        os.close(reader)

    benchmark.pedantic(start, setup=end, rounds=200, warmup_rounds=5)
    end()
    report(benchmark, "bare start")


@pytest.mark.parametrize("level", ["A", "B"])
def test_start_native(
    benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, executable: Path, level: str
) -> None:
    native, _ = runtimes(report_at(level))
    measure(benchmark, f"native start, level {level}", loop, native, executable.read_bytes(), "x")


@pytest.mark.parametrize("level", ["A", "B"])
def test_start_python(benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, level: str) -> None:
    _, python = runtimes(report_at(level))
    measure(benchmark, f"python start, level {level}", loop, python, FUNCTION, "f", "bytes")
