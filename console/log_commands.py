"""The commands that read the whole log: `exchange audit` and `exchange replay`, market running or not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from nats.aio.client import Client as Nats
from rich.progress import Progress

from console import tables
from console.data_directory import closing, log_of
from console.session import EXPECTED, Data, OperatorCreds, operator_key, run
from events.cli import DATA, Json, Server, edge, show
from events.commit import Commit
from events.log import CommitReader, connect, last_sequence
from events.subjects import JOURNAL
from exchange.audit import AuditResult, LogOnServer
from exchange.audit import audit as audit_log
from projections.replay import as_of


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
async def _log(data: Path, server: str, creds: Path | None) -> AsyncIterator[Nats]:
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
    async with _log(data, server, creds) as nc:
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


def replay(
    until: Annotated[int, typer.Option("--until", metavar="COMMIT", min=1, help="The last commit to fold.")],
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Balances and book as they were after a commit, folded from the first one on."""
    with edge(as_json, *EXPECTED):
        then = run(_replay(data, server, creds, until))
        if as_json:
            show(then)
            return
        tables.status(then["status"] | {"commit": then["commit"]})
        tables.accounts(then["accounts"])
        tables.book(then["book"])


async def _replay(data: Path, server: str, creds: Path | None, until: int) -> dict[str, Any]:
    """Reads here, folds in a thread: each commit is in memory only while it is folded."""
    loop = asyncio.get_running_loop()
    async with _log(data, server, creds) as nc:
        end = await last_sequence(nc, JOURNAL)
        async with CommitReader(nc) as reader:

            def commits() -> Iterator[Commit]:
                while reader.sequence < end and reader.number < until:
                    batch = asyncio.run_coroutine_threadsafe(reader.next_batch(1.0), loop).result()
                    yield from (commit for commit in batch if commit.number <= until)

            return await asyncio.to_thread(as_of, commits(), until)
