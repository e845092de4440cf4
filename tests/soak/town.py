"""Who lives in a market while its processes die: traders, an operator, and in the end the proof."""

import asyncio
import random
import time
from contextlib import AsyncExitStack, suppress
from typing import Self

from events import client as client_module
from events.client import NoAnswerError, QueryError
from events.records import Answered, ContractOpened
from events.source import ServerLog
from exchange.audit import audit
from tests.soak.rig import WAIT_S, Rig
from tests.system import proof
from tests.system.traders import Recorder, Trader, enter

DEPOSIT = 100_000_000
RESEND_S = 0.4  # sooner than a client's own 2 s: so that much is sent twice


class Town:
    """The inhabitants of a rig. `async with Town(rig, dice) as town:` settles them and lets them trade.

    `prove` ends the trade and checks everything; how much there was of what is what it returns.
    """

    def __init__(self, rig: Rig, dice: random.Random) -> None:
        self.rig, self.dice = rig, dice
        self.operator: Recorder
        self.traders: list[Trader] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._enough = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        client_module.RESEND_S = RESEND_S
        try:
            await self._settle()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _settle(self) -> None:
        rig, stack = self.rig, self._stack
        self.operator = await stack.enter_async_context(await enter(rig.url, rig.keys.operator))
        for name, key in rig.accounts.items():
            await self.operator.ask("account", account=key.public, name=name)
            await self.operator.ask("deposit", account=key.public, amount=DEPOSIT, reference="test")
            client = await stack.enter_async_context(await enter(rig.url, key))
            self.traders.append(Trader(client, random.Random(self.dice.randrange(2**32))))
        self._tasks = [asyncio.create_task(trader.live()) for trader in self.traders]
        self._tasks.append(asyncio.create_task(self._operate(random.Random(self.dice.randrange(2**32)))))

    async def _operate(self, dice: random.Random) -> None:
        """What an operator does meanwhile."""
        while not self._enough.is_set():
            account = dice.choice(self.traders).client.account
            await self.operator.ask(
                "deposit", account=account, amount=dice.randrange(1, 10**6), reference="x"
            )
            if dice.random() < 0.05:
                await self.operator.ask("freeze", reason="test")
                await self.operator.ask("unfreeze", reason="test")
            await asyncio.sleep(dice.uniform(0, 0.5))

    def check(self) -> None:
        """Raise what ended an inhabitant, if one ended."""
        for task in self._tasks:
            if task.done():
                task.result()
                raise AssertionError("an inhabitant left")

    def given(self) -> int:
        """How many answers were given so far."""
        return sum(len(client.answers) for client in self._clients())

    def _clients(self) -> list[Recorder]:
        return [trader.client for trader in self.traders] + [self.operator]

    async def answered(self, more: int = 3, after: str = "", seconds: float = WAIT_S) -> None:
        """Wait until so many more answers were given: the market works, after what happened to it."""
        wanted, deadline = self.given() + more, time.monotonic() + seconds
        while self.given() < wanted:
            self.check()
            assert time.monotonic() < deadline, f"{after}: no answers within {seconds:g} s"
            await asyncio.sleep(0.02)

    async def prove(self) -> dict[str, int]:
        """End the trade in order, wait until nothing runs any more, and check all that must hold."""
        self._enough.set()
        for trader in self.traders:
            trader.enough.set()
        await asyncio.gather(*self._tasks)
        await self._quiet()
        operator, traders = self.operator, [trader.client for trader in self.traders]
        balances = await operator.query("accounts")
        log = await proof.read_log(operator.nc)
        after = proof.check_ledger(log)
        charged = proof.check_hours(log)
        answers = proof.check_answers(log, traders) + self._check_operator(log)
        proof.check_effects(log, self._clients())
        proof.check_balances(after, balances)
        for client in traders:
            assert await proof.check_feed(log, client, client.account) >= len(client.told)
            await proof.check_heard(log, client)
        await proof.check_feed(log, operator, "", "market_feed")
        audited = await audit(ServerLog(operator.nc))
        assert audited.ok, audited.first_disagreement
        assert not audited.unanswered
        assert audited.requests >= len(log.requests)
        return {
            "requests": len(log.requests),
            "commits": len(log.commits),
            "answers": answers,
            "contracts": len(log.of(ContractOpened)),
            "charged": charged,
        }

    def _check_operator(self, log: proof.Log) -> int:
        """As proof.check_answers; the operator has another session, which opened the market."""
        given = {(answer.session, answer.number): answer for answer in self.operator.answers}
        said = {
            (answer.session, answer.number): answer
            for answer in log.of(Answered)
            if (answer.account, answer.session) == (self.operator.account, self.operator.session)
        }
        assert given == said and len(given) == self.operator.number
        return len(given)

    async def _quiet(self) -> None:
        """Wait until no contract and no order is left."""
        deadline = time.monotonic() + WAIT_S
        while True:
            with suppress(NoAnswerError, QueryError):
                found = (await self.operator.query("status"))["result"]
                if not found["contracts"] and not found["orders"]:
                    return
            assert time.monotonic() < deadline, "contracts or orders are left"
            await asyncio.sleep(0.1)
