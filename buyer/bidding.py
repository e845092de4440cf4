"""The job's one bid: as large as there is work and money for, and no larger (R9)."""

import asyncio
from contextlib import suppress
from typing import Any

from buyer.holdings import Holdings
from buyer.job import Job
from buyer.journal import Journal
from buyer.market import Market, News
from buyer.work import Work
from events.client import BadRequestError, NoAnswerError, QueryError, RefusedError
from events.pages import whole

AS_LONG_AS_IT_TAKES = 365 * 86400.0  # a bid's answer is waited for: asking twice would buy twice
CANCEL_S = 10.0
SETTLED_S = 3.0  # an answer that is not there so long after the exchange was heard never comes


class Bidding:
    """Places the job's bid, keeps its size right, and cancels it.

    `order` is its number, 0 while there is none; `size` what the market says; `closed` is why there will
    be no other, once somebody else closed it or the market refused one.
    """

    def __init__(self, job: Job, market: Market, journal: Journal, work: Work, holdings: Holdings) -> None:
        self.job, self.market, self.journal = job, market, journal
        self.work, self.holdings = work, holdings
        self.order = self.size = 0
        self.closed = ""
        self.limited = False
        self._most = job.most_slots()
        self._asking = 0  # the number of the request for a bid that has no answer yet

    def wanted(self) -> int:
        """The size that the bid should have now."""
        if self.closed:
            return 0
        wanted = min(self._most, self.work.unfinished)
        money = self.holdings.affordable(self.market.now_us(), 3 * self.market.lost_after_us)
        self.limited = money is not None and money < wanted
        return wanted if money is None else min(wanted, money)

    async def keep(self, news: News) -> None:
        """Keep the size right for ever. Raises RefusedError if the market refuses the first bid."""
        while True:
            wanted = self.wanted()
            try:
                if not self.order and wanted:
                    await self._place(wanted)
                elif self.order and wanted != self.size:
                    await self._resize(wanted)
            except RefusedError as error:
                if not self.journal.bids:
                    raise
                self.closed = self.closed or str(error)
                self.market.report("bid_refused", why=str(error))
            news.tell()
            if self.wanted() == (self.size if self.order else 0):
                await news.wait(self.market.lost_after_us / 2e6)

    async def _place(self, size: int) -> None:
        client = self.market.client
        self._asking = client.number + 1
        self.journal.note_asking(client.session, self._asking)
        try:
            answered = await client.request(
                "bid",
                timeout=AS_LONG_AS_IT_TAKES,
                price=self.job.max_price,
                size=size,
                **self.job.demands().body(),
            )
        except (RefusedError, BadRequestError):
            self._asking = 0
            self.journal.note_bid(0)
            raise
        self._placed(answered.order, size)
        report = self.market.report
        report(
            "bid_placed", order=answered.order, size=size, price=self.job.max_price, hourly=answered.hourly
        )

    def _placed(self, order: int, size: int) -> None:
        self._asking = 0
        if order not in self.holdings.bids:
            self.journal.note_bid(order)
            self.holdings.bids.add(order)
            self.order, self.size = order, size

    async def _resize(self, size: int) -> None:
        order = self.order
        try:
            await self.market.client.request("amend", timeout=AS_LONG_AS_IT_TAKES, order=order, size=size)
        except RefusedError as error:
            if error.code != "R9/order/unknown":
                raise
            size = 0  # somebody closed it; the feed says who
        self.size = size
        if not size:
            self.order = 0
        self.market.report("bid_resized", order=order, size=size, limited=self.limited)

    def hear(self, events: list[dict[str, Any]]) -> None:
        """Take in what one commit says about the bid, before anything else in it is looked at."""
        session = self.market.client.session
        for event in events:
            if (
                event["kind"] == "answered"
                and self._asking
                and (event["session"], event["number"]) == (session, self._asking)
            ):
                if event["code"]:
                    self._asking = 0
                    continue
                placed = next(e for e in events if e["kind"] == "bid_placed" and e["order"] == event["order"])
                self._placed(event["order"], placed["size"])
        ours = {e["order"] for e in events if e["kind"] == "answered" and e["session"] == session}
        for event in events:
            if event.get("order") != self.order or self.order in ours:
                continue
            if event["kind"] == "order_closed":
                self.closed = f"the bid was {event['reason']} by somebody else"
                self.order = self.size = 0
            elif event["kind"] == "bid_amended":
                self.size = self._most = event["size"]  # the most from now on, says somebody else

    async def recover(self) -> None:
        """After a crash: find the bid whose answer was not heard, so that all the job's bids are known."""
        if self.journal.asking:
            self.journal.note_bid(await self._unheard(*self.journal.asking))
        self.holdings.bids = set(self.journal.bids)

    async def take_over(self) -> None:
        """Go on with the bid that is still open. To be called after the contracts were read, so that the
        feed from there on tells all that has happened to it since."""
        if not self.holdings.bids:
            return
        for row in (await whole(self.market.client, "orders"))["result"]:
            if row["order"] in self.holdings.bids and not row["closed"]:
                self.order, self.size = row["order"], row["size"]
                self.market.report("bid_taken_over", order=self.order, size=self.size)

    async def _unheard(self, session: int, number: int) -> int:
        """The order that a request of an earlier process placed, 0 if it placed none."""
        client, market = self.market.client, self.market
        settled = 0.0
        while settled < SETTLED_S:
            found = (await client.query("answer", session=session, number=number))["result"]
            if found is not None:
                return int(found["order"])
            await asyncio.sleep(0.25)
            settled += 0.25 * market.is_here()
        return 0

    async def _answered(self) -> None:
        """Wait for the answer to the bid that was asked for, at most CANCEL_S: `hear` is told of it by the
        feed, the query service knows it where the feed is not followed any more."""
        client = self.market.client
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                while self._asking and not client.nc.is_closed:
                    await asyncio.sleep(0.25)
                    with suppress(QueryError, NoAnswerError):
                        asked = {"session": client.session, "number": self._asking}
                        found = (await client.query("answer", **asked))["result"]
                        if found is not None and self._asking and found["code"]:
                            self._asking = 0
                        elif found is not None and self._asking:
                            self._placed(found["order"], self._most)

    async def cancel(self) -> str:
        """End the bid; returns what a person must know if that could not be done, else ""."""
        await self._answered()
        if self._asking:
            return (
                f"a bid was asked for and not answered within {CANCEL_S:g} s: it may stand, and buy; "
                "`buyer orders` shows it, `buyer cancel` ends it"
            )
        if not self.order:
            return ""
        order = self.order
        try:
            await self.market.client.request("amend", timeout=CANCEL_S, order=order, size=0)
        except NoAnswerError:
            return (
                f"bid {order} could not be cancelled, nobody answers; it buys nothing while "
                f"you are away (R17); `buyer cancel {order}` ends it"
            )
        except RefusedError as error:
            if error.code != "R9/order/unknown":
                raise
        self.order = self.size = 0
        self.market.report("bid_cancelled", order=order)
        return ""
