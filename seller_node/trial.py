"""A trial of each runtime, before anything is offered: a small program must run and end well.

What fails here would fail for the first buyer; and the processes that programs are forked from are there
afterwards, so that his program starts at once.
"""

import asyncio
import struct
from collections.abc import Iterable

from events.terminal import one_line
from seccomp import JailError, Limits, Runtime
from seller_node.profile import LEAST_MEMORY

MOST_SECONDS = 60.0
_BASE = 0x400000
_CODE = bytes.fromhex("b8e7000000 31ff 0f05")  # mov eax, 231 (exit_group); xor edi, edi; syscall
_ELF, _SEGMENT = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
# (module (func (export "_start")))
MODULE = bytes.fromhex("0061736d01000000 010401600000 03020100 070a01065f73746172740000 0a040102000b")
SOURCE = b"def work(data):\n    return data\n"


def smallest_executable() -> bytes:
    """A static x86_64 executable that ends at once with status 0."""
    head = _ELF.size + _SEGMENT.size
    size = head + len(_CODE)
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    elf = _ELF.pack(ident, 2, 62, 1, _BASE + head, _ELF.size, 0, 0, _ELF.size, _SEGMENT.size, 1, 0, 0, 0)
    return elf + _SEGMENT.pack(1, 5, 0, _BASE, _BASE, size, size, 0x1000) + _CODE


async def try_all(runtimes: Iterable[Runtime]) -> None:
    """Run one program in each runtime. Raises JailError where one does not end well."""
    await asyncio.gather(*(try_one(runtime) for runtime in runtimes))


async def try_one(runtime: Runtime) -> None:
    """Run one program. Raises JailError."""
    kind = runtime.tag.partition("/")[0]
    program = {"python": SOURCE, "wasm": MODULE}.get(kind) or smallest_executable()
    arguments = ["work", "bytes"] if kind == "python" else ["trial"]
    running = await runtime.start(program, arguments, Limits(memory_mb=LEAST_MEMORY))
    try:
        await running.close_stdin()
        async with asyncio.timeout(MOST_SECONDS):
            end = await running.wait()
        if end.status != 0:
            said = (await running.read_stderr(2000)).decode(errors="replace")
            raise JailError(one_line(f"{runtime.tag}: a trial program {end.why}: {said}"))
    except TimeoutError:
        raise JailError(f"{runtime.tag}: a trial program did not end in {MOST_SECONDS:g} s") from None
    finally:
        running.close()
