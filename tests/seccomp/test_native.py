"""Static executables: they run, and what is none is refused in one clear line."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from seccomp import InputClosedError, JailError, Limits, NativeRuntime
from seccomp.native import find_fault
from tests.seccomp.running import Outcome, compile_static, report_at, run, runtime_at

ECHO = r"""
#include <stdio.h>
#include <stdlib.h>
extern char **environ;
int main(int count, char **values) {
    int c, variables = 0;
    while (environ && environ[variables]) variables++;
    fprintf(stderr, "%d arguments, second %s, %d variables\n", count, values[1], variables);
    while ((c = getchar()) != EOF) putchar(c);
    return 7;
}"""

COMPUTE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <math.h>
static int order(const void *a, const void *b) { return *(int *)a - *(int *)b; }
int main(void) {
    long count = 300000; int *values = malloc(count * sizeof *values);
    struct timespec now;
    for (long i = 0; i < count; i++) values[i] = (i * 7919) % 300007;
    qsort(values, count, sizeof *values, order);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    printf("%d %d %.3f\n", values[0], values[count - 1], sqrt(2.0));
    return time(NULL) < 1000000 || clock() < 0;
}"""


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_static(ECHO, tmp_path_factory.mktemp("echo") / "echo")


@pytest.mark.parametrize("level", ["A", "B"])
def test_streams_arguments_and_status_arrive(echo: bytes, level: str) -> None:
    data = os.urandom(300_000)

    async def go() -> Outcome:
        async with runtime_at(level) as runtime:
            return await run(runtime, echo, ["echo", "wörd"], data)

    outcome = asyncio.run(go())
    assert outcome.stdout == data
    assert outcome.stderr == "2 arguments, second wörd, 0 variables\n".encode()
    assert (outcome.exit.status, outcome.exit.signal, outcome.exit.why) == (7, None, "exited with 7")
    assert outcome.exit.bytes_in == len(data)
    assert outcome.exit.bytes_out == len(data) + len(outcome.stderr)
    assert outcome.exit.memory_kb > 0


@pytest.mark.parametrize("level", ["A", "B"])
def test_an_ordinary_computation_runs(tmp_path: Path, level: str) -> None:
    program = compile_static(COMPUTE, tmp_path / "compute", "-static", "-lm")

    async def go() -> Outcome:
        async with runtime_at(level) as runtime:
            return await run(runtime, program, ["compute"])

    outcome = asyncio.run(go())
    assert (outcome.stdout, outcome.exit.status) == (b"0 300006 1.414\n", 0), outcome
    assert outcome.exit.cpu_us > 0


def test_cpp_runs(tmp_path: Path) -> None:
    source = r"""
    #include <iostream>
    #include <stdexcept>
    #include <vector>
    int main() {
        std::vector<int> values; int value;
        while (std::cin >> value) values.push_back(value);
        try { values.at(99); } catch (std::out_of_range &) { std::cout << values.size() << std::endl; }
    }"""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler: g++ is not there")
    program = compile_static(source, tmp_path / "cpp", "-static", "-xc++", "-lstdc++")

    async def go() -> Outcome:
        async with runtime_at("A") as runtime:
            return await run(runtime, program, ["cpp"], b"1 2 3")

    outcome = asyncio.run(go())
    assert (outcome.stdout, outcome.exit.status) == (b"3\n", 0), outcome


def test_abort_is_seen(tmp_path: Path) -> None:
    program = compile_static("#include <stdlib.h>\nint main(void) { abort(); }", tmp_path / "abort")

    async def go() -> Outcome:
        async with runtime_at("B") as runtime:
            return await run(runtime, program, ["abort"])

    assert asyncio.run(go()).exit.why == "killed by SIGABRT"


