"""The levels are found by trying: here under a filter that refuses what some machines refuse."""

import asyncio
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seccomp import JailError, Limits, NativeRuntime, PythonRuntime, probe, runtimes
from tests.seccomp.running import compile_static, report_at

# Runs a command in which one system call gives an error, if its first argument has a bit of a mask (or 0).
REFUSE = r"""
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int count, char **values) {
    unsigned number = atoi(values[1]), error = atoi(values[2]), mask = strtoul(values[3], 0, 0);
    struct sock_filter code[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 4, number},
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, 16},
        {BPF_JMP | BPF_JSET | BPF_K, 1, 0, mask},
        {BPF_JMP | BPF_JA, 0, 0, mask ? 1 : 0},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | error},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    struct sock_fprog filter = {7, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 99;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 99;
    execvp(values[4], values + 4);
    return 98;
}"""
CLONE, SECCOMP, LANDLOCK_CREATE_RULESET, SETRESUID = 56, 317, 444, 117
NEW_USER = 0x10000000

PROBE = """
import json, sys
from seccomp import probe
report = probe()
print(json.dumps([report.level, report.missing(), {l.name: [l.works, l.why] for l in report.layers}]))
"""
START_ANYWAY = """
import asyncio, sys
from seccomp import JailError, Layer, Limits, NativeRuntime, Report
report = Report(tuple(Layer(n, True, "") for n in ("user", "namespaces", "landlock", "seccomp")), "A")
async def main():
    runtime = NativeRuntime(report)
    try:
        await runtime.start(open(sys.argv[1], "rb").read(), ["x"], Limits(64))
    except JailError as error:
        print(error)
    await runtime.close()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def refuse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("refuse") / "refuse"
    compile_static(REFUSE, target)
    return target


def python_where(refuse: Path, number: int, error: int, mask: int, code: str, *arguments: str) -> str:
    command = [str(refuse), str(number), str(error), str(mask), sys.executable, "-c", code, *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_report_names_every_layer_and_what_it_does() -> None:
    report = report_at("A")
    assert [layer.name for layer in report.layers] == ["user", "namespaces", "landlock", "seccomp", "cgroup"]
    assert all(layer.works for layer in report.layers[:-1]) and all(layer.why for layer in report.layers)
    assert report.missing() == ""


@pytest.mark.parametrize(("at_most", "works"), [("B", ["landlock", "seccomp"]), ("C", ["seccomp"])])
def test_at_most_leaves_layers_out(at_most: str, works: list[str]) -> None:
    report = report_at(at_most)
    needed = report.layers[:-1]  # cgroups belong to no level
    assert [layer.name for layer in needed if layer.works] == ["user", *works]
    assert all("left out" in layer.why for layer in needed if not layer.works)


def test_no_level_of_another_name() -> None:
    with pytest.raises(ValueError, match="at_most is 'D'"):
        probe(at_most="D")


def test_below_level_b_wasm_runs_alone() -> None:
    report = report_at("C")
    assert [runtime.tag for runtime in runtimes(report)] == ["wasm/wasi-p1"]
    for kind in (NativeRuntime, PythonRuntime):
        with pytest.raises(JailError, match=r"programs here: namespaces: left out.*; landlock: left out"):
            kind(report)


CASES = [
    ("namespaces", CLONE, errno.EPERM, NEW_USER, "B", "failed at namespaces (EPERM): "),
    ("landlock", LANDLOCK_CREATE_RULESET, errno.EOPNOTSUPP, 0, "C", "add landlock to the kernel's lsm="),
    ("landlock", LANDLOCK_CREATE_RULESET, errno.ENOSYS, 0, "C", "use Linux 5.13 or later"),
    ("seccomp", SECCOMP, errno.EINVAL, 0, "", "CONFIG_SECCOMP_FILTER"),
]


@pytest.mark.parametrize(("layer", "number", "error", "mask", "level", "why"), CASES)
def test_what_does_not_work_is_found_and_explained(
    refuse: Path, layer: str, number: int, error: int, mask: int, level: str, why: str
) -> None:
    report_at("A")
    found, missing, layers = json.loads(python_where(refuse, number, error, mask, PROBE))
    assert found == level
    layers.pop("cgroup")
    assert [name for name, (works, _) in layers.items() if not works] == [layer]
    assert why in layers[layer][1]
    assert (missing == "") == (level == "B")


@pytest.mark.parametrize(("layer", "number", "error", "mask"), [case[:4] for case in CASES])
def test_a_layer_that_was_promised_must_work_at_the_start(
    refuse: Path, tmp_path: Path, layer: str, number: int, error: int, mask: int
) -> None:
    report_at("A")
    compile_static('#include <stdio.h>\nint main(void) { puts("ran"); }', tmp_path / "program")
    said = python_where(refuse, number, error, mask, START_ANYWAY, str(tmp_path / "program"))
    assert said == f"the jail failed at {layer}: {os.strerror(error)}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_that_cannot_become_nobody_runs_nothing(refuse: Path) -> None:
    found, missing, layers = json.loads(python_where(refuse, SETRESUID, errno.EINVAL, 0, PROBE))
    assert found == ""
    assert layers["user"] == [
        False,
        "root here cannot become an ordinary user (EINVAL): run it as one",
    ]
    assert missing.startswith("user: root here cannot become")


def test_a_probe_that_cannot_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(JailError, match=r"^the probe of the jail failed: "):
        probe()


def test_probing_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    probe()
    assert set(os.listdir("/proc/self/fd")) == before


def test_runtimes_of_a_machine_that_can() -> None:
    async def go() -> list[str]:
        found = runtimes(report_at("A"))
        for runtime in found:
            await runtime.close()
        return [runtime.tag for runtime in found]

    python = f"python/3.{sys.version_info.minor}"
    assert asyncio.run(go()) == ["native/x86_64-linux", python, "wasm/wasi-p1"]
    assert Limits(1).cpus == ()
