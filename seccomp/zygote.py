"""The zygote: a process that knows no secrets and forks keepers, each with one jailed program.

Its node starts it (launcher.py), or the probe does (layers.py). One packet on its socket is one start: JSON,
with five descriptors beside it, or six where the program gets a cgroup. It ends when the socket does, or when
its parent dies.
"""

import importlib
import json
import os
import signal
import socket
import struct
from typing import Any

from seccomp import _jail

_PACKET_MOST = 1 << 16
_STACK = 8 << 20
_RESERVE = 8 << 30  # address space that may be set aside and not used: Go's runtime and wasm do so
_ENDLESS = 1 << 50
_ALL, _DATA = 0, 5  # columns of statm: all address space; of it, what may be written to
# What each kind of zygote forks: a filter's profile, and the module of ours that it goes on with in the jail
# (import_first() before, call(*arguments) in there), "" where it becomes the program itself.
_KINDS = {
    "native": (_jail.NATIVE, ""),
    "python": (_jail.PYTHON, "seccomp.function"),
    "wasm": (_jail.TEMPLATE, ""),
}
_REPORT = struct.Struct("=iiiiqq")  # struct report in _keeper.h
_STEP_FORK = _jail.STEPS.index("fork")


def main(arguments: list[str]) -> None:
    """Be what the arguments ask for: `probe`, or a kind, its socket and its parent's process id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are nobody's to wait for
    if arguments[0] == "probe":
        print(json.dumps(probe(int(arguments[1]))))
    else:
        serve(arguments[0], socket.socket(fileno=int(arguments[1])), int(arguments[2]), arguments[3:])


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
    while True:
        packet, fds, _, _ = socket.recv_fds(requests, _PACKET_MOST, 6)
        if not packet:
            return
        if (
            len(fds) < 5
        ):  # this process, or the machine, may open no more files: the node sees its socket close
            for fd in fds:
                os.close(fd)
            continue
        request = json.loads(packet)
        try:
            keeper = _start(profile, request, fds)
        except OSError as error:
            _report_failure(fds[4], error)
            keeper = -1
        if keeper == 0:  # this is no zygote any more
            assert inside is not None
            inside.call(*request["arguments"])
        for fd in fds:
            os.close(fd)


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


def _start(profile: int, request: dict[str, Any], fds: list[int]) -> int:
    """Fork a keeper with its program. Returns 0 in one that is not native, and in its jail then."""
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
    return _jail.start(
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
        _jail.start(
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


def _report_failure(control: int, error: OSError) -> None:
    """Say in the keeper's place that there is none."""
    report = _REPORT.pack(ord("F"), _STEP_FORK, error.errno or 0, 0, 0, 0)
    with socket.socket(fileno=os.dup(control)) as sock:
        sock.send(report, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


def _used(column: int) -> int:
    """Bytes of address space that this process has already; what a program may have comes on top."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[column]) * os.sysconf("SC_PAGE_SIZE")
