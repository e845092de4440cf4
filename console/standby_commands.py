"""`exchange serve`, another exchange for a running market, and `exchange snapshot`, what standbys offer."""

import asyncio
import contextlib
import logging
import signal
import socket
from pathlib import Path
from typing import Annotated, Any

import nats.errors
import typer
from rich.progress import DownloadColumn, Progress, TimeRemainingColumn

from console import tables
from console.data_directory import closing
from console.keyring import place
from console.session import EXPECTED, Data, OperatorCreds, operator_key, run, stopping
from events.archive import Archive
from events.cli import DATA, Json, Server, application, edge, resolve_server, show
from events.collecting import rarely
from events.keys import Key
from events.log import NotAdmittedError, connect
from exchange import snapshot
from exchange.follower import check_commit
from exchange.lease import holder
from exchange.offer import NoSnapshotError, fetch, offered
from exchange.service import ERRORS
from exchange.service import serve as serve_exchange
from exchange.snapshot import SnapshotError

ASKED = 5  # times for the lease, before silence is taken for a no

snapshot_app = application("Snapshots of the market's state, written by the standby, had from it.")


def serve(
    server: Server = "",
    creds: Annotated[
        Path | None,
        typer.Option(
            "--creds", metavar="FILE", help="The exchange's seed file.", show_default="under --data"
        ),
    ] = None,
    data: Data = DATA,
    name: Annotated[
        str,
        typer.Option("--name", help="What it is called among others.", show_default="this machine's name"),
    ] = "",
    snapshots: Annotated[
        Path | None,
        typer.Option("--snapshots", metavar="DIR", help="Where it keeps snapshots, and begins from them."),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", metavar="DIR", help="The archive behind which the server's log begins."),
    ] = None,
) -> None:
    """Run an exchange: it stands by while another one leads, and takes over when that one is gone.

    `exchange up` runs two; this one is for another machine. Ends with Ctrl-C.
    """
    with edge(False, *EXPECTED, *ERRORS):
        path = creds or place(data, "exchange")
        key = Key.load(path)
        address = resolve_server(server, data)
        run(_may_serve(address, key, path))
        rarely()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
        called = name or socket.gethostname()
        ended_by = run(serve_exchange(address, key, called, snapshots, archive=archive))
    if ended_by == signal.SIGINT:
        raise typer.Exit(130)


async def _may_serve(address: str, key: Key, path: Path) -> None:
    """Whether the server admits this key as an exchange: who may not ask for the lease is left unanswered.

    Raises NotAdmittedError, UnreachableError.
    """
    advice = "give the exchange's seed file, keys/exchange.nk of the market's data, with --creds"
    try:
        nc = await connect(address, key, name="exchange serve")
    except NotAdmittedError:
        raise NotAdmittedError(f"{path}: {address} does not know this key; {advice}") from None
    async with closing(nc):
        for _ in range(ASKED):
            with contextlib.suppress(nats.errors.TimeoutError):
                await holder(nc)
                return
        raise NotAdmittedError(f"{path}: {address} does not admit this key as an exchange; {advice}")


@snapshot_app.command("list")
def list_(server: Server = "", creds: OperatorCreds = None, data: Data = DATA, as_json: Json = False) -> None:
    """The snapshots that the standby offers, newest first."""
    with edge(as_json, *EXPECTED, NoSnapshotError):
        rows = run(_list(data, server, creds))
        if as_json:
            show(rows)
        else:
            tables.table("snapshots", "commit> bytes>", [[row["commit"], row["bytes"]] for row in rows])


async def _list(data: Path, server: str, creds: Path | None) -> list[dict[str, Any]]:
    key = operator_key(data, creds)
    async with closing(await connect(resolve_server(server, data), key, name="exchange snapshot")) as nc:
        return [{"commit": one.commit, "bytes": one.bytes} for one in await offered(nc, key.public)]


@snapshot_app.command()
def get(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where it is put, as `serve` reads it.")],
    archive: Annotated[
        Path | None,
        typer.Option("--archive", metavar="DIR", help="The archive behind which the server's log begins."),
    ] = None,
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Get the newest snapshot, and hold it against the log: its bytes, its rows, its commit in JOURNAL."""
    stopped = stopping(as_json, f"no snapshot was put in {directory}")
    with edge(as_json, *EXPECTED, NoSnapshotError, SnapshotError), stopped:
        path = run(_get(directory, archive, data, server, creds))
        head = snapshot.header(path)
        if as_json:
            show({"path": str(path), "commit": head.commit, "digest": head.digest})
        else:
            print(f"{path}: commit {head.commit}, digest {head.digest}, as JOURNAL says")


async def _get(directory: Path, archive: Path | None, data: Path, server: str, creds: Path | None) -> Path:
    key, behind = operator_key(data, creds), Archive(archive) if archive is not None else None
    async with closing(await connect(resolve_server(server, data), key, name="exchange snapshot")) as nc:
        columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=tables.progress_console(), transient=True) as shown:
            bar = shown.add_task("getting", total=None)
            path = await fetch(
                nc, key.public, directory, lambda done, whole: shown.update(bar, completed=done, total=whole)
            )
            shown.update(bar, description="verifying", total=None)
            try:
                await check_commit(nc, path, snapshot.header(path), behind)
                await asyncio.to_thread(snapshot.restore, path)
            except BaseException:  # Ctrl-C too: what was not held against the log is not kept
                path.unlink()
                raise
        return path
