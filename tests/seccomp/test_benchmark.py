"""The benchmark: its answers are right, what is not is refused, and it runs on all CPUs at once."""

import asyncio
import os
import random
import subprocess
from pathlib import Path
from typing import cast

import pytest

import seccomp.benchmark.scores as benchmark
from seccomp import Program, Runtime, runtimes
from seccomp.benchmark import BenchmarkError, Score, measurable, measure, program_of
from seccomp.benchmark.answers import WIDTH, Dice, answer
from tests.seccomp.running import compile_static, open_folder, report_at, run, runtime_at
from tests.seccomp.toolchains import MissingToolError, environment, tool

CPUS = sorted(os.sched_getaffinity(0))
BRIEF = 0.1  # seconds
SEEDS = (0, 1, 2**64 - 1, 88_172_645_463_325_252)
SOURCE = Path(benchmark.__file__).with_name("kernels.c")
WASM_FLAGS = (
    "--target=wasm32", "-nostdlib", "-O2", "-msimd128", "-mbulk-memory", "-ffp-contract=off",
    "-Wl,--strip-all,--no-entry",
)  # fmt: skip

FORGER = r"""
#include <stdio.h>
#include <string.h>
volatile char mode[] = "MODE?";
int main(void)
{
    char kernel[9];
    unsigned long long seed;
    int count, asked = 0;
    setvbuf(stdout, 0, _IOFBF, 1 << 20);
    if (mode[4] == 'E') /* before it was asked */
        for (int i = 0; i < 4096; i++)
            printf("%016x\n", i), fflush(stdout);
    while (scanf("%8s %llu %d", kernel, &seed, &count) == 3) {
        for (int i = 0; i < count && mode[4] != 'E'; i++) {
            if (mode[4] == 'S' && i == count - 1) /* short: one less, and the end */
                return 0;
            unsigned long long word = seed * 6364136223846793005u + i;
            printf(mode[4] == 'T' ? "    number %5d" : "%016llx", mode[4] == 'T' ? i : word);
            putchar(i + 1 < count ? ' ' : '\n');
        }
        if (mode[4] == 'U' && ++asked == 35) /* the last one: more than it was asked for */
            printf("0123456789abcdef\n");
        fflush(stdout);
        if (mode[4] == 'C') /* crash */
            *(volatile int *)0 = 0;
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def forger() -> bytes:
    with open_folder() as folder:
        return compile_static(FORGER, folder / "forger")


def right(kernel: str, seed: int, count: int) -> bytes:
    return b" ".join(b"%016x" % answer(kernel, seed, piece) for piece in range(count)) + b"\n"


async def asked(runtime: Runtime, program: bytes, lines: str) -> bytes:
    outcome = await run(runtime, program, ["kernels"], lines.encode())
    assert (outcome.exit.status, outcome.stderr) == (0, b""), outcome.exit.why
    return outcome.stdout


def measured(cpus: list[int], program: bytes = b"", seed: bytes = b"") -> Score:
    async def test() -> Score:
        async with runtime_at("A") as runtime:
            return await measure(runtime, cpus, program=program, seconds=BRIEF, seed=seed)

    return asyncio.run(test())


def test_answers_are_those_that_are_found_in_another_way() -> None:
    async def test() -> bytes:
        async with runtime_at("A") as runtime:
            lines = [f"{kernel} {seed} 2\n" for kernel in benchmark.KERNELS for seed in SEEDS]
            return await asked(runtime, program_of(runtime), "".join(lines))

    said = asyncio.run(test())
    assert said == b"".join(right(kernel, seed, 2) for kernel in benchmark.KERNELS for seed in SEEDS)
    assert len(set(said.split())) == len(benchmark.KERNELS) * len(SEEDS) * 2, "all pieces differ"


def test_the_sieve_sums_up_primes() -> None:
    """By Fermat's test, to two bases."""
    first = (1 << 32) + (Dice(7).word() >> 32 | 1)
    numbers = range(first, first + 2 * WIDTH, 2)
    assert sum(n for n in numbers if pow(2, n - 1, n) == 1 == pow(3, n - 1, n)) == answer("sieve", 7, 0)


