"""The whole demonstration as a process: it succeeds, its log audits again, and Ctrl-C leaves nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHOLE_S, QUIT_S = 170, 20  # bounds for hanging

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler (Debian: apt install gcc libc6-dev)"
)


class Run:
    """One demonstration in a directory of its own; its processes are known by a mark in their environment."""

    def __init__(self, place: Path) -> None:
        self.place, self.data, self.mark = place, place / "var/demo", f"DEMO_TEST={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.env = os.environ | {"PYTHONPATH": str(ROOT), name: value}

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "console.demo"],
            cwd=self.place,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def left(self) -> list[str]:
        """Processes of it that are still there, once they had two seconds to go."""
        deadline = time.monotonic() + 2
        while (found := list(self._marked())) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _marked(self) -> Iterator[str]:
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    yield f"{entry.name} {(entry / 'cmdline').read_bytes()!r}"
            except OSError:
                pass


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.mark.timeout(WHOLE_S + 60)
def test_the_whole_demonstration(run: Run) -> None:
    pytest.importorskip("matplotlib", reason="the photograph comes with matplotlib, of the extra `demo`")
    process = run.start()
    try:
        said, _ = process.communicate(timeout=WHOLE_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert run.left() == []
    assert "All agree" in said
    assert (run.data / "dithered.png").read_bytes().startswith(b"\x89PNG")
    commands = [line.split() for line in said.splitlines()[-3:]]
    assert commands[2] == ["make", "test"]
    for _, words in zip(("audit", "replay"), commands, strict=False):
        done = subprocess.run(
            [sys.executable, "-m", "console", *words[words.index("--data") - 1 :]],
            cwd=run.place, env=run.env, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if "audit" in words:
            found = json.loads(done.stdout)
            assert found["ok"] and found["first_disagreement"] is None
            assert f"{found['requests']} requests, {found['events']} events" in said
    assert run.left() == []


@pytest.mark.parametrize("line", ["Setting the stage", "The first hour ends"])
def test_ctrl_c_leaves_nothing(run: Run, line: str) -> None:
    pytest.importorskip("matplotlib", reason="the photograph comes with matplotlib, of the extra `demo`")
    process = run.start()
    try:
        assert process.stdout is not None
        before = ""
        while line not in before and (more := process.stdout.readline()):
            before += more
        assert line in before, before
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=QUIT_S)
    finally:
        process.kill()
    assert (process.returncode, said.splitlines()[-1:]) == (130, ["interrupted; nothing is left running"])
    assert "Traceback" not in said
    assert run.left() == []


def test_what_is_not_its_own_is_not_removed(run: Run) -> None:
    run.data.mkdir(parents=True)
    (run.data / "thesis.tex").write_text("ten years of work")
    said, _ = (process := run.start()).communicate(timeout=QUIT_S)
    assert process.returncode == 1
    assert "was not made by a demonstration" in said.splitlines()[-1]
    assert [path.name for path in run.data.iterdir()] == ["thesis.tex"]


def test_a_second_demonstration_at_once_is_refused(run: Run) -> None:
    pytest.importorskip("matplotlib", reason="the photograph comes with matplotlib, of the extra `demo`")
    first = run.start()
    try:
        assert first.stdout is not None
        while "the market is open" not in (line := first.stdout.readline()):
            assert line, "it ended"
        second = run.start()
        said, _ = second.communicate(timeout=QUIT_S)
        assert second.returncode == 1
        assert said.count("\n") == 1 and "runs here already" in said
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=QUIT_S)
    finally:
        first.kill()
    assert run.left() == []
