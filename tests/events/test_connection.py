"""Nothing that a stranger publishes makes a reader deaf."""

import asyncio
from urllib.parse import urlparse

import pytest
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, MaxPayloadError
from nats.js.api import StreamConfig

from events.connection import Connection
from events.log import Reader

BAD = [
    b"PUB a.\xff 1\r\nx\r\n",
    b"PUB a.\x0bb 1\r\nx\r\n",
    b"PUB a.b \xff\xfe 1\r\nx\r\n",
    b"HPUB a.b 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
    b"HPUB a.b 8 9\r\nNATS/1.0x\r\n",
    b"HPUB a.b 16 17\r\nNATS/1.0 \xff\xff\xff\r\n\r\nx\r\n",
    b"HPUB a.b 16 17\r\nNATS/1.0 503\r\n\r\nx\r\n",
]


async def publish(server: str, line: bytes) -> None:
    """Say a line of the protocol to the server, as a client of any make may."""
    address = urlparse(server)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n' + line + b"PING\r\n")
    await writer.drain()
    async with asyncio.timeout(5):
        while b"PONG" not in await reader.readline():
            pass
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("line", BAD)
def test_a_bad_message_deafens_nobody(nats_server: str, line: bytes) -> None:
    async def go() -> None:
        nc = Connection()
        await nc.connect(nats_server, allow_reconnect=False)
        await nc.jetstream().add_stream(StreamConfig(name="ALL", subjects=["a.>"]))
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def hear(message: Msg) -> None:
            await heard.put(message.data)

        await nc.subscribe("a.>", cb=hear)
        await nc.flush()
        await publish(nats_server, line)
        await nc.publish("a.good", b"good")
        async with asyncio.timeout(10), Reader(nc, "ALL", 1) as reader:
            while await heard.get() != b"good":
                pass
            found: list[bytes] = []
            while b"good" not in found:
                found += [stored.data for stored in await reader.next_batch()]
        await nc.close()

    asyncio.run(go())


def test_a_flush_that_was_cancelled_deafens_nobody(
    nats_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        nc = Connection()
        await nc.connect(nats_server, allow_reconnect=False)
        try:
            messages = await nc.subscribe("a.b")
            for _ in range(5):
                flushing = asyncio.create_task(nc.flush())
                await asyncio.sleep(0)  # PING is on its way
                flushing.cancel()
                await asyncio.gather(flushing, return_exceptions=True)
                await nc.flush()
            await nc.publish("a.b", b"heard")
            assert (await messages.next_msg(5)).data == b"heard"
        finally:
            await nc.close()

    asyncio.run(go())
    assert not caplog.records


def test_many_messages_at_once(nats_server: str) -> None:
    async def go() -> None:
        nc = Connection()
        await nc.connect(nats_server, allow_reconnect=False)
        heard = await nc.subscribe("b.>")
        told = [(f"b.{n % 3}", b"x" * (n % 200) + b"\r\n%d" % n) for n in range(20_000)]
        await nc.publish_all(told)
        await nc.publish_all([])
        async with asyncio.timeout(20):
            for subject, data in told:
                message = await heard.next_msg(timeout=20)
                assert (message.subject, message.data) == (subject, data)
        with pytest.raises(MaxPayloadError):
            await nc.publish_all([("b.1", b"small"), ("b.1", bytes(nc.max_payload + 1))])
        await nc.flush()
        assert heard.pending_msgs == 0
        await nc.close()
        with pytest.raises(ConnectionClosedError):
            await nc.publish_all([("b.1", b"small")])

    asyncio.run(go())
