"""Links over a real nats-server: nothing lost, nothing twice, nothing out of order, nothing unbounded."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.client import Client as Nats

from events.keys import Key
from events.subjects import link as link_subject
from links.endpoint import REDIAL, Endpoint
from links.frames import (
    DATA,
    INPUT,
    MOST_PAYLOAD,
    OPEN,
    OUTPUT,
    RESET,
    Frame,
    Packet,
    pack,
    pack_frame,
)
from links.link import WINDOW_BYTES, WINDOW_FRAMES, Link, LinkClosedError
from tests.links.conftest import Server

CONTRACT = 7


class Trader:
    """A connection and its endpoint; `mischief` may drop, double or hold back what it publishes."""

    def __init__(self) -> None:
        self.account = Key.make().public
        self.nc = Unreliable()
        self.endpoint = Endpoint(self)


class Unreliable(Nats):
    def __init__(self) -> None:
        super().__init__()
        self.dice: random.Random | None = None
        self.held: list[tuple[str, bytes]] = []
        self.mischief = {"dropped": 0, "doubled": 0, "reordered": 0}
        self.deaf = False

    async def publish(self, subject: str, payload: bytes = b"", *rest: Any, **more: Any) -> None:
        if self.deaf:
            return
        if self.dice:
            chance = self.dice.random()
            if chance < 0.1:
                self.mischief["dropped"] += 1
                return
            if chance < 0.2 and len(self.held) < 5:
                self.mischief["reordered"] += 1
                self.held.append((subject, payload))
                return
            if chance < 0.3:
                self.mischief["doubled"] += 1
                await super().publish(subject, payload)
        await super().publish(subject, payload, *rest, **more)
        if self.held and (not self.dice or self.dice.random() < 0.3):
            await super().publish(*self.held.pop(0))


@asynccontextmanager
async def traders(server: Server) -> AsyncIterator[tuple[Trader, Trader]]:
    """A buyer, and a seller who allows him CONTRACT."""
    pair = Trader(), Trader()
    for trader in pair:
        await trader.nc.connect(
            server.url,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]
            error_cb=_ignore,
        )
        await trader.endpoint.start()
        await trader.nc.flush()
    buyer, seller = pair
    seller.endpoint.allow = lambda contract, peer: (contract, peer) == (CONTRACT, buyer.account)
    try:
        yield pair
    finally:
        for trader in pair:
            for link in list(trader.endpoint._links.values()):
                link.abort("test over")
            await trader.endpoint.close()
            await trader.nc.close()


async def _ignore(error: Exception) -> None:
    """nats-py prints errors of a lost connection unless somebody takes them."""


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


async def connected(buyer: Trader, seller: Trader) -> tuple[Link, Link]:
    near = await buyer.endpoint.dial(seller.account, CONTRACT)
    return near, await seller.endpoint.accept()


async def send_all(link: Link, data: bytes, kind: int = INPUT) -> None:
    await link.send_bytes(kind, 1, data)
    await link.drained()


async def take(link: Link, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        frame = await link.receive()
        assert frame
        data += frame.payload
    return bytes(data)


def test_frames_go_both_ways(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            near, far = await connected(buyer, seller)
            assert (far.peer, far.contract) == (buyer.account, CONTRACT)
            for n in range(1000):
                await near.send(Frame(INPUT, n, b"%d" % n))
                assert await far.receive() == Frame(INPUT, n, b"%d" % n)
                await far.send(Frame(OUTPUT, n, b"%d" % -n))
                assert await near.receive() == Frame(OUTPUT, n, b"%d" % -n)
            assert near.bytes_sent == far.bytes_received
            assert far.bytes_sent == near.bytes_received
            assert near.resent == far.resent == 0
            await near.send(Frame(INPUT, 1, b"last"))
            await near.close()
            assert await far.receive() == Frame(INPUT, 1, b"last")
            assert await far.receive() is None
            with pytest.raises(LinkClosedError, match="closed by the peer"):
                await far.send(Frame(OUTPUT, 1, b""))

    run(test)


@pytest.mark.parametrize("seed", range(4))
def test_lost_doubled_and_reordered_messages(server: Server, seed: int) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            for n, trader in enumerate((buyer, seller)):
                trader.nc.dice = random.Random(2 * seed + n)
            near, far = await connected(buyer, seller)
            data = random.Random(seed).randbytes(3_000_000)
            forth = asyncio.create_task(send_all(near, data))
            back = asyncio.create_task(send_all(far, data[::-1], OUTPUT))
            assert await take(far, len(data)) == data
            assert await take(near, len(data)) == data[::-1]
            await asyncio.gather(forth, back)
            for trader in (buyer, seller):
                assert all(trader.nc.mischief.values()), trader.nc.mischief
                trader.nc.dice = None
            assert near.resent > 0
            assert near.bytes_sent == far.bytes_received == len(data)

    run(test)


def test_fifty_megabytes_through_backpressure(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            near, far = await connected(buyer, seller)
            megabyte = random.Random(1).randbytes(1_000_000)

            async def produce() -> None:
                for _ in range(50):
                    await near.send_bytes(INPUT, 1, megabyte)
                await near.drained()

            producing = asyncio.create_task(produce())
            got, most = hashlib.sha256(), 0
            taken = 0
            while taken < 50_000_000:
                frame = await far.receive()
                assert frame
                got.update(frame.payload)
                taken += len(frame.payload)
                most = max(most, near.bytes_sent - taken)
            await producing
            assert most <= WINDOW_BYTES + MOST_PAYLOAD
            wanted = hashlib.sha256()
            for _ in range(50):
                wanted.update(megabyte)
            assert got.digest() == wanted.digest()

    run(test)


def test_a_reader_who_stops_stops_the_writer(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            near, far = await connected(buyer, seller)
            sending = asyncio.create_task(send_all(near, bytes(4 * WINDOW_BYTES)))
            await asyncio.sleep(0.7)
            assert not sending.done()
            assert near.bytes_sent <= WINDOW_BYTES
            # The news of room gets lost; the sender asks for it.
            seller.nc.deaf = True
            while far.bytes_received - far._held < WINDOW_BYTES:
                await far.receive()
            await asyncio.sleep(0.1)
            seller.nc.deaf = False
            await take(far, 3 * WINDOW_BYTES)
            await sending
            small = asyncio.create_task(flood(near))
            await asyncio.sleep(0.3)
            assert not small.done()
            assert len(near._sizes) == WINDOW_FRAMES
            for _ in range(2 * WINDOW_FRAMES):
                await far.receive()
            await small

    async def flood(link: Link) -> None:
        for _ in range(2 * WINDOW_FRAMES):
            await link.send(Frame(INPUT, 1))

    run(test)


def test_a_link_outlives_its_server(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            near, far = await connected(buyer, seller)
            data = random.Random(2).randbytes(12_000_000)
            sending = asyncio.create_task(send_all(near, data))
            first = await take(far, 2_000_000)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.start)
            assert first + await take(far, len(data) - len(first)) == data
            await sending

    run(test)


def test_a_new_dial_replaces_the_link_before(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            near, far = await connected(buyer, seller)
            await near.send(Frame(INPUT, 1, b"one"))
            assert await far.receive()
            again, far_again = await connected(buyer, seller)
            assert await near.receive() is None
            assert await far.receive() is None
            assert again.incarnation > near.incarnation
            await again.send(Frame(INPUT, 1, b"two"))
            assert await far_again.receive() == Frame(INPUT, 1, b"two")
            with pytest.raises(LinkClosedError):
                await far.send(Frame(OUTPUT, 1, b""))
            # A message of the dial before, late: it is refused and changes nothing.
            late = Packet(DATA, near.incarnation, 0, 0, 0, pack_frame(Frame(INPUT, 1, b"late")))
            await buyer.nc.publish(link_subject(seller.account, buyer.account, CONTRACT), pack(late))
            await asyncio.sleep(2 * REDIAL)
            await buyer.nc.publish(
                link_subject(seller.account, buyer.account, CONTRACT), pack(Packet(OPEN, near.incarnation))
            )
            await again.send(Frame(INPUT, 1, b"three"))
            assert await far_again.receive() == Frame(INPUT, 1, b"three")

    run(test)


def test_a_dial_waits_for_a_seller_who_hears_of_the_contract_later(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            allowed, seller.endpoint.allow = seller.endpoint.allow, lambda contract, peer: False
            near = await buyer.endpoint.dial(seller.account, CONTRACT)
            sending = asyncio.create_task(send_all(near, b"early"))
            await asyncio.sleep(0.3)
            assert not sending.done()
            assert not near.is_open
            seller.endpoint.allow = allowed
            far = await seller.endpoint.accept()
            assert await far.receive() == Frame(INPUT, 1, b"early")
            await sending
            stranger = await buyer.endpoint.dial(seller.account, CONTRACT + 1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(seller.endpoint.accept(), 0.3)
            assert not stranger.is_open

    run(test)


def test_a_peer_that_died_and_came_back_knows_the_link_no_more(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            near, far = await connected(buyer, seller)
            # The seller's process dies: nothing is said. Another takes its place.
            seller.nc.deaf = True
            far.abort("dead", tell=0)
            seller.endpoint._ended.clear()
            await near.send(Frame(INPUT, 1, b"to nobody"))
            await asyncio.sleep(0.3)
            assert near._kept
            seller.nc.deaf = False
            assert await near.receive() is None
            assert near.closed == "the peer knows it no more"
            with pytest.raises(LinkClosedError):
                await near.drained()
            near, far = await connected(buyer, seller)
            await near.send(Frame(INPUT, 1, b"again"))
            assert await far.receive() == Frame(INPUT, 1, b"again")

    run(test)


def test_whose_close_was_lost_is_told_again(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            near, far = await connected(buyer, seller)
            buyer.nc.deaf = True
            await near.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            buyer.nc.deaf = False
            assert await far.receive() is None  # within its next PING

    run(test)


def test_garbage_is_dropped_and_a_liar_is_cut_off(server: Server) -> None:
    dice = random.Random(3)

    def lies(link: Link) -> list[Packet]:
        frame = pack_frame(Frame(INPUT, 1, b"x"))
        number = link.incarnation
        return [
            Packet(DATA, number, WINDOW_FRAMES, 0, 0, frame),  # beyond the window
            Packet(DATA, number, 0, 0, 0, frame[:3]),  # no frame
            Packet(DATA, number, 0, 0, 0, frame + bytes(MOST_PAYLOAD)),  # too large a frame
            Packet(DATA, number, 0, 9, 0, frame),  # acknowledges what was never sent
            Packet(DATA, number, 0, 0, 1, frame),
            Packet(DATA, number, 2**64 - 1, 2**64 - 1, 2**64 - 1, frame),
            Packet(RESET, number),
        ]

    async def test() -> None:
        async with traders(server) as (buyer, seller):
            subject = link_subject(seller.account, buyer.account, CONTRACT)
            near, far = await connected(buyer, seller)
            for _ in range(300):
                await buyer.nc.publish(subject, dice.randbytes(dice.randrange(60)))
                await buyer.nc.publish(subject, bytes([1]) + dice.randbytes(dice.randrange(60)))
                await buyer.nc.publish(subject, pack(Packet(dice.randrange(1, 7), dice.getrandbits(40))))
            for wrong in ("x", "", "9" * 30, "-1", "٣", f"{CONTRACT}.1"):
                await buyer.nc.publish(f"link.{seller.account}.{buyer.account}.{wrong or '_'}", b"\1" * 40)
            await near.send(Frame(INPUT, 1, b"still here"))
            assert await far.receive() == Frame(INPUT, 1, b"still here")
            for n in range(len(lies(near))):
                near, far = await connected(buyer, seller)
                await buyer.nc.publish(subject, pack(lies(near)[n]))
                assert await far.receive() is None, n
                assert await near.receive() is None, n
            # A window of the largest frames, all of them early, is held; more is not.
            near, far = await connected(buyer, seller)
            for n in range(1, WINDOW_BYTES // MOST_PAYLOAD + 3):
                body = pack_frame(Frame(INPUT, 1, bytes(MOST_PAYLOAD)))
                await buyer.nc.publish(subject, pack(Packet(DATA, near.incarnation, n, 0, 0, body)))
            assert await far.receive() is None
            assert far.closed == "the peer sent beyond the window"

    run(test)


def test_a_flood_of_dials_is_not_taken(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            taken = 0

            async def accept() -> None:
                nonlocal taken
                while True:
                    await seller.endpoint.accept()
                    taken += 1

            accepting = asyncio.create_task(accept())
            subject = link_subject(seller.account, buyer.account, CONTRACT)
            for n in range(20_000):
                await buyer.nc.publish(subject, pack(Packet(OPEN, 1000 + n)))
            near = await buyer.endpoint.dial(seller.account, CONTRACT)
            await near.send(Frame(INPUT, 1, b"x"))
            await near.drained()
            assert 2 <= taken < 2_000
            accepting.cancel()

    run(test)


def test_a_frame_too_large_is_the_callers_mistake(server: Server) -> None:
    async def test() -> None:
        async with traders(server) as (buyer, seller):
            near, _ = await connected(buyer, seller)
            with pytest.raises(ValueError, match="at most 65536"):
                await near.send(Frame(INPUT, 1, bytes(MOST_PAYLOAD + 1)))

    run(test)
