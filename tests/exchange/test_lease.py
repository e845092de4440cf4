"""The lease on a real server: one has it, it runs out, it is given back, it is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from events.keys import Key
from events.log import connect
from events.together import end
from exchange import lease
from exchange.lease import Keeper, Lease, LeaseLostError, holder
from tests.events.conftest import Server

BOUND_S = 60  # for hanging only


@asynccontextmanager
async def two(server: Server) -> AsyncIterator[tuple[Lease, Lease]]:
    async with asyncio.timeout(BOUND_S):
        ann = await connect(server.url, Key.make(), name="ann", patience=20)
        bob = await connect(server.url, Key.make(), name="bob", patience=20)
        try:
            yield Lease(ann, "ann"), Lease(bob, "bob")
        finally:
            await ann.close()
            await bob.close()


async def taken(lease: Lease) -> None:
    while not await lease.take():  # noqa: ASYNC110 - that is how it is taken
        await asyncio.sleep(0.05)


def test_one_has_it_as_long_as_it_is_renewed(server: Server) -> None:
    async def run() -> None:
        async with two(server) as (ann, bob):
            assert not ann.held
            assert await ann.take() and ann.held
            keeping = asyncio.create_task(Keeper(server.url, Key.make(), ann).run())
            for _ in range(15):
                assert not await bob.take()
                assert ann.held and not bob.held and not keeping.done()
                await asyncio.sleep(0.2)
            await end(keeping)
            assert not ann.held
            assert await bob.take()  # it was given back

    asyncio.run(run())


def test_a_loop_that_is_busy_for_long_loses_nothing(server: Server) -> None:
    async def run() -> None:
        async with two(server) as (ann, bob):
            assert await ann.take()
            keeping = asyncio.create_task(Keeper(server.url, Key.make(), ann).run())
            await asyncio.sleep(0.2)
            busy = time.monotonic() + 5
            while time.monotonic() < busy:
                pass  # deciding
            assert ann.held
            assert not await bob.take()
            await end(keeping)

    asyncio.run(run())


def test_a_loop_that_never_goes_on_does(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "STUCK_S", 0.5)

    async def run() -> None:
        async with two(server) as (ann, bob):
            assert await ann.take()
            keeping = asyncio.create_task(Keeper(server.url, Key.make(), ann).run())
            await asyncio.sleep(0.2)
            busy = time.monotonic() + 5
            while time.monotonic() < busy:
                pass
            assert not ann.held
            with pytest.raises(LeaseLostError, match="stood still"):
                await keeping
            await taken(bob)

    asyncio.run(run())


def test_it_runs_out_where_nobody_renews_it(server: Server) -> None:
    async def run() -> None:
        async with two(server) as (ann, bob):
            assert await ann.take()
            assert not await bob.take()
            await taken(bob)
            assert bob.held and not ann.held  # it stopped by itself before the other could have it

    asyncio.run(run())


def test_who_was_away_has_lost_it(server: Server) -> None:
    async def run() -> None:
        async with two(server) as (ann, bob):
            assert await ann.take()
            await taken(bob)
            with pytest.raises(LeaseLostError, match="bob has the lease"):
                await Keeper(server.url, Key.make(), ann).run()
            assert not ann.held

    asyncio.run(run())


def test_who_was_away_has_it_again_where_nobody_took_it(server: Server) -> None:
    async def run() -> None:
        async with two(server) as (ann, bob):
            assert await ann.take()
            await asyncio.sleep(2.5)
            assert not ann.held
            keeping = asyncio.create_task(Keeper(server.url, Key.make(), ann).run())
            await ann.wait()
            assert not await bob.take()
            await end(keeping)

    asyncio.run(run())


def test_given_back_it_is_free_at_once(server: Server) -> None:
    async def run() -> None:
        async with two(server) as (ann, bob):
            for _ in range(3):
                assert await ann.take()
                assert not await bob.take()
                await ann.release()
                assert not ann.held
                assert await bob.take()
                await ann.release()  # it has none
                assert not await ann.take()
                await bob.release()

    asyncio.run(run())


def test_it_outlives_a_server_that_starts_again(server: Server) -> None:
    async def run() -> None:
        async with two(server) as (ann, bob):
            assert await ann.take()
            keeping = asyncio.create_task(Keeper(server.url, Key.make(), ann).run())
            server.kill()
            await asyncio.sleep(2.5)
            assert not ann.held
            server.start()
            await ann.wait()
            assert not await bob.take()
            assert await holder(bob._js._nc) == "ann"
            await end(keeping)

    asyncio.run(run())
