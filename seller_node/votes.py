"""The votes of a node: one for each charged hour, by itself (R26)."""

import asyncio
import logging

from events.client import BadRequestError, Client, NoAnswerError, RefusedError

MOST_WAITING = 10_000  # for an exchange that is away

log = logging.getLogger("seller_node")


class Votes:
    """Casts votes one after the other, for as long as it takes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: asyncio.Queue[tuple[int, int, bool]] = asyncio.Queue(MOST_WAITING)

    def add(self, contract: int, hour: int, good: bool) -> None:
        """A vote to cast; where too many wait, the oldest is given up."""
        if self._waiting.full():
            log.warning("the oldest vote is given up: %d wait for the exchange", MOST_WAITING)
            self._waiting.get_nowait()
            self._waiting.task_done()
        self._waiting.put_nowait((contract, hour, good))

    async def cast(self) -> None:
        """Cast what is added, for ever."""
        while True:
            contract, hour, good = await self._waiting.get()
            while True:
                try:
                    await self._client.request("vote", contract=contract, hour=hour, good=good)
                except (RefusedError, BadRequestError) as error:
                    log.debug("vote on hour %d of contract %d: %s", hour, contract, error)
                except NoAnswerError:
                    continue
                break
            self._waiting.task_done()

    async def all_cast(self, timeout: float) -> None:
        """Wait until no vote waits. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await self._waiting.join()
