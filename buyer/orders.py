"""The commands about orders: place, list, resize, cancel; contracts and statement."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any, NoReturn, TypeVar

import nats.errors
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from buyer.job import BadJobError
from buyer.offers import offers_under, show_offers
from events.cli import (
    Creds,
    Json,
    Server,
    counted,
    credits,
    edge,
    fail,
    parse_credits,
    resolve_creds,
    resolve_server,
    show,
)
from events.client import BadRequestError, Client, NoAnswerError, QueryError, RefusedError
from events.log import NotAdmittedError, UnreachableError
from events.pages import whole
from events.profile import BadScreenError, Screen, parse_screen
from events.requests import SIZE

T = TypeVar("T")
ERRORS = (
    BadRequestError,
    RefusedError,
    NoAnswerError,
    QueryError,
    UnreachableError,
    NotAdmittedError,
    nats.errors.Error,
)
PriceText = Annotated[str, typer.Option("--price", help="Limit, credits per CPU hour.", metavar="CREDITS")]
ScreenText = Annotated[
    str, typer.Option("--screen", help="What the machine must have: 'memory_mb>=512 mips>=1000 avx2'.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be asked for, and send nothing.")]
All = Annotated[bool, typer.Option("--all", help="Those that are over, too.")]


def wrong(text: str, as_json: bool) -> NoReturn:
    """End the command with status 2 and one line that names the option."""
    try:
        fail(text, as_json)
    except typer.Exit:
        raise typer.Exit(2) from None


def money(option: str, text: str) -> int:
    """Credits in micro-credits. Raises BadJobError, which names the option."""
    try:
        return parse_credits(text)
    except typer.BadParameter as error:
        raise BadJobError(f"{option}: {error.message}") from error


def screen_of(text: str) -> Screen:
    """The screen that was typed. Raises BadJobError, which names the option."""
    try:
        return parse_screen(text)
    except BadScreenError as error:
        raise BadJobError(f"--{error}") from error


def ask(server: str, creds: Any, as_json: bool, action: Callable[[Client], Awaitable[T]]) -> T:
    """Connect, do one thing, leave; errors become one line and an exit status."""

    async def connected() -> T:
        async with await Client.connect(resolve_server(server), resolve_creds(creds), name="buyer") as client:
            return await action(client)

    try:
        with edge(as_json, *ERRORS):
            return uvloop.run(connected())
    except BadJobError as error:
        wrong(str(error), as_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None


def table(rows: list[dict[str, Any]], columns: dict[str, Callable[[dict[str, Any]], str]], none: str) -> None:
    """Print rows as a table, or the text `none` where there are none."""
    if not rows:
        print(none)
        return
    shown = Table(box=None, pad_edge=False)
    for name in columns:
        shown.add_column(name)
    for row in rows:
        shown.add_row(*(columns[name](row) for name in columns))
    Console(highlight=False, markup=False).print(shown)


def order(
    price: PriceText,
    size: Annotated[int, typer.Option("--size", min=1, max=SIZE.high, help="How many CPUs at once.")],
    screen: ScreenText = "",
    lifetime_hours: Annotated[
        str, typer.Option("--lifetime-hours", help="Expires after so many of the market's hours; 0: never.")
    ] = "0",
    dry_run: DryRun = False,
    server: Server = "",
    creds: Creds = None,
    as_json: Json = False,
) -> None:
    """Place a standing bid. When it matches it buys CPU hours, and they are charged.

    It buys while a client of yours is present, as `buyer run` is (R6), until it expires or `buyer cancel`
    ends it. Programs are run by `buyer run` only, on the hours of its own bid: not on those of this one.
    """

    async def place(client: Client) -> None:
        limit, demands = money("--price", price), screen_of(screen)
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", lifetime_hours):
            raise BadJobError(f"--lifetime-hours: {lifetime_hours!r} is no decimal number of hours")
        if dry_run:
            offers = await offers_under(client, limit, demands)
            show_offers(offers, limit, size, demands, as_json)
            return
        terms = (await client.query("status"))["result"]["terms"]
        lifetime = int(Decimal(lifetime_hours) * terms["hour_us"])
        answered = await client.request("bid", price=limit, size=size, lifetime_us=lifetime, **demands.body())
        if as_json:
            show(
                {
                    "order": answered.order,
                    "matched": answered.matched or [],
                    "rests": answered.rests,
                    "hourly": answered.hourly,
                }
            )
            return
        print(f"bid {answered.order}: {counted(size, 'CPU')} at {credits(limit)} or less an hour")
        for contract, paid in answered.matched or []:
            print(f"contract {contract} opened at {credits(paid)} an hour")
        rests = counted(answered.rests, "CPU")
        print(f"{rests} still wanted, in the book; at most {credits(answered.hourly)} an hour")

    ask(server, creds, as_json, place)


def orders(every: All = False, server: Server = "", creds: Creds = None, as_json: Json = False) -> None:
    """Your orders."""

    async def query(client: Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await whole(client, "orders", all=every))["result"]
        return found

    rows = ask(server, creds, as_json, query)
    if as_json:
        show(rows)
        return
    table(
        rows,
        {
            "order": lambda row: str(row["order"]),
            "side": lambda row: row["side"],
            "price": lambda row: credits(row["price"]),
            "size": lambda row: str(row["size"]),
            "running": lambda row: str(row["running"]),
            "on": lambda row: row["machine"] if row["side"] == "ask" else str(Screen.of(row)),
            "state": lambda row: row["closed"] or "open",
        },
        "no orders",
    )


def contracts(every: All = False, server: Server = "", creds: Creds = None, as_json: Json = False) -> None:
    """Your contracts, as buyer and as seller."""

    async def query(client: Client) -> tuple[str, list[dict[str, Any]]]:
        return client.account, (await whole(client, "contracts", all=every))["result"]

    account, rows = ask(server, creds, as_json, query)
    if as_json:
        show(rows)
        return
    table(
        rows,
        {
            "contract": lambda row: str(row["contract"]),
            "you": lambda row: "buy" if row["buyer"] == account else "sell",
            "machine": lambda row: row["machine"],
            "price": lambda row: credits(row["price"]),
            "hour": lambda row: str(row["hour"]),
            "paid": lambda row: credits(row["paid"]),
            "state": lambda row: row["ended"] or ("started" if row["started"] else "open"),
        },
        "no contracts",
    )


def resize(
    number: Annotated[int, typer.Argument(metavar="ORDER", min=1)],
    size: Annotated[int, typer.Argument(metavar="SIZE", min=1, max=SIZE.high)],
    server: Server = "",
    creds: Creds = None,
    as_json: Json = False,
) -> None:
    """Change how many CPUs an order wants. Larger makes it a new arrival, smaller keeps its place (R9)."""
    _amend(number, size, server, creds, as_json)


def cancel(
    number: Annotated[int, typer.Argument(metavar="ORDER", min=1)],
    server: Server = "",
    creds: Creds = None,
    as_json: Json = False,
) -> None:
    """Cancel an order. Contracts that run go on to their hour's end, and are paid (R9)."""
    _amend(number, 0, server, creds, as_json)


