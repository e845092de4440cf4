"""On a whole market an account speaks in its own name only, and hears and reads only what is its own.

What the server's rights say subject by subject is tested in `tests/console/test_rights.py`; here real
clients try it on each other while real services answer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from nats.aio.msg import Msg

from console.market import Market
from events import subjects
from events.client import Client, QueryError, RefusedError
from events.keys import Key
from events.log import NotAdmittedError
from events.requests import encode
from links.endpoint import Endpoint
from links.frames import INPUT_END, Frame
from tests.system.proof import read_log
from tests.system.traders import Recorder, enter


@dataclass
class People:
    """The operator, two traders, and one who looks on."""

    operator: Client
    ann: Recorder
    bob: Recorder
    eve: Recorder


@asynccontextmanager
async def people(market: Market) -> AsyncIterator[People]:
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        operator = await stack.enter_async_context(
            await Client.connect(market.server, market.operator_key, name="test")
        )
        traders = []
        for name in ("ann", "bob", "eve"):
            key = Key.make()
            await operator.request("account", account=key.public, name=name)
            await operator.request("deposit", account=key.public, amount=1000, reference="a test")
            traders.append(await stack.enter_async_context(await enter(market.server, key)))
        yield People(operator, *traders)


async def overheard(eve: Client, subjects_of_others: list[str]) -> list[Msg]:
    """What eve hears of these subjects: a list that fills."""
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    for subject in subjects_of_others:
        await eve.nc.subscribe(subject, cb=hear)
    await eve.nc.flush()
    return heard


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - there is nothing that could tell
            await asyncio.sleep(0.01)


def test_nobody_asks_in_anothers_name(market: Market) -> None:
    async def run() -> None:
        async with people(market) as on:
            before = len((await read_log(on.operator.nc)).requests)
            body = {"session": 7, "number": 1, "price": 5, "size": 1}
            foreign = subjects.intake(on.bob.account, "bid")
            # In bob's place: the server lets nothing through, whoever signed it.
            for key in (on.eve.key, on.bob.key):
                await on.eve.nc.publish(foreign, encode(key, foreign, body))
            # In her own place with bob's signature, for his subject and for hers: it is she who is suspended.
            own = subjects.intake(on.eve.account, "bid")
            await on.eve.request("bid", price=5, size=1)  # the connection is as good as before
            for signed_for in (foreign, own):
                await on.eve.nc.publish(own, encode(on.bob.key, signed_for, body))
            async with asyncio.timeout(20):
                while not (await on.eve.query("account"))["result"]["suspended"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            log = await read_log(on.operator.nc)
            service = market.keys.exchange.public
            asked = [stored.subject for stored in log.requests[before:] if service not in stored.subject]
            assert asked == [own] * 3
            assert not (await on.bob.query("orders"))["result"]
            assert not (await on.eve.query("orders"))["result"], "hers are closed"
            with pytest.raises(RefusedError, match="not signed by it"):
                await on.eve.request("bid", price=5, size=1)
            await on.operator.request("reinstate", account=on.eve.account, reason="test")
            with pytest.raises(RefusedError, match="only the operator"):
                await on.eve.request("deposit", account=on.eve.account, amount=5, reference="x")

    asyncio.run(run())


def test_nobody_reads_what_is_anothers(market: Market) -> None:
    async def run() -> None:
        async with people(market) as on:
            bob = on.bob.account
            spied = [subjects.feed(bob), "feed.*", f"{subjects.inbox(bob)}.>", f"link.{bob}.>", "link.>"]
            spied += [subjects.intake(bob, "*"), subjects.query(bob, "*"), subjects.COMMIT, ">"]
            heard = await overheard(on.eve, spied)
            # bob asks, is told, and has a link with ann.
            await on.bob.request("bid", price=5, size=1)
            assert (await on.bob.query("account"))["result"]["free"] == 1000
            bobs, anns = Endpoint(on.bob), Endpoint(on.ann)
            anns.allow = lambda contract, peer: peer == bob
            for endpoint in (bobs, anns):
                await endpoint.start()
            link = await bobs.dial(on.ann.account, 3)
            await link.send(Frame(INPUT_END, 1))
            peer = await anns.accept()
            assert await peer.receive() == Frame(INPUT_END, 1)
            await link.drained()
            # eve cannot ask about him either, neither by name nor in his.
            for what in ("account", "statement", "orders", "contracts"):
                with pytest.raises(QueryError, match="only the operator"):
                    await on.eve.query(what, account=bob)
            with pytest.raises(QueryError, match="only the operator"):
                await on.eve.query("accounts")
            assert (await on.operator.query("account", account=bob))["result"]["name"] == "bob"
            await on.eve.nc.publish(
                subjects.query(bob, "account"), b"{}", reply=f"{subjects.inbox(on.eve.account)}.1"
            )
            # nor push a frame into their link, nor dial what she has no contract on
            for to, sender in ((on.ann.account, bob), (bob, on.ann.account)):
                await on.eve.nc.publish(subjects.link(to, sender, 3), b"frame")
            eves = Endpoint(on.eve)
            await eves.start()
            knocking = await eves.dial(on.ann.account, 3)
            await knocking.send(Frame(INPUT_END, 1))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await knocking.drained()
            knocking.abort("nobody opens")
            await link.send(Frame(INPUT_END, 2))
            assert await peer.receive() == Frame(INPUT_END, 2), "their link is as it was"
            for endpoint in (bobs, anns, eves):
                await endpoint.close()
            await on.eve.nc.flush()
            assert [message.subject for message in heard] == []

    asyncio.run(run())


def test_a_stranger_is_not_let_in(market: Market) -> None:
    async def run() -> None:
        with pytest.raises(NotAdmittedError, match="an operator must add it first"):
            await Client.connect(market.server, Key.make(), name="test", patience=1)

    asyncio.run(run())
