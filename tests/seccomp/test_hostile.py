"""What a program must not be able to do: every program of `hostile/`, at each level, as whoever runs the
tests and, under root, as an ordinary user too. Each is done outside of the jail first: a test program that
cannot do it anyway would prove nothing."""

import asyncio
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import seccomp
from seccomp import Exit, Runtime
from tests.docs.document import parts
from tests.seccomp.hostile import executables, play, report
from tests.seccomp.hostile.judge import control_fault, fault
from tests.seccomp.hostile.play import HONEST, Seen
from tests.seccomp.hostile.reasons import REASONS
from tests.seccomp.hostile.table import Deed, every, families
from tests.seccomp.running import LIMITS, compile_static, open_folder, runtime_at
from tests.seccomp.test_users import find_python

HERE = Path(__file__).parent
DEEDS = {deed.name: deed for deed in every()}
LEVELS = ("A", "B", "C")
USERS = ("this user", "an ordinary user") if os.geteuid() == 0 else ("this user",)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """What an ordinary user needs, where he may read it."""
    with open_folder() as folder:
        shutil.copytree(Path(seccomp.__file__).parent, folder / "seccomp")
        for package in ("tests", "tests/seccomp"):
            (folder / package).mkdir()
            shutil.copy(HERE.parents[1] / package / "__init__.py", folder / package)
        shutil.copytree(HERE / "hostile", folder / "tests/seccomp/hostile")
        _copy_wasmtime(folder)
        sources = "".join(f'#include "{file}"\n' for file in sorted((HERE / "hostile").glob("*.c")))
        compile_static(sources, folder / "deeds")
        for deed in executables.deeds():
            (folder / deed.name).write_bytes(deed.program)
            (folder / deed.name).chmod(0o755)
        yield folder


def _copy_wasmtime(folder: Path) -> None:
    """For a Python of the ordinary user's, which has no packages of ours."""
    found = importlib.util.find_spec("wasmtime")
    if found is not None and found.origin is not None:
        package = Path(found.origin).parent
        shutil.copytree(package, folder / "wasmtime")
        for about in package.parent.glob("wasmtime-*.dist-info"):
            shutil.copytree(about, folder / about.name)


