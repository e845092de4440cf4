"""WebAssembly: modules compiled in the jail, at every level; hostile ones die alone."""

import asyncio
import gc
import os
import signal
import struct
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seccomp import Exit, InputClosedError, JailError, Limits, Program, Runtime, WasmRuntime, templates
from tests.seccomp.modules import ECHO, FLOOD, GROW, HELLO, SLEEP, SPIN, assemble, bomb, command
from tests.seccomp.processes import (
    alive,
    descendants,
    keepers,
    start_time,
    stat,
    state,
    ticks,
    until,
    until_async,
    zygotes,
)
from tests.seccomp.running import LIMITS, Outcome, finish, ready_node, report_at, run, runtime_at

LEVELS = pytest.mark.parametrize("level", ["A", "B", "C"])


def outcome_of(
    module: bytes, arguments: tuple[str, ...] = ("module",), data: bytes = b"", level: str = "A"
) -> Outcome:
    async def go() -> Outcome:
        async with runtime_at(level, "wasm") as runtime:
            return await run(runtime, module, list(arguments), data)

    return asyncio.run(go())


async def killed(program: Program) -> Exit:
    program.kill()
    end = await asyncio.wait_for(program.wait(), 30)
    program.close()
    return end


async def up(runtime: Runtime, module: bytes, limits: Limits = LIMITS) -> Program:
    program = await runtime.start(module, ["module"], limits)
    assert await program.read_stdout(3) == b"up\n"
    return program


def computing() -> int:
    """The process among our descendants that computes; templates and copies in waiting do not."""
    until(lambda: max(map(ticks, descendants(os.getpid()))) > 5, "one computes")
    return max(descendants(os.getpid()), key=ticks)


@LEVELS
def test_streams_statuses_and_the_meter(level: str) -> None:
    data = os.urandom(300_000)

    async def go() -> list[Outcome]:
        async with runtime_at(level, "wasm") as runtime:
            return [
                await run(runtime, HELLO, ["module"]),
                await run(runtime, ECHO, ["module"], data),
                await run(runtime, command("(call $status (i32.const 7))"), ["module"]),
            ]

    hello, echo, seven = asyncio.run(go())
    assert (hello.stdout, hello.stderr, hello.exit.status) == (b"up\n", b"", 0)
    assert (echo.stdout, echo.exit.status) == (data, 0)
    assert (echo.exit.bytes_in, echo.exit.bytes_out) == (len(data), len(data))
    assert echo.exit.cpu_us > 0 and echo.exit.memory_kb > 1000
    assert (seven.exit.status, seven.exit.why) == (7, "exited with 7")


def test_arguments_reach_it_and_no_environment_nor_file() -> None:
    module = command(
        """
        (drop (call $args_sizes_get (i32.const 200) (i32.const 204)))
        (drop (call $args_get (i32.const 1000) (i32.const 4096)))
        (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 204)))
        (drop (call $environ_sizes_get (i32.const 208) (i32.const 212)))
        (i32.store (i32.const 216) (call $fd_prestat_get (i32.const 3) (i32.const 300)))
        (i32.store (i32.const 220) (call $path_open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 2)
          (i32.const 0) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 300)))
        (i32.store (i32.const 224) (call $sock_send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
          (i32.const 300)))
        (i32.store (i32.const 228) (call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 300)))
        (call $write (i32.const 2) (i32.const 200) (i32.const 32))
        (i32.store (i32.const 1000) (i32.load (i32.const 1004)))
        (call $write (i32.const 2) (i32.load (i32.const 1000)) (i32.const 1))
        """
    )
    outcome = outcome_of(module, ("größe", "", "two words"))
    assert outcome.stdout == "größe\0\0two words\0".encode()
    count, size, variables, environment, *errors = struct.unpack("<8I", outcome.stderr[:32])
    assert (count, size, variables, environment) == (3, len(outcome.stdout), 0, 0)
    assert errors == [8, 8, 57, 70]  # BADF, BADF, NOTSOCK, SPIPE
    assert outcome.stderr[32:] == b"\0", "the second argument is empty"


