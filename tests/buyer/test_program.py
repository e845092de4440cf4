"""What is looked at before it is sent, and what the command line says about it: one line each."""

import importlib.metadata
import json
import os
import pty
import subprocess
import tty
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from buyer.job import BadJobError, Ended, Result
from buyer.main import app, copy, pass_through
from buyer.offers import pick
from buyer.program import (
    NATIVE,
    check_output,
    find_inputs,
    installed,
    read_needs,
    read_program,
    read_python,
    unnamed_needs,
)
from events.keys import Key
from events.profile import parse_screen


def compiled(path: Path, *options: str) -> Path:
    source = path.with_suffix(".c")
    source.write_text("int main(void) { return 0; }")
    subprocess.run(["cc", *options, "-o", path, source], check=True)
    return path


def test_a_static_executable_is_taken_and_a_dynamic_one_is_not(tmp_path: Path) -> None:
    static = compiled(tmp_path / "static", "-static")
    assert read_program(str(static)) == (NATIVE, static.read_bytes())
    with pytest.raises(BadJobError, match=r"dynamically.*link with -static"):
        read_program(str(compiled(tmp_path / "dynamic")))
    static.chmod(0o644)
    with pytest.raises(BadJobError, match="not executable"):
        read_program(str(static))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"#!/bin/sh\n", "a script cannot run"), (b"", "no ELF"), (b"\x7fELF" + bytes(60), "not for x86_64")],
)
def test_what_is_no_executable_is_said_so(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "program"
    path.write_bytes(content)
    path.chmod(0o755)
    with pytest.raises(BadJobError, match=f"program: .*{said}"):
        read_program(str(path))


def test_a_wasm_module_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    module = tmp_path / "work.wasm"
    module.write_bytes(b"\0asm\1\0\0\0")
    assert read_program(str(module)) == ("wasm/wasi-p1", module.read_bytes())
    static = compiled(tmp_path / "static", "-static")
    assert read_program(str(static)) == ("native/x86_64-linux", static.read_bytes())
    module.write_bytes(b"\0asm\x0d\0\1\0")
    with pytest.raises(BadJobError, match=r"program: .*work.wasm is a component"):
        read_program(str(module))
    module.write_bytes(b"  (module)")
    with pytest.raises(BadJobError, match=r"program: .*work.wasm is the text of a module; assemble it"):
        read_program(str(module))
    module.write_bytes(b"")
    with pytest.raises(BadJobError, match=r"program: .*work.wasm is no WebAssembly module"):
        read_program(str(module))


def test_a_function_is_found_without_running_its_file(tmp_path: Path) -> None:
    path = tmp_path / "work.py"
    path.write_text("raise SystemExit\ndef work(data):\n    def inner(): ...\nclass C: ...\n")
    assert read_python(f"{path}:work") == (path.read_bytes(), "work")
    for spec, said in (
        (f"{path}:inner", "no function 'inner'"),
        (f"{path}:C", "no function 'C'"),
        (str(path), "is not FILE:FUNCTION"),
        (f"{tmp_path}/none.py:f", "No such file"),
    ):
        with pytest.raises(BadJobError, match=f"--python: .*{said}"):
            read_python(spec)
    path.write_text("def work(:\n")
    with pytest.raises(BadJobError, match="no Python source"):
        read_python(f"{path}:work")


def test_packages_that_a_function_needs_are_flags(tmp_path: Path) -> None:
    here = ".".join(importlib.metadata.version("numpy").split(".")[:2])
    assert read_needs(["numpy/2.4", "scipy/1.17"]) == ["numpy/2.4", "scipy/1.17"]
    assert installed("no-such-package-at-all") == ""
    for word in ("numpy", "numpy==2.2", "numpy/2", "numpy/2.2.6", "Numpy/2.2", "/2.2", "numpy/x.y", ""):
        with pytest.raises(BadJobError, match=r"--needs: .*numpy/2.4"):
            read_needs([word])
    with pytest.raises(BadJobError, match=f"here it is numpy/{here}$"):
        read_needs(["numpy>=2"])
    source = (
        b"import os.path, numpy.linalg as la\ndef f(x):\n    from elsewhere.a import b\n    from . import c\n"
    )
    assert unnamed_needs(source, []) == {"numpy": f"numpy/{here}", "elsewhere": ""}
    assert unnamed_needs(source, ["numpy/1.0", "elsewhere/2.0"]) == {}


def test_inputs_are_files_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    (tmp_path / "directory").mkdir()
    assert [unit.name for unit in find_inputs(f"{tmp_path}/*")] == ["a", "b"]
    with pytest.raises(BadJobError, match="--input: no file matches"):
        find_inputs(f"{tmp_path}/none*")


def test_an_output_that_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "deep")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadJobError, match=r"--output: .*no directory"):
        check_output(tmp_path / "file")
    with pytest.raises(BadJobError, match=r"--output: .*not writable"):
        check_output(tmp_path / "file" / "below")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    with pytest.raises(BadJobError, match=r"--output: .*not writable"):
        check_output(closed / "new")


