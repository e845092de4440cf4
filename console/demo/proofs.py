"""What is proved at the end: statements against events, projections and events against the log."""

from pathlib import Path
from typing import Any

from console.data_directory import closing, log_of
from console.demo.chronicle import Chronicle
from console.demo.show import Show
from console.demo.stage import DemoError, Stage
from events.cli import credits
from events.commit import Commit
from events.keys import Key
from events.log import CommitReader, connect, last_sequence
from events.records import HourCharged
from events.source import ServerLog
from events.subjects import JOURNAL
from exchange.audit import audit
from projections.store import Store, digest, rebuild


async def print_statements(stage: Stage) -> None:
    """The statements of the buyer and of each seller, compared with what the events moved (R1, R2)."""
    stage.show.scene("Statements", "R1, R2")
    accounts = [stage.buyer_key.public, *(seller.key.public for seller in stage.sellers.values())]
    statements = [await _whole(stage, "statement", account=account) for account in accounts]
    for statement in statements:
        stage.show.statement(statement)
    stage.check(
        all(found["closing"] == balance(stage.chronicle, found["account"]) for found in statements),
        "every statement closes with what the events of the log moved",
    )
    rows = await _whole(stage, "accounts")
    fees = sum(said.event.fee for said in stage.chronicle.of(HourCharged))
    stage.check(
        sum(row["free"] + row["held"] for row in rows) == 0,
        f"all accounts, the bank's and the fees' ({credits(fees)}) included, sum to zero",
    )


async def _whole(stage: Stage, what: str, **arguments: Any) -> Any:
    """A query's result, as of the last commit that we read; it must be in one page."""
    answer: dict[str, Any] = {"commit": -1}
    for _ in range(100):
        answer = await stage.operator.query(what, **arguments)
        if answer["commit"] >= stage.chronicle.last:
            break
    assert not answer.get("more"), f"{what}: a demonstration fits in one page"
    return answer["result"]


def balance(chronicle: Chronicle, account: str) -> dict[str, int]:
    """An account's purses, summed up from the events alone. O(events)."""
    purses = {"free": 0, "held": 0}
    for said in chronicle.events:
        for source, source_purse, target, target_purse, amount in said.event.movements():
            if source == account:
                purses[source_purse] -= amount
            if target == account:
                purses[target_purse] += amount
    return purses


async def prove_log(data: Path, show: Show) -> str:
    """Rebuild the projections from the log and compute every event again, with the market closed (R34, R35).

    Returns what agrees, in a few words. Raises DemoError.
    """
    show.scene("The market is closed: everything is computed again from its log", "R33, R34, R35")
    async with log_of(data) as (server, key):
        commits = await _read_commits(server, key)
        before, after = _rebuild(data / "projections.sqlite", commits)
        if before != after:
            raise DemoError(f"the rebuilt projections have digest {after}, the ones deleted had {before}")
        show.proved(f"projections deleted and rebuilt from {len(commits)} commits: digest {after[:16]} again")
        async with closing(await connect(server, key, name="audit")) as nc:
            result = await audit(ServerLog(nc))
    if not result.ok:
        raise DemoError(f"the audit disagrees: {result.first_disagreement}")
    show.proved(
        f"audit: {result.events} events computed again from {result.requests} requests, byte for byte"
    )
    return f"{result.requests} requests, {result.events} events, {result.commits} commits"


async def _read_commits(server: str, key: Key) -> list[Commit]:
    commits: list[Commit] = []
    async with closing(await connect(server, key, name="rebuild")) as nc:
        end = await last_sequence(nc, JOURNAL)
        async with CommitReader(nc) as reader:
            while reader.sequence < end:
                commits += await reader.next_batch()
    return commits


def _rebuild(path: Path, commits: list[Commit]) -> tuple[str, str]:
    """Digests of the store as it was, and of the one rebuilt in its place as of the same commit.

    The exchange was closed after the projections: what it wrote meanwhile is folded in at the end.
    """
    with Store(path) as store:
        before = digest(store)
        number, _ = store.cursor()
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    with rebuild(commits[:number], path) as store:
        after = digest(store)
        store.apply(commits[number:])
        return before, after
