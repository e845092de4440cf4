"""The example in docs/jail.md does what the page says, and its commands have the options that it tells of."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import seccomp
import seccomp.main
from tests.docs.document import ROOT

PAGE = (ROOT / "docs/jail.md").read_text("utf-8")


def block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_example_prints_what_the_page_says(tmp_path: Path) -> None:
    if missing := seccomp.probe().missing():
        pytest.skip(f"nothing can be run here: {missing}")
    (tmp_path / "add.c").write_text(block("c"))
    (tmp_path / "example.py").write_text(block("python"))
    subprocess.run(["cc", "-O2", "-static", "-o", "add", "add.c"], cwd=tmp_path, check=True)
    command: list[str | Path] = [sys.executable, tmp_path / "example.py", tmp_path / "add"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (block("text"), "", 0)


def test_every_option_of_the_page_is_there() -> None:
    group = typer.main.get_command(seccomp.main.app)
    known = {
        option
        for command in group.commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    told = set(re.findall(r"--[a-z][a-z-]+", PAGE.partition("## The library")[0]))
    assert told and told <= known, told - known
