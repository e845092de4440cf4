"""Hostile wasm modules, as text: what is tried is WASI's calls, the sandbox of wasmtime, and its compiler."""
# ruff: noqa: E501 (a table)

import re

from tests.seccomp.hostile.table import ASKS, DIES, DOES, Deed

CALLS = {  # what each takes: i is i32, l is i64; all return an error number but proc_exit
    "args_get": "ii", "clock_time_get": "ili", "environ_get": "ii", "fd_advise": "illi", "fd_allocate": "ill",
    "fd_close": "i", "fd_fdstat_get": "ii", "fd_fdstat_set_flags": "ii", "fd_filestat_get": "ii",
    "fd_filestat_set_size": "il", "fd_pread": "iiili", "fd_prestat_get": "ii", "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiili", "fd_read": "iiii", "fd_readdir": "iiili", "fd_renumber": "ii", "fd_sync": "i",
    "fd_write": "iiii", "path_create_directory": "iii", "path_filestat_get": "iiiii", "path_link": "iiiiiii",
    "path_open": "iiiiillii", "path_readlink": "iiiiii", "path_remove_directory": "iii",
    "path_rename": "iiiiii", "path_symlink": "iiiii", "path_unlink_file": "iii", "poll_oneoff": "iiii",
    "proc_exit": "i", "proc_raise": "i", "random_get": "ii", "sched_yield": "", "sock_accept": "iii",
    "sock_recv": "iiiiii", "sock_send": "iiiii", "sock_shutdown": "ii",
}  # fmt: skip
WASI, WALLS, BOMBS, FORMS = "wasm: WASI", "wasm: its walls", "wasm: bombs", "wasm: malformed modules"
BEGUN = "(drop (call $fd_write (i32.const 1) (i32.const 40) (i32.const 1) (i32.const 48)))"
NAME = "(i32.const 64) (i32.const 10)"  # etc/passwd
NONE = "(i32.const 80) (i32.const 9)"  # not/there
FAR = "(i32.const 2147483632)"
BADF, INVAL, FAULT, NOTSOCK, NOSYS, NOTSUP = (
    "exits 8",
    "exits 28",
    "exits 21",
    "exits 57",
    "exits 52",
    "exits 58",
)


def module(body: str, more: str = "", memory: str = "2") -> str:
    """A command whose body leaves an error number: with 0 it says `escaped`, with another it exits with that."""
    used = {name for name in CALLS if f"${name})" in body + more or f"${name} " in body + more}
    imports = "".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} '
        + "".join(f"(param {'i64' if letter == 'l' else 'i32'})" for letter in CALLS[name])
        + ("))\n" if name == "proc_exit" else "(result i32)))\n")
        for name in sorted(used | {"fd_write", "proc_exit"})
    )
    return f"""(module {imports} (memory (export "memory") {memory}) {more}
      (data (i32.const 8) "escaped\\nbegun\\n")
      (data (i32.const 32) "\\08\\00\\00\\00\\08\\00\\00\\00\\10\\00\\00\\00\\06\\00\\00\\00")
      (data (i32.const 64) "etc/passwd") (data (i32.const 80) "not/there")
      (func (export "_start") (local $n i32) (local $m i32)
        (local.set $n {body})
        (if (local.get $n) (then (call $proc_exit (local.get $n))))
        (drop (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 48)))))"""


def endless(body: str, more: str = "") -> str:
    """A command that says `begun`, and does its body for ever."""
    return module(f"(block (result i32) {BEGUN} (loop $ever {body} (br $ever)) (i32.const 0))", more)


ECHO = module(
    "(block (result i32) (i32.store (i32.const 100) (i32.const 4096)) (loop $more (i32.store (i32.const 96) (i32.const 4096))"
    "(i32.store (i32.const 100) (i32.const 4096))"
    "(drop (call $fd_read (i32.const 0) (i32.const 96) (i32.const 1) (i32.const 104)))"
    "(i32.store (i32.const 100) (i32.load (i32.const 104)))"
    "(if (i32.load (i32.const 104)) (then"
    " (drop (call $fd_write (i32.const 1) (i32.const 96) (i32.const 1) (i32.const 108))) (br $more))))"
    "(call $proc_exit (i32.const 0)) (i32.const 0))"
).encode()


def _on(call: str, *arguments: str) -> str:
    return module(f"(call ${call} {' '.join(arguments)})")


def _numbers(*values: int) -> list[str]:
    return [f"(i32.const {value})" for value in values]


