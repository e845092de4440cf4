"""A market that had an hour, and the commands that look at its log."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from console.market import Market
from events.client import Client
from events.keys import Key
from tests.system.traders import enter


async def trade(data: Path) -> None:
    """One contract for one hour, in a market of its own."""
    async with asyncio.timeout(300), Market(data, hour_s=3, lost_after_s=0.3) as market:
        await trade_in(market)


async def trade_in(market: Market) -> None:
    """Two new accounts; one contract for one hour, until it is charged."""
    ann, bob = Key.make(), Key.make()
    async with await Client.connect(market.server, market.operator_key, name="test") as operator:
        for name, key in (("ann", ann), ("bob", bob)):
            await operator.request("account", account=key.public, name=name + key.public[-6:].lower())
        await operator.request("deposit", account=ann.public, amount=10**6, reference="a test")
    async with await enter(market.server, ann) as buyer, await enter(market.server, bob) as seller:

        async def be_present() -> None:
            while True:
                await buyer.heartbeat("client")
                await seller.heartbeat("m1")
                await asyncio.sleep(0.05)

        presence = asyncio.create_task(be_present())
        await seller.request("machine", machine="m1", cpus=1, numbers={}, flags=[])
        await seller.request("ask", machine="m1", price=7, size=1)
        await buyer.request("bid", price=9, size=1)
        async for message in buyer.feed(0, 0):
            if any(event["kind"] == "hour_charged" for event in message.events):
                break
        presence.cancel()


def command(*words: str | Path) -> tuple[int, dict[str, Any]]:
    """`exchange` with these words and --json, as a process: its exit status and what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "console", *map(str, words), "--json"],
        capture_output=True,
        timeout=300,  # for hanging only
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def audit(data: Path) -> tuple[int, dict[str, Any]]:
    """`exchange audit` of a data directory."""
    return command("audit", "--data", data)