def test_what_is_no_static_executable_is_refused(echo: bytes, tmp_path: Path) -> None:
    dynamic = compile_static(ECHO, tmp_path / "dynamic", "-O1")
    assert "names the interpreter /lib" in find_fault(dynamic) and "-static" in find_fault(dynamic)
    assert "begins with b'#!/b'" in find_fault(b"#!/bin/sh\n" + bytes(100))
    assert "0 bytes long" in find_fault(b"")
    assert "cut off" in find_fault(echo[:70])
    assert "cut off" in find_fault(echo[: len(echo) // 2])
    assert "another machine" in find_fault(echo[:18] + b"\xb7" + echo[19:])
    assert "object" in find_fault(echo[:16] + b"\x01" + echo[17:])
    assert find_fault(echo) == ""
    for cut in range(0, 400, 7):
        assert find_fault(echo[:cut]), f"{cut} bytes of an executable are none"

    async def go() -> None:
        runtime = NativeRuntime(report_at("A"))
        with pytest.raises(JailError, match=r"^not a static x86_64 ELF executable: .*link with -static$"):
            await runtime.start(dynamic, ["x"], Limits(64))
        await runtime.close()

    asyncio.run(go())


def test_a_damaged_executable_fails_at_exec_and_the_next_one_runs(echo: bytes) -> None:
    """It looks like one, but its only segments to load are gone: the kernel refuses or kills it."""
    damaged = bytearray(echo)
    damaged[24:32] = b"\xff" * 8  # the entry point

    async def go() -> None:
        async with runtime_at("A") as runtime:
            outcome = await run(runtime, bytes(damaged), ["x"])
            assert outcome.exit.signal is not None
            assert (await run(runtime, echo, ["x", "y"])).exit.status == 7

    asyncio.run(go())


def test_too_little_memory_to_start_is_an_end_and_not_a_hang(tmp_path: Path) -> None:
    async def go() -> str:
        async with runtime_at("A") as runtime:
            try:
                return (await run(runtime, program, ["x"], limits=Limits(1, threads=1))).exit.why
            except JailError as error:
                return str(error)

    program = compile_static(
        "volatile char data[8 << 20] = {1}; int main() { return data[9]; }", tmp_path / "large"
    )
    why = asyncio.run(go())
    assert "exec" in why or "SIG" in why, why


def test_arguments_are_bounded_and_whole(echo: bytes) -> None:
    async def go() -> None:
        async with runtime_at("A") as runtime:
            with pytest.raises(JailError, match=r"arguments: .* bytes, more than"):
                await runtime.start(echo, ["x" * 70_000], Limits(64))
            with pytest.raises(JailError, match="zero byte"):
                await runtime.start(echo, ["a\0b"], Limits(64))
            with pytest.raises(JailError, match="surrogate"):
                await runtime.start(echo, ["a\ud800"], Limits(64))

    asyncio.run(go())


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="memory_mb is 0"):
        Limits(0)
    with pytest.raises(ValueError, match="nice is -1"):
        Limits(1, nice=-1)
    with pytest.raises(ValueError, match="cpus"):
        Limits(1, cpus=(1 << 20,))


def test_a_cpu_that_is_not_there_fails_the_start(echo: bytes) -> None:
    async def go() -> None:
        async with runtime_at("A") as runtime:
            with pytest.raises(JailError, match="limits"):
                await runtime.start(echo, ["x"], Limits(64, cpus=(1023,)))
            outcome = await run(runtime, echo, ["x", "y"], limits=Limits(64, nice=5, cpus=(0,)))
            assert outcome.exit.status == 7

    asyncio.run(go())


def test_writing_to_a_program_that_closed_its_input(tmp_path: Path) -> None:
    source = '#include <unistd.h>\nint main(void) { close(0); write(1, "c", 1); sleep(60); }'
    program = compile_static(source, tmp_path / "closes")

    async def go() -> None:
        async with runtime_at("A") as runtime:
            running = await runtime.start(program, ["x"], Limits(64))
            assert await running.read_stdout(1) == b"c"
            with pytest.raises(InputClosedError):
                await running.write(bytes(1 << 20))
            with pytest.raises(InputClosedError):
                await running.write(b"again")
            running.kill()
            assert (await running.wait()).why == "killed by its keeper"
            running.close()

    asyncio.run(go())


def test_no_core_and_no_look_inside(tmp_path: Path) -> None:
    """Its files under /proc belong to root: another process of its user can neither trace nor read it."""
    source = '#include <unistd.h>\nint main(void) { write(1, "up\\n", 3); sleep(60); }'
    program = compile_static(source, tmp_path / "sleeps")

    async def go() -> None:
        async with runtime_at("A") as runtime:
            before = _processes()
            running = await runtime.start(program, ["sleeps-in-jail"], Limits(64))
            assert await running.read_stdout(10) == b"up\n"
            mine = [pid for pid in _processes() - before if _cmdline(pid) == b"sleeps-in-jail\0"]
            assert len(mine) == 1
            assert os.stat(f"/proc/{mine[0]}/mem").st_uid == 0
            assert _core_limit(mine[0]) == ["1", "1"]  # not even to a program of the machine's
            running.kill()
            await running.wait()
            running.close()

    asyncio.run(go())


def _core_limit(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max core")).split()[4:6]


def _processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
