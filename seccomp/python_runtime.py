"""The runtime `python/3.N`: one function of a source text, in an interpreter that has numpy."""

import sys

from seccomp.launcher import Launcher
from seccomp.layers import Report
from seccomp.program import JailError, Limits, Program

ENCODINGS = ("bytes", "json")


class PythonRuntime:
    """Calls a function of a UTF-8 source text; `arguments` are its name and an encoding (`function.call`)."""

    tag = f"python/3.{sys.version_info.minor}"

    def __init__(self, report: Report) -> None:
        """Take the probed layers; JailError if they are too few."""
        self._launcher = Launcher("python", report)

    async def start(self, program: bytes, arguments: list[str], limits: Limits) -> Program:
        """Start the source text `program`. Raises JailError; a wrong source ends with status 1 instead."""
        if len(arguments) != 2 or not arguments[0].isidentifier() or arguments[1] not in ENCODINGS:
            raise JailError(f"arguments are {arguments!r:.200}: must be a function's name and bytes or json")
        line = f"{arguments[0]} {arguments[1]}\n".encode()
        return await self._launcher.start(line + program, [], limits)

    async def close(self) -> None:
        """End the runtime and all its programs."""
        await self._launcher.close()