@pytest.mark.parametrize("line", ["sieve 1 0", "sieve 1 4097", "sieves 1 1", "mix 1", "mix x 1", ""])
def test_a_question_that_is_none_ends_the_program(line: str) -> None:
    async def test() -> None:
        async with runtime_at("A") as runtime:
            outcome = await run(runtime, program_of(runtime), ["kernels"], f"{line}\n".encode())
            assert (outcome.exit.status, outcome.stdout) == (1, b"")

    asyncio.run(test())


def test_a_copy_on_each_cpu_at_once() -> None:
    score = measured(CPUS)
    assert (score.runtime, score.copies) == ("native/x86_64-linux", len(CPUS))
    assert score.mips > 0 and score.mflops > 0 and 0 < score.cpu_percent <= 100
    slow, fast = (chosen(score.kernels[name] for name in ("sieve", "mix")) for chosen in (min, max))
    assert slow - 1 <= score.mips <= 2 * fast + 2
    assert set(score.kernels) == set(benchmark.KERNELS)


def test_questions_have_seeds_of_their_own_that_follow_from_one() -> None:
    seeds = {
        benchmark._seed(seed, copy, kernel, repetition)
        for seed in (b"a", b"b")
        for copy in range(8)
        for kernel in benchmark.KERNELS
        for repetition in range(-1, 6)
    }
    assert len(seeds) == 2 * 8 * 5 * 7
    assert benchmark._seed(b"a", 0, "mix", 1) == benchmark._seed(b"a", 0, "mix", 1)


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("W", r"piece \d+ of seed \d+: [0-9a-f]{16} is not [0-9a-f]{16}"),
        ("T", "is no answer for 1 pieces of work"),
        ("S", "is no answer for 1 pieces of work"),
        ("C", "standard input is closed|closed its standard input|is no answer"),
        ("E", "is no answer|is not"),
        ("U", r"it said b'0123456789abcdef\\n' unasked"),
    ],
)
def test_what_is_no_right_answer_to_its_question_is_refused(forger: bytes, mode: str, why: str) -> None:
    """(W)rong, another (t)ext, too (s)hort, a (c)rash, too (e)arly, more than was asked (u)nasked."""
    with pytest.raises(BenchmarkError, match=why) as refusal:
        measured(CPUS[:1], forger.replace(b"MODE?", b"MODE" + mode.encode()))
    assert "\n" not in str(refusal.value) and f"on CPU {CPUS[0]}: " in str(refusal.value)


@pytest.mark.parametrize("wrong", benchmark.KERNELS)
def test_of_every_kernel_a_piece_is_looked_at(wrong: str) -> None:
    def copy(off: int) -> benchmark._Copy:
        pieces = [(k, 5, 0, answer(k, 5, 0) ^ (off if k == wrong else 0)) for k in benchmark.KERNELS]
        return benchmark._Copy(cast(Program, None), 3, pieces)

    copy(0).check(random.Random(1))
    with pytest.raises(BenchmarkError, match=f"{wrong} on CPU 3: piece 0 of seed 5"):
        copy(1).check(random.Random(1))


def test_wasm_gives_the_same_answers_as_kept_and_as_built_now(tmp_path: Path) -> None:
    found = {runtime.tag.partition("/")[0]: runtime for runtime in measurable(runtimes(report_at("A")))}
    if "wasm" not in found:
        pytest.skip("no runtime for wasm is here")
    lines = "".join(f"{kernel} {seed} 1\n" for kernel in benchmark.KERNELS for seed in SEEDS)

    async def test(program: bytes) -> bytes:
        try:
            return await asked(found["wasm"], program, lines)
        finally:
            for runtime in found.values():
                await runtime.close()

    expected = b"".join(right(kernel, seed, 1) for kernel in benchmark.KERNELS for seed in SEEDS)
    assert asyncio.run(test(program_of(found["wasm"]))) == expected
    built = tmp_path / "kernels.wasm"
    try:
        clang, linker = tool("wasm", command="clang"), tool("wasm", command="wasm-ld")
    except MissingToolError as missing:
        pytest.skip(str(missing))
    command = [clang, *WASM_FLAGS, f"-fuse-ld={linker}", "-o", str(built), str(SOURCE)]
    subprocess.run(command, env=environment(), check=True, timeout=60)
    assert asyncio.run(test(built.read_bytes())) == expected
