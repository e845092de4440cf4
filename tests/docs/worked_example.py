"""The worked example of docs/protocol.md: a buyer with a socket, on a real market, to the charge.

`python -m tests.docs.worked_example` runs it and writes what went over the wire into the document. Keys,
sessions and numbers are fixed, so that every request has the same bytes each time: Ed25519 draws no lots.
"""

import asyncio
import contextlib
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nkeys

from console.keyring import NAMES, place
from console.market import Market
from events.client import Client
from events.keys import Key
from events.log import NotAdmittedError
from events.subjects import CLIENT
from tests.docs.bare_client import BareClient
from tests.docs.document import DOCUMENT, replace

HOUR_S, LOST_AFTER_S = 10, 1
BEAT_S = 0.2
SESSION = 1_800_000_000_000_000
PRICE, LIMIT = 20_000, 50_000
EXAMPLE = "worked example"

Transcript = list[tuple[str, bytes]]


def seed_of(name: str) -> str:
    """A seed that everybody knows: for examples only."""
    raw = hashlib.sha256(f"corehour example {name}".encode()).digest()
    return bytes(nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_USER)).decode()


@contextlib.asynccontextmanager
async def beating(client: BareClient | Client, party: str) -> AsyncIterator[None]:
    """Send heartbeats meanwhile."""

    async def beat() -> None:
        while True:
            if isinstance(client, Client):
                await client.heartbeat(party)
            else:
                client.heartbeat()
            await asyncio.sleep(BEAT_S)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run() -> Transcript:
    """A market, a seller with one CPU, and the bare buyer: what the buyer said and heard."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        for name in NAMES:
            Key(seed_of(name)).save(place(data, name))
        async with Market(data, hour_s=HOUR_S, lost_after_s=LOST_AFTER_S) as market:
            await open_accounts(market)
            seller = await admitted(market.server, Key(seed_of("seller")))
            async with seller, beating(seller, "alpha"):
                await offer(seller)
                return await buy(market.server)


async def open_accounts(market: Market) -> None:
    """The operator's part: two accounts, and money for the buyer."""
    async with await Client.connect(market.server, market.operator_key, name="operator") as operator:
        for name in ("seller", "buyer"):
            await operator.request("account", account=Key(seed_of(name)).public, name=name)
        buyer = Key(seed_of("buyer")).public
        await operator.request("deposit", account=buyer, amount=1_000_000, reference="invoice 1")


async def admitted(server: str, key: Key) -> Client:
    """A client of an account that was just opened: the server knows it in a moment."""
    for _ in range(100):
        with contextlib.suppress(NotAdmittedError):
            return await Client.connect(server, key, name="seller")
        await asyncio.sleep(0.1)
    raise AssertionError("the server does not admit the seller")


async def offer(seller: Client) -> None:
    """The seller's part: a machine with one CPU, and an ask."""
    await seller.request(
        "machine", machine="alpha", cpus=1, numbers={"memory_mb": 1024, "jail": 3}, flags=["avx2"]
    )
    await seller.request("ask", machine="alpha", price=PRICE, size=1)
    while not (await seller.query("status"))["result"]["ready"]:  # noqa: ASYNC110 - nobody tells the seller
        await asyncio.sleep(0.05)


async def buy(server: str) -> Transcript:
    """The buyer's part: log in, be present, bid, look, cancel, and wait for the charge."""
    where = urlsplit(server)
    assert where.hostname and where.port
    buyer = BareClient(seed_of("buyer"))
    await buyer.connect(where.hostname, where.port, SESSION)
    try:
        buyer.heartbeat(keep=True)
        async with beating(buyer, CLIENT):
            await heard(buyer, "party_back")
            buyer.request("bid", price=LIMIT, size=1, minimums={"memory_mb": 512}, flags=["avx2"])
            answer = await heard(buyer, "answered")
            assert answer["code"] == "" and len(answer["matched"]) == 1, answer
            buyer.request("amend", order=answer["order"], size=0)
            assert (await heard(buyer, "answered"))["code"] == ""
            buyer.request("amend", order=answer["order"], size=1)
            assert (await heard(buyer, "answered"))["code"] == "R9/order/unknown"
            await replied(buyer, "contracts")
            charged = await heard(buyer, "hour_charged")
            buyer.request("vote", contract=charged["contract"], hour=charged["hour"], good=True)
            assert (await heard(buyer, "answered"))["code"] == ""
            await replied(buyer, "statement")
    finally:
        await buyer.close()
    return buyer.transcript


async def heard(buyer: BareClient, kind: str) -> dict[str, Any]:
    """The next event of this kind on the buyer's feed."""
    while True:
        subject, message = await buyer.message()
        for event in message.get("events", []):
            if event["kind"] == kind:
                assert subject == f"feed.{buyer.account}"
                return dict(event)


async def replied(buyer: BareClient, what: str) -> dict[str, Any]:
    """The answer to a query."""
    inbox = buyer.ask(what)
    while True:
        subject, message = await buyer.message()
        if subject == inbox:
            return message


def text_of(transcript: Transcript) -> str:
    """The transcript as it stands in the document: who speaks, then the line."""
    lines = []
    for who, data in transcript:
        for line in data.decode().removesuffix("\r\n").split("\r\n"):
            first, *rest = line.split("\n")
            lines += [f"{who}: {first}", *(f"   {more}" for more in rest)]
    return "```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"


VARYING = [
    (r"INFO \{.*\}", "INFO {...}"),
    (r'"sig":"[\w-]{86}"', '"sig":...'),
    (r'"(now_us|until_us|commit|confirm_by_us|at_us|feed|market)":[0-9]+', r'"\1":...'),
    (r"(MSG \S+ [12]) [0-9]+", r"\1 ..."),
]


def comparable(text: str) -> str:
    """The text without what differs from run to run: nonce and its signature, instants, sizes of messages."""
    for pattern, instead in VARYING:
        text = re.sub(pattern, instead, text)
    return text


def main() -> None:
    """Run the example and write it into the document."""
    DOCUMENT.write_text(replace(DOCUMENT.read_text("utf-8"), {EXAMPLE: text_of(asyncio.run(run()))}), "utf-8")


if __name__ == "__main__":
    main()
