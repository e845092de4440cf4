"""Damage of the server's files, by name: looked for before a market starts, and by `exchange check`.

The server opens damaged files without a word to us: what it cannot read is missing, and a file that is
damaged at its end is cut off there. So what a stream must have is known from elsewhere: from the other
stream, from the archive, from projections and snapshots that have read further, from the chain of commits.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nats.aio.client import Client as Nats

from console.data_directory import SNAPSHOTS
from console.store_check import STORE
from events.archive import Archive
from events.chain import Disagreement, Place, Scan, gap
from events.log import LogGapError
from events.records import BadRecordError
from events.source import Ends, ServerLog
from events.subjects import INTAKE, JOURNAL
from events.wire import dumps, loads
from exchange import snapshot
from exchange.snapshot import SnapshotError

TORN_BYTES = 2 * 1024 * 1024  # a server that died may have left so much of a message half written
SCAN_BYTES = 64 * 1024 * 1024  # a log of so many bytes is read whole before each start: a second or two
ADVICE = {
    JOURNAL: "`exchange recompute` sets JOURNAL aside, and the next start decides it again from INTAKE",
    INTAKE: (
        "put nats/ back from a copy, or the archive into the data directory as archive/ if it reaches so "
        "far, or `exchange restore` a market from the archive"
    ),
}


class DamageError(Exception):
    """The server's files are damaged; the text names where, and says what to do."""

    def __init__(self, found: Disagreement) -> None:
        super().__init__(f"the log is damaged: {found}; {ADVICE[found.stream]}")
        self.found = found


class Witness(NamedTuple):
    """Who has read JOURNAL up to a sequence, and which request was the last that was answered by then."""

    who: str
    sequence: int
    answered: int


async def look(nc: Nats, data: Path, archive: Archive | None) -> None:
    """Look at the streams' ends, and at the whole log where it is small. Raises DamageError."""
    if 0 < await look_at_ends(nc, data, archive) <= SCAN_BYTES and files_of(data, JOURNAL):
        await scan(nc, archive)


async def look_at_ends(nc: Nats, data: Path, archive: Archive | None) -> int:
    """What the server tells of the streams, held against who has read them; returns their bytes.

    Raises DamageError.
    """
    read = list(_read_by(data))  # first: a market that runs goes on meanwhile
    try:
        return sum([await _look_at(nc, stream, data, archive, read) for stream in (INTAKE, JOURNAL)])
    except Disagreement as found:
        raise DamageError(found) from None


async def look_at_intake(nc: Nats, data: Path, archive: Archive | None) -> None:
    """Whether all requests are there that were ever answered: then JOURNAL can be decided again.

    Reads all of INTAKE, and of JOURNAL's end what can be read. Raises DamageError.
    """
    read = list(_read_by(data))
    with contextlib.suppress(DamageError, LogGapError, BadRecordError):
        place = await scan(nc, archive)
        read.append(Witness("JOURNAL", 0, place.last))
    try:
        await _look_at(nc, INTAKE, data, archive, read)
        log, end = ServerLog(nc, archive), await _end(nc, INTAKE, archive)
        async for _ in log.requests(1, end):
            pass
    except Disagreement as found:
        raise DamageError(found) from None
    except LogGapError as error:
        raise DamageError(gap(error)) from None


async def scan(
    nc: Nats, archive: Archive | None, progress: Callable[[int, int], None] = lambda done, whole: None
) -> Place:
    """Read everything, without deciding: every message must be there and readable, the chain of commits and
    each commit's hash over its requests right. Returns the last commit's place. Raises DamageError.
    """
    try:
        journal, intake = [await _end(nc, stream, archive) for stream in (JOURNAL, INTAKE)]
        return await Scan(ServerLog(nc, archive), Ends(0, intake, journal), progress=progress).run()
    except Disagreement as found:
        raise DamageError(found) from None
    except LogGapError as error:
        raise DamageError(gap(error)) from None


async def _end(nc: Nats, stream: str, archive: Archive | None) -> int:
    """Where a stream ends; JOURNAL may have been set aside."""
    state = (await _info(nc, stream)).get("state")
    return int(state["last_seq"]) if state else archive.end(stream) if archive else 0


async def _look_at(nc: Nats, stream: str, data: Path, archive: Archive | None, read: list[Witness]) -> int:
    """A stream as the server tells of it; returns its bytes. Raises Disagreement."""
    before = archive.end(stream) if archive else 0
    info = await _info(nc, stream)
    if "error" in info:
        if must_be_there(data, stream):
            raise Disagreement(stream, before + 1, "the server does not find the stream in its files")
        return 0
    state = info["state"]
    if state["first_seq"] > before + 1:
        what = f"sequences {before + 1} to {state['first_seq'] - 1} are missing"
        raise Disagreement(stream, before + 1, what)
    gone = [sequence for sequence in state.get("deleted") or () if sequence > before]
    if gone:
        raise Disagreement(stream, gone[0], f"{len(gone)} messages are missing from here to {gone[-1]}")
    lost = state.get("lost") or {}
    behind = state["last_seq"] + 1
    if any(sequence > before for sequence in lost.get("msgs") or ()) or lost.get("bytes", 0) > TORN_BYTES:
        raise Disagreement(stream, behind, f"the server has lost {lost.get('bytes', 0)} bytes of its files")
    for who, sequence, answered in read:
        if stream == JOURNAL and sequence >= behind:
            raise Disagreement(stream, behind, f"the end is missing: {who} read it up to {sequence}")
        if stream == INTAKE and answered >= behind:
            what = f"the end is missing: {who} read the answers to requests up to {answered}"
            raise Disagreement(stream, behind, what)
    return int(state["bytes"])


def must_be_there(data: Path, stream: str) -> bool:
    """Whether a stream was made here once. JOURNAL may have been set aside; INTAKE never is."""
    if files_of(data, stream):
        return True
    return stream == INTAKE and (bool(files_of(data, JOURNAL)) or (data / STORE).exists())


def files_of(data: Path, stream: str) -> list[Path]:
    """Where the server keeps a stream: one directory, or none."""
    return list(data.glob(f"nats/jetstream/*/streams/{stream}"))


def _read_by(data: Path) -> Iterator[Witness]:
    """Who has read how far; who cannot be asked is not damage of the log."""
    store = data / STORE
    if store.exists():
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as reading,
        ):
            row = reading.execute("SELECT sequence, answered FROM progress").fetchone()
            yield Witness("the projections", *row)
    for path in snapshot.kept(data / SNAPSHOTS):
        with contextlib.suppress(SnapshotError):
            snapshot.check_whole(path)  # a damaged one is no witness
            said = snapshot.header(path)
            yield Witness(f"who wrote {SNAPSHOTS}/{path.name}", said.sequence, said.last)


async def _info(nc: Nats, stream: str) -> dict[str, Any]:
    """What the server says of a stream, with the sequences that are not there."""
    wish = dumps({"deleted_details": True})
    answer: dict[str, Any] = loads((await nc.request(f"$JS.API.STREAM.INFO.{stream}", wish, timeout=10)).data)
    return answer
