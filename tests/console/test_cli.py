"""What the three commands share: places, money as text, errors."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from buyer.__main__ import main as buyer
from console.main import main as exchange
from events.cli import NowhereError, credits, edge, fail, parse_credits, resolve_creds, resolve_server
from events.keys import BadKeyError, Key
from seller_node.__main__ import main as seller_node


@pytest.mark.parametrize(
    ("text", "micro"), [("0", 0), ("0.05", 50_000), ("1.000001", 1_000_001), ("1000000000", 10**15)]
)
def test_amounts_are_exact(text: str, micro: int) -> None:
    assert parse_credits(text) == micro
    assert parse_credits(credits(micro)) == micro


@pytest.mark.parametrize("text", ["", "-1", "1e3", ".5", "0.0000001", "1,5", "nan", "1000000000.000001"])
def test_what_is_no_amount_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_credits(text)


def test_credits_shows_six_decimals_and_the_sign() -> None:
    assert [credits(n) for n in (0, 1, -1, 1_500_000)] == ["0.000000", "0.000001", "-0.000001", "1.500000"]


def test_the_server_comes_from_the_nearest_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data, own = tmp_path / "market", tmp_path / "home/.config/corehour"
    with pytest.raises(NowhereError, match="exchange up"):
        resolve_server("", data)
    own.mkdir(parents=True)
    (own / "address.json").write_text('{"server": "nats://127.0.0.1:2", "pid": 1}')
    assert resolve_server("", data) == "nats://127.0.0.1:2"
    data.mkdir()
    (data / "address.json").write_text('{"server": "nats://127.0.0.1:1", "pid": 1}')
    assert resolve_server("", data) == "nats://127.0.0.1:1"
    assert resolve_server("nats://127.0.0.1:3", data) == "nats://127.0.0.1:3"
    for broken in ("", "[]", '{"server": 5}'):
        (data / "address.json").write_text(broken)
        with pytest.raises(NowhereError, match="no address of a market"):
            resolve_server("", data)


def test_an_address_of_somebody_elses_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file somebody else's")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = tmp_path / "home/.config/corehour/address.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"server": "nats://127.0.0.1:2", "pid": 1}')
    theirs = tmp_path / "address.json"
    theirs.write_text('{"server": "nats://127.0.0.1:1", "pid": 1}')
    os.chown(theirs, 65534, 65534)
    assert resolve_server("", tmp_path) == "nats://127.0.0.1:2"
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {theirs} belongs neither to you nor to root")
    assert said.count("\n") == 1
    theirs.unlink()
    theirs.symlink_to(own)
    os.chown(theirs, 65534, 65534, follow_symlinks=False)
    resolve_server("", tmp_path)
    assert "warning" in capsys.readouterr().err
    os.chown(theirs, 0, 0, follow_symlinks=False)
    assert resolve_server("", tmp_path) == "nats://127.0.0.1:2"
    assert capsys.readouterr().err == ""


PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.mark.parametrize("command", ["exchange", "seller_node", "buyer"])
@pytest.mark.parametrize(("before", "status"), [("default_int_handler", -signal.SIGINT), ("SIG_IGN", 7)])
def test_ctrl_c_while_a_command_imports_leaves_no_traceback(
    tmp_path: Path, command: str, before: str, status: int
) -> None:
    """Ctrl-C comes while typer is imported: in its place is a module that sends it."""
    (tmp_path / "typer.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(7)\n"
    )
    module, _, function = PROJECT["scripts"][command].partition(":")
    start = f"import signal; signal.signal(signal.SIGINT, signal.{before})\n"
    start += f"from {module} import {function}; {function}()"
    done = subprocess.run(
        [sys.executable, "-c", start],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (status, b"")


def test_the_seed_comes_from_a_file_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "account.nk"
    with pytest.raises(NowhereError, match="--creds"):
        resolve_creds(path)
    key = Key.make()
    key.save(path)
    assert resolve_creds(path).public == key.public
    path.chmod(0o644)
    with pytest.raises(BadKeyError, match="chmod 600"):
        resolve_creds(path)


def test_an_expected_error_is_one_line_and_status_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as exit, edge(True, ZeroDivisionError):
        raise ZeroDivisionError("two\nlines")
    assert exit.value.exit_code == 1
    assert json.loads(capsys.readouterr().out) == {"error": "two lines"}
    with pytest.raises(typer.Exit):
        fail("no")
    assert capsys.readouterr().err == "error: no\n"
    with pytest.raises(KeyError), edge(True):
        raise KeyError("a fault of the program is not hidden")


@pytest.mark.parametrize(
    ("command", "words", "names"),
    [
        (exchange, ["deposit", "ann", "1e3"], "'CREDITS'"),
        (exchange, ["up", "--hour", "0"], "'--hour'"),
        (exchange, ["replay", "--until", "0"], "'--until'"),
        (exchange, ["account", "add"], "'name'"),
        (exchange, ["bok"], "'bok'"),
        (seller_node, ["run", "--price", "abc"], "'--price'"),
        (seller_node, ["run"], "'--price'"),
        (buyer, ["order", "--price", "1", "--size", "0"], "'--size'"),
        (buyer, ["orders", "--sise", "0"], "--sise"),
    ],
)
def test_a_usage_error_is_one_line_or_json_and_status_two(
    command: Callable[[], None],
    words: list[str],
    names: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(*more: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *words, *more])
        with pytest.raises(SystemExit) as ended:
            command()
        assert ended.value.code == 2
        return capsys.readouterr()

    out, errors = said()
    assert out == "" and errors.startswith("error: ") and errors.count("\n") == 1
    assert names in errors
    out, errors = said("--json")
    assert errors == "" and names in json.loads(out)["error"]


def test_without_words_there_is_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["exchange"])
    with pytest.raises(SystemExit) as ended:
        exchange()
    assert ended.value.code == 2
    assert "deposit" in capsys.readouterr().out
