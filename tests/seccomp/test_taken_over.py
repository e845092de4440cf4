"""A template that its module took over: whatever it does then, its keeper ends it and the node goes on.

No module can do so that we know of: so the template's own code is replaced here by what an attacker would
have it do once he rules its process, and the rest of the jail is as it is.
"""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from subprocess import PIPE

import pytest

import seccomp
from tests.seccomp.running import report_at

SOURCES = Path(seccomp.__file__).parent
START = "    while (receive(TEMPLATE_FD, &byte, 1, 1) == 1) {"
COPY = "syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL)"
WAITING = 'if (write(COPY_FD, "", 1)) '
KILLED = "killed at its CPU limit of 1 s"
# By name: how a run may end, if one began ("": none can); what is done when it is asked for, or else before.
DEEDS = {
    "floods its keeper": ("", "for (;;) if (write(TEMPLATE_FD, ready, size)) continue;"),
    "says what it should not": ("", 'for (;;) if (write(TEMPLATE_FD, "x", 1)) continue;'),
    "computes for itself": ("", "for (;;) continue;"),
    "computes after a copy": ("exited with 0", f"if ({COPY} == 0) run_copy(prepared); for (;;) continue;"),
    "says that it is the copy": ("", f"receive(TEMPLATE_FD, &byte, 1, 1); {WAITING} for (;;) continue;"),
    "makes copies that nobody asked for": (
        "exited with 0",
        f"for (int i = 0; i < 9; i++) if ({COPY} == 0) for (;;); if ({COPY} == 0) run_copy(prepared);",
    ),
    "makes a copy that floods": (
        KILLED,
        f'if ({COPY} == 0) {{ {WAITING} for (;;) if (write(COPY_FD, "xx", 2)) continue; }}',
    ),
    "makes a copy that computes": (KILLED, f"if ({COPY} == 0) {{ {WAITING} for (;;) continue; }}"),
    "makes a copy that ends": ("exited with 0", f"if ({COPY} == 0) {{ {WAITING} _exit(0); }}"),
}
SCRIPT = """
import asyncio, json, os, sys
import seccomp
from tests.seccomp.modules import HELLO
from tests.seccomp.processes import descendants, ticks

seccomp.templates.MOST_COPY_WALL_S = 3

async def main(level):
    wasm = next(one for one in seccomp.runtimes(seccomp.probe(at_most=level)) if one.tag.startswith("wasm"))
    try:
        program = await wasm.start(HELLO, ["module"], seccomp.Limits(64, cpu_s=1))
        end = await asyncio.wait_for(program.wait(), 20)
        told = end.why
    except seccomp.JailError as error:
        told = f"refused: {error}"
    await asyncio.sleep(0.7)  # a template may compute for half a second, if a copy is asked for
    before = {pid: ticks(pid) for pid in descendants(os.getpid())}
    await asyncio.sleep(0.5)
    compute = [pid for pid, used in before.items() if ticks(pid) > used + 5]
    await wasm.close()
    await asyncio.sleep(0.3)
    assert seccomp.__file__.startswith(os.getcwd())
    print(json.dumps([told, len(compute), len(descendants(os.getpid()))]))

asyncio.run(main(sys.argv[1]))
"""


def taken_over(folder: Path, deed: str) -> Path:
    """A jail of its own in a folder, whose templates do `deed`."""
    package = folder / "seccomp"
    shutil.copytree(SOURCES, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    source = package / "_template.h"
    text = source.read_text()
    assert text.count(START) == 1
    when, what = DEEDS[deed]
    source.write_text(
        text.replace(START, f"{START} {what} close(COPY_FD); continue;" if when else f"{what}\n{START}")
    )
    module = package / f"_jail{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = sysconfig.get_path("include")
    flags = ["-O1", "-w", "-shared", "-fPIC", "-I", include, "-o", str(module)]
    subprocess.run(["cc", *flags, str(package / "_jail.c"), "-ldl"], check=True, timeout=60)
    return folder


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: cc is not there")
@pytest.mark.parametrize("deed", DEEDS)
def test_a_template_that_was_taken_over_harms_nobody(tmp_path: Path, deed: str) -> None:
    folder = taken_over(tmp_path, deed)
    tests = str(Path(__file__).parents[2])
    begun = []
    for level in ("A", "B"):
        report_at(level)
        command = [sys.executable, "-c", SCRIPT, level]
        begun.append(subprocess.Popen(command, stdout=PIPE, text=True, env={"PYTHONPATH": tests}, cwd=folder))
    for process in begun:
        told, computing, left = json.loads(process.communicate(timeout=60)[0])
        assert computing == 0, "somebody goes on to compute"
        assert left == 0, "somebody outlives the runtime"
        assert told.startswith("refused: ") or told == DEEDS[deed][0]
