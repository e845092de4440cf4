"""Forgery: each way to falsify a request or the log is refused, answered as before, or named (R12, R35)."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client as Nats

from console.data_directory import closing
from console.market import Market
from events import subjects
from events.client import Client, RefusedError
from events.commit import decode
from events.keys import Key
from events.log import connect, last_sequence
from events.records import (
    AccountSuspended,
    Answered,
    BidPlaced,
    Event,
    Frozen,
    OrderClosed,
    OrdersAnswered,
    RulesChanged,
    SignaturesChecked,
)
from events.requests import encode
from events.source import ServerLog
from exchange.audit import audit
from exchange.signatures import check
from tests.market.forgery import CHANGES, Change, fitted, forge
from tests.market.history import History
from tests.market.test_audit import run
from tests.system.proof import Log, read_log
from tests.system.test_audit_command import unguarded

BOUND_S = 100  # for hanging only
PER_CHANGE = 25
PRICE = 1000


class Town:
    """A market under rules that leave signatures to the notary, with two traders who have money."""

    def __init__(self, market: Market, reader: Nats, operator: Client) -> None:
        self.market, self.reader, self.operator = market, reader, operator
        self.ann, self.bob = Key.make(), Key.make()

    async def settle(self) -> None:
        for name, key in (("ann", self.ann), ("bob", self.bob)):
            await self.operator.request("account", account=key.public, name=name)
            await self.operator.request("deposit", account=key.public, amount=10**6, reference="a test")

    async def until(self, kind: type[Event], **members: Any) -> Log:
        """Wait for an event with these members; the log as it is then."""
        while True:
            log = await read_log(self.reader)
            if any(members.items() <= event.wire().items() for event in log.of(kind)):
                return log
            await asyncio.sleep(0.05)

    async def until_checked(self, through: int) -> Log:
        """Wait until the log says that all signatures up to here are checked; the log as it is then."""
        while True:
            log = await read_log(self.reader)
            if any(event.through >= through for event in log.of(SignaturesChecked)):
                return log
            await asyncio.sleep(0.1)

    async def is_sound(self) -> None:
        """The audit agrees: what was forged was dealt with by the rules."""
        result = await audit(ServerLog(self.operator.nc))
        assert result.ok, result


@asynccontextmanager
async def town(data: Path) -> AsyncIterator[Town]:
    async with (
        asyncio.timeout(BOUND_S),
        Market(data, hour_s=10, lost_after_s=1) as market,
        await Client.connect(market.server, market.operator_key, name="operator") as operator,
        closing(await connect(market.server, market.operator_key, name="reader")) as reader,
    ):
        running = Town(market, reader, operator)
        await running.until(RulesChanged)
        yield running


async def enter(market: Market, key: Key) -> Client:
    return await Client.connect(market.server, key, name="trader", patience=10)


def bid_of(client: Client, signer: Key, number: int) -> bytes:
    body = {"session": client.session, "number": number, "price": PRICE, "size": 1}
    return encode(signer, subjects.intake(client.account, "bid"), body)


# -- a request


def test_who_signs_with_another_key_is_suspended_and_nothing_is_undone(tmp_path: Path) -> None:
    async def forger() -> None:
        async with town(tmp_path) as here:
            await here.settle()
            async with await enter(here.market, here.ann) as ann, await enter(here.market, here.bob) as bob:
                honest = (await ann.request("bid", price=PRICE, size=1)).order
                subject = subjects.intake(ann.account, "bid")
                for number in range(100, 120):
                    await ann.nc.publish(subject, bid_of(ann, here.bob, number))
                await ann.nc.flush()
                log = await here.until(AccountSuspended, account=ann.account)
                (suspended,) = log.of(AccountSuspended)
                (false, *_) = (s.sequence for s in log.requests if b'"number":100' in s.data)
                assert suspended.request == false
                closed = [event for event in log.of(OrderClosed) if event.account == ann.account]
                placed = [event.order for event in log.of(BidPlaced) if event.account == ann.account]
                assert {event.order for event in closed} == set(placed) > {honest}, "not one order stands"
                with pytest.raises(RefusedError) as refused:
                    await ann.request("bid", price=PRICE, size=1)
                assert refused.value.code == "R35/account/suspended"
                await bob.request("bid", price=PRICE, size=1)  # who was not forged notices nothing
                await here.operator.request("reinstate", account=ann.account, reason="a test")
                await ann.request("bid", price=PRICE, size=1)
                last = len((await read_log(here.reader)).requests)
                assert len((await here.until_checked(last)).of(AccountSuspended)) == 1
                await here.is_sound()

    asyncio.run(forger())


def test_a_false_signature_in_the_operators_name_freezes_the_market_each_time(tmp_path: Path) -> None:
    async def forger() -> None:
        async with town(tmp_path) as here:
            await here.settle()
            operator = here.operator
            subject = subjects.intake(operator.account, "deposit")
            for time in (1, 2):
                body = {"session": operator.session, "number": 100 + time, "account": here.ann.public}
                body |= {"amount": 5, "reference": "forged"}
                await operator.nc.publish(subject, encode(here.bob, subject, body))
                while len((await read_log(here.reader)).of(Frozen)) < time:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await operator.request("unfreeze", reason="a test")
            await here.is_sound()

    asyncio.run(forger())


def test_nobody_gets_a_request_in_under_another_s_subject(tmp_path: Path) -> None:
    async def forger() -> None:
        async with town(tmp_path) as here:
            await here.settle()
            async with await enter(here.market, here.bob) as bob:
                last = await last_sequence(here.reader, subjects.INTAKE)
                own = subjects.intake(bob.account, "bid")
                for account in (here.ann, here.market.operator_key, here.market.keys.exchange):
                    for kind in ("bid", "deposit", "tick", "suspend", "checked"):
                        subject = subjects.intake(account.public, kind)
                        body = {"session": 1, "number": 1, "price": PRICE, "size": 1}
                        for signer in (here.bob, account):  # even with the right signature
                            await bob.nc.publish(subject, encode(signer, subject, body))
                await bob.nc.publish(own, bid_of(bob, here.bob, 7))
                await bob.nc.flush()
                log = await here.until(Answered, account=bob.account, number=7)
                theirs = {s.subject for s in log.requests[last:] if s.subject.split(".")[2] != "tick"}
                assert theirs <= {own, subjects.intake(here.market.keys.exchange.public, "checked")}
                await here.is_sound()

    asyncio.run(forger())


def test_the_same_bytes_again_are_answered_the_same_and_done_once(tmp_path: Path) -> None:
    async def replayer() -> None:
        async with town(tmp_path) as here:
            await here.settle()
            async with await enter(here.market, here.ann) as ann:
                await ann.request("bid", price=PRICE, size=2)
                await ann.orders([{"kind": "bid", "price": PRICE + n, "size": 1} for n in range(3)])
                asked = [
                    s
                    for s in (await read_log(here.reader)).requests
                    if s.subject.split(".")[1] == ann.account
                ]
                for stored in asked * 3:
                    await ann.nc.publish(stored.subject, stored.data)
                await ann.request("bid", price=PRICE, size=3)
                log = await read_log(here.reader)
                for kind in (Answered, OrdersAnswered):
                    said = [e for e in log.of(kind) if (e.account, e.session) == (ann.account, ann.session)]
                    first = [e for e in said if e.number == said[0].number]
                    assert len(first) == 4 and all(event == first[0] for event in first)
                assert len(log.of(BidPlaced)) == 5
                await here.is_sound()

    asyncio.run(replayer())


def test_who_owns_the_server_can_replay_nothing_and_alter_nothing_unseen(tmp_path: Path) -> None:
    """While the market is away he puts a trader's own bytes into INTAKE again, and others with a true
    signature on other content.
    """

    async def owner() -> None:
        async with town(tmp_path) as here:
            await here.settle()
            keys = here.ann, here.bob
            for key in keys:
                async with await enter(here.market, key) as trader:
                    await trader.request("bid", price=PRICE, size=2)
            log = await read_log(here.reader)
        bids = [stored for stored in log.requests if stored.subject.endswith(".bid")]
        assert len(bids) == 2
        async with asyncio.timeout(BOUND_S), unguarded(tmp_path) as nc:
            last = await last_sequence(nc, subjects.INTAKE)
            await nc.publish(bids[0].subject, bids[0].data)
            altered = bids[1].data.replace(b'"number":1,', b'"number":2,').replace(b'"size":2', b'"size":9')
            await nc.publish(bids[1].subject, altered)
            await nc.flush()
            while await last_sequence(nc, subjects.INTAKE) < last + 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with town(tmp_path) as here:
            log = await here.until(AccountSuspended, account=keys[1].public, request=last + 2)
            assert len(log.of(AccountSuspended)) == 1, "the one whose bytes came again is not accused"
            placed = [(event.account, event.size) for event in log.of(BidPlaced)]
            assert sorted(placed) == sorted([(keys[0].public, 2), (keys[1].public, 2), (keys[1].public, 9)])
            await here.is_sound()

    asyncio.run(owner())


# -- the log


@pytest.fixture(scope="module")
def history() -> History:
    return History(7, forgers=False).run(250)


@pytest.mark.parametrize("everything_fits", [False, True], ids=["as-it-is", "all-else-fits"])
@pytest.mark.parametrize("change", CHANGES, ids=[change.__name__ for change in CHANGES])
def test_a_falsified_commit_is_named(
    history: History, change: Change, everything_fits: bool, seed: int
) -> None:
    """Also where the forger puts every number, hash, range and digest right again, to the log's end."""
    dice = random.Random(seed)
    bodies = [body for body, _ in history.batched([5])]
    commits = [decode(body) for body in bodies]
    assert fitted(commits, history.requests) == bodies, "a forger who changes nothing changes nothing"
    for _ in range(PER_CHANGE):
        forged, index = forge(commits, change, dice)
        falsified = fitted(forged, history.requests)
        if not everything_fits:
            falsified = [*bodies[:index], falsified[index], *bodies[index + 1 :]]
        result = run(history.requests, falsified)
        assert not result.ok and result.first_disagreement is not None, (index, forged[index])
        assert result.commits == index, "what stands before is good"
        assert result.first_disagreement["stream"] == subjects.JOURNAL, result


def test_who_alters_a_request_and_decides_all_again_is_betrayed_by_the_signature(seed: int) -> None:
    """Requests, commits, digests: he makes the whole market anew, and it agrees with itself."""
    dice = random.Random(seed)
    play = History(7, forgers=False).run(250)
    honest = play.requests
    assert check(honest).false() == []
    orders = [s for s in honest if b'"price":' in s.data and b'"price":-' not in s.data]
    for victim in dice.sample(orders, 5):
        altered = victim._replace(data=victim.data.replace(b'"price":', b'"price":1', 1))
        play.requests = [altered if stored is victim else stored for stored in honest]
        commits = [decode(body) for body, _ in play.batched([5])]
        assert fitted(commits, play.requests) == [body for body, _ in play.batched([5])]
        assert check(play.requests).false() == [altered]
