"""Traders who ask all the time, and write down every answer and every message that they are given."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import nats.errors

from events.client import Client, FeedMessage, RefusedError
from events.keys import Key
from events.log import NotAdmittedError
from events.records import Answered, OrdersAnswered
from events.subjects import CLIENT

MACHINE = "toy"
PATIENCE_S = 120.0  # for one answer: a market that is killed all the time needs long
HEARTBEAT_S = 0.2


class Recorder(Client):
    """A client that keeps every answer it was given, and by number every message of its own feed."""

    answers: list[Answered | OrdersAnswered]
    told: dict[int, FeedMessage]

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.answers, self.told = [], {}

    async def _request(self, kind: str, body: dict[str, Any], timeout: float) -> Answered | OrdersAnswered:
        answer = await super()._request(kind, body, timeout)
        self.answers.append(answer)
        return answer

    async def ask(self, kind: str, **body: Any) -> Answered | None:
        """A request that may well be refused."""
        with suppress(RefusedError):
            return await self.request(kind, timeout=PATIENCE_S, **body)
        return None


async def enter(server: str, key: Key) -> Recorder:
    """Log in, as soon as the server knows the account."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(NotAdmittedError):
                return await Recorder.connect(server, key, name="test")
            await asyncio.sleep(0.1)


class Trader:
    """Buys and sells hours of a machine of its own, where nothing ever runs, as the dice say."""

    def __init__(self, client: Recorder, dice: random.Random) -> None:
        self.client, self._dice = client, dice
        self._orders: list[int] = []
        self._contracts: list[int] = []
        self._hours: list[tuple[int, int]] = []
        self.enough = asyncio.Event()

    async def live(self) -> None:
        """Trade until `enough`; then take all orders and the machine away."""
        background = [asyncio.create_task(self._be_present()), asyncio.create_task(self._follow())]
        try:
            await self._state()
            while not self.enough.is_set():
                await self._act()
                await asyncio.sleep(self._dice.uniform(0.0, 0.2))
            for order in self._orders:
                await self.client.ask("amend", order=order, size=0)
            await self.client.ask("leave", machine=MACHINE)
            for task in background:
                assert not task.done(), task
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _be_present(self) -> None:
        while True:
            with suppress(nats.errors.Error):
                for party in (CLIENT, MACHINE):
                    await self.client.heartbeat(party)
            await asyncio.sleep(HEARTBEAT_S)

    async def _follow(self) -> None:
        """Keep the feed, and learn from it what there is to vote on and to confirm."""
        async for message in self.client.feed(0, 0):
            if message.market:
                continue
            assert message.n == len(self.client.told) + 1, "the feed has a gap or says something twice"
            self.client.told[message.n] = message
            for event in message.events:
                if event["kind"] == "contract_opened":
                    self._contracts.append(event["contract"])
                elif event["kind"] == "hour_charged":
                    self._hours.append((event["contract"], event["hour"]))

    async def _state(self) -> None:
        numbers = {"memory_mb": self._dice.randrange(64, 4096)}
        await self.client.ask("machine", machine=MACHINE, cpus=8, numbers=numbers, flags=[MACHINE])

    async def _act(self) -> None:
        dice, ask = self._dice, self.client.ask
        price = dice.randrange(100_000, 200_000)  # above what the buyer of real work pays
        size = dice.randrange(1, 4)
        match dice.choices(
            ("bid", "ask", "amend", "machine", "vote", "sent", "started", "leave"),
            (4, 4, 5, 1, 3, 1, 2, 0.2),
        )[0]:
            case "bid":
                done = await ask("bid", price=price, size=size, flags=[MACHINE])
                self._orders += [done.order] if done else []
            case "ask":
                done = await ask("ask", machine=MACHINE, price=price, size=size)
                self._orders += [done.order] if done else []
            case "amend" if self._orders:
                order = dice.choice(self._orders)
                size = dice.randrange(0, 4)
                await ask("amend", order=order, size=size, price=price)
                if not size:
                    self._orders.remove(order)
            case "machine":
                await self._state()
            case "vote" if self._hours:
                contract, hour = self._hours.pop(dice.randrange(len(self._hours)))
                await ask("vote", contract=contract, hour=hour, good=dice.random() < 0.8)
            case "sent" | "started" as kind if self._contracts:
                await ask(kind, contract=dice.choice(self._contracts[-5:]))
            case "leave":
                await ask("leave", machine=MACHINE)


@asynccontextmanager
async def trading(traders: list[Trader]) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """The traders trade; at the end they have had enough, and every answer has come."""
    tasks = [asyncio.create_task(trader.live()) for trader in traders]
    try:
        yield tasks
        for trader in traders:
            trader.enough.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