def test_clocks_and_chance() -> None:
    module = command(
        """
        (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 1000)))
        (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 1008)))
        (drop (call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 1016)))
        (drop (call $random_get (i32.const 1024) (i32.const 16)))
        (call $write (i32.const 1) (i32.const 1000) (i32.const 40))
        """
    )

    async def go() -> list[bytes]:
        async with runtime_at("A", "wasm") as runtime:
            return [(await run(runtime, module, [])).stdout for _ in range(2)]

    (wall, since_boot, cpu, *chance), (later, *others, third, fourth) = (
        struct.unpack("<3Q2Q", said) for said in asyncio.run(go())
    )
    assert wall > 1_700_000_000 * 10**9 and later > wall
    assert others[0] > since_boot > 0 and cpu > 0
    assert len({*chance, third, fourth}) == 4, "copies of one template draw alike"


BAD_POINTERS = {
    "far": "(call $fd_write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 0))",
    "at the edge": "(call $random_get (i32.const 131071) (i32.const 2))",
    "many": "(call $fd_read (i32.const 0) (i32.const 131000) (i32.const 1000) (i32.const 0))",
    "result": "(call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 131070))",
    "piece": """(i32.store (i32.const 0) (i32.const 131000)) (i32.store (i32.const 4) (i32.const -1))
        (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0))""",
    "subscriptions": "(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0))",
    "itself": "(call $poll_oneoff (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 0))",
    "arguments": "(call $args_get (i32.const 131071) (i32.const 0))",
    "clock": "(call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 131065))",
}


def test_a_pointer_out_of_its_memory_is_an_error_of_its_own() -> None:
    async def go() -> dict[str, int | None]:
        async with runtime_at("A", "wasm") as runtime:
            return {
                name: (await run(runtime, command(f"(call $status {call})"), ["module"])).exit.status
                for name, call in BAD_POINTERS.items()
            }

    assert asyncio.run(go()) == dict.fromkeys(BAD_POINTERS, 21)  # FAULT


def test_simd_computes() -> None:
    body = """(call $status (i32x4.extract_lane 2
        (i32x4.mul (v128.const i32x4 1 2 3 4) (v128.const i32x4 5 6 7 8))))"""
    assert outcome_of(command(body)).exit.status == 21


TRAPS = {
    "unreachable": "wasm `unreachable` instruction executed",
    "(drop (i32.div_s (i32.const 1) (i32.const 0)))": "integer divide by zero",
    "(drop (i32.load (i32.const 200000)))": "out of bounds memory access",
    "(drop (i32.load offset=4294967295 (i32.const -1)))": "out of bounds memory access",
    "(call $deeper)": "call stack exhausted",
    "(call_indirect (i32.const 9))": "undefined element: out of bounds table access",
}


@LEVELS
def test_a_trap_is_a_status_and_a_message(level: str) -> None:
    async def go() -> list[Outcome]:
        async with runtime_at(level, "wasm") as runtime:
            more = "(table 1 funcref) (func $deeper (call $deeper))"
            return [await run(runtime, command(body, more), ["module"]) for body in TRAPS]

    for outcome, told in zip(asyncio.run(go()), TRAPS.values(), strict=True):
        assert outcome.exit.status == 134, outcome
        assert outcome.stderr.startswith(b"wasm: ") and told in outcome.stderr.decode()


@LEVELS
def test_memory_is_what_was_given(level: str) -> None:
    more = "(table $t 1 funcref)"
    tables = "(loop $l (br_if $l (i32.ne (i32.const -1) (table.grow $t (ref.null func) (i32.const 10000)))))"

    async def go() -> list[Outcome]:
        async with runtime_at(level, "wasm") as runtime:
            return [
                await run(runtime, GROW, ["module"]),
                await run(runtime, GROW, ["module"], limits=Limits(memory_mb=24)),  # the same template
                await run(runtime, command(tables, more), ["module"]),
                await run(runtime, assemble('(module (memory 60000) (func (export "_start")))'), ["module"]),
            ]

    grown, less, table, too_much = asyncio.run(go())
    assert grown.exit.status == 63  # it has two pages from the beginning
    assert less.exit.status == 23
    assert 63 << 10 < grown.exit.memory_kb < 84 << 10
    assert less.exit.memory_kb < 44 << 10
    assert table.exit.status == 0 and table.exit.memory_kb < 84 << 10
    assert too_much.exit.status == 134
    assert b"memory minimum size of 60000 pages exceeds memory limits" in too_much.stderr


