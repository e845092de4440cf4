"""Every layer holds by itself: behind a filter that kills, nobody would notice that another was missing."""

import asyncio
import errno
import os

import pytest

from seccomp import Layer, Limits, NativeRuntime, Report
from tests.seccomp.running import (
    compile_static,
    open_folder,
    report_at,
    run,
    run_as_ordinary_user,
    runtime_at,
)

LOOK = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static char buffer[65536];
static void say(const char *name, long value) { printf("%s %ld\n", name, value); fflush(stdout); }
static long result(long value) { return value < 0 ? errno : 0; }

int main(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[2] = {{0}};
    struct sockaddr_in address = {AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}};
    struct utsname name;
    struct stat about;
    long open_files = 0, entries = 0, length;

    for (int fd = 3; fd < 4096; fd++) open_files += fstat(fd, &about) == 0;
    say("descriptors", open_files);
    say("pid", getpid());
    say("uid", getuid());
    uname(&name);
    say("host", strcmp(name.nodename, "jail") == 0);
    say("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    int number = 0;
    prctl(PR_GET_PDEATHSIG, &number);
    say("dies_with_keeper", number);
    syscall(SYS_capget, &header, caps);
    say("capabilities", caps[0].permitted | caps[1].permitted | caps[0].inheritable | caps[0].effective);
    say("bounding", prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0));
    long child = syscall(SYS_fork);
    if (child == 0) _exit(0);
    say("fork", result(child));
    say("kill_parent", getppid() ? result(kill(getppid(), 0)) : -1);
    say("mkdir", result(mkdir("/tmp/.look", 0700)));
    say("mkdir_root", result(mkdir("/.look", 0700)));
    rmdir("/tmp/.look");
    close(0);
    say("passwd", result(open("/etc/passwd", O_RDONLY)));
    close(0);
    say("proc", result(open("/proc/1/status", O_RDONLY)));
    close(0);
    long root = open("/", O_RDONLY | O_DIRECTORY);
    say("root", result(root));
    while (root >= 0 && (length = syscall(SYS_getdents64, root, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < length; at += ((struct dirent64 *)(buffer + at))->d_reclen) entries++;
    say("entries", entries);
    close(0);
    say("socket", result(socket(AF_INET, SOCK_STREAM, 0)));
    say("connect", result(connect(0, (struct sockaddr *)&address, sizeof address)));
    return 0;
}"""
ONE_THREAD = Limits(64, threads=1)
HELD_BY_ALL = {  # without any optional layer
    "descriptors": 0,
    "no_new_privs": 1,
    "dumpable": 0,
    "dies_with_keeper": 9,
    "capabilities": 0,
    "fork": errno.EAGAIN,
}


def parse(text: bytes) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.decode().splitlines())}


def look(*layers: str) -> dict[str, int]:
    """What a program sees that has only these layers around it."""
    report_at("A")
    report = Report(tuple(Layer(name, True, "") for name in ("user", *layers)), "A")

    async def go() -> bytes:
        runtime = NativeRuntime(report)
        try:
            with open_folder() as folder:
                outcome = await run(
                    runtime, compile_static(LOOK, folder / "look"), ["look"], limits=ONE_THREAD
                )
        finally:
            await runtime.close()
        assert outcome.exit.status == 0, outcome
        return outcome.stdout

    return parse(asyncio.run(go()))


def outside() -> dict[str, int]:
    with open_folder() as folder:
        compile_static(LOOK, folder / "look")
        return parse(run_as_ordinary_user([str(folder / "look")]).stdout)


def test_outside_of_the_jail_all_of_it_can_be_had() -> None:
    seen = outside()
    assert (
        seen["fork"] == seen["passwd"] == seen["proc"] == seen["root"] == seen["mkdir"] == seen["socket"] == 0
    )
    assert seen["entries"] > 2
    assert seen["connect"] in (errno.ECONNREFUSED, 0)
    assert seen["dies_with_keeper"] == 0 and seen["dumpable"] == 1
    assert seen["host"] == 0
    assert seen["pid"] > 2


def test_what_needs_no_layer() -> None:
    seen = look()
    assert {name: seen[name] for name in HELD_BY_ALL} == HELD_BY_ALL
    assert seen["passwd"] == 0  # or the tests below would prove nothing
    assert seen["connect"] in (errno.ECONNREFUSED, 0)
    assert seen["uid"] == os.getuid() if os.getuid() else seen["uid"] >> 24 == 0x7F or seen["uid"] == 65534


def test_namespaces() -> None:
    seen = look("namespaces")
    assert {name: seen[name] for name in HELD_BY_ALL} == HELD_BY_ALL
    assert (seen["pid"], seen["uid"], seen["host"], seen["kill_parent"]) == (1, 65534, 1, -1)
    assert (seen["passwd"], seen["proc"], seen["mkdir"]) == (errno.ENOENT, errno.ENOENT, errno.ENOENT)
    assert seen["mkdir_root"] == errno.EROFS
    assert (seen["root"], seen["entries"]) == (0, 2), "nothing but . and .."
    assert seen["bounding"] == 0
    assert seen["connect"] == errno.ENETUNREACH


def test_landlock() -> None:
    seen = look("landlock")
    assert {name: seen[name] for name in HELD_BY_ALL} == HELD_BY_ALL
    assert (seen["passwd"], seen["proc"], seen["root"], seen["mkdir"]) == (errno.EACCES,) * 4
    if seen["connect"] in (errno.ECONNREFUSED, 0):
        pytest.skip("this kernel's Landlock does not know the network yet; the files were refused")
    assert seen["connect"] == errno.EACCES
    assert seen["kill_parent"] in (0, errno.EPERM)  # 0 before Linux 6.12


def test_a_python_program_has_no_descriptor_of_its_zygote() -> None:
    source = """
import os
def f(data):
    found = []
    for fd in range(3, 4096):
        try:
            os.fstat(fd)
            found.append(fd)
        except OSError:
            pass
    return str(found)
"""

    async def go() -> bytes:
        async with runtime_at("A", "python") as runtime:
            return (await run(runtime, source.encode(), ["f", "bytes"])).stdout

    assert asyncio.run(go()) == b"[]"
