"""The commands that keep the log elsewhere and bring it back: `exchange archive` and `exchange restore`."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from console import admission
from console.damage import files_of
from console.data_directory import (
    ARCHIVE,
    MarketError,
    closing,
    lock,
    prepare,
    server_for,
)
from console.keyring import Keyring, place
from console.log_commands import log_on_server, open_archive
from console.progress import bar
from console.session import EXPECTED, Data, OperatorCreds, run, stopping
from events.archive import Archive
from events.archiving import Copied, copy
from events.chain import Chain, Place, Scan
from events.cli import DATA, Json, Server, edge, show
from events.commit import decode
from events.keys import Key
from events.log import connect, make_streams
from events.records import MarketOpened
from events.source import ArchiveLog, ServerLog, archive_at, longer
from events.subjects import INTAKE, JOURNAL


def archive(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The archive; a new one is made.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Write nothing: read the archive alone, and check all of it.")
    ] = False,
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Copy requests and commits to files that verify by themselves, going on where the archive ends.

    The market may run meanwhile; its log is only read.
    """
    left = "not all was looked at" if verify else "what was written is good, and the next run goes on"
    with edge(as_json, *EXPECTED), stopping(as_json, left):
        if verify:
            place_ = run(_verify(open_archive(directory)))
            copied = Copied(0, 0, place_)
        else:
            _check_place(directory)
            copied = run(_copy(data, server, creds, directory))
        kept = Archive(directory)
        if as_json:
            show(_told(kept, copied))
        else:
            _say(kept, copied, verify)


def _check_place(directory: Path) -> None:
    """Whether an archive may be there. Raises MarketError."""
    if directory.exists() and not directory.is_dir():
        raise MarketError(f"{directory}: a file stands here; an archive is a directory")
    if (directory / "nats").is_dir():
        raise MarketError(f"{directory}: a market's data directory; give the archive one of its own")


async def _verify(archive: Archive) -> Place:
    """Check all segments, the chain of commits, and their hashes over requests."""
    log = ArchiveLog(archive)
    with bar("verifying") as tell:
        return await Scan(log, await log.ends(), progress=tell).run()


async def _copy(data: Path, server: str, creds: Path | None, directory: Path) -> Copied:
    """Copy a market's log."""
    kept = Archive(directory)
    own = None if server else archive_at(data / ARCHIVE)
    async with log_on_server(data, server, creds) as nc:
        with bar("archiving") as tell:
            return await copy(ServerLog(nc, longer(kept, own)), kept, tell)


def _told(archive: Archive, copied: Copied) -> dict[str, Any]:
    intake, journal = archive.ends()
    return {
        "archive": str(archive.path),
        "added": {"requests": copied.requests, "messages": copied.messages},
        "requests": intake,
        "messages": journal,
        "commit": copied.place.number,
        "hash": copied.place.hash,
        "answered": copied.place.last,
        "segments": {stream: len(archive.segments(stream)) for stream in (INTAKE, JOURNAL)},
    }


def _say(archive: Archive, copied: Copied, verified: bool) -> None:
    intake, _ = archive.ends()
    number, hash_, last, _ = copied.place
    if verified:
        print(f"{archive.path}: every segment is whole, and all of it fits together")
    else:
        print(f"{archive.path}: {copied.requests} requests and {copied.messages} messages of JOURNAL added")
    print(f"it has requests 1 to {intake} and commits 1 to {number}, which answer requests to {last}")
    print("checked: the chain of commits, and each commit's hash over its requests")
    print(f"the last commit's hash is {hash_}: who keeps it elsewhere can tell that nothing was cut off")


def restore(
    archive: Annotated[Path, typer.Option("--archive", metavar="DIR", help="The archive to go on behind.")],
    data: Annotated[Path, typer.Option("--data", metavar="NEWDIR", help="A new data directory.")],
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            metavar="DIR",
            help="Where operator.nk and exchange.nk are, as in the old data directory.",
            show_default="NEWDIR/keys",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a data directory whose market goes on behind an archive; the archive is checked and copied to it.

    What was asked after the archive's end is lost, so archive often.
    """
    os.umask(0o077)  # whatever is written is for nobody else
    with edge(as_json, *EXPECTED), stopping(as_json, lambda: _left(data)):
        found = run(_restore(archive, data, keys or data / "keys"))
        if as_json:
            show({"data": str(data), "commit": found.number, "hash": found.hash, "answered": found.last})
        else:
            print(f"{data}: the market as of commit {found.number}, which answers requests to {found.last}")
            print(f"start it with: exchange up --data {data}")


def _left(data: Path) -> str:
    """What is there once it was stopped."""
    if files_of(data, INTAKE):
        return f"{data} is whole: start it with `exchange up --data {data}`"
    return f"no market is in {data} yet; restore again"


async def _restore(source: Path, data: Path, keys: Path) -> Place:
    """Check, copy, and make the streams, in this order: what is there is good wherever this ends."""
    kept = open_archive(source)
    if files_of(data, INTAKE):
        raise MarketError(f"{data}: there is a market's log here already; give another --data")
    ring = _keys(kept, keys)
    found = await _verify(kept)
    prepare(data)
    with lock(data):
        for name, key in ring._asdict().items():
            if not place(data, name).exists():
                key.save(place(data, name))
        _take_in(kept, data / ARCHIVE)
        users = admission.users(ring, [])
        async with (
            server_for(data, users, "restoring", ring.exchange) as address,
            closing(await connect(address, ring.exchange, name="restoring")) as nc,
        ):
            await make_streams(nc, Archive(data / ARCHIVE))
    return found


def _keys(archive: Archive, keys: Path) -> Keyring:
    """The market's keys; that of the projections, which the log does not know, may be a new one.

    Raises MarketError, BadKeyError.
    """
    operator, exchange = (Key.load(keys / f"{name}.nk") for name in ("operator", "exchange"))
    opened = _opened(archive)
    if (opened.operator, opened.exchange) != (operator.public, exchange.public):
        raise MarketError(f"{keys}: these are not the keys of the market in {archive.path}")
    path = keys / "projections.nk"
    return Keyring(operator, exchange, Key.load(path) if path.exists() else Key.make())


def _opened(archive: Archive) -> MarketOpened:
    """How the market was opened: its first commit says. Raises MarketError, Disagreement, ArchiveError."""
    chain = Chain()
    for stored in archive.journal():
        whole = chain.take(stored)
        if whole is not None:
            for _, event in decode(whole.body).events:
                if isinstance(event, MarketOpened):
                    return event
    raise MarketError(f"{archive.path}: no market was opened in this log")


def _take_in(archive: Archive, target: Path) -> None:
    """Copy an archive; what another attempt left is made anew."""
    if archive.path.resolve() == target.resolve():
        return
    draft = target.with_name(target.name + ".new")
    for left in (draft, target):
        if left.exists():
            shutil.rmtree(left)
    draft.mkdir(mode=0o700)
    for stream in (INTAKE, JOURNAL):
        for segment in archive.segments(stream):
            with open(shutil.copyfile(segment.path, draft / segment.path.name), "rb") as copied:
                os.fchmod(copied.fileno(), 0o600)
                os.fsync(copied.fileno())
    draft.rename(target)
    Archive(target)  # the same chain again