REFUSED = {
    b"": "it begins with b''",
    b"\x7fELF\2\1\1\0": "it begins with b'\\x7fELF",
    b"(module)": "assemble it first",
    b"\0asm\x0d\0\1\0": "it is a component",
    b"\0asm\1\0\0\0\1": "unexpected end-of-file",
    b"\0asm\1\0\0\0" + bytes(range(200)): "not a module",
    HELLO[:-3]: "not a module",
    assemble("(module)"): "it exports no function _start",
    assemble('(module (memory (export "_start") 1))'): "it exports no function _start",
    assemble('(module (import "env" "f" (func)) (func (export "_start")))'): "unknown import: `env::f`",
    assemble(
        '(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64))) (func (export "_start")))'
    ): "incompatible import type",
    assemble(
        f'(module (import "env\\1b[31m" "{"f" * 90_000}" (func)) (func (export "_start")))'
    ): "env [31m::ff",
    assemble('(module (memory i64 1) (func (export "_start")))'): "memory64",
    assemble('(module (memory 1 1 shared) (func (export "_start")))'): "threads must be enabled",
}


@LEVELS
def test_what_cannot_run_is_refused_in_one_line(level: str) -> None:
    async def go() -> list[str]:
        said = []
        async with runtime_at(level, "wasm") as runtime:
            for module in REFUSED:
                with pytest.raises(JailError) as refusal:
                    await runtime.start(module, ["module"], LIMITS)
                said.append(str(refusal.value))
            assert (await run(runtime, HELLO, ["module"])).stdout == b"up\n"
        return said

    for line, told in zip(asyncio.run(go()), REFUSED.values(), strict=True):
        assert told in line and line.isprintable() and len(line) < 600


def test_a_bomb_for_the_compiler_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_COMPILE_CPU_S", 1)
    monkeypatch.setattr(templates, "LEAST_COMPILE_MB", 16)

    async def go() -> tuple[str, str, bytes]:
        async with runtime_at("A", "wasm") as runtime:
            other = await up(runtime, SPIN)
            with pytest.raises(JailError) as slow:
                await runtime.start(bomb(3000, 6000), ["module"], Limits(memory_mb=256))
            with pytest.raises(JailError) as large:
                await runtime.start(bomb(1, 500_000), ["module"], Limits(memory_mb=16))
            assert (await killed(other)).why == "killed by its keeper"
            return str(slow.value), str(large.value), (await run(runtime, HELLO, ["module"])).stdout

    slow, large, after = asyncio.run(go())
    assert slow == "module: its compiler was killed at its CPU limit of 1 s, with at most 256 MiB"
    assert "with at most 16 MiB: memory allocation" in large and "\n" not in large
    assert after == b"up\n"


@LEVELS
def test_frozen_resumed_told_to_quit_and_killed(level: str) -> None:
    async def go() -> tuple[Exit, Exit]:
        async with runtime_at(level, "wasm") as runtime:
            program = await up(runtime, SPIN)
            pid = computing()
            program.freeze()
            await until_async(lambda: state(pid) == "T", "it is stopped")
            before = ticks(pid)
            await asyncio.sleep(0.1)
            assert (ticks(pid), state(pid)) == (before, "T")
            program.quit()  # WASI knows no signals: it goes on
            program.resume()
            await until_async(lambda: ticks(pid) > before + 2, "it computes again")
            end = await killed(program)
            assert not alive(pid)

            sleeper = await up(runtime, SLEEP)
            for _ in range(2):
                sleeper.freeze()
                sleeper.resume()
                assert await sleeper.read_stdout(3) == b"up\n"
            sleeper.freeze()
            return end, await killed(sleeper)

    end, frozen = asyncio.run(go())
    assert (end.signal, end.why) == (signal.SIGKILL, "killed by its keeper")
    assert end.cpu_us > 40_000
    assert frozen.why == "killed by its keeper" and frozen.cpu_us < end.cpu_us


