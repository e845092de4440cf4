"""A running program: freeze, resume, quit, kill; floods, bombs and the death of its node."""

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from seccomp import Exit, InputClosedError, Limits, Program, Runtime, _jail, zygote
from tests.seccomp.processes import (
    alive,
    at_rest,
    descendants,
    named,
    state,
    ticks,
    until,
    until_async,
    zygotes,
)
from tests.seccomp.running import LIMITS, Outcome, compile_static, ready_node, report_at, run, runtime_at

SPIN = r"""
#include <stdio.h>
int main(void) {
    puts("up"); fflush(stdout);
    for (volatile unsigned long i = 0;; i++);
}"""

RESTLESS = r"""
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
static int self;
static void *go_on(void *unused) { for (;;) syscall(SYS_tgkill, self, self, SIGCONT); return unused; }
int main(void) {
    pthread_t thread;
    self = getpid();
    for (int i = 0; i < 7; i++) pthread_create(&thread, NULL, go_on, NULL);
    puts("up"); fflush(stdout);
    go_on(NULL);
}"""

SLEEP = r"""
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
static void leave(int number) { write(1, "bye\n", 4); _exit(3); }
int main(int count, char **values) {
    struct timespec a_moment = {0, 300000000}, left;
    int result;
    if (count > 1) signal(SIGQUIT, leave);
    puts("up"); fflush(stdout);
    for (;;) {
        result = nanosleep(&a_moment, &left);
        printf("slept %d\n", result); fflush(stdout);
    }
}"""


