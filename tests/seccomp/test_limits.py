"""Time, memory and threads of a program end where its limits say, and its end says which it was."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from seccomp import Limits
from tests.seccomp.processes import descendants, named, start_time, stat, state, until_async
from tests.seccomp.running import Outcome, compile_static, finish, read_all, run, runtime_at

THREADS = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t full = PTHREAD_COND_INITIALIZER;
static int running, wanted;
static void *work(void *nothing) {
    free(malloc(100000));
    pthread_mutex_lock(&lock);
    running++;
    pthread_cond_broadcast(&full);
    while (running < wanted) pthread_cond_wait(&full, &lock);
    pthread_mutex_unlock(&lock);
    return nothing;
}
int main(int count, char **values) {
    pthread_t threads[2000];
    int made = 0;
    wanted = atoi(values[1]);
    while (made < wanted && pthread_create(&threads[made], 0, work, 0) == 0) made++;
    if (made > 9 && wanted == 2000) sleep(10);
    pthread_mutex_lock(&lock);
    wanted = made;
    pthread_cond_broadcast(&full);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < made; i++) pthread_join(threads[i], 0);
    printf("%d\n", made);
    return 0;
}"""

HOG = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <sys/syscall.h>
enum { PIECE = 4 << 20 };
static void *take(void *how) {
    for (long got = 0; got < 2000; got++) {
        int shown = !strcmp(how, "zeros") ? PROT_READ : PROT_READ | PROT_WRITE;
        char *piece = mmap(0, PIECE, shown, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) { dprintf(1, "%ld\n", got); _exit(3); }
        if (!strcmp(how, "zeros")) {
            madvise(piece, PIECE, MADV_NOHUGEPAGE);
            for (long at = 0; at < PIECE; at += 4096) *(volatile char *)(piece + at);
            continue;
        }
        memset(piece, 1, PIECE);
        if (strcmp(how, "plain")) mprotect(piece, PIECE, PROT_READ);
    }
    dprintf(1, "all\n");
    _exit(4);
}
int main(int count, char **values) {
    pthread_t other;
    if (strcmp(values[1], "without_first")) take(values[1]);
    pthread_create(&other, 0, take, values[1]);
    syscall(SYS_exit, 0);
}"""
SPIN = "int main(void) { for (;;); }"
PATIENT = r"""
#include <signal.h>
#include <unistd.h>
static void quit(int number) { write(1, "quit\n", 5); }
int main(void) { signal(SIGQUIT, quit); write(1, "ready\n", 6); for (;;) pause(); }"""


def run_at(level: str, program: bytes, arguments: list[str], limits: Limits) -> Outcome:
    async def go() -> Outcome:
        async with runtime_at(level) as runtime:
            return await run(runtime, program, arguments, limits=limits)

    return asyncio.run(go())


@pytest.mark.parametrize("level", ["A", "B"])
def test_threads_run_and_are_bounded(tmp_path: Path, level: str) -> None:
    program = compile_static(THREADS, tmp_path / "threads", "-static", "-pthread")
    assert run_at(level, program, ["x", "20"], Limits(64)).stdout == b"20\n"
    assert run_at(level, program, ["x", "1"], Limits(64, threads=1)).stdout == b"0\n"
    outcome = run_at(level, program, ["x", "2000"], Limits(64, threads=10))
    if level == "B" and not outcome.stdout:  # more can be had until the keeper looks
        assert outcome.exit.why == "killed at its limit of 10 threads"
    else:
        assert outcome.stdout == b"9\n"


@pytest.mark.parametrize("level", ["A", "B"])
def test_threads_that_outlive_the_first_die_with_their_keeper(tmp_path: Path, level: str) -> None:
    source = r"""
    #include <pthread.h>
    #include <unistd.h>
    #include <sys/syscall.h>
    static void *stay(void *nothing) {
        usleep(50000); write(1, "here\n", 5);
        for (;;) pause();
    }
    int main(void) { pthread_t other; pthread_create(&other, 0, stay, 0); syscall(SYS_exit, 0); }"""
    program = compile_static(source, tmp_path / "outlives", "-static", "-pthread")

    async def go() -> None:
        async with runtime_at(level) as runtime:
            running = await runtime.start(program, ["outlives"], Limits(64))
            pid = max(descendants(os.getpid()), key=start_time)
            assert await running.read_stdout(10) == b"here\n"
            assert state(pid) == "Z" and len(_threads(pid)) == 2
            os.kill(int(stat(pid)[1]), signal.SIGKILL)
            await until_async(lambda: len(_threads(pid)) < 2, "the end of its threads")
            assert (await running.wait()).why == "its keeper was lost"
            running.close()

    asyncio.run(go())


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("how", ["plain", "read_only", "without_first", "zeros"])
def test_memory_is_what_is_in_memory(tmp_path: Path, how: str) -> None:
    """Whatever was made of it after it was written to, whoever did it; page tables too."""
    program = compile_static(HOG, tmp_path / "hog", "-static", "-pthread")
    outcome = run_at("A", program, ["hog", how], Limits(4))
    assert (outcome.stdout, outcome.exit.why) == (b"", "killed at its memory limit of 4 MiB")
    assert outcome.exit.memory_kb < 500 << 10 and outcome.exit.cpu_us > 0


def test_cpu_time_ends(tmp_path: Path) -> None:
    outcome = run_at("A", compile_static(SPIN, tmp_path / "spin"), ["x"], Limits(64, cpu_s=1))
    assert outcome.exit.why == "killed at its CPU limit of 1 s"
    assert 900_000 < outcome.exit.cpu_us < 3_000_000


def test_wall_time_ends_with_a_warning_before(tmp_path: Path) -> None:
    program = compile_static(PATIENT, tmp_path / "patient")
    outcome = run_at("A", program, ["x"], Limits(64, wall_s=2, warn_s=0.5))
    assert outcome.stdout == b"ready\nquit\n"
    assert outcome.exit.why == "killed at its wall limit of 2 s"
    assert outcome.exit.memory_kb > 0


def test_frozen_time_does_not_count(tmp_path: Path) -> None:
    program = compile_static(PATIENT, tmp_path / "patient")

    async def go() -> None:
        async with runtime_at("A") as runtime:
            running = await runtime.start(program, ["x"], Limits(64, wall_s=2, warn_s=0.5))
            assert await running.read_stdout(10) == b"ready\n"
            running.freeze()
            await asyncio.sleep(2)
            running.freeze()
            running.resume()
            running.resume()
            assert await running.read_stdout(10) == b"quit\n"
            assert (await running.wait()).why == "killed at its wall limit of 2 s"
            running.close()

            running = await runtime.start(program, ["x"], Limits(64, wall_s=30))
            running.kill()
            outcome = await finish(running)
            assert outcome.exit.why == "killed by its keeper"

    began = time.monotonic()
    asyncio.run(go())
    assert time.monotonic() - began >= 4


def test_idle_runs_only_where_nobody_else_wants_to(tmp_path: Path) -> None:
    program = compile_static(PATIENT, tmp_path / "patient")

    async def go() -> None:
        async with runtime_at("A") as runtime:
            running = await runtime.start(program, ["idler"], Limits(64, idle=True))
            assert os.sched_getscheduler(named("idler")) == os.SCHED_IDLE
            running.kill()
            assert await read_all(running.read_stdout) in (b"", b"ready\n")
            running.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"wall_s": 0}, "wall_s is 0"),
        ({"wall_s": float("nan")}, "wall_s is nan"),
        ({"warn_s": 1}, "warn_s is 1: there is no wall_s"),
        ({"cpu_s": 0}, "cpu_s is 0"),
    ],
)
def test_limits_that_make_no_sense(values: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        Limits(64, **values)
