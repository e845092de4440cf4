"""Every system call of three ways into the kernel, one by one: what is not named here kills, whoever asks.

The names here are written down apart from the filter's own table. Thousands are made under the filter alone,
by `every_call.c`, which takes it from the same file as the jail; a sample of them in the real jail.
"""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import seccomp
from seccomp import Limits, Runtime
from tests.seccomp.running import Outcome, compile_static, open_folder, run, runtime_at

LAST = 512
NATIVE, PYTHON, WASM, ALONE, TEMPLATE = 1, 2, 4, 8, 20  # as _filter.h numbers them
# number, name, who may ask: native (N), python (P), wasm and its templates (W), these alone (T), native alone
# in its namespace (A); then what comes of it with arguments of zeros, and of ones. "answer" is a number that
# is no error.
ANSWERED = """
    0 read NPW answer EBADF
    1 write NPW EBADF EBADF
    2 open NPW EACCES EACCES
    3 close NPW answer EBADF
    4 stat NPW EACCES EACCES
    5 fstat NPW EFAULT EBADF
    6 lstat NPW EACCES EACCES
    7 poll NPW answer EINVAL
    8 lseek NPW answer EBADF
    9 mmap NPW EPERM EPERM
    10 mprotect NPW answer EPERM
    11 munmap NPW EINVAL EINVAL
    12 brk NPW answer answer
    13 rt_sigaction NPW EINVAL EINVAL
    14 rt_sigprocmask NPW EINVAL EINVAL
    19 readv NPW answer EBADF
    20 writev NPW EBADF EBADF
    21 access NPW EACCES EACCES
    24 sched_yield NPW answer answer
    25 mremap NPW EINVAL EINVAL
    28 madvise NPW answer EINVAL
    35 nanosleep NPW EFAULT EFAULT
    39 getpid NPW answer answer
    40 sendfile N ENOSYS ENOSYS
    63 uname N EPERM EPERM
    72 fcntl NPW EINVAL EINVAL
    79 getcwd NPW EACCES EACCES
    89 readlink NPW EACCES EACCES
    96 gettimeofday NPW answer EFAULT
    97 getrlimit N EFAULT EINVAL
    98 getrusage NPW EFAULT EFAULT
    99 sysinfo NPW EFAULT EFAULT
    128 rt_sigtimedwait N EINVAL EINVAL
    130 rt_sigsuspend N EINVAL EINVAL
    131 sigaltstack NPW answer EFAULT
    158 arch_prctl N EINVAL EINVAL
    186 gettid NPW answer answer
    200 tkill A EINVAL EINVAL
    201 time NPW answer EFAULT
    202 futex NPW EFAULT ENOSYS
    204 sched_getaffinity NPW EINVAL ENOSYS
    218 set_tid_address N answer answer
    228 clock_gettime NPW EFAULT EINVAL
    229 clock_getres NPW answer EINVAL
    230 clock_nanosleep NPW EFAULT EFAULT
    232 epoll_wait N EINVAL EBADF
    233 epoll_ctl N EFAULT EFAULT
    234 tgkill T EPERM EPERM
    237 mbind NP EPERM EPERM
    257 openat NPW EACCES EACCES
    262 newfstatat NPW EACCES EACCES
    267 readlinkat NPW EACCES EACCES
    273 set_robust_list N EINVAL EINVAL
    275 splice N ENOSYS ENOSYS
    281 epoll_pwait N EINVAL EINVAL
    290 eventfd2 N answer SIGSYS
    291 epoll_create1 N answer EINVAL
    293 pipe2 N EFAULT SIGSYS
    302 prlimit64 NPW answer SIGSYS
    318 getrandom NPW answer EINVAL
    324 membarrier N ENOSYS ENOSYS
    326 copy_file_range N ENOSYS ENOSYS
    332 statx NPW ENOSYS ENOSYS
    334 rseq N ENOSYS ENOSYS
    435 clone3 NPW ENOSYS ENOSYS
    439 faccessat2 NPW EACCES EACCES
"""
# What comes of these is no answer, and why that is well.
EXCEPTIONS = """
    15 rt_sigreturn NPW SIGSEGV SIGSEGV: allowed, and without a signal's frame the program crashes
    23 select NPW SIGALRM EFAULT: allowed, and of nothing it waits for ever
    34 pause N SIGALRM SIGALRM: allowed, and waits for a signal
    60 exit NPW exit-0 exit-255: allowed, ends the thread that asks
    219 restart_syscall NPW EINTR EINTR: the kernel's own, after a freeze; here is nothing to restart
    231 exit_group NPW exit-0 exit-255: allowed, ends the program
    270 pselect6 NPW SIGALRM EFAULT: as select
    271 ppoll NPW SIGALRM EFAULT: as select
"""
# Newer kernels show these to no filter; outside of a probe's own trampoline they do nothing, or kill.
UNFILTERED = {335: "uretprobe", 336: "uprobe"}
UNFILTERED_OUTCOMES = {"SIGSYS", "SIGILL", "SIGTRAP", "SIGSEGV", "ENXIO", "ENOSYS"}
LETTERS = {"N": NATIVE, "P": PYTHON, "W": WASM, "T": TEMPLATE, "A": NATIVE | ALONE}

