"""Reading a stream whose server, connection or files are not what they should be."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats

from events.keys import Key
from events.log import LogGapError, Reader, connect, make_streams, read
from events.subjects import INTAKE
from tests.events.conftest import Server
from tests.soak.wire import Wire

KEY = Key.make()


def block(server: Server) -> Path:
    return server.directory / f"store/jetstream/$G/streams/{INTAKE}/msgs/1.blk"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Nats]:
    nc = await connect(url, KEY, name="test", patience=20)
    try:
        yield nc
    finally:
        await nc.close()


async def publish(nc: Nats, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await nc.publish(f"intake.somebody.{number}", b"x" * 100)
    await nc.flush()


async def take(reader: Reader, last: int) -> list[str]:
    """What comes up to a sequence."""
    subjects = []
    async with asyncio.timeout(20):
        while reader.next <= last:
            subjects += [stored.subject for stored in await reader.next_batch()]
    return subjects


def test_what_is_lost_on_its_way_is_read_again(server: Server) -> None:
    async def scene() -> None:
        wire = Wire(server.port)
        await wire.listen()
        async with connected(server.url) as writer, connected(f"nats://127.0.0.1:{wire.port}") as nc:
            await make_streams(writer)
            await publish(writer, 1, 5)
            reader = Reader(nc, INTAKE, 1)
            found = await take(reader, 5)
            deaf = asyncio.create_task(wire.deafen(0.3))
            await asyncio.sleep(0.1)
            await publish(writer, 6, 10)  # the server sends these, and they never arrive
            await deaf
            await publish(writer, 11, 15)
            found += await take(reader, 15)
            assert found == [f"intake.somebody.{number}" for number in range(1, 16)]
            await reader.close()
        await wire.close()

    asyncio.run(scene())


def test_who_reads_on_is_told_that_the_end_was_cut_off(server: Server) -> None:
    async def scene() -> None:
        async with connected(server.url) as nc:
            await make_streams(nc)
            await publish(nc, 1, 10)
            reader = Reader(nc, INTAKE, 1)
            await take(reader, 10)
            server.kill()
            os.truncate(block(server), block(server).stat().st_size - 300)
            server.start()
            with pytest.raises(LogGapError, match="INTAKE ends at 7, but 10 was read"):
                await take(reader, 20)

    asyncio.run(scene())


def test_who_reads_on_is_told_that_others_came_in_the_place_of_what_was_cut_off(server: Server) -> None:
    async def scene() -> None:
        async with connected(server.url) as nc:
            await make_streams(nc)
            await publish(nc, 1, 10)
            reader = Reader(nc, INTAKE, 1)
            await take(reader, 10)
            server.kill()
            os.truncate(block(server), block(server).stat().st_size - 300)
            server.start()
            async with connected(server.url) as writer:
                await publish(writer, 100, 120)
            with pytest.raises(LogGapError, match="sequence 10 is not what was read there before"):
                await take(reader, 20)

    asyncio.run(scene())


@pytest.mark.parametrize(("kept", "missing"), [(0.5, 6), (0.99, 10)])
def test_who_reads_to_the_end_is_told_that_it_never_comes(server: Server, kept: float, missing: int) -> None:
    """After an orderly end the server knows how far its file went, and does not send what is gone."""

    async def scene() -> None:
        async with connected(server.url) as nc:
            await make_streams(nc)
            await publish(nc, 1, 10)
            await take(Reader(nc, INTAKE, 1), 10)
        server.signal(signal.SIGTERM)
        assert server.process is not None
        await asyncio.to_thread(server.process.wait)
        os.truncate(block(server), int(block(server).stat().st_size * kept))
        server.start()
        async with connected(server.url) as nc:
            with pytest.raises(LogGapError, match=f"sequence {missing} is missing"):
                async with asyncio.timeout(20):
                    _ = [stored async for stored in read(nc, INTAKE, 1, 10)]

    asyncio.run(scene())
