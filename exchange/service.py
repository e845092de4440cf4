"""The exchange's service: INTAKE in, JOURNAL out. The only writer, and the market's only clock on a wall.

`python -m exchange.service --server URL --creds FILE`
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import deque
from pathlib import Path

import uvloop
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events import faults, subjects
from events.commit import FIRST
from events.keys import BadKeyError, Key
from events.log import (
    CommitReader,
    FencedError,
    LogGapError,
    NotAdmittedError,
    Reader,
    Stored,
    UnreachableError,
    append_commit,
    connect,
    last_sequence,
    make_streams,
)
from events.records import BadRecordError, PartyLost
from events.requests import encode
from events.wire import dumps, loads
from exchange.batch import Batcher
from exchange.engine import Engine
from exchange.presence import Presence
from exchange.recovery import fold_commit

TICK_S = 4.0  # the longest pause between ticks; one tick moves at most 5 s
FEED_LAG_S = 2.0  # a feed this far behind stops market time
PULSE_S = 0.5
STALL_S = 0.5  # the loop that listens to heartbeats runs every 0.1 s
ECHO_S = 3 * PULSE_S  # who does not hear his own pulse is deaf
EPOCH_AGAIN_S = 5.0
MOST_UNTOLD = 10_000
END_S = 5.0  # for what is left to do after a part has failed or a signal came
GROUP = 256  # requests in one commit at most
log = logging.getLogger("exchange")


class Service:
    """One epoch of the exchange, from recovery to its end."""

    def __init__(self, nc: Nats, key: Key) -> None:
        self._nc, self._key = nc, key
        self._engine = Engine()
        self._batcher = Batcher(self._engine)
        self._presence = Presence(self._engine.state)
        self._journal = 0  # JOURNAL's last sequence
        self._epoch = 0
        self._ticked = 0.0  # when the last tick was sent
        self._at_tick_us = 0  # market time as of the last tick that was decided
        self._feed = 0  # the last commit that the feed has told
        self._untold: deque[tuple[int, float]] = deque()  # commits that the feed has not told, since when
        self._echo = 0.0  # when our own pulse was last heard
        self._epoch_asked = 0.0
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Recover, then serve until cancelled. Raises FencedError when another writer took over."""
        await make_streams(self._nc)
        await self._recover()
        await self._nc.subscribe("presence.*.*", cb=self._on_presence)
        await self._nc.subscribe(subjects.PULSE_FEED, cb=self._on_feed)
        await self._nc.subscribe(subjects.PULSE_EXCHANGE, cb=self._on_echo)
        async with asyncio.TaskGroup() as tasks:
            for part in (self._write(), self._keep_time(), self._pulse()):
                tasks.create_task(part).add_done_callback(lambda task: end_soon())

    # -- recovery

    async def _recover(self) -> None:
        """Fold the journal from its first commit."""
        stop = await last_sequence(self._nc, subjects.JOURNAL)
        number, previous, last = 0, FIRST, 0
        started = time.monotonic()
        if stop:
            reader = Reader(self._nc, subjects.JOURNAL, 1)
            commits = CommitReader(self._nc)
            while reader.next <= stop:
                for stored in await reader.next_batch():
                    commit = commits.take(stored)
                    if commit is not None:
                        fold_commit(self._engine.state, commit)
                        number, previous, last = commit.number, commit.hash, commit.last
            await reader.close()
            stop = reader.next - 1
        self._journal = stop
        state = self._engine.state
        self._engine.now_us, self._engine.tick_us = state.now_us, state.tick_us
        assert state.total() == 0
        intake = await last_sequence(self._nc, subjects.INTAKE)
        if intake < last:
            raise LogGapError(
                f"INTAKE ends at {intake}, but request {last} was answered: the server's files were truncated"
            )
        self._batcher = Batcher(self._engine, number, previous, last)
        log.info(
            "folded %d commits in %.2f s; requests answered to %d", number, time.monotonic() - started, last
        )

    # -- the writer

    async def _write(self) -> None:
        """Requests in, commits out. The first own request opens the epoch (R20)."""
        reader = Reader(self._nc, subjects.INTAKE, self._batcher.last + 1)
        caught_up = await last_sequence(self._nc, subjects.INTAKE)
        while True:
            if reader.next > caught_up and self._engine.state.terms is not None:
                await self._open_epoch()
            batch = await reader.next_batch(timeout=0.2)
            for start in range(0, len(batch), GROUP):
                await self._commit(batch[start : start + GROUP])

    async def _open_epoch(self) -> None:
        """Ask for our epoch, again where the server may have lost it."""
        now = time.monotonic()
        if self._epoch == 0:
            self._epoch = self._engine.state.epoch + 1
        if self._engine.state.epoch < self._epoch and now - self._epoch_asked > EPOCH_AGAIN_S:
            self._epoch_asked = now
            await self._ask("epoch", epoch=self._epoch)

    async def _commit(self, batch: list[Stored]) -> None:
        done = self._batcher.decide(batch)
        self._at_tick_us = self._engine.now_us
        if done is None:
            return
        commit, body = done
        faults.point("exchange.before-append")
        self._journal = await append_commit(self._nc, body, self._journal)
        faults.point("exchange.after-append")
        if len(self._untold) < MOST_UNTOLD:
            self._untold.append((commit.number, time.monotonic()))
        for _, event in commit.events:
            if isinstance(event, PartyLost):
                self._presence.forget((event.account, event.party))
        self._wake.set()
        log.debug("commit %d: requests to %d, %d events", commit.number, commit.last, len(commit.events))

    # -- market time and presence

    async def _keep_time(self) -> None:
        """Ticks when something is due, reports when somebody falls silent or is heard."""
        before = time.monotonic()
        while True:
            self._wake.clear()
            now = time.monotonic()
            if now - before > STALL_S or now - self._echo > ECHO_S:
                self._presence.pause(now)  # it is we who do not hear
            before, pause = now, 0.1
            if self._is_serving():
                if self._engine.state.frozen or not self._feed_keeps_up(now):
                    self._presence.pause(now)
                else:
                    await self._report(now)
                pause = await self._tick_if_due(now)
            else:
                self._presence.pause(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _is_serving(self) -> bool:
        return self._epoch > 0 and self._engine.state.epoch == self._epoch and self._nc.is_connected

    def _feed_keeps_up(self, now: float) -> bool:
        return not self._untold or now - self._untold[0][1] < FEED_LAG_S

    async def _tick_if_due(self, now: float) -> float:
        """Send a tick if its time has come; returns how long to wait at most, in seconds."""
        state = self._engine.state
        assert state.terms is not None
        if not self._feed_keeps_up(now):
            return 0.1
        pause = min(TICK_S, state.terms.lost_after_us / 10e6)
        if state.dues and not state.frozen:
            pause = min(pause, max(0.005, (state.dues[0][0] - self._at_tick_us) / 1e6))
        if now - self._ticked >= pause:
            await self._ask("tick", epoch=self._epoch)
            self._ticked = now
            return min(pause, 0.1)
        return min(self._ticked + pause - now, 0.1)

    async def _report(self, now: float) -> None:
        assert self._engine.state.terms is not None
        lost, back = self._presence.reports(now, self._engine.state.terms.lost_after_us / 1e6)
        for kind, parties in (("lost", lost), ("back", back)):
            if parties:
                await self._ask(kind, epoch=self._epoch, parties=[list(party) for party in parties])

    async def _ask(self, kind: str, **body: object) -> None:
        """A request of the exchange's own."""
        subject = subjects.intake(self._key.public, kind)
        await self._nc.publish(subject, encode(self._key, subject, body))

    async def _on_presence(self, message: Msg) -> None:
        _, account, party = message.subject.split(".")
        self._presence.hear((account, party), time.monotonic())

    async def _on_feed(self, message: Msg) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self._feed = int(loads(message.data)["commit"])
            while self._untold and self._untold[0][0] <= self._feed:
                self._untold.popleft()

    async def _on_echo(self, message: Msg) -> None:
        self._echo = time.monotonic()

    async def _pulse(self) -> None:
        """Say that the exchange lives."""
        while True:
            state = self._engine.state
            await self._nc.publish(
                subjects.PULSE_EXCHANGE,
                dumps(
                    {
                        "epoch": state.epoch,
                        "commit": self._batcher.number,
                        "now": self._engine.now_us,
                        "frozen": state.frozen,
                        "halted": state.halted,
                    }
                ),
            )
            await asyncio.sleep(PULSE_S)


def end_soon() -> None:
    """Whatever hangs, this process ends: a writer that does nothing is worse than none."""
    asyncio.get_running_loop().call_later(END_S, os._exit, 1)


async def serve(server: str, key: Key) -> None:
    """Run the service until SIGTERM or SIGINT. Raises what ends it otherwise."""
    nc = await connect(server, key, name="exchange", patience=15)
    task = asyncio.create_task(Service(nc, key).run())

    def stop() -> None:
        end_soon()
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")
    finally:
        await nc.close()


def main() -> int:
    """The command line; exit status 0 when it was asked to stop, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="exchange.service", description="The exchange: INTAKE to JOURNAL.")
    parser.add_argument("--server", required=True, help="the log's server, nats://127.0.0.1:PORT")
    parser.add_argument("--creds", required=True, type=Path, help="the exchange's seed file")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    expected = (BadKeyError, UnreachableError, NotAdmittedError, FencedError, LogGapError, BadRecordError)
    ended = 0
    try:
        uvloop.run(faults.steps("exchange", serve(arguments.server, Key.load(arguments.creds))))
    except* expected as group:
        print(f"exchange: {group.exceptions[0]}", file=sys.stderr)
        ended = 1
    return ended


if __name__ == "__main__":
    sys.exit(main())