# Where the arguments decide: number and arguments, what a native program gets for it, what it is.
CHOSEN = """
    56 17: SIGSYS: clone as fork does
    56 0x4111: SIGSYS: clone as vfork does
    56 0x50f11: SIGSYS: a thread whose end sends a signal
    56 0x10f00: SIGSYS: a thread with semaphores of its own
    56 0x10050f00: SIGSYS: a thread in another user namespace
    56 0x52f00: SIGSYS: a thread that is traced
    56 0x51f00: SIGSYS: a thread with a descriptor for it
    56 0x850f00: SIGSYS: a thread that may not be traced
    56 0x80050f00: SIGSYS: a thread with the same input and output context
    56 0x100050f00: SIGSYS: a thread with a flag that clone does not look at
    9 0 4096 3 0x22 -1 0: answer: memory of its own
    9 0 4096 7 0x22 -1 0: answer: and machine code in it
    9 0 4096 3 0x20022 -1 0: answer: for a stack
    9 0 4096 3 0x62 -1 0: answer: where short pointers reach
    9 0 4096 3 0x21 -1 0: EPERM: memory that is shared
    9 0 4096 3 0x23 -1 0: EPERM: likewise, with flags checked
    9 0 4096 3 0x28 -1 0: EPERM: memory that is dropped when others need it
    9 0 4096 3 0x2 0 0: EPERM: a file
    9 0 4096 3 0x122 -1 0: EPERM: memory that grows downwards
    9 0 4096 3 0x2022 -1 0: EPERM: locked
    9 0 4096 3 0x40022 -1 0: EPERM: of huge pages
    9 0 4096 3 0x100000022 -1 0: EPERM: a flag that nobody knows
    10 0 0 7: answer: mprotect
    10 0 0 0x1000003: EPERM: mprotect downwards
    10 0 0 0x100000003: EPERM: mprotect, more than 32 bits
    25 0 4096 4096 1: EFAULT: mremap that moves, what is not there
    25 0 4096 4096 5: EINVAL: mremap that leaves the old
    28 0 0 0: answer: madvise
    28 0 0 4: answer: not needed
    28 0 0 8: answer: free
    28 0 0 14: answer: huge pages
    28 0 0 15: answer: no huge pages
    28 0 0 9: EINVAL: remove
    28 0 0 12: EINVAL: mergeable, which tells of what others have
    28 0 0 20: EINVAL: cold
    28 0 0 21: EINVAL: page out
    28 0 0 100: EINVAL: poison
    202 0 0x80 0: EFAULT: futex wait
    202 0 0x81 0: answer: wake
    202 0 0x189 0 0 0 -1: EFAULT: wait for a bit by the clock on the wall
    202 0 0x83 0: answer: requeue
    202 0 0x84 0: EFAULT: requeue if
    202 0 0x85 0: EFAULT: wake and operate
    202 0 2 0: ENOSYS: a descriptor for a futex, as of old
    202 0 6 0: ENOSYS: lock with priority
    202 0 0x8b 0: ENOSYS: wait, and requeue to one with priority
    72 0 1: answer: flags of a descriptor
    72 0 3: answer: flags of a file
    72 0 0: EINVAL: a copy of a descriptor
    72 0 1030: EINVAL: likewise, closed at exec
    72 0 4 0x800: EINVAL: set flags of a file
    72 0 8 1: EINVAL: have signals sent
    72 0 1031: EINVAL: a larger pipe
    16 0 0x5401: ENOTTY: is it a terminal?
    16 0 0x5413: ENOTTY: how large is it?
    16 0 0x541b: ENOTTY: how much is there to read?
    16 0 0x5412: SIGSYS: type into a terminal
    16 0 0x541c: SIGSYS: its console
    16 0 0x5421: SIGSYS: do not wait
    16 0 0x8004667e: SIGSYS: some other
    157 15 0: EINVAL: name a thread
    157 0x53564d41 0: EINVAL: name memory
    157 1 0: SIGSYS: outlive its keeper
    157 4 1: SIGSYS: be looked into
    157 22 1: SIGSYS: seccomp as of old
    157 38 1: SIGSYS: new privileges
    157 36 1: SIGSYS: be parent to orphans
    158 0x1002 0: answer: storage of a thread
    158 0x1001 0: EINVAL: the other segment
    158 0x5002 0: EINVAL: a shadow stack
    234 self self 0: answer: a signal to itself
    234 self 1 0: ESRCH: to a thread that is not its own
    234 1 1 0: SIGSYS: to another process
    200 self 0: answer: a signal to itself
    62 self 0: SIGSYS: kill
    302 0 3 0 0: answer: read a limit
    302 0 3 1 0: EPERM: set one
    302 1 3 0 0: SIGSYS: of another
    302 self 3 0 0: SIGSYS: of its own id
    204 0 128 0: EFAULT: on which processors
    204 1 128 0: ENOSYS: another
    293 0 0x80800: EFAULT: a pipe
    293 0 0x4000: SIGSYS: a pipe of packets
    293 0 0x80: SIGSYS: a pipe of the kernel's notes
    290 0 0x80800: answer: an event
    290 0 1: SIGSYS: a semaphore
    322 3 0 0 0 0x1000: EFAULT: the program, without a name
    322 3 0 0 0 0: SIGSYS: by a name
    322 4 0 0 0 0x1000: SIGSYS: another descriptor
    322 -100 0 0 0 0x1000: SIGSYS: a directory
    59 0 0 0: SIGSYS: exec
"""
CHOSEN_WASM = """
    9 0 4096 3 0x22 -1 0: answer: memory of its own
    9 0 4096 5 0x22 -1 0: EPERM: with machine code in it
    10 0 0 3: answer: mprotect
    10 0 0 5: EPERM: machine code
    47 3 0: EBADF: hear what to run with, when that was heard
    47 4 0: SIGSYS: hear from anybody else
    56 0x8011: SIGSYS: a copy
    56 0x50f00: EAGAIN: a thread
    317 1 0 0: SIGSYS: another filter
"""
CHOSEN_TEMPLATE = """
    9 0 4096 5 0x22 -1 0: EPERM: machine code that is not written yet
    10 0 0 5: answer: that was written
    10 0 0 7: EPERM: that can be written
    47 4 0: EBADF: hear its keeper
    47 0 0: SIGSYS: hear from anybody else
    56 17: SIGSYS: a copy, minded by itself
    56 0x8011 4096: SIGSYS: a copy with a stack of its own
    56 0x18011: SIGSYS: a copy, with a flag more
    56 0x50f00: EAGAIN: a thread
    157 1 9: answer: die with its keeper
    157 1 0: SIGSYS: outlive it
    234 self self 0: answer: a signal to itself
    234 1 1 0: EPERM: to another process
    317 1 0 0: EFAULT: one filter more
    317 1 8 0: SIGSYS: one that asks somebody
    317 0 0 0: SIGSYS: seccomp as of old
    56 0x8011: answer: a copy, minded by its keeper
"""  # the copy comes last: it too says that it was answered, whenever it may


