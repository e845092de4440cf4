"""The runtime `wasm/wasi-p1`: WebAssembly modules that are WASI commands, compiled inside of the jail."""

import importlib.metadata
import importlib.util
from pathlib import Path

from seccomp import _jail
from seccomp.launcher import Launcher
from seccomp.layers import Report
from seccomp.program import JailError, Limits, Program
from seccomp.templates import Templates

MODULE, COMPONENT = b"\0asm\1\0\0\0", b"\0asm\x0d\0\1\0"


class WasmRuntime:
    """Runs wasm modules with WASI preview 1. `arguments` are argv, argv[0] included; no environment.

    The first start of a module compiles it; it stays compiled for a while, so that the next costs little. A
    trap ends a program with status 134 and a message on standard error. `Program.quit` does nothing, since
    WASI has no signals: who wants to finish in time looks at the clock.
    """

    tag = "wasm/wasi-p1"

    def __init__(self, report: Report) -> None:
        """Take the probed layers, of which level C is enough; JailError if they are too few."""
        self._launcher = Launcher("wasm", report, find_library())
        self._templates = Templates(self._launcher)

    async def start(self, program: bytes, arguments: list[str], limits: Limits) -> Program:
        """Start the module `program`. Raises JailError, also for a module that cannot be compiled."""
        if fault := find_fault(program):
            raise JailError(f"not a WebAssembly module: {fault}")
        return await self._templates.start(program, arguments, limits)

    async def close(self) -> None:
        """End the runtime and all its programs."""
        await self._templates.close()
        await self._launcher.close()


def find_fault(program: bytes) -> str:
    """Return why `program` cannot be a module, with the remedy; "" if it may be one."""
    if program[:8] == MODULE:
        return ""
    if program[:8] == COMPONENT:
        return "it is a component; build for WASI preview 1 (wasm32-wasip1)"
    if program.lstrip()[:7] == b"(module":
        return "it is the text of one; assemble it first, with wat2wasm"
    return f"it begins with {program[:8]!r}, not with {MODULE!r}"


def is_installed() -> bool:
    """Whether there is a package wasmtime beside this one."""
    return importlib.util.find_spec("wasmtime") is not None


def find_library() -> str:
    """Return the path of wasmtime's library. JailError where it is not there, or not of the known version."""
    found = importlib.util.find_spec("wasmtime")
    if found is None or found.origin is None:
        raise JailError("wasm: the package wasmtime is not there: install it beside this one")
    version = importlib.metadata.version("wasmtime")
    if version.partition(".")[0] != str(_jail.WASMTIME_MAJOR):
        raise JailError(f"wasm: wasmtime is {version}: must be {_jail.WASMTIME_MAJOR}")
    library = Path(found.origin).parent / "linux-x86_64" / "_libwasmtime.so"
    if not library.exists():
        raise JailError(f"wasm: wasmtime {version} has no library for this machine")
    return str(library)
