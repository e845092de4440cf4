"""The adapter to NATS on a real server: reading in order through its deaths, appending with a fence."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client as Nats

from events import commit as c
from events.keys import Key
from events.log import (
    BATCH,
    CommitReader,
    FencedError,
    LogGapError,
    Reader,
    Stored,
    UnreachableError,
    append,
    append_commit,
    connect,
    last_message,
    last_sequence,
    make_streams,
    read,
)
from events.records import BadRecordError, Frozen
from events.subjects import COMMIT, INTAKE, JOURNAL
from tests.events.conftest import Server

KEY = Key.make()
BOUND_S = 60  # for hanging only


@asynccontextmanager
async def connection(server: Server) -> AsyncIterator[Nats]:
    nc = await connect(server.url, KEY, name="test", patience=20)
    try:
        yield nc
    finally:
        await nc.close()


async def ask(nc: Nats, numbers: range) -> None:
    """Put numbered messages into INTAKE, which acknowledges nothing."""
    for number in numbers:
        await nc.publish("intake.A.bid", b"%d" % number)
    await nc.flush()


async def until(nc: Nats, stream: str, sequence: int) -> None:
    while await last_sequence(nc, stream) < sequence:  # noqa: ASYNC110 - the server does not tell
        await asyncio.sleep(0.01)


def a_commit(number: int, previous: str, size: int = 10) -> c.Commit:
    event = Frozen("x" * size, [])
    return c.Commit(number, previous, c.RULES, number, number, "0" * 64, "0" * 32, ((number, event),))


def test_a_reader_reads_everything_in_order_and_follows(server: Server) -> None:
    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            await make_streams(nc)
            await make_streams(nc)  # twice is once
            await ask(nc, range(1, 3001))
            await until(nc, INTAKE, 3000)
            async with Reader(nc, INTAKE, 1) as reader:
                read_so_far: list[Stored] = []
                while len(read_so_far) < 3000:
                    batch = await reader.next_batch()
                    assert 0 < len(batch) <= 2 * BATCH
                    read_so_far += batch
                assert [stored.sequence for stored in read_so_far] == list(range(1, 3001))
                assert [int(stored.data) for stored in read_so_far] == list(range(1, 3001))
                assert all(stored.subject == "intake.A.bid" for stored in read_so_far)
                times = [stored.time_ns for stored in read_so_far]
                assert times == sorted(times) and times[0] > 1.7e18
                assert await reader.next_batch(timeout=0.2) == []
                await ask(nc, range(3001, 3004))
                live: list[Stored] = []
                while len(live) < 3:
                    live += await reader.next_batch()
                assert [int(stored.data) for stored in live] == [3001, 3002, 3003]
            between = [int(stored.data) async for stored in read(nc, INTAKE, 1200, 1900)]
            assert between == list(range(1200, 1901))

    asyncio.run(run())


def test_a_killed_server_costs_a_reader_nothing(server: Server) -> None:
    """Killed and started again three times: while it is read, while it is followed, while it is idle."""

    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            await make_streams(nc)
            await ask(nc, range(1, 3001))
            await until(nc, INTAKE, 3000)
            numbers: list[int] = []

            async def follow(whole: int) -> None:
                while len(numbers) < whole:
                    numbers.extend(int(stored.data) for stored in await reader.next_batch())

            async with Reader(nc, INTAKE, 1) as reader:
                numbers += [int(stored.data) for stored in await reader.next_batch()]
                assert len(numbers) < 3000
                for more in (3000, 3100, 3200):
                    server.kill()
                    server.start()
                    reading = asyncio.create_task(follow(more))
                    async with connection(server) as other:
                        await ask(other, range(await last_sequence(other, INTAKE) + 1, more + 1))
                    await reading
            assert numbers == list(range(1, 3201))

    asyncio.run(run())


def test_a_stream_that_is_not_there_is_named(server: Server) -> None:
    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            with pytest.raises(LogGapError, match="no stream INTAKE"):
                await Reader(nc, INTAKE, 1).next_batch()

    asyncio.run(run())


def test_a_message_that_is_gone_is_a_gap(server: Server) -> None:
    """A stream made without the market's protection, so that a message can be taken out of it."""

    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            await nc.jetstream().add_stream(name=INTAKE, subjects=["intake.*.*"])
            await ask(nc, range(1, 11))
            await until(nc, INTAKE, 10)
            await nc.jetstream().delete_msg(INTAKE, 6)
            got = []

            async def read_all() -> None:
                async for stored in read(nc, INTAKE, 1, 10):
                    got.append(stored.sequence)

            with pytest.raises(LogGapError, match="INTAKE: sequence 6 is missing"):
                await read_all()
            assert got in ([], [1, 2, 3, 4, 5])  # what came in a batch with the gap is not given out

    asyncio.run(run())


