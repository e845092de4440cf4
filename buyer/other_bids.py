"""Bids of the account that are open beside a job's own: while its client is present, they buy too (R6)."""

from collections.abc import Iterable
from typing import Any

from events.cli import counted, credits
from events.client import Client
from events.pages import whole

MOST_NAMED = 10


async def other_bids(client: Client, ours: Iterable[int]) -> list[dict[str, Any]]:
    """The account's open bids but `ours`: order, price (micro-credits), size, running contracts.

    Raises QueryError, NoAnswerError.
    """
    own = set(ours)
    return [
        {name: row[name] for name in ("order", "price", "size", "running")}
        for row in (await whole(client, "orders"))["result"]
        if row["side"] == "bid" and not row["closed"] and row["order"] not in own
    ]


def named(bids: list[dict[str, Any]]) -> list[str]:
    """A line for each: what it is, and the two ways out."""
    lines = [
        f"bid {bid['order']} of yours is open too, {counted(bid['size'], 'CPU')} at {credits(bid['price'])}, "
        f"{counted(bid['running'], 'contract')} running; it buys while any client of yours is there: "
        f"`buyer run --resume --output DIR` goes on with it if it was a job, "
        f"`buyer cancel {bid['order']}` ends it"
        for bid in bids[:MOST_NAMED]
    ]
    if len(bids) > MOST_NAMED:
        lines.append(f"and {len(bids) - MOST_NAMED} more: `buyer orders` lists them")
    return lines
