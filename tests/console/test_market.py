"""A whole market: it starts, is kept running, ends, and leaves nothing behind."""

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from console import children, server
from console import market as market_module
from console.children import Child, ChildFailedError
from console.data_directory import MarketError, closing, lock, log_of, prepare
from console.market import Market
from events import subjects
from events.client import Client
from events.keys import Key
from events.log import connect, last_sequence
from events.source import ServerLog
from exchange.audit import audit


def test_an_account_added_to_a_running_market_can_connect_while_others_stay(market: Market) -> None:
    async def run() -> None:
        ann = Key.make()
        async with await Client.connect(market.server, market.operator_key, name="test") as operator:
            lost: list[int] = []

            async def on_loss() -> None:
                lost.append(1)

            operator.nc._disconnected_cb = on_loss
            await operator.request("account", account=ann.public, name="ann")
            await operator.request("deposit", account=ann.public, amount=5_000_000, reference="test")
            async with await _let_in(market.server, ann) as client:
                assert (await client.query("account"))["result"]["free"] == 5_000_000
            assert lost == []

    asyncio.run(run())


async def _let_in(server: str, key: Key) -> Client:
    for _ in range(100):
        with contextlib.suppress(Exception):
            return await Client.connect(server, key, name="test")
        await asyncio.sleep(0.05)
    return await Client.connect(server, key, name="test")


def test_whatever_child_dies_comes_back_and_nothing_is_lost(tmp_path: Path) -> None:
    async def run() -> None:
        said: list[str] = []
        async with Market(tmp_path, hour_s=10, lost_after_s=1, say=said.append) as market:
            names = [Key.make().public for _ in market.children]
            async with await Client.connect(market.server, market.operator_key, name="test") as operator:
                for (name, child), account in zip(market.children.items(), names, strict=True):
                    pid, starts = child.pid, child.starts
                    os.kill(pid, signal.SIGKILL)
                    await operator.request("account", account=account, name=name, timeout=30)
                    while child.starts == starts:  # noqa: ASYNC110 - nobody is answered by the notary
                        await asyncio.sleep(0.05)
                    assert child.pid != pid
                    assert any(line.startswith(f"{name} was killed by SIGKILL; starting it") for line in said)
                accounts = (await operator.query("accounts"))["result"]
                assert {row["account"] for row in accounts} >= set(names)
                result = await audit(ServerLog(operator.nc))
                assert result.ok, result
            pids = [child.pid for child in market.children.values()]
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    asyncio.run(run())


def test_a_market_goes_on_where_it_was_and_at_the_same_address(tmp_path: Path) -> None:
    async def run() -> None:
        ann = Key.make()
        async with Market(tmp_path, hour_s=10, lost_after_s=1) as first:
            server = first.server
            async with await Client.connect(server, first.operator_key, name="test") as operator:
                await operator.request("account", account=ann.public, name="ann")
        (tmp_path / "users.conf").unlink()  # it is computed from the log
        async with Market(tmp_path) as second:
            assert second.server == server
            async with await _let_in(server, ann) as client:
                assert (await client.query("account"))["result"]["name"] == "ann"
            with pytest.raises(MarketError, match="a market runs here already"):
                await Market(tmp_path).start()
            async with log_of(tmp_path) as (address, key):
                assert (address, key.public) == (server, second.operator_key.public)
        with pytest.raises(MarketError, match="hour 20 s: this market was opened with hour 10 s"):
            await Market(tmp_path, hour_s=20).start()

    asyncio.run(run())


def test_durability_stays_as_it_was_chosen(tmp_path: Path) -> None:
    def config() -> str:
        return (tmp_path / "nats.conf").read_text()

    async def run() -> None:
        said: list[str] = []
        with pytest.raises(MarketError, match="durability: 'none' is none of power-loss, process-crash"):
            await Market(tmp_path, hour_s=10, lost_after_s=1, durability="none").start()
        async with Market(tmp_path, hour_s=10, lost_after_s=1, durability="process-crash") as market:
            assert (market.durability, "sync_interval" in config()) == ("process-crash", False)
        async with Market(tmp_path, say=said.append) as market:
            assert (market.durability, "sync_interval" in config()) == ("process-crash", False)
        assert not [line for line in said if "durability" in line]
        async with Market(tmp_path, durability="power-loss", say=said.append) as market:
            assert (market.durability, "sync_interval: always" in config()) == ("power-loss", True)
        assert "durability was process-crash, and is power-loss from now on" in said
        (tmp_path / "durability").unlink()
        async with Market(tmp_path) as market:
            assert (market.durability, "sync_interval: always" in config()) == ("power-loss", True)
        (tmp_path / "durability").write_text("fast")
        with pytest.raises(MarketError, match="'fast' is none of power-loss, process-crash"):
            await Market(tmp_path).start()

    asyncio.run(run())


