"""The market as a running client sees it: whether it is there, what time it is, how long to be patient."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import nats.errors

from buyer.run import FaultError
from events.client import Client
from events.subjects import CLIENT
from links.link import KEEPALIVE, Link

Report = Callable[..., None]  # report(event_name, **facts): progress, for whoever shows it
AWAY_S = 4.0  # without a pulse of the exchange (one a second)
LEAST_PATIENCE_S = 3 * KEEPALIVE  # a living seller is heard on a link every KEEPALIVE
STEPS = 8  # looks at the market within one patience


class News:
    """Wakes everyone who waits, each time that something happened."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Something happened."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for it, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended: one cancel can get lost, in asyncio.wait_for before Python 3.12."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=0.1)


class Market:
    """What one client knows of the market. `now_us` is market time as last heard, in µs."""

    def __init__(self, client: Client, report: Report, terms: dict[str, Any]) -> None:
        """`terms` are those that the query `status` gives."""
        self.client, self.report = client, report
        self.hour_us: int = terms["hour_us"]
        self.lost_after_us: int = terms["lost_after_us"]
        self._feed_now_us = 0
        self._away = False
        self.patience_s = max(self.lost_after_us / 1e6, LEAST_PATIENCE_S)

    def heard_feed(self, now_us: int) -> None:
        """A message of the feed says what time it is."""
        self._feed_now_us = max(self._feed_now_us, now_us)

    def now_us(self) -> int:
        """Market time, estimated: never behind what was heard; an outage is frozen time (R20)."""
        pulse = self.client.pulse
        if pulse is None:
            return self._feed_now_us
        passed = 0 if self._is_frozen() else int((time.monotonic() - self.client.heard) * 1e6)
        return max(self._feed_now_us, int(pulse["now"]) + min(passed, self.lost_after_us))

    def _is_frozen(self) -> bool:
        return bool(self.client.pulse and self.client.pulse["frozen"])

    def is_here(self) -> bool:
        """Whether the exchange was heard just now."""
        return self.client.nc.is_connected and time.monotonic() - self.client.heard < AWAY_S

    async def be_present(self) -> None:
        """Send heartbeats for ever (R6); report when the exchange goes away and comes back (R20)."""
        while True:
            with suppress(nats.errors.Error):  # the connection's own loss: it is made again by itself
                await self.client.heartbeat(CLIENT)
            if self.is_here() == self._away:
                self._away = not self._away
                self.report("away" if self._away else "back")
            await asyncio.sleep(min(self.lost_after_us / 4e6, AWAY_S))

    async def patience(self, what: Awaitable[Any], else_say: str) -> None:
        """Wait for `what` as long as a seller may take; the time of a freeze or an outage does not count.

        Raises FaultError, and what `what` raises.
        """
        task = asyncio.ensure_future(what)
        left = STEPS
        try:
            while not task.done():
                if left <= 0:
                    raise FaultError(f"{else_say} within {self.patience_s:g} s")
                await asyncio.wait({task}, timeout=self.patience_s / STEPS)
                left -= self.is_here() and not self._is_frozen()
            task.result()
        finally:
            task.cancel()

    async def watch(self, link: Link) -> None:
        """Return never; raises FaultError when the seller has been silent on the link for too long."""
        loop = asyncio.get_running_loop()
        silent = 0
        while True:
            await asyncio.sleep(self.patience_s / STEPS)
            if loop.time() - link.heard < self.patience_s / STEPS + KEEPALIVE:
                silent = 0
            else:
                silent += self.is_here() and not self._is_frozen()
            if silent >= STEPS:
                raise FaultError(f"nothing was heard on the link for {self.patience_s:g} s")
