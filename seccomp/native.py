"""The runtime `native/x86_64-linux`: static executables."""

import struct

from seccomp.launcher import Launcher
from seccomp.layers import Report
from seccomp.program import JailError, Limits, Program

_HEADER = struct.Struct("<4sBBB9xHHIQQQIHHH")  # Elf64_Ehdr up to e_phnum
_SEGMENT = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
_INTERPRETER, _X86_64 = 3, 62


class NativeRuntime:
    """Runs static x86_64 ELF executables. `arguments` are argv, argv[0] included; no environment."""

    tag = "native/x86_64-linux"

    def __init__(self, report: Report) -> None:
        """Take the probed layers; JailError if they are too few."""
        self._launcher = Launcher("native", report)

    async def start(self, program: bytes, arguments: list[str], limits: Limits) -> Program:
        """Start the executable `program`. Raises JailError."""
        fault = find_fault(program)
        if fault:
            raise JailError(f"not a static x86_64 ELF executable: {fault}")
        return await self._launcher.start(program, arguments, limits)

    async def close(self) -> None:
        """End the runtime and all its programs."""
        await self._launcher.close()


def find_fault(program: bytes) -> str:
    """Return why `program` is no static x86_64 executable, with the remedy; "" if it is one."""
    if len(program) < _HEADER.size:
        return f"it is {len(program)} bytes long"
    magic, bits, order, _, kind, machine, _, _, at, _, _, _, size, count = _HEADER.unpack_from(program)
    if magic != b"\x7fELF":
        return f"it begins with {program[:4]!r}; send the executable itself, no script and no archive"
    if (bits, order, machine) != (2, 1, _X86_64):
        return f"it is for another machine (class {bits}, machine {machine}); compile for x86_64"
    if kind not in (2, 3):  # ET_EXEC, ET_DYN (static-pie)
        return f"its type is {kind}, an object or core file; link it"
    if size != _SEGMENT.size or count == 0 or at + size * count > len(program):
        return "its program headers lie outside of the file; it was cut off or damaged"
    for index in range(count):
        what, _, offset, _, _, length, *_ = _SEGMENT.unpack_from(program, at + index * size)
        if what == _INTERPRETER:
            name = program[offset : offset + min(length, 100)].rstrip(b"\0").decode(errors="replace")
            name = "".join(letter if letter.isprintable() else "?" for letter in name)
            return f"it names the interpreter {name}; link with -static"
        if what == 1 and offset + length > len(program):
            return "its segments lie outside of the file; it was cut off or damaged"
    return ""