def test_the_log_of_a_market_that_does_not_run_is_opened_for_reading_only(tmp_path: Path) -> None:
    async def run() -> None:
        async with Market(tmp_path, hour_s=10, lost_after_s=1) as market:
            operator = market.operator_key.public
        async with (
            log_of(tmp_path) as (address, key),
            closing(await connect(address, key, name="test")) as nc,
        ):
            before = await last_sequence(nc, subjects.INTAKE)
            for subject in (subjects.intake(operator, "freeze"), subjects.COMMIT, subjects.feed(operator)):
                await nc.publish(subject, b"x")
            await nc.flush()
            assert await last_sequence(nc, subjects.INTAKE) == before > 0
            assert (await audit(ServerLog(nc))).ok
        with pytest.raises(MarketError, match="no market's log here"):
            async with log_of(tmp_path / "nowhere"):
                pass

    asyncio.run(run())


def test_a_directory_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        data = tmp_path / "market"
        data.mkdir(mode=0o755)
        prepare(data)
        server.write(data / "users.conf", "")
        with lock(data):
            pass
        modes = {place.name: place.stat().st_mode & 0o777 for place in (data, *data.iterdir())}
        assert modes == {"market": 0o700, "logs": 0o700, "users.conf": 0o600, "lock": 0o600}
        shared = tmp_path / "shared"  # as /tmp: it is everybody's
        shared.mkdir()
        shared.chmod(0o1777)
        prepare(shared)
        assert shared.stat().st_mode & 0o7777 == 0o1777
    finally:
        os.umask(umask)


def test_lost_after_is_at_most_a_tenth_of_the_hour(tmp_path: Path) -> None:
    """R13."""
    for hour, lost_after, text in ((10, 1.001, "tenth"), (20, None, "tenth"), (0.5, 0.05, "too short")):
        with pytest.raises(MarketError, match=text):
            asyncio.run(Market(tmp_path, hour_s=hour, lost_after_s=lost_after).start())
    assert not (tmp_path / "keys").exists(), "nothing was made"


def test_a_disk_that_fills_ends_the_market_before_the_log_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_module, "DISK_S", 0.02)

    async def run() -> None:
        said: list[str] = []
        async with Market(tmp_path, hour_s=10, lost_after_s=1, say=said.append) as market:
            monkeypatch.setattr(server, "LEAST_FREE", server.free_bytes(tmp_path) * 2)
            for _ in range(1000):
                if said:
                    break
                await asyncio.sleep(0.02)
            assert said[0].startswith("disk nearly full")
            monkeypatch.setattr(server, "LEAST_FREE", 2**80)
            with pytest.raises(MarketError, match="disk full"):
                await market.failure()

    asyncio.run(run())


def test_a_child_that_does_not_stay_up_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(children, "LAST_DELAY_S", 0.002)
    monkeypatch.setattr(children, "QUICK_S", 1000.0)
    said: list[str] = []
    for script, times, words in (
        ("echo words $$; exit 3", children.MOST_QUICK, r"words \d+"),  # others each time
        ("echo last words; exit 3", children.MOST_SAME, "last words"),
    ):
        said.clear()
        child = Child("worker", ["/bin/sh", "-c", script], tmp_path / "log", said.append)
        told = rf"worker ended with 3, {times} times in a row: {words} \(see"
        with pytest.raises(ChildFailedError, match=told):
            asyncio.run(child.keep())
        assert child.starts == times == len(said) + 1
        for line in said:
            assert re.match(rf"worker ended with 3 \({words}\); starting it again in ", line)


def test_a_store_that_is_none_is_named_with_what_to_do(tmp_path: Path) -> None:
    async def run() -> None:
        async with Market(tmp_path, hour_s=10, lost_after_s=1):
            pass
        store = tmp_path / "projections.sqlite"
        for suffix in ("-wal", "-shm"):
            store.with_name(store.name + suffix).unlink(missing_ok=True)
        store.write_text("no store\n" * 1000)
        with pytest.raises(MarketError, match=r"3 times in a row: .*projections\.sqlite.*delete"):
            await Market(tmp_path).start()
        store.unlink()
        async with Market(tmp_path):
            pass

    asyncio.run(run())


def test_what_a_market_has_lost_is_not_made_anew(tmp_path: Path) -> None:
    async def run() -> None:
        async with Market(tmp_path, hour_s=10, lost_after_s=1):
            pass
        for name in ("operator", "exchange", "projections"):
            key = tmp_path / f"keys/{name}.nk"
            kept = key.rename(tmp_path / "kept")
            with pytest.raises(MarketError, match=rf"{name}\.nk is missing"):
                await Market(tmp_path).start()
            assert not key.exists()
            kept.rename(key)
        (tmp_path / "nats").rename(tmp_path / "elsewhere")
        with pytest.raises(MarketError, match=r"its log \(nats/\) is gone"):
            await Market(tmp_path).start()
        assert not (tmp_path / "nats").exists()
        (tmp_path / "elsewhere").rename(tmp_path / "nats")
        async with Market(tmp_path):
            pass

    asyncio.run(run())


def test_a_child_that_does_not_hear_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "TERM_S", 0.2)

    async def run() -> None:
        script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
        said: list[str] = []
        child = Child("deaf", ["/bin/sh", "-c", script], tmp_path / "log", said.append)
        keeper = asyncio.create_task(child.keep())
        for _ in range(2000):
            if child.last_words() == "up":
                break
            await asyncio.sleep(0.01)
        await child.stop()
        await keeper
        assert child.pid == 0 and said == ["deaf does not end; killing it"]

    asyncio.run(run())
