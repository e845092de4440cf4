"""The market's only clock on a wall: ticks, reports of who is silent or heard, and the pulse."""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import asdict

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events import subjects
from events.commit import Commit
from events.records import PartyLost
from events.together import together
from events.wire import dumps, loads
from exchange.presence import Presence
from exchange.state import State
from exchange.writer import Writer

TICK_S = 4.0  # the longest pause between ticks; one tick moves at most 5 s
FEED_LAG_S = 2.0  # a feed this far behind stops market time
PULSE_S = 0.5
STALL_S = 0.5  # the loop that listens to heartbeats runs every 0.1 s
ECHO_S = 3 * PULSE_S  # who does not hear his own pulse is deaf
MOST_UNTOLD = 10_000


class Timekeeper:
    """Asks the market, by requests as anybody's, to move its time and to believe who is there."""

    def __init__(self, nc: Nats, state: State) -> None:
        self._nc, self._state = nc, state
        self._presence = Presence(state)
        self._ticked = 0.0  # when the last tick was sent
        self._untold: deque[tuple[int, float]] = deque()  # commits that the feed has not told, since when
        self._echo = 0.0  # when our own pulse was last heard
        self._wake = asyncio.Event()

    def stored(self, commit: Commit) -> None:
        """A commit is in the log."""
        if len(self._untold) < MOST_UNTOLD:
            self._untold.append((commit.number, time.monotonic()))
        for _, event in commit.events:
            if isinstance(event, PartyLost):
                self._presence.forget((event.account, event.party))
        self._wake.set()

    async def run(self, writer: Writer) -> None:
        """Keep time beside a writer, for ever."""
        await self._nc.subscribe("presence.*.*", cb=self._on_presence)
        await self._nc.subscribe(subjects.PULSE_FEED, cb=self._on_feed)
        await self._nc.subscribe(subjects.PULSE_EXCHANGE, cb=self._on_echo)
        await together(self._keep_time(writer), self._pulse(writer))

    async def _keep_time(self, writer: Writer) -> None:
        """Ticks when something is due, reports when somebody falls silent or is heard."""
        before = time.monotonic()
        while True:
            self._wake.clear()
            now = time.monotonic()
            if now - before > STALL_S or now - self._echo > ECHO_S:
                self._presence.pause(now)  # it is we who do not hear
            before, pause = now, 0.1
            if writer.serves and self._nc.is_connected:
                if self._state.frozen or not self._feed_keeps_up(now):
                    self._presence.pause(now)
                else:
                    await self._report(writer, now)
                pause = await self._tick_if_due(writer, now)
            else:
                self._presence.pause(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _feed_keeps_up(self, now: float) -> bool:
        return not self._untold or now - self._untold[0][1] < FEED_LAG_S

    async def _tick_if_due(self, writer: Writer, now: float) -> float:
        """Send a tick if its time has come; returns how long to wait at most, in seconds."""
        state = self._state
        assert state.terms is not None
        if not self._feed_keeps_up(now):
            return 0.1
        pause = min(TICK_S, state.terms.lost_after_us / 10e6)
        if state.dues and not state.frozen:
            pause = min(pause, max(0.005, (state.dues[0][0] - writer.at_tick_us) / 1e6))
        if now - self._ticked >= pause:
            await writer.ask("tick", epoch=writer.epoch)
            self._ticked = now
            return min(pause, 0.1)
        return min(self._ticked + pause - now, 0.1)

    async def _report(self, writer: Writer, now: float) -> None:
        assert self._state.terms is not None
        lost, back = self._presence.reports(now, self._state.terms.lost_after_us / 1e6)
        for kind, parties in (("lost", lost), ("back", back)):
            if parties:
                await writer.ask(kind, epoch=writer.epoch, parties=[list(party) for party in parties])

    async def _on_presence(self, message: Msg) -> None:
        _, account, party = message.subject.split(".")
        self._presence.hear((account, party), time.monotonic())

    async def _on_feed(self, message: Msg) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = int(loads(message.data)["commit"])
            while self._untold and self._untold[0][0] <= told:
                self._untold.popleft()

    async def _on_echo(self, message: Msg) -> None:
        self._echo = time.monotonic()

    async def _pulse(self, writer: Writer) -> None:
        """Say that the exchange lives, and how far it is."""
        while True:
            await self._nc.publish(subjects.PULSE_EXCHANGE, dumps(asdict(writer.pulse)))
            await asyncio.sleep(PULSE_S)
