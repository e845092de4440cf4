"""`exchange archive`, `exchange restore`, and the audit over archive and live log, with a real server."""

import asyncio
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from console.market import Market
from events.archive import Archive
from events.client import Client
from events.subjects import INTAKE, JOURNAL
from tests.system.traded import audit, command, trade, trade_in


@pytest.fixture
def archived(honest: Path, tmp_path: Path) -> Path:
    """An archive of it."""
    status, told = command("archive", tmp_path / "kept", "--data", honest)
    assert status == 0, told
    return tmp_path / "kept"


def test_an_archive_has_the_whole_log_and_verifies_alone(honest: Path, archived: Path) -> None:
    _, over_server = audit(honest)
    status, told = command("archive", archived, "--verify")
    assert status == 0 and told["commit"] == over_server["commits"]
    status, alone = command("audit", "--archive", archived)
    assert (status, alone["ok"]) == (0, True)
    for member in ("requests", "events", "commits", "digest", "false_signatures"):
        assert alone[member] == over_server[member], member
    assert f"{archived} from request 1 to {alone['requests']}" in alone["source"]
    assert over_server["projections"]["ok"] and alone["projections"] is None
    status, again = command("archive", archived, "--data", honest)
    assert status == 0 and again["added"] == {"requests": 0, "messages": 0}


def test_the_audit_goes_on_across_archive_and_live_log(tmp_path: Path) -> None:
    kept, data = tmp_path / "kept", tmp_path / "market"

    async def whole() -> None:
        async with asyncio.timeout(300), Market(data, hour_s=3, lost_after_s=0.3) as market:
            await trade_in(market)
            first = await asyncio.to_thread(command, "archive", kept, "--data", data)
            await trade_in(market)
            over_both = await asyncio.to_thread(command, "audit", "--archive", kept, "--data", data)
            second = await asyncio.to_thread(command, "archive", kept, "--data", data)
        assert first[0] == second[0] == over_both[0] == 0, (first, second, over_both)
        assert over_both[1]["commits"] > first[1]["commit"] and over_both[1]["projections"]["ok"]
        assert "from there on the server's streams" in over_both[1]["source"]
        assert second[1]["added"]["requests"] > 10
        assert second[1]["segments"][INTAKE] >= 2 and second[1]["segments"][JOURNAL] >= 2

    asyncio.run(whole())
    assert command("archive", kept, "--verify")[0] == 0
    assert command("audit", "--archive", kept)[0] == 0


@pytest.mark.parametrize("stream", [INTAKE, JOURNAL])
def test_damage_of_an_archive_is_one_line_that_names_the_file(archived: Path, stream: str) -> None:
    (segment,) = Archive(archived).segments(stream)
    data = bytearray(segment.path.read_bytes())
    data[len(data) // 2] ^= 16
    segment.path.write_bytes(data)
    for words in (("archive", archived, "--verify"), ("audit", "--archive", archived)):
        status, told = command(*words)
        assert (
            status == 1
            and f"{segment.path}: sequences 1 to {segment.last}: the file is damaged" in told["error"]
        )


def test_an_archive_of_another_market_is_not_gone_on_with(archived: Path, tmp_path: Path) -> None:
    asyncio.run(trade(tmp_path / "other"))
    for words in (("archive", archived), ("audit", "--archive", archived)):
        status, told = command(*words, "--data", tmp_path / "other")
        assert status == 1 and "another market's" in str(told), told


def test_projections_that_were_changed_are_named(honest: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(honest, tmp_path / "copy"))
    assert audit(data)[1]["projections"]["ok"]
    with sqlite3.connect(data / "projections.sqlite") as store:
        assert store.execute("UPDATE accounts SET free = free + 1 WHERE free = 0").rowcount
    store.close()
    status, told = audit(data)
    assert (status, told["ok"], told["projections"]["ok"]) == (1, True, False)
    assert "differs from a fresh fold" in told["projections"]["what"]


def test_a_restored_market_goes_on_behind_its_archive(honest: Path, archived: Path, tmp_path: Path) -> None:
    data = tmp_path / "restored"
    before = audit(honest)[1]
    status, told = command("restore", "--archive", archived, "--data", data, "--keys", honest / "keys")
    assert status == 0 and told["commit"] == before["commits"], told
    assert audit(data)[1]["commits"] == before["commits"]

    async def go_on() -> None:
        async with asyncio.timeout(300), Market(data) as market:
            async with await Client.connect(market.server, market.operator_key, name="test") as operator:
                accounts = (await operator.query("accounts"))["result"]
            assert sum("ann" in row["name"] for row in accounts) == 1, "what was is still there"
            await trade_in(market)
            for name in ("exchange", "standby", "projections"):
                os.kill(market.children[name].pid, signal.SIGKILL)  # and all of it again, from the archive on
            await trade_in(market)

    asyncio.run(go_on())
    status, after = audit(data)
    assert (status, after["ok"], after["projections"]["ok"]) == (0, True, True), after
    assert after["requests"] > before["requests"] + 20 and after["commits"] > before["commits"] + 10
    for kept in (archived, tmp_path / "anew"):  # both the one that it came from, and one from the beginning
        assert command("archive", kept, "--data", data)[0] == 0
        assert command("audit", "--archive", kept)[1]["commits"] == after["commits"]


def test_a_restored_market_does_not_start_without_its_archive(
    honest: Path, archived: Path, tmp_path: Path
) -> None:
    data = tmp_path / "restored"
    command("restore", "--archive", archived, "--data", data, "--keys", honest / "keys")
    shutil.rmtree(data / "archive")
    status, told = command("up", "--data", data)
    assert status == 1 and "sequences 1 to" in told["error"] and "are missing" in told["error"], told
    status, told = audit(data)
    assert status == 1 and told["first_disagreement"]["sequence"] == 1


def test_what_cannot_be_restored_is_refused(honest: Path, archived: Path, tmp_path: Path) -> None:
    for words, what in (
        (("--archive", tmp_path / "nothing", "--data", tmp_path / "new"), "there is no archive here"),
        (("--archive", archived, "--data", honest), "there is a market's log here already"),
        (("--archive", archived, "--data", tmp_path / "new"), "operator.nk"),
    ):
        status, told = command("restore", *words)
        assert status == 1 and what in told["error"], told
    assert not (tmp_path / "new").exists()


def test_a_store_that_is_none_does_not_hide_what_the_log_is(archived: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.sqlite"
    garbage.write_bytes(b"garbage" * 100)
    status, told = command("audit", "--archive", archived, "--store", garbage)
    assert status == 1 and told["ok"], told
    assert not told["projections"]["ok"] and "delete" in told["projections"]["advice"]
