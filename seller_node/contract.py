"""One contract on this machine: its CPU, its link, and whether its buyer was there."""

import asyncio
import logging
from collections.abc import Callable

from links.link import KEEPALIVE, Link
from seller_node.bandwidth import Ahead
from seller_node.run import Jails
from seller_node.session import Session

log = logging.getLogger("seller_node")


class Contract:
    """What the node knows of one running contract, and what runs of it.

    `cpu` is the number of the CPU that its programs run on. `confirm` is called once, when its first
    program has started (R16). `connected` says that the buyer was heard on a link before this.
    """

    def __init__(
        self,
        number: int,
        buyer: str,
        price: int,
        until_us: int,
        ask: int,
        cpu: int,
        jails: Jails,
        confirm: Callable[[int], None],
        *,
        started: bool = False,
    ) -> None:
        self.number, self.buyer, self.price, self.until_us = number, buyer, price, until_us
        self.ask, self.cpu, self.is_warned = ask, cpu, False
        self._jails, self._confirm, self._is_confirmed = jails, confirm, started
        self._ahead = Ahead(jails.most_program())
        self._connected = started
        self._hour_began = asyncio.get_running_loop().time()
        self._link: Link | None = None  # the latest
        self._session: Session | None = None  # of that, or of the one before while that ends
        self._serving: asyncio.Task[None] | None = None

    def take(self, link: Link) -> None:
        """The buyer's link. The one before is closed; what it ran ends before anything else begins."""
        self._connected, self._link = True, link
        before, session = self._serving, Session(link, self._jails, self.cpu, self._ahead, self._on_started)

        async def serve() -> None:
            if before:
                await before
            self._session = session
            await session.serve()

        self._serving = asyncio.create_task(serve(), name=f"contract {self.number}")

    def next_hour(self) -> bool:
        """An hour was charged: whether the buyer was there in it (R26)."""
        there, self._connected = self._connected or self._hears(), False
        self._hour_began = asyncio.get_running_loop().time()
        self._ahead.left = self._jails.most_program()
        return there

    def freeze(self) -> None:
        """Stop what runs (R22)."""
        if self._session:
            self._session.freeze()

    def resume(self) -> None:
        """Let it go on."""
        if self._session:
            self._session.resume()

    def warn(self) -> bool:
        """The hour ends soon, and is the last: what runs gets SIGQUIT, once (R15). Whether it was sent."""
        first, self.is_warned = not self.is_warned, True
        return first and self._session is not None and self._session.quit()

    async def end(self, why: str, *, quit_s: float | None = None, at_once: bool = False) -> None:
        """The contract is over, and its program is killed. What it said before is still delivered (5 s at
        most, or not at all if `at_once`). At an hour's end there is a `quit_s`: the program gets SIGQUIT and
        so many seconds first, and how it ended is told."""
        if self._session and quit_s is not None:
            await self._session.finish(quit_s)
        if self._session:
            await self._session.end_runs()
        if self._link and not at_once:
            await self._link.close()
        if self._link:
            self._link.abort(why)
        if self._serving:
            await self._serving

    def _hears(self) -> bool:
        """Whether a buyer whose link stays open was heard since the hour began."""
        return self._link is not None and self._link.heard >= self._hour_began - 2 * KEEPALIVE

    def _on_started(self) -> None:
        if not self._is_confirmed:
            self._is_confirmed = True
            self._confirm(self.number)
