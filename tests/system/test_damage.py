"""Truncated and bit-flipped files of the server: the start is refused, the damage named, the log repaired."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from console.market import Market
from events.subjects import INTAKE, JOURNAL
from tests.system.traded import audit, command, trade_in


def blocks(data: Path, stream: str) -> list[Path]:
    """The server's files with a stream's messages, in order."""
    found = data.glob(f"nats/jetstream/*/streams/{stream}/msgs/*.blk")
    return sorted(found, key=lambda path: int(path.stem))


def flip(path: Path, at: float) -> None:
    """One bit of a file, somewhere from its beginning (0) to its end (1)."""
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1 << random.Random(at).randrange(8)
    path.write_bytes(data)


def truncate(path: Path, at: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(at * len(data))])


def remove(path: Path, at: float) -> None:
    path.unlink()


def without_index(change: Callable[[Path, float], None]) -> Callable[[Path, float], None]:
    """As after a server that was killed: it has not written down what it had."""

    def both(path: Path, at: float) -> None:
        path.with_name("index.db").unlink()
        change(path, at)

    return both


DAMAGES = {
    "flipped": (flip, 0.6),
    "flipped early": (flip, 0.1),
    "flipped after a kill": (without_index(flip), 0.6),
    "cut off": (truncate, 0.7),
    "cut off after a kill": (without_index(truncate), 0.7),
    "gone": (remove, 0),
}


@pytest.mark.parametrize("stream", [INTAKE, JOURNAL])
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_the_start_refused(copy: Path, stream: str, name: str) -> None:
    change, at = DAMAGES[name]
    (block,) = blocks(copy, stream)
    change(block, at)
    status, told = command("up", "--data", copy)
    assert status == 1, told
    assert told["error"].startswith(f"the log is damaged: {stream} sequence "), told
    assert ("exchange recompute" if stream == JOURNAL else "exchange restore") in told["error"]
    status, again = command("check", "--data", copy)
    assert status == 1 and again["error"].startswith(f"the log is damaged: {stream} sequence "), again


def test_an_honest_log_is_not_damaged(copy: Path) -> None:
    status, told = command("check", "--data", copy)
    assert (status, told["commits"]) == (0, audit(copy)[1]["commits"])


def events(data: Path) -> tuple[int, int, str]:
    """How many requests and events, and the state after them: what must be the same again."""
    status, found = audit(data)
    assert (status, found["ok"]) == (0, True), found
    return found["requests"], found["events"], found["digest"]


def test_a_damaged_journal_is_decided_again_to_the_same_events(copy: Path, tmp_path: Path) -> None:
    before = events(copy)
    command("archive", tmp_path / "kept", "--data", copy)
    flip(blocks(copy, JOURNAL)[0], 0.4)
    assert command("up", "--data", copy)[0] == 1
    status, told = command("recompute", "--data", copy)
    assert status == 0 and Path(told["set_aside"], "JOURNAL").is_dir()
    assert command("recompute", "--data", copy)[0] == 1, "once is enough"
    for reader in ("check", "audit", "replay", "diff 1 2", f"archive {tmp_path}/new"):
        status, said = command(*reader.split(), "--data", copy)
        assert status == 1 and said["error"].startswith(f"{copy}: JOURNAL was set aside, to "), said
        assert told["set_aside"] in said["error"] and f"exchange up --data {copy}" in said["error"]

    async def go_on() -> None:
        async with asyncio.timeout(300), Market(copy) as market:
            await trade_in(market)

    asyncio.run(go_on())
    status, after = audit(copy)
    assert (status, after["ok"], after["projections"]["ok"]) == (0, True, True), after
    old = command("audit", "--archive", tmp_path / "kept")[1]
    assert (old["requests"], old["events"], old["digest"]) == before
    assert after["events"] > before[1]


def test_an_archive_in_its_place_heals_what_it_reaches_over(copy: Path, tmp_path: Path) -> None:
    before = events(copy)
    command("archive", tmp_path / "kept", "--data", copy)
    flip(blocks(copy, INTAKE)[0], 0.3)
    (blocks(copy, INTAKE)[0].with_name("index.db")).unlink()
    assert command("up", "--data", copy)[0] == 1
    status, told = command(
        "restore", "--archive", tmp_path / "kept", "--data", tmp_path / "new", "--keys", copy / "keys"
    )
    assert status == 0, told
    assert events(tmp_path / "new") == before
