"""The commands that ask what is known: status, statement."""

from pathlib import Path
from typing import Any

import nats.errors
import typer
import uvloop
from rich.console import Console
from rich.table import Table

import seccomp
from events import cli
from events.cli import Creds, Json, Server, credits
from events.client import BadRequestError, Client, NoAnswerError, QueryError, RefusedError
from events.keys import BadKeyError
from events.log import NotAdmittedError, UnreachableError
from events.pages import whole
from seccomp.benchmark import BenchmarkError
from seller_node.lines import many
from seller_node.options import State
from seller_node.place import DEFAULT, Place, PlaceTakenError
from seller_node.profile import BadOfferError
from seller_node.silence import MachineTakenError

MARKET_ERRORS = (
    BadOfferError,
    BadRequestError,
    BenchmarkError,
    MachineTakenError,
    NoAnswerError,
    NotAdmittedError,
    PlaceTakenError,
    QueryError,
    RefusedError,
    UnreachableError,
    nats.errors.Error,
    seccomp.JailError,
)
NAME = "seller_node"


def status(state: State = DEFAULT, server: Server = "", creds: Creds = None, as_json: Json = False) -> None:
    """Say whether the node runs here, what it does, and what the market knows of this account's machines."""
    node = Place(state.expanduser()).holder()
    if not as_json:
        does = f"; {node['does']}" if node and node.get("does") else ""
        print(f"node: machine {node['machine']}, pid {node['pid']}{does}" if node else "node: none runs here")
    try:
        found = uvloop.run(_asked(server, creds, "machines", "orders", "contracts", "account"))
    except (cli.NowhereError, BadKeyError, *MARKET_ERRORS) as error:
        if not as_json:
            cli.fail(str(error))
        cli.show({"error": str(error), "node": node})
        raise typer.Exit(1) from None
    key, machines, orders, contracts, account = found
    machines = [machine for machine in machines if machine["account"] == key]
    asks = [order for order in orders if order["side"] == "ask"]
    sold = [contract for contract in contracts if contract["seller"] == key]
    if as_json:
        about = {"node": node, "account": account, "machines": machines, "asks": asks, "contracts": sold}
        cli.show(about)
        return
    print(f"account: {account['name']}, {credits(account['free'])} credits free")
    for machine in machines:
        ready = "ready" if machine["ready"] else "not heard"
        print(f"machine {machine['machine']}: {many(machine['cpus'], 'CPU')}, {ready}")
    for ask in asks:
        sizes = f"{ask['running']} of {many(ask['size'], 'CPU')} in use"
        print(f"ask {ask['order']}: machine {ask['machine']}, {credits(ask['price'])} an hour, {sizes}")
    if not asks:
        print("offers nothing")
    for contract in sold:
        paid = f"hour {contract['hour']}, {credits(contract['paid'])} paid so far"
        print(f"contract {contract['contract']}: machine {contract['machine']}, {paid}")


def statement(server: Server = "", creds: Creds = None, as_json: Json = False) -> None:
    """Print the account's statement: opening balance, every line, closing balance (R2)."""
    with cli.edge(as_json, *MARKET_ERRORS):
        _, found = uvloop.run(_asked(server, creds, "statement"))
        if as_json:
            cli.show(found)
            return
        table = Table("commit", "event", "contract", "hour", "free", "held", box=None)
        for line in found["lines"]:
            words = [str(line[name] or "") for name in ("commit", "event", "contract", "hour")]
            table.add_row(*words, credits(line["free"]), credits(line["held"]))
        for what in ("opening", "closing"):
            print(f"{what}: {credits(found[what]['free'])} free, {credits(found[what]['held'])} held")
            if what == "opening":
                Console(highlight=False).print(table)


async def _asked(server: str, creds: Path | None, *queries: str) -> list[Any]:
    """The account's key, and the answers to queries."""
    key = cli.resolve_creds(creds)
    async with await Client.connect(cli.resolve_server(server), key, name=NAME) as client:
        return [key.public, *[(await whole(client, what))["result"] for what in queries]]
