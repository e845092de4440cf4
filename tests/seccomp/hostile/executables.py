"""Executables that are none, or are no good: what a loader might trip over."""

import struct
from collections.abc import Sequence

from tests.seccomp.hostile.table import ASKS, DOES, Deed

BASE = 0x400000
LOAD, INTERPRETER, NOTE, TLS, GNU_STACK = 1, 3, 4, 7, 0x6474E551
READ, WRITE, EXECUTE = 4, 2, 1
CODE = bytes.fromhex(
    "b801000000 bf01000000 488d3510000000 ba0e000000 0f05 b8e7000000 31ff 0f05".replace(" ", "")
)
TEXT = b"ready\nescaped\n"
HEAD, SEGMENT = 64, 56
Segment = tuple[
    int, int, int, int, int, int, int
]  # type, flags, offset, address, in the file, in memory, align


def elf(
    segments: Sequence[Segment] | None = None,
    *,
    entry: int | None = None,
    kind: int = 2,
    machine: int = 62,
    bits: int = 2,
    order: int = 1,
    count: int | None = None,
    size: int = SEGMENT,
    at: int = HEAD,
    tail: bytes = b"",
) -> bytes:
    """A static executable that says `escaped` and exits with 0, with whatever is wrong with it."""
    segments = whole() if segments is None else segments
    begins = BASE + HEAD + SEGMENT * len(segments) if entry is None else entry
    head = struct.pack(
        "<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", bits, order, 1, kind, machine, 1, begins, at, 0, 0, HEAD,
        size, len(segments) if count is None else count, 64, 0, 0,
    )  # fmt: skip
    table = b"".join(
        struct.pack("<IIQQQQQQ", what, flags, offset, address, address, length, memory, align)
        for what, flags, offset, address, length, memory, align in segments
    )
    return head + table + CODE + TEXT + tail


def whole(
    flags: int = READ | EXECUTE, more: int = 0, address: int = BASE, align: int = 4096
) -> list[Segment]:
    """The one segment of an executable that is good; `more` bytes of memory behind the file's."""
    length = HEAD + SEGMENT + len(CODE) + len(TEXT)
    return [(LOAD, flags, 0, address, length, length + more, align)]


def _with(*others: Segment) -> list[Segment]:
    """A good segment, and others; the file is longer by their headers."""
    length = HEAD + SEGMENT * (1 + len(others)) + len(CODE) + len(TEXT)
    return [(LOAD, READ | EXECUTE, 0, BASE, length, length, 4096), *others]


