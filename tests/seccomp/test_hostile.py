"""What a program must not be able to do. Each deed is done outside of the jail first: a test program that
cannot do it anyway would prove nothing."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.seccomp.running import Outcome, compile_static, open_folder, run, run_as_ordinary_user, runtime_at

# name: C expression, negative if it was refused. Outside, as an ordinary user, it must succeed, unless its
# name ends with *: then it is enough that the kernel answers, and nothing can come of it.
DEEDS = {
    "open": 'syscall(SYS_open, "/dev/null", O_RDONLY)',
    "open_root": 'syscall(SYS_open, "/", O_RDONLY)',
    "openat": 'syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY)',
    "openat2*": 'syscall(437, AT_FDCWD, "/etc/passwd", (long[3]){0, 0, 0}, 24)',
    "creat": 'syscall(SYS_creat, "/dev/null", 0600)',
    "stat": 'syscall(SYS_stat, "/etc/passwd", buffer)',
    "newfstatat": 'syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", buffer, 0)',
    "newfstatat_empty": 'syscall(SYS_newfstatat, 0, "/etc/passwd", buffer, 0x1000)',
    "statx": 'syscall(SYS_statx, AT_FDCWD, "/etc/passwd", 0, 0x7ff, buffer)',
    "readlink": 'syscall(SYS_readlink, "/proc/self/exe", buffer, 100)',
    "chdir": 'syscall(SYS_chdir, "/tmp")',
    "getcwd": "syscall(SYS_getcwd, buffer, 4096)",
    "mkdir*": 'syscall(SYS_mkdir, "/not/there", 0700)',
    "socket": "socket(AF_INET, SOCK_STREAM, 0)",
    "socket_unix": "socket(AF_UNIX, SOCK_STREAM, 0)",
    "socketpair": "socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)buffer)",
    "pipe": "syscall(SYS_pipe, buffer)",
    "pipe_of_packets": "pipe2((int *)buffer, O_DIRECT)",
    "dup": "dup(0)",
    "fcntl_dup": "fcntl(0, F_DUPFD, 100)",
    "fork": "syscall(SYS_fork)",
    "vfork": "child_that_ends(SYS_vfork, 0)",
    "clone": "child_that_ends(SYS_clone, SIGCHLD)",
    "clone3": "clone3_like_fork()",
    "clone_thread": "clone(thread, buffer + sizeof buffer, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0)",
    "execve": 'execve("/bin/echo", (char *[]){"echo", "escaped", 0}, (char *[]){0})',
    "execveat": 'syscall(SYS_execveat, AT_FDCWD, "/bin/echo", (char *[]){"echo", "escaped", 0}, buffer, 0)',
    "exec_absolute": 'syscall(SYS_execveat, 3, "/bin/echo", (char *[]){"echo", "escaped", 0}, (char *[]){0},'
    " 0x1000)",
    "ptrace": "ptrace(PTRACE_TRACEME, 0, 0, 0)",
    "kill_self": "kill(getpid(), 0)",
    "kill_parent*": "kill(getppid(), 0)",
    "tgkill_other*": "syscall(SYS_tgkill, getpid() + 1, getpid() + 1, 0)",
    "pidfd_open": "syscall(434, getpid(), 0)",
    "process_vm_readv": "syscall(SYS_process_vm_readv, getpid(), &piece, 1, &piece, 1, 0)",
    "prctl": "prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)",
    "seccomp": "syscall(SYS_seccomp, 2, 0, &allow_action)",
    "personality": "syscall(SYS_personality, 0xffffffff)",
    "setrlimit": "setrlimit_as_it_is()",
    "prlimit_set": "prlimit_as_it_is()",
    "setpriority": "setpriority(PRIO_PROCESS, 0, 19)",
    "setuid": "syscall(SYS_setuid, syscall(SYS_getuid))",
    "mount*": 'mount("none", "/not/there", "tmpfs", 0, "")',
    "unshare*": "unshare(CLONE_NEWUSER)",
    "setns*": "syscall(SYS_setns, 0, 0)",
    "chroot*": 'chroot("/not/there")',
    "pivot_root*": 'syscall(SYS_pivot_root, "/not/there", "/not/there")',
    "io_uring_setup*": "syscall(425, 8, buffer)",
    "bpf*": "syscall(SYS_bpf, 0, buffer, 48)",
    "perf_event_open*": "syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0)",
    "userfaultfd*": "syscall(SYS_userfaultfd, 1)",
    "keyctl*": "syscall(SYS_keyctl, 0, -3, 0)",
    "memfd_create": 'syscall(SYS_memfd_create, "x", 0)',
    "memfd_secret*": "syscall(447, 0)",
    "shmget": "shmctl(shmget(IPC_PRIVATE, 4096, 0600 | IPC_CREAT), IPC_RMID, 0)",
    "msgget": "msgctl(msgget(IPC_PRIVATE, 0600 | IPC_CREAT), IPC_RMID, 0)",
    "inotify": "syscall(SYS_inotify_init1, 0)",
    "eventfd": "syscall(SYS_eventfd2, 0, 1)",
    "epoll": "syscall(SYS_epoll_create, 1)",
    "timer": "syscall(SYS_timer_create, 0, 0, buffer)",
    "uname": "syscall(SYS_uname, buffer)",
    "ioctl_fionbio": "ioctl(0, FIONBIO, &zero)",
    "arch_get_fs": "syscall(SYS_arch_prctl, 0x1003, buffer)",
    "futex_lock_pi": "syscall(SYS_futex, &zero, 6, 0, 0, 0, 0)",
    "x32*": "syscall(0x40000000 | SYS_getpid)",
    "int80*": "int80_getpid()",
    "modify_ldt": "syscall(SYS_modify_ldt, 0, buffer, 100)",
    "sched_affinity_other": "syscall(SYS_sched_getaffinity, 1, 128, buffer)",
}
# Not killed for it: programs ask in good faith, and bear a no.
REFUSED = {
    "newfstatat", "newfstatat_empty", "statx", "readlink", "clone3", "fcntl_dup", "arch_get_fs",
    "exec_absolute", "open", "open_root", "openat", "stat", "getcwd", "uname", "prlimit_set", "futex_lock_pi",
    "sched_affinity_other",
}  # fmt: skip

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char buffer[8192];
static int zero = 0, allow_action = 0x7fff0000;
static struct iovec piece = {buffer, 16};

static void say(const char *text) { write(1, text, strlen(text)); }
static long child_that_ends(long number, long flags) {
    long pid;
    if (number == SYS_vfork) pid = vfork();
    else pid = syscall(number, flags, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    return pid;
}
static int thread(void *nothing) { syscall(SYS_exit, 0); }
static long clone3_like_fork(void) {
    unsigned long arguments[11] = {0, 0, 0, 0, SIGCHLD};
    long pid = syscall(435, arguments, 64);
    if (pid == 0) _exit(0);
    return pid;
}
static long setrlimit_as_it_is(void) {
    struct rlimit limit;
    if (syscall(SYS_prlimit64, 0, RLIMIT_STACK, 0, &limit)) return -1;
    return syscall(SYS_setrlimit, RLIMIT_STACK, &limit);
}
static long prlimit_as_it_is(void) {
    struct rlimit limit;
    if (syscall(SYS_prlimit64, 0, RLIMIT_STACK, 0, &limit)) return -1;
    return syscall(SYS_prlimit64, 0, RLIMIT_STACK, &limit, 0);
}
static long int80_getpid(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    return result;
}
int main(int count, char **values) {
    long result = -1;
    errno = 0;
    say("ready\n");
    DEED_TABLE
    say("answered\n");
    if (result >= 0) say("escaped\n");
    return 0;
}
"""


