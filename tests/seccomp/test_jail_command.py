"""The command `jail`: a program in the foreground of a shell, its end, its report, and what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seccomp.main
from seccomp import Layer, Report
from tests.seccomp.processes import alive, command_line, descendants, state, until
from tests.seccomp.running import compile_static

MANY = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void quit(int number) { _exit(number + 2); }
int main(int count, char **values) {
    static char block[1 << 16];
    if (!strcmp(values[1], "echo")) {
        size_t length;
        fprintf(stderr, "%d %s\n", count, values[count - 1]);
        while ((length = fread(block, 1, sizeof block, stdin)) > 0) fwrite(block, 1, length, stdout);
        return 7;
    }
    if (!strcmp(values[1], "crash")) *(volatile int *)1 = 1;
    if (!strcmp(values[1], "flood")) while (fwrite(block, 1, sizeof block, stdout)) ;
    if (!strcmp(values[1], "quit")) signal(SIGQUIT, quit);
    write(1, "up", 2);
    for (;;) sleep(1000);
}"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "many"
    compile_static(MANY, path)
    return path


@pytest.fixture
def jail() -> Iterator[Start]:
    """Starts the command; what still runs at the end is killed."""
    if not seccomp.runtimes(seccomp.probe()):
        pytest.skip(f"nothing can be run here: {seccomp.probe().missing()}")
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str | Path, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "seccomp", *map(str, words)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=stdin, stdout=pipe, stderr=pipe, preexec_fn=as_in_a_terminal
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def as_in_a_terminal() -> None:
    """Nothing ignored that whoever runs the tests ignores, in the background for one."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)


def end(process: "subprocess.Popen[bytes]", data: bytes | None = None) -> tuple[int, bytes, bytes]:
    stdout, stderr = process.communicate(data, timeout=60)
    return process.returncode, stdout, stderr


def in_jail(process: "subprocess.Popen[bytes]", program: Path) -> int:
    (pid,) = (pid for pid in descendants(process.pid) if command_line(pid).startswith(bytes(program) + b"\0"))
    return pid


