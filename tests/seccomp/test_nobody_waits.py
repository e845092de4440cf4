"""Where nobody waits for orphans that he inherits, nothing of the jail lives on as one that cannot end."""

import os
import subprocess
import sys

import pytest

import seccomp
from tests.seccomp.processes import alive, descendants, until

PR_SET_CHILD_SUBREAPER = 36
NODE = """
import asyncio, os, signal, sys
import wasmtime
import seccomp

async def main():
    level, kind, how = sys.argv[1:]
    (runtime,) = (one for one in seccomp.runtimes(seccomp.probe(level)) if one.tag.startswith(kind))
    module = bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))'))
    program, arguments = (module, ["x"]) if kind == "wasm" else (b"def f(data): return data", ["f", "bytes"])
    for _ in range(2):
        running = await runtime.start(program, arguments, seccomp.Limits(memory_mb=64))
        await running.close_stdin()
        await running.wait()
        running.close()
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    await runtime.close()

asyncio.run(main())
"""
INHERITOR = f"""
import ctypes, os, subprocess, sys
assert ctypes.CDLL(None).prctl({PR_SET_CHILD_SUBREAPER}, 1, 0, 0, 0) == 0
subprocess.run([sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
print("over", flush=True)
sys.stdin.read()  # and waits for nobody
"""


@pytest.mark.parametrize("how", ["closed", "killed"])
@pytest.mark.parametrize(("level", "kind"), [("A", "wasm"), ("C", "wasm"), ("A", "python")])
def test_orphans_end(level: str, kind: str, how: str) -> None:
    report = seccomp.probe(level)
    if report.level != level or not any(one.tag.startswith(kind) for one in seccomp.runtimes(report)):
        pytest.skip(f"{kind} at level {level} cannot be had here: {report.missing('C')}")
    command = [sys.executable, "-c", INHERITOR, NODE, level, kind, how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as inheritor:
        try:
            assert inheritor.stdout is not None
            assert inheritor.stdout.readline() == b"over\n"
            until(
                lambda: not any(map(alive, descendants(inheritor.pid))), "all that the node started is gone"
            )
        finally:
            inheritor.kill()
