"""Runs every hostile program outside of the jail, as whoever runs this: never as root.

`python -m tests.seccomp.hostile.controls FOLDER`. Each has one descriptor more than the three that it should
have, and what it does there is harmless.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.seccomp.hostile.play import INPUT, KEPT, Seen, mark
from tests.seccomp.hostile.table import Deed, every
from tests.seccomp.hostile.wasms import assembled

try:
    import wasmtime
except ImportError:  # then there are no controls for wasm, and no wasm
    wasmtime = None  # type: ignore[assignment]

MEMORY = 1 << 30  # bytes of address space


def native(folder: Path, deed: Deed, extra: int) -> Seen:
    """Run an executable."""
    file = folder / "deeds"
    if deed.program or deed.name.startswith("elf_"):
        file = folder / deed.name
    command = [str(file), deed.name, mark(deed)]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[extra], cwd="/")
    except OSError as error:
        return Seen(error=str(error))
    assert process.stdin and process.stdout
    with process:
        if "keeper" in deed.outcome:
            out = b""
            while b"begun" not in out and (piece := os.read(process.stdout.fileno(), 100)):
                out += piece
            seen = Seen(stdout=out.decode(), why="goes on" if process.poll() is None else "ended")
            process.kill()
            return seen
        out, errors = process.communicate(INPUT, timeout=60)
    return _ended(out, errors, process.returncode)


def _ended(out: bytes, errors: bytes, code: int) -> Seen:
    seen = Seen(out[-KEPT:].decode(errors="replace"), errors[-KEPT:].decode(errors="replace"))
    seen.status, seen.signal = (code, None) if code >= 0 else (None, -code)
    return seen


def in_a_copy(deed: Deed, run: Callable[[bytes], None]) -> Seen:
    """Run a source or a module in a copy of this process."""
    outputs = [os.pipe() for _ in range(2)]
    given, give = os.pipe()
    os.write(give, INPUT)
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(given, 0)
            for fd, (_, end) in enumerate(outputs, 1):
                os.dup2(end, fd)
            os.close(give)
            sys.stdout = sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
            if deed.kind == "python":
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
            run(deed.program)
        finally:
            os._exit(70)
    os.close(given)
    os.close(give)
    for _, end in outputs:
        os.close(end)
    (out_fd, _), (errors_fd, _) = outputs
    seen = Seen()
    if "keeper" in deed.outcome:
        begun_fd = errors_fd if deed.kind == "python" else out_fd
        while "begun" not in seen.stderr and (piece := os.read(begun_fd, 100)):
            seen.stderr += piece.decode(errors="replace")
        seen.why = "goes on" if os.waitpid(pid, os.WNOHANG)[0] == 0 else "ended"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    else:
        out, errors = _read(out_fd), _read(errors_fd)
        seen = _ended(out, errors, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(out_fd)
    os.close(errors_fd)
    return seen


def _read(fd: int) -> bytes:
    data = b""
    while piece := os.read(fd, 1 << 16):
        data = (data + piece)[-KEPT:]
    return data


def _call(source: bytes) -> None:
    """As the jail's own `function.call` does, in the presence of what it must not reach."""
    requests, other = socket.socketpair()
    os.environ["SECRET"] = "x"
    try:
        space: dict[str, Any] = {"__name__": "program"}
        exec(compile(source.decode(), "<program>", "exec"), space)
        function: Callable[[bytes], Any] = space["f"]
        result = function(os.read(0, 100))
        os.write(1, (result if isinstance(result, bytes) else result.encode())[:KEPT])
        os._exit(0)
    except SystemExit as end:
        os._exit((end.code if isinstance(end.code, int) else 1) & 0xFF)
    except BaseException as error:
        os.write(2, type(error).__name__.encode())
        os._exit(1)
    finally:
        del requests, other


def _run_module(program: bytes) -> None:
    """As a WASI command that was given all files, with what any runtime bounds."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    wasi = wasmtime.WasiConfig()
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.preopen_dir("/", "/")
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    try:
        instance = linker.instantiate(store, wasmtime.Module(engine, assembled(program)))
        start: Any = instance.exports(store)["_start"]
        start(store)
        os._exit(0)
    except wasmtime.ExitTrap as end:
        os._exit(end.code & 0xFF)
    except (wasmtime.Trap, wasmtime.WasmtimeError, KeyError):
        os._exit(134)


def main() -> None:
    """Run all; one JSON object by name."""
    assert os.geteuid() != 0, "what a program may do as root is no control"
    folder = Path(sys.argv[1])
    back, extra = os.pipe()
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    seen = {}
    for deed in every():
        if deed.kind == "native":
            seen[deed.name] = native(folder, deed, extra)
        elif deed.kind == "python":
            seen[deed.name] = in_a_copy(deed, _call)
        elif wasmtime is not None:
            seen[deed.name] = in_a_copy(deed, _run_module)
    assert back
    print(json.dumps({name: asdict(one) for name, one in seen.items()}))


if __name__ == "__main__":
    main()
