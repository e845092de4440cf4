"""The exchange's service: INTAKE in, JOURNAL out.

`python -m exchange.service --server URL --creds FILE [--snapshots DIR] [--archive DIR] [--name NAME]`

Run it twice: one has the lease and writes, the other stands by, writes snapshots, and takes over when the
lease runs out.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop
from nats.aio.client import Client as Nats
from nats.js.errors import APIError

from events import faults
from events.archive import Archive, ArchiveError
from events.collecting import rarely
from events.keys import BadKeyError, Key
from events.log import (
    FencedError,
    LogGapError,
    NotAdmittedError,
    UnreachableError,
    connect,
    make_streams,
)
from events.records import BadRecordError
from events.together import together, until_told
from exchange.decision import NewerRulesError
from exchange.follower import Follower, check_answered
from exchange.lease import Keeper, Lease, LeaseLostError
from exchange.offer import NoSnapshotError, fetch, offer
from exchange.priority import stand_back, step_forward
from exchange.snapshot import SnapshotError
from exchange.standby import EVERY_EVENTS, Standby
from exchange.timekeeper import Timekeeper
from exchange.writer import Writer

PATIENCE_S = 15.0  # for the server
ERRORS = (
    APIError,
    ArchiveError,
    BadKeyError,
    UnreachableError,
    NotAdmittedError,
    FencedError,
    LeaseLostError,
    LogGapError,
    BadRecordError,
    NewerRulesError,
)
log = logging.getLogger("exchange")


class Service:
    """One exchange, from recovery over standing by to the end of its epoch."""

    def __init__(
        self,
        nc: Nats,
        server: str,
        key: Key,
        name: str = "exchange",
        snapshots: Path | None = None,
        every_events: int = EVERY_EVENTS,
        archive: Archive | None = None,
    ) -> None:
        self._nc, self._server, self._key, self._archive = nc, server, key, archive
        self._snapshots, self._every_events = snapshots, every_events
        self._lease = Lease(nc, name)

    async def run(self) -> None:
        """Recover, stand by, then write until cancelled. Raises those of ERRORS."""
        await make_streams(self._nc, self._archive)
        follower = await Follower.begin(self._nc, self._snapshots, self._archive, self._fetch)
        await self._stand_by(follower)
        started = time.monotonic()
        await together(Keeper(self._server, self._key, self._lease).run(), self._write(follower, started))

    async def _fetch(self, directory: Path) -> Path | None:
        """Another's snapshot, where somebody offers one."""
        try:
            fetched = await fetch(self._nc, self._key.public, directory)
            log.info("fetched %s", fetched)
            return fetched
        except NoSnapshotError as error:
            log.info("%s; the log is folded from its beginning", error)
        except (SnapshotError, OSError) as error:
            log.warning("%s; the log is folded from its beginning", error)
        return None

    async def _stand_by(self, follower: Follower) -> None:
        """Until the lease is ours. Meanwhile all others go before us."""
        stand_back()
        standing: list[Coroutine[Any, Any, object]] = [
            Standby(follower, self._lease, self._snapshots, self._every_events).run()
        ]
        if self._snapshots is not None:
            standing.append(offer(self._nc, self._snapshots))
        await together(*standing)

    async def _write(self, follower: Follower, started: float) -> None:
        """The rest of JOURNAL, then a new epoch."""
        step_forward()
        await follower.catch_up()
        await follower.close()
        state, place = follower.state, follower.place
        assert state.total() == 0
        await check_answered(self._nc, place, self._archive)
        log.info("leads from commit %d on, %.2f s after", place.number, time.monotonic() - started)
        time_ = Timekeeper(self._nc, state)
        writer = Writer(self._nc, self._key, self._lease, state, place, time_.stored, self._archive)
        await together(writer.run(follower.next - 1), time_.run(writer))


async def serve(
    server: str,
    key: Key,
    name: str = "exchange",
    snapshots: Path | None = None,
    every_events: int = EVERY_EVENTS,
    archive: Path | None = None,
) -> int:
    """Run the service until SIGTERM or SIGINT, which is returned. Raises what else ends it, of ERRORS."""

    async def run() -> None:
        before = None if archive is None else Archive(archive)
        nc = await connect(server, key, name=name, patience=PATIENCE_S)
        try:
            await Service(nc, server, key, name, snapshots, every_events, before).run()
        finally:
            await nc.close()

    ended_by = await until_told(run())
    log.info("stopped")
    return ended_by


def main() -> int:
    """The command line; exit status 0 when it was asked to stop, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="exchange.service", description="The exchange: INTAKE to JOURNAL.")
    parser.add_argument("--server", required=True, help="the log's server, nats://127.0.0.1:PORT")
    parser.add_argument("--creds", required=True, type=Path, help="the exchange's seed file")
    parser.add_argument("--name", default="exchange", help="what this one is called among several")
    parser.add_argument("--snapshots", type=Path, help="the directory where snapshots are kept")
    parser.add_argument("--archive", type=Path, help="the archive behind which the server's log begins")
    parser.add_argument(
        "--snapshot-every", type=int, default=EVERY_EVENTS, metavar="EVENTS", help="how often one is written"
    )
    given = parser.parse_args()
    rarely()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            key, every = Key.load(given.creds), given.snapshot_every
            work = serve(given.server, key, given.name, given.snapshots, every, given.archive)
            runner.run(faults.steps("exchange", work))
    except ERRORS as error:
        print(f"exchange: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