def test_a_flood_waits_and_so_does_input_that_nobody_reads() -> None:
    async def go() -> tuple[int, Exit, Exit]:
        async with runtime_at("A", "wasm") as runtime:
            flood = await runtime.start(FLOOD, ["module"], LIMITS)
            got = 0
            while got < 1_000_000:
                got += len(await flood.read_stdout(100_000))
            flooded = await killed(flood)

            deaf = await up(runtime, SPIN)
            writing = asyncio.create_task(deaf.write(bytes(1 << 20)))
            assert not (await asyncio.wait({writing}, timeout=0.2))[0]
            deaf.kill()
            with pytest.raises(InputClosedError):
                await asyncio.wait_for(writing, 30)
            return got, flooded, await killed(deaf)

    got, flooded, deaf = asyncio.run(go())
    assert got <= flooded.bytes_out <= got + 2 * 65_536
    assert 0 < deaf.bytes_in <= 65_536


def test_a_stream_that_was_closed_is_an_error_and_no_signal() -> None:
    module = command(
        """
        (if (call $fd_close (i32.const 0)) (then unreachable))
        (if (i32.ne (call $fd_close (i32.const 0)) (i32.const 8)) (then unreachable))
        (call $up)
        (loop $until (br_if $until
          (i32.eqz (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72)))))
        (call $status (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72)))
        """,
        '(data (i32.const 64) "\\64\\00\\00\\00\\03\\00\\00\\00")',
    )

    async def go() -> Exit:
        async with runtime_at("A", "wasm") as runtime:
            program = await up(runtime, module)
            program._close_fd("stdout")
            end = await asyncio.wait_for(program.wait(), 30)
            program.close()
            return end

    assert asyncio.run(go()).status == 64  # PIPE


@LEVELS
def test_a_module_is_compiled_once_and_every_run_begins_anew(level: str) -> None:
    counter = command(
        """
        (global.set $runs (i32.add (global.get $runs) (i32.const 1)))
        (i32.store (i32.const 5000) (i32.add (i32.load (i32.const 5000)) (i32.const 1)))
        (call $status (i32.add (global.get $runs) (i32.load (i32.const 5000))))
        """,
        "(global $runs (mut i32) (i32.const 0))",
    )

    async def go() -> tuple[set[int | None], int, int]:
        async with runtime_at(level, "wasm") as runtime:
            assert isinstance(runtime, WasmRuntime)
            first = await run(runtime, counter, ["module"])
            before = settled()
            ends = await asyncio.gather(*(run(runtime, counter, ["module"]) for _ in range(30)))
            (template,) = runtime._templates._ready.values()
            assert not template.starting and template.memory_kb > 0
            return {end.exit.status for end in (first, *ends)}, before, settled()

    statuses, before, after = asyncio.run(go())
    assert statuses == {2}
    assert before == after == (6 if level == "A" else 5), (
        "zygote, one that waits, keeper, template, its copy; an init"
    )


def settled() -> int:
    """How many processes descend from us, when that has stopped changing."""
    seen: list[int] = []

    def at_rest() -> bool:
        seen.append(len(descendants(os.getpid())))
        return len(seen) > 20 and len({*seen[-20:]}) == 1

    until(at_rest, "no process begins or ends")
    return seen[-1]


def test_templates_are_bounded_and_programs_outlive_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_TEMPLATES", 2)

    async def go() -> None:
        async with runtime_at("A", "wasm") as runtime:
            assert isinstance(runtime, WasmRuntime)
            kept = runtime._templates._ready
            spinning = await up(runtime, SPIN)
            pid = computing()
            for module in (HELLO, ECHO):
                await run(runtime, module, ["module"], b"x")
            assert len(kept) == 2
            assert alive(pid) and ticks(pid) < ticks(pid) + 1
            before = ticks(pid)
            await until_async(lambda: ticks(pid) > before + 2, "its program goes on")
            await run(runtime, HELLO, ["module"])  # so it is used later than the other
            await killed(await up(runtime, SPIN))  # compiled again
            assert (await run(runtime, HELLO, ["module"])).stdout == b"up\n"
            monkeypatch.setattr(templates, "MOST_MEMORY_KB", 1)
            await run(runtime, ECHO, ["module"])
            assert len(kept) == 1
            assert (await killed(spinning)).why == "killed by its keeper"
        assert not descendants(os.getpid())

    asyncio.run(go())


def most_processes(pid: int) -> str:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.split()[2] for line in lines if line.startswith("Max processes"))


