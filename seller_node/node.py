"""The node: its machine's presence, its ask, and what its feed tells it to do."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from events.cli import credits
from events.client import Client, NoAnswerError, QueryError, RefusedError
from events.pages import whole
from links.endpoint import Endpoint
from seccomp import Exit
from seller_node.contract import Contract
from seller_node.lines import many, told
from seller_node.policy import Gate, Policy
from seller_node.profile import Profile
from seller_node.run import Jails
from seller_node.selling import Selling, own_asks
from seller_node.tasks import end_tasks, first_to_end
from seller_node.votes import Votes

SILENCE_S = 600.0  # without the exchange, after which programs are stopped as in a freeze (R20)
GOODBYE_S = 5.0  # for each request of a node that leaves
GRACE_US = 60_000_000  # before an hour's end, for a program to finish in (R15)
QUIT_S = 5.0  # for one that was not told: unpaid, after the end (R15) ...
SHORTER = 10  # ... or both are so much shorter than the hour (R13)

log = logging.getLogger("seller_node")


@dataclass
class Tally:
    """What this node has done, money in micro-credits, the seller's part after the fee (R4)."""

    contracts: int = 0
    hours: int = 0
    earned: int = 0
    lost_hours: int = 0
    runs: int = 0
    cpu_us: int = 0


