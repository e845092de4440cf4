"""The service on a real server: feed, queries, restarts, and what it refuses."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events import subjects
from events.client import Client, FeedMessage, QueryError
from events.commit import Commit, encode
from events.keys import Key
from events.log import append_commit, connect, last_sequence, make_streams
from events.records import Event, Frozen, MachineStated
from events.wire import loads
from projections.store import Progress, Store, digest, rebuild
from tests.projections.conftest import Server
from tests.projections.journal import BUYER, EXCHANGE, OPERATOR, SELLER, commits, opening, trading

PATIENCE_S = 60  # nothing here takes so long; what hangs fails
GROUPS: list[Sequence[Event]] = [*opening(), *trading()]
LOG = commits(*GROUPS)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


class Projections:
    """The service as a process of its own."""

    def __init__(self, nats: Server, directory: Path) -> None:
        self.store = directory / "store.sqlite"
        self._creds = directory / "projections.nk"
        Key.make().save(self._creds)
        self.nats = nats
        self.server = nats.url
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "projections.service", "--server", self.server]
        command += ["--creds", str(self._creds), "--store", str(self.store)]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=os.environ.copy()
        )

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """(exit status, standard error) after a signal; 0 sends none."""
        assert self.process is not None
        if number:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        status, self.process = self.process.returncode, None
        return status, errors


@pytest.fixture
def service(nats: Server, tmp_path: Path) -> Iterator[Projections]:
    projections = Projections(nats, tmp_path)
    yield projections
    if projections.process is not None:
        projections.end(signal.SIGKILL)


async def journal(nc: Nats, log: Sequence[Commit]) -> int:
    """Append commits; returns the last sequence."""
    await make_streams(nc)
    sequence = await last_sequence(nc, subjects.JOURNAL)
    for commit in log:
        sequence = await append_commit(nc, encode(commit), sequence)
    return sequence


async def until(nc: Nats, commit: int) -> None:
    """Wait until the feed says that it is as far as `commit`."""
    subscription = await nc.subscribe(subjects.PULSE_FEED)
    while loads((await subscription.next_msg(timeout=PATIENCE_S)).data)["commit"] < commit:
        pass
    await subscription.unsubscribe()


async def first(client: Client, count: int) -> list[FeedMessage]:
    """The first messages of an account's feed and of the market's."""
    told = []
    async for message in client.feed(0, 0):
        told.append(message)
        if len(told) == count:
            break
    return told


def test_feed_and_queries(service: Projections) -> None:
    async def test() -> None:
        nc = await connect(service.server, EXCHANGE, name="writer")
        buyer = await Client.connect(service.server, BUYER, name="buyer")
        seller = await Client.connect(service.server, SELLER, name="seller")
        try:
            await journal(nc, LOG[:4])
            service.start()
            await until(nc, 4)
            status = await buyer.query("status")
            assert (status["commit"], status["feed"], status["market"]) == (4, 3, 1)
            assert status["result"]["contracts"] == 2
            purses = [(await client.query("account"))["result"] for client in (buyer, seller)]
            assert [purse["free"] for purse in purses] == [4_800_000, 0]
            with pytest.raises(QueryError, match="only the operator"):
                await seller.query("account", account=BUYER.public)
            with pytest.raises(QueryError, match="most: must be"):
                await buyer.query("orders", most=0)

            live = asyncio.create_task(first(seller, 8))  # some by query, the rest as they are published
            await journal(nc, LOG[4:])
            await until(nc, len(LOG))
            told = await live
            own = (await seller.query("feed", since=0))["result"]
            everybody = (await seller.query("market_feed", since=0))["result"]
            for market, kept in ((False, own), (True, everybody)):
                heard = [message for message in told if message.market == market]
                assert [message._asdict() for message in heard] == [
                    message | {"market": market} for message in kept[: len(heard)]
                ]
        finally:
            for client in (buyer, seller):
                await client.close()
            await nc.close()

    run(test())
    assert service.end() == (0, "")
    with Store(service.store) as store, rebuild(LOG) as fresh:
        assert digest(store) == digest(fresh)


def test_a_reply_goes_to_nobody_but_who_asks(service: Projections) -> None:
    async def test() -> None:
        nc = await connect(service.server, SELLER, name="eve")
        buyer = await Client.connect(service.server, BUYER, name="buyer")
        try:
            await journal(nc, LOG)
            service.start()
            await until(nc, len(LOG))
            mine = f"{subjects.inbox(SELLER.public)}.mine"
            victims = [subjects.intake(BUYER.public, "bid"), subjects.feed(BUYER.public), mine]
            victims += [subjects.inbox(BUYER.public), f"{subjects.inbox(BUYER.public)}X.y"]
            heard = []
            for victim in victims:
                heard.append(await nc.subscribe(victim))
                await nc.publish(subjects.query(BUYER.public, "account"), b"", reply=victim)
            await nc.publish(subjects.query(BUYER.public, "account"), b"")
            await nc.flush()
            answer = await buyer.query("account")  # queries are answered in their order
            assert answer["result"]["name"] == "buyer"
            await nc.flush()
            assert [subscription.pending_msgs for subscription in heard] == [0] * len(heard)
            await nc.publish(subjects.query(SELLER.public, "account"), b"", reply=mine)
            message = await heard[victims.index(mine)].next_msg(timeout=PATIENCE_S)
            assert loads(message.data)["result"]["name"] == "seller"
        finally:
            await buyer.close()
            await nc.close()

    run(test())


def test_what_was_stored_and_not_published_is_published_by_the_next(service: Projections) -> None:
    with Store(service.store) as store:  # as a process leaves it that died between the two
        store.apply(LOG[:3], Progress(3, 3, LOG[2].hash, 3))
        store.apply(LOG[3:6], Progress(6, 6, LOG[5].hash, 3))
        before = digest(store)

    async def test() -> None:
        nc = await connect(service.server, BUYER, name="buyer")
        try:
            await journal(nc, LOG[:6])
            feed = await nc.subscribe(subjects.feed(BUYER.public))
            service.start()
            told = [loads((await feed.next_msg(timeout=PATIENCE_S)).data) for _ in range(3)]
            assert [(message["n"], message["commit"]) for message in told] == [(3, 4), (4, 5), (5, 6)]
            await until(nc, 6)
            await journal(nc, LOG[6:])
            told = [loads((await feed.next_msg(timeout=PATIENCE_S)).data) for _ in range(2)]
            assert [(message["n"], message["commit"]) for message in told] == [(6, 7), (7, 8)]
        finally:
            await nc.close()

    with rebuild(LOG[:6]) as fresh:
        assert digest(fresh) == before
    run(test())


def test_the_server_goes_away_and_comes_back(service: Projections) -> None:
    async def tell(log: Sequence[Commit], last: int) -> None:
        nc = await connect(service.server, BUYER, name="buyer")
        await journal(nc, log)
        if service.process is None:
            service.start()
        await until(nc, last)
        await nc.close()

    async def test() -> None:
        await tell(LOG[:5], 5)
        service.nats.stop()
        service.nats.start()
        await tell(LOG[5:], len(LOG))

    run(test())
    assert service.end() == (0, "")
    with Store(service.store) as store, rebuild(LOG) as fresh:
        assert digest(store) == digest(fresh)


def test_killed_at_any_point_it_goes_on(service: Projections) -> None:
    """Killed again and again while commits come; every number is told, and always for the same commit."""
    log = commits(*GROUPS, *[[Frozen(f"storm {n}", [])] for n in range(300)])
    told: dict[int, Any] = {}

    async def test() -> None:
        nc = await connect(service.server, BUYER, name="buyer")
        try:
            await make_streams(nc)
            feed = await nc.subscribe(subjects.FEED_MARKET)
            writer = asyncio.create_task(journal(nc, log))
            for turn in range(4):
                service.start()
                for _ in range(40 if turn < 3 else 10_000):
                    message = loads((await feed.next_msg(timeout=PATIENCE_S)).data)
                    assert told.setdefault(message["n"], message) == message
                    if message["commit"] == len(log):
                        break
                if turn < 3:
                    service.end(signal.SIGKILL)
            await writer
            await until(nc, len(log))
        finally:
            await nc.close()

    run(test())
    assert service.end() == (0, "")
    assert sorted(told) == list(range(1, 303))
    with Store(service.store) as store, rebuild(log) as fresh:
        assert digest(store) == digest(fresh)
        assert store.progress().commit == len(log)


def test_who_dies_between_feed_and_store_is_followed_by_one_that_says_the_same(
    service: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    monkeypatch.setenv("COREHOUR_FAULTS", str(faults))

    async def test() -> None:
        nc = await connect(service.server, BUYER, name="buyer")
        try:
            await journal(nc, LOG[:4])
            service.start()
            await until(nc, 4)
            (faults / "projections.before-commit").touch()
            told = await nc.subscribe(subjects.feed(BUYER.public))
            await nc.flush()
            await journal(nc, LOG[4:6])
            early = [loads((await told.next_msg(timeout=PATIENCE_S)).data)]
            assert await asyncio.to_thread(service.end, 0) == (-signal.SIGKILL, "")
            with Store(service.store) as store:
                assert store.cursor()[0] < early[0]["commit"]
            service.start()
            await until(nc, 6)
            await nc.flush()
            while told.pending_msgs:
                early.append(loads((await told.next_msg()).data))
            numbers = [message["n"] for message in early]  # of what was stored, and maybe not published, too
            assert numbers[0] == 4
            assert numbers.count(4) == 2
            assert {4, 5} <= set(numbers) <= {1, 2, 3, 4, 5}
            for message in early:
                assert message == early[numbers.index(message["n"])]
        finally:
            await nc.close()

    run(test())
    assert service.end() == (0, "")
    with Store(service.store) as store, rebuild(LOG[:6]) as fresh:
        assert digest(store) == digest(fresh)


def test_what_was_written_is_moved_into_the_file_while_it_runs(service: Projections) -> None:
    async def test() -> None:
        nc = await connect(service.server, BUYER, name="buyer")
        try:
            await journal(nc, LOG)
            service.start()
            await until(nc, len(LOG))
            while not holds(service.store, LOG[-1].hash):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        finally:
            await nc.close()

    def holds(path: Path, text: str) -> bool:
        return text.encode() in path.read_bytes()

    run(test())
    assert service.end() == (0, "")


def test_a_query_that_fails_ends_nothing(service: Projections) -> None:
    async def test() -> None:
        buyer = await Client.connect(service.server, BUYER, name="buyer")
        try:
            await journal(buyer.nc, LOG[:4])
            service.start()
            await until(buyer.nc, 4)
            with sqlite3.connect(service.store) as spoiler:
                spoiler.execute("DROP TABLE machines")
            spoiler.close()
            with pytest.raises(QueryError, match="the query service failed; its log says why"):
                await buyer.query("machines")
            assert (await buyer.query("account"))["result"]["name"] == "buyer"
        finally:
            await buyer.close()

    run(test())
    status, errors = service.end()
    assert status == 0
    assert "no such table: machines" in errors


@pytest.mark.parametrize("known", [0, 5], ids=["position unknown", "position known"])
def test_another_log_is_refused(service: Projections, known: int) -> None:
    other = commits(*opening(), [Frozen("elsewhere", [])], *trading())
    with Store(service.store) as store:
        store.apply(other[:5], Progress(known, known, other[4].hash, known) if known else None)

    async def test() -> None:
        nc = await connect(service.server, OPERATOR, name="writer")
        await journal(nc, LOG[: known + 5])  # not longer than the store where every commit is looked at
        await nc.close()

    run(test())
    service.start()
    status, errors = service.end(0)
    assert status == 1
    assert errors.startswith("error: ")
    assert "the store" in errors
    assert errors.count("\n") == 1


def test_a_log_that_ends_before_the_store_is_refused(service: Projections) -> None:
    with Store(service.store) as store:
        store.apply(LOG, Progress(len(LOG), len(LOG), LOG[-1].hash, len(LOG)))

    async def test() -> None:
        nc = await connect(service.server, OPERATOR, name="writer")
        await journal(nc, LOG[:3])
        await nc.close()

    run(test())
    service.start()
    status, errors = service.end(0)
    assert (status, errors.count("\n")) == (1, 1)
    assert "JOURNAL ends at sequence 3" in errors


def test_a_store_that_was_rebuilt_elsewhere_is_taken(service: Projections) -> None:
    """And the service waits for the streams, which the exchange makes."""
    rebuild(LOG[:4], service.store).close()

    async def test() -> None:
        nc = await connect(service.server, BUYER, name="buyer")
        try:
            service.start()
            asks = await nc.subscribe("$JS.API.STREAM.INFO.JOURNAL")
            await asks.next_msg(timeout=PATIENCE_S)
            await journal(nc, LOG)
            await until(nc, len(LOG))
        finally:
            await nc.close()

    run(test())
    assert service.end() == (0, "")
    with Store(service.store) as store, rebuild(LOG) as fresh:
        assert digest(store) == digest(fresh)


def test_a_flood_of_queries_holds_up_neither_feed_nor_others_nor_the_end(service: Projections) -> None:
    machines = [MachineStated(SELLER.public, f"m{n}", 1, {"memory_mb": 512}, []) for n in range(500)]
    log = commits(*opening(), machines, *[[Frozen(f"storm {n}", [])] for n in range(5)])

    async def flood(nc: Nats, refused: asyncio.Event) -> None:
        """Far more than can be answered; `refused` is set when one of them was."""
        inbox = f"{subjects.inbox(BUYER.public)}.flood"

        async def hear(message: Msg) -> None:
            if b"one question at a time" in message.data:
                refused.set()

        await nc.subscribe(inbox, cb=hear)
        while True:
            for _ in range(20):
                await nc.publish(subjects.query(BUYER.public, "machines"), b"", reply=inbox)
            await asyncio.sleep(0.01)

    async def test() -> None:
        nc = await connect(service.server, EXCHANGE, name="writer")
        flooder = await connect(service.server, BUYER, name="flooder")
        honest = await Client.connect(service.server, SELLER, name="honest")
        refused = asyncio.Event()
        try:
            await journal(nc, log[:3])
            service.start()
            await until(nc, 3)
            flooding = asyncio.create_task(flood(flooder, refused))
            await refused.wait()
            for commit in log[3:]:
                refused.clear()
                await journal(nc, [commit])
                await until(nc, commit.number)
                answer = await honest.query("account", timeout=PATIENCE_S)
                assert (answer["commit"], answer["result"]["name"]) == (commit.number, "seller")
                await refused.wait()  # it is still a flood
            assert await asyncio.to_thread(service.end) == (0, "")
            assert not flooding.done()
            flooding.cancel()
        finally:
            await honest.close()
            await flooder.close()
            await nc.close()

    run(test())