@LEVELS
def test_a_template_stands_still_unless_a_copy_is_made(level: str) -> None:
    """And so does the copy that waits for its run."""
    cpus = os.sched_getaffinity(0)

    async def go() -> None:
        async with runtime_at(level, "wasm") as runtime:
            spinning = await up(runtime, SPIN, replace(LIMITS, cpus=(min(cpus),)))
            for _ in range(3):
                settled()
                (keeper,) = keepers(*zygotes())
                stopped = [pid for pid in descendants(keeper) if state(pid) == "T"]
                assert len(stopped) == 2
                assert all(os.sched_getaffinity(pid) == cpus for pid in stopped)
                assert {most_processes(pid) for pid in stopped} == {"0"}
                await killed(await up(runtime, SPIN))
            await killed(spinning)

    asyncio.run(go())


def test_who_compiles_much_pushes_out_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_TEMPLATES", 4)
    cpu = min(os.sched_getaffinity(0))

    async def go() -> None:
        async with runtime_at("A", "wasm") as runtime:
            assert isinstance(runtime, WasmRuntime)
            kept = runtime._templates._ready
            for module in (HELLO, ECHO):
                await run(runtime, module, ["module"], b"x")
            modest = list(kept.values())
            for status in range(8):
                module = command(f"(call $status (i32.const {status}))")
                end = await run(runtime, module, ["module"], limits=replace(LIMITS, cpus=(cpu,)))
                assert end.exit.status == status
            assert [*kept.values()][:2] == modest
            assert len(kept) == 4
            # Where all belong to one, the one that was used least recently goes.
            await run(runtime, HELLO, ["module"])
            await run(runtime, command("(call $status (i32.const 10))"), ["module"])
            assert modest[0] in kept.values() and modest[1] not in kept.values()

    asyncio.run(go())


def test_a_template_that_died_is_made_again() -> None:
    async def go() -> None:
        async with runtime_at("B", "wasm") as runtime:
            spinning = await up(runtime, SPIN)
            (keeper,) = keepers(*zygotes())
            os.kill(min(descendants(keeper), key=start_time), signal.SIGKILL)  # the template
            await killed(await up(runtime, SPIN))
            assert (await killed(spinning)).why == "killed by its keeper"

    asyncio.run(go())


def test_starts_that_are_cancelled_leave_nothing() -> None:
    async def cancelled(start: Coroutine[Any, Any, Program], turns: int) -> None:
        starting = asyncio.create_task(start)
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with suppress(asyncio.CancelledError):
            (await starting).close()  # it came first

    async def go() -> None:
        async with runtime_at("A", "wasm") as runtime:
            await run(runtime, HELLO, ["module"])
            family, files = settled(), set(os.listdir("/proc/self/fd"))
            for turns in range(1, 6):
                await cancelled(runtime.start(bomb(20, 3000 + turns), ["module"], LIMITS), turns)
                await cancelled(runtime.start(HELLO, ["module"], LIMITS), turns)
            await asyncio.to_thread(until, lambda: settled() == family, "all are gone")
            assert set(os.listdir("/proc/self/fd")) == files

    asyncio.run(go())


@pytest.mark.parametrize("level", ["A", "C"])
def test_many_starts_leave_nothing(level: str) -> None:
    async def some(runtime: Runtime, count: int) -> None:
        for number in range(count):
            program = await runtime.start(HELLO, ["module"], Limits(64))
            if number % 3 == 1:
                program.kill()
            elif number % 3 == 2:
                program.freeze()
                program.close()
                continue
            await finish(program)

    async def go() -> None:
        async with runtime_at(level, "wasm") as runtime:
            await some(runtime, 30)
            before = await asyncio.to_thread(footprint, level)
            await some(runtime, 150)
            after = await asyncio.to_thread(footprint, level)
        assert before.keys() == after.keys()
        for pid, (files, memory_kb) in after.items():
            assert files == before[pid][0]
            most = 16 << 10 if pid == os.getpid() else 2048  # we are all the tests that ran before
            assert memory_kb - before[pid][1] < most, "14 KiB a start"

    asyncio.run(go())


