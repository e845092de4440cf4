"""The zygote: a process that knows no secrets and forks keepers, each for one jailed program.

One keeper always waits for the next request.

Its node starts it (launcher.py), or the probe does (layers.py). One packet on its socket is one start: JSON,
with five descriptors beside it, or six where the program gets a cgroup. It ends when the socket does, or when
its parent dies.
"""

import importlib
import json
import os
import select
import signal
import socket
import struct
from types import ModuleType
from typing import Any, NoReturn

from seccomp import _jail

_PACKET_MOST = 1 << 16
_STACK = 8 << 20
_RESERVE = 8 << 30  # address space that may be set aside and not used: Go's runtime and wasm do so
_ENDLESS = 1 << 50
_ALL, _DATA = 0, 5  # columns of statm: all address space; of it, what may be written to
# What each kind of zygote forks: a filter's profile, and the module of ours that it goes on with in the jail
# (import_first() before, prepare() in its keeper, call() in there), "" where it becomes the program itself.
_KINDS = {
    "native": (_jail.NATIVE, ""),
    "python": (_jail.PYTHON, "seccomp.function"),
    "wasm": (_jail.TEMPLATE, ""),
}
_REPORT = struct.Struct("=iiiiqq")  # struct report in _keeper.h
_MOST_DEATHS = 100
_TAKEN, _END = b"t", b"e"  # what a keeper tells the zygote
_STEP_FORK = _jail.STEPS.index("fork")


def main(arguments: list[str]) -> None:
    """Be what the arguments ask for: `probe`, or a kind, its socket, its parent's process id and how nice its
    programs are."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are nobody's to wait for
    if arguments[0] == "probe":
        print(json.dumps(probe(int(arguments[1]))))
    else:
        _stand_back(int(arguments[3]))
        serve(arguments[0], socket.socket(fileno=int(arguments[1])), int(arguments[2]), arguments[4:])


def _stand_back(nice: int) -> None:
    """Be so nice as a session too: where the kernel shares CPUs among these (`sched_autogroup_enabled`), the
    niceness of a process counts within its own alone. To be done before `settle`."""
    try:
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice)))
    except OSError:
        pass  # this kernel does not, or a container hides it


def serve(kind: str, requests: socket.socket, parent: int, rest: list[str]) -> None:
    """Start what is asked for, one after another, until the node is gone."""
    profile, name = _KINDS[kind]
    inside = importlib.import_module(name) if name else None
    if inside is not None:
        inside.import_first()
    if profile == _jail.TEMPLATE:
        _jail.load_wasmtime(*rest)
    os.environ.clear()
    try:
        _jail.settle(parent)
    except ProcessLookupError:
        return  # the node is gone already
    deaths = 0
    while (told := _start_next(requests, profile, inside)) != _END:
        deaths = 0 if told else deaths + 1
        if deaths > _MOST_DEATHS:
            raise RuntimeError(f"{deaths} keepers in a row died before they were asked")


def _start_next(requests: socket.socket, profile: int, inside: ModuleType | None) -> bytes:
    """Fork a keeper that waits for the next request, and wait until it has taken that: so a start need not
    wait for this fork, and no buyer's words are ever in this process. Returns what it told; b"": it died."""
    ours, its = socket.socketpair()
    with ours, its:
        try:
            keeper = _fork(requests)
        except OSError as error:
            return _refuse_next(requests, error)
        if keeper == 0:
            ours.close()
            _take_request(requests, its, profile, inside)
        its.close()
        return ours.recv(1)


def _fork(requests: socket.socket) -> int:
    """Fork. Where there is no room for another process there may be when one is asked for. Raises OSError."""
    try:
        return _jail.fork()
    except OSError:
        select.select([requests], [], [])
        return _jail.fork()


