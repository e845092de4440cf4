"""One contract over a real link, with the real jail; the buyer may be anybody."""

import asyncio
import gc
import random
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from events.wire import dumps
from links.frames import EXIT, INPUT, INPUT_END, KILL, OUTPUT, PROGRAM, REFUSED, START, Frame
from links.link import WINDOW_BYTES, WINDOW_FRAMES, Link, LinkClosedError
from seccomp import Limits, Program, Runtime
from seller_node import run as run_module
from seller_node.bandwidth import LEAST, Bucket
from seller_node.run import Run
from seller_node.session import EACH_PROGRAM, Session
from tests.seller_node.programs import program
from tests.seller_node.stage import (
    CONTRACT,
    NATIVE,
    Stage,
    give,
    jailed,
    outcome,
    stage,
    start,
    start_frame,
    started,
    until,
)


def on_stage(server: str, test: Callable[[Stage], Coroutine[Any, Any, None]], memory_mb: int = 256) -> None:
    async def play() -> None:
        async with stage(server, memory_mb) as on:
            await test(on)

    asyncio.run(play())


def test_runs_follow_one_another(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        link = await on.dial()
        data = random.Random(1).randbytes(3_000_000)
        await start(link, 1, program("echo"), ["echo", "a", "b c"])
        giving = asyncio.create_task(give(link, 1, data))
        told = await outcome(link, 1)
        await giving
        assert told["started"]
        assert told["output"] == data
        assert told["errors"] == b"a b c "
        assert (told["status"], told["signal"]) == (2, None)
        assert (told["bytes_in"], told["bytes_out"]) == (len(data), len(data) + 6)
        assert told["cpu_us"] > 0
        assert told["memory_kb"] > 0
        assert on.confirmed == [CONTRACT]
        # The program is there already; another may come as well.
        before = link.bytes_sent
        for run in (2, 3):
            await start(link, run, program("echo"), ["echo"], send=False)
            await give(link, run, b"more")
            assert (await outcome(link, run))["output"] == b"more"
        assert link.bytes_sent - before < 1000
        await start(link, 4, program("crash"), ["crash"])
        told = await outcome(link, 4)
        assert (told["status"], told["signal"]) == (None, 4)
        await start(link, 5, program("connect"), ["connect"])
        assert "seccomp" in (await outcome(link, 5))["why"]
        await link.send(start_frame(6, SOURCE, ["work", "bytes"], "python/3.11"))
        await link.send_bytes(PROGRAM, 6, SOURCE)
        await give(link, 6, b"abc")
        assert (await outcome(link, 6))["output"] == b"cba"
        assert on.confirmed == [CONTRACT]
        assert len(on.exits) == 6

    on_stage(nats_server, test)


SOURCE = b"def work(data):\n    return data[::-1]\n"


def test_what_cannot_run_is_refused_and_the_link_goes_on(nats_server: str) -> None:
    elf = b"\x7fELF"

    async def test(on: Stage) -> None:
        link = await on.dial()
        starts: list[tuple[Frame, bytes, str]] = [
            (start_frame(0, b"x", [], "vm/x86_64-kvm"), b"x", "vm/x86_64-kvm.*not offered.*native/x86_64"),
            (start_frame(0, b"#!/bin/sh", []), b"#!/bin/sh", "not a static x86_64 ELF"),
            (start_frame(0, elf, [], sha256="0" * 64), elf, "SHA-256 is not"),
            (start_frame(0, b"", [], size=0), b"", "size"),
            (start_frame(0, b"large", [], size=10**12), b"", "room for"),
            (start_frame(0, b"", [], size=-1), b"", "size"),
            (start_frame(0, b"", [], size=True), b"", "size"),
            (start_frame(0, b"", [], sha256=5), b"", "sha256"),
            (start_frame(0, b"", [1]), b"", "arguments"),
            (start_frame(0, b"", ["\0"]), b"", "arguments"),
            (start_frame(0, b"", ["a"] * 257), b"", "arguments"),
            (start_frame(0, b"", [], runtime="x" * 50), b"", "runtime"),
            (Frame(START, 0, b'{"arguments":["\\ud800"]}'), b"", "not a JSON object"),
            (Frame(START, 0, b"[]"), b"", "not a JSON object"),
            (Frame(START, 0, b"\xff{"), b"", "not a JSON object"),
            (start_frame(0, SOURCE, ["no such", "json"], "python/3.11"), SOURCE, "arguments"),
        ]
        for run, (frame, data, _) in enumerate(starts, 1):
            await link.send(frame._replace(run=run))
            await link.send_bytes(PROGRAM, run, data)
            told = await outcome(link, run)
            assert not told["started"]
            assert set(told) == {"output", "errors", "started", "why"}
            assert _matches(starts[run - 1][2], told["why"]), told["why"]
        last = len(starts) + 1
        await start(link, last, program("echo"), ["echo"])
        await give(link, last, b"fine")
        assert (await outcome(link, last))["output"] == b"fine"

    on_stage(nats_server, test)


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.search(pattern, text) is not None and "\n" not in text and len(text) <= 500


def test_programs_of_one_link_are_bounded(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        most = on.jails.most_program()
        assert most == 2 << 20
        link = await on.dial()
        first = most - 2 * EACH_PROGRAM - 10
        for run, size, fits in ((1, first, True), (2, 11, False), (3, 10, True), (4, 1, False)):
            data = bytes([run]) * size
            await link.send(start_frame(run, data, []))
            if fits:
                await link.send_bytes(PROGRAM, run, data)
            assert ("ELF" if fits else "dial anew") in (await outcome(link, run))["why"]
        link = await on.dial()
        await start(link, 1, bytes(100), [])
        assert "ELF" in (await outcome(link, 1))["why"]
        # Many small ones take memory too.
        for run in range(2, 100):
            await start(link, run, bytes([run]), [])
            if "dial anew" in (await outcome(link, run))["why"]:
                break
        assert run == most // EACH_PROGRAM

    on_stage(nats_server, test, memory_mb=16)


def test_kill(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        link = await on.dial()
        await link.send(start_frame(1, program("spin"), []))
        await link.send(Frame(PROGRAM, 1, program("spin")[:1000]))
        await link.send(Frame(KILL, 1))
        await link.send(Frame(PROGRAM, 1, program("spin")[1000:2000]))
        assert "killed before" in (await outcome(link, 1))["why"]
        await start(link, 2, program("spin"), ["spin"])
        await started(link, 2)
        assert len(jailed()) == 1
        await link.send(Frame(KILL, 2))
        told = await outcome(link, 2)
        assert (told["status"], told["signal"]) == (None, 9)
        # It never reads its input: the rest of a megabyte lies before KILL, and yet it is heard.
        await start(link, 3, program("spin"), ["spin"], send=False)
        await started(link, 3)
        await link.send_bytes(INPUT, 3, bytes(1_000_000))
        await link.send(Frame(KILL, 3))
        assert (await outcome(link, 3))["signal"] == 9
        # Told before the start, and in a freeze.
        await start(link, 4, program("spin"), ["spin"], send=False)
        await link.send(Frame(KILL, 4))
        told = await outcome(link, 4)
        assert told["signal"] == 9 if told["started"] else "killed before" in told["why"]
        on.jails.thawed.clear()
        await start(link, 5, program("spin"), ["spin"], send=False)
        await link.send(Frame(KILL, 5))
        assert "killed before" in (await outcome(link, 5))["why"]

    on_stage(nats_server, test)


def test_a_program_that_is_known_is_started_once_and_by_its_size(nats_server: str) -> None:
    spin = program("spin")

    async def test(on: Stage) -> None:
        link = await on.dial()
        await start(link, 1, spin, ["spin"])
        await started(link, 1)
        await link.send(Frame(KILL, 1))
        assert (await outcome(link, 1))["signal"] == 9
        # Another size than the one that it has.
        for run, size in ((2, len(spin) - 1), (3, len(spin) + 1)):
            await link.send(start_frame(run, spin, ["spin"], size=size))
            assert f"has {len(spin)} bytes" in (await outcome(link, run))["why"]
        # Bytes for a run that has begun, though it may not run yet: the link ends, and nothing goes on.
        for thawed in (True, False):
            link = await on.dial()
            on.jails.thawed.set()
            await start(link, 1, spin, ["spin"])
            await started(link, 1)
            await link.send(Frame(KILL, 1))
            await outcome(link, 1)
            if not thawed:
                on.jails.thawed.clear()
            await start(link, 2, spin, ["spin"], send=False)
            await link.send(Frame(PROGRAM, 2, b"x"))
            await link.send(start_frame(3, spin, ["spin"]))
            assert "closed" in await outcome(link, 2)
            await until(lambda: not jailed())
        on.jails.thawed.set()
        await asyncio.sleep(0.2)
        assert jailed() == {}

    on_stage(nats_server, test)


def test_a_program_in_small_pieces_takes_its_size_and_no_more(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        link = await on.dial()
        await link.send(start_frame(1, bytes(50_000), []))
        tracemalloc.start()
        try:
            for _ in range(49_999):
                await link.send(Frame(PROGRAM, 1, b"\0"))
            await until(lambda: link._outstanding == 0)
            here = Path(run_module.__file__).name
            kept = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"*/{here}")])
        finally:
            tracemalloc.stop()
        assert sum(trace.size for trace in kept.traces) < 200_000
        # None at all is no piece.
        await link.send(Frame(PROGRAM, 1, b""))
        assert "no bytes" in (await outcome(link, 1))["why"]
        await start(link, 2, program("echo"), ["echo"])
        await give(link, 2, b"fine")
        assert (await outcome(link, 2))["output"] == b"fine"

    on_stage(nats_server, test)


def test_a_freeze_or_an_end_stops_what_is_being_started(nats_server: str) -> None:
    """A runtime that takes long to start, as one that compiles does."""
    begun = 0

    class Slow:
        tag = "slow/1"

        def __init__(self, native: Runtime) -> None:
            self._native = native

        async def start(self, program: bytes, arguments: list[str], limits: Limits) -> Program:
            nonlocal begun
            begun += 1
            if begun < 4:
                await asyncio.Event().wait()
            return await self._native.start(program, arguments, limits)

        async def close(self) -> None:
            """Nothing is left of it."""

    async def test(on: Stage) -> None:
        on.jails.runtimes = {**on.jails.runtimes, "slow/1": Slow(on.jails.runtimes[NATIVE])}
        link = await on.dial()
        await link.send(start_frame(1, program("echo"), ["echo"], "slow/1"))
        await link.send_bytes(PROGRAM, 1, program("echo"))
        await until(lambda: begun == 1)
        await link.send(Frame(KILL, 1))
        assert "killed before it ran" in (await outcome(link, 1))["why"]
        await link.send(start_frame(2, program("echo"), ["echo"], "slow/1"))
        for times in (2, 3):
            await until(lambda times=times: begun == times)  # type: ignore[misc]
            on.jails.thawed.clear()
            on.contract.freeze()
            await asyncio.sleep(0.1)
            assert begun == times
            on.jails.thawed.set()
            on.contract.resume()
        await give(link, 2, b"at last")
        assert (await outcome(link, 2))["output"] == b"at last"
        assert begun == 4

    on_stage(nats_server, test)


def test_whose_programs_go_before_the_input_of_others_is_bounded(nats_server: str) -> None:
    """Who sends one program after the other waits like everybody."""

    async def test(on: Stage) -> None:
        most = on.jails.most_program()
        on.jails.down = Bucket(LEAST)
        link = await on.dial()
        flooding = asyncio.create_task(_refused_for_ever(link))
        line = on.jails.down
        await until(lambda: on.contract._ahead.left < 65_536)
        assert most - on.contract._ahead.left <= most
        # Not one byte more goes before: what others owe no longer grows.
        await asyncio.sleep(0.3)
        before = line._free_at
        await asyncio.sleep(0.5)
        assert line._free_at - before <= 65_536 / LEAST
        # To dial again does not help; another hour does.
        await on.dial()
        assert on.contract._ahead.left < 65_536
        on.contract.next_hour()
        assert on.contract._ahead.left == most
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)

    on_stage(nats_server, test, memory_mb=16)


