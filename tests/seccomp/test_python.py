"""Python functions: they compute with what was imported before the jail closed, and can do nothing else."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from seccomp import Exit, JailError, Limits, PythonRuntime
from tests.seccomp.processes import descendants, start_time, state, until_async
from tests.seccomp.running import LIMITS, Outcome, report_at, run, runtime_at


def call(
    source: str, name: str = "f", encoding: str = "bytes", data: bytes = b"", level: str = "A"
) -> Outcome:
    async def go() -> Outcome:
        async with runtime_at(level, "python") as runtime:
            return await run(runtime, source.encode(), [name, encoding], data)

    return asyncio.run(go())


@pytest.mark.parametrize("level", ["A", "B"])
def test_bytes_go_in_and_come_out(level: str) -> None:
    data = os.urandom(300_000)
    outcome = call("def f(data):\n    return data[::-1]", data=data, level=level)
    assert (outcome.stdout, outcome.stderr, outcome.exit.status) == (data[::-1], b"", 0)
    assert (outcome.exit.bytes_in, outcome.exit.bytes_out) == (len(data), len(data))
    assert outcome.exit.cpu_us > 0


def test_text_comes_out_as_utf_8_and_print_goes_to_standard_error() -> None:
    outcome = call("def f(data):\n    print('on the way', 'ü')\n    return 'größer'")
    assert (outcome.stdout, outcome.stderr) == ("größer".encode(), "on the way ü\n".encode())


def test_json_arguments_and_result() -> None:
    source = "import math\ndef f(a, b, *rest):\n    return {'sum': a + b, 'rest': rest, 'root': math.sqrt(a)}"
    outcome = call(source, encoding="json", data=b'[4, 5, "x", null]')
    assert json.loads(outcome.stdout) == {"sum": 9, "rest": ["x", None], "root": 2.0}
    assert outcome.exit.why == "exited with 0"


def test_numpy_computes() -> None:
    if subprocess.run(
        [sys.executable, "-I", "-c", "import numpy"], capture_output=True, check=False
    ).returncode:
        pytest.skip("numpy is not installed beside this Python: functions run without it")
    source = """
import numpy
def f(size):
    one = numpy.random.default_rng(1).random((size, size))
    inverse = numpy.linalg.inv(one)
    assert numpy.allclose(numpy.fft.ifft(numpy.fft.fft(one)).real, one)
    return numpy.round(numpy.dot(one, inverse)).astype(int).trace().item()
"""
    outcome = call(source, encoding="json", data=b"[200]")
    assert (outcome.stdout, outcome.stderr) == (b"200", b"")


def test_two_programs_draw_different_numbers() -> None:
    source = """
import os, random, sys
def f(data):
    numpy = sys.modules.get("numpy")
    drawn = numpy.random.random() if numpy else 0
    return f"{random.random()} {drawn} {os.urandom(8).hex()}"
"""

    async def go() -> list[Outcome]:
        async with runtime_at("A", "python") as runtime:
            return [await run(runtime, source.encode(), ["f", "bytes"]) for _ in range(2)]

    first, second = (outcome.stdout.split() for outcome in asyncio.run(go()))
    assert len(first) == len(second)
    assert first[0] != second[0]
    assert first[1] != second[1] or first[1] == b"0"
    assert first[2] != second[2]


def test_an_exception_is_told_with_the_source_and_nothing_of_the_seller() -> None:
    outcome = call("def g(x):\n    return 1 / x\n\ndef f(data):\n    return g(0)")
    text = outcome.stderr.decode()
    assert (outcome.stdout, outcome.exit.status) == (b"", 1)
    assert text.endswith("ZeroDivisionError: division by zero\n")
    assert 'File "<program>", line 2, in g' in text and "return 1 / x" in text
    assert "seccomp" not in text and sys.prefix not in text


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("json.loads('{')", "JSONDecodeError"),
        ("from json import nothing", "cannot import name 'nothing'"),
        (
            "try:\n        json.loads('{')\n    except ValueError as e:\n        raise KeyError(1) from e",
            "KeyError: 1",
        ),
        ("try:\n        json.loads('{')\n    finally:\n        int('x')", "invalid literal"),
    ],
)
def test_an_exception_in_a_library_tells_no_path(body: str, told: str) -> None:
    text = call(f"import json, os\n\ndef f(data):\n    {body}").stderr.decode()
    assert told in text and 'File "<program>", line' in text
    assert os.path.dirname(os.__file__) not in text and sys.base_prefix not in text
    assert text.count("File ") == text.count('File "<program>"')


@pytest.mark.parametrize(
    ("source", "encoding", "data", "told"),
    [
        ("def f(:", "bytes", b"", "SyntaxError"),
        ("f = 3", "bytes", b"", "the source has no function 'f'"),
        ("def g(d): pass", "bytes", b"", "the source has no function 'f'"),
        ("def f(d): return 3", "bytes", b"", "f returned int: must be bytes or str"),
        ("def f(d): return 3", "json", b"{}", "the input is a JSON dict: must be an array"),
        ("def f(d): return 3", "json", b"[", "JSONDecodeError"),
        ("def f(d): return f", "json", b"[1]", "not JSON serializable"),
        ("def f(d): return f(d)", "bytes", b"", "RecursionError"),
        ("def f(d): return bytes(1 << 40)", "bytes", b"", "MemoryError"),
        ("def f(d):\n  a = []\n  while True: a.append(bytes(1 << 20))", "bytes", b"", "MemoryError"),
        ("import sqlite3", "bytes", b"", "ModuleNotFoundError: no module 'sqlite3' in the jail"),
        ("import json.no_such", "bytes", b"", "ModuleNotFoundError: no module 'json.no_such' in the jail"),
        ("def f(d): undefined_name", "bytes", b"", "NameError: name 'undefined_name'"),
    ],
)
def test_what_goes_wrong_is_told(source: str, encoding: str, data: bytes, told: str) -> None:
    outcome = call(source, encoding=encoding, data=data)
    assert told in outcome.stderr.decode(), outcome
    assert (outcome.stdout, outcome.exit.status) == (b"", 1)


def test_exit_statuses() -> None:
    assert call("import sys\ndef f(d): sys.exit(5)").exit.status == 5
    outcome = call("def f(d): raise SystemExit('enough')")
    assert (outcome.stderr, outcome.exit.status) == (b"enough\n", 1)


# name: a function that returns if it did the deed
DEEDS = {
    "open": "open('/etc/passwd').read()",
    "write": "open(os.devnull, 'w')",
    "listdir": "os.listdir('/')",
    "stat": "os.stat('/etc')",
    "getcwd": "os.getcwd()",
    "socket": "import_('_socket').socket()",
    "fork": "os.fork() or os._exit(0)",
    "thread": "import_('threading').Thread(target=print).start()",
    "system": "os.system('true')",
    "exec": "os.execv('/bin/true', ['true'])",
    "kill": "os.kill(os.getpid(), 0)",
    "kill_parent": "os.kill(os.getppid(), 0)",
    "pipe": "os.pipe()",
    "dup": "os.dup(0)",
    "ctypes_call": "import_('ctypes').CDLL(None).fork() or os._exit(0)",
    "ctypes_open": "ctypes_open()",
    "executable_memory": "executable_memory()",
    "memfd": "os.memfd_create('x')",
    "posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "nice": "os.nice(1)",
    "environment": "os.environ['PATH']",
    "proc_environment": "open('/proc/self/environ').read()",
}
DEED = """
import os, sys
def import_(name):
    return __import__(name)