@pytest.fixture(scope="module")
def spin(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_static(SPIN, tmp_path_factory.mktemp("spin") / "spin")


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_static(RESTLESS, tmp_path_factory.mktemp("restless") / "restless")


@pytest.fixture(scope="module")
def sleep(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_static(SLEEP, tmp_path_factory.mktemp("sleep") / "sleep")


async def killed(program: Program) -> Exit:
    program.kill()
    end = await asyncio.wait_for(program.wait(), 30)
    program.close()
    return end


@pytest.mark.parametrize("level", ["A", "B"])
def test_a_frozen_program_uses_no_cpu_and_goes_on_after(spin: bytes, level: str) -> None:
    async def go() -> Exit:
        async with runtime_at(level) as runtime:
            program = await runtime.start(spin, ["spinner"], LIMITS)
            assert await program.read_stdout(10) == b"up\n"
            pid = named("spinner")
            await until_async(lambda: ticks(pid) > 2, "it computes")
            program.freeze()
            await until_async(lambda: state(pid) == "T", "it is stopped")
            before = ticks(pid)
            await asyncio.sleep(0.3)
            assert (ticks(pid), state(pid)) == (before, "T")
            program.resume()
            await until_async(lambda: ticks(pid) > before + 2, "it computes again")
            return await killed(program)

    end = asyncio.run(go())
    assert (end.signal, end.why) == (signal.SIGKILL, "killed by its keeper")
    assert end.cpu_us > 40_000


@pytest.mark.parametrize("level", ["A", "B"])
def test_a_program_that_continues_itself_stays_frozen(restless: bytes, level: str) -> None:
    """SIGCONT takes back a SIGSTOP that is under way, whoever sends it."""

    async def go() -> None:
        async with runtime_at(level) as runtime:
            program = await runtime.start(restless, ["restless"], LIMITS)
            assert await program.read_stdout(10) == b"up\n"
            pid = named("restless")
            await until_async(lambda: ticks(pid) > 2, "it runs")
            for _ in range(3):
                program.freeze()
                await until_async(lambda: state(pid) == "T", "it is stopped")
                before = ticks(pid)
                await asyncio.sleep(0.2)
                assert ticks(pid) == before
                program.resume()
                await until_async(lambda: state(pid) != "T", "it runs again")
            await killed(program)

    asyncio.run(go())


@pytest.mark.parametrize("level", ["A", "B"])
def test_a_sleeping_program_does_not_notice_a_freeze(sleep: bytes, level: str) -> None:
    async def go() -> None:
        async with runtime_at(level) as runtime:
            program = await runtime.start(sleep, ["sleeper"], LIMITS)
            assert await program.read_stdout(10) == b"up\n"
            pid = named("sleeper")
            for _ in range(3):
                await until_async(lambda: state(pid) == "S", "it sleeps")
                program.freeze()
                await until_async(lambda: state(pid) == "T", "it is stopped")
                program.resume()
                assert await program.read_stdout(100) == b"slept 0\n"
            await killed(program)

    asyncio.run(go())


@pytest.mark.parametrize("level", ["A", "B"])
def test_killed_while_frozen(spin: bytes, level: str) -> None:
    async def go() -> Exit:
        async with runtime_at(level) as runtime:
            program = await runtime.start(spin, ["spinner"], LIMITS)
            pid = named("spinner")
            program.freeze()
            await until_async(lambda: state(pid) == "T", "it is stopped")
            end = await killed(program)
            assert not alive(pid)
            return end

    assert asyncio.run(go()).why == "killed by its keeper"


@pytest.mark.parametrize("level", ["A", "B"])
def test_quit_reaches_a_handler_and_is_ignored_without(sleep: bytes, level: str) -> None:
    async def go() -> tuple[bytes, Exit, Exit]:
        async with runtime_at(level) as runtime:
            polite = await runtime.start(sleep, ["polite", "handler"], LIMITS)
            assert await polite.read_stdout(10) == b"up\n"
            polite.quit()
            end = await asyncio.wait_for(polite.wait(), 30)
            last = await polite.read_stdout(100)
            polite.close()

            deaf = await runtime.start(sleep, ["deaf"], LIMITS)
            assert await deaf.read_stdout(10) == b"up\n"
            deaf.quit()
            assert await deaf.read_stdout(10) == b"slept 0\n"
            return last, end, await killed(deaf)

    last, end, other = asyncio.run(go())
    assert (last, end.status) == (b"bye\n", 3)
    assert other.why == "killed by its keeper"


def test_commands_after_the_end_do_nothing(sleep: bytes) -> None:
    async def go() -> None:
        async with runtime_at("A") as runtime:
            program = await runtime.start(sleep, ["sleeper"], LIMITS)
            first = await killed(program)
            for command in (program.freeze, program.resume, program.quit, program.kill, program.close):
                command()
            assert await program.wait() == first
            assert await program.read_stdout(1) == b""
            with pytest.raises(InputClosedError):
                await program.write(b"x")

    asyncio.run(go())


def test_memory_stays_within_the_limit(tmp_path: Path) -> None:
    source = r"""
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    int main(int count, char **values) {
        long got = 0;
        for (;; got++) {
            char *piece = count == 1 ? malloc(1 << 20)
                : mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            if (piece == 0 || piece == MAP_FAILED || got > 500) break;
            memset(piece, 1, 1 << 20);
        }
        printf("%ld\n", got);
        return 0;
    }"""
    program = compile_static(source, tmp_path / "bomb")
    assert int(subprocess.run([tmp_path / "bomb"], capture_output=True, check=True).stdout) > 500

    async def go(*arguments: str) -> Outcome:
        async with runtime_at("A") as runtime:
            return await run(runtime, program, ["bomb", *arguments])

    outcome = asyncio.run(go())
    assert (outcome.stdout, outcome.exit.why) == (b"", "killed at its memory limit of 64 MiB")
    assert 40 << 10 < outcome.exit.memory_kb < 400 << 10  # it had until the keeper looked again
    assert int(asyncio.run(go("shared")).stdout) == 0


def test_endless_recursion_ends(tmp_path: Path) -> None:
    source = "int deep(int n) { volatile char a[1000]; a[n % 1000] = 1; return deep(n + 1) + a[5]; }"
    program = compile_static(source + "int main(void) { return deep(0); }", tmp_path / "deep")

    async def go() -> Outcome:
        async with runtime_at("A") as runtime:
            return await run(runtime, program, ["deep"])

    assert asyncio.run(go()).exit.why == "killed by SIGSEGV"


def test_a_flood_waits_until_it_is_read(tmp_path: Path) -> None:
    source = """
    #include <unistd.h>
    char a[4096];
    int main(void) { for (;;) { write(1, a, 4096); write(2, a, 1); } }"""
    program = compile_static(source, tmp_path / "flood")

    async def go() -> tuple[int, Exit]:
        async with runtime_at("A") as runtime:
            running = await runtime.start(program, ["flood"], LIMITS)
            pid = named("flood")
            await until_async(lambda: state(pid) == "S", "it waits")
            before = ticks(pid)
            await asyncio.sleep(0.2)
            assert (ticks(pid), state(pid)) == (before, "S")
            got = 0
            while got < 1_000_000:
                got += len(await running.read_stdout(100_000))
            return got, await killed(running)

    got, end = asyncio.run(go())
    assert got <= end.bytes_out <= got + 2 * 65_536


def test_input_that_is_never_read_waits_and_ends_with_the_program(spin: bytes) -> None:
    async def go() -> Exit:
        async with runtime_at("A") as runtime:
            program = await runtime.start(spin, ["spinner"], LIMITS)
            writing = asyncio.create_task(program.write(bytes(1 << 20)))
            done, _ = await asyncio.wait({writing}, timeout=0.2)
            assert not done
            program.kill()
            with pytest.raises(InputClosedError):
                await asyncio.wait_for(writing, 30)
            end = await asyncio.wait_for(program.wait(), 30)
            program.close()
            return end

    assert 0 < asyncio.run(go()).bytes_in <= 65_536


def test_closing_wakes_who_reads(sleep: bytes) -> None:
    async def go() -> None:
        async with runtime_at("A") as runtime:
            program = await runtime.start(sleep, ["sleeper"], LIMITS)
            reading = asyncio.create_task(program.read_stderr(10))
            await asyncio.sleep(0.05)
            pid = named("sleeper")
            program.close()
            assert await asyncio.wait_for(reading, 30) == b""
            await until_async(lambda: not alive(pid), "it is dead")

    asyncio.run(go())


def test_cancelled_starts_leave_nothing(sleep: bytes) -> None:
    async def go() -> None:
        async with runtime_at("A") as runtime:
            await killed(await runtime.start(sleep, ["first"], LIMITS))
            (mother,) = zygotes()
            before = set(os.listdir("/proc/self/fd"))
            for turns in range(20):
                starting = asyncio.create_task(runtime.start(sleep, ["never"], LIMITS))
                for _ in range(turns % 4 + 1):
                    await asyncio.sleep(0)
                starting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await starting
            await until_async(lambda: at_rest(mother), "all are gone")
            assert set(os.listdir("/proc/self/fd")) == before

    asyncio.run(go())


def test_a_hundred_starts_leave_neither_process_nor_descriptor(sleep: bytes) -> None:
    async def one(runtime: Runtime, number: int) -> None:
        program = await runtime.start(sleep, [f"one-{number}"], LIMITS)
        assert await program.read_stdout(3) == b"up\n"
        await killed(program)

    async def go() -> None:
        async with runtime_at("A") as runtime:
            await one(runtime, 0)
            (mother,) = zygotes()
            ours, its = set(os.listdir("/proc/self/fd")), descriptors(mother)
            for start in range(0, 100, 25):  # some at once
                await asyncio.gather(*(one(runtime, start + n) for n in range(25)))
            await until_async(lambda: at_rest(mother), "all keepers are gone")
            assert set(os.listdir("/proc/self/fd")) == ours
            assert descriptors(mother) == its
        assert not descendants(os.getpid())

    asyncio.run(go())


def descriptors(pid: int) -> set[str]:
    try:
        return set(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return set()  # nobody but root may look into it


def test_a_zygote_that_died_is_started_again(sleep: bytes) -> None:
    async def go() -> None:
        async with runtime_at("A") as runtime:
            program = await runtime.start(sleep, ["sleeper"], LIMITS)
            pid = named("sleeper")
            (mother,) = zygotes()
            os.kill(mother, signal.SIGKILL)
            end = await asyncio.wait_for(program.wait(), 30)
            assert end.why == "its keeper was lost"
            program.close()
            await until_async(lambda: not alive(pid), "its program died with it")
            await killed(await runtime.start(sleep, ["sleeper"], LIMITS))

            (mother,) = zygotes()
            os.kill(mother, signal.SIGSTOP)
            starting = asyncio.create_task(runtime.start(sleep, ["sleeper"], LIMITS))
            await asyncio.sleep(0.05)  # the request lies in its socket
            os.kill(mother, signal.SIGKILL)
            await killed(await asyncio.wait_for(starting, 30))

    asyncio.run(go())


NODE = """
import asyncio, sys
from seccomp import Limits, probe, runtimes

async def main():
    native, python, _ = runtimes(probe(sys.argv[2]))
    program = open(sys.argv[1], "rb").read()
    for name in ("frozen", "running"):
        running = await native.start(program, [name], Limits(64))
        if name == "frozen":
            running.freeze()
        globals()[name] = running
    function = await python.start(b"def f(data):\\n  while True: pass", ["f", "bytes"], Limits(64))
    await function.close_stdin()
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("level", ["A", "B"])
def test_nothing_outlives_a_killed_node(spin: bytes, tmp_path: Path, level: str) -> None:
    report_at(level)
    (tmp_path / "spin").write_bytes(spin)
    with ready_node(NODE, str(tmp_path / "spin"), level) as node:
        family = descendants(node.pid)
        assert len(family) == 10, "two zygotes, three keepers and two that wait, three programs"
        until(lambda: any(state(pid) == "T" for pid in family), "one is frozen")
    until(lambda: not any(alive(pid) for pid in family), "all are dead")


def test_ctrl_c_in_the_nodes_terminal_reaches_the_node_alone(sleep: bytes) -> None:
    async def go() -> None:
        async with runtime_at("A") as runtime:
            program = await runtime.start(sleep, ["sleeper"], LIMITS)
            for pid in descendants(os.getpid()):
                assert os.getsid(pid) != os.getsid(0)
                assert os.getpgid(pid) != os.getpgid(0)
            await killed(program)

    asyncio.run(go())


@pytest.mark.parametrize(("limits", "nice"), [(Limits(64, nice=7), 7), (Limits(64, idle=True), 19)])
def test_its_session_is_as_nice_as_it_is(sleep: bytes, limits: Limits, nice: int) -> None:
    """Or its niceness would count for nothing, where the kernel shares CPUs among sessions."""
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this kernel does not group tasks by sessions")
    least = min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice)

    async def go() -> None:
        async with runtime_at("B") as runtime:
            program = await runtime.start(sleep, ["sleeper"], limits)
            group = Path(f"/proc/{named('sleeper')}/autogroup").read_text()  # noqa: ASYNC240
            assert group != Path("/proc/self/autogroup").read_text()  # noqa: ASYNC240
            assert group.split()[1:] == ["nice", str(least)]
            await killed(program)

    asyncio.run(go())


def test_no_room_for_a_process_is_forgotten_when_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[OSError | None] = [BlockingIOError(), None, BlockingIOError(), BlockingIOError()]

    def fork() -> int:
        if error := tries.pop(0):
            raise error
        return 7

    monkeypatch.setattr(_jail, "fork", fork)
    requests, node = socket.socketpair()
    with requests, node:
        node.send(b"x")
        assert zygote._fork(requests) == 7
        with pytest.raises(BlockingIOError):
            zygote._fork(requests)


def test_limits_reach_the_program(spin: bytes) -> None:
    async def go() -> None:
        async with runtime_at("A") as runtime:
            program = await runtime.start(spin, ["spinner"], Limits(64, nice=7, cpus=(0,)))
            pid = named("spinner")
            assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + 7
            assert os.sched_getaffinity(pid) == {0}
            limits = Path(f"/proc/{pid}/limits").read_text()  # noqa: ASYNC240
            assert f"Max data size             {(64 + 63 * 8) << 20}" in limits
            assert f"Max address space         {(64 + 63 * 8 + 8192) << 20}" in limits
            await killed(program)

    asyncio.run(go())