async def _refused_for_ever(link: Link) -> None:
    for run in range(1, 1 << 20):
        await link.send(start_frame(run, bytes(1_000_000), [], sha256="0" * 64))
        await link.send_bytes(PROGRAM, run, bytes(1_000_000))


def test_who_takes_no_answer_can_begin_nothing_more(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        link = await on.dial()
        await link.send(start_frame(1, b"x", [], "vm/x86_64-kvm"))
        await link.send(Frame(PROGRAM, 1, b"x"))
        sent = 1
        while link._expected >= sent - 1 and sent < 1000:  # all answers but the last have come, and wait here
            deadline = time.monotonic() + 1
            while link._expected < sent and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await link.send(start_frame(sent + 1, b"x", [], "vm/x86_64-kvm"))
            sent += 1
        assert WINDOW_FRAMES <= sent <= WINDOW_FRAMES + 3
        assert sum(task.get_name().startswith("run ") for task in asyncio.all_tasks()) <= 1
        # Once he listens, all goes on.
        frame = None
        while frame is None or frame.run < sent:
            frame = await link.receive()
            assert frame and frame.kind == REFUSED
        await start(link, sent + 1, program("echo"), ["echo"])
        await give(link, sent + 1, b"fine")
        assert (await outcome(link, sent + 1))["output"] == b"fine"

    on_stage(nats_server, test)


def test_a_buyer_who_breaks_the_order_loses_his_link_and_nothing_else(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        spin = program("spin")
        for frames in (
            [start_frame(2, spin, ["x"])],
            [start_frame(1, spin, ["x"])],
            [start_frame(0, spin, ["x"])],
            [Frame(PROGRAM, 1, b"more of it")],
            [Frame(PROGRAM, 2, b"of no run")],
            [Frame(INPUT, 4_000_000_000, b"of no run")],
            [Frame(OUTPUT, 1, b"not yours to say")],
            [Frame(EXIT, 1, b"{}")],
            [Frame(REFUSED, 1, b"{}")],
            [Frame(0, 1)],
            [Frame(255, 2**32 - 1)],
        ):
            link = await on.dial()
            await start(link, 1, spin, ["spin"])
            await started(link, 1)
            for frame in frames:
                await link.send(frame)
            assert await outcome(link, 1) == {
                "output": b"",
                "errors": b"",
                "started": False,
                "closed": "the peer knows it no more",
            }
            await until(lambda: not jailed())
        link = await on.dial()
        await link.send(Frame(START, 1, dumps({})))
        assert "START" in (await outcome(link, 1))["why"]
        await link.send(Frame(START, 1, dumps({})))
        assert "closed" in await outcome(link, 1)

    on_stage(nats_server, test)


def test_random_frames(nats_server: str) -> None:
    dice = random.Random(5)

    async def test(on: Stage) -> None:
        for _ in range(30):
            link = await on.dial()
            reading = asyncio.create_task(_read_all(link.receive))
            try:
                run = 0
                for _ in range(40):
                    kind = dice.choice([START, PROGRAM, INPUT, INPUT_END, KILL, dice.randrange(256)])
                    run = run + 1 if kind == START else run
                    if kind == START and dice.random() < 0.7:
                        await start(link, run, program("echo"), ["echo"], send=dice.random() < 0.5)
                    else:
                        await link.send(Frame(kind, run, dice.randbytes(dice.randrange(200))))
                await link.drained()
            except LinkClosedError:
                pass
            link.abort("enough")
            await reading
        link = await on.dial()
        await start(link, 1, program("echo"), ["echo"])
        await give(link, 1, b"still here")
        assert (await outcome(link, 1))["output"] == b"still here"

    async def _read_all(receive: Callable[[], Coroutine[Any, Any, Frame | None]]) -> None:
        while await receive():
            pass

    on_stage(nats_server, test)


def test_nothing_of_a_flood_is_kept(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        # Output that nobody takes holds the program back.
        link = await on.dial()
        await start(link, 1, program("flood"), ["flood"])
        await until(lambda: link.bytes_received >= WINDOW_BYTES)
        await asyncio.sleep(0.3)
        assert link.bytes_received <= WINDOW_BYTES
        # Input that nobody reads holds the buyer back: in a pipe, before the start, in empty pieces too.
        for payload, sends in ((bytes(60_000), True), (bytes(60_000), False), (b"", False)):
            link = await on.dial()
            await start(link, 1, program("spin"), ["spin"], send=sends)
            sent = 0

            async def flood(link: Link = link, payload: bytes = payload) -> None:
                nonlocal sent
                while True:
                    await link.send(Frame(INPUT, 1, payload))
                    sent += 1

            flooding = asyncio.create_task(flood())
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.5)
            flooding.cancel()
            assert sent * len(payload) < 4 * WINDOW_BYTES
            assert sent <= 2 * WINDOW_FRAMES + WINDOW_BYTES // 64
        link = await on.dial()
        await start(link, 1, program("echo"), ["echo"])
        await give(link, 1, b"fine")
        assert (await outcome(link, 1))["output"] == b"fine"

    on_stage(nats_server, test)


def test_a_new_dial_or_a_closed_link_ends_what_ran(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        link = await on.dial()
        await start(link, 1, program("spin"), ["spin"])
        await started(link, 1)
        first = set(jailed())
        again = await on.dial()
        await start(again, 1, program("spin"), ["spin"])
        await started(again, 1)
        assert len(jailed()) == 1
        assert first.isdisjoint(jailed())
        await again.close()
        await until(lambda: not jailed())
        for _ in range(50):  # impatient
            link = await on.dial()
            await link.send(start_frame(1, program("spin"), ["spin"]))
        await link.send_bytes(PROGRAM, 1, program("spin"))
        await started(link, 1)
        assert len(jailed()) == 1
        await on.contract.end("over")
        await until(lambda: not jailed())
        assert await link.receive() is None

    on_stage(nats_server, test)


def test_frozen_programs_stand_still(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        link = await on.dial()
        await start(link, 1, program("echo"), ["echo"])
        await started(link, 1)
        on.jails.thawed.clear()
        on.contract.freeze()
        await until(lambda: set(jailed().values()) == {"T"})
        await give(link, 1, b"held")
        await asyncio.sleep(0.2)
        assert on.exits == []
        on.jails.thawed.set()
        on.contract.resume()
        assert (await outcome(link, 1))["output"] == b"held"
        # Nothing starts in a freeze; it does afterwards.
        on.jails.thawed.clear()
        await start(link, 2, program("echo"), ["echo"], send=False)
        await give(link, 2, b"later")
        await link.drained()
        await asyncio.sleep(0.2)
        assert jailed() == {}
        on.jails.thawed.set()
        assert (await outcome(link, 2))["output"] == b"later"
        # Also a frozen one dies with its contract.
        await start(link, 3, program("spin"), ["spin"])
        await started(link, 3)
        on.jails.thawed.clear()
        on.contract.freeze()
        await until(lambda: set(jailed().values()) == {"T"})
        await on.contract.end("over")
        await until(lambda: not jailed())

    on_stage(nats_server, test)


def test_whether_the_buyer_was_there(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        assert not on.contract.next_hour()
        link = await on.dial()
        await until(lambda: link.is_open)
        assert on.contract.next_hour()
        assert on.contract.next_hour()  # his link is open, and heard

    on_stage(nats_server, test)


def test_at_the_end_a_program_may_quit_and_one_that_does_not_is_killed_and_metered(nats_server: str) -> None:
    async def test(on: Stage) -> None:
        link = await on.dial()
        await start(link, 1, program("polite"), ["polite"])
        await until(lambda: link.bytes_received > 0)
        await on.contract.end("over", quit_s=20)
        told = await outcome(link, 1)
        assert (told["output"], told["status"], told["bytes_out"]) == (b"ready, finished", 0, 15)
        assert await link.receive() is None
        assert jailed() == {}
        # The same contract goes on for the test. SIGQUIT is ignored where there is no handler.
        link = await on.dial()
        await start(link, 1, program("echo"), ["echo", "words"])
        await link.send_bytes(INPUT, 1, bytes(5000))
        await until(lambda: link.bytes_received >= 5006)
        assert on.contract.warn() and not on.contract.warn()
        await asyncio.sleep(0.1)
        assert len(jailed()) == 1
        await on.contract.end("over", quit_s=0.1)
        told = await outcome(link, 1)
        assert (told["status"], told["signal"]) == (None, 9)
        assert (told["bytes_in"], told["bytes_out"]) == (5000, 5006)
        assert told["cpu_us"] > 0 and told["memory_kb"] > 0
        assert [end.bytes_in for end in on.exits] == [0, 5000]
        # Frozen: it cannot quit, and is killed.
        link = await on.dial()
        await start(link, 1, program("polite"), ["polite"])
        await until(lambda: link.bytes_received > 0)
        on.jails.thawed.clear()
        on.contract.freeze()
        await on.contract.end("over", quit_s=20)
        assert (await outcome(link, 1))["signal"] == 9

    on_stage(nats_server, test)


def test_all_links_together_keep_to_the_bandwidth(nats_server: str) -> None:
    rate, burst = 400_000, 1.0

    async def test(on: Stage) -> None:
        on.jails.up = Bucket(rate)
        loop = asyncio.get_running_loop()
        link = await on.dial()
        began, got = loop.time(), 0
        await start(link, 1, program("flood"), ["flood"])
        await started(link, 1)
        while got < rate * 2 and (frame := await link.receive()):
            got += len(frame.payload)
            assert got <= rate * (loop.time() - began + burst) + 65_536
        await link.send(Frame(KILL, 1))
        # A program is there at once: at this rate it would take minutes, and the market count it lost (R16).
        on.jails.up, on.jails.down = Bucket(0), Bucket(LEAST)
        link = await on.dial()
        await start(link, 1, program("echo"), ["echo"])
        await started(link, 1)
        assert loop.time() - began < len(program("echo")) / LEAST
        # The other way: what is not taken yet waits at the buyer's.
        on.jails.down = Bucket(rate)
        link = await on.dial()
        await start(link, 1, program("echo"), ["echo"])
        await started(link, 1)
        giving = asyncio.create_task(give(link, 1, bytes(5 * rate)))
        began, got = loop.time(), 0
        while got < rate * 2 and (frame := await link.receive()):
            got += len(frame.payload)
            assert got <= rate * (loop.time() - began + burst) + 65_536
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)

    on_stage(nats_server, test)


def test_a_buyer_in_a_hurry_leaves_nothing_behind(nats_server: str) -> None:
    def held() -> tuple[int, int, int, int]:
        gc.collect()
        ours = [thing for thing in gc.get_objects() if isinstance(thing, Run | Session | Link | Program)]
        names = [type(thing).__name__ for thing in ours]
        tasks = len(asyncio.all_tasks())
        return names.count("Run"), names.count("Program"), tasks, len(list(Path("/proc/self/fd").iterdir()))

    async def test(on: Stage) -> None:
        async def hurry(rounds: int) -> None:
            """Runs that are killed at once, floods that nobody reads, arguments that are too many."""
            going.clear()
            over.clear()
            link = await on.dial()
            reading = asyncio.create_task(_read_all(link))
            await start(link, 1, program("flood"), ["flood"])
            for run in range(2, rounds):
                if run % 4:  # else in the midst of its start
                    await until(lambda last=run - 1: last in going)  # type: ignore[misc]
                await link.send(Frame(KILL, run - 1))
                await until(lambda last=run - 1: last in over)  # type: ignore[misc]
                huge = ["x" * 200] * 256 if run % 3 == 0 else ["flood"]
                await start(link, run, program("flood"), huge, send=False)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await until(lambda: link.bytes_received > WINDOW_BYTES // 2)

        going: set[int] = set()
        over: set[int] = set()

        async def _read_all(link: Link) -> None:
            while frame := await link.receive():
                going.add(frame.run)
                if frame.kind in (EXIT, REFUSED):
                    over.add(frame.run)

        await hurry(10)
        before = held()
        for _ in range(3):
            await hurry(20)
        assert len(on.exits) >= 25
        after = held()
        assert all(now <= then + 3 for now, then in zip(after, before, strict=True)), (before, after)

    on_stage(nats_server, test)
