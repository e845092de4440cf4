"""A trial of each runtime, before anything is offered: a small program must run and end well.

What fails here would fail for the first buyer; and the processes that programs are forked from are there
afterwards, so that his program starts at once.
"""

import asyncio
import contextlib
import re
import struct
from collections.abc import Iterable

from events.profile import FLAG
from events.terminal import one_line
from events.wire import dumps, loads
from seccomp import InputClosedError, JailError, Limits, Runtime
from seccomp.function import INSTALLED
from seller_node.profile import LEAST_MEMORY

MOST_SECONDS = 60.0
MOST_OUTPUT = 64 * 1024
_BASE = 0x400000
_CODE = bytes.fromhex("b8e7000000 31ff 0f05")  # mov eax, 231 (exit_group); xor edi, edi; syscall
_ELF, _SEGMENT = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
# (module (func (export "_start")))
MODULE = bytes.fromhex("0061736d01000000 010401600000 03020100 070a01065f73746172740000 0a040102000b")
PACKAGES = tuple(dict.fromkeys(name.partition(".")[0] for name in INSTALLED))
# Imported in the jail, where there are no files: what is there was imported before it closed.
SOURCE = b"""
import importlib

def work(names):
    found = {}
    for name in names:
        try:
            found[name] = importlib.import_module(name).__version__
        except ImportError:
            pass
    return found
"""


def smallest_executable() -> bytes:
    """A static x86_64 executable that ends at once with status 0."""
    head = _ELF.size + _SEGMENT.size
    size = head + len(_CODE)
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    elf = _ELF.pack(ident, 2, 62, 1, _BASE + head, _ELF.size, 0, 0, _ELF.size, _SEGMENT.size, 1, 0, 0, 0)
    return elf + _SEGMENT.pack(1, 5, 0, _BASE, _BASE, size, size, 0x1000) + _CODE


async def try_all(runtimes: Iterable[Runtime]) -> set[str]:
    """Run one program in each runtime; returns their tags, and the flags of the packages that Python programs
    find (R29). Raises JailError where one does not end well."""
    found = await asyncio.gather(*(try_one(runtime) for runtime in runtimes))
    return set().union(*found)


async def try_one(runtime: Runtime) -> set[str]:
    """Run one program; returns its flags. Raises JailError."""
    is_python = runtime.tag.startswith("python/")
    if is_python:
        program, arguments, data = SOURCE, ["work", "json"], dumps([PACKAGES])
    elif runtime.tag.startswith("wasm/"):
        program, arguments, data = MODULE, ["trial"], b""
    else:
        program, arguments, data = smallest_executable(), ["trial"], b""
    running = await runtime.start(program, arguments, Limits(memory_mb=LEAST_MEMORY))
    try:
        async with asyncio.timeout(MOST_SECONDS):
            with contextlib.suppress(InputClosedError):  # how it ended says more
                await running.write(data)
            await running.close_stdin()
            end = await running.wait()
        if end.status != 0:
            said = (await running.read_stderr(2000)).decode(errors="replace")
            raise JailError(one_line(f"{runtime.tag}: a trial program {end.why}: {said}"))
        told = await running.read_stdout(MOST_OUTPUT) if is_python else b""
    except TimeoutError:
        raise JailError(f"{runtime.tag}: a trial program did not end in {MOST_SECONDS:g} s") from None
    finally:
        running.close()
    return {runtime.tag} | (package_flags(loads(told)) if is_python else set())


def package_flags(versions: dict[str, str]) -> set[str]:
    """`numpy/2.2` for numpy 2.2.6: the part of a version that tells what a program may call."""
    flags = set()
    for name, version in versions.items():
        number = re.match(r"[0-9]+\.[0-9]+", version)
        flag = f"{name.lower()}/{number[0]}" if number else ""
        if re.fullmatch(FLAG, flag):
            flags.add(flag)
    return flags
