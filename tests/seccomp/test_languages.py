"""Programs of other languages do in the jail what they do without it, and end where their limits say.

Compilers that a machine has not come by `make toolchains`; without them their tests are skipped.
"""

import asyncio
import subprocess
from pathlib import Path

import pytest

from seccomp import Limits, Runtime, runtimes
from tests.seccomp.running import Outcome, finish, report_at, run
from tests.seccomp.toolchains import MissingToolError, compiled

SOURCES = Path(__file__).parent / "programs"
COMMON = ("hello", "echo", "compute", "rest", "memory")
# By compiler: the source, and what it does besides.
LANGUAGES = {
    "glibc": ("deeds.c", ("threads",)),
    "musl": ("deeds.c", ("threads",)),
    "c++": ("deeds.cc", ("threads", "exceptions")),
    "rust": ("deeds.rs", ("threads", "panics", "unwinds")),
    "go": ("deeds.go", ("threads", "panics")),
}
WASM = {"wasm": "glibc", "rust wasm": "rust"}  # and what the same source compiled to machine code is
LIMITS = Limits(memory_mb=400)
INPUT = "Zeile, wörtlich\n".encode() * 5000
Told = tuple[int | None, bytes, bytes]


def program(compiler: str) -> Path:
    source = LANGUAGES[WASM.get(compiler, compiler)][0]
    try:
        return compiled(compiler, SOURCES / source)
    except MissingToolError as error:
        pytest.skip(str(error))


def words(path: Path, deed: str) -> list[str]:
    return [str(path), deed, "the last"]


def without(path: Path, deed: str) -> Told:
    """What it does without a jail, and without an environment."""
    done = subprocess.run(
        words(path, deed), input=INPUT, capture_output=True, timeout=60, check=False, env={}, cwd="/"
    )
    return done.returncode, done.stdout, first_line(done.stderr)


def first_line(text: bytes) -> bytes:
    """A trace of Go's behind it has addresses, which differ."""
    return text.partition(b"\n")[0]


def runtime_at(level: str, kind: str) -> Runtime:
    for runtime in runtimes(report_at(level)):
        if runtime.tag.startswith(kind):
            return runtime
    pytest.skip(f"no runtime {kind} here at level {level}")


async def within(runtime: Runtime, path: Path, text: bytes, deeds: tuple[str, ...]) -> dict[str, Told]:
    found: dict[str, Told] = {}
    try:
        for deed in deeds:
            outcome = await run(runtime, text, words(path, deed), INPUT, LIMITS)
            if outcome.exit.status is None:
                found[deed] = (None, outcome.exit.why.encode(), outcome.stderr)
            else:
                found[deed] = (outcome.exit.status, outcome.stdout, first_line(outcome.stderr))
    finally:
        await runtime.close()
    return found


@pytest.mark.parametrize("level", ["A", "B"])
@pytest.mark.parametrize("compiler", LANGUAGES)
def test_a_program_does_what_it_does_without(compiler: str, level: str) -> None:
    path = program(compiler)
    deeds = (*COMMON, *LANGUAGES[compiler][1])
    expected = {deed: without(path, deed) for deed in deeds}
    assert expected["hello"][:2] == (3, b"hello\n") and expected["echo"][:2] == (7, INPUT)
    assert asyncio.run(within(runtime_at(level, "native"), path, path.read_bytes(), deeds)) == expected


@pytest.mark.parametrize("level", ["A", "C"])
@pytest.mark.parametrize("compiler", WASM)
def test_a_wasm_program_does_what_machine_code_does(compiler: str, level: str) -> None:
    """But for files: there are none."""
    path, native = program(compiler), program(WASM[compiler])
    deeds = (*COMMON, "file")
    expected = {deed: without(native, deed) for deed in COMMON} | {"file": (0, b"no file\n", b"")}
    assert asyncio.run(within(runtime_at(level, "wasm"), path, path.read_bytes(), deeds)) == expected


async def at_its_limits(runtime: Runtime, path: Path, text: bytes) -> tuple[Outcome, Outcome, Outcome]:
    try:
        files = await run(runtime, text, words(path, "file"))
        hog = await run(runtime, text, words(path, "hog"), limits=Limits(memory_mb=100))
        asked = await runtime.start(text, words(path, "quit"), LIMITS)
        begun = await asked.read_stdout(100)
        asked.quit()
        quits = await finish(asked)
        return files, hog, Outcome(begun + quits.stdout, quits.stderr, quits.exit)
    finally:
        await runtime.close()


@pytest.mark.parametrize("level", ["A", "B"])
@pytest.mark.parametrize("compiler", LANGUAGES)
def test_it_has_no_files_ends_at_its_memory_and_is_warned(compiler: str, level: str) -> None:
    """The first two do something else without a jail: there is a file, and there is more memory."""
    path = program(compiler)
    assert without(path, "file")[1] == b"a file\n"
    runtime = runtime_at(level, "native")
    files, hog, quits = asyncio.run(at_its_limits(runtime, path, path.read_bytes()))
    assert (files.stdout, files.exit.status) == (b"no file\n", 0), files
    assert hog.exit.why == "killed at its memory limit of 100 MiB", hog
    assert (quits.stdout, quits.exit.status) == (b"ready\nfinished in time\n", 5), quits