def test_streams_arguments_status_and_report(jail: Start, many: Path, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    words = ("run", "--memory", "64M", "--report", tmp_path / "r", many, "echo", "--nice")
    running = jail(*words, stdin=subprocess.PIPE)
    status, stdout, stderr = end(running, data)
    assert (status, stderr) == (7, b"3 --nice\n")
    assert stdout == data
    report = json.loads((tmp_path / "r").read_text())
    assert (report["status"], report["signal"], report["why"]) == (7, None, "exited with 7")
    assert (report["bytes_in"], report["bytes_out"]) == (len(data), len(data) + len(stderr))
    assert report["runtime"] == "native/x86_64-linux" and report["level"] in ("A", "B")
    assert report["cpu_us"] > 0 and report["memory_kb"] > 0 and report["wall_s"] > 0


def test_its_death_is_told_as_a_shell_tells_it(jail: Start, many: Path) -> None:
    assert end(jail("run", many, "crash")) == (128 + signal.SIGSEGV, b"", b"jail: killed by SIGSEGV\n")


def test_its_time_is_bounded_and_it_is_warned_before(jail: Start, many: Path) -> None:
    assert end(jail("run", "--wall", "0.2", many, "wait")) == (
        128 + signal.SIGKILL,
        b"up",
        b"jail: killed at its wall limit of 0.2 s\n",
    )
    assert end(jail("run", "--wall", "60", "--warn", "59.5", many, "quit"))[0] == signal.SIGQUIT + 2


def test_a_python_function(jail: Start, tmp_path: Path) -> None:
    source = tmp_path / "work.py"
    source.write_text("def turn(data):\n    return data[::-1]\n")
    assert end(jail("run", "--function", "turn", source, stdin=subprocess.PIPE), b"abc") == (0, b"cba", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_is_left(jail: Start, many: Path, number: signal.Signals) -> None:
    running = jail("run", "--json", many, "wait", stdin=subprocess.PIPE)
    assert running.stdout is not None and running.stdout.read(2) == b"up"
    family = descendants(running.pid)
    running.send_signal(number)
    status, _, stderr = end(running)
    assert status == 128 + number
    report = json.loads(stderr)
    assert (report["signal"], report["why"]) == (signal.SIGKILL, f"ended by {number.name}")
    until(lambda: not any(map(alive, family)), "its processes to end")


def test_sigkill_leaves_nothing(jail: Start, many: Path) -> None:
    running = jail("run", many, "wait")
    assert running.stdout is not None and running.stdout.read(2) == b"up"
    family = descendants(running.pid)
    running.kill()
    until(lambda: not any(map(alive, family)), "its processes to end")


def test_sigquit_reaches_the_program(jail: Start, many: Path) -> None:
    running = jail("run", many, "quit")
    assert running.stdout is not None and running.stdout.read(2) == b"up"
    running.send_signal(signal.SIGQUIT)
    assert end(running)[0] == signal.SIGQUIT + 2


def test_ctrl_z_freezes_and_fg_continues(jail: Start, many: Path) -> None:
    running = jail("run", many, "quit")
    assert running.stdout is not None and running.stdout.read(2) == b"up"
    program = in_jail(running, many)
    running.send_signal(signal.SIGTSTP)
    until(lambda: state(program) == "T" and state(running.pid) == "T", "both to stop")
    running.send_signal(signal.SIGCONT)
    until(lambda: state(program) == "S", "the program to go on")
    running.send_signal(signal.SIGQUIT)
    assert end(running)[0] == signal.SIGQUIT + 2


def test_who_does_not_read_holds_it_up(jail: Start, many: Path) -> None:
    running = jail("run", "--json", many, "flood")
    assert running.stdout is not None and running.stdout.read(1) == b"\0"
    time.sleep(0.3)  # it could write gigabytes
    running.send_signal(signal.SIGTERM)
    _, _, stderr = end(running)
    assert json.loads(stderr)["bytes_out"] < 1 << 20


def test_whose_reader_is_gone_it_ends(jail: Start, many: Path) -> None:
    running = jail("run", many, "flood")
    assert running.stdout is not None
    running.stdout.read(1)
    running.stdout.close()
    assert running.wait(60) == 128 + signal.SIGPIPE


def test_a_closed_standard_stream_is_an_empty_one(many: Path) -> None:
    closing = [sys.executable, "-m", "seccomp", "run", str(many), "echo"]
    done = subprocess.run(["sh", "-c", '"$@" <&- >&-', "sh", *closing], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (7, b"2 echo\n")


def call(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """The command in this process; returns its status."""
    monkeypatch.setattr(sys, "argv", ["jail", *map(str, words)])
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended:
            seccomp.main.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(ended.value.code, int)
    return ended.value.code


REFUSED = {
    "/nowhere/x": "/nowhere/x: No such file or directory",
    "/": "/: Is a directory",
    "--memory 3 {many}": "--memory is '3': must be a size from 1M on, as 512M or 2G",
    "--memory 99999999G {many}": "--memory (in MiB) is 102399998976: must be between 1 and",
    "--cpus 9999 {many}": "--cpus is 9999: there are",
    "--nice 40 {many}": "--nice",
    "--threads 0 {many}": "--threads is 0: must be between 1 and 1024",
    "--wall 0 {many}": "--wall is 0.0: must be more than 0 and at most",
    "--wall 5 --warn 6 {many}": "--warn is 6.0: must be between 0 and --wall, which is 5.0",
    "--warn 6 {many}": "--warn is 6.0: there is no --wall that it would be before",
    "--function f {many}": "--function and --encoding are for Python",
    "--encoding bytes {many}": "--function and --encoding are for Python",
    "{text}": "it is the text of one; assemble it first, with wat2wasm",
    "--cpu-time 0 {many}": "--cpu-time is 0: must be between 1 and",
    "--at-most D {many}": "--at-most",
    "--bad {many}": "No such option: --bad (see `jail run -h`)",
    "": "Missing argument 'PROGRAM' (see `jail run -h`)",
    "{source}": "is no executable, no wasm module, and not named .py; --runtime says what it is",
    "--runtime vm/x86_64-kvm {many}": "no runtime vm/x86_64-kvm here: there are native/x86_64-linux",
    "--runtime native/x86_64-linux {source}": "not a static x86_64 ELF executable: it is",
    "{python}": "is a Python source: name its --function, whose input is stdin",
    "--function f {python} x": "is a Python source: its --function gets its arguments by stdin",
    "--function f --encoding xml {python}": "--encoding is 'xml': must be bytes or json",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_done_is_one_line_and_125(
    words: str, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source, python = tmp_path / "x.c", tmp_path / "x.py"
    source.write_text("int main;")
    python.write_text("")
    (text := tmp_path / "x.wasm").write_text("(module)")
    places = {"many": many, "source": source, "python": python, "text": text}
    assert call(monkeypatch, "run", *words.format(**places).split()) == 125
    told = capfd.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and told.err.startswith("jail: ")
    assert REFUSED[words] in told.err


def test_check_says_what_works(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    report = seccomp.probe("B")
    tags = [runtime.tag for runtime in seccomp.runtimes(report)]
    assert call(monkeypatch, "check", "--at-most", "B", "--json") == (0 if tags else 1)
    told = json.loads(capfd.readouterr().out)
    assert (told["level"], told["runtimes"]) == (report.level, tags)
    assert [layer["name"] for layer in told["layers"]] == [layer.name for layer in report.layers]


def test_check_fails_where_nothing_can_be_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    nothing = Report((Layer("seccomp", False, "no filters: use another kernel"),), "")
    monkeypatch.setattr(seccomp.main, "probe", lambda at_most: nothing)
    assert call(monkeypatch, "check") == 1
    told = capfd.readouterr().out
    assert "no filters: use another kernel" in told and "level: none; runtimes: none" in told
    assert call(monkeypatch, "run", "/bin/true") == 125
    assert "nothing can be run here: seccomp: no filters: use another kernel" in capfd.readouterr().err


def test_bench_measures_every_runtime_that_it_has_kernels_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    report = seccomp.probe()
    tags = [one.tag for one in seccomp.runtimes(report) if not one.tag.startswith("python/")]
    if not tags:
        pytest.skip(f"nothing can be run here: {report.missing()}")
    assert call(monkeypatch, "bench", "--seconds", "0.1", "--cpus", "1", "--json") == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["level"], [score["runtime"] for score in said["scores"]]) == (report.level, tags)
    assert all(score["copies"] == 1 and score["mips"] > 0 < score["mflops"] for score in said["scores"])
    assert call(monkeypatch, "bench", "--seconds", "0.1") == 0
    table = capfd.readouterr().out
    assert all(word in table for word in (*tags, "sieve", "triad", "mflops"))
    assert call(monkeypatch, "bench", "--cpus", "10000") == seccomp.main.FAILED
    assert re.fullmatch("jail: --cpus is 10000: there are .* here\n", capfd.readouterr().err)
