"""What the operator's commands have in common: who asks, whom, and how a coroutine is run."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import nats.errors
import typer
import uvloop

from console.damage import DamageError
from console.data_directory import MarketError
from console.keyring import place
from console.server import BadPlaceError
from events.archive import ArchiveError
from events.chain import Disagreement
from events.cli import NowhereError, resolve_creds, resolve_server, tell
from events.client import BadRequestError, Client, NoAnswerError, QueryError, RefusedError
from events.keys import Key, is_key
from events.log import LogGapError, NotAdmittedError, UnreachableError
from events.pages import whole
from events.records import BANK, FEES, BadRecordError
from projections.store import StoreError

EXPECTED: tuple[type[Exception], ...] = (
    ArchiveError,
    BadPlaceError,
    BadRecordError,
    BadRequestError,
    DamageError,
    Disagreement,
    LogGapError,
    MarketError,
    NoAnswerError,
    NotAdmittedError,
    OSError,
    QueryError,
    RefusedError,
    StoreError,
    UnreachableError,
    nats.errors.Error,
)

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The market's data directory.")]
OperatorCreds = Annotated[
    Path | None,
    typer.Option(
        "--creds",
        metavar="FILE",
        help="The seed file to act with.",
        show_default="the operator's under --data, else COREHOUR_CREDS",
    ),
]

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; Ctrl-C cancels it first."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@contextlib.contextmanager
def stopping(as_json: bool, said: str | Callable[[], str]) -> Iterator[None]:
    """Ctrl-C says what is left, and ends with status 130."""
    try:
        yield
    except KeyboardInterrupt:
        tell(f"stopped; {said if isinstance(said, str) else said()}", as_json)
        raise typer.Exit(130) from None


def operator_key(data: Path, creds: Path | None) -> Key:
    """The key that a command of the operator acts with. Raises NowhereError, BadKeyError."""
    own = place(data, "operator")
    if creds is None and own.exists():
        return Key.load(own)
    if creds is None and "COREHOUR_CREDS" not in os.environ:
        if not own.parent.exists():
            raise NowhereError(
                f"no market at {data}: start one with `exchange up`, or give --data or --creds"
            )
        raise NowhereError(f"no seed file at {own}: give --data of the market, or --creds")
    return resolve_creds(creds or Path(os.environ["COREHOUR_CREDS"]))


@contextlib.asynccontextmanager
async def operating(data: Path, server: str, creds: Path | None) -> AsyncIterator[Client]:
    """A session as operator. Raises those of `edge`."""
    key = operator_key(data, creds)
    async with await Client.connect(resolve_server(server, data), key, name="exchange", patience=3) as client:
        yield client


async def every(client: Client, what: str, /, **arguments: Any) -> list[dict[str, Any]]:
    """All rows of a list."""
    rows: list[dict[str, Any]] = (await whole(client, what, **arguments))["result"]
    return rows


async def account_key(client: Client, who: str) -> str:
    """The key of an account given by its name or key. Raises NowhereError."""
    if is_key(who) or who in (BANK, FEES):
        return who
    for row in await every(client, "accounts"):
        if row["name"] == who:
            return str(row["account"])
    raise NowhereError(f"no account has the name {who!r}; `exchange account list` shows them all")
