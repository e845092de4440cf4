"""Signatures of many raw requests, checked on all cores (R35).

`check` says of each message of INTAKE whether its signature is true; `Checker` does so for a stream of
batches, in order, on threads that do not hold the interpreter's lock. What is true is what
`events.keys.is_signed` takes for true: a test compares.
"""

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import NamedTuple

from nacl._sodium import ffi, lib

from events.keys import SIGNATURE_CHARACTERS
from events.log import Stored
from events.requests import decode_body, signed_bytes
from exchange import _signatures
from exchange.admission import whose

KNOWN = 1 << 14  # subjects whose key is remembered
AHEAD = 2  # batches for each worker that may wait
_OPEN = "int(*)(unsigned char *, unsigned long long *, unsigned char *, unsigned long long, unsigned char *)"
_open = ffi.addressof(lib, "crypto_sign_open")
assert ffi.typeof(_open) is ffi.typeof(_OPEN), "PyNaCl's crypto_sign_open has other arguments"
_ADDRESS = int(ffi.cast("uintptr_t", _open))


class Verdict(IntEnum):
    """What a message's signature is. An unreadable message is refused as such, and accuses nobody."""

    UNREADABLE = 0
    TRUE = 1
    FALSE = 2


class Checked(NamedTuple):
    """A batch with its verdicts: one byte each, a `Verdict`."""

    batch: Sequence[Stored]
    verdicts: bytes

    def false(self) -> list[Stored]:
        """The messages whose signature is false, in order."""
        if Verdict.FALSE not in self.verdicts:
            return []
        return [
            stored
            for stored, verdict in zip(self.batch, self.verdicts, strict=True)
            if verdict == Verdict.FALSE
        ]


def check(batch: Sequence[Stored]) -> Checked:
    """Check a batch in this thread; other threads go on meanwhile. Some 40 µs each, O(bytes)."""
    verdicts = _signatures.check(_ADDRESS, [(*_signer(stored.subject), stored.data) for stored in batch])
    if Verdict.FALSE in verdicts:
        verdicts = bytes(map(_unless_unreadable, batch, verdicts))
    return Checked(batch, verdicts)


def workers() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Checker:
    """Checks streams of batches on `workers` threads. An asynchronous context; ends within one batch."""

    def __init__(self, workers: int = workers()) -> None:
        assert workers > 0
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="signatures")

    async def __aenter__(self) -> "Checker":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def check(self, batches: AsyncIterable[Sequence[Stored]]) -> AsyncGenerator[Checked, None]:
        """The batches with their verdicts, in order; each as soon as it is checked, also if no other follows.

        A batch goes to one core: some hundreds of messages are a good size. Only a few wait in memory.
        Raises what `batches` raises, behind the verdicts of what came before.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[asyncio.Future[Checked] | Exception | None]
        waiting = asyncio.Queue(AHEAD * self._workers)

        async def feed() -> None:
            try:
                async for batch in batches:
                    await waiting.put(loop.run_in_executor(self._pool, check, batch))
                await waiting.put(None)
            except Exception as error:
                await waiting.put(error)

        feeding = asyncio.create_task(feed())
        try:
            while (item := await waiting.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield await item
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding


@functools.lru_cache(KNOWN)
def _signer(subject: str) -> tuple[bytes | None, bytes]:
    """Whose signature a message on this subject must bear, if a valid key's, and what is signed before it."""
    known = whose(subject)
    return known[2] if known else None, signed_bytes(subject, b"")


def _unless_unreadable(stored: Stored, verdict: int) -> int:
    """A false signature accuses only where the market would read the message."""
    if verdict == Verdict.FALSE and decode_body(stored.data[SIGNATURE_CHARACTERS + 1 :]) is None:
        return Verdict.UNREADABLE
    return verdict
