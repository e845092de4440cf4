"""The command line of `exchange`, and those of its commands that ask a running market."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from console import tables
from console.archive_commands import archive, restore
from console.data_directory import DURABILITY, durability_of
from console.log_commands import audit
from console.repair_commands import check, recompute
from console.replay_commands import diff, export, replay
from console.session import EXPECTED, Data, OperatorCreds, account_key, every, operating, run
from console.standby_commands import serve, snapshot_app
from console.up import up
from events.cli import DATA, Json, Server, application, credits, edge, parse_credits, show
from events.client import BadRequestError, Client, RefusedError
from events.keys import Key
from events.log import NotAdmittedError, connect
from events.pages import whole

ADMITTED_S = 15.0  # within this a new account can log in

app = application("Run a market of CPU hours: start it, open accounts, freeze it, prove every cent of it.")
account_app = application("Open accounts, and see them.")
app.command()(up)
app.command()(serve)
app.add_typer(account_app, name="account")
app.add_typer(snapshot_app, name="snapshot")

Who = Annotated[str, typer.Argument(metavar="NAME|KEY", help="An account's name or public key.")]
Amount = Annotated[int, typer.Argument(metavar="CREDITS", parser=parse_credits, help="As 12.5")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for everybody to read.")]


@account_app.command("add")
def account_add(
    name: Annotated[str, typer.Argument(help="Its name, unique in the market.")],
    creds: Annotated[
        Path | None,
        typer.Option(
            "--creds", metavar="FILE", help="Where its seed is kept.", show_default="<data>/accounts/NAME.nk"
        ),
    ] = None,
    deposit: Annotated[
        int | None,
        typer.Option("--deposit", metavar="CREDITS", parser=parse_credits, help="Money to begin with."),
    ] = None,
    server: Server = "",
    operator: Annotated[
        Path | None, typer.Option("--operator", metavar="FILE", help="The operator's seed file.")
    ] = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Open an account: makes its seed file (only its owner can read it) and waits until it can log in."""

    async def work() -> dict[str, Any]:
        async with operating(data, server, operator) as client:
            path = creds or data / "accounts" / f"{name}.nk"
            key = await _open_account(client, name, path)
            if deposit:
                await client.request("deposit", account=key.public, amount=deposit, reference="first deposit")
            await _admitted(client, key)
            return {"account": key.public, "name": name, "creds": str(path), "deposited": deposit or 0}

    with edge(as_json, *EXPECTED):
        added = run(work())
        if as_json:
            show(added)
            return
        print(f"{name} is {added['account']}, with {credits(deposit or 0)} credits")
        print(f"its seed is in {added['creds']}: whoever has that file is {name}")


async def _open_account(client: Client, name: str, path: Path) -> Key:
    """Make the key and ask the market; a key that the market refused is not left behind."""
    key, made = _key_at(path)
    try:
        await client.request("account", account=key.public, name=name)
    except (BadRequestError, RefusedError):
        if made:
            os.unlink(path)
        raise
    return key


def _key_at(path: Path) -> tuple[Key, bool]:
    """The key in a file, and whether it was made now. One from an attempt before is used again."""
    if path.exists():
        return Key.load(path), False
    key = Key.make()
    key.save(path)
    return key, True


async def _admitted(client: Client, key: Key) -> None:
    """Wait until the server knows the key. Raises NotAdmittedError."""
    server = client.nc.connected_url
    assert server is not None
    for _ in range(int(ADMITTED_S / 0.1)):
        with contextlib.suppress(NotAdmittedError):
            nc = await connect(server.geturl(), key, name="account add")
            await nc.close()
            return
        await asyncio.sleep(0.1)
    raise NotAdmittedError(
        f"{key.public} is open, but the server does not let it in: does `exchange up` run, and on this data?"
    )


@account_app.command("list")
def account_list(
    server: Server = "", creds: OperatorCreds = None, data: Data = DATA, as_json: Json = False
) -> None:
    """All accounts with their balances; the bank's and the fees' too: they sum to zero."""

    async def work() -> list[dict[str, Any]]:
        async with operating(data, server, creds) as client:
            return await every(client, "accounts")

    with edge(as_json, *EXPECTED):
        rows = run(work())
        show(rows) if as_json else tables.accounts(rows)