def table() -> dict[int, tuple[str, str, str, str]]:
    """Name, who may ask, outcome for zeros and for ones, by number."""
    found = {}
    for line in (ANSWERED + EXCEPTIONS).split("\n"):
        if line.strip():
            number, name, who, zeros, ones = line.split(":")[0].split()
            found[int(number)] = (name, who, zeros, ones)
    return found


@pytest.fixture(scope="module")
def caller() -> Iterator[Path]:
    source = (Path(__file__).parent / "every_call.c").read_text()
    include = f"-I{Path(seccomp.__file__).parent}"
    with open_folder() as folder:
        compile_static(source, folder / "every_call", "-static", "-pthread", include)
        yield folder / "every_call"


def ask(caller: Path, arguments: list[str], lines: Path | None = None) -> list[str]:
    with open(lines or os.devnull) as file:
        done = subprocess.run(
            [caller, *arguments],
            stdin=file,
            # what was registered before the filter must be there behind it
            env={"GLIBC_TUNABLES": "glibc.pthread.rseq=0"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def expected(number: int, profile: int, ones: bool) -> set[str]:
    if number in UNFILTERED:
        return UNFILTERED_OUTCOMES
    name, who, *outcomes = table().get(number, ("", "", "SIGSYS", "SIGSYS"))
    if not any(LETTERS[letter] & ~profile == 0 for letter in who):
        return {"SIGSYS"}
    if name == "futex" and not profile & NATIVE:
        return {"SIGSYS"}  # but for private ones; only natives are told that there is no such operation
    return {outcomes[ones]}


def test_what_is_not_named_kills_with_and_without_threads(caller: Path) -> None:
    """By all three ways into the kernel."""
    found = 0
    for line in ask(caller, ["sweep", str(NATIVE | ALONE), str(LAST), "3", "2"]):
        number, way, arguments, threads, outcome = line.split()
        allowed = {"SIGSYS"}
        if way == "x86_64":
            allowed = expected(int(number), NATIVE | ALONE, arguments == "ones")
            if number == "60" and threads == "2":
                allowed = {"exit-99"}  # one thread ended, the other said so
        assert outcome in allowed, line
        found += 1
    assert found == (LAST + 1) * 3 * 2 * 2


@pytest.mark.parametrize("profile", [NATIVE, PYTHON, WASM, TEMPLATE])
def test_what_is_not_named_kills_every_kind_of_program(caller: Path, profile: int) -> None:
    for line in ask(caller, ["sweep", str(profile), str(LAST), "1", "1"]):
        number, _, arguments, _, outcome = line.split()
        assert outcome in expected(int(number), profile, arguments == "ones"), line


@pytest.mark.parametrize(
    ("profile", "lines"), [(NATIVE, CHOSEN), (WASM, CHOSEN_WASM), (TEMPLATE, CHOSEN_TEMPLATE)]
)
def test_where_arguments_decide(caller: Path, tmp_path: Path, profile: int, lines: str) -> None:
    chosen = [line.strip().split(": ") for line in lines.strip().split("\n")]
    (tmp_path / "lines").write_text("".join(calls + "\n" for calls, *_ in chosen))
    outcomes = ask(caller, ["chosen", str(profile)], tmp_path / "lines")
    assert [
        [calls, outcome, what] for (calls, _, what), outcome in zip(chosen, outcomes, strict=True)
    ] == chosen


@pytest.mark.parametrize("level", ["A", "B"])
def test_the_real_jail_does_the_same(caller: Path, level: str) -> None:
    """Whatever is answered, and a sample of the rest, in turn by each way, with threads and without."""
    program = caller.read_bytes()
    profile = NATIVE | ALONE if level == "A" else NATIVE
    calls = [(number, 0, number % 2, 1 + number // 2 % 2) for number in table()]
    calls += [(n, n // 11 % 3, n % 2, 1 + n // 2 % 2) for n in range(5, 2 * LAST, 11) if n not in UNFILTERED]

    def wanted_of(number: int, way: int, ones: int) -> str:
        (wanted,) = {"SIGSYS"} if way else expected(number, profile, bool(ones))
        return wanted

    async def one(runtime: Runtime, call: tuple[int, int, int, int]) -> Outcome:
        wall = 1 if wanted_of(*call[:3]) == "SIGALRM" else 60
        return await run(
            runtime, program, ["every_call", "call", *map(str, call)], limits=Limits(64, wall_s=wall)
        )

    async def go() -> list[Outcome]:
        async with runtime_at(level) as runtime:
            return [await one(runtime, call) for call in calls]

    for (number, way, ones, threads), outcome in zip(calls, asyncio.run(go()), strict=True):
        wanted = wanted_of(number, way, ones)
        said = f"{number} {way} {ones} {threads}: {wanted}, but {outcome}"
        if wanted == "SIGSYS":
            assert (outcome.stdout, outcome.exit.why) == (b"begun\n", "killed by seccomp (SIGSYS)"), said
        elif wanted == "SIGALRM":
            assert (outcome.stdout, outcome.exit.why) == (b"begun\n", "killed at its wall limit of 1 s"), said
        elif wanted.startswith("SIG"):
            assert (outcome.stdout, outcome.exit.why) == (b"begun\n", f"killed by {wanted}"), said
        elif wanted.startswith("exit"):
            assert outcome.stdout == b"begun\n" and outcome.exit.status in (0, 255, 99), said
        else:
            assert (outcome.stdout, outcome.exit.status) == (b"begun\nanswered\n", 0), said
