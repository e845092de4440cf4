"""The command that proves the log: `exchange audit`, market running or not."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import typer
from nats.aio.client import Client as Nats
from rich.progress import Progress

from console import tables
from console.data_directory import closing, log_of
from console.session import EXPECTED, Data, OperatorCreds, operator_key, run
from events.cli import DATA, Json, Server, edge, show
from events.log import connect
from exchange.audit import AuditResult, LogOnServer
from exchange.audit import audit as audit_log


def audit(server: Server = "", creds: OperatorCreds = None, data: Data = DATA, as_json: Json = False) -> None:
    """Compute every event again from the requests, and compare byte for byte; exit status 1 if they differ.

    Where no market runs on the data, its log is opened for this, for reading only.
    """
    with edge(as_json, *EXPECTED):
        result = run(_audit(data, server, creds))
        if as_json:
            show(asdict(result))
        else:
            _report(result)
    if not result.ok:
        raise typer.Exit(1)


@contextlib.asynccontextmanager
async def log_on_server(data: Path, server: str, creds: Path | None) -> AsyncIterator[Nats]:
    """A connection that may read the log: to the server named, else to the one of the data directory."""
    if server:
        async with closing(
            await connect(server, operator_key(data, creds), name="exchange", patience=3)
        ) as nc:
            yield nc
    else:
        async with log_of(data) as (address, key):
            own = operator_key(data, creds) if creds else key
            async with closing(await connect(address, own, name="exchange")) as nc:
                yield nc


async def _audit(data: Path, server: str, creds: Path | None) -> AuditResult:
    async with log_on_server(data, server, creds) as nc:
        with Progress(console=tables.progress_console(), transient=True) as shown:
            bar = shown.add_task("auditing", total=None)
            return await audit_log(
                LogOnServer(nc), lambda done, whole: shown.update(bar, completed=done, total=whole)
            )


def _report(result: AuditResult) -> None:
    counted = f"{result.requests} requests, {result.events} events, {result.commits} commits"
    if result.first_disagreement is None:
        print(f"all agree: {counted}")
        print(
            "checked: the chain of commits, the hash of the requests that each answers, every signature, "
            "every event decided again and compared byte for byte, every digest, and that money sums to zero"
        )
        if result.unanswered:
            print(f"{result.unanswered} requests at the end have no answer yet")
        return
    found = result.first_disagreement
    print(f"the log disagrees with itself: {found['stream']} sequence {found['sequence']}: {found['what']}")
    print(f"before it all agree: {counted}")
