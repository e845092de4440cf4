"""The machine's ask: in the book while the machine is for sale, cancelled while it is not (R9)."""

import asyncio
from collections.abc import Callable
from typing import Any

from events.cli import credits
from events.client import Client, NoAnswerError, RefusedError
from events.pages import whole
from seller_node.lines import many
from seller_node.policy import ALWAYS, Gate
from seller_node.profile import Profile
from seller_node.tasks import first_to_end

LOOK_S = 5.0  # between two looks at whether the machine is for sale
AGAIN_S = 5.0  # after a refusal

UNKNOWN = "R9/order/unknown"


class Selling:
    """One machine's ask. What runs goes on when it is cancelled, and is not renewed.

    `elsewhere(ask)` is the number of running contracts of other asks of this machine: together they may not
    offer more than it has (R6). `settled` is called when the book is as it should be, `tell` with what the
    machine does now. `shut` is the ask that somebody else closed: then nothing more is sold.
    """

    def __init__(
        self,
        client: Client,
        profile: Profile,
        price: int,
        gate: Gate,
        *,
        elsewhere: Callable[[int], int],
        settled: Callable[[], None],
        say: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        self.shut = 0
        self._client, self._profile, self._price, self._gate = client, profile, price, gate
        self._elsewhere, self._settled, self._say, self._tell = elsewhere, settled, say, tell
        self._ask = self._size = 0
        self._open: set[int] = set()  # asks of this machine, as far as the feed has told
        self._verdict = ALWAYS
        self._stopping = False
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether no ask of this machine is left: that is heard on the feed, after all that it opened."""
        return not self._ask and not self._open

    def renews(self, ask: int) -> bool:
        """Whether contracts of this ask may be renewed."""
        return ask in self._open and ask == self._ask

    def stop(self) -> None:
        """Cancel the ask, for good."""
        self._stopping = True
        self._changed.set()

    async def take_up(self) -> None:
        """An ask of an earlier run is ours; one that is too large for the machine is made smaller."""
        asks = await own_asks(self._client, self._profile.machine)
        for spare in asks[1:]:
            await self._client.request("amend", order=spare["order"], size=0)
        if asks:
            self._ask, self._size = asks[0]["order"], -1
            self._open.add(self._ask)
            if asks[0]["size"] > self._profile.cpus:
                await self._client.request("amend", order=self._ask, size=self._profile.cpus)

    async def keep(self) -> None:
        """Keep the ask as it should be, for ever. Raises RefusedError, NoAnswerError where the market does
        not take the first."""
        await first_to_end(self._look(), self._keep())

    def hear(self, event: dict[str, Any]) -> bool:
        """An event of the feed; whether a person must know of it."""
        if event["kind"] == "ask_placed" and event["machine"] == self._profile.machine:
            self._open.add(event["order"])
        elif event["kind"] == "order_closed" and event["order"] in self._open:
            self._open.discard(event["order"])
            if event["order"] == self._ask:
                self.shut, self._ask, self._size = self._ask, 0, 0
                self._tell(f"not selling: the ask {self.shut} was closed")
                return True
        elif event["kind"] == "contract_ended":
            self._changed.set()  # there may be room again
        return False

    async def _look(self) -> None:
        first = True
        while True:
            verdict = ALWAYS if self._gate.is_always_open else await asyncio.to_thread(self._gate.look)
            changed, self._verdict = first or verdict.sells != self._verdict.sells, verdict
            if changed:
                self._changed.set()
            if not self.shut and not self._stopping:
                self._tell("for sale" if verdict.sells else f"not for sale: {verdict.why}")
            if changed and not verdict.sells and not self._stopping:
                running = self._elsewhere(0)
                rest = (
                    f"; what runs goes on to its hour's end ({many(running, 'contract')})" if running else ""
                )
                self._say(f"not for sale: {verdict.why}{rest}")
            first = False
            await asyncio.sleep(LOOK_S)

    async def _keep(self) -> None:
        first, said = True, ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._make_it_so()
                self._settled()
                said = ""
            except (RefusedError, NoAnswerError) as error:
                if first:
                    raise
                if str(error) != said:  # it may be refused for hours
                    self._say(f"the ask is not as it should be yet: {error}")
                said = str(error)
                await asyncio.sleep(AGAIN_S)
                self._changed.set()
            first = False

    def _wanted(self) -> int:
        if self._stopping or self.shut or not self._verdict.sells:
            return 0
        return max(0, self._profile.cpus - self._elsewhere(self._ask))

    async def _make_it_so(self) -> None:
        wanted = self._wanted()
        if wanted == self._size:
            return
        if wanted:
            await self._offer(wanted)
        else:
            await self._cancel()

    async def _offer(self, size: int) -> None:
        profile, terms = self._profile, {"price": self._price, "size": size}
        if self._ask:
            try:
                await self._client.request("amend", order=self._ask, **terms)
            except RefusedError as error:
                if error.code != UNKNOWN:
                    raise
                self._ask = 0
        if not self._ask:
            self._ask = (await self._client.request("ask", machine=profile.machine, **terms)).order
            self._open.add(self._ask)
        self._size = size
        self._say(
            f"machine {profile.machine}: {size} CPUs at {credits(self._price)} credits an hour, "
            f"{profile.memory_mb} MiB, {profile.mips} mips and {profile.mflops} mflops each, "
            f"jail {profile.jail} (ask {self._ask})"
        )

    async def _cancel(self) -> None:
        ask, self._ask, self._size = self._ask, 0, 0
        while ask:
            try:
                await self._client.request("amend", order=ask, size=0)
            except RefusedError as error:
                if error.code != UNKNOWN:
                    raise
                self._open.discard(ask)
            except NoAnswerError as error:
                self._say(f"the ask is not cancelled yet: {error}")
                continue
            break


async def own_asks(client: Client, machine: str) -> list[dict[str, Any]]:
    """The open asks of an own machine, the oldest first. Raises QueryError, NoAnswerError."""
    found = (await whole(client, "orders"))["result"]
    asks = [order for order in found if order["side"] == "ask" and order["machine"] == machine]
    return sorted(asks, key=lambda order: int(order["order"]))