@pytest.fixture(scope="module")
def deeds() -> Iterator[Path]:
    table = "\n".join(f'if (!strcmp(values[1], "{n}")) result = {deed};' for n, deed in DEEDS.items())
    with open_folder() as folder:
        compile_static(SOURCE.replace("DEED_TABLE", table), folder / "deeds")
        yield folder / "deeds"


@pytest.fixture(scope="module", params=["A", "B"])
def jailed(request: pytest.FixtureRequest, deeds: Path) -> dict[str, Outcome]:
    """Every deed, done in the jail."""
    program = deeds.read_bytes()

    async def go() -> dict[str, Outcome]:
        async with runtime_at(request.param) as runtime:
            return {name: await run(runtime, program, ["deeds", name]) for name in DEEDS}

    return asyncio.run(go())


@pytest.mark.parametrize("name", DEEDS)
def test_deed_is_prevented(name: str, deeds: Path, jailed: dict[str, Outcome]) -> None:
    outside = run_as_ordinary_user([str(deeds), name])
    if name == "exec_absolute" or not name.endswith("*"):
        assert b"escaped" in outside.stdout, "the control failed: outside of the jail it must succeed"
    else:
        assert b"answered" in outside.stdout, "the control failed: outside of the jail the kernel answers"

    outcome = jailed[name]
    assert outcome.stdout.startswith(b"ready\n"), "it did not even begin"
    assert b"escaped" not in outcome.stdout
    if name in REFUSED:
        assert (outcome.stdout, outcome.exit.status) == (b"ready\nanswered\n", 0)
    else:
        assert (outcome.stdout, outcome.exit.signal) == (b"ready\n", signal.SIGSYS), outcome
        assert outcome.exit.why == "killed by seccomp (SIGSYS)"
