"""The lease: who of several exchanges tries to write. A key with a time to live, kept by the server.

It decides only who tries, so that two do not hinder each other: that no second one can write is the fence's
doing (`events.appending`). The key is in the server's memory: where the server starts again, whoever asks
first has it.
"""

import asyncio
import contextlib
import time
import uuid

import nats.errors
from nats.aio.client import Client as Nats
from nats.js.api import StorageType
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from events.terminal import one_line
from events.wire import dumps, loads

BUCKET, KEY = "LEASE", "exchange"
TTL_S = 2.0  # the server forgets a lease that was not renewed for so long
RENEW_S = 0.5
PATIENCE_S = 0.5  # for the server's answer
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
        self._news = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether it is surely ours now: renewed not longer ago than the server remembers."""
        return time.monotonic() < self._until

    async def wait(self) -> None:
        """Wait until it is held."""
        while not self.held:
            self._news.clear()
            await self._news.wait()

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
        self._news.set()

    async def keep(self) -> None:
        """Renew it for ever; where it has run out and nobody has it, take it again. Raises LeaseLostError."""
        while True:
            await asyncio.sleep(RENEW_S)
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
        try:
            entry = await (await self._open()).get(KEY)
        except KeyNotFoundError:
            await self.take()
        except (nats.errors.Error, APIError, TimeoutError):
            self._bucket = None
        else:
            if entry.value != self._value:
                raise LeaseLostError(
                    f"{holder_in(entry.value)} has the lease: this exchange was away for too long and stops"
                )
            assert entry.revision is not None
            self._revision = entry.revision

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