def test_nobody_can_delete_or_purge_messages(server: Server) -> None:
    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            await make_streams(nc)
            await ask(nc, range(1, 4))
            await until(nc, INTAKE, 3)
            from nats.js.errors import APIError

            for attempt in (nc.jetstream().delete_msg(INTAKE, 2), nc.jetstream().purge_stream(INTAKE)):
                with pytest.raises(APIError):
                    await attempt
            assert [int(stored.data) async for stored in read(nc, INTAKE, 1, 3)] == [1, 2, 3]

    asyncio.run(run())


def test_a_second_writer_is_refused(server: Server) -> None:
    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as one, connection(server) as two:
            await make_streams(one)
            assert await last_message(one, JOURNAL) is None
            assert await append(one, JOURNAL, COMMIT, b"one", 0) == 1
            with pytest.raises(FencedError, match="ends at 1, not at 0"):
                await append(two, JOURNAL, COMMIT, b"two", 0)
            assert await append(two, JOURNAL, COMMIT, b"two", 1) == 2
            with pytest.raises(FencedError):
                await append(one, JOURNAL, COMMIT, b"one again", 1)
            with pytest.raises(FencedError):
                await append(one, JOURNAL, COMMIT, b"from the future", 9)
            assert [stored.data async for stored in read(one, JOURNAL, 1, 2)] == [b"one", b"two"]

    asyncio.run(run())


def test_an_append_whose_answer_came_too_late_is_done_once(server: Server) -> None:
    """The server sleeps for longer than an append waits, then takes it: reading shows that it is ours."""

    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            await make_streams(nc)
            await append(nc, JOURNAL, COMMIT, b"first", 0)
            server.signal(signal.SIGSTOP)
            appending = asyncio.create_task(append(nc, JOURNAL, COMMIT, b"second", 1))
            await asyncio.sleep(5.5)  # its time-out is 5 s
            assert not appending.done()
            server.signal(signal.SIGCONT)
            assert await appending == 2
            assert await append(nc, JOURNAL, COMMIT, b"third", 2) == 3
            got = [stored.data async for stored in read(nc, JOURNAL, 1, 3)]
            assert got == [b"first", b"second", b"third"]

    asyncio.run(run())


def test_an_append_waits_for_a_server_that_died(server: Server) -> None:
    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            await make_streams(nc)
            await append(nc, JOURNAL, COMMIT, b"first", 0)
            server.kill()
            appending = asyncio.create_task(append(nc, JOURNAL, COMMIT, b"second", 1))
            await asyncio.sleep(0.3)
            assert not appending.done()
            server.start()
            assert await appending == 2
            assert await last_sequence(nc, JOURNAL) == 2

    asyncio.run(run())


def test_commits_in_parts_are_read_whole(server: Server) -> None:
    """A large commit, then a part of a writer that died, then the same number by the next writer."""

    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            await make_streams(nc)
            large = c.encode(a_commit(1, c.FIRST, size=1_700_000))
            assert await append_commit(nc, large, 0) == 4
            hash_of_large = c.decode(large).hash
            dead = list(c.parts(c.encode(a_commit(2, hash_of_large, size=900_000))))
            assert len(dead) == 2
            assert await append(nc, JOURNAL, COMMIT, dead[0], 4) == 5
            small = c.encode(a_commit(2, hash_of_large))
            assert await append_commit(nc, small, 5) == 6
            async with CommitReader(nc) as reader:
                commits: list[c.Commit] = []
                while len(commits) < 2:
                    commits += await reader.next_batch()
                assert [c.encode(commit) for commit in commits] == [large, small]
                assert (reader.number, reader.sequence) == (2, 6)
                assert await reader.next_batch(timeout=0.1) == []
                await append_commit(nc, c.encode(a_commit(3, commits[-1].hash)), 6)
                assert [commit.number for commit in await reader.next_batch()] == [3]
            async with CommitReader(nc, 1, hash_of_large, 4) as later:
                assert [commit.number for commit in await later.next_batch()] == [2, 3]

    asyncio.run(run())


@pytest.mark.parametrize("number", [2, 4])
def test_a_commit_that_does_not_follow_is_named_by_its_sequence(server: Server, number: int) -> None:
    async def run() -> None:
        async with asyncio.timeout(BOUND_S), connection(server) as nc:
            await make_streams(nc)
            one = c.encode(a_commit(1, c.FIRST))
            await append_commit(nc, one, 0)
            previous = c.decode(one).hash if number == 4 else "1" * 64
            await append_commit(nc, c.encode(a_commit(number, previous)), 1)
            async with CommitReader(nc) as reader:

                async def read_all() -> None:
                    while True:
                        await reader.next_batch()

                with pytest.raises(BadRecordError, match="JOURNAL sequence 2: "):
                    await read_all()

    asyncio.run(run())


def test_a_server_that_is_not_there_is_named(server: Server) -> None:
    server.kill()

    async def run() -> None:
        async with asyncio.timeout(BOUND_S):
            with pytest.raises(UnreachableError, match=server.url):
                await connect(server.url, KEY, name="test", patience=0.3)

    asyncio.run(run())
