"""The jail and its runtimes: runs one program of a stranger so that nothing can happen.

A library of its own that knows no market and imports nothing of ours. `probe()` says what works here,
`runtimes()` gives what can run, a runtime starts programs. Inside: `launcher.py` is the node's side and
`zygote.py` the process that forks; `_jail.c` with its headers is all that happens after the fork;
`function.py` is the Python that runs inside of the jail, `templates.py` what keeps wasm modules compiled.
"""

from seccomp.layers import Layer, Report, probe
from seccomp.native import NativeRuntime
from seccomp.program import Exit, InputClosedError, JailError, Limits, Program, Runtime
from seccomp.python_runtime import PythonRuntime
from seccomp.wasm_runtime import WasmRuntime, is_installed

__all__ = [
    "Exit",
    "InputClosedError",
    "JailError",
    "Layer",
    "Limits",
    "NativeRuntime",
    "Program",
    "PythonRuntime",
    "Report",
    "Runtime",
    "WasmRuntime",
    "probe",
    "runtimes",
]


def runtimes(report: Report) -> list[Runtime]:
    """Return a runtime of each kind that may run at the level of `report`; at level C that is wasm alone.

    Wasm is left out where the package wasmtime is not installed; JailError if it is of another version.
    """
    found: list[Runtime] = []
    if not report.missing("B"):
        found += [NativeRuntime(report), PythonRuntime(report)]
    if not report.missing("C") and is_installed():
        found.append(WasmRuntime(report))
    return found
