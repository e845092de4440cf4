"""The writer: requests from INTAKE, decided in groups, commits to JOURNAL (R33-R35).

A group is what has come while the one before was decided: one request where little is asked, up to GROUP
where much is. It is decided while the server stores the commit before it, and nothing is told to anybody
before it is stored. One message is under way at a time: a second one could be stored behind another writer's,
since it would stand at the sequence that the second one expects.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from nats.aio.client import Client as Nats

from events import faults, subjects
from events.archive import Archive
from events.chain import Place
from events.commit import RULES, Commit
from events.keys import Key
from events.log import Reader, Stored, append_commit, last_sequence
from events.requests import encode
from events.together import together
from exchange.batch import Batcher
from exchange.engine import Engine
from exchange.lease import Lease
from exchange.state import State

GROUP = 256  # requests in one commit at most ...
GROUP_BYTES = 64 * 1024  # ... and bytes of them, so that one is decided within milliseconds
AGAIN_S = 5.0  # an own request that the server may have lost is made again
GROUP_EVENTS = 20_000  # and it ends with the request that makes so many: what matches much takes long
log = logging.getLogger("exchange")


@dataclass(frozen=True, slots=True)
class Said:
    """What the pulse tells: the market as of the last commit that is stored, and market time.

    Time runs on between commits, by ticks that change nothing else; they are in INTAKE, and so is it.
    """

    epoch: int
    commit: int
    now: int
    frozen: str
    halted: str


class Writer:
    """One epoch's writer. `said` is as of the last commit stored; `decided` is ahead of it.

    `stored` is called with each commit once it is in the log.
    """

    def __init__(
        self,
        nc: Nats,
        key: Key,
        lease: Lease,
        state: State,
        place: Place,
        stored: Callable[[Commit], None],
        archive: Archive | None = None,
    ) -> None:
        self._archive = archive
        self._nc, self._key, self._lease, self._on_stored = nc, key, lease, stored
        self.state = state
        self.engine = Engine(state)
        self._batcher = Batcher(self.engine, place.number, place.hash, place.last)
        self.said = self._as_decided()
        self.at_tick_us = 0  # market time as of the last tick that was decided
        self.epoch = 0  # the one we asked for
        self._asked: dict[tuple[str, int], float] = {}  # kind and number of what we asked for, and when
        self._decided: asyncio.Queue[tuple[Commit, bytes, Said]] = asyncio.Queue(1)  # not sent yet
        self._room = asyncio.Event()  # nothing waits to be sent

    @property
    def pulse(self) -> Said:
        """What may be told now."""
        return replace(self.said, now=self.engine.now_us)

    @property
    def serves(self) -> bool:
        """Whether the log knows us as the writer of this epoch, and nobody else may try."""
        return self.epoch > 0 and self.state.epoch == self.epoch and self._lease.held

    async def ask(self, kind: str, **body: object) -> None:
        """Make a request of the exchange's own."""
        subject = subjects.intake(self._key.public, kind)
        await self._nc.publish(subject, encode(self._key, subject, body))

    async def run(self, journal: int) -> None:
        """Write for ever behind sequence `journal`. Raises FencedError, LogGapError, APIError."""
        end = await last_sequence(self._nc, subjects.INTAKE, self._archive)
        await together(self._decide(end), self._append(journal))

    async def _decide(self, end: int) -> None:
        async with Reader(self._nc, subjects.INTAKE, self._batcher.last + 1, self._archive) as reader:
            while True:
                if reader.next > end:
                    await self._ask_own()
                self._room.clear()
                if self._decided.full():
                    await self._room.wait()  # meanwhile the next group grows
                for group in groups(await reader.next_batch(timeout=0.2)):
                    while group:
                        done = self._batcher.decide(group, GROUP_EVENTS)
                        group = group[self._batcher.taken :]
                        self.at_tick_us = self.engine.now_us
                        if done is not None:
                            await self._decided.put((*done, self._as_decided()))

    async def _append(self, journal: int) -> None:
        while True:
            commit, body, said = await self._decided.get()
            self._room.set()
            faults.point("exchange.before-append")
            await self._lease.wait()  # another may be taking over; then the lease or the fence says so
            journal = await append_commit(self._nc, body, journal)
            faults.point("exchange.after-append")
            log.debug("commit %d: requests to %d, %d events", commit.number, commit.last, len(commit.events))
            self.said = said
            self._on_stored(commit)

    async def _ask_own(self) -> None:
        """The first own request opens the epoch (R20), the next bring the rules up to ours (R34)."""
        if self.state.terms is None:
            return
        if self.epoch == 0:
            self.epoch = self.state.epoch + 1
        if self.state.epoch < self.epoch:
            await self._ask_again("epoch", self.epoch, epoch=self.epoch)
        elif self.state.epoch == self.epoch and self.state.rules < RULES:
            version = self.state.rules + 1
            await self._ask_again("rules", version, epoch=self.epoch, version=version)

    async def _ask_again(self, kind: str, number: int, **body: object) -> None:
        """Ask, and again where the server may have lost it."""
        now = time.monotonic()
        if now - self._asked.get((kind, number), -AGAIN_S) > AGAIN_S:
            self._asked[kind, number] = now
            await self.ask(kind, **body)

    def _as_decided(self) -> Said:
        state = self.state
        return Said(state.epoch, self._batcher.number, self.engine.now_us, state.frozen, state.halted)


def groups(batch: list[Stored]) -> Iterator[list[Stored]]:
    """A batch in groups of at most GROUP requests and GROUP_BYTES, or one request of any size."""
    group: list[Stored] = []
    size = 0
    for stored in batch:
        if group and (len(group) == GROUP or size + len(stored.data) > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(stored)
        size += len(stored.data)
    if group:
        yield group
