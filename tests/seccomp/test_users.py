"""The same for root and for an ordinary user. The suite runs as whoever runs it; under root, its key parts
run once more as an ordinary user."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import wasmtime

import seccomp
from tests.seccomp.modules import HELLO
from tests.seccomp.running import compile_static, open_folder, run_as_ordinary_user

PROGRAM = r"""
#include <stdio.h>
#include <sys/socket.h>
int main(int count, char **values) {
    puts("ready"); fflush(stdout);
    if (count > 1 && socket(AF_UNIX, SOCK_STREAM, 0) >= 0) puts("escaped");
    return 4;
}"""

SCRIPT = """
import asyncio, json, os, sys
sys.path.insert(0, sys.argv[1])
from seccomp import Limits, probe, runtimes

async def go(runtime, program, arguments):
    running = await runtime.start(program, arguments, Limits(64))
    await running.close_stdin()
    out = b""
    while piece := await running.read_stdout(1000):
        out += piece
    end = await running.wait()
    running.close()
    return [out.decode(), end.why]

async def main():
    said = {"uid": os.getuid()}
    with open(sys.argv[1] + "/program", "rb") as file:
        program = file.read()
    with open(sys.argv[1] + "/module", "rb") as file:
        module = file.read()
    for level in "AB":
        report = probe(level)
        native, python, wasm = runtimes(report)
        said[level] = [
            report.level,
            await go(native, program, ["x"]),
            await go(native, program, ["x", "socket"]),
            await go(python, b"def f(d): return 'good'", ["f", "bytes"]),
            await go(python, b"def f(d): return open('/dev/null')", ["f", "bytes"]),
            await go(wasm, module, ["x"]),
        ]
        for runtime in (native, python, wasm):
            await runtime.close()
    (wasm,) = runtimes(probe("C"))
    said["C"] = await go(wasm, module, ["x"])
    await wasm.close()
    print(json.dumps(said))

asyncio.run(main())
"""
EXPECTED = [
    ["ready\n", "exited with 4"],
    ["ready\n", "killed by seccomp (SIGSYS)"],
    ["good", "exited with 0"],
    ["", "exited with 1"],
    ["up\n", "exited with 0"],
]


def find_python() -> str:
    """A Python of our version that an ordinary user may run; root's own may lie in root's home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        if not os.access(candidate, os.X_OK):
            continue
        try:
            done = run_as_ordinary_user(
                [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            )
        except PermissionError:
            continue
        if done.stdout.decode().strip() == version:
            return candidate
    pytest.skip(f"no Python {version} that an ordinary user may run")


@pytest.mark.skipif(os.geteuid() != 0, reason="the suite is run by an ordinary user already")
def test_key_parts_as_an_ordinary_user() -> None:
    python = find_python()
    with open_folder() as folder:
        shutil.copytree(Path(seccomp.__file__).parent, folder / "seccomp")
        for place in (Path(wasmtime.__file__).parent, *Path(wasmtime.__file__).parents[1].glob("wasmtime-*")):
            shutil.copytree(place, folder / place.name)
        (folder / "module").write_bytes(HELLO)
        compile_static(PROGRAM, folder / "program")
        done = run_as_ordinary_user([python, "-I", "-W", "error", "-c", SCRIPT, str(folder)])
    assert (done.returncode, done.stderr) == (0, b"")
    said = json.loads(done.stdout)
    if said["A"][0] == "B":
        pytest.skip("ordinary users may not make namespaces here; level B held")
    assert said == {"uid": 65534, "A": ["A", *EXPECTED], "B": ["B", *EXPECTED], "C": EXPECTED[-1]}


@pytest.mark.skipif(os.geteuid() != 0, reason="the suite is run by an ordinary user already")
def test_under_root_no_process_of_a_start_is_root(tmp_path: Path) -> None:
    import asyncio

    from tests.seccomp.processes import descendants
    from tests.seccomp.running import LIMITS, runtime_at

    program = compile_static("#include <unistd.h>\nint main(void) { sleep(60); }", tmp_path / "sleep")

    async def go() -> None:
        async with runtime_at("B") as runtime:
            running = await runtime.start(program, ["x"], LIMITS)
            family = descendants(os.getpid())
            assert len(family) == 4, "a zygote, a keeper, its program, and one that waits"
            for pid in family:
                status = Path(f"/proc/{pid}/status").read_text()  # noqa: ASYNC240
                lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
                (user,) = set(lines["Uid"].split())
                assert set(lines["Gid"].split()) == {user}
                assert int(user) >> 24 == 0x7F or int(user) == 65534, "a user that nobody else is"
                assert lines["Groups"].strip() == ""
                assert int(lines["CapPrm"], 16) == int(lines["CapEff"], 16) == 0
            running.close()

    asyncio.run(go())
