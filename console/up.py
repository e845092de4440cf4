"""`exchange up`: the whole market on this machine, in the foreground."""

import asyncio
import enum
import os
import signal
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer

from console.market import Market
from console.server import DURABILITIES, POWER_LOSS, PROCESS_CRASH
from console.session import EXPECTED, Data, run
from events.cli import DATA, Json, edge, show


class Durability(enum.Enum):
    """The choices of --durability."""

    POWER_LOSS = POWER_LOSS
    PROCESS_CRASH = PROCESS_CRASH


def parse_seconds(text: str) -> Decimal:
    """Seconds, as typed: `3600`, `0.5`. Raises typer.BadParameter."""
    try:
        seconds = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r}: a time is seconds, as 3600 or 0.5") from None
    if not Decimal("0.1") <= seconds <= 10**9:
        raise typer.BadParameter(f"{text!r}: from 0.1 to a billion seconds")
    return seconds


def _seconds(name: str, purpose: str, default: str) -> object:
    return typer.Option(
        name, metavar="SECONDS", parser=parse_seconds, help=purpose, show_default=f"{default} in a new market"
    )


def up(
    data: Data = DATA,
    host: Annotated[str, typer.Option("--host", help="Where to listen; a loopback address.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, help="0: the port of the last time, else any free one."),
    ] = 0,
    hour: Annotated[Decimal | None, _seconds("--hour", "The market's hour (R13).", "3600")] = None,
    lost_after: Annotated[
        Decimal | None, _seconds("--lost-after", "Silence after which a party is lost (R19).", "30")
    ] = None,
    fee: Annotated[
        int | None,
        typer.Option(
            "--fee",
            metavar="PPM",
            min=0,
            max=10**6,
            help="The operator's share of each charge, in parts per million (R4).",
            show_default="10000 in a new market",
        ),
    ] = None,
    durability: Annotated[
        Durability | None,
        typer.Option(
            "--durability",
            help="What an acknowledged request survives; process-crash is faster.",
            show_default="that of the last time; power-loss in a new market",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the market and keep it running: log, exchange, standby and projections. Ends with Ctrl-C.

    The first start makes the operator's key and opens the market; its terms then stay for ever.
    """

    os.umask(0o077)  # whatever we and our children write is for nobody else

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    market = Market(
        data, hour_s=hour, lost_after_s=lost_after, fee_ppm=fee, host=host, port=port,
        durability=durability.value if durability else None, say=say,
    )  # fmt: skip
    with edge(as_json, *EXPECTED):
        ended_by = run(_serve(market, data, as_json))
    if ended_by == signal.SIGINT:
        raise typer.Exit(130)


async def _serve(market: Market, data: Path, as_json: bool) -> int:
    """Until a signal asks us to end, which is returned; or until a child does not stay up: MarketError."""
    asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, _note, asked, number)
    starting: asyncio.Future[Any] = asyncio.create_task(market.start())
    await asyncio.wait([starting, asked], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return int(asked.result())
    starting.result()
    failing: asyncio.Future[Any] = asyncio.create_task(market.failure())
    try:
        _greet(market, data, as_json)
        await asyncio.wait([failing, asked], return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            failing.result()
        return int(asked.result())
    finally:
        failing.cancel()
        await market.end()


def _note(asked: "asyncio.Future[Any]", number: int) -> None:
    if not asked.done():
        asked.set_result(number)


def _greet(market: Market, data: Path, as_json: bool) -> None:
    """Say where the market is, and what to type next."""
    if as_json:
        show(
            {
                "server": market.server,
                "pid": os.getpid(),
                "data": str(market.data),
                "durability": market.durability,
            }
        )
    else:
        print(f"the market is at {market.server}, its data in {data}; Ctrl-C ends it")
        print(f"durability {market.durability}: {DURABILITIES[market.durability]}")
        option = "" if data == DATA else f" --data {data}"
        print(f"next, in another terminal: exchange account add NAME --deposit 10{option}")
    sys.stdout.flush()
