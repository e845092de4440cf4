"""The commands for damaged files: `exchange check` names damage, `exchange recompute` undoes some of it."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from console import damage, server
from console.data_directory import (
    ARCHIVE,
    ASIDE,
    SNAPSHOTS,
    MarketError,
    closing,
    copy_of_log,
    lock,
    server_for,
)
from console.keyring import place
from console.log_commands import log_on_server
from console.progress import bar
from console.session import EXPECTED, Data, OperatorCreds, run, stopping
from console.store_check import STORE
from events.cli import DATA, Json, Server, edge, show
from events.keys import Key
from events.log import connect, last_sequence
from events.source import archive_at
from events.subjects import INTAKE, JOURNAL


def check(server: Server = "", creds: OperatorCreds = None, data: Data = DATA, as_json: Json = False) -> None:
    """Read the whole log and name what is damaged, without deciding anything; exit status 1 if something is.

    Faster than the audit, and says less: every message is there and readable, the chain of commits and each
    commit's hash over its requests are right.
    """
    with edge(as_json, *EXPECTED), stopping(as_json, "not all was looked at"):
        told = run(_check(data, server, creds))
        if as_json:
            show(told)
        else:
            answered = f"answered to {told['answered']} by commits 1 to {told['commits']}"
            print(f"no damage: requests 1 to {told['requests']}, {answered}")
            print(
                "checked: every message is there, the chain of commits, each commit's hash over its requests"
            )


async def _check(data: Path, server: str, creds: Path | None) -> dict[str, Any]:
    archive = None if server else archive_at(data / ARCHIVE)
    async with log_on_server(data, server, creds) as nc:
        if not server:
            await damage.look_at_ends(nc, data, archive)
        with bar("checking") as tell:
            place = await damage.scan(nc, archive, tell)
        requests = await last_sequence(nc, INTAKE, archive)
    return {"requests": requests, "answered": place.last, "commits": place.number, "hash": place.hash}


Loss = Annotated[
    bool,
    typer.Option(
        "--accept-loss",
        help="Also where requests that were answered are missing from INTAKE: what they led to is gone.",
    ),
]


def recompute(data: Data = DATA, accept_loss: Loss = False, as_json: Json = False) -> None:
    """Set JOURNAL aside, so that the next start decides every request in INTAKE again, to the same events.

    Projections and snapshots, which are made from JOURNAL, are set aside with it. Behind an archive only what
    came after it is decided again. The market must not run. Where INTAKE is damaged it is refused.
    """
    with edge(as_json, *EXPECTED), stopping(as_json, lambda: _left(data)):
        if not (data / "nats").is_dir():
            raise MarketError(f"{data}: there is no market's log here; give --data")
        with lock(data):
            if not accept_loss:
                run(_look_at_intake(data))
            aside = _set_aside(data)
        if as_json:
            show({"set_aside": str(aside)})
        else:
            print(f"JOURNAL, and what was made from it, is now in {aside}")
            print(f"start the market: exchange up --data {data}; then compare: exchange audit --data {data}")


def _left(data: Path) -> str:
    """What is there once it was stopped: JOURNAL is the last that moves."""
    if damage.files_of(data, JOURNAL):
        return "JOURNAL is where it was; recompute again"
    return f"JOURNAL is set aside; start the market with `exchange up --data {data}`"


async def _look_at_intake(data: Path) -> None:
    """Whether JOURNAL can be decided again whole. Raises DamageError, MarketError."""
    key = Key.load(place(data, "operator"))
    users = server.users([server.auditor(key.public)])
    with copy_of_log(data) as copy:
        async with (
            server_for(copy, users, "reading", key) as address,
            closing(await connect(address, key, name="exchange")) as nc,
        ):
            with bar("reading INTAKE"):
                await damage.look_at_intake(nc, data, archive_at(data / ARCHIVE))


def _set_aside(data: Path) -> Path:
    """Move files away; JOURNAL last, so that who is interrupted can do it again. Raises MarketError."""
    journal = damage.files_of(data, JOURNAL)
    if not journal:
        raise MarketError(f"{data}: JOURNAL was set aside already; start the market with `exchange up`")
    aside = data / f"{ASIDE}{time.time_ns() // 10**9}"
    aside.mkdir(mode=0o700, exist_ok=True)
    names = [STORE, f"{STORE}-wal", f"{STORE}-shm", SNAPSHOTS]
    for path in (*(data / name for name in names), *journal):
        if path.exists():
            path.rename(aside / path.name)
    return aside
