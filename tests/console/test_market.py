"""A whole market: it starts, is kept running, and leaves nothing behind."""

import asyncio

from console.market import Market
from events.client import Client
from events.keys import Key


def test_an_account_added_to_a_running_market_can_connect_at_once(market: Market) -> None:
    async def run() -> None:
        ann = Key.make()
        async with await Client.connect(market.server, market.operator_key, name="test") as operator:
            await operator.request("account", account=ann.public, name="ann")
            await operator.request("deposit", account=ann.public, amount=5_000_000, reference="test")
        async with await Client.connect(market.server, ann, name="test") as client:
            answer = await client.query("account")
            assert answer["result"]["free"] == 5_000_000
    asyncio.run(run())
