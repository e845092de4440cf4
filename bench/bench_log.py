"""From publishing a request to its own event, through real servers, beside the server alone.

The probe publishes the same messages with nats-py to a stream of the same kind with nothing behind it,
on the same server at the same durability (fsync on every write).
"""

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from pytest_benchmark.fixture import BenchmarkFixture

from console.market import Market
from console.server import executable
from events import subjects
from events.client import Client
from events.keys import Key
from events.log import Reader, connect, last_sequence
from events.requests import MOST_BYTES, encode
from events.wire import loads

ORDERS = 2_000
ONE_BY_ONE = 100
IDLE_S = 20


async def trader(market: Market, name: str) -> Client:
    key = Key.make()
    async with await Client.connect(market.server, market.operator_key, name="operator") as operator:
        await operator.request("account", account=key.public, name=name)
        await operator.request("deposit", account=key.public, amount=10**12, reference="bench")
    return await Client.connect(market.server, key, name=name, patience=10)


async def publish_and_hear(client: Client) -> float:
    """Orders per second, from the first publish to the last answer on the own feed."""
    answered, done = 0, asyncio.Event()

    async def hear(message: Msg) -> None:
        nonlocal answered
        answered += sum(event["kind"] == "answered" for event in loads(message.data)["events"])
        if answered >= ORDERS:
            done.set()

    await client.nc.subscribe(subjects.feed(client.account), cb=hear)
    subject = subjects.intake(client.account, "bid")
    session = time.time_ns() // 1000 + 1
    bodies = ({"session": session, "number": n, "price": 10, "size": 1} for n in range(1, ORDERS + 1))
    messages = [encode(client.key, subject, body) for body in bodies]
    begun = time.perf_counter()
    for message in messages:
        await client.nc.publish(subject, message)
    await asyncio.wait_for(done.wait(), 120)
    return ORDERS / (time.perf_counter() - begun)


async def probe(nc: Nats, key: Key) -> float:
    """Messages per second into a stream with nothing behind it, until the last is stored and read."""
    await nc.jetstream().add_stream(
        StreamConfig(name="PROBE", subjects=["probe"], no_ack=True, max_msg_size=MOST_BYTES, deny_delete=True)
    )
    body = {"session": time.time_ns() // 1000, "number": 1, "price": 10, "size": 1}
    message = encode(key, "probe", body)
    begun = time.perf_counter()
    async with Reader(nc, "PROBE", 1) as reader:
        for _ in range(ORDERS):
            await nc.publish("probe", message)
        while reader.next <= ORDERS:
            await reader.next_batch(timeout=5)
    return ORDERS / (time.perf_counter() - begun)


async def one_by_one(client: Client) -> list[float]:
    """Seconds from publishing a request to its own event, nothing else going on."""
    times = []
    for _ in range(ONE_BY_ONE):
        begun = time.perf_counter()
        await client.request("bid", price=10, size=1)
        times.append(time.perf_counter() - begun)
    return sorted(times)


async def idle(operator: Nats) -> float:
    """MB a day that an idle market writes to its streams."""

    async def size() -> int:
        js = operator.jetstream()
        return sum([(await js.stream_info(name)).state.bytes for name in (subjects.INTAKE, subjects.JOURNAL)])

    before = await size()
    await asyncio.sleep(IDLE_S)
    return (await size() - before) * 86_400 / IDLE_S / 1e6


async def measure(folder: Path) -> dict[str, tuple[float, str]]:
    async with Market(folder) as market:
        exchange = await connect(market.server, market.keys.exchange, name="probe")
        day = await idle(exchange)
        async with await trader(market, "bench") as client:
            times = await one_by_one(client)
            rate = await publish_and_hear(client)
        assert await last_sequence(exchange, subjects.JOURNAL) > 0
        await exchange.close()
    return {
        "one order, publish to own event, median": (times[len(times) // 2] * 1e3, "ms"),
        "one order, publish to own event, p99": (times[-2] * 1e3, "ms"),
        "orders, publish to own event": (rate, "orders/s"),
        "an idle market writes": (day, "MB/day"),
    }


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[str]:
    """A server with nothing behind it, at the market's durability."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{tmp_path}", sync_interval: always }}\n'
    )
    process = subprocess.Popen([executable(), "-c", str(config), "-l", str(tmp_path / "log")])
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_end_to_end(benchmark: BenchmarkFixture, plain_server: str) -> None:
    async def alone() -> float:
        key = Key.make()
        nc = await nats.connect(plain_server, max_reconnect_attempts=50, reconnect_time_wait=1)
        try:
            return await probe(nc, key)
        finally:
            await nc.close()

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        figures = benchmark.pedantic(lambda: asyncio.run(measure(Path(folder) / "market")), rounds=1)
    limit = asyncio.run(alone())
    rate = figures["orders, publish to own event"][0]
    figures["orders, publish to own event, over the server alone"] = (rate / limit, "times")
    benchmark.extra_info["figures"] = figures