def _take_request(
    requests: socket.socket, told: socket.socket, profile: int, inside: ModuleType | None
) -> NoReturn:
    """In a keeper. Only a Python program gets back here, and ends in there."""
    if inside is not None:
        inside.prepare()
    packet, fds, _, _ = socket.recv_fds(requests, _PACKET_MOST, 6)
    told.send(_TAKEN if packet else _END)
    if len(fds) >= 5:  # or there are too many open files, and the node sees its socket close
        request = json.loads(packet)
        _keep(profile, request, fds)
        assert inside is not None
        del packet, request, fds
        for closed in (requests, told):
            closed.detach()
        inside.call()
    os._exit(0)


def _refuse_next(requests: socket.socket, error: OSError) -> bytes:
    """Say in the place of a keeper that there is none."""
    packet, fds, _, _ = socket.recv_fds(requests, _PACKET_MOST, 6)
    if len(fds) >= 5:
        report = _REPORT.pack(ord("F"), _STEP_FORK, error.errno or 0, 0, 0, 0)
        with socket.socket(fileno=os.dup(fds[4])) as control:
            control.send(report, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    for fd in fds:
        os.close(fd)
    return _TAKEN if packet else _END


def probe(join: int) -> dict[str, tuple[str, int]]:
    """Try each layer by itself; for each, the step at which it failed ("started": it did not) and errno.
    `join` is a cgroup to try too, or -1."""
    try:
        _jail.settle(os.getppid())
    except OSError as error:
        return {"user": ("user", error.errno or 0)}
    found = {"user": ("started", 0)}
    for name, bit in (
        ("namespaces", _jail.NAMESPACES),
        ("landlock", _jail.LANDLOCK),
        ("seccomp", _jail.SECCOMP),
    ):
        found[name] = _try_layer(bit, -1)
    if join >= 0:
        found["cgroup"] = _try_layer(0, join)
    return found


def _keep(profile: int, request: dict[str, Any], fds: list[int]) -> None:
    """Be the keeper of a program. Returns in one that is a Python function, in its jail."""
    memory, threads = request["memory"], request["threads"]
    stack = min(_STACK, memory)
    if profile == _jail.NATIVE:
        # what is in memory is bounded by the keeper; so each thread may have a stack, used or not
        data, resident = memory + (threads - 1) * stack, memory
        address_space = data + _RESERVE
    elif profile == _jail.TEMPLATE:
        stack, resident = 2 * _STACK, 0
        data, address_space = _used(_DATA) + memory, _used(_ALL) + memory + _RESERVE
    else:
        data = address_space = _used(_ALL) + memory
        resident = 0
    _jail.keep(
        profile=profile,
        layers=request["layers"],
        trial=False,
        address_space=address_space,
        data=data,
        resident=resident,
        stack=stack,
        threads=threads,
        cpu_seconds=request["cpu_s"] or _ENDLESS,
        nice=request["nice"],
        idle=request["idle"],
        cpus=tuple(request["cpus"]),
        # of a list: tuples of generators are kept for reuse, thousands of them
        arguments=tuple([argument.encode() for argument in request["arguments"]]),
        descriptors=(*fds, -1)[:6],
    )


def _try_layer(bit: int, join: int) -> tuple[str, int]:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        descriptors = (null, null, null, null, its.fileno(), join)
        if _jail.fork() == 0:
            _jail.keep(
                profile=_jail.NATIVE,
                layers=bit,
                trial=True,
                address_space=_ENDLESS,
                data=_ENDLESS,
                resident=_ENDLESS,
                stack=_STACK,
                threads=1,
                cpu_seconds=_ENDLESS,
                nice=0,
                idle=False,
                cpus=(),
                arguments=(),
                descriptors=descriptors,
            )
        os.close(null)
        its.close()
        ours.settimeout(30)
        packet = ours.recv(_REPORT.size)
    kind, step, error, *_ = _REPORT.unpack(packet)
    return ("started", 0) if kind == ord("S") else (_jail.STEPS[step], error)


def _used(column: int) -> int:
    """Bytes of address space that this process has already; what a program may have comes on top."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[column]) * os.sysconf("SC_PAGE_SIZE")