def _amend(number: int, size: int, server: str, creds: Any, as_json: bool) -> None:
    async def amend(client: Client) -> tuple[int, int]:
        answered = await client.request("amend", order=number, size=size)
        rows = (await whole(client, "contracts"))["result"]
        running = [row["price"] for row in rows if row["bid"] == number]
        return answered.hourly, sum(running)

    hourly, held = ask(server, creds, as_json, amend)
    if as_json:
        show({"order": number, "size": size, "hourly": hourly, "held": held})
    elif size:
        print(f"order {number}: {counted(size, 'CPU')}; at most {credits(hourly)} an hour")
    else:
        print(f"order {number} cancelled; {credits(held)} is held for hours that run, and will be charged")


def statement(server: Server = "", creds: Creds = None, as_json: Json = False) -> None:
    """Your account: every change of its money, in order (R2)."""

    async def query(client: Client) -> dict[str, Any]:
        answer = await client.query("statement")
        whole: dict[str, Any] = answer["result"]
        while answer.get("more"):
            answer = await client.query("statement", after=answer["more"])
            whole["lines"] += answer["result"]["lines"]
            whole["closing"] = answer["result"]["closing"]
        return whole

    result = ask(server, creds, as_json, query)
    if as_json:
        show(result)
        return
    print(f"{result['name']}  {result['account']}")
    table(
        result["lines"],
        {
            "commit": lambda line: str(line["commit"]),
            "what": lambda line: line["event"].replace("_", " "),
            "contract": lambda line: str(line["contract"] or ""),
            "hour": lambda line: str(line["hour"] or ""),
            "note": lambda line: line["text"],
            "free": lambda line: f"{'+' if line['free'] > 0 else ''}{credits(line['free'])}",
            "held": lambda line: f"{'+' if line['held'] > 0 else ''}{credits(line['held'])}",
        },
        "no money has moved",
    )
    closing = result["closing"]
    print(f"closing balance: {credits(closing['free'])} free, {credits(closing['held'])} held")
