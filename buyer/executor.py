"""Runs a job on the market: one bid, a link for each contract, units until all are done."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from buyer.bidding import AS_LONG_AS_IT_TAKES, Bidding
from buyer.holdings import Change, Holdings, Vote
from buyer.job import Job, Result
from buyer.journal import Journal
from buyer.market import Market, News, Report, end
from buyer.offers import offers_under
from buyer.other_bids import other_bids
from buyer.serving import Serving
from buyer.work import Work
from events.cli import credits
from events.client import Client, NoAnswerError, QueryError, RefusedError
from events.pages import whole
from events.subjects import CLIENT
from links.endpoint import Endpoint

DROUGHT_S = 5.0  # without a contract, and a person wants to know why
LAST_VOTES_S = 5.0  # for votes that are still asked for when the job is over


class LostConnectionError(Exception):
    """The connection to the market was closed for good."""


async def run_job(client: Client, job: Job, report: Report, stop: asyncio.Event | None = None) -> Result:
    """Run a job on the market; returns when all units ended, nothing more can be done, or `stop` is set.

    Places one bid and cancels it at the end; contracts that still run go to their hour's end (R9, R17).
    `report(event_name, **facts)` is told of progress, in the same task; it must not block.

    Raises BadJobError (job or journal), RefusedError (the market refuses the bid), NoAnswerError and
    QueryError (no market there at the start), OSError (an input or a result), LostConnectionError.
    """
    journal = Journal(job)
    try:
        return await _Executor(client, job, journal, report, stop or asyncio.Event()).run()
    except BaseExceptionGroup as group:
        raise _first(group) from None
    finally:
        journal.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Executor:
    """One call of `run_job`."""

    def __init__(
        self, client: Client, job: Job, journal: Journal, report: Report, stop: asyncio.Event
    ) -> None:
        self.client, self.job, self.journal, self.report, self.stop = client, job, journal, report, stop
        self.work = Work((unit.name for unit in job.units), journal.ended, journal.crashes)
        self.holdings = Holdings(job.max_price, job.max_cost)
        self.news = News()
        self.votes: deque[Vote] = deque()
        self.workers: dict[int, asyncio.Task[None]] = {}
        self.ending = False
        self.others: list[dict[str, Any]] = []  # bids, see other_bids

    async def run(self) -> Result:
        if not self.work.unfinished and not self.journal.bids:
            return self._result("")
        await self.client.heartbeat(CLIENT)
        terms = (await self.client.query("status"))["result"]["terms"]
        if terms is None:
            raise QueryError("the market is not open yet")
        self.market = Market(self.client, self.report, terms)
        self.bidding = Bidding(self.job, self.market, self.journal, self.work, self.holdings)
        self.endpoint = Endpoint(self.client)
        await self.endpoint.start()
        self.serving = Serving(self.job, self.market, self.endpoint, self.journal, self.work, self.news)
        try:
            async with asyncio.TaskGroup() as self.group:
                background = [
                    self.group.create_task(each, name=name)
                    for name, each in (
                        ("presence", self.market.be_present()),
                        ("votes", self._vote()),
                        ("drought", self._explain_drought()),
                        ("stop", self._wait_for_stop()),
                    )
                ]
                background += await self._begin()
                result = await self._until_over()
                await end(background)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                await self.bidding.cancel()
            raise
        finally:
            await self.serving.close()
            await self.endpoint.close()
        return result

    async def _begin(self) -> list[asyncio.Task[None]]:
        """Take over what an earlier process left (R17), then follow the feed from there."""
        await self.bidding.recover()
        answer = await whole(self.client, "contracts", all=True)
        self.holdings.take_over(answer["result"])
        await self.bidding.take_over()
        self.others = await other_bids(self.client, self.holdings.bids)
        if self.others:
            self.report("other_bids", bids=self.others)
        follow = self.group.create_task(self._follow(answer["feed"], answer["market"]), name="feed")
        for contract in list(self.holdings.running.values()):
            self.report("contract_taken_over", contract=contract.contract, machine=contract.machine)
            self._serve(contract.contract)
        self.keeper = self.group.create_task(self.bidding.keep(self.news), name="bid")
        return [follow]

    async def _follow(self, since: int, market: int) -> None:
        async for message in self.client.feed(since, market):
            self.market.heard_feed(message.now_us)
            if not message.market:
                self.bidding.hear(message.events)
            for event in message.events:
                change = self.holdings.fold(event)
                if change:
                    self._changed(change)
                elif message.market or event["kind"] in ("party_lost", "party_back"):
                    self._said(event)
            self.news.tell()
        raise LostConnectionError("the connection to the market was closed")

    def _changed(self, change: Change) -> None:
        """A contract of ours is not as it was."""
        contract = change.contract
        facts: dict[str, Any] = {"contract": contract.contract, "machine": contract.machine}
        match change.kind:
            case "contract_opened":
                self._serve(contract.contract)
                facts |= {"seller": contract.seller, "price": contract.price}
            case "contract_renewed":
                facts |= {"hour": contract.hour, "price": contract.price}
            case "hour_charged":
                facts |= {"amount": change.amount, "charged": self.holdings.charged}
                contract.used = contract.contract in self.work.running
                if change.vote:
                    self.votes.append(change.vote)
            case "hold_returned":
                facts |= {"amount": change.amount, "reason": change.reason}
            case "contract_ended":
                facts |= {"reason": change.reason}
        self.report(change.kind, **facts)
        if change.kind == "contract_ended":
            self.serving.lose(contract, change.reason)
            worker = self.workers.pop(contract.contract, None)
            if worker:
                worker.cancel()

    def _said(self, event: dict[str, Any]) -> None:
        """What the market says to everybody, or of this client."""
        if event["kind"] in ("frozen", "unfrozen", "halted", "resumed"):
            self.report(event["kind"], reason=event["reason"])
        elif event["kind"] == "party_lost" and self._is_me(event):
            self.report("unheard")
        elif event["kind"] == "party_back" and self._is_me(event):
            self.report("heard")

    def _is_me(self, event: dict[str, Any]) -> bool:
        return bool(event["account"] == self.client.account and event["party"] == CLIENT)

    def _serve(self, number: int) -> None:
        if self.ending:
            return
        contract = self.holdings.running[number]
        self.workers[number] = self.group.create_task(self.serving.serve(contract), name=f"contract {number}")

    async def _vote(self) -> None:
        """Vote on every charged hour that was used, for ever (R26)."""
        while True:
            while self.votes:
                vote = self.votes[0]
                try:
                    await self.client.request(
                        "vote",
                        timeout=AS_LONG_AS_IT_TAKES,
                        contract=vote.contract,
                        hour=vote.hour,
                        good=vote.good,
                    )
                    self.report("voted", contract=vote.contract, hour=vote.hour, good=vote.good, why=vote.why)
                except RefusedError as error:
                    self.report("vote_refused", contract=vote.contract, hour=vote.hour, why=str(error))
                self.votes.popleft()
                self.news.tell()
            await self.news.wait()

    async def _explain_drought(self) -> None:
        """Say, once each time, why no contract opens."""
        while True:
            await asyncio.sleep(DROUGHT_S)
            if self.holdings.running or not self.bidding.order:
                continue
            with suppress(QueryError, NoAnswerError):
                found = await offers_under(self.client, self.job.max_price, self.job.demands())
                self.report(
                    "drought",
                    free=found.free,
                    price=self.job.max_price,
                    machines=found.machines,
                    cpus=sum(offer.cpus for offer in found.offers),
                )
                while not self.holdings.running:
                    await self.news.wait()

    async def _wait_for_stop(self) -> None:
        await self.stop.wait()
        self.news.tell()

    def _over(self) -> str | None:
        """Why nothing more is to be done, "" if all is done; None while there is."""
        if not self.work.unfinished:
            return ""
        if self.stop.is_set():
            return "interrupted"
        if self.serving.refused:
            return f"sellers refuse the program: {self.serving.refused}"
        if self.holdings.running or self.bidding.order or self.bidding.wanted():
            return None
        if self.bidding.closed:
            return self.bidding.closed
        assert self.job.max_cost is not None, "nothing else stops a bid"
        return (
            f"--max-cost {credits(self.job.max_cost)} buys no further hour at --max-price "
            f"{credits(self.job.max_price)}: {credits(self.holdings.charged)} is charged"
        )

    async def _until_over(self) -> Result:
        while (reason := self._over()) is None:
            await self.news.wait()
        self.ending = True
        await end([self.keeper, *self.workers.values()])
        warning = await self.bidding.cancel()
        if self.job.settle:
            while self.holdings.running and not self.stop.is_set():
                await self.news.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_VOTES_S):
                while self.votes and not self.stop.is_set():
                    await self.news.wait()
        with suppress(QueryError, NoAnswerError):  # then those of the start are named again
            self.others = await other_bids(self.client, self.holdings.bids)
        return self._result("; ".join(text for text in (reason, warning) if text))

    def _result(self, reason: str) -> Result:
        return Result(
            units=self.work.ended,
            unfinished=[name for name in self.work.names if name not in self.work.ended],
            reason=reason,
            bids=sorted(self.holdings.bids),
            contracts=self.holdings.seen,
            lost=self.work.lost,
            charged=self.holdings.charged,
            held=self.holdings.held,
            running=len(self.holdings.running),
            interrupted=self.stop.is_set() and reason.startswith("interrupted"),
            other_bids=self.others,
        )
