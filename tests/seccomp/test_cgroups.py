"""Cgroups, where this machine hands some on to us: they bound, they are found, and none is left behind."""

import asyncio
import functools
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import seccomp
from seccomp import Layer, Limits, NativeRuntime, Report, probe
from seccomp.cgroups import Group, Place, _own_group, find_place
from tests.seccomp.processes import until
from tests.seccomp.running import compile_static, finish, open_folder
from tests.seccomp.test_users import find_python

PATIENT = '#include <unistd.h>\nint main(void) { write(1, "up\\n", 3); for (;;) pause(); }'
HOG = """
import os, sys
os.write(int(sys.argv[1]), b"0")
taken = bytearray(200 << 20)
"""
THREADS = """
import os, sys, threading
os.write(int(sys.argv[1]), b"0")
stay = threading.Event()
try:
    for made in range(20):
        threading.Thread(target=stay.wait).start()
except RuntimeError:
    print(made)
stay.set()
"""
LEAVES = """
import os, sys
from seccomp.cgroups import Group, find_place
from seccomp import Limits
place = find_place()
group = Group(place, Limits(64), 3)
print(place.path, flush=True)
"""


@pytest.fixture
def place() -> Place:
    found = find_place()
    if not found.path:
        pytest.skip(f"no cgroups here: {found.why}")
    return found


def is_empty(group: Path) -> bool:
    return not (group / "cgroup.procs").read_text()


@pytest.fixture
def delegated(place: Place) -> Iterator[Path]:
    """A group of somebody's own, with the controllers in it."""
    group = Path(place.path) / f"test-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    yield group
    for inner in (*group.iterdir(), group):
        if inner.is_dir():
            until(functools.partial(is_empty, inner), "an empty group")
            inner.rmdir()


def run_in(group: Path, source: str, python: str = sys.executable) -> subprocess.Popen[str]:
    """Run Python in a group, or where a node before it went, from its first instruction on."""
    inner = group / "corehour-node"
    enter = f"open({str((inner if inner.exists() else group) / 'cgroup.procs')!r}, 'w').write('0')\n"
    return subprocess.Popen([python, "-c", enter + source], stdout=subprocess.PIPE, text=True)


def run_with(group: Group, source: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", source, str(group.join)]
    return subprocess.run(command, pass_fds=[group.join], capture_output=True, timeout=60, check=False)


def test_a_layer_says_what_is_missing_and_changes_no_level() -> None:
    report = probe()
    (layer,) = (layer for layer in report.layers if layer.name == "cgroup")
    place = find_place()
    assert layer.works == bool(place.path)
    if not layer.works:
        assert place.why in layer.why and "bounded without it" in layer.why


def test_memory_is_bounded_by_the_kernel(place: Place) -> None:
    group = Group(place, Limits(64), 8)
    try:
        assert not group.ran_out()
        assert run_with(group, HOG).returncode == -signal.SIGKILL
        assert group.ran_out()
        assert group.memory_kb() <= 81 << 10
    finally:
        group.remove()


def test_threads_are_bounded_by_the_kernel(place: Place) -> None:
    group = Group(place, Limits(64), 5)
    try:
        assert run_with(group, THREADS).stdout == b"4\n"
    finally:
        group.remove()


def test_each_program_has_its_own_and_none_is_left(place: Place, tmp_path: Path) -> None:
    names = [layer.name for layer in probe().layers if layer.works]
    report = Report(tuple(Layer(name, True, "") for name in names), "A")
    program = compile_static(PATIENT, tmp_path / "patient")
    before = set(os.listdir(place.path))

    def groups() -> set[str]:
        return set(os.listdir(place.path)) - before

    async def go() -> None:
        runtime = NativeRuntime(report)
        running = [await runtime.start(program, ["x"], Limits(64, threads=7)) for _ in range(2)]
        for one in running:
            assert await one.read_stdout(10) == b"up\n"
        assert len(groups()) == 2
        for name in groups():
            group = Path(place.path) / name
            assert len((group / "cgroup.procs").read_text().split()) == 1, "the program, and nobody else"
            assert int((group / "memory.max").read_text()) == (64 + 16) << 20
            assert int((group / "pids.max").read_text()) == 7
        running[0].kill()
        assert 0 < (await finish(running[0])).exit.memory_kb < 4096, "without what forked it"
        running[1].close()
        await runtime.close()

    asyncio.run(go())
    until(lambda: not groups(), "its groups to be gone")


def test_what_a_lost_node_left_is_swept_by_the_next(delegated: Path) -> None:
    for leaves in range(3):
        child = run_in(delegated, LEAVES)
        assert child.communicate(timeout=60)[0] == f"{delegated}\n"
        names = sorted(inner.name for inner in delegated.iterdir() if inner.is_dir())
        assert len(names) == 2 and names[0].startswith(f"corehour-{child.pid}-"), (leaves, names)
        assert names[1] == "corehour-node"


def test_a_group_with_others_in_it_is_left_alone(delegated: Path) -> None:
    other = run_in(delegated, "import time; print('in', flush=True); time.sleep(60)")
    other_in = other.stdout
    assert other_in is not None and other_in.readline() == "in\n"
    child = run_in(delegated, "from seccomp.cgroups import find_place; print(find_place())")
    said = child.communicate(timeout=60)[0]
    other.kill()
    other.communicate()
    assert "1 other processes are in it: run it in a group of its own" in said
    assert [inner for inner in delegated.iterdir() if inner.is_dir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a group on")
def test_an_ordinary_user_with_a_group_handed_on(delegated: Path) -> None:
    for name in ("", "cgroup.procs", "cgroup.subtree_control"):
        os.chown(delegated / name, 65534, 65534)
    with open_folder() as folder:
        shutil.copytree(Path(seccomp.__file__).parent, folder / "seccomp")
        become = "import os, sys; os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
        child = run_in(delegated, f"{become}sys.path.insert(0, {str(folder)!r})\n{LEAVES}", find_python())
        assert child.communicate(timeout=60)[0] == f"{delegated}\n"


def test_our_own_group_is_found() -> None:
    own = _own_group()
    if own is None:
        pytest.skip("no cgroup v2 is mounted here")
    assert str(os.getpid()) in (own / "cgroup.procs").read_text().split()
