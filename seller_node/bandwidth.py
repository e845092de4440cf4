"""How many bytes a second the links of all contracts together may carry."""

import asyncio
import re
from dataclasses import dataclass

from seller_node.profile import BadOfferError

UNITS = {"kB": 1000, "MB": 1_000_000, "kbit": 125, "Mbit": 125_000}  # bytes
LEAST = 10_000  # bytes/s: with less, a program of some MB would not arrive within its hour
BURST_S = 1.0  # what was not used lately may be used at once, so much of it
DEBT_S = 10.0  # programs are let through at once; what follows them waits for them, but so long at most
_RATE = r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(kB|MB|kbit|Mbit)(?:/s)?"


@dataclass(frozen=True)
class Bandwidth:
    """Limits in bytes per second, to buyers and from buyers; 0: none."""

    up: int = 0
    down: int = 0


class Bucket:
    """Lets bytes through at a rate (bytes/s; 0: any). Who comes first is served first; nothing is kept."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = 0.0  # when, at the rate, all that was let through is through; by the loop's clock
        self._turn = asyncio.Lock()

    async def take(self, count: int) -> None:
        """Wait until `count` bytes may go. Cancelled, it has let nothing through."""
        if not self._rate or not count:
            return
        async with self._turn:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._free_at - BURST_S - loop.time()))
            self._free_at = max(self._free_at, loop.time()) + count / self._rate

    def owe(self, count: int) -> None:
        """Let `count` bytes through now, and have others wait for them."""
        if self._rate:
            now = asyncio.get_running_loop().time()
            self._free_at = max(
                self._free_at, min(max(self._free_at, now) + count / self._rate, now + DEBT_S)
            )


@dataclass
class Ahead:
    """How many bytes of a contract go before those of others, so that its programs start in time; after them
    it waits like everybody, however often it dials. Filled again each hour."""

    left: int


def parse_bandwidth(text: str) -> Bandwidth:
    """Read `10Mbit`, both ways, or `500kB/2MB`, to buyers and from them. Raises BadOfferError."""
    found = re.fullmatch(f"{_RATE}(?:/{_RATE})?", text.strip())
    if found is None:
        raise BadOfferError(
            f"{text[:40]!r} is no UP or UP/DOWN, each a number with kB, MB, kbit or Mbit a second: "
            "500kB, 10Mbit/50Mbit"
        )
    up = round(float(found[1]) * UNITS[found[2]])
    down = round(float(found[3]) * UNITS[found[4]]) if found[3] else up
    if min(up, down) < LEAST:
        raise BadOfferError(f"{text!r}: less than {LEAST // 1000}kB is too little for programs to arrive")
    return Bandwidth(up, down)