class Node:
    """One machine in the market. `run` is its whole life.

    `price` is in micro-credits per CPU hour. `say` takes the lines of the live log, `tell` what the machine
    does now, in a few words.
    """

    def __init__(
        self,
        client: Client,
        profile: Profile,
        price: int,
        jails: Jails,
        policy: Policy,
        say: Callable[[str], None],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Raises BadOfferError where the policy asks for what this machine cannot do."""
        self.tally = Tally()
        self.contracts: dict[int, Contract] = {}
        self._client, self._profile, self._say = client, profile, say
        self._jails, self._cpus = jails, policy.cpus
        jails.ran = self._on_exit
        jails.thawed.set()
        self._endpoint = Endpoint(client)
        self._endpoint.allow = self._allows
        self._hour_us = self._lost_after_us = 0
        self._gate = Gate(policy, lambda: (self.tally.cpu_us / 1e6, self.tally.runs))
        self._selling = Selling(
            client, profile, price, self._gate,
            elsewhere=lambda ask: sum(contract.ask != ask for contract in self.contracts.values()),
            settled=self._end_if_done, say=say, tell=tell,
        )  # fmt: skip
        self._is_stated = False
        self._stopping = self._is_ending = False
        self._frozen, self._silent = "", False
        self._votes = Votes(client)
        self._errands: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Offer the machine and serve what is matched, until `stop` has come to its end, or `leave`.

        Raises RefusedError, NoAnswerError or QueryError where the market does not take the offer.
        """
        terms = (await self._client.query("status"))["result"]["terms"]
        if not terms:
            raise QueryError("this market is not open yet")
        self._hour_us, self._lost_after_us = terms["hour_us"], terms["lost_after_us"]
        await self._endpoint.start()
        try:
            await first_to_end(self._be_present(), self._serve(), self._over.wait())
        finally:
            await end_tasks(*self._errands)
            await self._withdraw()
            self._gate.close()

    def stop(self) -> None:
        """Sell nothing new; end when what runs has ended, at the hour's end at the latest."""
        self._stopping = True
        self._selling.stop()

    def leave(self) -> None:
        """End now: contracts break, and their hours are not paid (R16)."""
        self._over.set()

    def cost_of_leaving(self) -> str:
        """What `leave` costs now, for a person."""
        if not self.contracts:
            return "nothing runs"
        pay = sum(contract.price for contract in self.contracts.values())
        return (
            f"{many(len(self.contracts), 'contract')} broken, {credits(pay)} credits of this hour not paid, "
            "and an erratic vote for each (R16)"
        )

    def longest(self) -> float:
        """Seconds of market time until the last of the running hours ends."""
        now = self._now_us()
        last = max((contract.until_us for contract in self.contracts.values()), default=now)
        return min(max(0, last - now), self._hour_us) / 1e6

    # -- beginning and end

    async def _serve(self) -> None:
        await self._selling.take_up()
        await self._client.request("machine", **self._profile.body())
        self._is_stated = True
        since, market = await self._take_up()
        await first_to_end(
            self._follow(since, market),
            self._accept(),
            self._votes.cast(),
            self._selling.keep(),
            self._warn(),
        )

    async def _take_up(self) -> tuple[int, int]:
        """Contracts that already run on this machine; returns the feeds' numbers as of then."""
        answer = await whole(self._client, "contracts")
        status = (await self._client.query("status"))["result"]
        for found in answer["result"]:
            if found["seller"] == self._client.account and found["machine"] == self._profile.machine:
                self._begin(found, started=found["started"])
        if self.contracts:
            self._say(f"taking up {many(len(self.contracts), 'contract')}; the programs must be sent again")
        self._frozen = status["frozen"]
        if self._frozen:
            self._say(f"the market is frozen: {self._frozen}")
        self._freeze_or_not()
        return answer["feed"], answer["market"]

    def _end_if_done(self) -> None:
        """The ask's end is heard on the feed, after every contract that it opened."""
        done = self._stopping and not self.contracts and self._selling.is_over
        if done and not self._is_ending:
            self._is_ending = True
            self._errand(self._end_after_votes())

    async def _end_after_votes(self) -> None:
        try:
            await self._votes.all_cast(GOODBYE_S)
        except TimeoutError:
            self._say("the last votes are not cast: the market does not answer")
        self._over.set()

    async def _withdraw(self) -> None:
        """End all that runs, then tell the market."""
        await asyncio.gather(*(c.end("the seller left", at_once=True) for c in self.contracts.values()))
        if self._is_stated:
            try:
                for order in await own_asks(self._client, self._profile.machine):
                    await self._say_goodbye("amend", order=order["order"], size=0)
                await self._say_goodbye("leave", machine=self._profile.machine)
                self.tally.lost_hours += len(self.contracts)
            except (NoAnswerError, QueryError) as error:
                self._say(f"the market did not hear the goodbye, and will find this machine silent: {error}")
        await self._endpoint.close()

    async def _say_goodbye(self, kind: str, **body: Any) -> None:
        """Ask for what may have happened already. Raises NoAnswerError."""
        try:
            await self._client.request(kind, timeout=GOODBYE_S, **body)
        except RefusedError as error:
            log.debug("leaving: %s: %s", kind, error)

    # -- what goes on all the time

    async def _be_present(self) -> None:
        """Heartbeats (R19); and a freeze of our own when the exchange is silent for too long (R20)."""
        while True:
            await self._client.heartbeat(self._profile.machine)
            silent = time.monotonic() - self._client.heard > SILENCE_S
            if silent != self._silent:
                self._silent = silent
                self._say(
                    "no exchange for ten minutes: programs are stopped until it is heard (R20)"
                    if silent
                    else "the exchange is heard again"
                )
                self._freeze_or_not()
            await asyncio.sleep(min(self._lost_after_us / 4e6, 5.0))

    async def _accept(self) -> None:
        while True:
            link = await self._endpoint.accept()
            contract = self.contracts.get(link.contract)
            if contract and contract.buyer == link.peer:
                contract.take(link)
            else:
                link.abort("the contract is over")

    def _allows(self, number: int, peer: str) -> bool:
        contract = self.contracts.get(number)
        return contract is not None and contract.buyer == peer

    async def _follow(self, since: int, market: int) -> None:
        async for message in self._client.feed(since, market):
            seen: Counter[str] = Counter()
            earned = self.tally.earned
            for event in message.events:
                if self._on_event(event):
                    seen[event["kind"]] += 1
            for line in told(
                seen,
                running=len(self.contracts),
                earned=self.tally.earned - earned,
                total=self.tally.earned,
                frozen=self._frozen,
                ask=self._selling.shut,
            ):
                self._say(line)
            self._end_if_done()

    async def _confirm_started(self, number: int) -> None:
        while number in self.contracts:
            try:
                await self._client.request("started", contract=number)
            except RefusedError as error:
                log.debug("started %d: %s", number, error)
            except NoAnswerError:
                continue
            break

    async def _warn(self) -> None:
        """Tell programs to finish, a grace before the end of an hour that cannot be renewed (R15)."""
        grace_us = min(GRACE_US, self._hour_us // SHORTER)
        while True:
            late = self._now_us() + grace_us
            ending = [contract for contract in self.contracts.values() if contract.until_us <= late]
            warned = sum(c.warn() for c in ending if not self._selling.renews(c.ask))
            if warned:
                self._say(
                    f"{many(warned, 'program')} told to finish: the hour ends in {grace_us / 1e6:g} s, "
                    "and is not renewed (R15)"
                )
            await asyncio.sleep(min(1.0, grace_us / 4e6))

    def _now_us(self) -> int:
        """Market time: what was heard, and what has passed since, for an outage is frozen time (R20)."""
        pulse = self._client.pulse or {"now": 0, "frozen": "never heard"}
        passed = 0 if pulse["frozen"] else int((time.monotonic() - self._client.heard) * 1e6)
        return int(pulse["now"]) + min(passed, self._lost_after_us)

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._on_errand_done)

    def _on_errand_done(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a fault of this node: %r", error, exc_info=error)

    # -- events

    def _on_event(self, event: dict[str, Any]) -> bool:
        """Do what an event asks for; whether it was about this machine."""
        kind = event["kind"]
        if kind in ("frozen", "unfrozen"):
            self._frozen = event["reason"] or kind if kind == "frozen" else ""
            self._freeze_or_not()
            return True
        if kind in ("party_lost", "party_back"):
            return bool(event["party"] == self._profile.machine and event["account"] == self._client.account)
        if self._selling.hear(event):
            return not self._stopping
        if kind == "contract_opened":
            return self._on_opened(event)
        contract = self.contracts.get(event.get("contract", 0))
        return contract is not None and self._on_contract(kind, event, contract)

    def _on_opened(self, event: dict[str, Any]) -> bool:
        mine = event["seller"] == self._client.account and event["machine"] == self._profile.machine
        if mine and event["contract"] not in self.contracts:
            self._begin(event)
            self.tally.contracts += 1
        return bool(mine)

    def _on_contract(self, kind: str, event: dict[str, Any], contract: Contract) -> bool:
        if kind == "contract_renewed":
            contract.until_us = event["until_us"]
        elif kind == "hour_charged":
            self.tally.hours += 1
            self.tally.earned += event["amount"] - event["fee"]
            self._votes.add(contract.number, event["hour"], good=contract.next_hour())
        elif kind == "hold_returned":
            self.tally.lost_hours += 1
        elif kind == "contract_ended":
            del self.contracts[contract.number]
            at_hours_end = event["reason"] == "not renewed"
            quit_s = 0.0 if contract.is_warned else min(QUIT_S, self._hour_us / 1e6 / SHORTER)
            why = "the contract ended: " + event["reason"]
            self._errand(contract.end(why, quit_s=quit_s if at_hours_end else None))
        else:
            return False
        return True

    def _begin(self, about: dict[str, Any], *, started: bool = False) -> None:
        """A contract gets the CPU that has the fewest."""
        taken = Counter(contract.cpu for contract in self.contracts.values())
        cpu = min(self._cpus, key=lambda number: (taken[number], number))
        self.contracts[about["contract"]] = Contract(
            about["contract"],
            about["buyer"],
            about["price"],
            about["until_us"],
            about["ask"],
            cpu,
            self._jails,
            lambda number: self._errand(self._confirm_started(number)),
            started=started,
        )

    def _freeze_or_not(self) -> None:
        if (self._frozen or self._silent) == (not self._jails.thawed.is_set()):
            return
        if self._frozen or self._silent:
            self._jails.thawed.clear()
        else:
            self._jails.thawed.set()
        for contract in self.contracts.values():
            if self._jails.thawed.is_set():
                contract.resume()
            else:
                contract.freeze()

    def _on_exit(self, end: Exit) -> None:
        self.tally.runs += 1
        self.tally.cpu_us += end.cpu_us