def footprint(level: str) -> dict[int, tuple[int, int]]:
    """Open files, where we may see them, and own memory of us and all below but the copy that waits."""
    processes = 6 if level == "A" else 5  # zygote, one that waits, keeper, template, its copy; and an init
    until(lambda: settled() == processes, "only these are left")
    gc.collect()
    youngest = max(descendants(os.getpid()), key=start_time)
    found = {}
    for pid in {os.getpid(), *descendants(os.getpid())} - {youngest}:
        found[pid] = (0, 0)
        with suppress(PermissionError):  # nobody but root may look into them
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            own = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
            found[pid] = (len(os.listdir(f"/proc/{pid}/fd")), own)
    return found


NODE = """
import asyncio, sys
from seccomp import Limits, probe, runtimes

async def main():
    wasm = runtimes(probe(sys.argv[2]))[-1]
    program = open(sys.argv[1], "rb").read()
    running = [await wasm.start(program, ["x"], Limits(64)) for _ in range(2)]
    running[0].freeze()
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@LEVELS
def test_nothing_outlives_a_killed_node(tmp_path: Any, level: str) -> None:
    report_at(level)
    (tmp_path / "spin").write_bytes(SPIN)
    with ready_node(NODE, str(tmp_path / "spin"), level) as node:
        until(lambda: any(state(pid) == "T" for pid in descendants(node.pid)), "one is frozen")
        family = descendants(node.pid)
        assert len(family) >= 5, "zygote, keeper, template, two programs"
    until(lambda: not any(alive(pid) for pid in family), "all are dead")


def test_limits_reach_the_program() -> None:
    cpu = max(os.sched_getaffinity(0))

    async def go() -> None:
        async with runtime_at("A", "wasm") as runtime:
            program = await up(runtime, SPIN, Limits(memory_mb=64, nice=5, cpus=(cpu,)))
            pid = computing()
            assert os.sched_getaffinity(pid) == {cpu}
            assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5
            other = await up(runtime, SPIN, Limits(memory_mb=64, nice=5))
            assert (await killed(program)).signal == signal.SIGKILL
            pid = computing()
            assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
            await killed(other)

    asyncio.run(go())


@LEVELS
def test_what_is_around_a_program(level: str) -> None:
    async def go() -> tuple[dict[str, str], str, dict[str, str], str]:
        async with runtime_at(level, "wasm") as runtime:
            program = await up(runtime, SPIN)
            pid = computing()
            family = sorted(descendants(int(stat(pid)[1])), key=start_time)
            template = family[1 if level == "A" else 0]  # behind the first of its namespaces
            found = status(pid), limits(pid), status(template), limits(template)
            await killed(program)
            return found

    one, its_limits, template, template_limits = asyncio.run(go())
    for about in (one, template):
        assert (about["NoNewPrivs"], about["Seccomp"], about["Threads"]) == ("1", "2", "1")
        assert int(about["CapPrm"], 16) == int(about["CapEff"], 16) == 0
        assert len(about["NSpid"].split()) == (2 if level == "A" else 1)
        assert "0" not in about["Uid"].split() and len({*about["Uid"].split()}) == 1
    if "Seccomp_filters" in one:
        assert int(one["Seccomp_filters"]) == int(template["Seccomp_filters"]) + 1
    for text in (its_limits, template_limits):
        assert "Max core file size 1 1" in text and "Max file size 0 0" in text
    assert "Max processes 0 0 " in its_limits and "Max open files 3 3 " in its_limits
    assert "Max processes 0 " in template_limits, "no copies but those that are asked for"


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def limits(pid: int) -> str:
    return "\n".join(" ".join(line.split()) for line in Path(f"/proc/{pid}/limits").read_text().splitlines())


def test_arguments_that_are_none_are_refused() -> None:
    async def go() -> None:
        async with runtime_at("A", "wasm") as runtime:
            for arguments, told in (
                (["a\0b"], "zero byte"),
                (["\ud800"], "surrogate"),
                (["x" * 70_000], "more than"),
            ):
                with pytest.raises(JailError, match=f"arguments: .*{told}"):
                    await runtime.start(HELLO, arguments, LIMITS)

    asyncio.run(go())


def test_a_library_of_another_version_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "49.0.0")
    with pytest.raises(JailError, match=r"^wasm: wasmtime is 49.0.0: must be 50$"):
        WasmRuntime(report_at("C"))
