"""Who may log in, computed from the log: users.conf is kept equal to the accounts in JOURNAL.

The server is told to read it again by SIGHUP; connections whose rights did not change stay up.
"""

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from nats.aio.client import Client as Nats

from console import server
from console.keyring import Keyring
from events.archive import Archive
from events.log import CommitReader, last_sequence
from events.records import AccountOpened
from events.subjects import JOURNAL


def users(keys: Keyring, accounts: Iterable[str]) -> str:
    """The users of a running market: its three keys, and every account."""
    services = {
        keys.operator.public: server.operator(keys.operator.public),
        keys.exchange.public: server.exchange(keys.exchange.public),
        keys.projections.public: server.projections(keys.projections.public),
    }
    traders = (server.trader(account) for account in accounts if account not in services)
    return server.users([*services.values(), *traders])


async def follow(
    nc: Nats,
    keys: Keyring,
    path: Path,
    server_pid: Callable[[], int],
    archive: Archive | None = None,
) -> None:
    """Follow JOURNAL for ever; write `path` and tell the server when accounts were opened.

    `server_pid` gives the server's process, 0 while there is none (it will read the file when it starts).
    """
    accounts: list[str] = []
    end = await last_sequence(
        nc, JOURNAL, archive
    )  # before it the list is not whole, and would shut people out
    async with CommitReader(nc, archive=archive) as reader:
        while True:
            for commit in await reader.next_batch():
                accounts += [event.account for _, event in commit.events if isinstance(event, AccountOpened)]
            text = users(keys, accounts)
            if reader.sequence >= end and _changed(path, text):
                pid = server_pid()
                if pid:
                    os.kill(pid, signal.SIGHUP)


def _changed(path: Path, text: str) -> bool:
    """Put the text in place; whether it was another."""
    if path.read_text("utf-8") == text:
        return False
    server.write(path, text)
    return True