def _open(rights: str) -> str:
    return f"(call $path_open (i32.const 3) (i32.const 0) {NAME} (i32.const 0) {rights} (i32.const 0) (i32.const 48))"


READ = "(i64.const 2) (i64.const 2)"
Row = tuple[str, str, str, str, str | bytes]
TABLE: dict[str, Row] = {
    "wasm_open": (WASI, "open a file", DOES, BADF, module(_open(READ))),
    "wasm_open_any": (WASI, "open a file, by every descriptor that there could be", DOES, BADF, module(
        "(block (result i32) (loop $next (local.set $n (call $path_open (local.get $m) (i32.const 0) "
        f"{NAME} (i32.const 0) {READ} (i32.const 0) (i32.const 48))) (br_if 1 (i32.const 0) (i32.eqz (local.get $n))) (drop)"
        "(local.set $m (i32.add (local.get $m) (i32.const 1)))"
        "(br_if $next (i32.lt_u (local.get $m) (i32.const 1000)))) (local.get $n))")),
    "wasm_prestat": (WASI, "ask for a directory that it was given", DOES, BADF, _on("fd_prestat_get", *_numbers(3, 48))),
    "wasm_prestat_name": (WASI, "ask for its name", DOES, BADF, _on("fd_prestat_dir_name", *_numbers(3, 48, 1))),
    "wasm_readdir": (WASI, "list a directory", DOES, BADF,
                     _on("fd_readdir", "(i32.const 3) (i32.const 4096) (i32.const 4096) (i64.const 0) (i32.const 48)")),
    "wasm_stat": (WASI, "ask after a file", DOES, BADF,
                  _on("path_filestat_get", f"(i32.const 3) (i32.const 0) {NAME} (i32.const 4096)")),
    "wasm_mkdir": (WASI, "make a directory", ASKS, BADF, _on("path_create_directory", f"(i32.const 3) {NONE}")),
    "wasm_rmdir": (WASI, "remove a directory", ASKS, BADF, _on("path_remove_directory", f"(i32.const 3) {NONE}")),
    "wasm_unlink": (WASI, "remove a file", ASKS, BADF, _on("path_unlink_file", f"(i32.const 3) {NONE}")),
    "wasm_link": (WASI, "make a link", ASKS, BADF,
                  _on("path_link", f"(i32.const 3) (i32.const 0) {NONE} (i32.const 3) {NONE}")),
    "wasm_symlink": (WASI, "make a symbolic link", ASKS, BADF, _on("path_symlink", f"{NAME} (i32.const 3) {NONE}")),
    "wasm_rename": (WASI, "rename a file", ASKS, BADF,
                    _on("path_rename", f"(i32.const 3) {NONE} (i32.const 3) {NONE}")),
    "wasm_readlink": (WASI, "read a link", ASKS, BADF,
                      _on("path_readlink", f"(i32.const 3) {NONE} (i32.const 4096) (i32.const 100) (i32.const 48)")),
    "wasm_accept": (WASI, "accept a connection", ASKS, "exits 8|exits 57", _on("sock_accept", *_numbers(3, 0, 48))),
    "wasm_send": (WASI, "send on a socket", ASKS, "exits 8|exits 57", _on("sock_send", *_numbers(3, 32, 1, 0, 48))),
    "wasm_receive": (WASI, "receive from a socket", ASKS, "exits 8|exits 57",
                     _on("sock_recv", *_numbers(0, 32, 1, 0, 48, 52))),
    "wasm_write_3": (WASI, "write to a descriptor that is not its own", ASKS, BADF,
                     _on("fd_write", *_numbers(3, 32, 1, 48))),
    "wasm_write_all": (WASI, "write to each of a thousand descriptors", ASKS, BADF, module(
        "(block (result i32) (local.set $m (i32.const 3)) (loop $next "
        "(local.set $n (call $fd_write (local.get $m) (i32.const 32) (i32.const 1) (i32.const 48)))"
        "(br_if 1 (i32.const 0) (i32.eqz (local.get $n))) (drop)"
        "(local.set $m (i32.add (local.get $m) (i32.const 1)))"
        "(br_if $next (i32.lt_u (local.get $m) (i32.const 1000)))) (local.get $n))")),
    "wasm_write_negative": (WASI, "write to descriptor -1", ASKS, BADF, _on("fd_write", *_numbers(-1, 32, 1, 48))),
    "wasm_read_output": (WASI, "read from its output", ASKS, "exits 8|exits 76", _on("fd_read", *_numbers(1, 32, 1, 48))),
    "wasm_renumber": (WASI, "put one descriptor in another's place", ASKS, "exits 8|exits 52|exits 58",
                      _on("fd_renumber", *_numbers(1, 3))),
    "wasm_raise": (WASI, "raise a signal", ASKS, "exits 52|exits 58", _on("proc_raise", *_numbers(9))),
    "wasm_flags": (WASI, "set flags that are shared through a pipe", ASKS, "exits 0|exits 8|exits 52|exits 58|exits 28",
                   _on("fd_fdstat_set_flags", *_numbers(1, 4))),
    "wasm_allocate": (WASI, "take disk space", ASKS, "exits 8|exits 28|exits 58|exits 70|exits 29",
                      _on("fd_allocate", "(i32.const 1) (i64.const 0) (i64.const 1048576)")),
    "wasm_pointer": (WASI, "have bytes read from beyond its memory", DIES, "exits 21|exits 134",
                     _on("fd_write", f"(i32.const 1) {FAR} (i32.const 1) (i32.const 48)")),
    "wasm_pointer_vector": (WASI, "the same by a vector that points there", ASKS, "exits 21|exits 134", module(
        f"(block (result i32) (i32.store (i32.const 96) {FAR}) (i32.store (i32.const 100) (i32.const 2147483647))"
        "(call $fd_write (i32.const 1) (i32.const 96) (i32.const 1) (i32.const 48)))")),
    "wasm_pointer_wraps": (WASI, "the same with a length that wraps", ASKS, "exits 21|exits 134", module(
        "(block (result i32) (i32.store (i32.const 96) (i32.const 16)) (i32.store (i32.const 100) (i32.const -1))"
        "(call $fd_write (i32.const 1) (i32.const 96) (i32.const 1) (i32.const 48)))")),
    "wasm_pointer_many": (WASI, "2^32-1 vectors", ASKS, "exits 21|exits 28|exits 134",
                          _on("fd_write", *_numbers(1, 32, -1, 48))),
    "wasm_pointer_result": (WASI, "have a result written beyond its memory", ASKS, "exits 21|exits 134",
                            _on("fd_write", f"(i32.const 1) (i32.const 32) (i32.const 1) {FAR}")),
    "wasm_pointer_random": (WASI, "have random bytes written beyond its memory", ASKS, "exits 21|exits 134",
                            _on("random_get", "(i32.const 131000) (i32.const 1000)")),
    "wasm_pointer_read": (WASI, "have its input written beyond its memory", ASKS, "exits 21|exits 134", module(
        "(block (result i32) (i32.store (i32.const 96) (i32.const 131064)) (i32.store (i32.const 100) (i32.const 65536))"
        "(call $fd_read (i32.const 0) (i32.const 96) (i32.const 1) (i32.const 48)))")),
    "wasm_pointer_arguments": (WASI, "have its arguments written beyond its memory", ASKS, "exits 21|exits 134",
                               _on("args_get", f"{FAR} (i32.const 131070)")),
    "wasm_pointer_poll": (WASI, "wait for 2^28 things beyond its memory", ASKS, "exits 21|exits 28|exits 134",
                          _on("poll_oneoff", "(i32.const 0)", "(i32.const 0)", "(i32.const 268435455)", "(i32.const 48)")),
    "wasm_clock": (WASI, "read a clock that is not there", ASKS, "exits 28|exits 58|exits 8|exits 134",
                   _on("clock_time_get", "(i32.const 99) (i64.const 0) (i32.const 48)")),
    "wasm_load": (WALLS, "read beyond its memory", DIES, "exits 134", module("(i32.load (i32.const 131072))")),
    "wasm_load_far": (WALLS, "read 8 GiB away", DIES, "exits 134", module("(i32.load offset=4294967295 (i32.const -1))")),
    "wasm_store": (WALLS, "write beyond its memory", DIES, "exits 134",
                   module("(block (result i32) (i32.store (i32.const -4) (i32.const 1)) (i32.const 0))")),
    "wasm_fill": (WALLS, "fill beyond its memory", DIES, "exits 134",
                  module(f"(block (result i32) (memory.fill {FAR} (i32.const 1) (i32.const 99)) (i32.const 0))")),
    "wasm_copy": (WALLS, "copy beyond its memory", DIES, "exits 134",
                  module(f"(block (result i32) (memory.copy (i32.const 0) (i32.const 131000) {FAR}) (i32.const 0))")),
    "wasm_table": (WALLS, "call beyond its table", DIES, "exits 134",
                   module("(call_indirect (result i32) (i32.const 77))", "(table 1 funcref)")),
    "wasm_table_type": (WALLS, "call a function as if it were of another type", DIES, "exits 134",
                        module("(call_indirect (param i64) (result i32) (i64.const 1) (i32.const 0))",
                               "(table 1 funcref) (elem (i32.const 0) $f) (func $f (param i32) (result i32) (i32.const 0))")),
    "wasm_null": (WALLS, "call nothing", DIES, "exits 134",
                  module("(call_indirect (result i32) (i32.const 0))", "(table 1 funcref)")),
    "wasm_divide": (WALLS, "divide by zero", DIES, "exits 134", module("(i32.div_u (i32.const 1) (local.get $n))")),
    "wasm_unreachable": (WALLS, "do what cannot be done", DIES, "exits 134", module("(unreachable)")),
    "wasm_recursion": (WALLS, "a recursion without end", DIES, "exits 134",
                       module("(call $f)", "(func $f (result i32) (i32.add (call $f) (i32.const 1)))")),
    "wasm_recursion_frames": (WALLS, "the same with large frames", DIES, "exits 134", module(
        "(call $f (i64.const 1))",
        f"(func $f (param i64) (result i32) {'(local i64)' * 500} (local.set 7 (local.get 0)) "
        "(i32.add (call $f (i64.add (local.get 7) (i64.const 1))) (i32.wrap_i64 (local.get 7))))")),
    "wasm_exit": (WALLS, "exit with 137, as if killed", ASKS, "exits 137|exits 134",
                  module("(block (result i32) (call $proc_exit (i32.const 137)) (i32.const 0))")),
    "wasm_exit_large": (WALLS, "exit with 2^31", ASKS, "exits 0|exits 134|exits 255",
                        module("(block (result i32) (call $proc_exit (i32.const -2147483648)) (i32.const 0))")),
    "wasm_memory": (BOMBS, "grow to a gigabyte", DOES, "exits 1", module(
        "(i32.eq (memory.grow (i32.const 12000)) (i32.const -1))")),
    "wasm_memory_pieces": (BOMBS, "grow page by page, as far as it goes, and use all", ASKS, "exits 0|exits 134", module(
        "(block (result i32) (loop $more (if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then "
        "(memory.fill (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1048576)) (i32.const 7) (i32.const 1048576))"
        "(br_if $more (i32.lt_u (memory.size) (i32.const 4000)))))) (i32.lt_u (i32.const 2000) (memory.size)))")),
    "wasm_memory_declared": (BOMBS, "begin with 4 GiB", ASKS, "exits 134|refused", module("(i32.const 0)", "", "65536")),
    "wasm_table_grow": (BOMBS, "grow a table to 2^30 entries", ASKS, "exits 1|exits 134", module(
        "(i32.eq (table.grow $t (ref.null func) (i32.const 1073741823)) (i32.const -1))", "(table $t 1 funcref)")),
    "wasm_spin": (BOMBS, "compute past the end of its hour", ASKS, "keeper", endless("(nop)")),
    "wasm_spin_memory": (BOMBS, "use all of its memory, over and over", ASKS, "keeper",
                         endless("(memory.fill (i32.const 256) (i32.const 1) (i32.const 130000))")),
    "wasm_spin_calls": (BOMBS, "nothing but calls of WASI", ASKS, "keeper", endless("(drop (call $sched_yield))")),
    "wasm_sleep": (BOMBS, "sleep for ever", ASKS, "keeper", endless(
        "(i32.store (i32.const 1016) (i32.const 1)) (i64.store (i32.const 1024) (i64.const 9000000000000000000))"
        "(drop (call $poll_oneoff (i32.const 1000) (i32.const 2000) (i32.const 1) (i32.const 3000)))")),
    "wasm_flood": (BOMBS, "write without end", ASKS, "keeper", endless(
        "(i32.store (i32.const 96) (i32.const 4096)) (i32.store (i32.const 100) (i32.const 65536))"
        "(drop (call $fd_write (i32.const 1) (i32.const 96) (i32.const 1) (i32.const 48)))")),
    "wasm_closed": (BOMBS, "close its streams and go on", ASKS, "keeper", endless(
        "(drop (call $fd_close (i32.const 0))) (drop (call $fd_close (i32.const 1))) (drop (call $fd_close (i32.const 2)))")),
    "wasm_start": (BOMBS, "never end starting (a start function)", ASKS, "keeper", endless(
        "(nop)").replace('(func (export "_start")', '(func (export "_start")) (start $s) (func $s')),
    "wasm_locals": (BOMBS, "a function with 50,000 locals", ASKS, "exits 0|refused",
                    module("(call $f)", f"(func $f (result i32) {'(local i32 i64)' * 25_000} (local.get 1))")),
    "wasm_locals_more": (BOMBS, "a function with too many locals", ASKS, "refused",
                         module("(call $f)", f"(func $f (result i32) {'(local i32 i64)' * 26_000} (local.get 1))")),
    "wasm_nested": (BOMBS, "blocks nested 10,000 deep", ASKS, "exits 0|refused",
                    module("(i32.const 0)", f"(func {'(block ' * 500}{')' * 500})")),
    "wasm_branches": (BOMBS, "a branch with 100,000 targets", ASKS, "exits 0|refused", module(
        "(call $f)", f"(func $f (result i32) (block (br_table {'0 ' * 100_000} (i32.const 3))) (i32.const 0))")),
    "wasm_functions": (BOMBS, "10,000 functions", ASKS, "exits 0|refused",
                       module("(i32.const 0)", "(func (result i32) (i32.const 7))" * 10_000)),
    "wasm_data": (BOMBS, "data that lies beyond its memory", ASKS, "exits 134|refused",
                  module("(i32.const 0)", f"(data {FAR} \"x\")")),
    "wasm_empty": (FORMS, "a file of no bytes", ASKS, "refused", b""),
    "wasm_magic": (FORMS, "eight bytes", ASKS, "refused", b"\0asm\1\0\0\0"),
    "wasm_version": (FORMS, "another version", ASKS, "refused", b"\0asm\2\0\0\0"),
    "wasm_component": (FORMS, "a component", ASKS, "refused", b"\0asm\x0d\0\1\0"),
    "wasm_text": (FORMS, "the text of one", ASKS, "refused", b" (module)"),
    "wasm_elf": (FORMS, "machine code", ASKS, "refused", b"\x7fELF" + bytes(100)),
    "wasm_compiled": (FORMS, "what claims to be compiled already", ASKS, "refused", b"\x7fELF\2\1\1\xc8" + bytes(200)),
    "wasm_noise": (FORMS, "noise behind the first bytes", ASKS, "refused", b"\0asm\1\0\0\0" + bytes(range(256))),
    "wasm_section": (FORMS, "a section of 4 GiB", ASKS, "refused", b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f"),
    "wasm_types": (FORMS, "2^32-1 types", ASKS, "refused", b"\0asm\1\0\0\0\1\5\xff\xff\xff\xff\x0f"),
    "wasm_name": (FORMS, "names that are no text", ASKS, "refused", b"\0asm\1\0\0\0\7\5\1\2\xff\xfe\0\0"),
    "wasm_no_start": (FORMS, "no function to begin with", ASKS, "refused", "(module)"),
    "wasm_import": (FORMS, "asks for a function that there is not", ASKS, "refused",
                    '(module (import "env" "system" (func)) (func (export "_start")))'),
    "wasm_import_lines": (FORMS, "the same, with a name of many lines", ASKS, "refused",
                          '(module (import "a\\0ab\\1b[2J" "c\\0d\\0a" (func)) (func (export "_start")))'),
    "wasm_threads": (FORMS, "memory shared between threads", ASKS, "refused",
                     '(module (memory 1 1 shared) (func (export "_start")))'),
    "wasm_memory64": (FORMS, "memory of 64 bits", ASKS, "refused",
                      '(module (memory i64 1) (func (export "_start")))'),
    "wasm_memories": (FORMS, "many memories", ASKS, "refused",
                      f'(module {"(memory 1)" * 50} (func (export "_start")))'),
}  # fmt: skip


def deeds() -> list[Deed]:
    """Texts stay texts: who runs them assembles them."""
    found = []
    for name, (family, tries, control, outcome, text) in TABLE.items():
        program = text if isinstance(text, bytes) else re.sub(r"\s+", " ", text).encode()
        found.append(Deed("wasm", family, name, tries, control, outcome, program))
    return found


def assembled(program: bytes) -> bytes:
    """The module of a text; what is none as it is."""
    if not program.startswith(b"(module"):
        return program
    import wasmtime

    return bytes(wasmtime.wat2wasm(program))
