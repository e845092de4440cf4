"""The commands that prove the log: `exchange audit` and `exchange check`, market running or not."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import nats.errors
import typer
from nats.aio.client import Client as Nats
from nats.js.errors import NotFoundError

from console.damage import files_of
from console.data_directory import ARCHIVE, ASIDE, MarketError, closing, log_of
from console.progress import bar
from console.session import EXPECTED, Data, OperatorCreds, operator_key, run, stopping
from console.store_check import DELETE, STORE, check_store
from events.archive import Archive
from events.cli import DATA, Json, Server, edge, is_given, show
from events.collecting import rarely
from events.keys import Key
from events.log import NotAdmittedError, connect, last_sequence
from events.source import ArchiveLog, Log, ServerLog, archive_at, longer
from events.subjects import JOURNAL
from exchange.audit import NOTARY_S, AuditResult
from exchange.audit import audit as audit_log
from projections.store import StoreError

Archived = Annotated[
    Path | None,
    typer.Option(
        "--archive",
        metavar="DIR",
        help="Read an archive; with --server or --data too, the archive and then the log behind it.",
    ),
]


def audit(
    archive: Archived = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="FILE",
            help="Compare these projections with a fresh fold.",
            show_default=f"<data>/{STORE} if it is there",
        ),
    ] = None,
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Compute every event again from the requests, and compare byte for byte; exit status 1 if they differ.

    Where no market runs on the data, its log is opened for this, for reading only. The projections are
    compared with a fresh fold of the commits.
    """
    rarely()
    with edge(as_json, *EXPECTED), stopping(as_json, "not all was looked at"):
        if store is None and not server and not is_alone(archive, server, data) and (data / STORE).exists():
            store = data / STORE
        result, projected = run(_audit(data, server, creds, archive, store))
        if as_json:
            show(asdict(result) | {"projections": projected})
        else:
            _report(result, projected)
    if not result.ok or (projected and not projected["ok"]):
        raise typer.Exit(1)


def is_alone(archive: Path | None, server: str, data: Path) -> bool:
    """Whether an archive is to be read and no market's log behind it: none was named."""
    return archive is not None and not server and data == DATA and not is_given("data")


@contextlib.asynccontextmanager
async def log_on_server(data: Path, server: str, creds: Path | None) -> AsyncIterator[Nats]:
    """A connection that may read the log: to the server named, else to the one of the data directory."""
    if server:
        async with closing(
            await connect(server, operator_key(data, creds), name="exchange", patience=3)
        ) as nc:
            await _may_read(nc, operator_key(data, creds))
            yield nc
    else:
        async with (
            log_of(data, operator_key(data, creds) if creds else None) as (address, key),
            closing(await connect(address, key, name="exchange")) as nc,
        ):
            if not await _may_read(nc, key):
                _not_set_aside(data)
            yield nc


async def _may_read(nc: Nats, key: Key) -> bool:
    """Whether there is a JOURNAL that this key may read: one that it may not, the server leaves unanswered.

    Raises NotAdmittedError.
    """
    try:
        await last_sequence(nc, JOURNAL)
        return True
    except nats.errors.TimeoutError:
        raise NotAdmittedError(
            f"{key.public} may not read the log, or the server does not answer: give the operator's seed "
            "with --creds"
        ) from None
    except NotFoundError:
        return False  # what reads will say so


def _not_set_aside(data: Path) -> None:
    """Raises MarketError where a JOURNAL that is not there was set aside, and no start has followed yet."""
    aside = [path.parent for path in sorted(data.glob(f"{ASIDE}*/{JOURNAL}"))]
    if aside and not files_of(data, JOURNAL):
        raise MarketError(
            f"{data}: JOURNAL was set aside, to {aside[-1]}, and is decided again at the next start: run "
            f"`exchange up --data {data}`, then ask again"
        )


@contextlib.asynccontextmanager
async def log_at(data: Path, server: str, creds: Path | None, archive: Path | None) -> AsyncIterator[Log]:
    """The log to be read: an archive alone, unless a market is named too; else a market's, behind the archive
    given and the one that it was restored from. Raises MarketError, ArchiveError, and what connecting raises.
    """
    given = None
    if archive is not None:
        given = open_archive(archive)
        if is_alone(archive, server, data):
            yield ArchiveLog(given)
            return
    own = None if server else archive_at(data / ARCHIVE)
    async with log_on_server(data, server, creds) as nc:
        yield ServerLog(nc, longer(given, own))


def open_archive(path: Path) -> Archive:
    """An archive that has something. Raises MarketError, ArchiveError."""
    archive = Archive(path)
    if archive.ends() == (0, 0):
        raise MarketError(f"{path}: there is no archive here")
    return archive


async def _audit(
    data: Path, server: str, creds: Path | None, archive: Path | None, store: Path | None
) -> tuple[AuditResult, dict[str, Any] | None]:
    """What the audit of the log found, and that of the projections."""
    async with log_at(data, server, creds, archive) as log:
        with bar("auditing") as tell:
            result = await audit_log(log, tell, patience_s=NOTARY_S)
        if store is None or not result.ok:
            return result, None
        try:
            with bar("folding the projections anew") as tell:
                return result, await check_store(log, store, tell)
        except (StoreError, OSError) as error:  # the log was audited all the same
            return result, {
                "store": str(store),
                "commit": 0,
                "ok": False,
                "what": str(error),
                "advice": DELETE,
            }


def _report(result: AuditResult, projected: dict[str, Any] | None) -> None:
    counted = f"{result.requests} requests, {result.events} events, {result.commits} commits"
    print(f"recomputed: {result.source}")
    if result.first_disagreement is not None:
        found = result.first_disagreement
        print(
            f"the log disagrees with itself: {found['stream']} sequence {found['sequence']}: {found['what']}"
        )
        print(f"before it all agree: {counted}")
        return
    print(f"all agree: {counted}")
    print(
        "checked: the chain of commits, the hash of the requests that each answers, every signature, "
        "every event decided again and compared byte for byte, every digest, and that money sums to zero"
    )
    if result.unfinished:
        print(
            f"{result.unfinished} messages of JOURNAL are parts of commits that never became whole, as a "
            "writer leaves them that dies; nothing in them counts"
        )
    if result.false_signatures:
        print(
            f"{result.false_signatures} requests are not signed by the account that they name, the first is "
            f"request {result.first_false}: each is refused, or its account was suspended for it"
        )
    if projected and projected["ok"]:
        print(f"projections as of commit {projected['commit']}: equal to a fresh fold")
    elif projected:
        print(f"the projections {projected['store']} disagree: {projected['what']}")
        print(projected["advice"])