def run_module(folder: Path, name: str, user: str, *arguments: str) -> Any:
    """Run a module of the suite as a user; returns the JSON that it prints."""
    ordinary = user == "an ordinary user"
    command = [find_python() if ordinary else sys.executable, "-m", f"tests.seccomp.hostile.{name}"]
    number, groups = (65534, ()) if ordinary else (None, None)
    done = subprocess.run(
        [*command, str(folder), *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=150,
        check=False,
        user=number,
        group=number,
        extra_groups=groups,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def controls(folder: Path) -> dict[str, Seen]:
    """Every program, outside of the jail, as an ordinary user."""
    seen = run_module(folder, "controls", USERS[-1])
    return {name: Seen(**one) for name, one in seen.items()}


@pytest.fixture(scope="module")
def played(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Every program, in the jail: by user and level."""
    with ThreadPoolExecutor() as pool:
        runs = {user: pool.submit(run_module, folder, "play", user, *LEVELS) for user in USERS}
        return {
            (user, level): one
            for user, run in runs.items()
            for level, one in zip(LEVELS, run.result(), strict=True)
        }


def test_there_are_enough_of_every_kind() -> None:
    assert len(DEEDS) == len(every()) >= 400, "a name stands twice"
    assert all(deed.control in ("DOES", "ASKS", "DIES") for deed in DEEDS.values())
    assert sum(deed.control == "DOES" for deed in DEEDS.values()) > 150
    assert min(len(of_family) for of_family in families().values()) > 5


@pytest.mark.parametrize("family", families())
def test_outside_of_the_jail_they_do_it(family: str, controls: dict[str, Seen]) -> None:
    """Or the kernel says no to an ordinary user, where he has no right to it outside of the jail either."""
    faults = {
        deed.name: why
        for deed in families()[family]
        if deed.name in controls and (why := control_fault(deed, controls[deed.name]))
    }
    assert not faults
    if not any(deed.name in controls for deed in families()[family]):
        pytest.skip("no wasmtime, outside of the jail as in it")


def of_level(played: dict[tuple[str, str], dict[str, Any]], user: str, level: str) -> dict[str, Any]:
    one = played[user, level]
    if one["level"] != level:
        pytest.skip(f"{user} does not have level {level} here, but {one['level'] or 'none'}")
    return one


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("user", USERS)
def test_in_the_jail_they_end_as_they_should(
    user: str, level: str, played: dict[tuple[str, str], dict[str, Any]]
) -> None:
    one = of_level(played, user, level)
    seen = {name: Seen(**what) for name, what in one["seen"].items()}
    assert not {name: why for name, what in seen.items() if (why := fault(DEEDS[name], level, what))}
    tried = {deed.name for deed in DEEDS.values() if deed.kind in one["kinds"] and deed.at(level)}
    assert set(seen) == tried
    assert (one["uid"] == 0) == (user == "this user" and os.geteuid() == 0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("user", USERS)
def test_beside_and_behind_them_all_honest_programs_run_and_nothing_is_left(
    user: str, level: str, played: dict[tuple[str, str], dict[str, Any]]
) -> None:
    one = of_level(played, user, level)
    assert one["honest"] == {
        f"{kind}, {when} them": f"{answer}, exited with 0, 11 in, {len(answer)} out"
        for kind, (_, _, answer) in HONEST.items()
        if kind in one["kinds"]
        for when in ("beside", "behind")
    }
    assert one["left"] == []


@pytest.mark.parametrize("level", ["A", "B"])
def test_commands_that_race_with_the_end_do_not_change_what_is_told(folder: Path, level: str) -> None:
    program, dice = (folder / "deeds").read_bytes(), random.Random(level)

    async def one(runtime: Runtime) -> Exit:
        running = await runtime.start(program, ["deeds", "say_escaped"], LIMITS)
        for _ in range(dice.randrange(4)):
            dice.choice((running.freeze, running.resume, running.quit, running.quit))()
            if dice.random() < 0.5:
                await asyncio.sleep(dice.random() / 500)
        dice.choice((running.resume, running.resume, running.kill))()
        end = await running.wait()
        running.close()
        return end

    async def go() -> Counter[str]:
        async with runtime_at(level) as runtime:
            ends = [end for _ in range(20) for end in await asyncio.gather(*(one(runtime) for _ in range(5)))]
        assert all((end.status is None) != (end.signal is None) and end.cpu_us > 0 for end in ends), ends
        return Counter(end.why for end in ends)

    ends = asyncio.run(go())
    assert set(ends) <= {"exited with 0", "killed by its keeper"} and ends.total() == 100


def test_the_judge_can_say_no() -> None:
    killed = Seen("ready\n", signal=31, why="killed by seccomp (SIGSYS)", bytes_out=6, read=6)
    deed = Deed("native", "x", "x", "x", "DOES", "A: SIGSYS; B: EACCES|keeper")
    assert fault(deed, "A", killed) == ""
    assert fault(deed, "B", killed) and fault(deed, "A", replace(killed, why="killed by its keeper"))
    assert fault(deed, "A", replace(killed, stdout="ready\nescaped\n"))
    assert fault(deed, "A", replace(killed, read=7)) and fault(deed, "A", replace(killed, status=0))
    assert fault(deed, "B", Seen("ready\nrefused 13\n", status=0, why="exited with 0", bytes_out=17)) == ""
    assert fault(deed, "B", Seen("ready\nrefused 1\n", status=0, why="exited with 0", bytes_out=17))
    assert fault(deed, "B", Seen(error="the jail failed at exec: no"))
    assert control_fault(deed, Seen("ready\nrefused 13\n", status=0))
    assert control_fault(replace(deed, outcome="SIGSYS"), Seen("ready\nescaped\n", status=0)) == ""


def test_leftovers_would_be_found() -> None:
    mark = Path(f"/tmp/{play.mark(DEEDS['create'])}")
    child = subprocess.Popen(["sleep", "60"])
    mark.touch()
    try:
        children = len(play.descendants(os.getpid()))
        left = asyncio.run(play.leftovers(children - 1, 1))
        assert str(mark) in left and any(one.startswith(f"process {child.pid}: ") for one in left)
    finally:
        mark.unlink()
        child.kill()
        child.wait()


@pytest.mark.parametrize("name", report.PARTS)
def test_the_document_says_what_is_tried_and_what_is_allowed(name: str) -> None:
    again = "write it again: python -m tests.seccomp.hostile.report"
    assert parts(report.DOCUMENT.read_text("utf-8"))[name] == report.PARTS[name](), again


def test_every_call_of_the_filter_has_a_reason() -> None:
    rules = report.rules()
    assert set(REASONS) == set(rules)
    assert sum(map(len, rules.values())) == report.FILTER.read_text("utf-8").count("\n    {SYS_")
