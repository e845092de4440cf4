"""Before a machine is offered: no other node may be it."""

import asyncio
import time
from collections.abc import Callable

from events.client import Client
from events.pages import whole

REPORT_S = 5.0  # beyond the lost-after time, until a silent machine is told lost
ASK_S = 0.5


class MachineTakenError(Exception):
    """Another node of the account runs this machine; the text says what to do."""


async def await_silence(client: Client, machine: str, say: Callable[[str], None]) -> None:
    """Wait until the account's machine is not heard in the market, at most until a dead node's would be.

    Raises MachineTakenError, NoAnswerError, QueryError.
    """
    terms = (await client.query("status"))["result"]["terms"]
    patience = terms.get("lost_after_us", 0) / 1e6 * 1.5 + REPORT_S  # a loss is told 1/4 of it late
    began = time.monotonic()
    said = False
    while await _is_heard(client, machine):
        if not said:
            said = True
            say(f"machine {machine} is heard already: waiting {patience:.0f} s at most for it to fall silent")
        if time.monotonic() - began > patience:
            raise MachineTakenError(
                f"machine {machine} is heard already: another seller_node of this account runs it; "
                "stop that one, or give another --name"
            )
        await asyncio.sleep(ASK_S)


async def _is_heard(client: Client, machine: str) -> bool:
    rows = (await whole(client, "machines"))["result"]
    return any(row["ready"] for row in rows if row["account"] == client.account and row["machine"] == machine)
