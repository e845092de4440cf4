"""One client process of the log's benchmarks: publishes signed requests, and hears their answers.

Started by `bench/log_load.py`, as `python -m bench.log_client`. It reads its orders as one line of JSON (a
`Job`), signs, says `ready`, waits for a line with the instant to begin at (of the monotonic clock, which all
processes share), and writes one line of JSON: what was heard when.

Ways to work:

- `closed`: at most `window` requests unanswered, as fast as answers come; answers are heard on the own feed.
- `open`: a request due each `1/rate` s, answered or not; the wait of each is counted from when it was due.
- `acks`: the same bytes to a stream with nothing behind it; of every `every`-th message the acknowledgement
  is waited for.
- `async`: the same by the library's own `publish_async`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import uvloop
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events import subjects
from events.keys import Key
from events.log import connect
from events.requests import encode
from events.wire import dumps, loads

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
SAMPLE_S = 0.02  # how finely the count of answers is kept
TICK_S = 0.002  # an open loop sends what is due each so often; the wait is counted
PRICES = 1000
STALLED_S = 20.0  # without any answer, a run is given up


@dataclass
class Job:
    """What one client process shall do. `orders` is how many orders a message has (1: single ones)."""

    server: str
    seed: str
    way: str
    messages: int
    seconds: float
    window: int = 1000
    orders: int = 1
    rate: float = 0.0  # messages each second, of an open loop
    every: int = 1
    loop: str = "uvloop"


def sign(job: Job, key: Key) -> Iterator[tuple[str, bytes]]:
    """Subject and signed bytes of each message, in one session: bids at PRICES prices, all of which rest."""
    session = time.time_ns() // 1000 + 1
    kind = "bid" if job.orders == 1 else "orders"
    subject = subjects.intake(key.public, kind)
    for number in range(1, job.messages + 1):
        bids = [{"price": 1 + n % PRICES, "size": 1} for n in range(number, number + job.orders)]
        content = bids[0] if job.orders == 1 else {"orders": [{"kind": "bid"} | bid for bid in bids]}
        yield subject, encode(key, subject, {"session": session, "number": number} | content)


class Worker:
    """Publishes a job's messages and counts what comes back."""

    def __init__(self, job: Job, nc: Nats, messages: list[tuple[str, bytes]]) -> None:
        self._job, self._nc, self._messages = job, nc, messages
        self._sent = self._heard = 0  # messages
        self._news = asyncio.Event()
        self.samples: list[tuple[float, int]] = []
        self.refused: dict[str, int] = {}
        self.waits: list[float] = []
        self._due: list[float] = []

    async def run(self, begin: float) -> None:
        """Work from the instant `begin` on."""
        way = {"closed": self._closed, "open": self._open, "acks": self._acks, "async": self._async}
        work = way[self._job.way]
        if work in (self._closed, self._open):
            feed = subjects.feed(self._messages[0][0].split(".")[1])
            await self._nc.subscribe(feed, cb=self._on_feed, pending_msgs_limit=-1, pending_bytes_limit=-1)
            await self._nc.flush()
        await asyncio.sleep(begin - time.monotonic())
        self.samples.append((time.monotonic(), 0))
        await work(begin)
        self.samples.append((time.monotonic(), self._heard))

    # -- the market

    async def _closed(self, begin: float) -> None:
        end = begin + self._job.seconds
        while self._sent < len(self._messages) and time.monotonic() < end:
            await self._send_to(min(self._heard + self._job.window, len(self._messages)))
            await self._answers(self._sent - self._job.window + 1)
        await self._answers(self._sent)

    async def _open(self, begin: float) -> None:
        step = 1 / self._job.rate
        self._due = [begin + n * step for n in range(len(self._messages))]
        while self._sent < len(self._messages):
            now = time.monotonic()
            await self._send_to(min(int((now - begin) / step) + 1, len(self._messages)))
            await asyncio.sleep(TICK_S)
        await self._answers(self._sent)

    async def _on_feed(self, message: Msg) -> None:
        now = time.monotonic()
        for event in loads(message.data)["events"]:
            if event["kind"] == "answered":
                refusal = event["code"]
                if self._due:
                    self.waits.append(now - self._due[event["number"] - 1])
            elif event["kind"] == "orders_answered":
                refusal = next((answer[0] for answer in event["answers"] if answer[0]), "")
            else:
                continue
            self._heard += 1
            if refusal:
                self.refused[refusal] = self.refused.get(refusal, 0) + 1
        self._count(now)

    # -- the server alone

    async def _acks(self, begin: float) -> None:
        """Publish with a reply subject on every `every`-th message, and count the replies."""
        inbox, every = self._nc.new_inbox(), self._job.every

        async def on_ack(message: Msg) -> None:
            if b'"error"' in message.data:
                self.refused["error"] = self.refused.get("error", 0) + 1
            self._heard += every
            self._count(time.monotonic())

        await self._nc.subscribe(inbox, cb=on_ack, pending_msgs_limit=-1, pending_bytes_limit=-1)
        end, count, publish = begin + self._job.seconds, len(self._messages), self._nc.publish
        while time.monotonic() < end:
            while self._sent < self._heard + self._job.window:
                subject, data = self._messages[self._sent % count]
                self._sent += 1
                await publish(subject, data, inbox if self._sent % every == 0 else "")
            await self._answers(self._sent - self._job.window + 1)
        await self._answers(self._sent - self._sent % every)

    async def _async(self, begin: float) -> None:
        """Publish by the library's `publish_async`, whose own semaphore is the window."""
        js = self._nc.jetstream(publish_async_max_pending=self._job.window)
        end, count = begin + self._job.seconds, len(self._messages)

        def done(_: asyncio.Future[Any]) -> None:
            self._heard += 1
            self._count(time.monotonic())

        while time.monotonic() < end:
            subject, data = self._messages[self._sent % count]
            self._sent += 1
            (await js.publish_async(subject, data, wait_stall=STALLED_S)).add_done_callback(done)
        await js.publish_async_completed()

    # -- both

    async def _send_to(self, stop: int) -> None:
        """Publish the messages up to `stop`, without it."""
        publish = self._nc.publish
        for subject, data in self._messages[self._sent : stop]:
            await publish(subject, data)
        self._sent = max(self._sent, stop)

    async def _answers(self, wanted: int) -> None:
        """Wait until so many messages were answered. Raises TimeoutError where nothing comes any more."""
        while self._heard < wanted:
            self._news.clear()
            async with asyncio.timeout(STALLED_S):
                await self._news.wait()

    def _count(self, now: float) -> None:
        if now - self.samples[-1][0] > SAMPLE_S:
            self.samples.append((now, self._heard))
        self._news.set()


async def work(job: Job) -> None:
    """The whole life of a client process."""
    key = Key(job.seed)
    messages = list(sign(job, key))
    nc = await connect(job.server, key, name="bench")
    try:
        worker = Worker(job, nc, messages)
        print("ready", flush=True)
        begin = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await worker.run(float(begin))
    finally:
        await nc.close()
    result = {"samples": worker.samples, "refused": worker.refused, "waits": worker.waits}
    print(dumps(result).decode(), flush=True)


def line(job: Job) -> bytes:
    """A job as its line of JSON."""
    return dumps(asdict(job)) + b"\n"


def main() -> None:
    """Read the job from standard input and do it."""
    job = Job(**loads(sys.stdin.readline().encode()))
    with asyncio.Runner(loop_factory=LOOPS[job.loop]) as runner:
        runner.run(work(job))


if __name__ == "__main__":
    main()
