"""The lease: who of several exchanges tries to write. A key with a time to live, kept by the server.

It decides only who tries, so that two do not hinder each other: that no second one can write is the fence's
doing (`events.appending`). The key is in the server's memory: where the server starts again, whoever asks
first has it.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable

import nats.errors
import uvloop
from nats.aio.client import Client as Nats
from nats.js.api import StorageType
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from events.keys import Key
from events.log import connect
from events.terminal import one_line
from events.wire import dumps, loads

BUCKET, KEY = "LEASE", "exchange"
TTL_S = 2.0  # the server forgets a lease that was not renewed for so long
RENEW_S = 0.5
PATIENCE_S = 0.7  # for the server's answer
WAIT_S = 0.05
STUCK_S = 60.0  # a loop that stands still for so long never goes on
END_S = 2.0
MARGIN_S = 0.2  # by so much earlier the holder stops by itself


class LeaseLostError(Exception):
    """Another exchange has the lease: this one must stop."""


class Lease:
    """One exchange's claim. `name` is what it is called; times are time.monotonic()."""

    def __init__(self, nc: Nats, name: str) -> None:
        self._js = nc.jetstream(timeout=PATIENCE_S)
        self._value = dumps({"holder": name, "id": uuid.uuid4().hex})
        self._bucket: KeyValue | None = None
        self._revision = 0
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether it is surely ours now: renewed not longer ago than the server remembers."""
        return time.monotonic() < self._until

    async def wait(self) -> None:
        """Wait until it is held."""
        while not self.held:  # noqa: ASYNC110 - it is renewed on another thread
            await asyncio.sleep(WAIT_S)

    async def take(self) -> bool:
        """Try to get it once."""
        asked = time.monotonic()
        try:
            self._revision = await (await self._open()).create(KEY, self._value)
        except KeyWrongLastSequenceError:
            return False
        except (nats.errors.Error, APIError, TimeoutError):
            self._bucket = None
            return False
        self._is_ours_since(asked)
        return True

    def _is_ours_since(self, asked: float) -> None:
        self._until = asked + TTL_S - MARGIN_S

    async def renew(self) -> None:
        """Renew it; where it has run out and nobody has it, take it again. Raises LeaseLostError."""
        asked = time.monotonic()
        try:
            self._revision = await (await self._open()).update(KEY, self._value, self._revision)
            self._is_ours_since(asked)
        except KeyWrongLastSequenceError:
            await self._look()
        except (nats.errors.Error, APIError, TimeoutError):
            self._bucket = None

    async def _look(self) -> None:
        """Somebody else's, or nobody's, or ours by a renewal whose answer was lost. Raises LeaseLostError."""
        asked = time.monotonic()
        try:
            bucket = await self._open()
            entry = await bucket.get(KEY)
            if entry.value != self._value:
                raise LeaseLostError(
                    f"{holder_in(entry.value)} has the lease: this exchange was away for too long and stops"
                )
            self._revision = await bucket.update(KEY, self._value, entry.revision)
            self._is_ours_since(asked)
        except KeyNotFoundError:
            await self.take()
        except (nats.errors.Error, APIError, TimeoutError):
            self._bucket = None

    def move_to(self, nc: Nats) -> None:
        """Use another connection from now on."""
        self._js, self._bucket = nc.jetstream(timeout=PATIENCE_S), None

    async def release(self) -> None:
        """Let it go at once, so that another need not wait until it runs out."""
        if self.held and self._bucket is not None:
            with contextlib.suppress(nats.errors.Error, APIError, TimeoutError):
                await self._bucket.delete(KEY, last=self._revision)
        self._until = 0.0

    async def _open(self) -> KeyValue:
        if self._bucket is None:
            self._bucket = await self._js.create_key_value(
                bucket=BUCKET, ttl=TTL_S, history=1, storage=StorageType.MEMORY
            )
        return self._bucket


class Keeper:
    """Renews a lease on a thread of its own, by a connection of its own, and gives it back at the end.

    What an hour's end brings may take longer to decide than a lease lasts. If it ran out meanwhile, another
    exchange would begin with the same, and lose it in the same way. Only a loop that has stood still for
    STUCK_S, and in it a `progress` that has not changed, is taken for dead.
    """

    def __init__(self, server: str, key: Key, lease: Lease, progress: Callable[[], int] = lambda: 0) -> None:
        self._server, self._key, self._lease, self._progress = server, key, lease, progress
        self._beat = time.monotonic()
        self._stop = False

    async def run(self) -> None:
        """For ever. Raises LeaseLostError, UnreachableError, NotAdmittedError."""
        working = asyncio.create_task(asyncio.to_thread(self._work))
        try:
            while not working.done():
                self._beat = time.monotonic()
                await asyncio.wait({working}, timeout=WAIT_S)
            working.result()
        finally:
            self._stop = True
            await asyncio.wait({working}, timeout=END_S)

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._keep())

    async def _keep(self) -> None:
        nc = await connect(self._server, self._key, name="lease")
        try:
            self._lease.move_to(nc)
            before = self._progress()
            while not self._stop:
                if self._progress() != before:
                    before, self._beat = self._progress(), time.monotonic()
                if time.monotonic() - self._beat > STUCK_S:
                    raise LeaseLostError(f"the exchange has stood still for {STUCK_S:g} s, and stops")
                await self._lease.renew()
                again = time.monotonic() + RENEW_S
                while time.monotonic() < again and not self._stop:  # noqa: ASYNC110 - set on another thread
                    await asyncio.sleep(WAIT_S)
            await self._lease.release()
        finally:
            await nc.close()


def holder_in(value: bytes | None) -> str:
    """The name in a lease."""
    with contextlib.suppress(ValueError):
        match loads(value or b""):
            case {"holder": str(name)}:
                return one_line(name)
    return "another exchange"


async def holder(nc: Nats) -> str:
    """Who has the lease; "" where nobody has it. Raises nats.errors.Error, APIError."""
    bucket = await nc.jetstream(timeout=PATIENCE_S).create_key_value(
        bucket=BUCKET, ttl=TTL_S, history=1, storage=StorageType.MEMORY
    )
    with contextlib.suppress(KeyNotFoundError):
        return holder_in((await bucket.get(KEY)).value)
    return ""
