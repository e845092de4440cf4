"""The zygote: a process that knows no secrets and forks keepers, each with one jailed program.

Its node starts it (launcher.py), or the probe does (layers.py). One packet on its socket is one start: JSON,
with five descriptors beside it. It ends when the socket does, or when its parent dies.
"""

import json
import os
import signal
import socket
import struct
from typing import Any

from seccomp import _jail

_PACKET_MOST = 1 << 16
_STACK = 8 << 20
_COMPILED = 1 << 30  # room for what is not data: machine code
_REPORT = struct.Struct("=iiiiqq")  # struct report in _keeper.h
_STEP_FORK = _jail.STEPS.index("fork")


def main(arguments: list[str]) -> None:
    """Be what the arguments ask for: `probe`, or a kind, its socket and its parent's process id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are nobody's to wait for
    if arguments[0] == "probe":
        print(json.dumps(probe()))
    else:
        serve(arguments[0], socket.socket(fileno=int(arguments[1])), int(arguments[2]), arguments[3:])


def serve(kind: str, requests: socket.socket, parent: int, rest: list[str]) -> None:
    """Start what is asked for, one after another, until the node is gone."""
    profile, used = _jail.NATIVE, 0
    if kind == "python":
        from seccomp import function

        function.import_first()
        profile, used = _jail.PYTHON, _address_space()
    elif kind == "wasm":
        _jail.load_wasmtime(*rest)
    os.environ.clear()
    _jail.settle(parent)
    while True:
        packet, fds, _, _ = socket.recv_fds(requests, _PACKET_MOST, 5)
        if not packet:
            return
        request = json.loads(packet)
        try:
            wasm = kind == "wasm"
            keeper = _start_template(request, fds) if wasm else _start(profile, request, used, fds)
        except OSError as error:
            _report_failure(fds[4], error)
            keeper = -1
        if keeper == 0:  # this is no zygote any more
            function.call(*request["arguments"])
        for fd in fds:
            os.close(fd)


def probe() -> dict[str, tuple[str, int]]:
    """Try each layer by itself; for each, the step at which it failed ("started": it did not) and errno."""
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
        found[name] = _try_layer(bit)
    return found


def _start(profile: int, request: dict[str, Any], used: int, fds: list[int]) -> int:
    """Fork a keeper with its program. Returns 0 in a Python program, which is in its jail then."""
    memory = request["memory"]
    arguments = tuple(argument.encode() for argument in request["arguments"])
    return _jail.start(
        profile,
        request["layers"],
        False,
        used + memory,
        min(_STACK, memory),
        request["nice"],
        tuple(request["cpus"]),
        arguments,
        tuple(fds),
    )


def _start_template(request: dict[str, Any], fds: list[int]) -> int:
    """Fork a keeper with a template of the module."""
    used, data = _address_space(0), _address_space(5)
    return _jail.start_template(
        request["layers"],
        used + request["memory"] + _COMPILED,
        data + request["memory"],
        request["cpu_s"],
        request["nice"],
        tuple(request["cpus"]),
        tuple(fds),
    )


def _try_layer(bit: int) -> tuple[str, int]:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        descriptors = (null, null, null, null, its.fileno())
        _jail.start(_jail.NATIVE, bit, True, 1 << 40, _STACK, 0, (), (), descriptors)
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


def _address_space(column: int = 0) -> int:
    """Bytes of address space that this process has already; what a program may have comes on top. Column 5
    counts those that may be written to."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[column]) * os.sysconf("SC_PAGE_SIZE")
