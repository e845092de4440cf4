"""WebAssembly modules as text, for the tests of this folder."""

import wasmtime

from seccomp.wasm_runtime import MODULE

WASI = {
    "args_get": "(param i32 i32)",
    "args_sizes_get": "(param i32 i32)",
    "clock_time_get": "(param i32 i64 i32)",
    "environ_sizes_get": "(param i32 i32)",
    "fd_close": "(param i32)",
    "fd_prestat_get": "(param i32 i32)",
    "fd_read": "(param i32 i32 i32 i32)",
    "fd_seek": "(param i32 i64 i32 i32)",
    "fd_write": "(param i32 i32 i32 i32)",
    "path_open": "(param i32 i32 i32 i32 i32 i64 i64 i32 i32)",
    "poll_oneoff": "(param i32 i32 i32 i32)",
    "random_get": "(param i32 i32)",
    "sock_send": "(param i32 i32 i32 i32 i32)",
}

# write: bytes to a stream, all of them; status: the end; up: says so.
_COMMON = """
(import "wasi_snapshot_preview1" "proc_exit" (func $status (param i32)))
(memory (export "memory") 2)
(data (i32.const 100) "up\\n")
(func $write (param $fd i32) (param $from i32) (param $size i32)
  (loop $more
    (i32.store (i32.const 80) (local.get $from))
    (i32.store (i32.const 84) (local.get $size))
    (if (call $fd_write (local.get $fd) (i32.const 80) (i32.const 1) (i32.const 88))
      (then (call $status (i32.const 99))))
    (local.set $from (i32.add (local.get $from) (i32.load (i32.const 88))))
    (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 88))))
    (br_if $more (local.get $size))))
(func $up (call $write (i32.const 1) (i32.const 100) (i32.const 3)))
"""


def assemble(text: str) -> bytes:
    """The module of a text."""
    return bytes(wasmtime.wat2wasm(text))


def command(body: str, more: str = "") -> bytes:
    """A WASI command whose `_start` is `body`; it finds what _COMMON and WASI have, and `more`."""
    imports = "\n".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} {takes} (result i32)))'
        for name, takes in WASI.items()
    )
    return assemble(f'(module {imports} {_COMMON} {more} (func (export "_start") (local $n i32) {body}))')


HELLO = command("(call $up)")
ECHO = command(
    """
    (loop $next
      (i32.store (i32.const 64) (i32.const 4096))
      (i32.store (i32.const 68) (i32.const 65536))
      (if (call $fd_read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 72))
        (then (call $status (i32.const 98))))
      (if (i32.load (i32.const 72))
        (then (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 72))) (br $next))))
    """
)
SPIN = command("(call $up) (loop $ever (br $ever))")
FLOOD = command(
    """
    (loop $ever
      (call $write (i32.const 1) (i32.const 0) (i32.const 4096))
      (call $write (i32.const 2) (i32.const 0) (i32.const 1))
      (br $ever))
    """
)
# Grows 1 MiB at a time, touching it, until it is refused; the status is how many MiB it has.
GROW = command(
    """
    (loop $more
      (if (i32.ne (i32.const -1) (memory.grow (i32.const 16)))
        (then
          (memory.fill (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1048576))
            (i32.const 7) (i32.const 1048576))
          (br $more))))
    (call $status (i32.shr_u (memory.size) (i32.const 4)))
    """
)
# Waits for 0.3 s on the monotonic clock; then says so.
SLEEP = command(
    """
    (loop $ever
      (call $up)
      (i32.store8 (i32.const 1008) (i32.const 0))
      (i32.store (i32.const 1016) (i32.const 1))
      (i64.store (i32.const 1024) (i64.const 300000000))
      (if (call $poll_oneoff (i32.const 1000) (i32.const 2000) (i32.const 1) (i32.const 3000))
        (then (call $status (i32.const 97))))
      (if (i32.load16_u (i32.const 2008)) (then (call $status (i32.const 96))))
      (br $ever))
    """
)


def bomb(functions: int, instructions: int) -> bytes:
    """A module that takes long to compile: so many functions with so many instructions each."""
    # (local.set 0 (i32.add (local.get 0) (i32.mul (local.get 0) (i32.const n))))
    one = b"\0" + b"".join(b"\x20\0\x20\0\x41%c\x6c\x6a\x21\0" % (n % 64) for n in range(instructions // 6))
    bodies = (_leb(len(one) + 1) + one + b"\x0b") * functions + b"\2\0\x0b"
    sections = {
        1: b"\2\x60\1\x7f\0\x60\0\0",  # two types: (param i32), and none
        3: _leb(functions + 1) + bytes(functions) + b"\1",
        7: b"\1\6_start\0" + _leb(functions),
        10: _leb(functions + 1) + bodies,
    }
    return MODULE + b"".join(bytes([kind]) + _leb(len(body)) + body for kind, body in sections.items())


def _leb(number: int) -> bytes:
    """As WebAssembly writes numbers: seven bits a byte, the lowest first."""
    low = bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
    return low + (_leb(number >> 7) if number > 0x7F else b"")