def buyer(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--max-price", "cheap", "--", "/bin/true"], "--max-price"),
        (["--max-price", "1", "--max-cost", "-1", "--", "/bin/true"], "--max-cost"),
        (["--max-price", "1", "--", "/none"], "program"),
        (["--max-price", "1"], "program"),
        (["--max-price", "1", "--input", "/none/*", "--", "/bin/true"], "--output"),
        (["--max-price", "1", "--input", "/none/*", "--output", "/tmp/o", "--", "/bin/true"], "--input"),
        (["--max-price", "1", "--python", "x.py:f", "--encoding", "pickle"], "--encoding"),
        (["--max-price", "1", "--resume", "--", "/bin/true"], "--resume"),
        (["--max-price", "1", "--needs", "numpy", "--python", "x.py:f"], "--needs"),
    ],
)
def test_bad_options_are_one_line_each_and_status_two(arguments: list[str], option: str) -> None:
    done = buyer("run", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {option}")
    assert done.stderr.count("\n") == 1
    assert "error" in json.loads(buyer("run", "--json", *arguments).stdout)


def test_output_that_passes_through_is_raw_in_a_pipe_and_visible_on_a_terminal(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    said = "a\tb\r\nä\x1b[2J\u202e".encode() + b"\x9b\xff\n"
    (tmp_path / "stdin").write_bytes(said)
    (tmp_path / "stdin.err").write_bytes(b"\x1b")
    result = Result({"stdin": Ended(3)}, [])
    assert pass_through(result, tmp_path) == 3
    assert capfdbinary.readouterr() == (said, b"\x1b")
    ours, theirs = pty.openpty()
    with open(ours, "rb", 0) as reader, open(theirs, "w", encoding="utf-8") as terminal:
        tty.setraw(terminal.fileno())
        copy(tmp_path / "stdin", terminal)
        assert reader.read(1000).decode() == "a\tb\\r\nä\\x1b[2J\\u202e\\x9b\\xff\n"


def test_a_market_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    Key.make().save(tmp_path / "me.nk")
    done = buyer("orders", "--server", "nats://127.0.0.1:1", "--creds", str(tmp_path / "me.nk"))
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "no server answers" in done.stderr


def test_offers_are_those_that_a_bid_would_meet_cheapest_first() -> None:
    def row(account: str, ready: bool, memory: int, *asks: tuple[int, int, int, int]) -> dict[str, object]:
        keys = ("order", "price", "size", "running")
        return {
            "account": account,
            "name": account,
            "machine": "m",
            "ready": ready,
            "numbers": {"memory_mb": memory} | ({"mips": 900, "mflops": 800} if account == "B" else {}),
            "flags": ["avx2"],
            "asks": [dict(zip(keys, ask, strict=True)) for ask in asks],
        }

    rows = [
        row("A", True, 1024, (4, 30, 4, 0), (3, 20, 2, 2)),
        row("B", True, 1024, (1, 30, 4, 1), (2, 51, 1, 0)),
        row("C", True, 256, (5, 1, 1, 0)),
        row("D", False, 1024, (6, 1, 1, 0)),
        row("ME", True, 1024, (7, 1, 1, 0)),
    ]
    found = pick(rows, "ME", 50, parse_screen("memory_mb>=512 avx2"))
    assert [(offer.seller, offer.price, offer.cpus) for offer in found] == [("B", 30, 3), ("A", 30, 4)]
    assert [(offer.mips, offer.mflops) for offer in found] == [(900, 800), (0, 0)]
    assert [offer.seller for offer in pick(rows, "ME", 50, parse_screen("mips>=900"))] == ["B"]
