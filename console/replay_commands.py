"""The command that looks back: `exchange replay`, market running or not."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from console import tables
from console.log_commands import log_on_server
from console.session import EXPECTED, Data, OperatorCreds, run
from events.cli import DATA, Json, Server, edge, show
from events.commit import Commit
from events.log import CommitReader, last_sequence
from events.subjects import JOURNAL
from projections.replay import as_of


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
    async with log_on_server(data, server, creds) as nc:
        end = await last_sequence(nc, JOURNAL)
        async with CommitReader(nc) as reader:

            def commits() -> Iterator[Commit]:
                while reader.sequence < end and reader.number < until:
                    batch = asyncio.run_coroutine_threadsafe(reader.next_batch(1.0), loop).result()
                    yield from (commit for commit in batch if commit.number <= until)

            return await asyncio.to_thread(as_of, commits(), until)
