"""Every command in README.md exists, with every option that it is shown with."""

import re
import shlex
from typing import Any

import pytest
import typer.main

import buyer.main
import console.commands
import seller_node.main
from tests.docs.document import ROOT

README = (ROOT / "README.md").read_text("utf-8")
ROOMS: dict[str, Any] = {"exchange": console.commands, "seller_node": seller_node.main, "buyer": buyer.main}
SHOWN = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.split("\n")
    if line.partition(" ")[0] in ROOMS
]
SHOWN += [
    line for line in re.findall(r"`([^`\n]+)`", README) if line.partition(" ")[0] in ROOMS and " " in line
]


def test_all_three_kinds_of_people_have_commands() -> None:
    assert {line.split()[0] for line in SHOWN} == set(ROOMS) and len(SHOWN) >= 8


@pytest.mark.parametrize("line", SHOWN)
def test_a_shown_command_is_there(line: str) -> None:
    name, *words = shlex.split(line)
    command: Any = typer.main.get_command(ROOMS[name].app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    options = {word for word in words[: words.index("--") if "--" in words else None] if word.startswith("-")}
    assert options <= known, options - known


@pytest.mark.parametrize("goal", re.findall(r"^make ([a-z]+)|`make ([a-z]+)`", README, re.MULTILINE))
def test_a_shown_goal_is_there(goal: tuple[str, str]) -> None:
    assert re.search(rf"^{''.join(goal)}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