def deeds() -> list[Deed]:
    """Each with what is wrong with it."""
    good = elf()
    page = 4096
    found: list[tuple[str, str, str, str, bytes]] = [
        ("good", "nothing is wrong with it", DOES, "exits 0", good),
        ("empty", "a file of no bytes", ASKS, "refused", b""),
        ("magic", "four bytes", ASKS, "refused", good[:4]),
        ("script", "a script with an interpreter", DOES, "refused", b"#!/bin/echo escaped\n" + bytes(100)),
        ("archive", "an archive", ASKS, "refused", b"!<arch>\n" + bytes(100)),
        ("windows", "an executable of another system", ASKS, "refused", b"MZ" + bytes(200)),
        ("cut_header", "its header cut off", ASKS, "refused", good[:50]),
        ("cut_table", "its table of segments cut off", ASKS, "refused", good[:80]),
        ("cut_segment", "its last byte cut off", DOES, "refused", good[:-1]),
        ("bits_32", "says that it is for 32 bits", ASKS, "refused", elf(bits=1)),
        ("big_endian", "says that its numbers are the other way round", DOES, "refused", elf(order=2)),
        ("machine", "is for another machine", ASKS, "refused", elf(machine=183)),
        ("object", "is an object file", ASKS, "refused", elf(kind=1)),
        ("core", "is a core file", ASKS, "refused", elf(kind=4)),
        ("interpreter", "names an interpreter", ASKS, "refused",
         elf(_with((INTERPRETER, READ, 0, 0, 20, 20, 1)))),
        ("interpreter_self", "names itself its interpreter", ASKS, "refused",
         elf(_with((INTERPRETER, READ, 240, 0, 15, 15, 1)), tail=b"/proc/self/exe\0")),
        ("no_segments", "has no segments", ASKS, "refused", elf(count=0)),
        ("many_segments", "says that it has 65,535 segments", ASKS, "refused", elf(count=65535)),
        ("table_far", "its table lies beyond the end", ASKS, "refused", elf(at=1 << 60)),
        ("table_wraps", "its table lies where numbers wrap", ASKS, "refused", elf(at=(1 << 64) - 56)),
        ("entry_size", "entries of another size", ASKS, "refused", elf(size=57)),
        ("entry_nowhere", "begins where nothing is", ASKS, "SIGSEGV", elf(entry=0x10)),
        ("entry_kernel", "begins in the kernel", ASKS, "SIGSEGV", elf(entry=0xFFFFFFFF81000000)),
        ("entry_data", "begins in data", ASKS, "SIGSEGV", elf(whole(READ | WRITE))),
        ("entry_vsyscall", "begins in the page of old calls", ASKS, "SIGSEGV|SIGSYS",
         elf(entry=0xFFFFFFFFFF600000)),
        ("write_execute", "can be written and executed", DOES, "exits 0", elf(whole(READ | WRITE | EXECUTE))),
        ("no_rights", "its only segment has no rights", ASKS, "SIGSEGV", elf(whole(0))),
        ("memory_huge", "wants 64 TiB behind its data", ASKS, "not started|SIGKILL|SIGSEGV",
         elf(whole(READ | WRITE | EXECUTE, 1 << 46))),
        ("memory_large", "wants 64 MiB behind its data", DOES, "not started|SIGKILL|SIGSEGV",
         elf(whole(READ | WRITE | EXECUTE, 64 << 20))),
        ("memory_wraps", "wants so much that the address wraps", ASKS, "not started|SIGKILL|SIGSEGV",
         elf(whole(READ | WRITE | EXECUTE, (1 << 64) - 4096))),
        ("memory_small", "less memory than bytes in the file", ASKS, "not started|SIGKILL|SIGSEGV",
         elf([(LOAD, 5, 0, BASE, len(good), 8, 4096)])),
        ("address_kernel", "lies in the kernel", ASKS, "not started|SIGKILL|SIGSEGV",
         elf(whole(address=0xFFFFFFFF81000000), entry=0xFFFFFFFF81000078)),
        ("address_zero", "lies at address 0", ASKS, "not started|SIGKILL|SIGSEGV",
         elf(whole(address=0), entry=HEAD + SEGMENT)),
        ("offset_odd", "offset and address do not agree", ASKS, "not started|SIGKILL|SIGSEGV",
         elf([(LOAD, 5, 1, BASE, len(good) - 1, len(good) - 1, 4096)])),
        ("align_odd", "an alignment of 3", ASKS, "exits 0", elf(whole(align=3))),
        ("align_huge", "an alignment of half of all addresses", ASKS, "exits 0|not started|SIGKILL|SIGSEGV",
         elf(whole(align=1 << 63), kind=3)),
        ("overlap", "two segments in one place", ASKS, "exits 0",
         elf(_with((LOAD, 5, 0, BASE, 200, 200, page)))),
        ("overlap_data", "data over the code", ASKS, "SIGSEGV",
         elf(_with((LOAD, 6, 0, BASE, 200, 200, page)))),
        ("backwards", "segments in the wrong order", ASKS, "exits 0",
         elf([*_with((LOAD, 4, 0, BASE - page * 9, 200, 200, page))])),
        ("stack_executable", "asks for a stack that can be executed", DOES, "exits 0",
         elf(_with((GNU_STACK, READ | WRITE | EXECUTE, 0, 0, 0, 0, 16)))),
        ("stack_huge", "asks for a stack of 2^60 bytes", DOES, "exits 0",
         elf(_with((GNU_STACK, READ | WRITE, 0, 0, 0, 1 << 60, 16)))),
        ("unknown", "a kind of segment that nobody knows", DOES, "exits 0",
         elf(_with((0x12345678, 7, 1 << 40, 1 << 60, 1 << 50, 1 << 50, 5)))),
        ("note_far", "a note beyond the end", DOES, "exits 0",
         elf(_with((NOTE, READ, 1 << 50, 0, 1 << 30, 0, 4)))),
        ("position_free", "lies anywhere (static PIE), entry and all", ASKS, "SIGSEGV",
         elf(kind=3, entry=0x7FFFFFFFF000)),
        ("thousand_segments", "a thousand segments in one page", ASKS, "exits 0",
         elf(_with(*[(LOAD, 4, 0, BASE + page * 99, 8, 8, page)] * 999))),
    ]  # fmt: skip
    return [
        Deed("native", "malformed executables", f"elf_{name}", tries, control, outcome, program)
        for name, tries, control, outcome, program in found
    ]