def ctypes_open():
    import ctypes
    fd = ctypes.CDLL(None).open(b"/etc/passwd", 0)
    assert fd >= 0, "refused"
def executable_memory():
    import ctypes
    mmap = ctypes.CDLL(None).mmap
    mmap.restype = ctypes.c_void_p
    assert mmap(None, 4096, 7, 0x22, -1, 0) not in (None, 2**64 - 1), "refused"
def f(data):
    sys.stderr.write("ready\\n")
    {deed}
    return "escaped"
"""


@pytest.fixture(scope="module", params=["A", "B"])
def jailed(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    async def go() -> dict[str, Outcome]:
        async with runtime_at(request.param, "python") as runtime:
            return {
                name: await run(runtime, DEED.format(deed=deed).encode(), ["f", "bytes"])
                for name, deed in DEEDS.items()
            }

    return asyncio.run(go())


@pytest.mark.parametrize("name", DEEDS)
def test_deed_is_prevented(name: str, jailed: dict[str, Outcome]) -> None:
    control = DEED.format(deed=DEEDS[name]) + "\nprint(f(b''), flush=True)"
    if name == "exec":
        control = control.replace("/bin/true', ['true']", "/bin/echo', ['echo', 'escaped']")
    outside = subprocess.run([sys.executable, "-c", control], capture_output=True, timeout=60, check=False)
    assert b"escaped" in outside.stdout, f"the control failed: {outside.stderr.decode()}"

    outcome = jailed[name]
    assert outcome.stderr.startswith(b"ready\n"), outcome
    assert outcome.stdout == b""
    if outcome.exit.status is None:
        assert outcome.exit.signal == signal.SIGSYS, outcome
    else:
        assert outcome.exit.status == 1
        assert b"Error" in outcome.stderr


def test_frozen_killed_and_told_to_quit() -> None:
    source = """
import signal, sys
class Quit(Exception): pass
def stop(*_): raise Quit
def f(data):
    signal.signal(signal.SIGQUIT, stop)
    try:
        print("up")
        while True: pass
    except Quit:
        return "finished"
"""

    async def go() -> tuple[Exit, Exit]:
        async with runtime_at("A", "python") as runtime:
            program = await runtime.start(source.encode(), ["f", "bytes"], LIMITS)
            await program.close_stdin()
            assert await program.read_stderr(10) == b"up\n"
            pid = max(descendants(os.getpid()), key=start_time)
            program.freeze()
            await until_async(lambda: state(pid) == "T", "it is stopped")
            program.quit()
            program.resume()
            assert (await program.read_stdout(100)) == b"finished"
            end = await asyncio.wait_for(program.wait(), 30)
            program.close()

            other = await runtime.start(source.encode(), ["f", "bytes"], LIMITS)
            other.freeze()
            other.kill()
            killed = await asyncio.wait_for(other.wait(), 30)
            other.close()
            return end, killed

    end, killed = asyncio.run(go())
    assert end.status == 0
    assert killed.why == "killed by its keeper"


def test_wrong_arguments_are_refused_at_the_start() -> None:
    async def go() -> None:
        runtime = PythonRuntime(report_at("A"))
        for arguments in ([], ["f"], ["f", "pickle"], ["f()", "json"], ["f", "json", "more"]):
            with pytest.raises(JailError, match="must be a function's name and bytes or json"):
                await runtime.start(b"", arguments, Limits(64))
        await runtime.close()

    asyncio.run(go())


def test_the_tag_names_this_version() -> None:
    assert PythonRuntime(report_at("A")).tag == f"python/{sys.version_info.major}.{sys.version_info.minor}"