@app.command()
def deposit(
    who: Who,
    amount: Amount,
    reference: Annotated[str, typer.Option("--reference", help="Of the payment outside.")] = "by hand",
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Money enters: credit an account."""

    async def work() -> dict[str, Any]:
        async with operating(data, server, creds) as client:
            key = await account_key(client, who)
            await client.request("deposit", account=key, amount=amount, reference=reference)
            return {"account": key, "amount": amount, "reference": reference}

    with edge(as_json, *EXPECTED):
        done = run(work())
        show(done) if as_json else print(f"{credits(amount)} credits deposited for {who}")


@app.command()
def book(server: Server = "", creds: OperatorCreds = None, data: Data = DATA, as_json: Json = False) -> None:
    """What is bid and asked, best first: what is funded, present and ready."""
    with edge(as_json, *EXPECTED):
        answer = run(_ask(data, server, creds, "book"))
        show(answer) if as_json else tables.book(answer)


@app.command()
def status(
    server: Server = "", creds: OperatorCreds = None, data: Data = DATA, as_json: Json = False
) -> None:
    """The market as a whole: clock, freeze, terms, how many there are of what; where the market is under
    --data, what its log survives.
    """
    with edge(as_json, *EXPECTED):
        answer = run(_ask(data, server, creds, "status"))
        if not server and (data / DURABILITY).exists():
            answer["durability"] = durability_of(data)
        show(answer) if as_json else tables.status(answer)


@app.command()
def machines(
    server: Server = "", creds: OperatorCreds = None, data: Data = DATA, as_json: Json = False
) -> None:
    """All machines: what they have, what they ask, and whether they are ready."""

    async def work() -> list[dict[str, Any]]:
        async with operating(data, server, creds) as client:
            return await every(client, "machines")

    with edge(as_json, *EXPECTED):
        rows = run(work())
        show(rows) if as_json else tables.machines(rows)


@app.command()
def statement(
    who: Who, server: Server = "", creds: OperatorCreds = None, data: Data = DATA, as_json: Json = False
) -> None:
    """An account's statement: opening balance, every line with its event, closing balance."""

    async def work() -> dict[str, Any]:
        async with operating(data, server, creds) as client:
            key = await account_key(client, who)
            found: dict[str, Any] = (await whole(client, "statement", account=key))["result"]
            return found

    with edge(as_json, *EXPECTED):
        answer = run(work())
        show(answer) if as_json else tables.statement(answer)


@app.command()
def freeze(
    reason: Reason = "by the operator",
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Stop market time for everyone: nothing is matched, charged or lost, programs are stopped (R22)."""
    _tell("freeze", "frozen", reason, server, creds, data, as_json)


@app.command()
def unfreeze(
    reason: Reason = "by the operator",
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """End a freeze: everything goes on where it was (R22)."""
    _tell("unfreeze", "unfrozen", reason, server, creds, data, as_json)


@app.command()
def halt(
    reason: Reason = "by the operator",
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Match renewals only, nothing new (R21)."""
    _tell("halt", "halted", reason, server, creds, data, as_json)


@app.command()
def resume(
    reason: Reason = "by the operator",
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """End a halt (R21)."""
    _tell("resume", "resumed", reason, server, creds, data, as_json)


@app.command()
def abort(
    reason: Reason = "by the operator",
    server: Server = "",
    creds: OperatorCreds = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """End all contracts, give all holds back; the market stays halted (R21)."""
    _tell("abort", "aborted: all contracts ended, all holds returned", reason, server, creds, data, as_json)


def _tell(
    kind: str, done: str, reason: str, server: str, creds: Path | None, data: Path, as_json: bool
) -> None:
    """One of the operator's words to the whole market."""

    async def work() -> None:
        async with operating(data, server, creds) as client:
            await client.request(kind, reason=reason)

    with edge(as_json, *EXPECTED):
        run(work())
        show({"done": kind, "reason": reason}) if as_json else print(f"the market is {done} ({reason})")


async def _ask(data: Path, server: str, creds: Path | None, what: str) -> dict[str, Any]:
    """The result of a query without arguments, and as of which commit it is."""
    async with operating(data, server, creds) as client:
        answer = await client.query(what)
        return {"commit": answer["commit"], **answer["result"]}


app.command()(audit)
app.command()(archive)
app.command()(restore)
app.command()(check)
app.command()(recompute)
app.command()(replay)
app.command()(diff)
app.command()(export)
